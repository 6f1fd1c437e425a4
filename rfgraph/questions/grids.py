"""Maps behind an op that reads all of an image, such as the decoder behind a code: merges there, measured from where
their grid begins.

Of the image every feature of such a map reads everything, so that nothing is to be said of where it lies there. But the
map has positions of its own, made of the one that the code has, and the branches that part behind it line up or not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from rfgraph.algebra.alignment import Mode
from rfgraph.graph.outputs import beginnings, with_axes
from rfgraph.passes.compiled import Compiled
from rfgraph.passes.fields import forward
from rfgraph.passes.results import Fields
from rfgraph.questions import alignment
from rfgraph.questions.findings import Finding
from rfgraph.questions.misalignment import Misalignment

#: The fields of a whole network are worked out at so many beginnings, at the most; what is left is not checked.
MOST = 32


def find(
    compiled: Compiled, fields: Sequence[Fields], source: int, modes: Sequence[Mode]
) -> tuple[list[Finding], list[int]]:
    """Return what does not line up behind ops that read all of the source, and the merges left unchecked, by id.

    Parameters
    ----------
    fields
        Forward fields of every axis.
    source
        Node that the fields are measured at.
    modes
        What counts as aligned, one entry per axis.
    """
    layers = compiled.layers

    def behind(v: int) -> bool:
        """Whether a node depends on the source, and has no local field there on any axis."""
        return any(axis.is_global[v] for axis in fields) and all(axis.local[v].kind == "empty" for axis in fields)

    merges = {v for v, tails in enumerate(layers.tails) if behind(v) and sum(map(behind, set(tails))) > 1}
    findings: list[Finding] = []
    tried = 0
    for begin in beginnings(layers, with_axes(layers)) if merges else ():
        later = {v for v in merges if v > begin}
        if not later or not behind(begin):
            continue
        if tried == MOST:
            break
        tried += 1
        inside = compiled.per_axis(partial(_forward, compiled, begin))
        reached = {v for v in later if any(axis.local[v].kind != "empty" for axis in inside)}
        at_size = alignment.find(compiled, inside, begin, modes, (), reached)
        at = layers.nodes[begin]
        findings += [replace(one, measured_at=at) if isinstance(one, Misalignment) else one for one in at_size]
        merges -= reached
    left = sorted(v for v in merges if tried == MOST)
    return findings, left


def _forward(compiled: Compiled, begin: int, axis: int) -> Fields:
    return forward(compiled, axis, begin)
