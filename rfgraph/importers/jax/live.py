"""Functions of JAX arrays, traced by ``jax.make_jaxpr``: plain ones, and models of flax, equinox and haiku."""

from __future__ import annotations

import functools
import inspect
import re
import sysconfig
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from math import prod
from typing import Any

import jax
import networkx as nx
import numpy as np
from jax import tree_util
from jax.extend.core import jaxpr_as_fun

from rfgraph.errors import ModelFileError
from rfgraph.frozen import dataclass
from rfgraph.importers.jax.flattening import Flattening, Graph, Traced
from rfgraph.importers.jax.reader import Reader, readable
from rfgraph.importers.jax.symbols import decided, doubtful_sizes
from rfgraph.importers.lowering.layout import Axes
from rfgraph.importers.lowering.lower import layout_of, lower, lower_for
from rfgraph.importers.program import Program, Shape, Value
from rfgraph.importers.trials import holds

#: Beginnings of the names of primitives that slide a kernel, and of those that make one number of many.
_SLIDES, _REDUCES = ("conv_", "reduce_window"), ("reduce_", "arg")

#: Frames of these packages are not the user's, nor are those of Python itself.
LIBRARIES = ("jax", "jaxlib", "flax", "equinox", "haiku", "jaxtyping")


def graph_of(
    model: Callable[..., Any],
    example: Any,
    treat: Mapping[str, str] | None = None,
    input_size: Any = None,
    axes: Axes | None = None,
) -> nx.DiGraph[Any]:
    """Return the network graph of a function; with an input size it is traced for that size.

    Parameters
    ----------
    model
        A function of arrays. Its weights are what it closes over. Those of a module that is a tree, and those that
        ``functools.partial`` holds, may be ``jax.ShapeDtypeStruct``: a model need not be in memory.
    example
        What it is called with: a full shape, an array or a ``jax.ShapeDtypeStruct``; a list of these, or of trees of
        them, for several arguments; or a mapping from the names of its parameters to them. Nothing is allocated.
    treat, input_size, axes
        As for ``rfgraph.importers.load``.

    Raises
    ------
    ModelFileError
        If there is no example, or the function cannot be traced.
    """
    locations: dict[str, str] = {}

    def read(shapes: Mapping[str, Shape]) -> Program:
        reader = Reader(trace(model, example, shapes))
        tensors = reader.program()
        locations.update(reader.locations)
        return tensors

    return lower_for(read, treat, input_size, locations, axes=axes)


