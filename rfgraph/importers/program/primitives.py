"""The tensor program: what every model format is read into, before anything is known of space.

A program is a list of instructions over named values. Its primitives are few and say what a tensor operation does to
*dimensions*; which of these are spatial is found by the lowering. Dimensions are counted from 0 and never negative.
Whatever a framework calls its ops, a reader spells them with these; an op that cannot be spelt is ``Opaque``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, FrozenInstanceError, field, fields
from fractions import Fraction
from typing import Any, Literal, TypeVar, dataclass_transform

from rfgraph.frozen import dataclass
from rfgraph.importers.program.dimensions import Dim, Expression, Shape
from rfgraph.importers.program.exact import Data
from rfgraph.importers.program.numbers import ALL, Numbers

Ints = tuple[int, ...]
Kind = TypeVar("Kind")
#: How a sequence is run through.
Direction = Literal["forward", "backward", "both"]
Paddings = tuple[tuple[int, int], ...] | Literal["same_upper", "same_lower"]


#: Learned tensors: the name of each, by which shared ones are told, and how many numbers it has.
Learned = frozenset[tuple[str, int | None]]
NOTHING: Learned = frozenset()


#: What the user says of an input: its shape, or what it holds.
Given = Shape | Data


@dataclass(frozen=True, slots=True)
class Value:
    """A tensor: its name, and its shape, ``None`` if not even the rank is known."""

    name: str
    shape: Shape | None
    #: Whether it is the same whatever the inputs hold: weights, and what is computed from shapes.
    constant: bool = False
    #: Its contents, where it is a small constant.
    data: Data | None = field(default=None, compare=False, repr=False)
    #: The learned tensors that it is, or is made of.
    learned: Learned = field(default=NOTHING, compare=False, repr=False)
    #: The dimensions along which a constant is the same at every index, as far as it is known.
    alike: frozenset[int] = field(default=frozenset(), compare=False, repr=False)
    #: Its numbers, if they are at hand where they are more than is followed.
    numbers: Numbers | None = field(default=None, compare=False, repr=False)

    def held(self, tells_learned: bool) -> Numbers | None:
        """Return the numbers of a constant, ``None`` if they are not at hand.

        Of one that is learned, and of which the model says so if it ``tells_learned``, none is 0.
        """
        if self.data is not None:
            numbers = self.data.numbers
            return Numbers(lambda: numbers)
        return ALL if self.numbers is None and self.learned and tells_learned else self.numbers


#: What sets each field of a kind of primitive, its name, and what it is if it is left out, once one was made.
_FIELDS: dict[type, tuple[tuple[Callable[[Any, Any], None], str, Any], ...]] = {}


@dataclass_transform(frozen_default=True, kw_only_default=True)
def _primitive(kind: type[Kind]) -> type[Kind]:
    """Make a kind of ``Primitive`` a dataclass."""
    return dataclass(slots=True, kw_only=True, init=False, eq=False, repr=False)(kind)


class Primitive:
    """What an instruction does to the dimensions of its operands.

    Its kinds are dataclasses whose fields are set once. They share the methods that ``dataclass(frozen=True)`` would
    compile for each of them, which takes longer than all else that importing this module does.
    """

    __slots__ = ("_values",)
    _values: tuple[Any, ...]

    def __init__(self, **given: Any) -> None:
        kind = type(self)
        values = []
        for put, name, default in _FIELDS.get(kind) or _fields(kind):
            value = given.pop(name, default)
            if value is MISSING:
                raise TypeError(f"{kind.__name__} needs {name}")
            put(self, value)
            values.append(value)
        if given:
            raise TypeError(f"{kind.__name__} has no {', '.join(given)}")
        _put_values(self, tuple(values))

    def __setattr__(self, name: str, value: object) -> None:
        raise FrozenInstanceError(f"cannot assign to field {name!r}")

    def __delattr__(self, name: str) -> None:
        raise FrozenInstanceError(f"cannot delete field {name!r}")

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self._values == other._values

    def __hash__(self) -> int:
        return hash((type(self), self._values))

    def __repr__(self) -> str:
        named = zip(fields(self), self._values, strict=True)  # type: ignore[arg-type]  # its kinds are dataclasses
        return f"{type(self).__qualname__}({', '.join(f'{one.name}={value!r}' for one, value in named)})"


_put_values = vars(Primitive)["_values"].__set__


def _fields(kind: type) -> tuple[tuple[Callable[[Any, Any], None], str, Any], ...]:
    """Return what sets each field of a kind of primitive, its name, and its default, ``MISSING`` without one."""
    setters = _FIELDS[kind] = tuple((getattr(kind, one.name).__set__, one.name, one.default) for one in fields(kind))
    return setters


@dataclass(frozen=True, slots=True)
class Instruction:
    """One step of a program, under the name and the framework op that a user knows."""

    name: str
    op: str
    primitive: Primitive
    inputs: tuple[Value, ...]
    output: Value
    #: The learned tensors that it reads.
    learned: Learned = NOTHING
    #: Its multiply-accumulates for the whole batch, where they are not those of its primitive.
    macs: Dim | Literal["primitive"] | None = "primitive"


@dataclass(frozen=True, slots=True)
class Guard:
    """A condition on sizes: the names of those that it is about, and what tells whether it holds for numbers.

    ``holds`` is ``None`` where that is not followed; ``numbers`` are those that it compares sizes with, or divides by.
    """

    names: frozenset[str]
    holds: Callable[[Mapping[str, int]], bool] | None
    divisors: tuple[int, ...] = ()
    numbers: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Program:
    """A model: instructions, each after those it reads."""

    name: str
    inputs: tuple[Value, ...]
    instructions: tuple[Instruction, ...]
    outputs: tuple[Value, ...]
    #: The learned tensors of the model, used or not; ``None`` where the reader does not tell which are learned.
    learned: Learned | None = None
    #: The inputs of the model that are constants here, because the user says what they hold.
    given: frozenset[str] = frozenset()
    #: What the model calls each of its outputs, empty where it has no name for one; none where it has no names.
    titles: tuple[str, ...] = ()
    #: Whether the model says which constants are learned; else those that are read as weights are taken to be.
    tells_learned: bool = True
    #: Under which conditions on the sizes of its inputs it runs, beside what its instructions take.
    guards: tuple[Guard, ...] = ()


# Where values come from.


@_primitive
class Constant(Primitive):
    """A tensor that depends on no input: a weight, or random numbers."""

    shape: Shape | None = None


# What reads neighbours.


@_primitive
class Slide(Primitive):
    """A window slid over ``dims``: a convolution, which also replaces ``channel`` by ``channels``, or a pooling.

    Where it is ``apart`` each channel that it makes holds one position of the window, as where patches are cut out.
    ``bound`` says why an output may read less than its window. Where it is ``empty`` it takes a tensor of no positions
    too. ``rounded`` says that the size is rounded towards 0.
    """

    function: str
    dims: Ints
    kernel: Ints
    stride: Ints
    padding: Paddings
    dilation: Ints
    ceil_mode: bool = False
    rounded: bool = False
    channel: int | None = None
    channels: Dim | None = None
    groups: int = 1
    apart: bool = False
    bound: str = ""
    empty: bool = False


@_primitive
class SlideTransposed(Primitive):
    """The transpose of a convolution over ``dims``; padding crops the output.

    Where it is ``apart`` each position of the window reads channels of its own, as where patches are put back.
    ``bound`` says why an output may read less than its window. Where it is ``empty`` it takes a tensor of no positions
    too.
    """

    dims: Ints
    kernel: Ints
    stride: Ints
    padding: tuple[tuple[int, int], ...]
    output_padding: Ints
    dilation: Ints
    channel: int | None = None
    channels: Dim | None = None
    groups: int = 1
    apart: bool = False
    bound: str = ""
    empty: bool = False


#: The coefficient of a cubic kernel unless a model says another.
CUBIC = Fraction(-3, 4)


@_primitive
class Resize(Primitive):
    """Interpolation of ``dims``, each to ``sizes`` or by ``scales``; the other is ``None``."""

    dims: Ints
    scales: tuple[Any, ...] | None = None
    sizes: Shape | None = None
    mode: str = "nearest"
    coordinates: str = "half_pixel"
    nearest_mode: str = "round_prefer_floor"
    antialias: bool = False
    #: Of a cubic kernel, as Keys calls it; frameworks take -3/4 or -1/2.
    coefficient: Fraction = CUBIC


@_primitive
class AdaptivePool(Primitive):
    """Pooling of ``dims`` to ``sizes``."""

    function: str
    dims: Ints
    sizes: Ints


# What reads one position, or all of them.


#: Why elements under a mask that is constant may read less.
MASKED = "under its mask, which is constant, it may read nothing"
#: Why a product with fixed numbers may read less than all that it sums over.
SPARSE = "the constant that it is multiplied with may hold zeros"

#: Why elements that are multiplied with fixed numbers may not be read.
ZEROED = "the constant that it is multiplied with may be 0 at some positions"


@_primitive
class Pointwise(Primitive):
    """A function of elements at the same index; operands broadcast as in numpy.

    ``bound`` says why an element may read fewer of its operands, as one that is overwritten.
    """

    function: str
    bound: str = ""


@_primitive
class Either(Primitive):
    """One of its operands, as branches of an ``if``; which one is decided when the model runs."""


@_primitive
class Reduce(Primitive):
    """One number from all of ``dims``, which stay with size 1 or go.

    ``bound`` says why it may read less than all, as one row of them. Where it is ``empty`` that of none is one too.
    """

    function: str
    dims: Ints
    keepdims: bool = True
    bound: str = ""
    empty: bool = False


@_primitive
class Mix(Primitive):
    """Every element reads all of ``dims`` and the shape stays: softmax, normalisation, sorting, a recurrence.

    Run ``forward`` through one dimension it reads its own row and those before, ``backward`` those after. ``exclusive``
    leaves out its own. ``bound`` says why it may read less than all, where what it leaves out cannot be followed.
    """

    function: str
    dims: Ints
    direction: Direction = "both"
    exclusive: bool = False
    bound: str = ""


@_primitive
class Contract(Primitive):
    """A sum of products, as ``einsum`` writes it: one label per dimension; labels missing in ``output`` are summed."""

    operands: tuple[tuple[str, ...], ...]
    output: tuple[str, ...]


@_primitive
class Whole(Primitive):
    """Every element reads all of every operand, whatever the shape that comes out: sorting out boxes, losses.

    ``bound`` says why it may read less than all.
    """

    shape: Shape | None = None
    bound: str = ""


# What moves elements.


@_primitive
class Pad(Primitive):
    """``amounts[dim] = (before, after)`` more elements; negative amounts drop some."""

    amounts: tuple[tuple[Dim, Dim], ...]
    mode: str = "constant"


@_primitive
class Slice(Primitive):
    """``x[start:stop:step]`` along each of ``dims``; ``None`` is the end, negative bounds count from it.

    Where it is ``whole`` it is refused of a tensor that ends before a stop, which else takes what is there.
    """

    dims: Ints
    starts: tuple[Dim | None, ...]
    stops: tuple[Dim | None, ...]
    steps: Ints
    whole: bool = False


@_primitive
class Concat(Primitive):
    """Operands side by side along ``dim``."""

    dim: int


@_primitive
class Roll(Primitive):
    """Elements moved forward by ``shift`` along ``dim``, round its end."""

    dim: int
    shift: int


@_primitive
class Take(Primitive):
    """Rows of operand 0 along ``dim``, at the indices that operand 1 holds, whose dimensions replace it."""

    dim: int


@_primitive
class Expand(Primitive):
    """Broadcast to the numpy broadcast of the operand's shape and ``shape``."""

    shape: Shape


