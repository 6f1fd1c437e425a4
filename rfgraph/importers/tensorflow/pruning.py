"""Which nodes of a TensorFlow graph are the network: what depends on an input, less what is there for training only."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Mapping, Sequence

from rfgraph.importers.tensorflow.body import Body

#: Ops whose outputs come from outside.
SOURCES = frozenset(
    {
        "Placeholder", "PlaceholderV2", "PlaceholderWithDefault", "_Arg", "IteratorGetNext", "IteratorGetNextSync",
        "OneShotIterator", "QueueDequeueV2", "QueueDequeue", "QueueDequeueManyV2", "QueueDequeueMany",
        "QueueDequeueUpToV2", "QueueDequeueUpTo", "DecodeJpeg", "DecodePng", "DecodeBmp", "DecodeGif", "DecodeImage",
        "DecodeAndCropJpeg", "DecodeRaw",
    }
)  # fmt: skip
#: Sinks of a graph that are no outputs of the network.
BESIDE = frozenset(
    {
        "NoOp", "Assert", "Print", "PrintV2", "IsVariableInitialized", "VarIsInitializedOp", "MakeIterator",
        "ShardedFilename", "MergeV2Checkpoints", "ControlTrigger", "DestroyResourceOp", "DestroyTemporaryVariable",
        "WriteFile", "CheckNumerics", "ConcatOffset", "BroadcastGradientArgs", "InvertPermutation", "Timestamp",
    }
)  # fmt: skip
#: What a network is trained by: what is made of them is none of its outputs.
LOSSES = frozenset(
    {
        "SoftmaxCrossEntropyWithLogits", "SparseSoftmaxCrossEntropyWithLogits", "L2Loss", "CTCLoss", "CTCLossV2",
        "InTopK", "InTopKV2",
    }
)  # fmt: skip
_BESIDE_NAMED = re.compile(
    r"(Resource|Sparse)*Apply[A-Z].*|(Resource)?Scatter(Nd)?(Update|Add|Sub|Mul|Div|Min|Max)|Assign.*|.*Summary(V2)?|(Save|Restore)(V2|Slices)?|Queue.*|Initialize.*"
    r"|.*Grad(V\d|Grad\w*)?|.*BackpropFilter(V2)?|.*Barrier.*|Write.*Summary|.*Iterator.*|.*Dataset.*|LookupTable.*"
)
#: Scopes of gradients and of the saver.
_BESIDE_SCOPE = re.compile(r"(^|/)(gradients|gradient_tape|save|report_uninitialized_variables)(_\d+)?(/|$)")


def sinks(body: Body) -> list[str]:
    """Return the nodes that depend on an input and that nothing but training reads; none if there is no input."""
    readers: dict[str, list[str]] = {}
    for name, wired in body.nodes.items():
        for i in wired.data:
            readers.setdefault(i.name, []).append(name)
    sources = [name for name, wired in body.nodes.items() if wired.op in SOURCES]
    # Freezing a loop leaves placeholders behind that nothing reads.
    sources = [name for name in sources if readers.get(name)] or sources
    reached = _downstream(sources, readers)
    losses = _downstream([name for name, wired in body.nodes.items() if wired.op in LOSSES], readers)
    left = {name: len(readers.get(name, ())) for name in body.nodes}
    beside = losses | {name for name in body.nodes if _is_beside(body, name)}
    peeled = deque(name for name, count in left.items() if not count and name in beside)
    gone = set(peeled)
    while peeled:
        for i in body.nodes[peeled.popleft()].data:
            if i.name in left:
                left[i.name] -= 1
                if not left[i.name] and i.name not in gone and i.name in beside:
                    gone.add(i.name)
                    peeled.append(i.name)
    ends = [n for n in body.nodes if not left[n] and n in reached and n not in gone]
    return ends or [name for name in body.nodes if name in reached and not readers.get(name)]


def _is_beside(body: Body, name: str) -> bool:
    """Whether a node that nothing reads is there for training only."""
    op = body.nodes[name].op
    return op in BESIDE or _BESIDE_NAMED.fullmatch(op) is not None or _BESIDE_SCOPE.search(name) is not None


def _downstream(names: Sequence[str], readers: Mapping[str, Sequence[str]]) -> set[str]:
    """Return some nodes and all that is made of them."""
    reached, queue = set(names), deque(names)
    while queue:
        for reader in readers.get(queue.popleft(), ()):
            if reader not in reached:
                reached.add(reader)
                queue.append(reader)
    return reached
