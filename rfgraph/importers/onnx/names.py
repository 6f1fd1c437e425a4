"""What the nodes of an ONNX graph are called: after the module or the weight that a person knows, before a number.

A name that a person gave stays. One that an exporter made up (``Conv_17``, ``node_conv2d_17``) gives way to the module
that holds the node's weight (``layer1.0.conv1.weight``), and else to the module whose code made the node, which PyTorch
notes in the node's metadata. Only the longest part of that path tells modules apart, as for live PyTorch modules.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache

from onnx import NodeProto

from rfgraph.frozen import dataclass
from rfgraph.importers.onnx.nodes import HANDLERS

#: What stands between a stored weight and the node that uses it.
PASSED = frozenset({"DequantizeLinear", "QuantizeLinear", "Identity", "Cast", "Transpose", "Reshape"})
#: What makes numbers of shapes: no node of the network follows from it.
SHAPES = frozenset({"Shape", "Size", "Constant", "ConstantOfShape"})

_NUMBER = re.compile(r"n?\d*")
_NUMBERED = re.compile(r"[_.]*\d*")
_WEIGHT = re.compile(r"(?:.*/)?([^/:]+)\.weight(?:[._]\w+)?")
_QUOTED = re.compile(r"'([^'\\]*)'")
_WORDS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
#: What the exporter puts before the paths of modules that are called in a branch.
_BRANCH = "_export_root."
#: Metadata of a node that an optimizer made of several: the module noted is that of one of them.
REWRITTEN = "pkg.onnxscript.rewriter.rule_name"
#: Metadata that is longer than this is no path of modules.
MAX_TEXT = 4096


@dataclass(frozen=True, slots=True)
class _Origin:
    """What made a node: the path of its module, ``None`` if not known, and the operator called there."""

    path: str | None
    op: str
    #: Tells calls of operators apart, so that those that became several nodes are known.
    call: tuple[str, ...] = ()
    #: Whether its operator is one of those that have weights of their own.
    is_layer: bool = False
    by_weight: bool = False


def generated(name: str, op: str) -> bool:
    """Return whether no person gave ``name`` to a node of operator ``op``.

    Examples
    --------
    >>> [generated(name, "Conv") for name in ("Conv_17", "node_conv2d_17", "17", "")]
    [True, True, True, True]
    >>> [generated(name, "Conv") for name in ("conv1", "/stem/conv/Conv", "gpu_0/conv3_0")]
    [False, False, False]
    """
    if name.startswith(("node_", "p2o.")) or _NUMBER.fullmatch(name):
        return True
    return name.startswith(op) and _NUMBERED.fullmatch(name, len(op)) is not None


def shown(nodes: Sequence[NodeProto], weights: Collection[str], data: Collection[str]) -> list[str | None]:
    """Return what each of ``nodes`` is called; ``None`` where its own name, or its output's, is as good.

    Parameters
    ----------
    nodes
        The nodes of one graph, in order.
    weights
        The names of its stored tensors.
    data
        The names, outside of it, of what depends on the inputs.
    """
    given = [node.name or next(filter(None, node.output), "") for node in nodes]
    made_up = [generated(name, node.op_type) for name, node in zip(given, nodes, strict=True)]
    if not any(made_up):
        return [None] * len(nodes)
    origins = _origins(nodes, weights, data)
    calls = Counter(origin.call for origin in origins if origin is not None)
    ops = [
        origin.op if origin is not None and calls[origin.call] == 1 else _snake(node.op_type)
        for node, origin in zip(nodes, origins, strict=True)
    ]
    modules = _Modules(origins, ops)
    names: list[str | None] = []
    for is_made_up, origin, op in zip(made_up, origins, ops, strict=True):
        if origin is None or origin.path is None or not is_made_up:
            names.append(None)
        elif not origin.path:
            names.append(op)
        else:
            names.append(origin.path if modules.is_one_node(origin) else f"{origin.path}/{op}")
    return names


def _origins(nodes: Sequence[NodeProto], weights: Collection[str], data: Collection[str]) -> list[_Origin | None]:
    """Return where each node comes from, ``None`` for those that depend on no input or tell only of shapes."""
    makers = {output: node for node in nodes if node.op_type in PASSED for output in node.output}
    depends = set(data)
    origins: list[_Origin | None] = []
    for node in nodes:
        if node.op_type in SHAPES or not any(name in depends for name in node.input):
            origins.append(None)
            continue
        depends.update(filter(None, node.output))
        origins.append(_origin(node, weights, makers))
    return origins


class _Modules:
    """What is made in each module of a graph: how many nodes, how many layers, which ops."""

    def __init__(self, origins: Sequence[_Origin | None], ops: Sequence[str]) -> None:
        known = [(origin, op) for origin, op in zip(origins, ops, strict=True) if origin is not None]
        self.ops: defaultdict[str | None, set[str]] = defaultdict(set)
        for origin, op in known:
            self.ops[origin.path].add(op)
        self.nodes: Counter[str | None] = Counter(origin.path for origin, _ in known if origin.path is not None)
        self.layers: Counter[str | None] = Counter(
            origin.path for origin, _ in known if origin.path is not None and origin.is_layer
        )
        #: Modules that hold others.
        self.parents: set[str] = set()
        for path in filter(None, self.nodes):
            while path and (path := path.rpartition(".")[0]) not in self.parents:
                self.parents.add(path)

    def is_one_node(self, origin: _Origin) -> bool:
        """Return whether a node stands for its module: alone in it, its only layer, or a call of one called again."""
        path = origin.path
        if origin.by_weight or self.nodes[path] == 1:
            return True
        whole = len(self.ops[path]) == 1 or (origin.is_layer and self.layers[path] == 1)
        return whole and path not in self.parents


def _origin(node: NodeProto, weights: Collection[str], makers: Mapping[str, NodeProto]) -> _Origin:
    metadata = {entry.key: entry.value for entry in node.metadata_props if len(entry.value) <= MAX_TEXT}
    op, is_layer = _snake(node.op_type), _place(node.op_type) is not None
    scopes = _scopes(metadata) if metadata else ()
    if not scopes or REWRITTEN in metadata:
        module = _module_of_weight(node, weights, makers)
        if module is not None or not scopes:
            return _Origin(module, op, (module or "", op), is_layer, module is not None)
    target = (_QUOTED.findall(metadata.get("pkg.torch.onnx.class_hierarchy", "")) or [""])[-1].split(".")
    called = target[1] if target[0] == "aten" and len(target) > 1 else op
    return _Origin(scopes[-2].removeprefix(_BRANCH) if len(scopes) > 1 else "", called, scopes, is_layer)


def _place(op: str) -> int | None:
    """Return which input is the weight that a layer is called after, ``None`` if the operator is no layer."""
    learns = HANDLERS.learns(op)
    return None if learns is None else learns.named


def _module_of_weight(node: NodeProto, weights: Collection[str], makers: Mapping[str, NodeProto]) -> str | None:
    """Return the module that holds the weight of a node, ``None`` if it is not stored as a module's is."""
    place = _place(node.op_type)
    if place is None or place >= len(node.input):
        return None
    name = node.input[place]
    for _ in range(len(PASSED)):
        if name not in makers or not makers[name].input:
            break
        name = makers[name].input[0]
    path = _WEIGHT.fullmatch(name) if name in weights else None
    return path[1] if path else None


def _scopes(metadata: Mapping[str, str]) -> tuple[str, ...]:
    """Return the paths of the modules that a node was made in, from the outermost, and the name of the call."""
    if scopes := _QUOTED.findall(metadata.get("pkg.torch.onnx.name_scopes", "")):
        return tuple(scopes)
    entries = metadata["namespace"].split("/") if "namespace" in metadata else []
    return tuple(entry.partition(":")[0].strip() for entry in entries)


@lru_cache(maxsize=1024)
def _snake(op: str) -> str:
    """Return ``LayerNormalization`` as ``layer_normalization``."""
    return _WORDS.sub("_", op).lower()
