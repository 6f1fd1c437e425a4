"""PyTorch's operators on spectra; they register with ``HANDLERS``.

A frequency reads all of the dimensions that are transformed, and stays where it stands along them: a transform and its
inverse then mix an axis that keeps its place. A short-time transform is a window slid over time.
"""

from __future__ import annotations

from collections.abc import Sequence

from rfgraph.importers import program
from rfgraph.importers.program import Builder, Dim, Expression, Value, product
from rfgraph.importers.spelling import UnspelledError, shape_of, whole_number
from rfgraph.importers.torch.nodes import HANDLERS, Made, Node

KINDS = ("fft", "ifft", "rfft", "irfft", "hfft", "ihfft")
TRANSFORMS = {f"fft_{kind}{rank}": (kind, rank) for kind in KINDS for rank in ("", "2", "n")}
#: Those whose last dimension holds half of the frequencies afterwards, and those where it did before.
TO_HALF, FROM_HALF = ("rfft", "ihfft"), ("irfft", "hfft")


@HANDLERS.handles(*TRANSFORMS)
def _fft(node: Node, build: Builder) -> Made:
    kind, rank = TRANSFORMS[node.op]
    dims, sizes = _transformed(node, rank)
    spectrum = node.x
    for k, d in enumerate(dims):
        wanted = sizes[k] if sizes is not None else None
        had = shape_of(spectrum)[d]
        if kind in FROM_HALF and k == len(dims) - 1 and wanted is None:
            wanted = 2 * (had - 1)
        if wanted is not None and wanted != had:
            spectrum = build(program.Pad(amounts=_behind(spectrum, d, wanted - had)), spectrum, part=f"size/{k}")
    half = kind in TO_HALF
    spectrum = build(program.Mix(function="attention", dims=tuple(dims)), spectrum, part="whole" if half else "")
    if half:
        d = dims[-1]
        stop = shape_of(spectrum)[d] // 2 + 1
        spectrum = build(program.Slice(dims=(d,), starts=(0,), stops=(stop,), steps=(1,)), spectrum)
    return spectrum


def _transformed(node: Node, rank: str) -> tuple[list[int], Sequence[Dim] | None]:
    """Return the dimensions that are transformed, the last one last, and their sizes where these are given."""
    name = "s" if rank else "n"
    sizes = node.sizes(name) if node.get(name) is not None else None
    if not rank:
        return [node.dim(default=-1)], sizes
    if node.get("dim") is None:
        count = len(sizes) if sizes is not None else 2 if rank == "2" else node.rank
        return list(range(node.rank - count, node.rank)), sizes
    given = [whole_number("dim", d) for d in node.sizes("dim")]
    if any(not -node.rank <= d < node.rank for d in given):
        raise ValueError(f"its dimensions {given} are not those of its input")
    return [d % node.rank for d in given], sizes


def _behind(x: Value, d: int, more: Dim) -> tuple[tuple[Dim, Dim], ...]:
    return tuple((0, more) if e == d else (0, 0) for e in range(len(shape_of(x))))


