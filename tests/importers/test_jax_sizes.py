"""JAX functions read for any input size: the sizes that are told against ``jax.make_jaxpr``, at every size.

A size works where JAX traces the function and no array that it makes is empty.
"""

from __future__ import annotations

import pytest

jax = pytest.importorskip("jax")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

import rfgraph  # noqa: E402
from rfgraph.importers.jax.symbols import Question, doubtful_sizes, size_of  # noqa: E402

jnp, lax = jax.numpy, jax.lax
SIZES = range(1, 41)


def conv(x, kernel=3, stride=1, padding="SAME", dilation=1):
    """Convolve one axis and keep its channels."""
    padding = padding if isinstance(padding, str) else [(padding, padding)]
    weight = jnp.ones((kernel, x.shape[-1], 2))
    return lax.conv_general_dilated(
        x, weight, (stride,), padding, rhs_dilation=(dilation,), dimension_numbers=("NWC", "WIO", "NWC")
    )


def pool(x, kernel=2, stride=2, padding="VALID"):
    return lax.reduce_window(x, -jnp.inf, lax.max, (1, kernel, 1), (1, stride, 1), padding)


def resized(x, size, how="nearest"):
    return jax.image.resize(x, (1, size, x.shape[2]), how)


def up(x):
    return lax.conv_transpose(x, jnp.ones((2, x.shape[2], 2)), (2,), "VALID", dimension_numbers=("NWC", "WIO", "NWC"))


def beside(*maps):
    return jnp.concatenate(maps, -1)


def decoder(how, to_skip):
    def run(x):
        first = conv(x)
        second = conv(pool(first), stride=2)
        for skip in (pool(first), first):
            second = conv(beside(resized(second, skip.shape[1] if to_skip else 2 * second.shape[1], how), skip))
        return second

    return run


