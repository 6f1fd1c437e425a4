"""Which maps channels come from: what each primitive makes of masks, element by element, by brute force."""

from __future__ import annotations

import masks as oracle
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_lowering import Net

from rfgraph.importers import program as p
from rfgraph.importers.lowering.origins import Lost, Origins, Source, after, beside, joined
from rfgraph.importers.program.dimensions import symbol

SHAPE = (2, 6, 2, 4)
SOURCES = tuple(Source(name) for name in "abc")


def drawn_masks(draw, shape):
    """Draw masks of three sources, alike along some of the dimensions."""
    told = [size if draw(st.booleans()) else 1 for size in shape]
    numbers = draw(st.lists(st.integers(0, 7), min_size=int(np.prod(told)), max_size=int(np.prod(told))))
    return np.array(numbers, dtype=np.int64).reshape(told)


def slide(draw):
    window = {"dims": (2, 3), "stride": (1, 1), "padding": ((1, 1), (0, 0)), "dilation": (1, 1), "kernel": (3, 1)}
    groups, channel = draw(st.sampled_from([1, 2, 3, 6])), draw(st.sampled_from([1, None]))
    summed = {"channel": channel, "channels": 6 * draw(st.integers(1, 2)), "groups": groups} if channel else {}
    return p.Slide(function="conv" if channel else "max_pool", **window, **summed)


SHAPES = [(2, 3, 2, 2, 4), (2, 2, 3, 8), (12, 2, 4), (2, 48), (6, 2, 2, 4), (96,)]


def take(draw, dim):
    return draw(st.lists(st.integers(-SHAPE[dim], SHAPE[dim] - 1), min_size=1, max_size=4))


def slice_(draw):
    start, step = draw(st.integers(0, 2)), draw(st.integers(1, 2))
    return p.Slice(dims=(1, 3), starts=(start, -3), stops=(5, None), steps=(step, 1))


def labels(draw):
    output = draw(st.permutations([*draw(st.lists(st.sampled_from("abcd"), unique=True, min_size=1)), "z"]))
    return p.Contract(operands=(tuple("abcd"), ("b", "z")), output=tuple(output))


PRIMITIVES = {
    "transpose": lambda draw: p.Transpose(permutation=tuple(draw(st.permutations(range(4))))),
    "unsqueeze": lambda draw: p.Unsqueeze(dims=(draw(st.integers(0, 4)),)),
    "expand": lambda draw: p.Expand(shape=(draw(st.integers(1, 2)), *SHAPE)),
    "roll": lambda draw: p.Roll(dim=draw(st.integers(0, 3)), shift=draw(st.integers(-3, 3))),
    "reduce": lambda draw: p.Reduce(
        function="sum", dims=tuple(draw(st.sets(st.integers(0, 3)))), keepdims=draw(st.booleans())
    ),
    "mix": lambda draw: p.Mix(function="softmax", dims=tuple(draw(st.sets(st.integers(0, 3))))),
    "whole": lambda draw: p.Whole(shape=(2, 3)),
    "relu": lambda draw: p.Pointwise(function="relu"),
    "slice": slice_,
    "reshape": lambda draw: p.Reshape(shape=draw(st.sampled_from(SHAPES))),
    "take": lambda draw: p.Take(dim=draw(st.integers(0, 3))),
    "contract": labels,
    "conv": slide,
    "resize": lambda draw: p.Resize(dims=(2, 3), sizes=(5, 2), mode="linear"),
    "adaptive": lambda draw: p.AdaptivePool(function="avg_pool", dims=(2, 3), sizes=(2, 2)),
    "pad": lambda draw: p.Pad(amounts=((0, 0), (0, 0), (1, 0), (0, 2)), mode="edge"),
}  # fmt: skip
#: What reads neighbours: it is followed where masks are alike along the dimensions that it slides over.
SLIDES = ("conv", "resize", "adaptive", "pad")


@settings(max_examples=25)
@given(st.data())
@pytest.mark.parametrize("name", PRIMITIVES)
def test_masks_after_a_step_are_those_of_its_elements(name, data):
    primitive = PRIMITIVES[name](data.draw)
    masks = drawn_masks(data.draw, SHAPE)
    origins = Origins(SOURCES, masks, "x").laid(masks)
    net = Net(SHAPE)
    rows = take(data.draw, primitive.dim) if name == "take" else []
    second = {"contract": net.weight(6, 2), "take": net.build.constant(rows)}
    operands = [net.x, second[name]] if name in second else [net.x]
    (step,) = net.program(net(primitive, *operands)).instructions
    full = np.broadcast_to(masks, SHAPE)
    try:
        made = after(primitive, origins, step)
    except Lost:
        assert name == "reshape" or (name in SLIDES and max(origins.masks.shape[2:]) > 1)
        return
    given_ = [full.astype(object), np.zeros((6, 2), dtype=object)] if name == "contract" else [full.astype(object)]
    if name == "take":
        expected = full.take(rows, primitive.dim)
    else:
        expected = oracle.apply(primitive, given_, [None] * len(given_)).astype(np.int64)
    assert expected.shape == step.output.shape
    assert np.array_equal(np.broadcast_to(made.masks, expected.shape), expected)
    assert made.every == np.bitwise_or.reduce(expected, axis=None)
    assert made.differ == bool(expected.min() != expected.max())
    assert [source.node for source in made.present()] == [s for i, s in enumerate("abc") if made.every >> i & 1]


