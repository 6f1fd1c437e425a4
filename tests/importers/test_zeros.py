"""Constants that hold zeros: what they are multiplied with is not read there, and nothing says that it is, exactly."""

from __future__ import annotations

from math import prod

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_lowering import Net

import rfgraph
from rfgraph.importers import program as p
from rfgraph.importers.lowering.lower import lower
from rfgraph.importers.program.numbers import ALL, UNSEEN, Numbers, Zeros, of_function

SIDE = 5
KINDS = ("triangle", "other triangle", "full", "none", "random", "random", "random")


@st.composite
def patterns(draw, *shape):
    """Where a constant is not 0."""
    match draw(st.sampled_from(KINDS)):
        case "triangle":
            return np.tril(np.ones((max(shape),) * 2, dtype=int))[-1 if len(shape) == 1 else slice(None)]
        case "other triangle":
            return np.triu(np.ones((max(shape),) * 2, dtype=int))[1 if len(shape) == 1 else slice(None)]
        case "full":
            return np.ones(shape, dtype=int)
        case "none":
            return np.zeros(shape, dtype=int)
    return np.array(draw(st.lists(st.integers(0, 1), min_size=prod(shape), max_size=prod(shape)))).reshape(shape)


def check(net, x, read):
    """Hold the regions of the last node against ``read``: which positions [input] each [output] reads."""
    program = net.build.program([x])
    graph = lower(program)
    last = list(graph)[-1]
    report = rfgraph.analyze(graph)
    for y, row in enumerate(read):
        places = np.flatnonzero(row)
        region = report.region(last, (y,))
        box = ((int(places[0]), int(places[-1])),) if len(places) else None
        if region.status == "exact":
            assert region.box == box, (y, region)
        else:
            assert region.status == "bound"
            assert box is None or (region.box[0][0] <= box[0][0] and box[0][1] <= region.box[0][1])
    return report[last]


def near(read):
    """Return what a window of 3 reads of positions that read ``read``."""
    padded = np.pad(read, ((1, 1), (0, 0)))
    return padded[:-2] | padded[1:-1] | padded[2:]


@given(patterns(SIDE, SIDE), st.booleans())
def test_positions_that_a_matrix_mixes_are_those_that_it_has_numbers_for(pattern, transposed):
    net = Net((1, 2, SIDE))
    x = net.conv(net.x, dims=(2,))
    weight = net.build.weight((SIDE, SIDE), "matrix", lambda: pattern.astype(np.float32))
    labels = ("t", "s") if transposed else ("s", "t")
    x = net(p.Contract(operands=(("b", "c", "t"), labels), output=("b", "c", "s")), x, weight)
    read = (pattern.T if transposed else pattern) @ near(np.eye(SIDE, dtype=int))
    layer = check(net, x, np.ones((SIDE, SIDE)) if not pattern.any() else read)
    if pattern.all() or not pattern.any():  # one of zeros alone is yet to be learned
        assert layer.status == "exact"


WHERE = p.Pointwise(function="where")

#: How a mask hides products: what it is made of where it shows them and where it does not, and how it is applied.
HIDING = {
    "chosen": lambda net, mask, scores: net(
        p.Pointwise(function="where"), mask(True, False), scores, net.number(-np.inf)
    ),
    "filled": lambda net, mask, scores: net(p.Pointwise(function="where"), mask(False, True), net.number(-1e9), scores),
    "added": lambda net, mask, scores: net.add(scores, mask(0.5, -1e9)),
    "added by words": lambda net, mask, scores: net.add(mask(True, False), scores),
    "taken away": lambda net, mask, scores: net(p.Pointwise(function="sub"), scores, mask(0, 1e12)),
    "at most": lambda net, mask, scores: net(p.Pointwise(function="min"), scores, mask(1e30, -np.inf)),
    "multiplied": lambda net, mask, scores: net.mul(scores, mask(2, 0)),
    "zeroed": lambda net, mask, scores: net(WHERE, mask(False, True), net.number(0), scores),
}


class Masked(Net):
    def number(self, number):
        return self.build.weight((), read=lambda: np.asarray(number))


