"""What handlers of OpenVINO's operations get: one layer, and how its attributes are read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from rfgraph.frozen import dataclass
from rfgraph.importers.program import Builder, Shape, Value
from rfgraph.importers.spelling.handlers import Handlers
from rfgraph.importers.spelling.node import Node as Base

Made: TypeAlias = "Value | Sequence[Value]"

#: Entries of a list among the attributes.
MAX_ENTRIES = 4096


@dataclass(frozen=True)
class Node(Base):
    """One layer; its attributes are text, as the file writes them."""

    attributes: Mapping[str, str]
    opset: int
    #: What its outputs are called, and their shapes as the file states them; ``None`` for one that it leaves open.
    outputs: tuple[tuple[str, Shape | None], ...]

    def text(self, name: str, default: str = "") -> str:
        """Return an attribute in lower case."""
        return self.attributes.get(name, default).strip().lower()

    def flag(self, name: str, default: bool = False) -> bool:
        """Return an attribute that is true or false."""
        text = self.text(name, str(default))
        if text not in ("true", "false", "1", "0"):
            raise ValueError(f"{name} {text!r} is neither true nor false")
        return text in ("true", "1")

    def several(self, name: str, count: int | None = None, default: int | None = None) -> list[int]:
        """Return an attribute that is a list of integers, ``count`` of them."""
        text = self.text(name)
        if not text and default is not None and count is not None:
            return [default] * count
        entries = [int(entry) for entry in text.split(",") if entry.strip()] if len(text) < 20 * MAX_ENTRIES else []
        if count is not None and len(entries) != count:
            raise ValueError(f"{name} {entries} does not have one entry for each of {count} axes")
        return entries

    def number(self, name: str, default: int | None = None) -> int:
        """Return an attribute that is an integer."""
        text = self.attributes.get(name)
        if text is None and default is not None:
            return default
        return int(text or "")

    @property
    def names(self) -> list[tuple[str, str]]:
        """What its outputs are called, each with the op."""
        return [(name, self.op) for name, _ in self.outputs]

    @property
    def stated_shape(self) -> Shape | None:
        """The shape that the file states of its first output."""
        return self.outputs[0][1] if self.outputs else None


Handle: TypeAlias = "Callable[[Node, Builder], Made]"
HANDLERS: Handlers[Handle] = Handlers("OpenVINO")
