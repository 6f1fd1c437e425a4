"""Jaxprs, which ``jax.make_jaxpr`` traces functions to, made flat; this module does not need JAX.

Functions that a jaxpr calls stand in their place, and each equation is a step that knows the named scopes and functions
it stands in, and the line of the user's code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import field
from typing import Any, TypeAlias

from rfgraph.errors import ModelFileError
from rfgraph.frozen import dataclass
from rfgraph.importers.jax.numbers import MOVES
from rfgraph.importers.jax.symbols import size_of
from rfgraph.importers.program import Learned, Shape

#: Primitives that call one function as it is -> the parameter that holds it.
CALLS = {
    "jit": "jaxpr", "pjit": "jaxpr", "closed_call": "call_jaxpr", "core_call": "call_jaxpr", "call": "call_jaxpr",
    "custom_jvp_call": "call_jaxpr", "custom_vjp_call": "call_jaxpr", "custom_vjp_call_jaxpr": "fun_jaxpr",
    "composite": "jaxpr", "remat": "jaxpr", "remat2": "jaxpr", "checkpoint": "jaxpr",
}  # fmt: skip
#: Functions that are read as what they do to coordinates, if they do nothing but move elements.
MOVING = frozenset({"_pad", "_roll_static"})
#: A function that unfolds to more steps than this is refused.
MAX_STEPS = 200_000

#: The named scopes and functions that a step stands in, each with what tells this call from others.
Path: TypeAlias = tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Step:
    """One equation; what it reads and makes is known by numbers."""

    op: str
    parameters: Mapping[str, Any]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    path: Path = ()
    #: ``file:line`` of the user's code.
    location: str = ""


@dataclass(frozen=True, slots=True)
class Graph:
    """A flat jaxpr; the bodies of loops and branches are graphs among the parameters of their step."""

    inputs: tuple[int, ...]
    constants: Mapping[int, Any]
    steps: tuple[Step, ...]
    outputs: tuple[int, ...]
    shapes: Mapping[int, Shape | None]
    #: Constants that are leaves of the model -> the path of what they belong to: ``layers.0`` of ``layers.0.weight``.
    owners: Mapping[int, str] = field(default_factory=dict)
    #: Constants and inputs that are learned -> the name by which shared ones are told.
    learned: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Traced:
    """A traced function: its name, its graph, and the names of the inputs of that; those behind them are weights."""

    name: str
    graph: Graph
    inputs: tuple[str, ...]
    #: What the function calls each of its outputs, by the keys under which it returns them.
    titles: tuple[str, ...] = ()
    #: The learned tensors of the model, ``None`` where it is not known which are.
    learned: Learned | None = None
    #: Sizes at which what depends on sizes that are open is looked at, by their names.
    trials: tuple[Mapping[str, int], ...] = ()


class Flattening:
    """Makes graphs of jaxprs.

    Parameters
    ----------
    locate
        Returns the user's ``file:line`` of an equation.
    owners
        ``id`` of an array that the model holds -> the path of what it belongs to.
    vectorise
        Returns the body of a scan for all its turns together, as a closed jaxpr, ``None`` if there is none.
    learned
        ``id`` of an array that the model learns -> its name.
    """

    def __init__(
        self,
        locate: Callable[[Any], str],
        owners: Mapping[int, str],
        vectorise: Callable[[Any], Any],
        learned: Mapping[int, str],
    ) -> None:
        self.locate, self.owners, self.vectorise, self.learned = locate, owners, vectorise, learned
        self.count = 0
        self.steps = 0

    def graph(self, closed: Any, owners: Sequence[str] = (), learned: Sequence[str] = ()) -> Graph:
        """Return the graph of a closed jaxpr.

        Parameters
        ----------
        owners
            What its last inputs, which are weights, belong to.
        learned
            What its last inputs are called where they are learned, empty where they are not.
        """
        return _Flat(self).graph(closed.jaxpr, closed.consts, owners, learned)

    def number(self) -> int:
        """Return a number that nothing has yet."""
        self.count += 1
        return self.count


class _Flat:
    """One graph that grows."""

    def __init__(self, flattening: Flattening) -> None:
        self.flattening = flattening
        self.constants: dict[int, Any] = {}
        self.shapes: dict[int, Shape | None] = {}
        self.owned: dict[int, str] = {}
        self.learned: dict[int, str] = {}
        self.steps: list[Step] = []

    def graph(self, jaxpr: Any, consts: Sequence[Any], owners: Sequence[str], learned: Sequence[str]) -> Graph:
        env: dict[Any, int] = {}
        self._bind(env, jaxpr.constvars, consts)
        inputs = tuple(self._made(env, var) for var in jaxpr.invars)
        self.owned.update(zip(reversed(inputs), reversed(owners), strict=False))
        named = zip(reversed(inputs), reversed(learned), strict=False)
        self.learned.update((number, name) for number, name in named if name)
        self._walk(_unwrapped(jaxpr, consts, env, self), env, (), "")
        outputs = tuple(self._read(env, atom) for atom in jaxpr.outvars)
        return Graph(inputs, self.constants, tuple(self.steps), outputs, self.shapes, self.owned, self.learned)

    def _bind(self, env: dict[Any, int], variables: Sequence[Any], consts: Sequence[Any]) -> None:
        for var, const in zip(variables, consts, strict=True):
            env[var] = self._constant(const, var.aval)

    def _constant(self, const: Any, aval: Any) -> int:
        number = self.flattening.number()
        self.constants[number], self.shapes[number] = const, _shape(aval)
        owner = self.flattening.owners.get(id(const))
        if owner is not None:
            self.owned[number] = owner
        if (name := self.flattening.learned.get(id(const))) is not None:
            self.learned[number] = name
        return number

    def _made(self, env: dict[Any, int], var: Any) -> int:
        env[var] = number = self.flattening.number()
        self.shapes[number] = _shape(var.aval)
        return number

    def _read(self, env: dict[Any, int], atom: Any) -> int:
        return self._constant(atom.val, atom.aval) if hasattr(atom, "val") else env[atom]

    def _walk(self, equations: Iterable[Any], env: dict[Any, int], path: Path, location: str) -> None:
        for equation in equations:
            op = str(equation.primitive.name)
            inputs = tuple(self._read(env, atom) for atom in equation.invars)
            here = (*path, *((scope, 0) for scope in _scopes(equation)))
            where = self.flattening.locate(equation) or location
            body = equation.params.get(CALLS.get(op, ""))
            if body is None or (equation.params.get("name") in MOVING and _only_moves(body)):
                outputs = tuple(self._made(env, var) for var in equation.outvars)
                at = (
                    here
                    if body is None
                    else (*here, (str(equation.params["name"]).strip("_"), self.flattening.number()))
                )
                parameters = self._parameters(equation.params)
                if op == "scan" and (together := self.flattening.vectorise(equation)) is not None:
                    parameters["rows"] = self.flattening.graph(together)
                self._step(Step(op, parameters, inputs, outputs, at, where))
                continue
            inner, consts = (body.jaxpr, body.consts) if hasattr(body, "consts") else (body, ())
            own: dict[Any, int] = {}
            self._bind(own, inner.constvars, consts)
            own.update(zip(inner.invars, inputs, strict=True))
            name = str(equation.params.get("name") or "").strip("_")
            within = (*here, (name, self.flattening.number())) if name.isidentifier() else here
            self._walk(inner.eqns, own, within, where)
            env.update((var, self._read(own, atom)) for var, atom in zip(equation.outvars, inner.outvars, strict=True))

    def _step(self, step: Step) -> None:
        self.flattening.steps += 1
        if self.flattening.steps > MAX_STEPS:
            raise ModelFileError(f"the function unfolds to more than {MAX_STEPS} steps")
        self.steps.append(step)
        if len(owners := {self.owned[i] for i in step.inputs if i in self.owned}) == 1 and not any(
            i not in self.owned and i not in self.constants for i in step.inputs
        ):  # a weight that is cast or laid out anew belongs where it did
            self.owned.update(dict.fromkeys(step.outputs, owners.pop()))

    def _parameters(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        return {name: self._parameter(value) for name, value in parameters.items()}

    def _parameter(self, value: Any) -> Any:
        if isinstance(value, tuple) and any(hasattr(item, "jaxpr") for item in value):
            return tuple(map(self._parameter, value))
        if hasattr(value, "jaxpr") and hasattr(value, "consts"):
            return self.flattening.graph(value)
        return value


def _shape(aval: Any) -> Shape | None:
    shape = getattr(aval, "shape", None)
    return None if shape is None else tuple(map(size_of, shape))


def _unwrapped(jaxpr: Any, consts: Sequence[Any], env: dict[Any, int], flat: _Flat) -> Iterable[Any]:
    """Return the equations of a jaxpr; its only one, if it calls a function, gives no name to what is in it."""
    if len(jaxpr.eqns) == 1 and jaxpr.eqns[0].primitive.name in ("jit", "pjit"):
        (equation,) = jaxpr.eqns
        if not str(equation.params.get("name")).startswith("_"):  # those are JAX's own
            return (equation.replace(params={**equation.params, "name": ""}),)
    return tuple(jaxpr.eqns)


def _scopes(equation: Any) -> list[str]:
    """Return the named scopes that an equation stands in within its function."""
    stack = getattr(getattr(equation, "source_info", None), "name_stack", None)
    parts = getattr(stack, "stack", ())
    names = [str(part.name) for part in parts if type(part).__name__ == "Scope"]
    return [name for whole in names for name in whole.split("/") if name]


def _only_moves(closed: Any) -> bool:
    """Whether a function only moves elements, those of its first operand."""
    jaxpr = getattr(closed, "jaxpr", closed)
    if getattr(closed, "consts", ()):
        return False
    reached = {jaxpr.invars[0]}
    for equation in jaxpr.eqns:
        name, reads = equation.primitive.name, not reached.isdisjoint(v for v in equation.invars if hash_of(v))
        if not reads:
            continue
        reached.update(equation.outvars)
        inner = equation.params.get(CALLS.get(name, ""))
        if inner is None and name not in MOVES:
            return False
        if inner is not None and not _only_moves(inner):
            return False
    return True


def hash_of(atom: Any) -> bool:
    """Whether an atom is a variable: literals cannot be looked up."""
    return not hasattr(atom, "val")