@_primitive
class DepthToSpace(Primitive):
    """Channels laid out as ``blocks`` of positions along ``dims``."""

    channel: int
    dims: Ints
    blocks: Ints


@_primitive
class SpaceToDepth(Primitive):
    """``blocks`` of positions along ``dims`` put into the channels."""

    channel: int
    dims: Ints
    blocks: Ints


# What only changes how elements are numbered.


@_primitive
class Reshape(Primitive):
    """The same elements in row-major order under another shape."""

    shape: Shape


@_primitive
class Squeeze(Primitive):
    """Dimensions of size 1 dropped."""

    dims: Ints


@_primitive
class Unsqueeze(Primitive):
    """Dimensions of size 1 added; ``dims`` are their places in the output."""

    dims: Ints


@_primitive
class Transpose(Primitive):
    """Dimension ``i`` of the output is dimension ``permutation[i]`` of the operand."""

    permutation: Ints


# What cannot be followed.


@_primitive
class Opaque(Primitive):
    """An op that the reader cannot spell; ``why`` says what stands in the way, if more than its name."""

    why: str = ""
    shape: Shape | None = None


# What every primitive must be, whoever spelt it: a file may state anything, and a wrong number must not get further.

#: No size, index or kernel of a tensor is as large.
_LARGEST = 2**63
#: Fields that are numbers from 1 up.
_FROM_ONE = frozenset({"kernel", "stride", "dilation", "groups", "blocks"})


