"""What functions of elements and reductions are called, in whichever format a model comes: one row for each.

A row says what each format calls a function; the formats register their handlers from it. So one model makes one table
of nodes, whichever way it is read. A new function gets its row here first; ``SYNONYMS`` says what not to call it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeAlias, TypedDict


class Names(TypedDict, total=False):
    """What each format calls one function: several names with spaces between them."""

    onnx: str
    tensorflow: str
    tflite: str
    #: Operations of ``keras.ops``, its layers, and the activations that configs of layers name.
    keras: str
    layers: str
    activations: str
    torch: str
    jax: str
    openvino: str
    ncnn: str


Format: TypeAlias = Literal[
    "onnx", "tensorflow", "tflite", "keras", "layers", "activations", "torch", "jax", "openvino", "ncnn"
]
Table: TypeAlias = Mapping[str, Names]


def names(format: Format, *tables: Table) -> dict[str, str]:
    """Return what a format calls the functions of some tables, each with the function that it is.

    Examples
    --------
    >>> names("tflite", REDUCTIONS)["REDUCE_ANY"]
    'max'
    """
    rows = [row for table in tables for row in table.items()]
    return {name: function for function, row in rows for name in row.get(format, "").split()}


#: What a function is not called -> what it is.
SYNONYMS = {
    "all": "min", "any": "max", "band_part": "trilu", "clamp": "clip", "invert": "bitwise_not", "maximum": "max",
    "minimum": "min", "negative": "neg", "shift": "bit_shift", "softshrink": "shrink", "std": "variance",
}  # fmt: skip

#: Functions of one tensor; what else an op reads says how it is computed.
UNARY: Table = {
    "abs": Names(onnx="Abs", tensorflow="Abs ComplexAbs", tflite="ABS COMPLEX_ABS", keras="Abs Absolute Fabs",
        torch="abs", jax="abs", openvino="Abs", ncnn="AbsVal"),
    "acos": Names(onnx="Acos", tensorflow="Acos", keras="Arccos", torch="acos", jax="acos", openvino="Acos"),
    "acosh": Names(onnx="Acosh", tensorflow="Acosh", keras="Arccosh", jax="acosh", openvino="Acosh"),
    "adjust_hue": Names(tensorflow="AdjustHue"),
    "adjust_saturation": Names(tensorflow="AdjustSaturation"),
    "angle": Names(tensorflow="Angle", keras="Angle", torch="angle"),
    "asin": Names(onnx="Asin", tensorflow="Asin", keras="Arcsin", torch="asin", jax="asin", openvino="Asin"),
    "asinh": Names(onnx="Asinh", tensorflow="Asinh", keras="Arcsinh", jax="asinh", openvino="Asinh"),
    "atan": Names(onnx="Atan", tensorflow="Atan", keras="Arctan", torch="atan", jax="atan", openvino="Atan"),
    "atanh": Names(onnx="Atanh", tensorflow="Atanh", keras="Arctanh", jax="atanh", openvino="Atanh"),
    "batch_norm": Names(layers="Normalization BatchNormalization", ncnn="BatchNorm"),
    "bernoulli": Names(onnx="Bernoulli", torch="bernoulli"),
    "bessel": Names(tensorflow="BesselI0e BesselI1e", jax="bessel_i0e bessel_i1e"),
    "bias": Names(tensorflow="BiasAdd BiasAddV1", ncnn="Bias"),
    "bitwise_not": Names(onnx="BitwiseNot", tensorflow="Invert", keras="BitwiseInvert BitwiseNot", torch="bitwise_not",
        openvino="BitwiseNot"),
    "bucketize": Names(tensorflow="Bucketize", tflite="BUCKETIZE", openvino="Bucketize"),
    "cast": Names(onnx="CastLike BitCast", tensorflow="Bitcast"),
    "cbrt": Names(keras="Cbrt", jax="cbrt"),
    "ceil": Names(onnx="Ceil", tensorflow="Ceil", tflite="CEIL", keras="Ceil", torch="ceil", jax="ceil",
        openvino="Ceiling"),
    "celu": Names(onnx="Celu", keras="Celu", activations="celu", torch="celu", ncnn="CELU"),
    "clip": Names(onnx="Clip", tensorflow="ClipByValue", jax="clamp", openvino="Clamp", ncnn="Clip"),
    "clz": Names(jax="clz"),
    "conj": Names(tensorflow="Conj", keras="Conj Conjugate", torch="conj", jax="conj"),
    "cos": Names(onnx="Cos", tensorflow="Cos", tflite="COS", keras="Cos", torch="cos", jax="cos", openvino="Cos"),
    "cosh": Names(onnx="Cosh", tensorflow="Cosh", keras="Cosh", torch="cosh", jax="cosh", openvino="Cosh"),
    "deg2rad": Names(keras="Deg2rad", torch="deg2rad"),
    "dequantize": Names(onnx="DequantizeLinear", tensorflow="Dequantize", tflite="DEQUANTIZE", ncnn="Dequantize"),
    "digamma": Names(tensorflow="Digamma", torch="digamma", jax="digamma"),
    "dropout": Names(layers="Dropout AlphaDropout GaussianDropout GaussianNoise SpatialDropout1D SpatialDropout2D "
        "SpatialDropout3D StochasticDepth",
        torch="dropout native_dropout feature_dropout alpha_dropout feature_alpha_dropout", ncnn="Dropout"),
    "elu": Names(onnx="Elu", tensorflow="Elu", tflite="ELU", keras="Elu", layers="ELU", activations="elu", torch="elu",
        openvino="Elu", ncnn="ELU"),
    "erf": Names(onnx="Erf", tensorflow="Erf", keras="Erf", torch="erf", jax="erf", openvino="Erf", ncnn="Erf"),
    "erfc": Names(tensorflow="Erfc", keras="Erfc", jax="erfc"),
    "erfinv": Names(tensorflow="Erfinv", keras="Erfinv", torch="erfinv", jax="erf_inv"),
    "exp": Names(onnx="Exp", tensorflow="Exp", tflite="EXP", keras="Exp Exp2", activations="exponential",
        torch="exp exp2", jax="exp exp2", openvino="Exp", ncnn="Exp"),
    "expm1": Names(tensorflow="Expm1", keras="Expm1", torch="expm1", jax="expm1"),
    "floor": Names(onnx="Floor", tensorflow="Floor", tflite="FLOOR", keras="Floor", layers="Discretization",
        torch="floor", jax="floor", openvino="Floor"),
    "frac": Names(torch="frac"),
    "gelu": Names(onnx="Gelu", tflite="GELU", keras="Gelu", activations="gelu", torch="gelu", openvino="Gelu",
        ncnn="GELU"),
    "hard_sigmoid": Names(onnx="HardSigmoid", keras="HardSigmoid", activations="hard_sigmoid", torch="hardsigmoid",
        openvino="HardSigmoid HSigmoid", ncnn="HardSigmoid"),
    "hard_swish": Names(onnx="HardSwish", tflite="HARD_SWISH", keras="HardSilu", activations="hard_silu hard_swish",
        torch="hardswish", openvino="HSwish", ncnn="HardSwish"),
    "hard_tanh": Names(tflite="RELU_0_TO_1 RELU_N1_TO_1", keras="HardTanh", activations="hard_tanh", torch="hardtanh"),
    "hsv_to_rgb": Names(tensorflow="HSVToRGB"),
    "i0": Names(keras="I0", torch="special_i0"),
    "identity": Names(onnx="Identity", tensorflow="PreventGradient CheckNumerics CheckNumericsV2", tflite="DENSIFY",
        keras="Cast ConvertToTensor Copy SaturateCast StopGradient", layers="ActivityRegularization Identity Masking",
        torch="clone contiguous detach alias to _to_copy lift_fresh_copy lift_fresh type_as positive "
        "detach_copy alias_copy conj_physical resolve_conj resolve_neg", openvino="Identity", ncnn="Cast Noop Split"),
    "imag": Names(tensorflow="Imag", tflite="IMAG", keras="Imag", torch="imag", jax="imag"),
    "isfinite": Names(tensorflow="IsFinite", keras="Isfinite", torch="isfinite", jax="is_finite", openvino="IsFinite"),
    "isinf": Names(onnx="IsInf", tensorflow="IsInf", keras="Isinf Isneginf Isposinf", torch="isinf", openvino="IsInf"),
    "isnan": Names(onnx="IsNaN", tensorflow="IsNan", keras="Isnan", torch="isnan", openvino="IsNaN"),
    "isreal": Names(keras="Isreal"),
    "leaky_relu": Names(onnx="LeakyRelu", tensorflow="LeakyRelu", tflite="LEAKY_RELU", keras="LeakyRelu",
        layers="LeakyReLU", activations="leaky_relu", torch="leaky_relu"),
    "lgamma": Names(tensorflow="Lgamma", torch="lgamma", jax="lgamma"),
    "local_response_norm": Names(onnx="LRN", tensorflow="LRN", tflite="LOCAL_RESPONSE_NORMALIZATION"),
    "log": Names(onnx="Log", tensorflow="Log", tflite="LOG", keras="Log Log10 Log2", torch="log log2 log10", jax="log",
        openvino="Log", ncnn="Log"),
    "log1p": Names(tensorflow="Log1p", keras="Log1p", torch="log1p", jax="log1p"),
    "log_sigmoid": Names(keras="LogSigmoid", activations="log_sigmoid", torch="log_sigmoid"),
    "logit": Names(torch="logit"),
    "mish": Names(onnx="Mish", activations="mish", torch="mish", openvino="Mish", ncnn="Mish"),
    "mul": Names(layers="Rescaling LayerScale", ncnn="Scale"),
    "nan_to_num": Names(keras="NanToNum", torch="nan_to_num"),
    "ndtri": Names(tensorflow="Ndtri"),
    "neg": Names(onnx="Neg", tensorflow="Neg", tflite="NEG", keras="Negative", torch="neg", jax="neg",
        openvino="Negative"),
    "not": Names(onnx="Not", tensorflow="LogicalNot", tflite="LOGICAL_NOT", keras="LogicalNot", torch="logical_not",
        jax="not", openvino="LogicalNot"),
    "popcount": Names(jax="population_count"),
    "pow": Names(ncnn="Power"),
    "prelu": Names(onnx="PRelu", layers="PReLU", ncnn="PReLU"),
    "quantize": Names(onnx="QuantizeLinear",
        tensorflow="FakeQuantWithMinMaxArgs FakeQuantWithMinMaxVars FakeQuantWithMinMaxVarsPerChannel "
        "QuantizeAndDequantizeV2 QuantizeAndDequantizeV3 QuantizeAndDequantizeV4", tflite="FAKE_QUANT QUANTIZE",
        openvino="FakeQuantize FakeConvert", ncnn="Quantize Requantize"),
    "rad2deg": Names(keras="Rad2deg", torch="rad2deg"),
    "real": Names(tensorflow="Real", tflite="REAL", keras="Real", torch="real", jax="real"),
    "reciprocal": Names(onnx="Reciprocal", tensorflow="Inv Reciprocal", keras="Reciprocal", torch="reciprocal"),
    "relu": Names(onnx="Relu", tensorflow="Relu", tflite="RELU", keras="Relu", layers="ReLU", activations="relu",
        torch="relu", openvino="ReLU", ncnn="ReLU"),
    "relu6": Names(tensorflow="Relu6", tflite="RELU6", keras="Relu6", activations="relu6", torch="relu6"),
    "rgb_to_hsv": Names(tensorflow="RGBToHSV"),
    "round": Names(onnx="Round", tensorflow="Rint Round", tflite="ROUND", keras="Round", torch="round", jax="round",
        openvino="Round"),
    "rrelu": Names(torch="rrelu"),
    "rsqrt": Names(tensorflow="Rsqrt", tflite="RSQRT", keras="Rsqrt", torch="rsqrt", jax="rsqrt"),
    "selu": Names(onnx="Selu", tensorflow="Selu", keras="Selu", activations="selu", torch="selu", openvino="Selu",
        ncnn="SELU"),
    "shrink": Names(onnx="Shrink", keras="HardShrink SoftShrink TanhShrink",
        activations="hard_shrink soft_shrink tanh_shrink", torch="softshrink hardshrink", ncnn="Shrink"),
    "sigmoid": Names(onnx="Sigmoid", tensorflow="Sigmoid", tflite="LOGISTIC", keras="Sigmoid", activations="sigmoid",
        torch="sigmoid", jax="logistic", openvino="Sigmoid", ncnn="Sigmoid"),
    "sign": Names(onnx="Sign", tensorflow="Sign", tflite="SIGN", keras="Sign", torch="sign sgn", jax="sign",
        openvino="Sign"),
    "signbit": Names(keras="Signbit", torch="signbit"),
    "silu": Names(onnx="Swish", keras="Silu", activations="silu swish", torch="silu", openvino="Swish", ncnn="Swish"),
    "sin": Names(onnx="Sin", tensorflow="Sin", tflite="SIN", keras="Sin", torch="sin", jax="sin", openvino="Sin"),
    "sinc": Names(keras="Sinc", torch="sinc"),
    "sinh": Names(onnx="Sinh", tensorflow="Sinh", keras="Sinh", torch="sinh", jax="sinh", openvino="Sinh"),
    "softplus": Names(onnx="Softplus", tensorflow="Softplus", keras="Softplus", activations="softplus",
        torch="softplus", openvino="SoftPlus", ncnn="BNLL"),
    "softsign": Names(onnx="Softsign", tensorflow="Softsign", keras="Softsign", activations="softsign",
        openvino="SoftSign"),
    "sparse_plus": Names(keras="SparsePlus", activations="sparse_plus"),
    "sparse_sigmoid": Names(keras="SparseSigmoid", activations="sparse_sigmoid"),
    "sqrt": Names(onnx="Sqrt", tensorflow="Sqrt", tflite="SQRT", keras="Sqrt", torch="sqrt", jax="sqrt",
        openvino="Sqrt"),
    "square": Names(tensorflow="Square", tflite="SQUARE", keras="Square", torch="square", jax="square"),
    "squareplus": Names(keras="Squareplus", activations="squareplus"),
    "tan": Names(onnx="Tan", tensorflow="Tan", keras="Tan", torch="tan", jax="tan", openvino="Tan"),
    "tanh": Names(onnx="Tanh", tensorflow="Tanh", tflite="TANH", keras="Tanh", activations="tanh", torch="tanh",
        jax="tanh", openvino="Tanh", ncnn="TanH"),
    "threshold": Names(onnx="ThresholdedRelu", keras="Threshold", torch="threshold", ncnn="Threshold"),
    "trilu": Names(onnx="Trilu", tensorflow="MatrixBandPart", keras="Tril Triu"),
    "trunc": Names(keras="Trunc", torch="trunc"),
}  # fmt: skip

#: Functions of several tensors, which broadcast.
SEVERAL: Table = {
    "add": Names(onnx="Add Sum", tensorflow="Add AddV2 AddN AccumulateNV2", tflite="ADD ADD_N", keras="Add",
        torch="add", jax="add add_any", openvino="Add"),
    "addcdiv": Names(torch="addcdiv"),
    "addcmul": Names(torch="addcmul"),
    "and": Names(onnx="And", tensorflow="LogicalAnd", tflite="LOGICAL_AND", keras="LogicalAnd",
        torch="logical_and __and__", jax="and", openvino="LogicalAnd"),
    "atan2": Names(tensorflow="Atan2", tflite="ATAN2", keras="Arctan2", torch="atan2", jax="atan2"),
    "beta": Names(jax="regularized_incomplete_beta"),
    "bit_shift": Names(onnx="BitShift", tensorflow="LeftShift RightShift", tflite="RIGHT_SHIFT",
        keras="BitwiseLeftShift BitwiseRightShift LeftShift RightShift",
        jax="shift_left shift_right_arithmetic shift_right_logical", openvino="BitwiseLeftShift BitwiseRightShift"),
    "bitwise_and": Names(onnx="BitwiseAnd", tensorflow="BitwiseAnd", keras="BitwiseAnd", torch="bitwise_and",
        openvino="BitwiseAnd"),
    "bitwise_or": Names(onnx="BitwiseOr", tensorflow="BitwiseOr", keras="BitwiseOr", torch="bitwise_or",
        openvino="BitwiseOr"),
    "bitwise_xor": Names(onnx="BitwiseXor", tensorflow="BitwiseXor", tflite="BITWISE_XOR", keras="BitwiseXor",
        torch="bitwise_xor", openvino="BitwiseXor"),
    "clip": Names(keras="Clip", torch="clamp clamp_min clamp_max clip"),
    "complex": Names(tensorflow="Complex", torch="complex", jax="complex"),
    "copysign": Names(torch="copysign"),
    "div": Names(onnx="Div", tensorflow="Div RealDiv DivNoNan TruncateDiv Xdivy", tflite="DIV",
        keras="Divide DivideNoNan TrueDivide", torch="div true_divide divide", jax="div", openvino="Divide"),
    "equal": Names(onnx="Equal", tensorflow="Equal ApproximateEqual", tflite="EQUAL", keras="Equal Isclose",
        torch="eq isclose", jax="eq eq_to", openvino="Equal"),
    "floor_div": Names(keras="FloorDivide", torch="floor_divide"),
    "gcd": Names(keras="Gcd"),
    "greater": Names(onnx="Greater", tensorflow="Greater", tflite="GREATER", keras="Greater", torch="gt", jax="gt",
        openvino="Greater"),
    "greater_or_equal": Names(onnx="GreaterOrEqual", tensorflow="GreaterEqual", tflite="GREATER_EQUAL",
        keras="GreaterEqual", torch="ge", jax="ge", openvino="GreaterEqual"),
    "heaviside": Names(keras="Heaviside", torch="heaviside"),
    "hypot": Names(keras="Hypot", torch="hypot"),
    "igamma": Names(tensorflow="Igamma Igammac", jax="igamma igammac igamma_grad_a"),
    "lcm": Names(keras="Lcm"),
    "lerp": Names(torch="lerp"),
    "less": Names(onnx="Less", tensorflow="Less", tflite="LESS", keras="Less", torch="lt", jax="lt lt_to",
        openvino="Less"),
    "less_or_equal": Names(onnx="LessOrEqual", tensorflow="LessEqual", tflite="LESS_EQUAL", keras="LessEqual",
        torch="le", jax="le le_to", openvino="LessEqual"),
    "logaddexp": Names(keras="Logaddexp Logaddexp2", torch="logaddexp logaddexp2"),
    "max": Names(onnx="Max", tensorflow="Maximum", tflite="MAXIMUM", keras="Fmax Maximum", torch="maximum fmax",
        jax="max", openvino="Maximum"),
    "mean": Names(onnx="Mean"),
    "min": Names(onnx="Min", tensorflow="Minimum", tflite="MINIMUM", keras="Fmin Minimum", torch="minimum fmin",
        jax="min", openvino="Minimum"),
    "mod": Names(onnx="Mod", tensorflow="Mod FloorMod TruncateMod", tflite="FLOOR_MOD", keras="Fmod Mod",
        torch="remainder fmod", jax="rem", openvino="Mod FloorMod"),
    "mul": Names(onnx="Mul", tensorflow="Mul MulNoNan", tflite="MUL", keras="Ldexp Multiply",
        torch="mul multiply ldexp", jax="mul mulhi", openvino="Multiply"),
    "nextafter": Names(tensorflow="NextAfter", keras="Nextafter", jax="nextafter"),
    "not_equal": Names(tensorflow="NotEqual", tflite="NOT_EQUAL", keras="NotEqual", torch="ne", jax="ne",
        openvino="NotEqual"),
    "or": Names(onnx="Or", tensorflow="LogicalOr", tflite="LOGICAL_OR", keras="LogicalOr", torch="logical_or __or__",
        jax="or", openvino="LogicalOr"),
    "polar": Names(keras="Polar", torch="polar"),
    "polygamma": Names(tensorflow="Polygamma", jax="polygamma"),
    "pow": Names(onnx="Pow", tensorflow="Pow", tflite="POW", keras="Power", torch="pow float_power",
        jax="pow integer_pow", openvino="Power"),
    "prelu": Names(tensorflow="Prelu", tflite="PRELU", torch="prelu _prelu_kernel", openvino="PReLU"),
    "squared_difference": Names(tensorflow="SquaredDifference", tflite="SQUARED_DIFFERENCE",
        openvino="SquaredDifference"),
    "sub": Names(onnx="Sub", tensorflow="Sub", tflite="SUB", keras="Subtract", torch="sub rsub subtract", jax="sub",
        openvino="Subtract"),
    "where": Names(onnx="Where", tensorflow="SelectV2", tflite="SELECT_V2", keras="Where", torch="where masked_fill",
        jax="select_n", openvino="Select"),
    "xlogy": Names(tensorflow="Xlogy Xlog1py", torch="xlogy"),
    "xor": Names(onnx="Xor", keras="LogicalXor", torch="logical_xor __xor__", jax="xor", openvino="LogicalXor"),
    "zeta": Names(tensorflow="Zeta", jax="zeta"),
}  # fmt: skip

#: Reductions over some dimensions.
REDUCTIONS: Table = {
    "l1": Names(onnx="ReduceL1", openvino="ReduceL1"),
    "l2": Names(onnx="ReduceL2", tensorflow="EuclideanNorm", keras="Norm", torch="norm linalg_vector_norm",
        openvino="ReduceL2"),
    "log_sum": Names(onnx="ReduceLogSum"),
    "log_sum_exp": Names(onnx="ReduceLogSumExp", keras="Logsumexp", torch="logsumexp"),
    "max": Names(onnx="ReduceMax", tensorflow="Max Any", tflite="REDUCE_MAX REDUCE_ANY",
        keras="Amax Any Argmax Max Nanargmax Nanmax Ptp", torch="amax max argmax any aminmax",
        jax="reduce_max reduce_or argmax", openvino="ReduceMax ReduceLogicalOr"),
    "mean": Names(onnx="ReduceMean", tensorflow="Mean", tflite="MEAN", keras="Mean Nanmean", torch="mean nanmean",
        openvino="ReduceMean"),
    "median": Names(keras="Median Nanmedian", torch="median nanmedian"),
    "min": Names(onnx="ReduceMin", tensorflow="Min All", tflite="REDUCE_MIN REDUCE_ALL",
        keras="All Amin Argmin Min Nanargmin Nanmin", torch="amin min argmin all", jax="reduce_min reduce_and argmin",
        openvino="ReduceMin ReduceLogicalAnd"),
    "prod": Names(onnx="ReduceProd", tensorflow="Prod", tflite="REDUCE_PROD", keras="Nanprod Prod", torch="prod",
        jax="reduce_prod", openvino="ReduceProd"),
    "sum": Names(onnx="ReduceSum", tensorflow="Sum", tflite="SUM", keras="CountNonzero Nansum Sum",
        torch="sum nansum count_nonzero", jax="reduce_sum reduce_xor", openvino="ReduceSum"),
    "sum_square": Names(onnx="ReduceSumSquare"),
    "variance": Names(keras="Nanstd Nanvar Std Var", torch="var std var_mean std_mean"),
}  # fmt: skip

#: Reductions that are a number of no elements too.
OF_NONE = frozenset({"sum", "prod"})
