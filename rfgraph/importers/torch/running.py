"""Live PyTorch modules, traced by running them once: each operator is noted as it is called.

They run under ``torch.inference_mode``, where operators that are made of others arrive whole, with the names that
handlers know. First on tensors without contents, which takes next to no time; where the model looks at what its tensors
hold, on the example itself. What code ran is then what that example made it run.
"""

from __future__ import annotations

import inspect
import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from types import FrameType
from typing import Any

import torch
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import keystr, tree_flatten, tree_flatten_with_path, tree_map, treespec_dumps

from rfgraph.importers.program.folding import MAX_ELEMENTS
from rfgraph.importers.torch.reader import Exported, Graph, Ref, Step, titles_of

_TORCH = os.path.dirname(torch.__file__) + os.sep

#: Operators that look at what a tensor holds, besides those that say so themselves: they are made of these.
LOOKS = frozenset({"item", "is_nonzero", "nonzero_numpy", "argwhere", "unique", "nms", "masked_scatter"})
_TAGS = {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape}


#: How code takes a module, as ``self.block.conv``: the modules that it begins at, by id, and the path from each.
_Taken = tuple[tuple[int, str], ...]


class Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes every operator that runs, under the module that calls it.

    Parameters
    ----------
    root
        The module; hooks of all modules say which of its parts runs.
    names
        What the tensors that are given are called, by id.
    real
        Whether tensors hold what they would; else only small integers do.
    """

    def __init__(self, root: torch.nn.Module, names: dict[int, str], *, real: bool) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.real = real
        self.paths = {id(part): path for path, part in root.named_modules()}
        self.running: list[tuple[str, str]] = []  # path and call of the modules that run, outermost first
        self._held: dict[str, dict[int, str]] = {"": self.paths}  # path of a module -> its parts, by id
        #: A module -> how it was taken and not yet called: in ``a(b(x))`` the last that is taken is called first.
        self._taken: dict[int, list[_Taken]] = {}
        self._called: dict[int, _Taken] = {}
        self._selves = [0]  # modules that run, by id: what they take of themselves was taken no other way
        self._shares = sum(1 for _ in root.named_modules(remove_duplicate=False)) > len(self.paths)
        self.names = names
        self.steps: list[Step] = []
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.masks: set[str] = set()
        #: Tensors that nothing noted made: constants of the code.
        self.constants: dict[str, torch.Tensor] = {}
        #: Where the example decides, in the order in which it does.
        self.looks: list[str] = []
        self._calls: dict[str, int] = {}
        self._numbers: dict[str, int] = {}
        self._kept: list[Any] = []  # so that no other tensor gets the id of one that is gone
        self._made: dict[Any, list[Any]] = {}
        self._depends: set[str] = set()
        self._data: set[str] = set()

    def begin(self, data: set[str]) -> None:
        """Say which of the tensors that are given are data."""
        self._depends = set(data)

    @contextmanager
    def hooked(self) -> Iterator[None]:
        """Note which module runs."""

        def enter(module: Any, _: Any) -> None:
            self._selves.append(id(module))
            path = self.paths.get(id(module))
            if path is None:
                self.running.append(self.running[-1] if self.running else ("", ""))
                return
            # One that is held in several places is called as the module that calls it holds it, and of several names
            # there by the one under which it was taken.
            caller = self.running[-1][0] if self.running else ""
            parts = self._held.get(caller, {})
            inner = parts.get(id(module))
            if waiting := self._taken.get(id(module)):
                self._called[id(module)] = waiting.pop()
            for holder, name in self._called.get(id(module), ()) if inner is not None else ():
                if holder in parts:
                    inner = f"{parts[holder]}.{name}" if parts[holder] else name
                    break
            path = f"{caller}.{inner}" if caller and inner else inner or path
            if path not in self._held:
                self._held[path] = {id(part): name for name, part in module.named_modules()}
            number = self._calls.get(path, 0)
            self._calls[path] = number + 1
            self.running.append((path, f"{path}@{number}"))

        def leave(*_: Any) -> None:
            self.running.pop()
            self._selves.pop()

        plain = torch.nn.Module.__getattr__

        def take(module: torch.nn.Module, name: str) -> Any:
            value = plain(module, name)
            if isinstance(value, torch.nn.Module):
                waiting = self._taken.get(id(module)) if id(module) != self._selves[-1] else None
                farther = [(holder, f"{outer}.{name}") for holder, outer in waiting.pop()] if waiting else []
                self._taken.setdefault(id(value), []).append((*farther, (id(module), name)))
            return value

        with ExitStack() as stack:
            if self._shares:
                stack.callback(setattr, torch.nn.Module, "__getattr__", plain)
                torch.nn.Module.__getattr__ = take  # type: ignore[method-assign]
            stack.callback(register_module_forward_pre_hook(enter).remove)
            stack.callback(register_module_forward_hook(leave, always_call=True).remove)
            yield

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = self._run(func, args, kwargs)
        schema = func._schema
        named = {argument.name: value for argument, value in zip(schema.arguments, args, strict=False)}
        arguments = {name: self._argument(value) for name, value in {**named, **kwargs}.items()}
        self._kept.append((args, kwargs, result))
        outputs = result if isinstance(result, (tuple, list)) else (result,)
        op = schema.name.rpartition("::")[2]
        refs = {ref.name for value in arguments.values() for ref in _refs(value)}
        names: list[str | None] = [self._output(op, output) for output in outputs]
        if not refs.isdisjoint(self._depends):
            self._depends.update(name for name in names if name)
            self._depends.update(self._written(schema, arguments))
            if op == "index":  # by positions it looks at nothing that decides
                self.looks += [_line() or op] if self._by_mask(arguments) else []
            elif op in LOOKS or not _TAGS.isdisjoint(func.tags) or (op == "where" and len(arguments) == 1):
                self.looks.append(_line() or op)
        path, call = self.running[-1] if self.running else ("", "")
        self.steps.append(Step(f"torch.ops.{func}", arguments, tuple(names), path, call, _line()))
        return result

    def _run(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Return what an operator makes; on tensors without contents, the same as the last time for the same."""
        tensors = [value for value in tree_flatten((args, kwargs))[0] if isinstance(value, torch.Tensor)]
        metas = [tensor.is_meta for tensor in tensors]
        if not any(metas):
            result = func(*args, **kwargs)
            return result if tensors or self.real else tree_map(_without_contents, result)
        key = None
        if all(metas) and not any(argument.alias_info for argument in func._schema.arguments):
            try:
                key = (func, _key(args), _key(kwargs))
                known = self._made.get(key)
            except TypeError:
                key = known = None
            if known is not None:
                again = [torch.empty_strided(size, stride, dtype=kind, device="meta") for size, stride, kind in known]
                return again[0] if not isinstance(known, _Several) else known.kind(again)
        try:
            result = func(*args, **kwargs)
        except (RuntimeError, NotImplementedError):
            if all(metas) or (func._schema.is_mutable and not tensors[0].is_meta):
                raise
            # Constants of the code beside tensors that hold nothing: neither holds anything then.
            args, kwargs = tree_map(_emptied, (args, kwargs))
            result = func(*args, **kwargs)
        if key is not None:
            outputs = result if isinstance(result, (tuple, list)) else (result,)
            if outputs and all(isinstance(one, torch.Tensor) and one.is_meta for one in outputs):
                laid = [(tuple(one.shape), one.stride(), one.dtype) for one in outputs]
                self._made[key] = laid if isinstance(result, torch.Tensor) else _Several(type(result), laid)
        return result

    def _argument(self, value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            name = self.names.get(id(value))
            if name is None and value.is_meta and not value.is_floating_point():
                raise NotImplementedError("the code makes a constant of integers where tensors hold nothing")
            if name is None:
                name = self._free("c_lifted_tensor")
                self.constants[name] = value
                self.named(name, value)
            return Ref(name)
        if isinstance(value, (list, tuple)):
            return tuple(self._argument(item) for item in value)
        return value

    def _output(self, op: str, output: Any) -> str | None:
        if not isinstance(output, torch.Tensor):
            return None
        name = self._free(op.rstrip("_") or op)
        self.named(name, output)  # the same tensor as before, written into or handed on, goes by its new name
        return name

    def named(self, name: str, tensor: torch.Tensor) -> None:
        """Note a tensor under a name."""
        self.names[id(tensor)] = name
        self._kept.append(tensor)
        self._noted(name, tensor)

    def _noted(self, name: str, tensor: torch.Tensor) -> None:
        self.shapes[name] = tuple(tensor.shape)
        if tensor.dtype == torch.bool:
            self.masks.add(name)

    def _free(self, name: str) -> str:
        while True:
            number = self._numbers.get(name, 0)
            self._numbers[name] = number + 1
            free = f"{name}_{number}" if number else name
            if free not in self.shapes:
                return free

    def _by_mask(self, arguments: Mapping[str, Any]) -> bool:
        return any(ref.name in self.masks and ref.name in self._depends for ref in _refs(arguments.get("indices")))

    def _written(self, schema: Any, arguments: Mapping[str, Any]) -> set[str]:
        """The tensors that an operator writes into."""
        written = (argument.name for argument in schema.arguments if argument.alias_info and argument.is_write)
        return {ref.name for name in written for ref in _refs(arguments.get(name))}


class _Several(list[Any]):
    """How several outputs are laid out, and whether they come as a list or a tuple."""

    def __init__(self, kind: type, laid: list[Any]) -> None:
        super().__init__(laid)
        self.kind = kind if kind in (list, tuple) else tuple


def _refs(value: Any) -> Iterator[Ref]:
    if isinstance(value, Ref):
        yield value
    elif isinstance(value, tuple):
        for item in value:
            yield from _refs(item)


def _key(value: Any) -> Any:
    """Return what tells arguments apart whose tensors hold nothing."""
    if isinstance(value, torch.Tensor):
        return (tuple(value.shape), value.stride(), value.dtype)
    if isinstance(value, (list, tuple)):
        return tuple(_key(item) for item in value)
    if isinstance(value, dict):
        return tuple((name, _key(item)) for name, item in value.items())
    return (type(value), value)


def _emptied(value: Any) -> Any:
    if not isinstance(value, torch.Tensor) or value.is_meta:
        return torch.device("meta") if isinstance(value, torch.device) else value
    return torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device="meta")