def names(origins, shape):
    """Return the nodes that each element comes from."""
    elements = np.empty(shape, dtype=object)
    for index in np.ndindex(*shape):
        mask = np.broadcast_to(origins.masks, shape)[index]
        elements[index] = {source.node for bit, source in enumerate(origins.sources) if mask >> bit & 1}
    return elements


@st.composite
def parts(draw, dims):
    """Draw tensors of one shape but for ``dims``: a map, constants, or one whose channels come from others."""
    shape = [draw(st.integers(1, 3)) if d in dims else size for d, size in enumerate((2, 1, 3))]
    node = draw(st.sampled_from("pqr"))
    kind = draw(st.sampled_from(["map", "constant", "its own", "another's"]))
    if kind == "map":
        return None, Source(node, is_map=True), shape, np.full(shape, {node})
    if kind == "constant":
        return None, None, shape, np.full(shape, set())
    masks = drawn_masks(draw, shape)
    origins = Origins(SOURCES, masks, node if kind == "its own" else "elsewhere").laid(masks)
    told = origins if kind == "its own" else origins.computed(node)  # it is no view of the map that they were laid into
    return origins, Source(node), shape, names(told, shape)


@given(st.lists(parts({1}), min_size=1, max_size=4))
def test_tensors_side_by_side_keep_their_sources(drawn):
    made = beside("both", [(origins, source, shape[1]) for origins, source, shape, _ in drawn], 3, 1)
    expected = np.concatenate([elements for *_, elements in drawn], axis=1)
    assert (names(made, expected.shape) == expected).all()
    assert made.node == "both"


@given(st.lists(parts({}), min_size=1, max_size=3))
def test_tensors_read_together_join_their_sources(drawn):
    """What is computed of maps is none of them: a source is known by the node that held it alone."""
    known = [(origins, source.node) for origins, source, *_ in drawn if source is not None]
    if known:
        made = joined("sum", known)
        each = [
            names(origins.computed(node), (2, 1, 3)) if origins else np.full((2, 1, 3), {node})
            for origins, node in known
        ]
        for index in np.ndindex(2, 1, 3):
            assert names(made, (2, 1, 3))[index] == set().union(*(elements[index] for elements in each))


@pytest.mark.parametrize(("masks", "told"), [
    ([1, 2, 4], ["a", "b", "c"]), ([4, 1, 2], ["c", "a", "b"]), ([1, 2, 2], None), ([1, 2, 5], None), ([1, 0, 4], None)
])  # fmt: skip
def test_maps_that_lie_one_by_one_are_known(masks, told):
    sources = tuple(Source(name, is_map=True) for name in "abc")
    origins = Origins(sources, np.array(masks).reshape(1, 3, 1), "x")
    assert origins.one_by_one(1, 3) == told
    assert Origins((*sources[:2], Source("c")), origins.masks, "x").one_by_one(1, 3) is None  # c was computed of a map
    for d, size in [(1, 4), (1, 2), (0, 3), (1, None)]:
        assert origins.one_by_one(d, size) is None
    sources = tuple(Source(name, is_map=True) for name in "abcdef")  # two at each place
    assert Origins(sources, 1 << np.arange(6).reshape(2, 3, 1), "x").one_by_one(1, 3) is None


H = symbol("H")


@pytest.mark.parametrize(
    ("primitive", "shape"),
    [
        (p.Slide(function="conv", dims=(2,), kernel=(1,), stride=(1,), padding=((0, 0),), dilation=(1,), channel=1,
                 channels=4, groups=4), (1, 6, 5)),
        (p.Slide(function="conv", dims=(2,), kernel=(1,), stride=(1,), padding=((0, 0),), dilation=(1,), channel=1,
                 channels=4, groups=3), (1, 6, 5)),
        (p.Slice(dims=(1,), starts=(0,), stops=(H,), steps=(1,)), (1, 6, H)),
        (p.Reshape(shape=(1, 6 * H)), (1, 6, H)),
        (p.Reshape(shape=(1, 6 << 16)), (1, 6, 1 << 16)),
    ],
    ids=["groups of no whole size", "groups that make none", "a cut at a symbol", "merged with a symbol", "too long"],
)  # fmt: skip
def test_what_cannot_be_told_channel_by_channel_is_lost(primitive, shape):
    net = Net(shape)
    (step,) = net.program(net(primitive, net.x)).instructions
    with pytest.raises(Lost):
        after(primitive, Origins(SOURCES, np.array([1, 2, 4, 1, 2, 4]).reshape(1, 6, 1), "x"), step)


def test_masks_and_sources_are_bounded():
    def side_by_side(count, size=1):
        return beside("x", [(None, Source(str(i)), size) for i in range(count)], 1, 0)

    assert len(side_by_side(62).present()) == 62
    assert side_by_side(2, 1 << 15).masks.size == 1 << 16
    for count, size in [(63, 1), (64, 1), (2, (1 << 15) + 1)]:
        with pytest.raises(Lost):
            side_by_side(count, size)
    row, column = (Origins(SOURCES, np.arange(size).reshape(shape) % 8, "x") for size, shape in
                   [(256, (1, 256)), (257, (257, 1))])  # fmt: skip
    square = Origins(SOURCES, column.masks[:256], "x")
    assert joined("y", [(row, "p"), (square, "q")]).masks.shape == (256, 256)
    with pytest.raises(Lost):
        joined("y", [(row, "p"), (column, "q")])
