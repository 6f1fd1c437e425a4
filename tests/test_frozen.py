"""Frozen dataclasses of our own, held against those of the standard library."""

from __future__ import annotations

import dataclasses
import importlib
import pickle
import sys
from copy import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rfgraph.frozen import dataclass

NAMES = ("a", "b", "c")
DECORATORS = (dataclasses.dataclass, dataclass)


@st.composite
def bodies(draw):
    """What stands in a class: annotations and defaults of some fields, those with defaults last."""
    fields = []
    for name in NAMES[: draw(st.integers(0, 3))]:
        options = {key: draw(st.booleans()) for key in ("compare", "repr", "kw_only")}
        match draw(st.sampled_from(("required", "default", "factory", "left out"))):
            case "default":
                options["default"] = draw(st.integers(0, 2))
            case "factory":
                options["default_factory"] = list
            case "left out":
                options |= {"default": 7, "init": False}
        fields.append((name, options))
    fields.sort(key=lambda pair: len(pair[1].keys() & {"default", "default_factory"}))
    return fields


def made(decorator, fields, base=object, **options):
    """Return a class of some fields."""
    values = {name: dataclasses.field(**told) for name, told in fields}
    told = {"__annotations__": dict.fromkeys(values, "int"), "__doc__": "Some fields.", "__qualname__": "Some"}
    body = told | values
    return decorator(frozen=True, **options)(type("Some", (base,), body))


def tried(function, *args, **kwargs):
    """Return what a call gives, or the class of what it raises."""
    try:
        return function(*args, **kwargs)
    except Exception as error:
        return type(error)


@given(
    bodies(), st.booleans(), st.booleans(), st.booleans(),
    st.lists(st.integers(0, 1), max_size=2), st.dictionaries(st.sampled_from((*NAMES, "d")), st.integers(0, 1)),
)  # fmt: skip
def test_frozen_dataclasses_are_those_of_the_standard_library(fields, slots, kw_only, eq, given_first, named):
    seen = []
    for decorator in DECORATORS:
        kind = made(decorator, fields, slots=slots, kw_only=kw_only, eq=eq)
        one, other = tried(kind, *given_first, **named), tried(kind, *given_first, **named)
        if isinstance(one, type):
            seen.append(one)
            continue
        again = tried(dataclasses.replace, one, **named)
        fixed = [(tried(setattr, one, name, 1), tried(delattr, one, name)) for name, _ in fields]
        hashes = (tried(hash, one), tried(hash, one) == tried(hash, other)) if eq else ()
        equal = one == other, one != other, one == again, one == 3
        told = repr(one), repr(copy(one)), repr(again), hasattr(one, "__dict__")
        seen.append((told, equal, hashes, fixed, kind.__match_args__, kind.__init__.__annotations__.keys()))
    assert seen[0] == seen[1]


@dataclass(frozen=True, slots=True)
class Base:
    first: int
    last: int = 0

    @property
    def size(self):
        return self.last - self.first + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Told(Base):
    why: str = dataclasses.field(default="", compare=False)

    def __post_init__(self):
        if self.last < self.first:
            raise ValueError("it ends before it begins")

    def __repr__(self):
        return f"{self.first}..{self.last}"


class Loose(Told):
    """No dataclass itself: it may have more than its fields."""


def test_they_inherit_and_keep_what_they_define_themselves():
    told = Told(1, 3, why="because")
    assert (told, told.size, repr(told), hash(told)) == (Told(1, 3), 3, "1..3", hash((1, 3)))
    assert Base(1, 3) != told
    with pytest.raises(ValueError, match="ends before"):
        Told(3, 1)
    with pytest.raises(TypeError):
        Told(1, 3, "because")
    loose = Loose(1, 3)
    loose.more = 5
    assert loose.more == 5
    del loose.more
    with pytest.raises(dataclasses.FrozenInstanceError, match="'first'"):
        loose.first = 0


def test_they_are_pickled():
    assert pickle.loads(pickle.dumps(Told(1, 3, why="because"))).why == "because"


def test_a_class_that_is_not_frozen_is_one_of_the_standard_library():
    @dataclass
    class Open:
        field: int = 0

    one = Open()
    one.field = 3
    assert one == Open(3)


def test_every_frozen_dataclass_of_rfgraph_is_one_of_these():
    importlib.import_module("rfgraph.present.checks")
    importlib.import_module("rfgraph.importers.lowering.lower")
    importlib.import_module("rfgraph.models.mixed")
    modules = [module for name, module in sys.modules.items() if name.partition(".")[0] == "rfgraph"]
    values = [value for module in modules for value in vars(module).values()]
    kinds = {kind for kind in values if isinstance(kind, type) and str(kind.__module__).partition(".")[0] == "rfgraph"}
    compiled = {kind.__name__ for kind in kinds if (told := vars(kind).get("__dataclass_params__")) and told.frozen}
    assert len(kinds) > 100
    assert not compiled, "import dataclass from rfgraph.frozen"