def _line() -> str:
    """Return ``file:line`` of the innermost frame outside of torch, empty where torch alone is between it and us."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename == __file__:
        frame = frame.f_back
    while frame is not None and frame.f_code.co_filename != __file__:
        file = frame.f_code.co_filename
        if not file.startswith((_TORCH, "<")):
            return f"{file}:{frame.f_lineno}"
        frame = frame.f_back
    return ""


def recorded(module: torch.nn.Module, arguments: Any, keywords: Mapping[str, Any]) -> tuple[Exported, tuple[str, ...]]:
    """Return the operators of one run of a module, and the names of its inputs that are data.

    Whatever the module raises passes through, once both ways have failed.
    """
    try:
        return _run(module, arguments, keywords, real=False)
    except Exception:  # it looks at what a tensor holds, or an operator has no way to work without contents
        return _run(module, arguments, keywords, real=True)


def _run(
    module: torch.nn.Module, arguments: Any, keywords: Mapping[str, Any], *, real: bool
) -> tuple[Exported, tuple[str, ...]]:
    held = {
        **dict(module.named_parameters(remove_duplicate=False)),
        **dict(module.named_buffers(remove_duplicate=False)),
    }
    # What is the same tensor stays so.
    one = {id(tensor): tensor if real else _without_contents(tensor) for tensor in held.values()}
    state = {path: one[id(tensor)] for path, tensor in held.items()}
    own = {id(one[id(tensor)]): tensor for tensor in held.values()}
    given: Any = tree_map(_copied if real else _without_contents, (tuple(arguments), dict(keywords)))
    names: dict[int, str] = {}
    recorder = Recorder(module, names, real=real)
    inputs: list[str] = []
    for name, value in _user_inputs(module, given):
        if isinstance(value, torch.Tensor) and id(value) not in names:
            recorder.named(name, value)
            inputs.append(name)
    data = tuple(inputs)
    recorder.begin(set(data))
    parameters = {id(one[id(tensor)]): str(id(tensor)) for tensor in held.values() if _is_parameter(tensor)}
    learned: dict[str, str] = {}
    fixed: dict[str, torch.Tensor] = {}
    for path, tensor in state.items():
        if id(tensor) in names:
            continue
        kind = "p" if id(tensor) in parameters else "b"
        name = f"{kind}_{re.sub(r'[^a-zA-Z0-9]', '_', path)}".lower()
        name = name if name not in recorder.shapes else f"{name}_{len(inputs)}"
        recorder.named(name, tensor)
        inputs.append(name)
        fixed[name] = tensor
        if id(tensor) in parameters:
            learned[name] = parameters[id(tensor)]
    eager = torch.compiler.set_stance("force_eager")  # what compiles itself is noted as it is written
    with eager, _kept(module), torch.random.fork_rng(devices=[]), torch.inference_mode(), recorder.hooked(), recorder:
        if real:
            result = module(*given[0], **given[1])
        else:
            result = torch.func.functional_call(module, state, *given, tie_weights=False)
    leaves, spec = tree_flatten(result)
    outputs = tuple(
        Ref(names[id(leaf)]) if isinstance(leaf, torch.Tensor) and id(leaf) in names else None for leaf in leaves
    )
    try:
        titles = titles_of(treespec_dumps(spec))
    except NotImplementedError:  # a class of the user's that has no written form
        titles = ()
    constants = {**fixed, **recorder.constants}
    contents = {
        name: tensor.tolist() for name, tensor in constants.items() if name not in learned and _is_small(tensor)
    }
    graph = Graph(
        (*inputs, *recorder.constants), tuple(recorder.steps), outputs, recorder.shapes, frozenset(recorder.masks)
    )
    looks = tuple(dict.fromkeys(recorder.looks))
    stored = {**{name: own[id(tensor)] for name, tensor in fixed.items()}, **recorder.constants}
    numbers = {name: partial(numbers_of, tensor) for name, tensor in stored.items() if name not in learned}
    return Exported(type(module).__name__, graph, data, learned, contents, titles, looks, numbers), data


def _is_parameter(tensor: torch.Tensor) -> bool:
    return isinstance(tensor, torch.nn.Parameter)


def _without_contents(value: Any) -> Any:
    """Return a tensor as large that holds nothing; small integers, which may say where something lies, are kept."""
    if not isinstance(value, torch.Tensor):
        return value
    if _is_small(value):
        return value.detach()
    return torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device="meta")


def _copied(value: Any) -> Any:
    """Return a tensor whose own contents nothing overwrites."""
    return value.detach().clone() if isinstance(value, torch.Tensor) else value


#: Types that numpy has none of.
_HALVES = frozenset({torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2})


def numbers_of(tensor: Any) -> Any:
    """Return what a fixed tensor holds as an array; ``None`` if it holds nothing."""
    if type(tensor) not in (torch.Tensor, torch.nn.Parameter) or tensor.is_meta:
        return None
    if tensor.layout != torch.strided or tensor.is_quantized:
        return None
    held = tensor.detach().resolve_conj().resolve_neg().cpu()
    return (held.float() if held.dtype in _HALVES else held).numpy()


def _is_small(tensor: torch.Tensor) -> bool:
    """Whether a tensor holds a few integers: it may say which rows are read, or how large something is."""
    if tensor.is_floating_point() or tensor.is_complex() or tensor.is_meta or tensor.is_quantized:
        return False
    return 0 < tensor.numel() <= MAX_ELEMENTS and tensor.layout == torch.strided


def _user_inputs(module: torch.nn.Module, given: Any) -> Iterator[tuple[str, Any]]:
    """Yield the leaves of what a module is called with, named by its parameters."""
    arguments, keywords = given
    parameters = inspect.signature(module.forward).parameters.values()
    positional = [one.name for one in parameters if one.kind is not inspect.Parameter.VAR_POSITIONAL]
    rest = next((one.name for one in parameters if one.kind is inspect.Parameter.VAR_POSITIONAL), "args")
    titled = {
        **{
            positional[i] if i < len(positional) else f"{rest}_{i - len(positional)}": value
            for i, value in enumerate(arguments)
        },
        **keywords,
    }
    for name, value in titled.items():
        for path, leaf in tree_flatten_with_path(value)[0]:
            yield re.sub(r"[^a-zA-Z0-9]+", "_", f"{name}{keystr(path)}").strip("_").lower(), leaf


@contextmanager
def _kept(module: torch.nn.Module) -> Iterator[None]:
    """Put back what a module keeps while it runs: buffers that it writes into, and what its code puts into its parts.

    The code in between is to call no operator of its own way: attention as one operator of its own has no parts.
    """
    buffers = [(tensor, tensor.detach().clone(), tensor._version) for tensor in module.buffers()]
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    before = [(part, dict(vars(part))) for part in module.modules()]
    inside = [
        (held, held.copy())
        for _, attributes in before for held in attributes.values() if isinstance(held, (dict, list, set))
    ]  # fmt: skip
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        for tensor, contents, version in buffers:
            if tensor._version != version:
                with torch.no_grad():
                    tensor.copy_(contents)
        for part, attributes in before:
            vars(part).clear()
            vars(part).update(attributes)
        for held, copy in inside:
            held.clear()
            held.extend(copy) if isinstance(held, list) else held.update(copy)
