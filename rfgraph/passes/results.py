"""What passes tell of every node, along one axis."""

from __future__ import annotations

from dataclasses import dataclass

from rfgraph.algebra.window import FULL, Window


@dataclass(frozen=True, slots=True)
class Fields:
    """Receptive fields along one axis, by node id."""

    local: list[Window]  # [V], over the paths that no op cuts by reading the whole axis
    is_global: list[bool]  # [V], whether some path reads the whole axis

    def field(self, v: int) -> Window:
        """Return the local field of node ``v``; ``FULL`` if it has none but a global one."""
        return FULL if self.is_global[v] and self.local[v].kind == "empty" else self.local[v]


@dataclass(frozen=True)
class Extremes:
    """The smallest and the largest field of the paths to every node, along one axis."""

    smallest: list[int | None]  # [V], None where no path has a size, or not all are known
    largest: list[int | None]  # [V]
    unknown: dict[int, str]  # node id -> why the field of some path is not known
