"""What passes tell of every node, along one axis."""

from __future__ import annotations

from functools import cached_property

from rfgraph.algebra.window import Window
from rfgraph.frozen import dataclass


@dataclass(frozen=True)
class Fields:
    """Receptive fields along one axis, by node id."""

    local: list[Window]  # [V], over the paths on which no op reads on to an end of the axis
    beyond: list[Window]  # [V], over the other paths: FULL or one-sided, EMPTY where there are none

    @cached_property
    def is_global(self) -> list[bool]:  # [V]
        """Whether some path reads on to an end of the axis."""
        return [window.kind != "empty" for window in self.beyond]

    def field(self, v: int) -> Window:
        """Return the local field of node ``v``; if it has none, what it reads on to an end of the axis."""
        return self.beyond[v] if self.local[v].kind == "empty" else self.local[v]


@dataclass(frozen=True)
class Extremes:
    """The smallest and the largest field of the paths to every node, along one axis."""

    smallest: list[int | None]  # [V], None where no path has a size, or not all are known
    largest: list[int | None]  # [V]
    unknown: dict[int, str]  # node id -> why the field of some path is not known