@given(patterns(SIDE, SIDE), st.sampled_from(sorted(HIDING)))
def test_positions_that_a_mask_hides_are_not_read(pattern, hiding):
    net, shown = Masked((1, 2, SIDE)), pattern | np.eye(SIDE, dtype=int)
    t = net.transpose(net.conv(net.x, dims=(2,)), 0, 2, 1)
    scores = net(p.Contract(operands=(("b", "i", "c"), ("b", "j", "c")), output=("b", "i", "j")), t, t)
    zeros = hiding in ("multiplied", "zeroed")

    def mask(shows, hides):
        return net.build.weight((SIDE, SIDE), read=lambda: np.where(shown, shows, hides))

    scores = HIDING[hiding](net, mask, scores)
    if not zeros:
        scores = net(p.Mix(function="softmax", dims=(2,)), scores)
    made = net(p.Contract(operands=(("b", "i", "j"), ("b", "j", "c")), output=("b", "i", "c")), scores, t)
    layer = check(net, net.transpose(made, 0, 2, 1), shown @ near(np.eye(SIDE, dtype=int)))
    triangle = np.array_equal(shown, np.tril(np.ones((SIDE, SIDE)))) or np.array_equal(shown, np.triu(shown | 1))
    assert not triangle or layer.status == "exact"


@pytest.mark.parametrize("beside", ["before", "weights", "twice"])
def test_a_mask_that_comes_too_late_hides_nothing(beside):
    """What reads a whole row of products before its mask, or the products themselves, reads all columns."""
    net, triangle = Masked((1, 2, SIDE)), np.tril(np.ones((SIDE, SIDE)))
    t = net.transpose(net.conv(net.x, dims=(2,)), 0, 2, 1)
    scores = net(p.Contract(operands=(("b", "i", "c"), ("b", "j", "c")), output=("b", "i", "j")), t, t)
    softmax, sums = p.Mix(function="softmax", dims=(2,)), (("b", "i", "j"), ("b", "j", "c"))
    mask = net.build.weight((SIDE, SIDE), read=lambda: triangle if beside == "before" else np.log(triangle))
    kept = net.mul(net(softmax, scores), mask) if beside == "before" else net(softmax, net.add(scores, mask))
    if beside == "weights":
        kept = net.add(kept, scores)
    values = net(p.Contract(operands=sums, output=("b", "i", "c")), kept, t)
    if beside == "twice":
        values = net.add(values, net(p.Contract(operands=sums, output=("b", "i", "c")), scores, t))
    layer = check(net, net.transpose(values, 0, 2, 1), np.ones((SIDE, SIDE), dtype=int))
    assert layer.is_global == (True,)


@given(patterns(3), patterns(3))
def test_windows_read_the_taps_that_their_weights_have_numbers_for(one, other):
    net = Net((1, 2, SIDE))
    weights = np.stack([one, other])[:, None]
    weight = net.build.weight((2, 1, 3), "kernel", lambda: weights)
    window = p.Slide(
        function="conv", dims=(2,), kernel=(3,), stride=(1,), padding=((1, 1),), dilation=(1,), channel=1, channels=2,
        groups=2, bound=net.build.bound(weight, (2,)), apart=net.build.apart(weight, (2,), (0,)),
    )  # fmt: skip
    x = net(window, net.x)
    taps = one | other if (one | other).any() else np.ones(3, dtype=int)
    read = np.array([[0 <= (tap := i - y + 1) < 3 and taps[tap] for i in range(SIDE)] for y in range(SIDE)])
    check(net, x, read)
    first = net(p.Slice(dims=(1,), starts=(0,), stops=(1,), steps=(1,)), x)
    if one.any():
        taps = one
        read = np.array([[0 <= (tap := i - y + 1) < 3 and taps[tap] for i in range(SIDE)] for y in range(SIDE)])
        check(net, first, read)


@given(patterns(SIDE))
def test_a_map_is_hidden_where_what_it_is_multiplied_with_is_zero(pattern):
    net = Net((1, 2, SIDE))
    mask = net.build.weight((SIDE,), "mask", lambda: pattern)
    x = net(p.Pointwise(function="mul"), net.conv(net.x, dims=(2,)), mask)
    read = near(np.eye(SIDE, dtype=int)) * (pattern if pattern.any() else np.ones(SIDE, dtype=int))[:, None]
    check(net, x, read)


