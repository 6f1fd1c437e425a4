"""What functions of elements and reductions are called, in whichever format a model comes.

A handler table maps the names of its format to these, so that one model makes one table of nodes, whichever way it is
read. A function that is none of these is added here first; ``SYNONYMS`` says what not to call it.
"""

from __future__ import annotations

#: Functions that have no node of their own kind, but a name.
NAMED = frozenset(
    {
        "acos", "acosh", "addcdiv", "addcmul", "adjust_hue", "adjust_saturation", "and", "angle", "asin", "asinh",
        "atan", "atan2", "atanh", "bernoulli", "bessel", "beta", "bit_shift", "bitwise_and", "bitwise_not",
        "bitwise_or", "bitwise_xor", "bucketize", "cbrt", "clz", "complex", "conj", "copysign", "cosh", "deg2rad",
        "digamma", "equal",
        "erfc", "erfinv", "expm1", "floor_div", "frac", "gcd", "greater", "greater_or_equal", "hard_tanh",
        "heaviside", "hsv_to_rgb", "hypot", "i0", "igamma", "imag", "isfinite", "isinf", "isnan", "isreal", "lcm",
        "lerp", "less", "less_or_equal", "lgamma", "log1p", "log_sigmoid", "logaddexp", "logit", "mod",
        "nan_to_num", "ndtri", "nextafter", "not", "not_equal", "or", "polar", "polygamma", "popcount", "rad2deg",
        "real",
        "rgb_to_hsv", "rrelu", "rsqrt", "shrink", "signbit", "sinc", "sinh", "sparse_plus", "sparse_sigmoid",
        "squared_difference", "squareplus", "tan", "threshold", "to_bool", "to_float", "to_integer", "trilu",
        "trunc", "variance", "xlogy", "xor", "zeta", "l1", "l2", "log_sum", "log_sum_exp", "median", "prod", "sum",
        "sum_square",
    }
)  # fmt: skip

#: What a function is not called -> what it is.
SYNONYMS = {
    "all": "min", "any": "max", "band_part": "trilu", "clamp": "clip", "invert": "bitwise_not", "maximum": "max",
    "minimum": "min", "negative": "neg", "shift": "bit_shift", "softshrink": "shrink", "std": "variance",
}  # fmt: skip