def patched(x):
    y = conv(x)
    return y.reshape(1, y.shape[1] // 2, 2, 2).mean(2)


def padded_to_skip(x):
    first = conv(x)
    second = up(pool(first))
    more = first.shape[1] - second.shape[1]
    return beside(first, jnp.pad(second, ((0, 0), (more // 2, more - more // 2), (0, 0))))


def halved(x):
    while x.shape[1] > 8:
        x = conv(x, stride=2)
    return conv(x)


def at_least_twelve(x):
    assert x.shape[1] >= 12
    return conv(x)


#: Functions of one array, and whether their sizes are told.
FUNCTIONS = {
    "windows": (lambda x: conv(conv(x, 5, padding="VALID"), 3, 2, padding="VALID"), True),
    "strides": (lambda x: conv(conv(x, 3, 2, 1), 3, 2, 1), True),
    "same": (lambda x: conv(x, 3, 2) + pool(x, 2, 2, "SAME"), True),
    "one position of two": (lambda x: conv(conv(x), 1, 2) + pool(x, 2, 2, "SAME"), True),
    "less than its stride": (lambda x: conv(conv(x, 2, 3), 1, 3, padding="VALID"), True),
    "even only": (lambda x: conv(x, 3, 2, 1) + pool(x), True),
    "odd only": (lambda x: conv(x, 3, 2, "VALID") + pool(x[:, :-1]), True),
    "dilated": (lambda x: conv(x, 3, dilation=3, padding="VALID") + conv(x, 7, padding="VALID"), True),
    "resized to skips": (decoder("nearest", to_skip=True), True),
    "linearly": (decoder("linear", to_skip=True), True),
    "twice as large": (decoder("linear", to_skip=False), True),
    "transposed": (lambda x: beside(up(pool(conv(x))), x), True),
    "gate": (lambda x: x * conv(x).mean(1, keepdims=True), True),
    "cropped": (lambda x: beside(conv(x, padding="VALID")[:, 1:-1], conv(x, 5, padding="VALID")), True),
    "padded": (lambda x: conv(jnp.pad(x, ((0, 0), (1, 2), (0, 0))), 3, 2, "VALID"), True),
    "a scan": (lambda x: lax.scan(lambda y, _: (conv(y), None), x, None, length=2)[0], True),
    "asserts": (at_least_twelve, True),
    "such a kernel, beside all": (lambda x: jnp.concatenate([conv(x[:, 4:]), x], 1), False),
    "patches": (patched, True),
    "padded to its skip": (padded_to_skip, True),
    "halved while it is large": (halved, False),
    "pools what is large": (lambda x: conv(pool(x) if x.shape[1] > 9 else x), False),
    "pads what is odd": (lambda x: pool(jnp.pad(x, ((0, 0), (0, x.shape[1] % 2), (0, 0)))), False),
    "another one at 16": (lambda x: conv(x) if x.shape[1] == 16 else pool(x), False),
    "no larger than its map": (lambda x: pool(x, min(7, x.shape[1]), 1), False),
    "dense": (lambda x: conv(x, 3, 2).reshape(1, -1) @ jnp.ones((16, 3)), False),
    "position codes": (lambda x: conv(x, 2, 2, "VALID") + jnp.ones((1, 8, 2)), False),
}


def works(function, n):
    try:
        made = jax.make_jaxpr(function)(jax.ShapeDtypeStruct((1, n, 2), jnp.float32))
    except (TypeError, ValueError, ZeroDivisionError, AssertionError):
        return False
    return all(0 not in var.aval.shape for equation in made.eqns for var in equation.outvars)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_sizes_of_a_function_are_those_at_which_it_runs(name):
    function, is_told = FUNCTIONS[name]
    example = next(n for n in (16, 17) if works(function, n))
    (sizes,) = rfgraph.analyze(function, example=(1, example, 2)).input_sizes
    assert (sizes is not None) == is_told
    if sizes is not None:
        assert [n for n in SIZES if n in sizes] == [n for n in SIZES if works(function, n)]


def test_a_resize_is_known_at_any_size():
    """What its weights are at some sizes shows which resize it is."""
    report = rfgraph.analyze(decoder("linear", to_skip=True), example=(1, 16, 2))
    modes = [
        report.at_any_size._graph.nodes[node]["mode"] for node in report.at_any_size if report[node].op == "resize"
    ]
    assert modes == ["linear", "linear"]
    for n in (15, 16, 17, 18):
        anew = rfgraph.analyze(decoder("linear", to_skip=True), example=(1, n, 2))
        assert report.aligned_when(n) == anew.aligned
        assert [report.at_any_size.map_size_of(node)[0].size(n) for node in anew] == [
            anew[node].map_size[0] for node in anew
        ]


LAYERS = st.sampled_from(("conv", "valid", "stride", "pool", "same", "up", "skip", "twice", "beside", "crop", "wide"))


@st.composite
def chains(draw):
    steps = draw(st.lists(st.tuples(LAYERS, st.integers(0, 5)), min_size=1, max_size=5))

    def run(x):
        maps = [conv(x)]
        for kind, which in steps:
            y, other = maps[-1], maps[which % len(maps)]
            match kind:
                case "conv":
                    y = conv(y)
                case "valid":
                    y = conv(y, 3 + which % 3, padding="VALID")
                case "stride":
                    y = conv(y, 2 + which % 3, 2, 1)
                case "pool":
                    y = pool(y, 2 + which % 2)
                case "same":
                    y = conv(y, 3, 2 + which % 2)
                case "up":
                    y = up(y)
                case "skip":
                    y = resized(y, other.shape[1], "linear")
                case "twice":
                    y = resized(y, 2 * y.shape[1])
                case "beside":
                    y = conv(beside(y, other))
                case "crop":
                    y = y[:, which % 2 : -1]
                case "wide":
                    y = conv(y, dilation=2, padding=which % 3)
            maps.append(y)
        return maps[-1]

    return run


@settings(max_examples=15, deadline=None)
@given(chains(), st.sampled_from((16, 17, 24, 31)))
def test_no_size_is_claimed_wrongly(function, example):
    if works(function, example):
        (sizes,) = rfgraph.analyze(function, example=(1, example, 2)).input_sizes
        if sizes is not None:
            assert [n for n in SIZES if n in sizes] == [n for n in SIZES if works(function, n)]


@given(st.integers(1, 60), st.integers(1, 5), st.integers(-9, 9))
def test_sizes_are_read_as_jax_writes_them(n, divisor, more):
    (size,) = jax.export.symbolic_shape("n")
    dim = (size * 3 + more) // divisor - size % divisor
    expected = (n * 3 + more) // divisor - n % divisor
    assert rfgraph.importers.program.dimensions.valued(size_of(dim), {"n": n}) == expected


def test_doubtful_sizes_are_those_at_which_the_answer_is_another():
    hints, axis = {"n": 32, "m": 32}, frozenset({"n"})
    for size, is_zero, answer, doubtful in (
        ("n - 5", False, True, {1, 2, 3, 4}),
        ("floordiv(n, 4) - 2", True, False, {8, 9, 10, 11}),
        ("m - 5", False, True, set()),
        ("n - 32", True, True, None),
        ("mod(n, 2)", True, True, None),
        ("n - m", True, True, None),
    ):
        assert doubtful_sizes([Question(size, is_zero, answer)], axis, hints) == doubtful
