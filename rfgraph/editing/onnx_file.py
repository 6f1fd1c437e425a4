"""Repaired paddings in an ONNX file: the nodes that pad, or new ones that do, and nothing else of it."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any

import networkx as nx
import onnx
from onnx import helper

from rfgraph.editing import wire
from rfgraph.errors import ModelFileError
from rfgraph.importers.onnx.reader import DOMAINS, Origins
from rfgraph.questions.misalignment import Repair
from rfgraph.report import Report

#: Operators whose attribute ``pads`` is what rfgraph calls padding.
PADDED = frozenset({"Conv", "FusedConv", "ConvTranspose", "MaxPool", "AveragePool", "LpPool"})

#: Those whose padding is zeros, as a Pad before them makes them.
_PAD_WITH_ZEROS = frozenset({"Conv", "FusedConv"})

#: Field of the graph that holds its stored tensors.
_INITIALIZER = 5

#: The version since which Pad reads its pads from a tensor.
_PADS_ARE_READ = 11


def repaired(
    data: bytes,
    origins: Origins,
    repairs: Sequence[Repair],
    read: Callable[[onnx.ModelProto, Origins], nx.DiGraph[Any]],
) -> tuple[bytes, nx.DiGraph[Any]]:
    """Return an ONNX model with its paddings changed, and the network that it then is.

    Parameters
    ----------
    origins
        Which of its nodes the nodes of the network come from.
    repairs
        The changes.
    read
        Returns the network graph of a model.

    Raises
    ------
    ModelFileError
        If a change cannot be written into the node that it is for.
    """
    model = _parsed(data)
    graph = read(model, origins)
    for repair in repairs:  # one after the other: each moves the nodes that come after it
        data = _with_repair(data, model, origins, repair)
        model = _parsed(data)
        graph = read(model, origins)
    return data, graph


def check(after: Report, expected: Report) -> None:
    """Check that a file that was written says what was worked out for it.

    Raises
    ------
    ModelFileError
        If a layer sees anything else.
    """
    for node in expected:
        if node in after and after[node].field != expected[node].field:
            raise ModelFileError(f"node {node!r}: with its paddings changed the file says other than was worked out")
    told = [
        [(f.rule, str(f.node), f.axes) for f in report.findings if f.severity != "note"] for report in (after, expected)
    ]
    if sorted(told[0]) != sorted(told[1]):
        raise ModelFileError("with its paddings changed the file has other findings than were worked out")


def _parsed(data: bytes) -> onnx.ModelProto:
    return onnx.load_model_from_string(data)


def _with_repair(data: bytes, model: onnx.ModelProto, origins: Origins, repair: Repair) -> bytes:
    nodes = model.graph.node
    if repair.before is not None:
        merge, _ = repair.before
        return _with_pad(data, model, origins, repair, _place(origins, merge, len(nodes)))
    place = _place(origins, repair.node, len(nodes))
    node = nodes[place]
    if node.op_type == "Pad" and node.domain in DOMAINS:
        return _with_other_pad(data, model, place, repair)
    if node.op_type not in PADDED or node.domain not in DOMAINS:
        raise ModelFileError(
            f"node {repair.node!r}: the file has no padding of it that could be changed (it is a {node.op_type} there)"
        )
    pads = [amount for side in (0, 1) for amount in (pair[side] for pair in repair.padding)]
    before = more = b""
    if min(pads) < 0 and node.op_type in _PAD_WITH_ZEROS:  # a node before it pads and crops instead
        pad, more = _pad_node(model, node, 0, repair)
        before, pads = _field(pad), [0] * len(pads)
    elif min(pads) < 0:
        raise ModelFileError(
            f"node {repair.node!r} ({node.op_type}): {repair}; ONNX has no negative pads there, so crop before it"
        )
    _check_pads(node, repair)
    changed = onnx.NodeProto()
    changed.CopyFrom(node)
    kept = [attribute for attribute in changed.attribute if attribute.name not in ("pads", "auto_pad")]
    del changed.attribute[:]
    changed.attribute.extend([*kept, helper.make_attribute("pads", pads)])
    if before:
        changed.input[0] = pad.output[0]
    return wire.with_nodes(data, lambda i, _: before + _field(changed) if i == place else None, more)


def _check_pads(node: onnx.NodeProto, repair: Repair) -> None:
    """Check that a node pads now as the network says, so that its axes are those of the network, in their order."""
    attributes = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    axes = len(repair.padding)
    pads = list(attributes.get("pads") or [0] * (2 * axes))
    by_size = attributes.get("auto_pad", b"NOTSET") in (b"SAME_UPPER", b"SAME_LOWER")
    if len(pads) != 2 * axes or (
        not by_size and repair.was is not None and tuple(zip(pads[:axes], pads[axes:], strict=True)) != repair.was
    ):
        raise ModelFileError(f"node {repair.node!r} ({node.op_type}): its pads {pads} are not those of the network")


def _field(node: onnx.NodeProto) -> bytes:
    return wire.field(wire.NODE, node.SerializeToString())


def _place(origins: Origins, node: Hashable, count: int) -> int:
    place = origins.places.get(str(node))
    if place is None or place >= count:
        raise ModelFileError(f"node {node!r}: no node of the file is known to make it")
    return place


def _version(model: onnx.ModelProto) -> int:
    return next((opset.version for opset in model.opset_import if opset.domain in DOMAINS[:2]), 1)


def _unique(model: onnx.ModelProto, name: str) -> str:
    """Return a name that no tensor and no node of the model has."""
    graph = model.graph
    taken = {tensor.name for tensor in graph.initializer} | {info.name for info in graph.input}
    for node in graph.node:
        taken.update((node.name, *node.output))
    while name in taken:
        name += "_"
    return name


def _pads(model: onnx.ModelProto, name: str, pads: Sequence[int]) -> tuple[dict[str, Any], list[str], bytes]:
    """Return how a Pad node is told its pads: attributes, inputs, and stored tensors as fields of the graph."""
    if _version(model) < _PADS_ARE_READ:
        return {"pads": list(pads)}, [], b""
    tensor = helper.make_tensor(_unique(model, f"{name}_pads"), onnx.TensorProto.INT64, [len(pads)], list(pads))
    return {}, [tensor.name], wire.field(_INITIALIZER, tensor.SerializeToString())


def _pad_node(model: onnx.ModelProto, node: onnx.NodeProto, slot: int, repair: Repair) -> tuple[onnx.NodeProto, bytes]:
    """Return a node that pads an input of another with zeros, and the fields of the graph that it needs."""
    pads = [0, 0, *(pair[0] for pair in repair.padding), 0, 0, *(pair[1] for pair in repair.padding)]
    name = _unique(model, f"{node.name or node.output[0]}/pad_{slot}")
    attributes, inputs, more = _pads(model, name, pads)
    return helper.make_node("Pad", [node.input[slot], *inputs], [name], name, mode="constant", **attributes), more


def _with_pad(data: bytes, model: onnx.ModelProto, origins: Origins, repair: Repair, place: int) -> bytes:
    """Return a model with a pad before one of the inputs of a node; batch and channels come first, as ONNX has them."""
    merge, source = model.graph.node[place], origins.places.get(str(repair.node))
    tensors = {output for i, node in enumerate(model.graph.node) if i == source for output in node.output}
    if source is None:
        tensors = {str(repair.node)}  # an input of the graph
    read = [i for i, name in enumerate(merge.input) if name in tensors]
    if len(read) != 1:
        raise ModelFileError(f"node {merge.name or merge.op_type!r}: {repair}; the file has no place for it")
    pad, more = _pad_node(model, merge, read[0], repair)
    changed = onnx.NodeProto()
    changed.CopyFrom(merge)
    changed.input[read[0]] = pad.output[0]
    return wire.with_nodes(data, lambda i, _: _field(pad) + _field(changed) if i == place else None, more)


def _with_other_pad(data: bytes, model: onnx.ModelProto, place: int, repair: Repair) -> bytes:
    """Return a model in which a Pad node pads otherwise; where it reads its pads, it reads new ones."""
    node = model.graph.node[place]
    changed = onnx.NodeProto()
    changed.CopyFrom(node)
    pads = [0, 0, *(pair[0] for pair in repair.padding), 0, 0, *(pair[1] for pair in repair.padding)]
    attributes, inputs, more = _pads(model, node.name or node.output[0], pads)
    if len(node.input) > 3 and node.input[3]:
        raise ModelFileError(f"node {repair.node!r} (Pad): it pads axes that it reads, which are not changed")
    if inputs:
        changed.input[1] = inputs[0]
    else:
        kept = [attribute for attribute in changed.attribute if attribute.name not in ("pads", "paddings")]
        del changed.attribute[:]
        changed.attribute.extend([*kept, helper.make_attribute("pads", attributes["pads"])])
    return wire.with_nodes(data, lambda i, _: _field(changed) if i == place else None, more)
