"""Networks of ncnn, read into a tensor program; this module does not need ncnn."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from rfgraph.importers.ncnn.file import Layer, Model, decode
from rfgraph.importers.ncnn.nodes import HANDLERS, Node
from rfgraph.importers.ncnn.operators import inner_channels, learned, rank_of
from rfgraph.importers.program import Dim, Given, Program, Value, symbol
from rfgraph.importers.spelling.reader import Reader as Base

#: Layers through which a blob goes with all its dimensions.
KEEPS_CHANNELS = frozenset({"Split", "Padding", "ReLU", "Noop", "Scale", "Bias", "BinaryOp", "BatchNorm", "Dropout",
                            "PReLU", "UnaryOp", "Interp"})  # fmt: skip
KEEPS_RANK = KEEPS_CHANNELS | {"Concat", "Crop", "Flip", "Slice"}


def programs_of(path: str) -> Callable[[Mapping[str, Given]], Program]:
    """Return what reads a network of ncnn anew for what is given of its inputs, a shape or what they hold."""
    model = decode(path)
    return lambda given: Reader(model, given).program()


class Reader(Base):
    """Reads the layers of one network, in their order, into a builder."""

    def __init__(self, model: Model, given: Mapping[str, Given] | None = None) -> None:
        super().__init__(model.name)
        self.model = model
        self.given = given or {}
        self.build.learned = set()
        self.scope: dict[str, Value] = {}

    def program(self) -> Program:
        """Return the program.

        Raises
        ------
        ModelFileError
            If a layer is malformed, or what an input holds cannot be told.
        """
        read = {blob for layer in self.model.layers for blob in layer.inputs}
        for layer in self.model.layers:
            if layer.op == "Input":
                self.input(layer)
            else:
                self.layer(layer)
        ends = [blob for blob in self.scope if blob not in read]
        if not ends:
            raise self.fail("the network has no outputs")
        return self.build.program([self.scope[blob] for blob in ends], ends)

    def put(self, blob: str, value: Value) -> None:
        """Note what a blob holds."""
        if blob in self.scope:
            raise self.fail(f"two layers make blob {blob[:80]!r}")
        self.scope[blob] = value

    def input(self, layer: Layer) -> None:
        """Add an input of the shape that it states, or else that the layers that read it need."""
        if len(layer.outputs) != 1:
            raise self.fail(f"input {layer.name[:80]!r} has {len(layer.outputs)} blobs, not one")
        name = layer.outputs[0]
        sizes = [layer.parameters.get(number, 0) for number in (2, 11, 1, 0)]  # c, d, h, w
        if not all(isinstance(size, int) and 0 <= size < 2**31 for size in sizes):
            raise self.fail(f"input {layer.name[:80]!r}: its sizes {sizes} are no sizes")
        stated: list[Dim] = [size for size in sizes if size]
        if not stated:
            stated = self.needed(name)
        told = self.given.get(name)
        self.put(name, self.build.input(name, tuple(stated), told))

    def needed(self, blob: str) -> list[Dim]:
        """Return the shape of an input that states none: the first window that reads it tells its rank and channels."""
        alike, same, rank, channels = {blob}, {blob}, 0, None
        for layer in self.model.layers:
            if not alike.intersection(layer.inputs[:1]):
                continue
            rank = rank or rank_of(layer)
            if not same.isdisjoint(layer.inputs[:1]):
                channels = inner_channels(layer) if channels is None else channels
                same.update(layer.outputs if layer.op in KEEPS_CHANNELS else ())
            if rank and channels is not None:
                break
            alike.update(layer.outputs if layer.op in KEEPS_RANK else ())
        if not rank:
            raise self.fail(
                f"its input {blob[:80]!r} states no size, and nothing tells how many dimensions it has; "
                "write them into the file: 0=width 1=height 2=channels behind the Input"
            )
        sizes: list[Dim] = [symbol(f"{blob}.{axis}") for axis in "cdhw"]
        if channels is not None:
            sizes[0] = channels
        return [sizes[0], *sizes[5 - rank :]]

    def layer(self, layer: Layer) -> None:
        """Read one layer."""
        values = []
        for blob in layer.inputs:
            if blob not in self.scope:
                raise self.fail(
                    f"layer {layer.name[:80]!r} ({layer.op}) reads {blob[:80]!r}, which nothing before it makes"
                )
            values.append(self.scope[blob])
        names = tuple(f"{layer.name}:{k}" if k else layer.name for k in range(len(layer.outputs)))
        node = Node(layer.name, layer.op, tuple(values), layer.parameters, names)
        spell = partial(self.by_handler, HANDLERS, node, [learned(node)])
        for blob, value in zip(
            layer.outputs, self.all_outputs(node, len(names), spell, partial(self.opaque, node)), strict=True
        ):
            self.put(blob, value)

    def opaque(self, node: Node, k: int, why: str) -> Value:
        """Return output ``k`` of a layer of which nothing is known."""
        weights = [learned(node)] if not k else []
        return self.unknown((node.outputs[k], node.op), why, None, node.tensors(), weights)
