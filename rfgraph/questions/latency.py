"""Latency: how long a streaming network waits for its output, what chunks it takes, and what it keeps between them.

Output ``y`` stands at the time of input ``y * S``. It *looks ahead* by what it reads beyond that, and must wait for it;
how far it reads before is its *past*. Chunks of input come in multiples of ``K``, the least common multiple of the
numerators of the effective strides of all maps on the way, since in between some map has no whole step to make.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from math import ceil, floor, isfinite, lcm
from numbers import Real
from typing import Any, Literal, NamedTuple

from rfgraph.algebra.window import Number, Window, as_number
from rfgraph.errors import AttributeValueError, LatencyError
from rfgraph.frozen import dataclass
from rfgraph.ops import Op
from rfgraph.passes.available import available, states
from rfgraph.passes.compiled import Compiled
from rfgraph.passes.fields import forward
from rfgraph.passes.fold import between
from rfgraph.questions.findings import Finding, named_axes


class LayerLatency(NamedTuple):
    """What one layer waits for and keeps; in input samples, and features of its own map."""

    node: Hashable
    op: str
    stride: Number
    #: Input samples that it reads beyond its own position, at the phase that reads furthest.
    look_ahead: Number
    #: Input samples that it reads before its own position; ``None`` if all of them, as a recurrence does.
    past: Number | None
    #: Features of its map that are kept between chunks.
    state: int
    #: Channels of its map, ``None`` where the network does not tell.
    channels: int | None = None
    #: Whether it carries a recurrent state besides: what it needs of all that it has read.
    recurrent: bool = False

    @property
    def values(self) -> int | None:
        """Numbers that are kept between chunks, ``None`` where the channels are not known."""
        return 0 if not self.state else None if self.channels is None else self.state * self.channels

    @property
    def bytes(self) -> int | None:
        """Bytes that are kept between chunks, as 32-bit floats."""
        return None if self.values is None else 4 * self.values


@dataclass(frozen=True)
class LatencyBlocker:
    """A node that forbids streaming, and why."""

    node: Hashable
    op: str
    axis: str
    why: str

    def __str__(self) -> str:
        return f"node {self.node!r} ({self.op}), axis {self.axis}: {self.why}"


@dataclass(frozen=True)
class Latency:
    """How a network streams along one axis. ``report.latency`` makes it.

    Lengths are in input samples; those in seconds and milliseconds want a sample rate.

    Examples
    --------
    >>> import rfgraph
    >>> net = rfgraph.Network("causal", axes=1)
    >>> x = net.conv("a", net.input("x"), kernel=4, stride=2, padding=[[2, 0]])
    >>> _ = net.conv("b", x, kernel=3, padding=[[2, 0]])
    >>> latency = rfgraph.analyze(net).latency(sample_rate=16000, chunk=320)
    >>> latency.look_ahead, latency.causal, latency.samples, latency.milliseconds
    (1, True, 321, 20.0625)
    """

    layer: Hashable
    source: Hashable
    axis: str
    #: From the source to the layer, in topological order; empty where streaming is forbidden.
    layers: tuple[LayerLatency, ...]
    #: Chunks come in multiples of so many samples.
    multiple: int
    blockers: tuple[LatencyBlocker, ...]
    exact: bool = True
    sample_rate: Number | None = None
    #: Samples of a chunk.
    chunk: int | None = None

    @property
    def status(self) -> Literal["exact", "bound", "forbidden"]:
        """``forbidden`` where ``blockers`` name the nodes; ``bound`` where the look-ahead may be less."""
        return "forbidden" if self.blockers else "exact" if self.exact else "bound"

    @property
    def look_ahead(self) -> Number:
        """Samples that an output reads beyond its own position, at most."""
        return self._last.look_ahead

    @property
    def past(self) -> Number | None:
        """Samples that an output reads before its own position, at most; ``None`` if all of them."""
        return self._last.past

    @property
    def stride(self) -> Number:
        """Samples from one output to the next: the hop."""
        return self._last.stride

    @property
    def causal(self) -> bool:
        """Whether no output reads a sample that comes after those of its own step: look-ahead < stride."""
        return self.look_ahead < self.stride

    @property
    def first_ahead(self) -> Hashable | None:
        """The first node that looks ahead as far as its own stride or further, ``None`` if there is none."""
        self._check()
        return next((layer.node for layer in self.layers if layer.look_ahead >= layer.stride), None)

    @property
    def waits(self) -> bool:
        """Whether chunks of ``multiple`` samples have to wait for later ones: look-ahead >= multiple."""
        return self.look_ahead >= self.multiple

    @property
    def samples(self) -> Number:
        """Algorithmic latency in samples: look-ahead and a chunk, or look-ahead and one sample."""
        return self.look_ahead + (self.chunk or 1)

    @property
    def outputs_per_chunk(self) -> Number:
        """How many outputs a chunk makes, by default one of the least size."""
        return as_number(Fraction(self.chunk or self.multiple) / Fraction(self.stride))

    @property
    def milliseconds(self) -> float:
        """Algorithmic latency in milliseconds."""
        return self.in_milliseconds(self.samples)

    def in_milliseconds(self, samples: Number) -> float:
        """Return a number of samples in milliseconds.

        Raises
        ------
        LatencyError
            If no sample rate was given.
        """
        if self.sample_rate is None:
            raise LatencyError("milliseconds want a sample rate: latency(sample_rate=16000)")
        return float(Fraction(samples) * 1000 / Fraction(self.sample_rate))

    @property
    def state(self) -> int:
        """Features of all maps that are kept between chunks."""
        self._check()
        return sum(layer.state for layer in self.layers)

    @property
    def values(self) -> int | None:
        """Numbers that are kept between chunks, ``None`` where channels are not known."""
        self._check()
        values = [layer.values for layer in self.layers]
        return None if None in values else sum(value for value in values if value is not None)

    @property
    def bytes(self) -> int | None:
        """Bytes that are kept between chunks, as 32-bit floats, ``None`` where channels are not known."""
        return None if self.values is None else 4 * self.values

    @property
    def _last(self) -> LayerLatency:
        self._check()
        return self.layers[-1]

    def _check(self) -> None:
        if self.blockers:
            more = f", and {len(self.blockers) - 1} more" if len(self.blockers) > 1 else ""
            raise LatencyError(f"{self.layer!r} cannot be streamed: {self.blockers[0]}{more}")

    def verify(self, run: Callable[[Any], Any], signal: Any) -> None:
        """Confirm look-ahead and chunks by running a callable on ``signal``, on prefixes of it, and on changed ones.

        An output that waits for no sample of the rest must be the same whatever the rest is, and where there is none;
        one that reads the last sample must change with it, at some phase. And a chunk more must settle as many outputs
        more as are said.

        Parameters
        ----------
        run
            What computes the outputs: an array in, an array out; time is the last dimension of both.
        signal
            A numpy array of a few times the past and look-ahead, of which no stretch is silent.

        Raises
        ------
        LatencyError
            If the callable looks ahead further than this, or less far at every phase, or takes other chunks.
        """
        import numpy as np

        self._check()
        length, stride = signal.shape[-1], Fraction(self.stride)
        reach = ceil(self.look_ahead + (self.past or 0))
        least = reach + 3 * self.multiple
        if length < least:
            raise LatencyError(f"the signal has {length} samples; verifying wants {least}")
        whole = np.asarray(run(signal))
        tolerance = 64 * np.finfo(np.result_type(whole, np.float32)).eps * float(np.abs(whole).max(initial=0))

        def settled(other: Any) -> int:
            """How many outputs are those of the whole, from the first on."""
            outputs = min(whole.shape[-1], other.shape[-1])
            away = np.abs(np.subtract(whole[..., :outputs], other[..., :outputs], dtype=np.float64))
            differs = away.reshape(-1, outputs).max(axis=0, initial=0) > tolerance
            return int(np.argmax(differs)) if differs.any() else outputs

        # Changed from some sample on: no sample of a step may be missed.
        reached = None
        start = (length - self.multiple) // self.multiple * self.multiple
        for cut in range(start - self.multiple, start + 1):
            changed = np.array(signal, copy=True)
            changed[..., cut:] = changed[..., cut:][..., ::-1] + 1
            first = settled(np.asarray(run(changed)))
            if first == whole.shape[-1]:
                continue
            ahead = cut - first * stride
            if ahead > self.look_ahead:
                raise LatencyError(
                    f"output {first} changes with sample {cut}: it looks ahead by {ahead} samples, "
                    f"not {self.look_ahead}"
                )
            reached = ahead if reached is None else max(reached, ahead)
        if reached is None or reached < self.look_ahead:
            raise LatencyError(f"no output looks ahead further than {reached} samples; {self.look_ahead} were said")
        # Ended after whole chunks.
        outputs_per_chunk = self.multiple / stride
        counts = []
        for end in range(start - 2 * self.multiple, start + 1, self.multiple):
            counts.append(settled(np.asarray(run(signal[..., :end]))))
            ready = ceil((end - self.look_ahead) / stride)  # the first output that may wait for a sample at the end
            if counts[-1] < min(ready, whole.shape[-1]):
                raise LatencyError(
                    f"output {counts[-1]} differs where the signal ends after {end} samples, and waits for none of the "
                    "rest by what is said"
                )
        for fewer, more in pairwise(counts):
            if more - fewer != outputs_per_chunk:
                raise LatencyError(
                    f"a chunk of {self.multiple} samples more settles {more - fewer} outputs more, and "
                    f"{outputs_per_chunk} are said"
                )


def check_rate(sample_rate: Number) -> None:
    """Refuse what is no number of samples per second.

    Raises
    ------
    AttributeValueError
        If it is not a positive, finite number.
    """
    if not isinstance(sample_rate, Real) or not isfinite(sample_rate) or sample_rate <= 0:
        raise AttributeValueError(f"sample_rate {sample_rate!r} is not a positive number")


def look_ahead(field: Window) -> Number:
    """Return how far past ``y * S`` the outputs of a field read, at the phase that reads furthest."""
    return _reach(field)[1]


def past(field: Window) -> Number | None:
    """Return how far before ``y * S`` the outputs of a field read, at the phase that reads furthest.

    ``None`` if they read all that comes before.
    """
    return _reach(field)[2]


def _reach(field: Window) -> tuple[Number, Number, Number | None]:
    """Return the stride ``S`` of a field, and how far past and before ``y * S`` its outputs read."""
    step, phases = field.step, field.intervals
    period = len(phases)
    if period == 1 and phases[0] is not None:
        first, last = phases[0]
        return step, last, None if field.kind == "past" else -first
    # Sums over a period stay whole.
    after = max(ends[1] * period - y * step for y, ends in enumerate(phases) if ends is not None)
    before = max(y * step - ends[0] * period for y, ends in enumerate(phases) if ends is not None)
    return (
        field.stride,
        as_number(Fraction(after, period)),
        None if field.kind == "past" else as_number(Fraction(before, period)),
    )


def latency(
    compiled: Compiled,
    axis: int,
    node: int,
    source: int,
    channels: Callable[[Hashable], int | None] = lambda node: None,
    sample_rate: Number | None = None,
    chunk: int | None = None,
) -> Latency:
    """Return how ``node`` streams along ``axis``.

    Parameters
    ----------
    compiled
        The network.
    axis
        Index of the axis that is streamed.
    node, source
        Node ids.
    channels
        Channels of a node's map.
    sample_rate
        Samples per second.
    chunk
        Samples of a chunk.

    Raises
    ------
    LatencyError
        If ``chunk`` is no multiple of what the network takes.
    AttributeValueError
        If ``chunk`` or ``sample_rate`` is not positive.
    """
    if chunk is not None and (not isinstance(chunk, int) or chunk < 1):
        raise AttributeValueError(f"chunk {chunk!r} is not a positive number of samples")
    if sample_rate is not None:
        check_rate(sample_rate)
    layers = compiled.layers
    on_way = between(layers, source, [node])
    fields = forward(compiled, axis, source)
    names = layers.nodes[node], layers.nodes[source], layers.axes[axis]
    local, beyond = fields.local, fields.beyond
    # All that is read, by recurrences too.
    windows = [local[v] if beyond[v].kind == "empty" else local[v].hull(beyond[v]) for v in on_way]
    blocking = blockers(compiled, axis, on_way) or _lost(compiled, axis, on_way, windows)
    if blocking:
        return Latency(*names, (), 1, tuple(blocking), sample_rate=sample_rate, chunk=chunk)
    multiple = lcm(*{window.stride.numerator for window in windows})
    if chunk is not None and chunk % multiple:
        lower = chunk // multiple * multiple
        raise LatencyError(
            f"axis {layers.axes[axis]}: chunks come in multiples of {multiple} samples, and {chunk} is none; "
            f"take {f'{lower} or ' if lower else ''}{lower + multiple}"
        )
    kept = states(compiled, axis, available(compiled, axis, on_way))
    recurrent = {
        key
        for key, reads in {id(reads): reads for reads in compiled.reads[axis]}.items()
        if any(read.side == "past" for read in reads)
    }
    reads, nodes, kinds = compiled.reads[axis], layers.nodes, layers.kinds
    reaches: dict[int, tuple[Number, Number, Number | None]] = {}  # by ``id`` of windows, which nodes share
    rows = []
    for v, window in zip(on_way, windows, strict=True):
        reach = reaches.get(id(window))
        if reach is None:
            reaches[id(window)] = reach = _reach(window)
        name = nodes[v]
        row = name, kinds[v], *reach, kept.get(v, 0), channels(name), id(reads[v]) in recurrent
        rows.append(LayerLatency._make(row))
    return Latency(*names, tuple(rows), multiple, (), windows[-1].exact, sample_rate, chunk)


def blockers(compiled: Compiled, axis: int, on_way: Sequence[int]) -> list[LatencyBlocker]:
    """Return the nodes on the way that forbid streaming along ``axis``, in topological order."""
    layers, inside = compiled.layers, set(on_way)
    blocking = []
    free: set[int] = set()  # windows, by ``id``, that forbid nothing: ops that differ do not share them
    for v in on_way[1:]:
        reads = compiled.reads[axis][v]
        if id(reads) in free:
            continue
        whys = [_forbids(layers.ops[v][axis], read) for read in reads]
        if not any(whys):
            free.add(id(reads))
        elif why := next((why for tail, why in zip(layers.tails[v], whys, strict=True) if why and tail in inside), ""):
            blocking.append(LatencyBlocker(layers.nodes[v], layers.kinds[v], layers.axes[axis], why))
    return blocking


def _forbids(op: Op, read: Window) -> str:
    """Return why an op that reads an input so forbids streaming; "" if it does not."""
    if read.is_empty:
        return ""
    if op.joins:
        return "it concatenates along this axis, so what an output reads depends on where the stream ends"
    if op.window_cycle != 1:
        return "what it reads depends on the length of the whole stream"
    if read.is_unknown:
        return f"what it reads is not known: {read.why}"
    if read.side in ("future", "both"):
        return "it reads the stream to its end"
    if op.cycle[1] == 0:
        return "its map has one size, however long the stream is"
    return ""


def _lost(compiled: Compiled, axis: int, on_way: Sequence[int], windows: Sequence[Window]) -> list[LatencyBlocker]:
    """Return the first node whose last index is lost where a recurrence meets what is not followed."""
    layers = compiled.layers
    for v, window in zip(on_way, windows, strict=True):
        if window.kind == "full":
            why = f"how far it looks ahead is not known: {window.why}"
            return [LatencyBlocker(layers.nodes[v], layers.kinds[v], layers.axes[axis], why)]
    return []


@dataclass(frozen=True)
class LooksAhead(Finding):
    """The op ``node`` reads beyond the step of its own output, in a network that is to be causal.

    ``steps`` is by how many positions of the map that it reads, ``samples`` the same in input samples.

    Examples
    --------
    >>> from rfgraph import Network, analyze
    >>> net = Network("block", axes=1)
    >>> out = net.conv("conv", net.input("x"), kernel=3, padding=1)
    >>> (finding,) = analyze(net).asked({"RF010"})
    >>> finding.node, finding.steps, finding.samples
    ('conv', 1, 1)
    """

    #: ``None`` where it reads to the end of the map, or how far is not known.
    steps: int | None
    samples: Number | None
    #: The padding that makes it causal, ``None`` if padding does not.
    padding: tuple[int, int] | None
    #: Why it is not known to be causal, where there are no steps.
    why: str = ""

    @property
    def message(self) -> str:
        """The finding in one sentence."""
        reads = self.why or (
            f"it reads {self.steps} position{'' if self.steps == 1 else 's'} of its input past its own step, "
            f"{self.samples} input sample{'' if self.samples == 1 else 's'}"
        )
        return f"node {self.node!r}, {named_axes(self.axes)}: {reads}, in a network that is to be causal"

    @property
    def advice(self) -> str:
        """What to do about it."""
        if self.padding is None:
            return "no padding of it helps; delay what it is merged with, or take a causal op"
        return f"give it padding {list(self.padding)}, which makes it causal and keeps its size"


def find(compiled: Compiled, axis: int, outputs: Sequence[int], source: int) -> list[LooksAhead]:
    """Return the ops on the way to any of ``outputs`` that look ahead by themselves, in topological order.

    Parameters
    ----------
    axis
        Index of the axis that is to be causal.
    """
    layers = compiled.layers
    on_way = between(layers, source, outputs)
    inside, fields = set(on_way), forward(compiled, axis, source)
    blocking = {blocker.node: blocker.why for blocker in blockers(compiled, axis, on_way)}
    findings = []
    for v in on_way[1:]:
        name, axes = layers.nodes[v], (layers.axes[axis],)
        if name in blocking:
            findings.append(LooksAhead("RF010", name, axes, None, None, None, blocking[name]))
            continue
        reads = zip(layers.tails[v], compiled.reads[axis][v], strict=True)
        ahead = max((_steps_ahead(read) for tail, read in reads if tail in inside), default=0)
        if ahead <= 0:
            continue
        field = fields.local[layers.tails[v][0]]
        findings.append(
            LooksAhead(
                "RF010",
                name,
                axes,
                steps=ahead,
                samples=as_number(ahead * Fraction(field.stride)) if field.is_local else ahead,
                padding=_causal_padding(compiled, v, axis, ahead),
            )
        )
    return findings


def _steps_ahead(read: Window) -> int:
    """Return how many positions past its own step an output reads, at the phase that reads furthest; 0 for none."""
    return max(floor(look_ahead(read) - Fraction(read.stride)) + 1, 0) if read.is_local else 0


def _causal_padding(compiled: Compiled, v: int, axis: int, ahead: int) -> tuple[int, int] | None:
    """Return the padding with which an op looks no further than its own step, and its map keeps its size.

    More padding before makes a convolution read earlier; that of a transposed one is cropped off its output, and all of
    it has to go after.
    """
    layers = compiled.layers
    op = layers.ops[v][axis]
    sizes = [compiled.sizes[tail][axis] for tail in layers.tails[v]]
    padding = op.padding_at(sizes[0])
    if padding is None:
        return None
    before, after = padding
    for moved in ((before + ahead, after - ahead), (0, before + after)):
        changed: dict[str, Any] = {"padding": moved}
        if op.may_pad(moved) and not _steps_ahead(replace(op, **changed).window(0, sizes)):
            return moved
    return None
