"""The registry that every format keeps its handlers in: the names of its ops, and what spells each with primitives."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

Handler = TypeVar("Handler", bound=Callable[..., object])


class UnspelledError(Exception):
    """A handler cannot spell a node with primitives; the message says what stands in the way."""


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

    def handles(self, *ops: str, domain: str | None = None) -> Callable[[Handler], Handler]:
        """Register a function for ``ops``.

        Parameters
        ----------
        ops
            Their names.
        domain
            The domain that they are of, where ops of other domains are called so and are not the same.

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
            return handler

        return register

    def get(self, op: str, domain: str = "") -> Handler | None:
        """Return the handler of ``op``, ``None`` if there is none for the op that a domain calls so."""
        return self._handlers.get(op) if self._domains.get(op, domain) == domain else None

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._handlers))
