"""What one node sees of the source, and what one output sees of all its ancestors."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import field as declare
from typing import Any, Literal

from rfgraph.algebra.residues import BySize
from rfgraph.algebra.window import Number, Side, Window
from rfgraph.errors import UnknownFieldError
from rfgraph.frozen import dataclass
from rfgraph.ops.base import Border
from rfgraph.ops.costs import Cost


@dataclass(frozen=True)
class Layer:
    """What one node sees: its receptive field on every axis.

    All numbers are tuples with one entry per axis, in indices of the source.

    Raises
    ------
    UnboundedError
        By the numbers of a field that reads a whole axis and has no local part.
    UnknownFieldError
        By the numbers of a field that is not known, or that reads nothing of the source.

    Examples
    --------
    >>> from rfgraph import Network, analyze
    >>> net = Network("block", axes=2)
    >>> out = net.conv("conv", net.input("x"), kernel=(3, 5), stride=2, padding=1)
    >>> layer = analyze(net)["conv"]
    >>> layer.size, layer.stride, layer.padding, layer.status
    ((3, 5), (2, 2), (1, 1), 'exact')
    """

    name: Hashable
    op: str
    axes: tuple[str, ...]
    #: Size of the node's feature map, ``None`` where no input size tells it.
    map_size: tuple[int | None, ...]
    #: The field itself, with paths through ops that read the whole axis cut where another path is left.
    field: tuple[Window, ...]
    #: Whether some path reads the whole axis, or on to one end of it; ``side`` says to which.
    is_global: tuple[bool, ...]
    #: The field by residue of the input size, where no size is given and it decides; ``field`` is unknown there.
    by_size: tuple[BySize | None, ...] = ()
    #: ``file:line`` of the code that calls it, where the model tells.
    location: str = ""
    #: What every layer of the network holds and takes, worked out when first asked.
    costs: Mapping[Hashable, Cost] = declare(default_factory=dict, repr=False, compare=False)
    #: What paths read on to an end of the axis, besides the field or instead; empty where there is none.
    beyond: tuple[Window, ...] = ()

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "costs": {self.name: self.cost}}  # its own, not those of the whole network

    @property
    def side(self) -> tuple[Side, ...]:
        """To which end of the axis some path reads on: ``""``, ``"past"``, ``"future"`` or ``"both"``."""
        return tuple(window.side for window in self.beyond)

    @property
    def cost(self) -> Cost:
        """What it holds and takes."""
        return self.costs.get(self.name, Cost())

    @property
    def channels(self) -> int | None:
        """Channels of its feature map, ``None`` where the network does not tell."""
        return self.cost.channels

    @property
    def parameters(self) -> int | None:
        """Learned numbers that are read here first, ``None`` where they cannot be told."""
        return self.cost.parameters

    @property
    def macs(self) -> int | None:
        """Multiply-accumulates for one input, ``None`` where channels or sizes are not known."""
        return self.cost.macs

    @property
    def size(self) -> tuple[int, ...]:
        """Receptive field size ``r``."""
        return tuple(window.size for window in self._agreeing("size"))

    @property
    def stride(self) -> tuple[Number, ...]:
        """Effective stride ``S``, also called jump."""
        return tuple(window.stride for window in self._agreeing("stride"))

    @property
    def padding(self) -> tuple[Number, ...]:
        """Effective padding ``P``: output 0 reads from index ``-P`` on."""
        return tuple(window.padding for window in self._agreeing("padding"))

    @property
    def center(self) -> tuple[Number, ...]:
        """Centre of what output 0 reads; the centre of pixel 0 is 0."""
        return tuple(window.center for window in self._agreeing("center"))

    @property
    def start(self) -> tuple[Number, ...]:
        """Centre of what output 0 reads in the receptive-field guide's coordinate, where pixel 0 lies at 0.5."""
        return tuple(window.start for window in self._agreeing("start"))

    def _agreeing(self, number: str) -> list[Window]:
        """Return the window of each axis, or one that stands for those of all input sizes if they agree."""
        windows = list(self.field)
        for axis, by_size in enumerate(self.by_size):
            if by_size is None:
                continue
            if len({getattr(window, number) for window in by_size.fields}) > 1:
                raise UnknownFieldError(
                    f"node {self.name!r} ({self.op}), axis {self.axes[axis]}: {number} depends on the input size n, by "
                    f"n mod {by_size.modulus}; give an input size, or see by_size"
                )
            windows[axis] = by_size.fields[0]
        return windows

    @property
    def status(self) -> Literal["exact", "bound", "unknown"]:
        """``exact``, ``bound`` if some field may be wider than what is read, or ``unknown``.

        What is read on to an end of the axis counts too, where there is a local field besides.
        """
        states = {window.status for window in self._windows}
        return "unknown" if "unknown" in states else "bound" if "bound" in states else "exact"

    @property
    def why(self) -> str:
        """Why the status is not ``exact``."""
        return next((window.why for window in self._windows if window.why), "")

    @property
    def _windows(self) -> list[Window]:
        """The fields of all axes, at all input sizes where those decide."""
        tables = self.by_size or (None,) * len(self.field)
        return [
            window
            for field, table in zip(self.field, tables, strict=True)
            for window in (table.fields if table else (field,))
        ] + [window for window in self.beyond if not window.is_empty]


@dataclass(frozen=True)
class Trace:
    """What one output reads of each of its ancestors.

    Examples
    --------
    >>> from rfgraph import Network, trace
    >>> net = Network("block", axes=1)
    >>> out = net.conv("conv2", net.conv("conv1", net.input("x"), kernel=3), kernel=3)
    >>> {name: layer.size for name, layer in trace(net).layers.items()}
    {'x': (5,), 'conv1': (3,), 'conv2': (1,)}
    """

    output: Hashable
    layers: dict[Hashable, Layer]

    def __getitem__(self, node: Hashable) -> Layer:
        return self.layers[node]

    def __iter__(self) -> Any:
        return iter(self.layers)

    def __len__(self) -> int:
        return len(self.layers)


@dataclass(frozen=True)
class Read:
    """What a node reads of one of its inputs by its own op alone; one entry per axis."""

    tail: Hashable
    #: The window from the node's map to the input's; unknown where it depends on sizes that are not given.
    window: tuple[Window, ...]
    #: Positions from one tap to the next.
    spacing: tuple[int, ...]
    #: Whether some taps between the first and the last do not count, because their weight is 0.
    skips: tuple[bool, ...]
    #: What lies beyond the border of the input.
    border: tuple[Border, ...]


@dataclass(frozen=True)
class Region:
    """The box of source pixels that one feature reads.

    ``box`` is one closed interval per axis, or ``None`` where it reads nothing but padding. With ``clipped``, positions
    outside any map on the way read nothing further back; without, the network is taken to go on beyond every border,
    and an end that is ``None`` is that of the axis.

    Examples
    --------
    >>> from rfgraph import Network, analyze
    >>> net = Network("block", axes=2)
    >>> out = net.conv("conv", net.input("x"), kernel=3, padding=1)
    >>> analyze(net, input_size=8).region("conv", (0, 7)).box
    ((0, 1), (6, 7))
    """

    layer: Hashable
    index: tuple[int, ...]
    axes: tuple[str, ...]
    box: tuple[tuple[int | None, int | None], ...] | None
    clipped: bool
    status: Literal["exact", "bound"]
