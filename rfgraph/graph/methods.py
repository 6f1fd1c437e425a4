"""The methods of the network builder: one per op, made from what the op says of itself.

``methods.pyi`` beside this file tells them to editors and type checkers. Where an op or an attribute is new, write it
anew: ``python -m rfgraph.graph.methods > rfgraph/graph/methods.pyi``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, fields
from functools import partial
from inspect import Parameter, Signature
from typing import Any

from rfgraph.ops import KINDS, METADATA, OF_ANY, Op, near

_STUB = '''"""The methods of the network builder; written by ``rfgraph.graph.methods.signatures``."""

from collections.abc import Sequence
from fractions import Fraction
from typing import Any, TypeAlias, TypedDict, Unpack

PerAxis: TypeAlias = int | Sequence[int]
Ratio: TypeAlias = int | float | Fraction | str
Padding: TypeAlias = int | str | Sequence[int | Sequence[int]]

class Stated(TypedDict, total=False):
{stated}

def signatures() -> str: ...

class Methods:
    def node(self, op: str, name: str, *inputs: str, **attributes: Any) -> str: ...
'''

#: The type of a field of an op -> that of the attribute: one for all axes, or one entry per axis.
_TYPES = {
    "int": "PerAxis",
    "int | None": "PerAxis | Sequence[int | None] | None",
    "bool": "bool | Sequence[bool]",
    "Number": "Ratio",
    "Number | None": "Ratio | Sequence[Ratio] | None",
    "Padding": "Padding",
    "tuple[int, int]": "Padding",
    "tuple[int, ...]": "int | Sequence[Sequence[int]]",
}

#: Of what all ops may state, the type.
_STATED = {
    "label": "str", "location": "str", "bias": "bool | None", "treat": "str", "bound": "str | Sequence[str]",
    "empty": "bool | Sequence[bool]",
}  # fmt: skip


class Methods:
    """A builder with a method for every op that there is."""

    def node(self, op: str, name: str, *inputs: str, **attributes: Any) -> str:
        """Add a node ``name`` of ``op`` that reads ``inputs`` in that order, and return its name."""
        raise NotImplementedError

    def __getattr__(self, op: str) -> Callable[..., str]:
        if op in KINDS:
            method = partial(self.node, op)
            method.__doc__ = KINDS[op].__doc__
            method.__signature__ = _signature(KINDS[op])  # type: ignore[attr-defined]
            return method
        raise AttributeError(f"{op!r} is neither an op nor an attribute of Network{near(op, KINDS)}")

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *KINDS})


def signatures() -> str:
    """Return the stub of this module: the signature of every method."""
    names = sorted((METADATA | OF_ANY | {"treat"}) - {"op"})
    stated = "\n".join(f"    {name}: {_STATED.get(name, 'int | None')}" for name in names)
    lines = [f"    def {op}(self, {str(_signature(kind))[1:]}: ..." for op, kind in sorted(KINDS.items())]
    text = "".join(line.replace("'", "").replace("Ellipsis", "...") + "\n" for line in lines)
    return _STUB.replace("{stated}", stated) + text


def _signature(kind: type[Op]) -> Signature:
    """Return the signature of the method of an op."""
    parameters = [Parameter("name", Parameter.POSITIONAL_ONLY, annotation="str")]
    if kind.arity == "one":
        parameters.append(Parameter("x", Parameter.POSITIONAL_ONLY, annotation="str"))
    elif kind.arity == "several":
        parameters.append(Parameter("inputs", Parameter.VAR_POSITIONAL, annotation="str"))
    own = {
        one.metadata["name"] or one.name: (
            _TYPES.get(str(one.type), "str"),
            Parameter.empty if one.default is MISSING else ...,
        )
        for one in fields(kind)
        if one.name not in _STATED
    }
    extra = dict.fromkeys(sorted(kind.extra), ("Any", ...))
    for name, (annotation, default) in {**own, **extra}.items():
        parameters.append(Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=annotation))
    parameters.append(Parameter("stated", Parameter.VAR_KEYWORD, annotation="Unpack[Stated]"))
    return Signature(parameters, return_annotation="str")


if __name__ == "__main__":
    print(signatures(), end="")
