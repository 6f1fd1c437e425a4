"""Deciding what a node reads: its user's word in place of what the op says, or of what nobody knows.

A node of the graph may carry it as its attribute ``treat``; ``rfgraph.analyze(treat=...)`` says it by patterns, which
come before that.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any, ClassVar

from rfgraph.algebra.window import EMPTY, FULL, Window
from rfgraph.errors import AttributeValueError, UnknownNodeError
from rfgraph.frozen import dataclass
from rfgraph.ops import KINDS, Op, near
from rfgraph.ops.base import Arity, Size, Sizes
from rfgraph.ops.pointwise import Arithmetic

#: What stands between the parts of the name of a node.
_SEPARATORS = re.compile(r"[./]")

#: Pattern of node, module and op names, as in ``fnmatch`` -> one of ``TREATMENTS``.
Treat = Mapping[str, str]


@dataclass(frozen=True)
class Treatment:
    """What is taken for the reading of ``node``, and the pattern that said so; ``None`` if the node itself did."""

    node: Hashable
    how: str
    pattern: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Treated(Op):
    """An op that reads what its user says; its map is as large as the op makes it."""

    arity: ClassVar[Arity] = "several"

    of: Op

    @property
    def collapses(self) -> bool:
        return self.of.collapses

    @property
    def cycle(self) -> tuple[int, int]:
        return self.of.cycle

    @property
    def settles_at(self) -> int:
        return self.of.settles_at

    @property
    def sizing(self) -> tuple[Op, int | None]:
        return self.of.sizing if self.of.is_known else (Arithmetic(), 0)

    def size(self, sizes: Sizes) -> Size:
        return self.of.size(sizes) if self.of.is_known else sizes[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Whole(Treated):
    """An op that reads the whole of every axis."""

    def window(self, slot: int, sizes: Sizes) -> Window:
        return FULL


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut(Treated):
    """An op that reads nothing, as if it made a constant."""

    def window(self, slot: int, sizes: Sizes) -> Window:
        return EMPTY


_OPS: dict[str, Callable[[Op], Op]] = {
    "identity": lambda of: Arithmetic(),  # elementwise, of as many inputs as there are
    "global": lambda of: Whole(of=of),
    "cut": lambda of: Cut(of=of),
}

#: What a user may say that a node reads: its own position, everything, or nothing.
TREATMENTS = tuple(_OPS)


def matches(pattern: str, names: Iterable[str]) -> bool:
    """Return whether a pattern is one of the names, or fits it.

    Examples
    --------
    >>> matches("layer[1-4].se.*", ["layer2.se.fc"]), matches("m[0]", ["m[0]"]), matches("SE", ["se"])
    (True, True, False)
    """
    return any(name == pattern or fnmatchcase(name, pattern) for name in names)


def modules(name: str) -> list[str]:
    """Return the modules that a node lies in, by its name: each part of the way to it, with dots between too.

    Examples
    --------
    >>> modules("blocks.0.attn/softmax")
    ['blocks', 'blocks.0', 'blocks.0.attn']
    >>> modules("/attn/query/MatMul")
    ['/attn', '/attn/query', 'attn', 'attn.query']
    """
    ways = [name[: cut.start()] for cut in _SEPARATORS.finditer(name) if cut.start()]
    return list(dict.fromkeys((*ways, *(way.lstrip("/").replace("/", ".") for way in ways))))


def check(how: Any) -> None:
    """Check that ``how`` is a treatment.

    Raises
    ------
    AttributeValueError
        If it is not.
    """
    if how not in TREATMENTS:
        raise AttributeValueError(f"treat {how!r} is not one of {', '.join(TREATMENTS)}")


def chosen(nodes: Iterable[tuple[Hashable, Mapping[str, Any]]], treat: Treat) -> dict[Hashable, Treatment]:
    """Return the treatment of each of ``nodes``, given with their attributes, that some pattern fits: by the first.

    A pattern is held against the name of a node, the modules that it lies in, its op, and what its op is called in the
    model it was read from. Nodes that read nothing, such as inputs, are left alone. So are nodes that read
    their own position, where a module or a pattern with wildcards is cut or global: that is said of the reading, not of
    the path beside it that skips it.

    Raises
    ------
    AttributeValueError
        If a pattern asks for no treatment.
    UnknownNodeError
        If a pattern fits no node, or none of which it says anything; the message lists names spelt like it.
    """
    for how in treat.values():
        check(how)
    treatments: dict[Hashable, Treatment] = {}
    idle: dict[str, str] = dict.fromkeys(treat, "fits no node and no op")
    names: dict[str, None] = {}
    for node, attributes in nodes:
        kind = KINDS.get(attributes.get("op", ""))
        if kind is not None and kind.arity == "none":
            continue
        called = [str(node), *(str(attributes[key]) for key in ("op", "of", "label") if key in attributes)]
        within = modules(called[0])
        names.update(dict.fromkeys(called))
        for pattern, how in treat.items():
            if matches(pattern, (*called, *within)):
                if how != "identity" and pattern not in called and kind is not None and kind.own_position:
                    if pattern in idle:
                        idle[pattern] = (
                            f"fits only nodes that read their own position; name one of them to treat it as {how!r}"
                        )
                    continue
                idle.pop(pattern, None)
                treatments.setdefault(node, Treatment(node, how, pattern))
    for pattern, why in idle.items():
        raise UnknownNodeError(f"treat pattern {pattern!r} {why}{_within(pattern, names) or near(pattern, names)}")
    return treatments


def _within(pattern: str, names: Iterable[str]) -> str:
    """Return a pattern that fits names, or modules that they lie in, of which ``pattern`` is but a part."""
    wider = f"*{pattern}*"
    ways = dict.fromkeys(way for name in names for way in (*modules(name), name) if fnmatchcase(way, wider))
    if not ways:
        return ""
    others = f" and {len(ways) - 1} more" if len(ways) > 1 else ""
    return f"; {wider!r} fits {next(iter(ways))!r}{others}"


def treated(ops: tuple[Op, ...], how: str) -> tuple[Op, ...]:
    """Return the ops of a node, one per axis, that read what ``how`` says."""
    return tuple(_OPS[how](op) for op in ops)