def checked(primitive: Primitive) -> None:
    """Check that the fields of a primitive are of their types.

    Raises
    ------
    ValueError
        If one is not: a fraction for a size, a text for a number, a kernel of 0.
    """
    for one in fields(primitive):  # type: ignore[arg-type]
        value = getattr(primitive, one.name)
        if not CHECKS[one.type](value):  # type: ignore[index]  # annotations are texts here
            what = "positive numbers" if one.name == "scales" else str(one.type)
            what = next((words for name, words in _WORDS.items() if name in what), what)
            raise ValueError(f"{one.name} {_short(value)}: it takes {what}, of at most 63 bits where they are numbers")
        numbers = value if isinstance(value, tuple) else (value,)
        if one.name in _FROM_ONE and any(number < 1 for number in numbers):
            raise ValueError(f"{one.name} {_short(value)} is less than 1")


def _short(value: Any) -> str:
    text = f"[{', '.join(map(_written, value))}]" if isinstance(value, (tuple, list)) else _written(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _written(value: Any) -> str:
    return str(value) if isinstance(value, (Expression, Fraction)) else repr(value)


#: What stands in an annotation -> what a person calls it.
_WORDS = {
    "Paddings": "integers",
    "Shape": "sizes",
    "Dim": "sizes",
    "int": "integers",
    "Ints": "integers",
    "str": "text",
}


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and -_LARGEST <= value < _LARGEST


def _is_dim(value: Any) -> bool:
    return isinstance(value, Expression) or _is_int(value)


def _maybe(check: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or check(value)


def _all(check: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, tuple) and all(map(check, value))


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


#: What a field holds, as its annotation writes it -> whether a value is that.
CHECKS: dict[str, Callable[[Any], bool]] = {
    "str": _is_text,
    "bool": lambda value: value in (True, False),
    "Direction": lambda value: value in ("forward", "backward", "both"),
    "int": _is_int,
    "int | None": _maybe(_is_int),
    "Ints": _all(_is_int),
    "Dim | None": _maybe(_is_dim),
    "Shape": _all(_is_dim),
    "Shape | None": _maybe(_all(_is_dim)),
    "Paddings": lambda value: value in ("same_upper", "same_lower") or _all(_all(_is_int))(value),
    "tuple[tuple[int, int], ...]": _all(_all(_is_int)),
    "tuple[tuple[Dim, Dim], ...]": _all(_all(_is_dim)),
    "tuple[Dim | None, ...]": _all(_maybe(_is_dim)),
    "tuple[Any, ...] | None": _maybe(_all(lambda scale: isinstance(scale, (int, Fraction)) and 0 < scale < _LARGEST)),
    "Fraction": lambda value: isinstance(value, Fraction) and max(abs(value.numerator), value.denominator) < _LARGEST,
    "tuple[str, ...]": _all(_is_text),
    "tuple[tuple[str, ...], ...]": _all(_all(_is_text)),
}
