"""Which convolutions an image is too small for, and which images a network is too small for.

A convolution whose inputs have all seen the whole image can add no context to them: it is *unproductive*. It is judged
on the smallest field of the paths to it, as a shortcut hands on what has seen less. The first ones on their paths are
the *border* layers.

References
----------
Richter, Schoening, Wiedenroth, Krumnack, Should You Go Deeper? Optimizing Convolutional Neural Network Architectures
without Training by Receptive Field Analysis, ICMLA 2021: layer l is unproductive if r of its input exceeds the image.
Richter, Schoening, Richter, Krumnack, Receptive Field Analysis for Optimizing Convolutional Neural Network
Architectures Without Training, Deep Learning Applications 4, 2023: the range of feasible resolutions.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from itertools import compress
from typing import NamedTuple

from rfgraph.frozen import dataclass
from rfgraph.graph.network import OrderedNetwork
from rfgraph.ops import Size
from rfgraph.passes.compiled import Compiled
from rfgraph.passes.results import Extremes, Fields
from rfgraph.questions.findings import Finding, named_axes


class Convolution(NamedTuple):
    """A convolution against the image, with one entry per axis.

    Those of kernel 1 on all axes never add context, and are not judged; nor is a transposed convolution, which is there
    to raise the resolution.
    """

    layer: Hashable
    op: str
    axes: tuple[str, ...]
    #: Whether it reads more than one position of its input.
    widens: tuple[bool, ...]
    #: Smallest field of the paths to its input; ``None`` where none reads part of the axis, or it is not known.
    narrowest: tuple[int | None, ...]
    #: Size of the image, ``None`` where it is not known.
    image: tuple[int | None, ...]
    #: Where it would widen a field that already exceeds the image.
    exceeded: tuple[bool, ...]
    #: Whether an unproductive convolution comes before it.
    follows: bool

    @property
    def unproductive(self) -> bool:
        """Whether it adds context on no axis."""
        return True in self.exceeded and self.exceeded == self.widens

    @property
    def border(self) -> bool:
        """Whether it is the first unproductive convolution on all paths to it."""
        return self.unproductive and not self.follows

    @property
    def partly(self) -> bool:
        """Whether it adds context on some of the axes that it widens, but not on all."""
        return True in self.exceeded and not self.unproductive


@dataclass(frozen=True)
class Resolutions:
    """The input sizes that a network makes use of, along one axis.

    Below ``smallest`` some convolution is unproductive; above ``largest`` no feature sees the whole image at once, but
    for paths that read the whole axis. ``None`` where no convolution is judged, or a field is not known and ``why``
    tells the reason.
    """

    axis: str
    smallest: int | None
    largest: int | None
    why: str = ""


@dataclass(frozen=True)
class Productivity:
    """How a network and its image fit each other."""

    #: The convolutions that read more than one position, in topological order.
    layers: tuple[Convolution, ...]
    axes: tuple[Resolutions, ...]


@dataclass(frozen=True)
class Unproductive(Finding):
    """The convolution ``node`` adds no context on ``axes``: the fields of its inputs exceed the image there.

    Examples
    --------
    >>> from rfgraph import Network, analyze
    >>> net = Network("block", axes=1)
    >>> wide = net.conv("wide", net.input("x", size=8), kernel=9, padding=4)
    >>> out = net.conv("late", wide, kernel=3, padding=1)
    >>> (finding,) = analyze(net).findings
    >>> finding.node, finding.narrowest, finding.image
    ('late', (9,), (8,))
    """

    op: str
    #: Smallest field of its inputs, and size of the image, for each of ``axes``.
    narrowest: tuple[int, ...]
    image: tuple[int, ...]
    #: Whether there is another axis on which it does add context.
    partly: bool
    border: bool

    @property
    def message(self) -> str:
        """The finding in one sentence."""
        pairs = sorted(set(zip(self.narrowest, self.image, strict=True)))
        fields = " and ".join(f"{r} pixels of an image of {n}" for r, n in pairs)
        first = "; it is a border layer, the first such on all paths to it" if self.border else ""
        where = " there, but does on another axis" if self.partly else ""
        return (
            f"layer {self.node!r} ({self.op}), {named_axes(self.axes)}: all of its inputs see {fields} already, "
            f"so that it adds no context{where}{first}"
        )

    @property
    def advice(self) -> str:
        """What to do about it."""
        return f"leave it out, stride less before it, or use images of {max(self.narrowest)} pixels or more"


def judge(
    layers: OrderedNetwork, sizes: Sequence[tuple[Size, ...]], extremes: Sequence[Extremes], source: int
) -> list[Convolution]:
    """Return the convolutions that read more than one position, in topological order.

    Parameters
    ----------
    layers, sizes
        The network, and the sizes of its maps.
    extremes
        Smallest and largest path fields, one entry per axis.
    source
        Node id of the image.
    """
    judged: list[Convolution] = []
    wide = {key: tuple(op.widens for op in ops) for key, ops in layers.distinct.items()}
    smallest, image = [axis.smallest for axis in extremes], sizes[source]
    beyond: list[list[bool]] = []  # [A][V], whether the smallest field of the paths to a node exceeds the image
    for axis, (fields, n) in enumerate(zip(smallest, image, strict=True)):
        same = next((a for a in range(axis) if smallest[a] is fields and image[a] == n), None)
        beyond.append([n is not None and r is not None and r > n for r in fields] if same is None else beyond[same])
    unknown = frozenset[int]().union(*(axis.unknown for axis in extremes))
    after = set[int]()  # the nodes behind an unproductive convolution, or one themselves
    for v in range(source, len(layers.nodes)):
        tails, widens = layers.tails[v], wide[id(layers.ops[v])]
        before = bool(after) and not after.isdisjoint(tails)
        if before:
            after.add(v)
        if True not in widens:
            continue
        tail = tails[0]
        narrowest = tuple([fields[tail] for fields in smallest])
        if tail in unknown or narrowest.count(None) < len(narrowest):
            exceeded = tuple([wider and over[tail] for wider, over in zip(widens, beyond, strict=True)])
            convolution = Convolution(
                layers.nodes[v], layers.kinds[v], layers.axes, widens, narrowest, image, exceeded, before
            )
            judged.append(convolution)
            if convolution.unproductive:
                after.add(v)
    return judged


def may_exceed(compiled: Compiled, fields: Sequence[Fields], source: int) -> bool:
    """Return whether some input of a convolution may have seen the whole image: no path is wider than the hull of all.

    It is the cheap question before ``judge``.
    """
    for axis, size in enumerate(compiled.sizes[source]):
        if size is None:
            continue
        local = fields[axis].local
        for ops, tails in zip(compiled.layers.ops, compiled.layers.tails, strict=True):
            if ops[axis].widens and (
                local[tails[0]].kind == "unknown" or (local[tails[0]].kind == "local" and local[tails[0]].size > size)
            ):
                return True
    return False


def find(judged: Sequence[Convolution]) -> list[Unproductive]:
    """Return a note for each convolution that adds no context on some axis."""
    return [
        Unproductive(
            "RF007",
            layer.layer,
            tuple(compress(layer.axes, layer.exceeded)),
            layer.op,
            tuple([r for r in compress(layer.narrowest, layer.exceeded) if r is not None]),
            tuple([n for n in compress(layer.image, layer.exceeded) if n is not None]),
            partly=layer.partly,
            border=layer.border,
        )
        for layer in judged
        if True in layer.exceeded
    ]


def resolutions(
    axes: Sequence[str], extremes: Sequence[Extremes], judged: Sequence[Convolution]
) -> tuple[Resolutions, ...]:
    """Return the sizes of images that a network makes use of, per axis."""
    resolutions_of = []
    for axis, name in enumerate(axes):
        of_axis = extremes[axis]
        if of_axis.unknown:
            v = min(of_axis.unknown)
            resolutions_of.append(Resolutions(name, None, None, of_axis.unknown[v]))
            continue
        needed = [r for layer in judged if layer.widens[axis] and (r := layer.narrowest[axis]) is not None]
        widest = [r for r in of_axis.largest if r is not None]
        resolutions_of.append(Resolutions(name, max(needed) if needed else None, max(widest) if needed else None))
    return tuple(resolutions_of)
