"""Rows as a domain: whether a map is one position that was taken out of a larger map by its index.

Recurrent cells and row-wise convolutions cut a map into its rows and put them together again: what one row reads and
what the next one reads lie apart on purpose. A map of one row has no grid on which branches could line up.
"""

from __future__ import annotations

from rfgraph.errors import SizeError
from rfgraph.passes.compiled import Compiled
from rfgraph.passes.fold import Domain


class IsRow(Domain[bool]):
    """Whether a node makes one position, whatever the input size, of positions that were taken by their index.

    What reads a whole axis says nothing of it: it is read alike by every row.
    """

    start = False

    def __init__(self, compiled: Compiled, axis: int) -> None:
        self.layers, self.reads, self.axis = compiled.layers, compiled.reads[axis], axis

    def through(self, v: int, slot: int, value: bool) -> bool | None:
        return None if self.reads[v][slot].is_unbounded else value

    def join(self, v: int, values: list[bool]) -> bool:
        op = self.layers.ops[v][self.axis]
        if op.takes_one or not all(values):
            return op.takes_one
        try:
            return op.size((1,) * len(self.layers.tails[v])) == 1
        except SizeError:
            return False
