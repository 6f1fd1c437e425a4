"""Frozen dataclasses that are quick to define, and as quick to make.

For each frozen class ``dataclasses`` compiles up to nine functions, one by one, which takes longer than all else that
importing rfgraph does. Here a class compiles the three that have to be quick, at once, and shares the others.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from reprlib import recursive_repr
from types import MemberDescriptorType
from typing import Any, TypeVar, dataclass_transform, overload

Kind = TypeVar("Kind")

#: Stands for an argument that is left out, where a function makes the value of its field.
_LEFT_OUT = object()


@overload
@dataclass_transform(field_specifiers=(dataclasses.field,))
def dataclass(kind: type[Kind], /) -> type[Kind]: ...
@overload
@dataclass_transform(field_specifiers=(dataclasses.field,))
def dataclass(
    *, frozen: bool = ..., slots: bool = ..., kw_only: bool = ..., init: bool = ..., repr: bool = ..., eq: bool = ...
) -> Callable[[type[Kind]], type[Kind]]: ...
def dataclass(kind: type | None = None, /, *, frozen: bool = False, **options: bool) -> Any:
    """Make a class a dataclass, as ``dataclasses.dataclass`` does.

    A class and those that it inherits from are made by the same one.

    Examples
    --------
    >>> @dataclass(frozen=True, slots=True)
    ... class Span:
    ...     first: int
    ...     last: int = 0
    >>> Span(3), Span(3) == Span(first=3, last=0), hash(Span(3)) == hash(Span(3))
    (Span(first=3, last=0), True, True)
    >>> Span(3).first = 4
    Traceback (most recent call last):
    dataclasses.FrozenInstanceError: cannot assign to field 'first'
    """

    def make(kind: type) -> type:
        return _frozen(kind, **options) if frozen else dataclasses.dataclass(kind, **options)

    return make if kind is None else make(kind)


def _frozen(
    kind: type, *, slots: bool = False, kw_only: bool = False, init: bool = True, repr: bool = True, eq: bool = True
) -> type:
    own = {name for name, value in vars(kind).items() if value is not None}
    new: type = dataclasses.dataclass(init=False, repr=False, eq=False, slots=slots, kw_only=kw_only)(kind)
    methods: dict[str, Any] = {"__setattr__": _set, "__delattr__": _delete}
    if repr:
        methods["__repr__"] = _repr
    if slots:
        methods |= {"__getstate__": _state, "__setstate__": _restore}
    methods |= _compiled(new, init and "__init__" not in own, eq and "__eq__" not in own, eq and "__hash__" not in own)
    for name, method in methods.items():
        if name not in own:
            setattr(new, name, method)
    return new


def _compiled(kind: type, init: bool, eq: bool, hashes: bool) -> dict[str, Any]:
    """Return those of the methods that are of one class alone that it is to have."""
    fields = dataclasses.fields(kind)
    names: dict[str, Any] = {"_LEFT_OUT": _LEFT_OUT}
    lines = _init(kind, fields, names) if init else []
    if eq:
        alike = _tuples([f.name for f in fields if f.compare], "self", "other")
        lines += ["def __eq__(self, other):", " if other.__class__ is self.__class__:", f"  return {'=='.join(alike)}"]
        lines += [" return NotImplemented"]
    if hashes:
        (whole,) = _tuples([f.name for f in fields if (f.compare if f.hash is None else f.hash)], "self")
        lines += ["def __hash__(self):", f" return hash({whole})"]
    if not lines:
        return {}
    exec("\n".join(lines), names)
    methods: dict[str, Any] = {name: names[name] for name in ("__init__", "__eq__", "__hash__") if name in names}
    for name, method in methods.items():
        method.__module__, method.__qualname__ = kind.__module__, f"{kind.__qualname__}.{name}"
    if init:
        methods["__init__"].__annotations__ = {**{f.name: f.type for f in fields if f.init}, "return": None}
    return methods


def _tuples(fields: list[str], *of: str) -> list[str]:
    return [f"({''.join(f'{one}.{name},' for name in fields)})" for one in of]


def _init(kind: type, fields: tuple[dataclasses.Field[Any], ...], names: dict[str, Any]) -> list[str]:
    """Return the lines of ``__init__``, and put what they name into ``names``."""
    plain: list[str] = []
    keyed: list[str] = []
    body: list[str] = []
    names["_put"] = object.__setattr__
    for f in fields:
        value = name = f.name
        parameter = name
        if f.default_factory is not dataclasses.MISSING:
            names[f"_make_{name}"] = f.default_factory
            value = f"_make_{name}() if {name} is _LEFT_OUT else {name}" if f.init else f"_make_{name}()"
            parameter = f"{name}=_LEFT_OUT"
        elif f.default is not dataclasses.MISSING:
            names[f"_default_{name}"] = f.default
            value = name if f.init else f"_default_{name}"
            parameter = f"{name}=_default_{name}"
        elif not f.init:
            continue
        if f.init:
            (keyed if f.kw_only else plain).append(parameter)
        slot = getattr(kind, name, None)
        if isinstance(slot, MemberDescriptorType):
            names[f"_put_{name}"] = slot.__set__
            body.append(f" _put_{name}(self,{value})")
        else:
            body.append(f" _put(self,{name!r},{value})")
    if hasattr(kind, "__post_init__"):
        body.append(" self.__post_init__()")
    parameters = ["self", *plain, *(["*", *keyed] if keyed else [])]
    return [f"def __init__({','.join(parameters)}):", *(body or [" pass"])]


# What all of them share.


def _is_fixed(record: Any, name: str) -> bool:
    """Return whether an attribute is a field, or of a class that is a dataclass itself: others may have more."""
    return "__dataclass_fields__" in vars(type(record)) or name in record.__dataclass_fields__


def _set(self: Any, name: str, value: object) -> None:
    if _is_fixed(self, name):
        raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")
    object.__setattr__(self, name, value)


def _delete(self: Any, name: str) -> None:
    if _is_fixed(self, name):
        raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")
    object.__delattr__(self, name)


@recursive_repr()
def _repr(self: Any) -> str:
    told = ", ".join(f"{f.name}={getattr(self, f.name)!r}" for f in dataclasses.fields(self) if f.repr)
    return f"{type(self).__qualname__}({told})"


def _state(self: Any) -> list[Any]:
    return [getattr(self, f.name) for f in dataclasses.fields(self)]


def _restore(self: Any, state: list[Any]) -> None:
    for f, value in zip(dataclasses.fields(self), state, strict=True):
        object.__setattr__(self, f.name, value)
