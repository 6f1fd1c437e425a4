"""What the readers of all formats do alike: name the file in errors, roll back what cannot be spelt, bound calls."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, TypeVar

from rfgraph.errors import ModelFileError
from rfgraph.importers import program
from rfgraph.importers.program import Builder, Shape, Value
from rfgraph.importers.spelling.handlers import Handlers, UnspelledError
from rfgraph.importers.spelling.node import Call

#: What handlers raise on a malformed node.
MALFORMED = (ValueError, TypeError, IndexError, KeyError, ZeroDivisionError, OverflowError, AttributeError, MemoryError)

Made = TypeVar("Made")


class Reader:
    """Reads the nodes of one model, in their order, into a builder.

    Parameters
    ----------
    name
        The model, as errors call it: mostly the path of its file.
    """

    #: What errors call a node.
    noun: ClassVar[str] = "node"

    def __init__(self, name: str) -> None:
        self.name = name
        self.build = Builder(name.replace("\\", "/").rpartition("/")[2])
        self.calls = 0  # of graphs by graphs, open at this moment

    def fail(self, why: object) -> ModelFileError:
        """Return the error that names the model."""
        return ModelFileError(f"{self.name}: {why}")

    def spelt(self, node: Call, spell: Callable[[], Made], unspelt: Callable[[str], Made]) -> Made:
        """Return what ``spell`` makes of a node; where it cannot, nothing of it stays.

        Parameters
        ----------
        node
            The node that errors name.
        spell
            Writes the instructions of the node.
        unspelt
            What the node makes if they cannot be written, told why.

        Raises
        ------
        ModelFileError
            If the node is malformed.
        """
        before = len(self.build.instructions)
        try:
            try:
                return spell()
            except UnspelledError as error:
                self.build.forget(before)
                return unspelt(str(error))
        except MALFORMED as error:
            raise self.fail(f"{self.noun} {node.name!r} ({node.op}): {error}") from error

    def by_handler(
        self, handlers: Handlers[Callable[[Any, Builder], Any]], node: Call, reads: Sequence[Value] = ()
    ) -> Sequence[Value]:
        """Return what the handler of a node makes, as many of its outputs as it follows; it reads ``reads`` as weights.

        Raises
        ------
        UnspelledError
            If it has none.
        """
        handler = handlers.get(node.op)
        if handler is None:
            raise UnspelledError
        self.build.at(node.name, node.op, reads)
        outputs = handler(node, self.build)
        return [outputs] if isinstance(outputs, Value) else list(outputs)

    def all_outputs(
        self, node: Call, count: int, spell: Callable[[], Sequence[Value]], opaque: Callable[[int, str], Value]
    ) -> list[Value]:
        """Return all outputs of a node: those that ``spell`` makes, and ``opaque`` ones, told why, for the others."""
        results = self.spelt(node, spell, lambda why: [opaque(k, why) for k in range(count)])
        rest = range(len(results), count)
        return [*results[:count], *(opaque(k, "this output is not followed") for k in rest)]

    def unknown(
        self, at: tuple[str, str], why: str, shape: Shape | None, operands: Sequence[Value],
        reads: Sequence[Value] = (), part: str = "", name: str = "",
    ) -> Value:  # fmt: skip
        """Return an output of which nothing is known but perhaps its shape; of constants alone it is one too.

        Parameters
        ----------
        at
            The node, and its op.
        why
            What stands in the way.
        shape
            Its shape, ``None`` if that is not known either.
        operands
            What it may depend on.
        reads
            What it reads as weights.
        part
            Tells it from other outputs of the node.
        name
            What it is called if it is a constant, the node's name by default.
        """
        if all(value.constant for value in operands):
            return self.build.weight(shape, name or at[0])
        self.build.at(*at, reads)
        return self.build(program.Opaque(why=why, shape=shape), *operands, part=part)

    @contextmanager
    def deeper(self, limit: int, why: str) -> Iterator[None]:
        """Read a graph within another; refused, with what ``why`` says, where more than ``limit`` are open."""
        if self.calls >= limit:
            raise self.fail(f"{why} more than {limit} deep")
        self.calls += 1
        try:
            yield
        finally:
            self.calls -= 1