def graph_at_any_size(
    model: Callable[..., Any], example: Any, treat: Mapping[str, str] | None = None, axes: Axes | None = None
) -> nx.DiGraph[Any] | None:
    """Return the network graph of a function whose inputs may have any size, ``None`` where it cannot be traced so.

    The sizes of its axes stay open. Where JAX cannot compare two, those of the example decide.
    """
    from jax import export

    try:
        program = Reader(trace(model, example)).program()
        layout = layout_of(program, treat, axes)
        hints: dict[str, int] = {}  # of each size that is open
        owned: list[set[str]] = [set() for _ in range(layout.axes)]  # those along each axis
        sizes_of: dict[str, list[str]] = {}  # of each input, as JAX writes them
        for value in program.inputs:
            view, shape = layout.views[value.name], _stated(value)
            sizes_of[value.name] = [str(size) for size in shape]
            for d, size in enumerate(shape):
                axis = None if view is None else view.whole(d)
                if axis is not None:
                    sizes_of[value.name][d] = name = f"size_{axis}_{size}"
                    hints[name] = size
                    owned[axis].add(name)
        scope = export.SymbolicScope()
        shapes = {name: export.symbolic_shape(", ".join(sizes), scope=scope) for name, sizes in sizes_of.items()}
        with decided(hints) as questions:
            traced = trace(model, example, shapes)
        others = ({name: 2 * n + 3 for name, n in hints.items()}, {name: n // 2 + 4 for name, n in hints.items()})
        reader = Reader(replace(traced, trials=(hints, *others)))
        graph = lower(reader.program(), treat, layout.spatial, axes)
        for node, attributes in graph.nodes(data=True):
            if location := reader.locations.get(node):
                attributes["location"] = location
        doubtful = [doubtful_sizes(questions, frozenset(names), hints) for names in owned]
        known = [sizes for sizes in doubtful if sizes is not None]
        if len(known) < len(doubtful):
            return None

        def runs(sizes: Sequence[int | None]) -> bool:
            given = {name: n for n, names in zip(sizes, owned, strict=True) if n is not None for name in names}
            numbers = {**hints, **given}
            changed = {
                name: tuple(numbers[size] if size in numbers else int(size) for size in sizes)
                for name, sizes in sizes_of.items()
            }
            return _runs(model, example, changed)

        return graph if holds(graph, runs, known) else None
    except Exception:  # the user's own code runs here and may raise anything; the trace at one size has told it
        return None


def _stated(value: Value) -> tuple[int, ...]:
    """Return the shape of an input of the example."""
    return tuple(size for size in value.shape or () if isinstance(size, int))


def _runs(model: Callable[..., Any], example: Any, shapes: Mapping[str, Shape]) -> bool:
    """Return whether a function takes inputs of other shapes, and all that it returns has elements.

    JAX takes what others refuse: a kernel that spans more than its map, which leaves nothing, and a mean of nothing.
    """
    try:
        graph = trace(model, example, shapes).graph
    except ModelFileError:
        return False

    def is_empty(numbers: Sequence[int]) -> bool:
        return any(0 in (graph.shapes.get(number) or ()) for number in numbers)

    for step in graph.steps:
        slides = step.op.startswith(_SLIDES)
        if slides and is_empty(step.outputs) and not is_empty(step.inputs):
            return False
        if not slides and step.op.startswith(_REDUCES) and is_empty(step.inputs):
            return False
    return not is_empty(graph.outputs)


def trace(model: Callable[..., Any], example: Any, shapes: Mapping[str, Any] | None = None) -> Traced:
    """Return what ``jax.make_jaxpr`` makes of a function.

    Parameters
    ----------
    model, example
        As for ``graph_of``.
    shapes
        Shapes that replace those of the example, by the names of the inputs.

    Raises
    ------
    ModelFileError
        If there is no example, or the function cannot be traced.
    """
    name = _name(model)
    if example is None:
        raise ModelFileError(
            f"a JAX function ({name}) is traced on an example; pass example=, the full shape of its input such as "
            "(1, 224, 224, 3), an array or jax.ShapeDtypeStruct, or a list of these for several arguments"
        )
    arguments, keywords = _arguments(example)
    leaves_by_path, tree = tree_util.tree_flatten_with_path((arguments, keywords), is_leaf=_is_leaf)
    leaves, names = (
        [leaf for _, leaf in leaves_by_path],
        _input_names(model, [path for path, _ in leaves_by_path], len(arguments)),
    )
    traced = [k for k, leaf in enumerate(leaves) if _is_tensor(leaf)]
    stated = [_struct(leaves[k], (shapes or {}).get(names[k])) for k in traced]
    model = _bound(model, arguments, keywords)
    weights, rebuilt = _without_contents(model)
    titles: list[str] = []

    def function(given: Sequence[Any], held: Sequence[Any]) -> Any:
        filled = list(leaves)
        for k, value in zip(traced, given, strict=True):
            filled[k] = value
        positional, named = tree_util.tree_unflatten(tree, filled)
        returned = _called(rebuilt(held))(*positional, **named)
        titles[:] = _titles(returned)
        return _arrays(returned)

    try:
        closed = jax.make_jaxpr(function)(stated, [weight.struct for weight in weights])
    except ModelFileError:
        raise
    except Exception as error:  # the user's own code runs here and may raise anything
        why = (str(error).strip().splitlines() or [""])[0][:300]
        given = ", ".join(str(tuple(struct.shape)) for struct in stated)
        raise ModelFileError(f"{name}: JAX cannot trace it on {given} ({type(error).__name__}: {why})") from error
    if not closed.jaxpr.outvars:
        raise ModelFileError(f"{name}: it returns no arrays")
    own = [
        f"argument {names[k]}" if _given_parameters(names[k]) and _learns(names[k], leaves[k]) else "" for k in traced
    ]
    # Of arrays in a tree nothing tells whether they are learned, unless the tree is called as parameters are.
    untold = any(
        len(leaves_by_path[k][0]) > PLAIN and not _given_parameters(names[k]) and _learns("", leaves[k]) for k in traced
    )
    held = {} if untold else _held(model)
    flat = Flattening(_location, _owners(model), _vectorised, {number: path for number, (path, _) in held.items()})
    last = [] if untold else [*own, *(weight.learned for weight in weights)]
    graph = flat.graph(closed, [weight.owner for weight in weights], last)
    learned: set[tuple[str, int | None]] = {(path, _size(leaf)) for path, leaf in held.values()}
    learned |= {(weight.learned, _size(weight.struct)) for weight in weights if weight.learned}
    learned |= {(name, _size(struct)) for name, struct in zip(own, stated, strict=True) if name}
    if _multiplies_unlisted(graph):
        learned.add(("weights that nothing lists", None))
    graph_names = tuple(names[k] for k in traced)
    return Traced(name, graph, graph_names, tuple(titles), None if untold else frozenset(learned))


def _multiplies_unlisted(graph: Graph) -> bool:
    """Whether a convolution or a product reads an array of floats that is not known to be learned."""
    open_ = {
        number
        for number, const in graph.constants.items()
        if number not in graph.learned and getattr(const, "ndim", 0) > 1 and _learns("", const)
    }
    for step in graph.steps:
        if step.op in ("conv_general_dilated", "dot_general") and not open_.isdisjoint(step.inputs):
            return True
        if step.inputs and open_.issuperset(step.inputs):
            open_.update(step.outputs)
    return False


def _name(model: Any) -> str:
    """Return what a function is called."""
    inner = _inner(model)
    name = getattr(inner, "__name__", "")
    return name if name and name != "<lambda>" else "function" if name else type(inner).__name__


def _inner(model: Any) -> Any:
    """Return what a function of a function calls in the end: ``jax.jit``, ``jax.vmap`` and partial ones are such."""
    for _ in range(64):
        inner = getattr(model, "func", None) or getattr(model, "__wrapped__", None)
        if not callable(inner):
            break
        model = inner
    return model


def _called(model: Any) -> Callable[..., Any]:
    """Return what is called; a module of flax that has no weights yet makes them as it is called."""
    if hasattr(model, "init_with_output") and getattr(model, "scope", 0) is None:
        return lambda *arguments, **keywords: model.init_with_output(jax.random.key(0), *arguments, **keywords)[0]
    function: Callable[..., Any] = model
    return function


@dataclass(frozen=True)
class Weight:
    """An array of which only the shape is there, what it belongs to, and what it is called if it is learned."""

    struct: Any
    owner: str
    learned: str


def _bound(model: Any, arguments: Sequence[Any], keywords: Mapping[str, Any]) -> Any:
    """Return a module of flax that has no weights yet with the shapes of those that it makes, if it makes them."""
    if not hasattr(model, "init_with_output") or getattr(model, "scope", 0) is not None:
        return model
    given = tree_util.tree_map(lambda leaf: _struct(leaf, None) if _is_tensor(leaf) else leaf,
                               (tuple(arguments), dict(keywords)), is_leaf=_is_leaf)  # fmt: skip
    try:
        variables = jax.eval_shape(lambda at: model.init(jax.random.key(0), *at[0], **at[1]), given)
    except Exception:  # the user's own code runs here and may raise anything; it is told when it is traced
        return model
    return functools.partial(model.apply, variables)


def _without_contents(model: Any) -> tuple[list[Weight], Callable[[Sequence[Any]], Any]]:
    """Return the weights of which only shapes are there, and what puts others in place."""
    partial = isinstance(model, functools.partial)
    try:
        leaves_by_path, tree = tree_util.tree_flatten_with_path((model.args, model.keywords) if partial else model)
    except Exception:  # a module of the user's may not be a tree, or may refuse to be taken apart
        return [], lambda held: model
    places = [k for k, (_, leaf) in enumerate(leaves_by_path) if isinstance(leaf, jax.ShapeDtypeStruct)]
    if not places:
        return [], lambda held: model

    def rebuilt(held: Sequence[Any]) -> Any:
        leaves = [leaf for _, leaf in leaves_by_path]
        for k, value in zip(places, held, strict=True):
            leaves[k] = value
        model_of_shapes = tree_util.tree_unflatten(tree, leaves)
        return functools.partial(model.func, *model_of_shapes[0], **model_of_shapes[1]) if partial else model_of_shapes

    paths = [readable(tree_util.keystr(leaves_by_path[k][0])) for k in places]
    return [
        Weight(
            leaves_by_path[k][1],
            "" if partial else _owner(path),
            f"weight {path}" if _learns(path, leaves_by_path[k][1]) else "",
        )
        for path, k in zip(paths, places, strict=True)
    ], rebuilt


#: Of an argument that is an array, how long its path is: positional or by name, and which.
PLAIN = 2
#: Objects that are looked through for arrays that a model holds.
MAX_HELD = 10_000
#: Arguments and collections that hold what is learned.
_PARAMETERS = re.compile(r"(^|\.)(params?|parameters|variables|weights)(\.|$)")
#: What training keeps beside it: means and variances, counters, keys.
_STATE = re.compile(
    r"(^|[./])(batch_stats|stats?|state|(moving_|running_|pop_)?(mean|variance|var|avg|average)|(mean|var)_ema)([./]|$)"
)


def _given_parameters(name: str) -> bool:
    return _PARAMETERS.search(name) is not None


def _learns(path: str, leaf: Any) -> bool:
    """Whether an array that a model holds under some path is learned: floats that are not the state of a norm."""
    return _is_tensor(leaf) and not _is_shape(leaf) and not _STATE.search(path) and bool(
        jax.numpy.issubdtype(leaf.dtype, jax.numpy.inexact)
    )  # fmt: skip


def _size(leaf: Any) -> int:
    return prod(int(size) for size in leaf.shape)


def _held(model: Any) -> dict[int, tuple[str, Any]]:
    """Return the ``id`` of each array that a model learns, with its path: leaves of trees, and those of closures.

    Parameters
    ----------
    model
        A function, a module that is a tree, or a partial of either.
    """
    held: dict[int, tuple[str, Any]] = {}
    seen: set[int] = set()
    waiting: list[tuple[str, Any]] = [("", model)]
    while waiting and len(seen) < MAX_HELD:
        path, value = waiting.pop()
        if id(value) in seen or isinstance(value, (type, str, bytes)) or inspect.ismodule(value):
            continue
        seen.add(id(value))
        if isinstance(value, (jax.Array, np.ndarray)):
            if _learns(path, value):
                held[id(value)] = (f"array {path} {id(value)}", value)
            continue
        waiting += _inside(path, value)
    return held


def _inside(path: str, outer: Any) -> Iterator[tuple[str, Any]]:
    """Return what a function, a partial or a tree holds, each with its path."""
    library = str(getattr(outer, "__module__", "")).partition(".")[0] in LIBRARIES
    if isinstance(outer, functools.partial):
        yield from ((path, inner) for inner in (outer.func, outer.args, outer.keywords))
    elif inspect.ismethod(outer):
        yield from ((path, inner) for inner in (outer.__self__, outer.__func__))
    elif inspect.isfunction(outer):
        if hasattr(outer, "__wrapped__"):
            yield path, outer.__wrapped__
        if not library or outer.__closure__:
            closed = inspect.getclosurevars(outer)
            names = {**closed.nonlocals, **({} if library else closed.globals)}
            names |= {"defaults": (outer.__defaults__, outer.__kwdefaults__)}
            yield from ((f"{path}.{name}".strip("."), inner) for name, inner in names.items())
    elif hasattr(outer, "__wrapped__") and callable(outer):
        yield path, outer.__wrapped__
    else:
        try:
            leaves = tree_util.tree_flatten_with_path(outer)[0]
        except Exception:  # a module of the user's may not be a tree, or may refuse to be taken apart
            return
        inner = [(readable(tree_util.keystr(at)), leaf) for at, leaf in leaves]
        if len(inner) == 1 and inner[0][1] is outer:  # no tree: an object with attributes, perhaps
            inner = list(vars(outer).items()) if hasattr(outer, "__dict__") and not library else []
        yield from ((".".join(filter(None, (path, name))), leaf) for name, leaf in inner)  # fmt: skip


def _arguments(example: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the arguments that a function is called with, positional and by name."""
    if isinstance(example, Mapping):
        return (), dict(example)
    if isinstance(example, (list, tuple)) and not _is_shape(example):
        return tuple(example), {}
    return (example,), {}


def _is_shape(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and bool(value) and all(
        isinstance(size, int) and not isinstance(size, bool) for size in value
    )  # fmt: skip


def _is_leaf(value: Any) -> bool:
    return _is_shape(value) or value is None


def _is_tensor(value: Any) -> bool:
    return _is_shape(value) or (hasattr(value, "shape") and hasattr(value, "dtype"))


def _struct(leaf: Any, shape: Any) -> jax.ShapeDtypeStruct:
    """Return the shape and type of a leaf of the example, without its contents."""
    stated = tuple(leaf) if _is_shape(leaf) else tuple(leaf.shape)
    if any(size < 1 for size in stated):
        raise ModelFileError(f"example shape {stated} has a size that is not positive")
    dtype = jax.numpy.zeros(()).dtype if _is_shape(leaf) else leaf.dtype
    return _struct_of(stated if shape is None else tuple(shape), dtype)


def _struct_of(shape: tuple[int, ...], dtype: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, dtype)  # type: ignore[no-untyped-call]


def _input_names(model: Any, paths: Sequence[Any], count: int) -> list[str]:
    """Return one name for each leaf of the arguments, from the names of the function's parameters."""
    try:
        parameters = list(inspect.signature(model).parameters.values())
    except (TypeError, ValueError):
        parameters = []
    plain = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    known = [parameter.name for parameter in parameters if parameter.kind in plain]
    known += [f"x{k}" if count > 1 else "x" for k in range(len(known), count)]
    names = []
    for path in paths:  # (arguments, keywords), then which of them, then the way into it
        first = path[1]
        name = known[first.idx] if hasattr(first, "idx") else str(first.key)
        names.append(".".join(filter(None, (name, readable(tree_util.keystr(path[2:]))))))
    return names


def _arrays(outputs: Any) -> list[Any]:
    return [leaf for leaf in tree_util.tree_leaves(outputs) if hasattr(leaf, "shape")]


def _titles(outputs: Any) -> list[str]:
    """Return what a function calls the arrays that it returns: the way to each, where that has a key."""
    titles = []
    for path, leaf in tree_util.tree_flatten_with_path(outputs)[0]:
        if hasattr(leaf, "shape"):
            keyed = any(not isinstance(step, tree_util.SequenceKey) for step in path)
            titles.append(readable(tree_util.keystr(path)) if keyed else "")
    return titles


def _owners(model: Any) -> dict[int, str]:
    """Return the ``id`` of each array that a model holds, and the path of the layer that it belongs to."""
    owners = {}
    try:
        leaves = tree_util.tree_flatten_with_path(_inner(model))[0]
    except Exception:  # a module of the user's may not be a tree, or may refuse to be taken apart
        return {}
    for path, leaf in leaves:
        if leaf is not model and (owner := _owner(readable(tree_util.keystr(path)))):
            owners[id(leaf)] = owner
    return owners


def _owner(path: str) -> str:
    """Return the path of the layer that a weight belongs to, empty for one of the model itself.

    Examples
    --------
    >>> _owner("layers.0.weight"), _owner("stem.kernel.value"), _owner("scale")
    ('layers.0', 'stem', '')
    """
    parts = path.split(".")
    return ".".join((parts[:-1] if parts[-1] in ("value", "raw_value") else parts)[:-1])


def _vectorised(equation: Any) -> Any:
    """Return the body of a scan for all its turns together, ``None`` if it scans no rows or cannot be batched."""
    parameters, avals = equation.params, [atom.aval for atom in equation.invars]
    fixed, carried, length = parameters["num_consts"], parameters["num_carry"], parameters["length"]
    if len(avals) == fixed + carried or not length:
        return None
    shapes = [(length, *a.shape) if fixed <= k < fixed + carried else a.shape for k, a in enumerate(avals)]
    given = [_struct_of(shape, a.dtype) for shape, a in zip(shapes, avals, strict=True)]
    axes = (None,) * fixed + (0,) * (len(avals) - fixed)
    try:
        return jax.make_jaxpr(jax.vmap(jaxpr_as_fun(parameters["jaxpr"]), axes))(*given)
    except Exception:  # some primitives, and those of others, cannot be batched
        return None


def _location(equation: Any) -> str:
    """Return ``file:line`` of the innermost frame of the user's code that makes an equation."""
    try:
        from jax._src.source_info_util import user_frames

        info = equation.source_info
        try:
            frames = list(user_frames(info.traceback))
        except AttributeError:
            frames = list(user_frames(info))  # before JAX 0.7
        places = [(str(frame.file_name).replace("\\", "/"), int(frame.start_line)) for frame in frames]
    except (ImportError, AttributeError, TypeError, ValueError):
        return ""
    for file, line in places:
        if file == __file__.replace("\\", "/"):
            break
        _, installed, package = file.rpartition("-packages/")
        if (package.partition("/")[0] not in LIBRARIES) if installed else not file.startswith((_STDLIB, "<")):
            return f"{file}:{line}"
    return ""


_STDLIB = sysconfig.get_paths()["stdlib"].replace("\\", "/")