@HANDLERS.handles("fft_fftshift", "fft_ifftshift")
def _shift(node: Node, build: Builder) -> Made:
    given = node.get("dim")
    dims = range(node.rank) if given is None else [whole_number("dim", d) % node.rank for d in node.sizes("dim")]
    tensor = node.x
    for d in dims:
        size = whole_number("size", node.shape[d])
        tensor = build(
            program.Roll(dim=d, shift=size // 2 if node.op == "fft_fftshift" else -(size // 2)), tensor, part=str(d)
        )
    return build(program.Pointwise(function="identity"), tensor)


@HANDLERS.handles("stft")
def _stft(node: Node, build: Builder) -> Made:
    if node.get("center", False):
        raise UnspelledError("it pads its input itself")
    length, hop, width = _frames(node)
    time = node.rank - 1
    signal = node.x if node.rank == 2 else build(program.Unsqueeze(dims=(0,)), node.x, part="batch")
    signal = build(program.Unsqueeze(dims=(1,)), signal, part="channel")
    left = (length - width) // 2  # beside a shorter window there are zeros
    before, behind, bound = _taps(node, build, width)
    frequencies = length // 2 + 1 if node.get("onesided", True) else length
    slide = program.Slide(
        function="conv", dims=(2,), kernel=(width - before - behind,), stride=(hop,),
        padding=((-left - before, left + width - length - behind),), dilation=(1,), channel=1, channels=frequencies,
        bound=bound,
    )  # fmt: skip
    frames = build(slide, signal, part="frames" if time == 0 or not node.get("return_complex", False) else "", macs=0)
    if time == 0:
        frames = build(program.Squeeze(dims=(0,)), frames, part="spectrum")
    return frames if node.get("return_complex", False) else _pairs(build, frames)


def _taps(node: Node, build: Builder, width: int) -> tuple[int, int, str]:
    """Return how many numbers of a window are 0 before the others and behind them, and why it may read less even so."""
    window = node.get("window")
    return build.taps(window, width) if isinstance(window, Value) and window.constant else (0, 0, "")


def _frames(node: Node) -> tuple[int, int, int]:
    """Return the size of a transform, the step between frames, and the width of their window."""
    length = node.integer("n_fft")
    hop, width = node.integer("hop_length", length // 4), node.integer("win_length", length)
    if not 0 < width <= length or hop < 1:
        raise ValueError(f"a window of {width}, step {hop}, does not fit a transform of {length}")
    return length, hop, width


@HANDLERS.handles("istft")
def _istft(node: Node, build: Builder) -> Made:
    """Frames added up where they lie: a transposed convolution over time."""
    length, hop, width = _frames(node)
    spectrum = node.x if node.rank == 3 else build(program.Unsqueeze(dims=(0,)), node.x, part="batch")
    left = (length - width) // 2
    before, behind, bound = _taps(node, build, width)
    slide = program.SlideTransposed(
        dims=(2,), kernel=(width - before - behind,), stride=(hop,),
        padding=((-left - before, left + width - length - behind),), output_padding=(0,), dilation=(1,), channel=1,
        channels=1, bound=bound,
    )  # fmt: skip
    signal = build(slide, spectrum, part="frames", macs=0)
    total = shape_of(signal)[2]
    cut = length // 2 if node.get("center", True) else 0
    wanted = total - 2 * cut if node.get("length") is None else node.size("length")
    signal = build(program.Pad(amounts=((0, 0), (0, 0), (-cut, wanted + cut - total))), signal, part="cut")
    return build(program.Squeeze(dims=(0, 1) if node.rank == 2 else (1,)), signal)


@HANDLERS.handles("view_as_real")
def _as_real(node: Node, build: Builder) -> Made:
    return _pairs(build, node.x)


def _pairs(build: Builder, x: Value) -> Value:
    """Return real and imaginary parts, side by side in a last dimension."""
    shape = shape_of(x)
    wide = build(program.Unsqueeze(dims=(len(shape),)), x, part="part")
    return build(program.Expand(shape=(*shape, 2)), wide)


@HANDLERS.handles("view_as_complex")
def _as_complex(node: Node, build: Builder) -> Made:
    if node.shape[-1] != 2:
        raise ValueError(f"its last dimension has {node.shape[-1]} elements, not 2")
    return build(program.Reduce(function="sum", dims=(node.rank - 1,), keepdims=False), node.x)


#: Windows that spectra are taken of: constants.
@HANDLERS.handles("bartlett_window", "blackman_window", "kaiser_window")
def _window(node: Node, build: Builder) -> Made:
    size = node.size("window_length")
    if isinstance(product((size,)), Expression):
        raise UnspelledError("its length depends on the input size")
    return build.weight((size,), node.name)
