"""Live PyTorch modules, traced by one run or by ``torch.export``, and read as a saved model is.

Sizes that stay open, for what holds at any input size, come from ``torch.export`` alone.
"""

from __future__ import annotations

import contextlib
import inspect
import io
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from numbers import Integral
from typing import Any, Literal

import networkx as nx
import numpy as np
import torch
from torch.utils._pytree import tree_flatten, tree_map, treespec_dumps

from rfgraph.errors import ModelFileError
from rfgraph.importers.lowering.layout import Axes, Layout
from rfgraph.importers.lowering.lower import layout_of
from rfgraph.importers.program import MAX_ELEMENTS, Program, Shape, names_of, valued
from rfgraph.importers.spelling.stack import user_line
from rfgraph.importers.torch.questions import Question, asked, doubtful_sizes
from rfgraph.importers.torch.reader import Exported, Graph, Reader, Ref, Step, lowered, titles_of
from rfgraph.importers.torch.running import numbers_of, recorded
from rfgraph.importers.torch.saved import CHECKED_FROM
from rfgraph.importers.trials import holds

#: How a module is traced.
Trace = Literal["run", "export"]

#: Convolutions whose inputs an input size is tried for.
MAX_TRIED = 3

#: Operators that make numbers of maps without positions, which are none.
_MEANS = frozenset({"mean", "var", "var_mean", "std", "std_mean", "adaptive_avg_pool1d", "adaptive_avg_pool2d"})

_DEPENDS_ON_DATA = (
    "; what it computes decides which code runs, "
    "so pass the part of it before that, such as model.backbone of a detector"
)


def read(module: Any, example: Any, trace: Trace = "run") -> tuple[Exported, tuple[str, ...]]:
    """Return the operators that a module is made of, and the names of its inputs that are data.

    The module is traced as it is, in training or evaluation mode, on tensors without contents if that will do.

    Parameters
    ----------
    module
        A ``torch.nn.Module``, or a ``torch.export.ExportedProgram``.
    example
        What it is called with: a tensor or a full shape, a list of these for several inputs, or a mapping from the
        names of its parameters to them. An exported program needs none.
    trace
        ``"run"``: what one run of it calls, and what ``torch.export`` makes of it if it cannot run so. ``"export"``:
        the latter at once.

    Raises
    ------
    ModelFileError
        If there is no example, or the module cannot be traced.
    """
    if isinstance(module, torch.export.ExportedProgram):
        return _exported(module, type(module).__name__)
    name = type(module).__name__
    if isinstance(module, torch.jit.ScriptModule):
        raise ModelFileError(
            f"a TorchScript module ({name}) cannot be traced; pass the module that it was made of, or save that one:\n"
            "    import torch\n"
            "    program = torch.export.export(module.eval(), (torch.zeros(1, 3, 224, 224),))\n"
            "    torch.export.save(program, 'model.pt2')"
        )
    if example is None:
        raise ModelFileError(
            f"a live module ({name}) is traced on an example; pass example=, the full shape of its input such as "
            "(1, 3, 224, 224), a tensor, or a list of these for several inputs; for one image, input_size=224 will do "
            "if it has convolutions"
        )
    arguments, keywords = inputs(module, example)
    failed = ""
    if trace == "run":
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return recorded(module, arguments, keywords)
        except Exception as error:  # the module's own code runs here and may raise anything
            failed = f"; run as it is, it ends in {_first_line(error)}"
    try:
        # What tracing warns of is attributes that it sets itself; where it fails, it prints all the graph that it has.
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            program = torch.export.export(module, arguments, keywords, strict=False)
    except Exception as error:  # the module's own code runs here and may raise anything
        hint = _DEPENDS_ON_DATA if "DataDependent" in type(error).__name__ else ""
        given = _described([*arguments, *keywords.values()])
        raise ModelFileError(
            f"{name}: torch.export cannot trace it on {given} ({_first_line(error)}){failed}{hint}"
        ) from error
    return _exported(program, name)


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0][:300]}"


