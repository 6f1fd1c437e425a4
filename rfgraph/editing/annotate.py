"""What was found, written into a model file for viewers: Netron shows the metadata of ONNX nodes, Model Explorer takes
node data from a file beside the model.
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from rfgraph.editing import wire
from rfgraph.questions.findings import SEVERITIES, Finding
from rfgraph.questions.layers import Layer
from rfgraph.questions.records import NUMBERS, exact, fields_of, value_of, values_of
from rfgraph.report import Report

#: What keys of the metadata begin with; those of an earlier annotation are replaced.
PREFIX = "rfgraph."

#: Numbers of fields: the metadata of a node; the key and the value of one entry of it.
_METADATA, _KEY, _VALUE = 9, 1, 2

#: The key of node data that holds the nodes. A node of this name is left out: Model Explorer would take it for a graph.
RESULTS = "results"

#: Colours of nodes in Model Explorer, by the worst of their findings, and of the others by r.
_COLOURS = {"error": "#f28b82", "warning": "#fdd663", "note": "#aecbfa"}
_GRADIENT = [{"stop": 0, "bgColor": "#ffffff"}, {"stop": 1, "bgColor": "#81c995"}]


def entries_of(layer: Layer | None, findings: Sequence[Finding]) -> dict[str, str]:
    """Return what is told of a node: r, S, P and n with an entry per axis, the status and why, and its findings.

    Examples
    --------
    >>> from rfgraph import Network, analyze
    >>> net = Network("block", axes=2)
    >>> out = net.conv("conv", net.input("x"), kernel=(3, 5), stride=2)
    >>> entries_of(analyze(net)["conv"], [])
    {'r': '3, 5', 'S': '2, 2', 'P': '0, 0', 'status': 'exact'}
    """
    entries: dict[str, str] = {}
    if layer is not None:
        entries = {name: ", ".join(_numbers(layer, name)) for name in ("r", "S", "P")}
        if None not in layer.map_size:
            entries["n"] = ", ".join(map(str, layer.map_size))
        entries["status"] = f"{layer.status}: {layer.why}" if layer.why else layer.status
    for finding in findings:
        met = sum(key.partition(".")[0] == finding.rule for key in entries)
        said = f"{finding.severity} {finding.title}: {finding.message}; {finding.advice}"
        entries[f"{finding.rule}.{met + 1}" if met else finding.rule] = said
    return entries


def _numbers(layer: Layer, name: str) -> list[str]:
    """Return a number of a layer, one per axis."""
    told = []
    for field, whole in zip(fields_of(layer), layer.is_global, strict=True):
        value = value_of(field, NUMBERS[name])
        if value is not None:
            told.append(f"{exact(value)}{' and the whole axis' if whole and name == 'r' else ''}")
        elif values_of(field, NUMBERS[name]):
            told.append("depends on the input size")
        else:
            told.append("whole axis" if whole else "not known")
    return told


def annotated(
    data: bytes, report: Report, layers: Mapping[int, Hashable], findings: Mapping[int, Sequence[Finding]]
) -> bytes:
    """Return an ONNX model whose nodes carry what was found.

    Nothing else of it changes: every byte that was in it, but an earlier annotation, is still there, in its order.

    Parameters
    ----------
    layers
        Place of a node in the model's graph -> the node of the network that makes what it makes.
    findings
        Place of a node -> what was found there.
    """

    def change(place: int, node: bytes) -> bytes | None:
        bare = _without_ours(node)
        layer = report[layers[place]] if place in layers else None
        entries = entries_of(layer, findings.get(place, ()))
        if not entries and len(bare) == len(node):
            return None
        more = b"".join(wire.field(_METADATA, _entry(PREFIX + key, value)) for key, value in entries.items())
        return wire.field(wire.NODE, bare + more)

    return wire.with_nodes(data, change)


def _entry(key: str, value: str) -> bytes:
    return wire.field(_KEY, _utf8(key)) + wire.field(_VALUE, _utf8(value))


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace")


def _without_ours(node: bytes) -> bytes:
    """Return a node without an earlier annotation."""
    parts, kept = [], 0
    for number, first, contents, end in wire.fields(node, 0, len(node)):
        if number == _METADATA and contents >= 0 and _key(node[contents:end]).startswith(PREFIX.encode()):
            parts.append(node[kept:first])
            kept = end
    return b"".join([*parts, node[kept:]])


def _key(entry: bytes) -> bytes:
    keys = [entry[contents:end] for number, _, contents, end in wire.fields(entry, 0, len(entry)) if number == _KEY]
    return keys[-1] if keys else b""


def node_data(report: Report, called: Mapping[Hashable, Sequence[str]]) -> str:
    """Return node data for Model Explorer: r of each node, the larger the greener, and findings by their colour.

    Parameters
    ----------
    called
        Node of the network -> what the model calls it: names of nodes, or of tensors that they make.
    """
    worst: dict[Hashable, str] = {}
    for finding in report.findings:
        before = worst.get(finding.node, "note")
        worst[finding.node] = max(before, finding.severity, key=SEVERITIES.index)
    results: dict[str, Any] = {}
    for node, names in called.items():
        sizes = [value for field in fields_of(report[node]) for value in values_of(field, "size")]
        if not sizes:
            continue
        result: dict[str, Any] = {"value": max(sizes)}
        if node in worst:
            result["bgColor"] = _COLOURS[worst[node]]
        results.update(dict.fromkeys((name for name in names if name != RESULTS), result))
    return json.dumps({RESULTS: results, "gradient": _GRADIENT}, indent=1) + "\n"
