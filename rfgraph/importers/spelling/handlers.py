"""The registry that every format keeps its handlers in: the names of its ops, and what spells each with primitives."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping
from typing import Any, Generic, Literal, NoReturn, TypeAlias, TypeVar, cast

from rfgraph.frozen import dataclass

Handler = TypeVar("Handler", bound=Callable[..., object])


#: How inputs are learned: an op ``computes`` with them; it takes whole numbers for weights (``quantised``); only what a
#: file ``stores`` as such is a weight of it; or it reads ``operands`` that may as well be numbers which nobody learned.
Sort: TypeAlias = Literal["computes", "quantised", "stores", "operands"]

#: Every input of an op.
EVERY = range(1 << 30)


@dataclass(frozen=True)
class Learns:
    """Which inputs of an op are learned tensors, where they are constants."""

    inputs: Container[int]
    sort: Sort = "computes"
    #: The input that a layer is called after.
    named: int | None = None


class UnspelledError(Exception):
    """A handler cannot spell a node with primitives; the message says what stands in the way."""


def by_op(reasons: Mapping[str, str]) -> dict[str, str]:
    """Return the reason of each op, told as reason -> ops with spaces between them.

    Examples
    --------
    >>> by_op({"its indices say which elements it reads": "GatherND GatherTree"})["GatherTree"]
    'its indices say which elements it reads'
    """
    return {op: reason for reason, ops in reasons.items() for op in ops.split()}


class Handlers(Generic[Handler]):
    """The handlers of one format.

    Examples
    --------
    >>> HANDLERS = Handlers("Toy")
    >>> @HANDLERS.handles("MaxPool", "AveragePool")
    ... def _pool(node):
    ...     return "a pool"
    >>> HANDLERS.get("MaxPool") is _pool, HANDLERS.get("Conv")
    (True, None)
    """

    def __init__(self, framework: str) -> None:
        self.framework = framework
        self._handlers: dict[str, Handler] = {}
        self._domains: dict[str, str] = {}  # of ops that mean something else in other domains
        self._learns: dict[str, Learns] = {}

    def handles(
        self,
        *ops: str,
        domain: str | None = None,
        weights: Container[int] | None = None,
        sort: Sort = "computes",
        named: int | None = None,
    ) -> Callable[[Handler], Handler]:
        """Register a function for ``ops``.

        Parameters
        ----------
        domain
            The domain that they are of, where ops of other domains are called so and are not the same.
        weights, sort, named
            What they learn; see ``Learns``. ``()`` says that they learn nothing. Where nothing is said, the number of
            parameters is not known of a model in which one of them reads a tensor that may be learned.

        Raises
        ------
        ValueError
            If one of them has a handler already.
        """

        def register(handler: Handler) -> Handler:
            for op in ops:
                if op in self._handlers:
                    raise ValueError(f"{self.framework} op {op!r} has two handlers; keep one")
                self._handlers[op] = handler
                if domain is not None:
                    self._domains[op] = domain
                if weights is not None:
                    self._learns[op] = Learns(weights, sort, named)
            return handler

        return register

    def spells(
        self,
        rows: Mapping[str | tuple[str, ...], Handler],
        weights: Container[int] | None = None,
        sort: Sort = "computes",
        named: int | None = None,
    ) -> None:
        """Register a table of ops, or of several that are spelt alike, and for each what spells it in one expression.

        Examples
        --------
        >>> HANDLERS = Handlers("Toy")
        >>> HANDLERS.spells({("Relu", "Elu"): lambda node, build: build("a function", node)}, weights=())
        >>> HANDLERS.get("Elu") is HANDLERS.get("Relu"), HANDLERS.learns("Elu").inputs
        (True, ())
        """
        for ops, handler in rows.items():
            self.handles(*((ops,) if isinstance(ops, str) else ops), weights=weights, sort=sort, named=named)(handler)

    def refuses(self, reasons: Mapping[str, str]) -> dict[str, str]:
        """Register ops that nothing spells, told by reason as ``by_op`` takes them; return the reason of each."""
        reason = by_op(reasons)

        def refuse(node: Any, *_: object) -> NoReturn:
            raise UnspelledError(reason[node.op])

        self.handles(*reason)(cast("Handler", refuse))
        return reason

    def get(self, op: str, domain: str = "") -> Handler | None:
        """Return the handler of ``op``, ``None`` if there is none for the op that a domain calls so."""
        return self._handlers.get(op) if self._domains.get(op, domain) == domain else None

    def learns(self, op: str) -> Learns | None:
        """Return which inputs of ``op`` are learned, ``None`` where its handler does not say."""
        return self._learns.get(op)

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._handlers))