def test_channels_that_are_silenced_read_nothing():
    for other in (False, True):
        net = Net((1, 2, SIDE))
        x = net.conv(net.x, channels=2, dims=(2,))
        x = net.concat(1, x, net.conv(x, channels=2, dims=(2,))) if other else x
        channels = x.shape[1]
        row = net.build.weight((channels, 1), "row", lambda channels=channels: np.eye(channels)[0].reshape(-1, 1))
        scaled = net(p.Pointwise(function="mul"), x, row)
        last = net(p.Slice(dims=(1,), starts=(1,), stops=(2,), steps=(1,)), scaled)
        report = rfgraph.analyze(lower(net.build.program([last])))
        assert report[scaled.name].status == ("bound" if other else "exact")
        assert report[last.name].status == "bound"


@pytest.mark.parametrize(("learned", "want"), [(False, "bound"), (True, "exact")])
def test_a_channel_that_a_fixed_matrix_makes_of_nothing_reads_nothing(learned, want):
    net = Net((1, 2, SIDE))
    weight = net.build.weight((3, 2), "matrix", lambda: np.array([[1, 1], [1, 0], [0, 0]]))
    weight = net.build.learn(weight, "matrix") if learned else weight  # then it is a unit that has learned nothing yet
    made = net(
        p.Contract(operands=(tuple("bct"), tuple("oc")), output=tuple("bot")), net.conv(net.x, dims=(2,)), weight
    )
    last = net(p.Slice(dims=(1,), starts=(2,), stops=(3,), steps=(1,)), made)
    report = rfgraph.analyze(lower(net.build.program([last])))
    assert (report[made.name].status, report[last.name].status) == ("exact", want)


@pytest.mark.parametrize("function", ["or", "min", "max", "pow"])
def test_a_map_may_be_hidden_by_what_ends_or_decides(function):
    net = Net((1, 2, SIDE))
    other = net.build.weight((SIDE,), "other", lambda: np.array([1, 0, 1, 1, 0]))
    x = net(p.Pointwise(function=function), net.conv(net.x, dims=(2,)), other)
    report = rfgraph.analyze(lower(net.build.program([x])))
    assert report[list(report)[-1]].status == "bound"


def test_a_dense_layer_of_some_positions_is_a_bound_and_a_unit_of_zeros_alone_is_none():
    for dead, status in ((False, "bound"), (True, "exact")):
        net = Net((1, 1, SIDE))
        x = net.reshape(net.conv(net.x, channels=1, dims=(2,)), 1, SIDE)
        weights = np.ones((3, SIDE))
        weights[1, slice(None) if dead else 2] = 0
        weight = net.build.weight((3, SIDE), "dense", lambda weights=weights: weights)
        x = net(p.Contract(operands=(("b", "t"), ("o", "t")), output=("b", "o")), x, weight)
        report = rfgraph.analyze(lower(net.build.program([x])))
        assert report[list(report)[-1]].status == status


def test_zeros_are_followed_through_moves_and_products_of_constants():
    net = Net((1, 2, SIDE))
    triangle = net.build.weight((SIDE, SIDE), "triangle", lambda: np.tril(np.ones((SIDE, SIDE))))
    learned = net.build.learn(net.build.weight((SIDE, SIDE), "learned"))
    masked = net(p.Pointwise(function="mul"), learned, triangle)
    turned = net(p.Transpose(permutation=(1, 0)), masked)
    assert (turned.numbers.look() == np.triu(np.ones((SIDE, SIDE)))).all()
    assert net(p.Pointwise(function="mul"), learned, learned).numbers is None
    assert net(p.Pointwise(function="trilu"), learned).numbers is UNSEEN
    assert net(p.Pointwise(function="exp"), triangle).numbers is None
    chosen = of_function("where", [Numbers(lambda: np.eye(2)), ALL, Numbers(lambda: np.zeros((2, 2)))])
    assert (chosen.look() == np.eye(2)).all()


def test_products_that_are_alike_but_for_their_numbers_are_told_apart():
    net = Net((1, 2, SIDE))
    x, read = net.conv(net.x, dims=(2,)), near(np.eye(SIDE, dtype=int))
    for number, pattern in enumerate([np.ones((SIDE, SIDE)), np.tril(np.ones((SIDE, SIDE))), np.eye(SIDE)]):
        weight = net.build.weight((SIDE, SIDE), f"matrix {number}", lambda pattern=pattern: pattern)
        x = net(p.Contract(operands=(("b", "c", "t"), ("s", "t")), output=("b", "c", "s")), x, weight)
        read = pattern.astype(int) @ read
    check(net, x, read)
    report = rfgraph.analyze(lower(net.build.program([x])))
    assert [report[name].status for name in report if "contract" in name] == ["exact", "exact", "bound", "bound"]


