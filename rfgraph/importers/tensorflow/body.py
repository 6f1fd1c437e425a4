"""The nodes of a TensorFlow graph or function as they are wired: what each reads, and the loops that nodes make."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from rfgraph.frozen import dataclass

#: Steps taken through tangled loops.
MAX_STEPS = 2_000_000
#: TensorFlow's own limit.
MAX_RANK = 254

ENTERS, EXITS = frozenset({"Enter", "RefEnter"}), frozenset({"Exit", "RefExit"})
MERGES, SWITCHES = frozenset({"Merge", "RefMerge"}), frozenset({"Switch", "RefSwitch"})
NEXT = frozenset({"NextIteration", "RefNextIteration"})

# References between nodes.

Port = int | tuple[str, int]


def ref(text: str, in_function: bool = False) -> tuple[str, Port]:
    """Return the node that a reference names, and which output of it; -1 stands for control.

    Examples
    --------
    >>> ref("split:1"), ref("conv"), ref("^init"), ref("norm:y:0", in_function=True)
    (('split', 1), ('conv', 0), ('init', -1), ('norm', ('y', 0)))
    """
    if text.startswith("^"):
        return text[1:], -1
    name, *rest = text.split(":")
    if len(rest) > 2 or (rest and not rest[-1].isdecimal()) or (len(rest) == 2 and not in_function):
        raise ValueError(f"{text[:80]!r} is no reference to a tensor")
    if not rest:
        return name, 0
    index = int(rest[-1][:9])
    return name, (rest[0], index) if len(rest) == 2 else index


@dataclass(frozen=True)
class Input:
    """A data input of a node."""

    name: str
    port: Port


@dataclass(frozen=True)
class Wired:
    """A node, and what it reads."""

    proto: Any
    op: str
    data: tuple[Input, ...]
    control: tuple[str, ...]


@dataclass(frozen=True)
class Frame:
    """A loop as TensorFlow 1 writes it, node by node."""

    name: str
    entries: tuple[str, ...]
    #: One of each for every tensor that a turn hands to the next: where it is read, and where it goes on or leaves.
    merges: tuple[str, ...]
    switches: tuple[str, ...]
    condition: Input
    #: What a turn makes of each.
    ends: tuple[Input, ...]


class Body:
    """The nodes of a graph, or of a function."""

    def __init__(self, nodes: Iterable[Any], function: bool = False) -> None:
        self.function = function
        self.steps = 0
        self._frames: dict[str, list[str]] = {}  # by the name of a loop: where tensors enter it
        self._carried: dict[str, dict[str, str]] = {}  # and where its turns begin -> where they go on or leave
        self.nodes: dict[str, Wired] = {}
        for proto in nodes:
            if proto.name in self.nodes:
                raise ValueError(f"two of its nodes are called {proto.name!r}")
            refs = [ref(text, function) for text in proto.input]
            data = tuple(Input(name, port) for name, port in refs if port != -1)
            control = tuple(name for name, port in refs if port == -1)
            self.nodes[proto.name] = Wired(proto, str(proto.op), data, control)

    def get(self, name: str, reader: str) -> Wired:
        """Return a node."""
        node = self.nodes.get(name)
        if node is None:
            raise ValueError(f"{reader} reads {name!r}, which is not in the graph")
        return node

    def needed(self, name: str) -> list[str]:
        """Return the nodes that must be read before a node is."""
        wired = self.nodes[name]
        if wired.op in NEXT:
            return []
        if wired.op in EXITS:
            turn, frame = self.turn(name), self.frame(name)
            entries = self.entries(name) if frame is None else list(frame.entries)
            return entries if turn is None else [*entries, turn.name]
        if wired.op in MERGES:
            return [i.name for i in wired.data if not self.is_next(i.name)]
        return [i.name for i in wired.data] + [pivot for pivot in wired.control if self.is_pivot(pivot)]

    def is_pivot(self, name: str) -> bool:
        """Whether a node tells which branch is taken, to those that it controls."""
        wired = self.nodes.get(name)
        if wired is None or wired.op != "Identity" or not wired.data:
            return False
        source = self.nodes.get(wired.data[0].name)
        return source is not None and source.op in SWITCHES

    def is_next(self, name: str) -> bool:
        """Whether a node hands a tensor to the next turn of a loop."""
        wired = self.nodes.get(name)
        return wired is not None and wired.op in NEXT

    def turn(self, name: str) -> Input | None:
        """Return what a turn of a loop makes of the tensor that leaves the loop at a node."""
        wired = self.nodes[name]
        for ops in (SWITCHES, MERGES):
            if not wired.data:
                return None
            node = self.nodes.get(wired.data[0].name)
            if node is None or node.op not in ops:
                return None
            wired = node
        ends = [self.nodes[i.name] for i in wired.data if self.is_next(i.name)]
        return ends[0].data[0] if len(ends) == 1 and ends[0].data else None

    def frame(self, name: str) -> Frame | None:
        """Return the loop that a node leaves, ``None`` if it is not built as ``tf.while_loop`` builds one."""
        switch = self._first(name, SWITCHES)
        merge = None if switch is None else self._first(switch, MERGES)
        entry = None if merge is None else self._first(merge, ENTERS)
        if entry is None:
            return None
        title = self._title(entry)
        if not self._frames:
            for other, wired in self.nodes.items():
                if wired.op in ENTERS:
                    self._frames.setdefault(self._title(other), []).append(other)
                elif wired.op in SWITCHES and (of := self._first(other, MERGES)) is not None:
                    start = self._first(of, ENTERS)
                    if start is not None and len(self.nodes[of].data) == 2 and len(wired.data) == 2:
                        self._carried.setdefault(self._title(start), {})[of] = other
        carried = self._carried.get(title, {})
        turns = [self.nodes[of].data for of in carried]
        conditions = {self.nodes[switch].data[1] for switch in carried.values()}
        ends = [self.nodes.get(last.name) for _, last in turns]
        if len(conditions) != 1 or any(end is None or end.op not in NEXT or not end.data for end in ends):
            return None
        (condition,) = conditions
        return Frame(
            title, tuple(self._frames[title]), tuple(carried), tuple(carried.values()), condition,
            tuple(end.data[0] for end in ends if end is not None),
        )  # fmt: skip

    def _first(self, name: str, ops: frozenset[str]) -> str | None:
        """Return what a node reads first, if that is one of some ops."""
        wired = self.nodes.get(name)
        source = wired.data[0].name if wired is not None and wired.data else ""
        return source if source in self.nodes and self.nodes[source].op in ops else None

    def _title(self, entry: str) -> str:
        return str(Attributes(self.nodes[entry].proto.attr, {}).get("frame_name", ""))

    def entries(self, name: str) -> list[str]:
        """Return the nodes through which tensors enter the loop that a node leaves."""
        names: dict[str, None] = {}
        seen, queue = {name}, deque([name])
        while queue:
            wired = self.nodes.get(queue.popleft())
            self.steps += 1
            if self.steps > MAX_STEPS:
                raise ValueError(f"it has loops whose walk takes more than {MAX_STEPS} steps")
            for i in wired.data if wired is not None else ():
                inner = self.nodes.get(i.name)
                if inner is not None and inner.op in ENTERS:
                    names[i.name] = None
                elif i.name not in seen:
                    seen.add(i.name)
                    queue.append(i.name)
        return list(names)


# What nodes say.


class Attributes(Mapping[str, Any]):
    """The attributes of a node in plain Python, each when it is asked for."""

    def __init__(self, protos_: Mapping[str, Any], given: Mapping[str, Any]) -> None:
        self._protos = protos_
        self._given = given

    def __getitem__(self, name: str) -> Any:
        if name not in self._protos:
            raise KeyError(name)
        return _plain(self._protos[name], self._given)

    def __iter__(self) -> Iterator[str]:
        return iter(self._protos)

    def __len__(self) -> int:
        return len(self._protos)


def _plain(attribute: Any, given: Mapping[str, Any]) -> Any:
    kind = attribute.WhichOneof("value")
    if kind is None:
        return None
    value = getattr(attribute, kind)
    if kind == "s":
        return value.decode("utf-8", "replace")
    if kind == "shape":
        return _sizes(value)
    if kind == "placeholder":
        return given.get(value)
    if kind != "list":
        return value
    if value.s:
        return [entry.decode("utf-8", "replace") for entry in value.s]
    if value.shape:
        return [_sizes(entry) for entry in value.shape]
    return list(value.i or value.f or value.b or value.type or value.func)


def _sizes(message: Any) -> tuple[int, ...] | None:
    """Return the sizes that a shape states, -1 where it does not."""
    if len(message.dim) > MAX_RANK:
        raise ValueError(f"a shape of {len(message.dim)} dimensions")
    return None if message.unknown_rank else tuple(dim.size for dim in message.dim)