def inputs(module: Any, example: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the arguments that a module is called with, positional and by name.

    A mapping holds arguments by name; in a list it is one argument, but for the last if its names are parameters.
    """
    if isinstance(example, Mapping):
        return (), {name: _tensors(module, value) for name, value in example.items()}
    if not isinstance(example, (list, tuple)) or _is_shape(example):
        return (_tensors(module, example),), {}
    arguments, last = list(example), example[-1] if example else None
    named: dict[str, Any] = {}
    if isinstance(last, Mapping) and set(last) <= set(list(_parameters(module))[len(arguments) - 1 :]):
        named = {name: _tensors(module, value) for name, value in arguments.pop().items()}
    return tuple(_tensors(module, value) for value in arguments), named


def _parameters(module: Any) -> Iterable[str]:
    return inspect.signature(module.forward).parameters


def _tensors(module: Any, value: Any) -> Any:
    """Return an argument with a tensor for each shape and array in it."""
    if isinstance(value, Mapping):
        return {name: _tensors(module, item) for name, item in value.items()}
    if isinstance(value, (list, tuple)) and not _is_shape(value):
        return type(value)(_tensors(module, item) for item in value) if type(value) in (list, tuple) else value
    return _tensor(module, value)


def resized(arguments: Any, order: Sequence[str], shapes: Mapping[str, Shape]) -> Any:
    """Return arguments whose tensors, in order, have the shapes given for the inputs of the traced graph."""
    names = iter(order)

    def change(value: Any) -> Any:
        shape: Any = shapes.get(next(names, "")) if isinstance(value, torch.Tensor) else None
        return value if shape is None else torch.zeros(shape, dtype=value.dtype, device=value.device)

    return tree_map(change, arguments)


def _is_shape(example: Any) -> bool:
    return isinstance(example, (list, tuple)) and bool(example) and all(
        isinstance(size, Integral) and not isinstance(size, bool) for size in example
    )  # fmt: skip


def _tensor(module: Any, value: Any) -> Any:
    floats = next((p for p in module.parameters() if p.is_floating_point()), None)
    dtype, device = (torch.float32, "cpu") if floats is None else (floats.dtype, floats.device)
    if isinstance(value, np.ndarray):
        array = torch.as_tensor(value)
        return array.to(device, dtype if array.is_floating_point() else array.dtype)
    if not _is_shape(value):
        return value
    if any(size < 1 for size in value):
        raise ModelFileError(f"example shape {tuple(value)} has a size that is not positive")
    return torch.zeros(tuple(map(int, value)), dtype=dtype, device=device)


def _described(values: Iterable[Any]) -> str:
    """Return what a module was called with: tensors by their shapes."""
    return ", ".join(
        f"[{_described(value)}]" if isinstance(value, (list, tuple))
        else str(tuple(value.shape)) if isinstance(value, torch.Tensor)
        else repr(value)[:40]
        for value in values
    )  # fmt: skip


def _exported(exported: Any, name: str) -> tuple[Exported, tuple[str, ...]]:
    signature, kinds = exported.graph_signature, torch.export.graph_signature
    graph = _graph(exported.graph_module)
    user = [spec.arg.name for spec in signature.input_specs if spec.kind == kinds.InputKind.USER_INPUT]
    data = tuple(name for name in user if name in graph.shapes)
    outputs = tuple(
        end
        for end, spec in zip(graph.outputs, signature.output_specs, strict=True)
        if spec.kind == kinds.OutputKind.USER_OUTPUT
    )
    tensors = exported.state_dict
    learned = {
        spec.arg.name: str(id(tensors.get(spec.target, spec)))  # parameters that are the same tensor count once
        for spec in signature.input_specs
        if spec.kind == kinds.InputKind.PARAMETER
    }
    contents = {
        spec.arg.name: held.tolist()
        for spec in signature.input_specs
        if spec.kind in (kinds.InputKind.BUFFER, kinds.InputKind.CONSTANT_TENSOR)
        and _is_small(held := tensors.get(spec.target, exported.constants.get(spec.target)))
    }
    numbers = {
        spec.arg.name: partial(numbers_of, held)
        for spec in signature.input_specs
        if spec.kind in (kinds.InputKind.BUFFER, kinds.InputKind.CONSTANT_TENSOR)
        and (held := tensors.get(spec.target, exported.constants.get(spec.target))) is not None
    }
    try:
        titles = titles_of(treespec_dumps(exported.call_spec.out_spec))
    except NotImplementedError:  # a class of the user's that has no written form
        titles = ()
    whole = Exported(name, replace(graph, outputs=outputs), data, learned, contents, titles, numbers=numbers)
    return whole, data


def _is_small(tensor: Any) -> bool:
    """Whether a tensor holds a few integers: it may say which rows are read, or how large something is."""
    if not isinstance(tensor, torch.Tensor) or tensor.is_floating_point() or tensor.is_complex() or tensor.is_meta:
        return False
    return 0 < tensor.numel() <= MAX_ELEMENTS and tensor.layout == torch.strided and not tensor.is_quantized


def _graph(module: Any) -> Graph:
    shapes: dict[str, tuple[int | str | None, ...] | None] = {}
    masks: set[str] = set()
    names: dict[Any, Any] = {}  # items of a tuple that are taken twice have one name; bodies are graphs
    steps: list[Step] = []
    inputs_: list[str] = []
    outputs: tuple[Any, ...] = ()
    for node in module.graph.nodes:
        value = node.meta.get("val")
        if isinstance(value, torch.Tensor):
            shapes[node.name] = tuple(size if isinstance(size, int) else _symbol(size) for size in value.shape)
            if value.dtype == torch.bool:
                masks.add(node.name)
        if node.op == "placeholder":
            inputs_.append(node.name)
        elif node.op == "get_attr":
            names[node] = _graph(getattr(module, node.target))
        elif node.op == "call_function" and node not in names:
            steps.append(_step(node, value, names))
        elif node.op == "output":
            outputs = _argument(node.args, names)
    if len(outputs) == 1 and isinstance(outputs[0], tuple):
        outputs = outputs[0]
    return Graph(tuple(inputs_), tuple(steps), outputs, shapes, frozenset(masks))


def _symbol(size: Any) -> int | str | None:
    """Return a size that the exporter left open, or closed after all because some map must have it."""
    text = str(size)
    return int(text) if text.isdecimal() else text if text.isidentifier() else None


def _step(node: Any, value: Any, names: dict[Any, Any]) -> Step:
    outputs: list[str | None] = [node.name]
    if isinstance(value, (list, tuple)):
        outputs = [None] * len(value)
        for user in node.users:
            if getattr(user.target, "__name__", "") == "getitem" and isinstance(user.args[1], int):
                k = user.args[1]
                outputs[k] = outputs[k] or user.name
                names[user] = Ref(str(outputs[k]))
    arguments = _arguments(node)
    stack = node.meta.get("nn_module_stack") or {}
    instance, path = "", ""
    if stack:
        instance, (path, _) = list(stack.items())[-1]
    converted = {name: _argument(argument, names) for name, argument in arguments.items()}
    return Step(
        _target(node.target), converted, tuple(outputs), path, instance, user_line(node.meta.get("stack_trace"))
    )


def _target(target: Any) -> str:
    if isinstance(target, torch._ops.OpOverload):
        return f"torch.ops.{target}"
    if isinstance(target, torch._ops.HigherOrderOperator):
        return f"torch.ops.higher_order.{target}"
    return f"{target.__module__}.{target.__name__}"


def _arguments(node: Any) -> dict[str, Any]:
    """Return the arguments of a call by the names in the operator's schema, in its order."""
    schema = getattr(node.target, "_schema", None)
    known = [] if schema is None else [argument.name for argument in schema.arguments]
    arguments = {(known[k] if k < len(known) else str(k)): value for k, value in enumerate(node.args)}
    return {**arguments, **node.kwargs}


def _argument(value: Any, names: Mapping[Any, Any]) -> Any:
    if isinstance(value, torch.fx.Node):
        return names.get(value, Ref(value.name))
    if isinstance(value, (list, tuple)):
        return tuple(_argument(item, names) for item in value)
    return value


def traced(module: Any, example: Any, input_size: Any, trace: Trace) -> tuple[Exported, tuple[str, ...], Any]:
    """Return what ``read`` does, and the example: where there is none, one of the input size is tried.

    Its channels and axes are those of the first convolution; of several that differ, each is tried in turn, as the
    first to be defined need not be the first to run.
    """
    shapes = [] if example is not None else list(images(module, input_size))
    for shape in shapes[:-1]:
        with contextlib.suppress(ModelFileError):
            return *read(module, shape, trace), shape
    example = shapes[-1] if shapes else example
    return *read(module, example, trace), example


def images(module: Any, input_size: Any) -> Iterator[tuple[int, ...]]:
    """Yield the full shapes that an input size may stand for, by the convolutions of a module, each once."""
    if not isinstance(module, torch.nn.Module) or isinstance(input_size, Mapping) or input_size is None:
        return
    seen: set[tuple[int, ...]] = set()
    for channels, axes in _convolutions(module):
        sizes = (input_size,) * axes if isinstance(input_size, int) else tuple(input_size)
        shape = (1, channels, *sizes)
        if len(sizes) == axes and shape not in seen and len(seen) < MAX_TRIED:
            seen.add(shape)
            yield shape


def is_full_shape(module: Any, input_size: Any) -> bool:
    """Whether an input size is the full shape of an input, with batch and channels, or a list of such shapes."""
    if not isinstance(module, torch.nn.Module) or not isinstance(input_size, (list, tuple)):
        return False
    if not _is_shape(input_size):
        return bool(input_size) and all(map(_is_shape, input_size))
    axes = next((axes for _, axes in _convolutions(module)), None)
    return axes is not None and len(input_size) == axes + 2


def _convolutions(module: Any) -> Iterator[tuple[int, int]]:
    """Yield channels and number of axes of the inputs of a module's convolutions, in the order of definition."""
    for part in module.modules():
        kernel, channels = getattr(part, "kernel_size", None), getattr(part, "in_channels", None)
        weight = getattr(part, "weight", None)
        if isinstance(channels, int) and isinstance(kernel, tuple) and getattr(weight, "ndim", 0) == len(kernel) + 2:
            yield channels, len(kernel)


def graph_of(
    module: Any,
    example: Any,
    treat: Mapping[str, str] | None = None,
    input_size: Any = None,
    axes: Axes | None = None,
    trace: Trace = "run",
) -> nx.DiGraph[Any]:
    """Return the network graph of a live module; with an input size it is traced for that size.

    Without an example, one image of that size is made for it, with the channels of its first convolution.
    """
    exported, order, example = traced(module, example, input_size, trace)
    live = not isinstance(module, torch.export.ExportedProgram)
    if not live:
        ranges = {str(name): ends.lower for name, ends in module.range_constraints.items()}
        least = {name: int(size) for name, size in ranges.items() if CHECKED_FROM < size < 1 << 62}
        exported = replace(exported, guards=tuple(getattr(module, "_guards_code", None) or ()), least=least)

    def again(shapes: Mapping[str, Shape]) -> Exported:
        if not live:
            return exported
        arguments, keywords = inputs(module, example)
        named = {name: resized(value, [name], shapes) for name, value in keywords.items()}
        if not arguments:
            return read(module, named, trace)[0]
        return read(module, [*resized(arguments, order, shapes), *([named] if named else [])], trace)[0]

    graph = lowered(exported, treat, input_size, again if live else None, axes)
    if exported.looks:
        graph.graph["as_run"] = list(exported.looks)
    return graph


def graph_at_any_size(
    module: Any, example: Any, treat: Mapping[str, str] | None = None, axes: Axes | None = None
) -> nx.DiGraph[Any] | None:
    """Return the network graph of a live module whose inputs may have any size, ``None`` where it cannot be traced so.

    All dimensions of an input but the first two stay open (of two, the last one): batch and channels come first. Where
    the exporter closes one of them, because a map must be as large as a constant, sizes may hold for that one only.
    """
    if isinstance(module, torch.export.ExportedProgram):
        return graph_of(module, None, treat, None, axes)  # it says itself which dimensions are open
    if example is None:
        return None
    arguments, keywords = inputs(module, example)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()), asked() as questions:
            warnings.simplefilter("ignore")
            bound = inspect.signature(module.forward).bind(*arguments, **keywords)
            shapes = tree_map(_open, dict(bound.arguments))
            program = torch.export.export(module, arguments, keywords, dynamic_shapes=shapes, strict=False)
        exported, order = _exported(program, type(module).__name__)
        tensors = Reader(exported).program()
        layout = layout_of(tensors, treat, axes)
        graph = lowered(exported, treat, None, None, axes)
        sizes = [attributes.get("size", ()) for _, attributes in graph.nodes(data=True) if attributes["op"] == "input"]
        if any(isinstance(size, int) and size > 1 for size in chain(*sizes)):
            return None
        symbols = _symbols(tensors, layout)
        if not all(symbols):
            return None  # of an axis of one position the exporter leaves nothing open
        hints, fixed = _hints_and_fixed(program)
        doubtful = [doubtful_sizes([*questions, *fixed], names, hints) for names in symbols]
        known = [sizes for sizes in doubtful if sizes is not None]
        if len(known) < len(doubtful):
            return None

        def runs(sizes: Sequence[int | None]) -> bool:
            numbers = {name: n for n, names in zip(sizes, symbols, strict=True) if n is not None for name in names}
            changed: dict[str, Any] = {
                value.name: tuple([valued(size, {**hints, **numbers}) for size in value.shape or ()])
                for value in tensors.inputs
            }
            by_name = {name: resized(value, [name], changed) for name, value in keywords.items()}
            return _runs(module, resized(arguments, order, changed), by_name)

        return graph if holds(graph, runs, known) else None
    except Exception:  # the module's own code runs here and may raise anything; the trace at one size has told it
        return None