def test_numbers_that_are_not_there_are_none():
    def missing():
        raise ValueError("no contents")

    assert Numbers(missing).look() is None
    far = Numbers(lambda: np.ones(2))
    for _ in range(100):  # steps of a file are not followed for ever
        far = None if far is None else of_function("mul", [far, far])
    assert far is None


# The same in files and live models.


def matrices():
    """Matrices that are multiplied along the positions of a map, and what is known of what is read."""
    generator = np.random.default_rng(0)
    n = 20
    return {
        "triangle": (np.tril(np.ones((n, n))), "exact", (0, 6)),
        "other triangle": (np.triu(np.ones((n, n))), "exact", (4, n - 1)),
        "band": (np.tril(np.triu(np.ones((n, n)), -3)), "bound", (0, n - 1)),
        "weights": (generator.normal(size=(n, n)), "exact", (0, n - 1)),
    }


def check_matrix(name, report):
    _, status, box = matrices()[name]
    layer = report[report.outputs[0]]
    assert layer.status == status
    region = report.region(layer.name, (5,))
    assert (region.status, region.box) == (status, (box,))


@pytest.mark.parametrize("name", matrices())
def test_a_matrix_of_an_onnx_file_is_looked_at(name, tmp_path):
    onnx = pytest.importorskip("onnx")
    helper, held = onnx.helper, onnx.numpy_helper.from_array
    matrix = matrices()[name][0].astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["x", "kernel"], ["map"], pads=[1, 1]),
        helper.make_node("Transpose", ["matrix"], ["turned"], perm=[1, 0]),
        helper.make_node("MatMul", ["map", "turned"], ["y"]),
    ]
    size = [1, 2, len(matrix)]
    graph = helper.make_graph(
        nodes, "toy", [helper.make_tensor_value_info("x", 1, size)], [helper.make_tensor_value_info("y", 1, None)],
        [held(np.ones((2, 2, 3), np.float32), "kernel"), held(matrix, "matrix")],
    )  # fmt: skip
    onnx.save(helper.make_model(graph), tmp_path / "toy.onnx")
    check_matrix(name, rfgraph.analyze(str(tmp_path / "toy.onnx")))


@pytest.mark.parametrize("name", matrices())
def test_a_matrix_that_a_jax_function_holds_is_looked_at(name):
    jax = pytest.importorskip("jax")
    matrix, kernel = jax.numpy.asarray(matrices()[name][0]), jax.numpy.ones((3, 2, 2))

    def model(x):
        lay = ("NWC", "WIO", "NWC")
        x = jax.lax.conv_general_dilated(x, kernel, (1,), "SAME", dimension_numbers=lay)
        return jax.numpy.einsum("st,btc->bsc", matrix, x)

    check_matrix(name, rfgraph.analyze(model, example=(1, len(matrix), 2)))


