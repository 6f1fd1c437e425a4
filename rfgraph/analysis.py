"""The public entry: load a model, have it solved, and hand out the report."""

from __future__ import annotations

import os
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import networkx as nx

from rfgraph import importers
from rfgraph.errors import EndpointError, ModelFileError
from rfgraph.graph.costs import Costs
from rfgraph.graph.network import BatchNorm, Network
from rfgraph.graph.outputs import outputs
from rfgraph.graph.sizes import InputSize
from rfgraph.graph.treatments import Treat, chosen
from rfgraph.ops.costs import Cost
from rfgraph.passes import fields as engine
from rfgraph.passes.compiled import Compiled, compile_graph
from rfgraph.passes.results import Fields
from rfgraph.questions.layers import Layer, Trace
from rfgraph.report import Report, report_of

if TYPE_CHECKING:
    from rfgraph.importers.lowering.layout import Axes

#: How a live PyTorch module is traced.
How = Literal["run", "export"]
#: A network graph, a ``Network``, or what names one: a file, ``zoo:NAME``, ``path/to/file.py:function``.
Model = Any


def analyze(
    model: Model,
    input_size: InputSize = None,
    source: Hashable | None = None,
    alignment: str | Sequence[str] = "auto",
    treat: Treat | None = None,
    batch_norm: BatchNorm = "inference",
    example: Any = None,
    inputs: Mapping[str, Any] | None = None,
    axes: Axes | None = None,
    trace: How = "run",
) -> Report:
    """Return what every feature of a network sees of its input, and every merge whose paths do not line up.

    Parameters
    ----------
    model
        A networkx graph in rfgraph's format, a ``Network``, a file path, ``"zoo:NAME"``,
        ``"path/to/file.py:function"``, a live ``torch.nn.Module`` or Keras model, or a function of JAX arrays.
    input_size
        Size of the input in pixels, one number for all axes or one per axis; a mapping from input name to that where
        inputs differ. What depends on it is unknown without it.
    source
        Node to measure from; the input if there is just one.
    alignment
        What counts as aligned, for all axes or one entry per axis: ``"center"``, ``"causal"`` (branches end at the same
        index), or ``"auto"`` (centres, but a merge that is causal on purpose is a note).
    treat
        What nodes read, whatever their op says, and where no one knows: a pattern of names of nodes or ops, as in
        ``fnmatch`` -> ``"identity"`` (its own position), ``"global"`` (everything) or ``"cut"`` (nothing). The first
        pattern that fits counts. ``Report.treated`` lists what was treated.
    batch_norm
        ``"inference"``: batch normalisation reads its own position. ``"training"``: it reads the whole map besides.
    example
        What a live module is traced on: the full shape of its input, such as ``(1, 3, 224, 224)``, a tensor or an
        array; a list of these if it has several inputs, or a mapping from the names of its arguments. A PyTorch module
        with convolutions needs none if there is an input size. Others need none.
    inputs
        What inputs of a model file hold, such as ``{"sr": 16000}``: a number or a list of numbers. Of the branches that
        this decides only one is left.
    axes
        Which dimensions of a model's inputs are spatial, where the model itself does not tell: for each input a letter
        per dimension that is an axis and a dot for any other, such as ``{"image": "..HW"}``, or one text for all
        inputs. It is found where a model has windows or patches.
    trace
        How a live PyTorch module is traced. ``"run"``: by what one run of it calls, on tensors without contents if that
        will do; ``Report.as_run`` says where the example decided. ``"export"``: by ``torch.export``. What holds at any
        input size (``input_sizes``, ``aligned_sizes``, ``map_size_of``) is found by ``torch.export`` in both.

    Raises
    ------
    RFGraphError
        If the model cannot be read; the message names node, axis and values. Each cause has its own class.

    Examples
    --------
    >>> import networkx as nx
    >>> g = nx.DiGraph(name="block", axes=2)
    >>> g.add_node("image", op="input")
    >>> g.add_node("conv", op="conv", kernel=3, stride=2, padding=1)
    >>> g.add_node("pool", op="avg_pool", kernel=2)
    >>> g.add_node("add", op="add")
    >>> g.add_edges_from([("image", "conv"), ("image", "pool"), ("conv", "add"), ("pool", "add")])
    >>> report = analyze(g)
    >>> report["add"].size, report["add"].stride, report["add"].padding
    ((3, 3), (2, 2), (1, 1))
    >>> print(report.findings[0].message)  # doctest: +NORMALIZE_WHITESPACE
    merge 'add', axes y, x: centres are off by +1/2 input pixels, +1/4 of the merge's own
    ('pool' against 'conv', parting at 'image')
    """
    example, input_size = importers.as_example(model, example, input_size)
    graph = _graph(model, treat, input_size, example, inputs, axes, trace)
    report = report_of(graph, input_size, source, alignment, treat, batch_norm)
    if importers.is_read_anew(model, input_size):

        def at_size(size: InputSize) -> Report:
            return analyze(model, size, source, alignment, treat, batch_norm, example, inputs, axes, trace)

        def at_any_size() -> Report | None:
            symbolic = importers.at_any_size(model, example, treat, inputs, axes)
            return symbolic if symbolic is None else report_of(symbolic, None, source, alignment, treat, batch_norm)

        report.read_anew(at_size, at_any_size)
    return report


