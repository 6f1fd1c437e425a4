"""Receptive fields of many nodes as arrays of integers; numpy is imported by those who fill them."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, Any, TypeAlias

from rfgraph.frozen import dataclass

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    #: ``int64``, or ``object`` where numbers are too large for it.
    IntegerArray: TypeAlias = NDArray[Any]
    BooleanArray: TypeAlias = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Numbers:
    """Receptive fields of many nodes as arrays, in indices of the source: integers, exact.

    Where ``known`` is false the field is more than three whole numbers, and they are 0: it reads a whole axis or
    nothing, differs from output to output, or is not known. ``report[node]`` says more.

    Examples
    --------
    >>> from rfgraph import Network, analyze
    >>> net = Network("block", axes=1)
    >>> out = net.conv("conv", net.input("x"), kernel=3, stride=2)
    >>> numbers = analyze(net).numbers()
    >>> numbers.nodes, numbers.size[:, 0].tolist(), numbers.stride[:, 0].tolist()
    (('x', 'conv'), [1, 3], [1, 2])
    """

    nodes: tuple[Hashable, ...]  # [V], in topological order
    axes: tuple[str, ...]  # [A]
    size: IntegerArray  # [V, A]
    stride: IntegerArray  # [V, A]
    padding: IntegerArray  # [V, A]
    known: BooleanArray  # [V, A]