@pytest.mark.parametrize("saved", [False, True])
@pytest.mark.parametrize("name", matrices())
def test_a_matrix_that_masks_weights_of_a_torch_module_is_looked_at(name, saved, tmp_path):
    torch = pytest.importorskip("torch")
    matrix = torch.tensor(matrices()[name][0], dtype=torch.float32)

    class Masked(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.mix = torch.nn.Conv1d(2, 2, 3, padding=1), torch.nn.Linear(20, 20)
            self.register_buffer("mask", matrix)

        def forward(self, x):
            return torch.nn.functional.linear(self.conv(x), self.mix.weight * self.mask)

    if saved:
        exported = torch.export.export(Masked(), (torch.ones(1, 2, 20),))
        torch.export.save(exported, tmp_path / "toy.pt2")
        check_matrix(name, rfgraph.analyze(str(tmp_path / "toy.pt2")))
    else:
        check_matrix(name, rfgraph.analyze(Masked(), example=(1, 2, 20)))


WINDOWS = {
    "ones": lambda torch: torch.ones(16),
    "hann": lambda torch: torch.hann_window(16),
    "hann of both ends": lambda torch: torch.hann_window(16, periodic=False),
    "shorter": lambda torch: torch.hann_window(10),
}


@pytest.mark.parametrize("stored", [False, True])
@pytest.mark.parametrize("name", WINDOWS)
def test_frames_of_a_spectrum_read_what_their_window_does_not_silence(name, stored):
    torch = pytest.importorskip("torch")

    class Spectrum(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = torch.nn.Conv1d(9, 2, 1)
            self.register_buffer("window", WINDOWS[name](torch))

        def forward(self, x):
            window = self.window if stored else WINDOWS[name](torch)
            bins = torch.stft(x, 16, 4, len(window), window=window, center=False, return_complex=True)
            return self.conv(bins.abs())

    x = torch.randn(1, 40, requires_grad=True)
    made = Spectrum()(x)
    report = rfgraph.analyze(Spectrum(), example=(1, 40))
    (output,) = report.outputs
    assert report[output].status == "exact"
    for t in range(made.shape[2]):
        (gradient,) = torch.autograd.grad(made[0, :, t].sum(), x, retain_graph=True)
        read = np.flatnonzero(gradient[0].numpy())
        assert report.region(output, (t,)).box == ((int(read[0]), int(read[-1])),)


def test_a_window_of_zeros_between_others_is_a_bound():
    build = Net((1, 2, SIDE)).build
    assert build.taps(build.weight((5,), "w", lambda: np.array([0, 1, 0, 1, 0])), 5) == (1, 1, p.SPARSE)
    assert build.taps(build.weight((5,), "w", lambda: np.array([0, 1, 1, 1, 0])), 5) == (1, 1, "")
    assert build.taps(None, 5) == (0, 0, "")


KERNELS = {
    "as it is": (lambda jnp, kernel: kernel, "exact"),
    "normalised": (lambda jnp, kernel: (kernel - kernel.mean()) / (kernel.std() + 1e-5), "exact"),
    "turned": (lambda jnp, kernel: kernel[::-1], "exact"),
    "padded": (lambda jnp, kernel: jnp.pad(kernel, ((2, 0), (0, 0), (0, 0))), "bound"),
    "with zeros between": (lambda jnp, kernel: jnp.zeros((7, 2, 2)).at[::3].set(kernel), "bound"),
    "behind zeros": (lambda jnp, kernel: jnp.concatenate([jnp.zeros((2, 2, 2)), kernel]), "bound"),
    "masked": (lambda jnp, kernel: jnp.where(jnp.arange(3)[:, None, None] < 2, kernel, 0), "bound"),
    "times a mask": (lambda jnp, kernel: kernel * jnp.array([1.0, 1.0, 0.0])[:, None, None], "bound"),
}


@pytest.mark.parametrize("name", KERNELS)
def test_a_kernel_that_jax_computes_holds_zeros_where_they_are_put(name):
    jax = pytest.importorskip("jax")
    made, status = KERNELS[name]
    kernel = jax.numpy.arange(1.0, 13.0).reshape(3, 2, 2)

    def model(x):
        weights, lay = made(jax.numpy, kernel), ("NWC", "WIO", "NWC")
        return jax.lax.conv_general_dilated(x, weights, (1,), "SAME", dimension_numbers=lay)

    report = rfgraph.analyze(model, example=(1, 12, 2))
    assert report[report.outputs[0]].status == status


def test_every_second_row_is_written_beside_another_map():
    torch = pytest.importorskip("torch")

    class Interleaved(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = (torch.nn.Conv1d(1, 2, k, padding=k // 2) for k in (3, 5))

        def forward(self, x):
            y = torch.zeros(1, 2, 2 * x.shape[2])
            y[:, :, 0::2], y[:, :, 1::2] = self.first(x), self.second(x)
            return y

    report = rfgraph.analyze(Interleaved(), example=(1, 1, 6))
    (output,) = report.outputs
    assert report[output].status == "exact"
    assert [report.region(output, (y,)).box for y in (4, 5)] == [((1, 3),), ((0, 4),)]


def test_weights_that_are_no_numbers_are_looked_at_like_others():
    signalling = np.array([0x7F800001, 0x3F800000], np.uint32).view(np.float32)  # it warns where one computes with it
    zeros, weight = Zeros(), Numbers(lambda: signalling)
    assert zeros.missing(weight, (0,), fixed=True) is None
    assert not zeros.picks(weight, ())