def trace(
    model: Model,
    output: Hashable | None = None,
    input_size: InputSize = None,
    treat: Treat | None = None,
    batch_norm: BatchNorm = "inference",
    example: Any = None,
    inputs: Mapping[str, Any] | None = None,
    axes: Axes | None = None,
    trace: How = "run",
) -> Trace:
    """Return what one output reads of each of its ancestors: the reverse pass of the article.

    Parameters
    ----------
    model, input_size, treat, batch_norm, example, inputs, axes, trace
        As for ``analyze``.
    output
        The node whose field is followed; the output if there is just one.

    Raises
    ------
    EndpointError
        If none is named and there are several outputs.
    RFGraphError
        If the model cannot be read.

    Examples
    --------
    >>> net = Network("two", axes=1)
    >>> last = net.conv("last", net.conv("first", net.input("signal"), kernel=3, stride=2), kernel=3)
    >>> trace(net)["signal"].size, trace(net)["first"].size
    ((7,), (3,))
    """
    example, input_size = importers.as_example(model, example, input_size)
    graph = _graph(model, treat, input_size, example, inputs, axes, trace)
    compiled = compile_graph(graph, input_size, treat, batch_norm)
    layers = compiled.layers
    if output is None:
        ends = outputs(layers)
        if len(set(ends.values())) != 1:
            names = ", ".join(repr(name) for name in list(ends)[:8])
            raise EndpointError(f"the network has {len(ends)} outputs, {names}; pass output= to say which one")
        (end, *_) = ends.values()
    else:
        end = layers.id_of(output)
    fields = compiled.per_axis(lambda axis: engine.reverse(compiled, axis, end))
    reached = [v for v in range(end + 1) if any(f.field(v).kind != "empty" for f in fields)]
    costs = Costs(lambda: (layers, compiled.sizes), graph)
    return Trace(layers.nodes[end], {layers.nodes[v]: _layer(compiled, v, fields, costs) for v in reached})


def load(
    model: Model,
    treat: Treat | None = None,
    example: Any = None,
    input_size: InputSize = None,
    inputs: Mapping[str, Any] | None = None,
    axes: Axes | None = None,
    trace: How = "run",
) -> nx.DiGraph[Any]:
    """Return the network graph that a file, ``"zoo:NAME"`` or ``"path/to/file.py:function"`` stands for.

    Parameters
    ----------
    model
        What names the model, or a live one of PyTorch, Keras or JAX; a graph stands for itself.
    treat
        As for ``analyze``; each node that a pattern fits gets it as its attribute ``treat``.
    example, input_size, inputs, axes, trace
        As for ``analyze``; the size matters to models that compute shapes.

    Raises
    ------
    ModelFileError
        If it cannot be read.

    Examples
    --------
    >>> load("zoo:vgg_16").nodes["vgg_16/pool5"]["kernel"]
    2
    """
    example, input_size = importers.as_example(model, example, input_size)
    graph = _graph(model, treat, input_size, example, inputs, axes, trace)
    if treat:
        graph = graph.copy()
        for node, treatment in chosen(graph.nodes(data=True), treat).items():
            graph.nodes[node]["treat"] = treatment.how
    return graph


def _graph(
    model: Model,
    treat: Treat | None,
    input_size: InputSize,
    example: Any,
    inputs: Mapping[str, Any] | None,
    axes: Axes | None,
    trace: How = "run",
) -> nx.DiGraph[Any]:
    if trace not in ("run", "export"):
        raise ModelFileError(f"trace {trace!r} is neither 'run' nor 'export'")
    if isinstance(model, (Network, nx.Graph)):
        if inputs:
            raise ModelFileError("what inputs hold can be set for model files; a network does not depend on it")
        return importers.stated(model.graph if isinstance(model, Network) else model, axes)
    if isinstance(model, (str, Path, os.PathLike)):
        return importers.load(os.fspath(model), treat, input_size, inputs, axes)
    live = importers.live(model, example, treat, input_size, inputs, axes, trace)
    if live is not None:
        return live
    raise ModelFileError(
        f"a {type(model).__name__} is no model that rfgraph reads; "
        "pass a networkx graph, a Network, a file path or an open file, 'zoo:NAME', a live PyTorch or Keras model, "
        "a JAX function, or an onnx.ModelProto"
    )


def _layer(compiled: Compiled, v: int, fields: Sequence[Fields], costs: Mapping[Hashable, Cost]) -> Layer:
    layers = compiled.layers
    return Layer(
        name=layers.nodes[v],
        op=layers.kinds[v],
        axes=layers.axes,
        map_size=compiled.sizes[v],
        field=tuple(axis.field(v) for axis in fields),
        is_global=tuple(axis.is_global[v] for axis in fields),
        beyond=tuple(axis.beyond[v] for axis in fields),
        costs=costs,
    )