def _symbols(tensors: Program, layout: Layout) -> list[frozenset[str]]:
    """Return for each axis the names of the sizes that inputs have along it."""
    symbols: list[frozenset[str]] = [frozenset()] * layout.axes
    for value in tensors.inputs:
        view = layout.views[value.name]
        for axis, size in () if view is None else view.symbols:
            symbols[axis] |= names_of(size) or frozenset()
    return symbols


def _hints_and_fixed(program: Any) -> tuple[dict[str, int], list[Question]]:
    """Return the sizes of the example by their names, and which expressions over them the exporter took for numbers.

    It does where an op takes no other. That a size is 0 or 1, as where a map is broadcast, is of another kind.
    """
    values = (node.meta.get("val") for node in program.graph.nodes)
    modes = (getattr(value, "fake_mode", None) for value in values)
    environments = {id(mode.shape_env): mode.shape_env for mode in modes if mode is not None and mode.shape_env}
    hints: dict[str, int] = {}
    fixed: list[Question] = []
    for environment in environments.values():
        hints |= {str(name): int(size) for name, size in environment.backed_var_to_val.items()}
        for guard in environment.guards:
            sides = guard.expr.args if guard.expr.func.__name__ == "Equality" else ()
            if any(side.is_Integer and side > 1 for side in sides):
                fixed.append(Question(guard.expr, True, of_operator=True))
    return hints, fixed


def _runs(module: Any, arguments: Any, keywords: Mapping[str, Any]) -> bool:
    """Return whether a module runs, all that it returns has elements, and no mean is that of nothing."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            graph = recorded(module, arguments, keywords)[0].graph
    except Exception:  # the module's own code runs here and may raise anything
        return False
    meant = [step.arguments for step in graph.steps if step.target.split(".")[-2] in _MEANS]
    leaves, _ = tree_flatten([graph.outputs, [dict(arguments) for arguments in meant]])
    return not any(0 in (graph.shapes.get(leaf.name) or ()) for leaf in leaves if isinstance(leaf, Ref))


def _open(value: Any) -> Any:
    """Return which dimensions of an argument are to stay open."""
    if not isinstance(value, torch.Tensor):
        return None
    first = min(2, value.dim() - 1)
    return {d: torch.export.Dim.AUTO for d in range(max(first, 1), value.dim()) if value.shape[d] > 1}
