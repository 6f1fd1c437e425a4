"""What an op is, and how its attributes are read.

An ``Op`` is one axis of one layer: two-dimensional layers hold two of them, and there is no code for two axes. Its
fields are its attributes; ``metadata["read"]`` of a field turns what a user writes for one axis into its value.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING, field, fields
from fractions import Fraction
from math import floor, log10, trunc
from numbers import Rational
from operator import index
from typing import Any, ClassVar, Literal, TypeVar, cast

from rfgraph.algebra.residues import named_residues
from rfgraph.algebra.runs import Runs, united
from rfgraph.algebra.window import IDENTITY, Number, Window, as_number
from rfgraph.errors import AttributeValueError, UnknownOpError
from rfgraph.frozen import dataclass

Size = int | None
#: What lies beyond the border of a map: zeros, its border pixel, its mirror image without or with the border pixel
#: repeated, or itself again.
Border = Literal["constant", "edge", "reflect", "symmetric", "wrap"]
Sizes = Sequence[Size]
Arity = Literal["none", "one", "several"]

#: Attributes that every node may carry and that change no receptive field.
METADATA = frozenset({"op", "channels", "groups", "bias", "parameters", "macs", "label", "location"})

#: Attributes that every op may state, and that say something of what it reads or makes.
OF_ANY = frozenset({"bound", "empty"})


Padding = tuple[int, int] | Literal["same_upper", "same_lower"]


@dataclass(frozen=True, slots=True)
class Affine:
    """A map of ``times * n + plus`` positions, of one of ``n``."""

    times: int
    plus: int


@dataclass(frozen=True, slots=True)
class Slid:
    """A map with one position per place of a kernel that slides over a padded input, as ``Sliding`` counts."""

    span: int
    stride: int
    padding: Padding
    ceil_mode: bool


SizeLaw = Affine | Slid


@dataclass(frozen=True, slots=True, kw_only=True)
class Op:
    """One axis of one op: the window it reads and the size it makes."""

    kind: ClassVar[str] = ""
    #: How many inputs a node of this op has.
    arity: ClassVar[Arity] = "one"
    #: Whether its inputs stand side by side along this axis, so that each output reads one of them.
    joins: ClassVar[bool] = False
    #: Whether it keeps its inputs apart, as channels beside each other.
    stacks: ClassVar[bool] = False
    #: Whether it is one of its inputs, and only the running model knows which: nothing is held against each other.
    alternatives: ClassVar[bool] = False
    #: Whether it reads several maps at the same position.
    merges: ClassVar[bool] = False
    #: Whether it reads one position of each of its maps and no other, whatever its attributes say.
    own_position: ClassVar[bool] = False
    #: Whether it makes channels of its own, by learned weights.
    projects: ClassVar[bool] = False
    #: Whether it is an input of the network.
    is_input: ClassVar[bool] = False
    #: Whether it is a value that depends on no input.
    is_constant: ClassVar[bool] = False
    #: Whether it divides the sum of its inputs by their number.
    averages: ClassVar[bool] = False
    #: Whether anyone has described it.
    is_known: ClassVar[bool] = True
    #: Whether it takes a map of no positions whatever its attributes say, see ``takes_empty``.
    keeps_empty: ClassVar[bool] = False
    #: Whether each output is one of its taps, or leans to it, and only the values tell which.
    picks: ClassVar[bool] = False
    #: Whether what lies beyond the border may change the weights of what lies inside, and nothing says so.
    spreads_border: ClassVar[bool] = False
    #: Attributes besides the fields.
    extra: ClassVar[frozenset[str]] = frozenset()

    #: Why outputs may read less than the op's window says, if they may, as under a mask of which no one knows the
    #: content, or where channels hold different positions.
    bound: str = field(metadata={"read": lambda name, value: text(name, value), "name": None}, default="")
    #: Whether its model takes a map of no positions here, where others refuse it.
    empty: bool = field(metadata={"read": lambda name, value: flag(name, value), "name": None}, default=False)

    @property
    def collapses(self) -> bool:
        """Whether the axis is gone in its output, so that nothing after it is a feature map."""
        return False

    @property
    def compares(self) -> bool:
        """Whether several inputs are read at the same position, so that they have to line up."""
        return not (self.joins or self.alternatives)

    @property
    def broadcasts(self) -> bool:
        """Whether an input of size 1 is repeated over the axis."""
        return False

    @property
    def aligns_corners(self) -> bool:
        """Whether it maps corner pixels to each other, so that its stride is no ratio of whole map sizes."""
        return False

    @property
    def border(self) -> Border:
        """What a tap beyond the border of a map reads: nothing, the border pixel, or another one."""
        return "constant"

    @property
    def takes_empty(self) -> bool:
        """Whether it takes a map of no positions.

        No kernel slides over such a map, unless its model says so, and it has no mean.
        """
        return self.keeps_empty or self.empty

    @property
    def makes_empty(self) -> bool:
        """Whether it makes a map of no positions where nothing is left of its map; no output of a network is one."""
        return self.takes_empty

    @property
    def cycle(self) -> tuple[int, int]:
        """``(k, t)``: inputs larger by ``k`` make an output larger by ``t``, once they are large enough."""
        return 1, 1

    @property
    def settles_at(self) -> int:
        """The input size from which on ``cycle`` holds, and the output never shrinks as the input grows.

        An op that refuses this very size refuses every larger one.
        """
        return 1

    @property
    def smallest(self) -> int | None:
        """The least size of the map that it brings itself, as an input does; ``None`` where no one knows which."""
        return 1

    @property
    def largest(self) -> int | None:
        """The greatest size of the map that it brings itself; ``None`` where there is none."""
        return None

    @property
    def own_residues(self) -> tuple[int, tuple[int, ...]]:
        """A modulus, and the residues of the sizes of the map that it brings itself at which the model takes it."""
        return 1, (0,)

    def misfit(self, size: int) -> str:
        """Return why the model takes no map of ``size`` that it brings itself, "" if it does."""
        refused = f"the model takes no map of {size} positions, but"
        if self.smallest is not None and size < self.smallest:
            return f"{refused} of {self.smallest} or more"
        if self.largest is not None and size > self.largest:
            return f"{refused} of {self.largest} or less"
        modulus, residues = self.own_residues
        return "" if size % modulus in residues else f"{refused} those with {named_residues(modulus, residues)}"

    @property
    def sizing(self) -> tuple[Op, int | None]:
        """The op by whose rule the output is sized, and the slot that it sizes; ``None`` where all slots must fit."""
        return self, None if self.arity == "several" else 0

    @property
    def window_cycle(self) -> int:
        """Modulo what the input size decides the window; 1 where it does not matter, 0 where every size differs."""
        return 1

    @property
    def heeds_size(self) -> bool:
        """Whether the size of its map may decide its window, at sizes however small; broadcasting aside."""
        return self.joins or self.window_cycle != 1

    @property
    def size_law(self) -> SizeLaw | None:
        """``size`` as a formula of the size of its one input; ``None`` where it follows none of those that there are.

        The law holds at every input size: an op that refuses some sizes for another reason than that nothing is left
        has none.
        """
        return Affine(1, 0) if type(self).size is Op.size and self.arity == "one" else None

    @property
    def totals(self) -> bool:
        """Whether its input feeds a second slot too, through which it reads totals over the whole axis."""
        return False

    @property
    def keeps_all(self) -> bool:
        """Whether each output reads its own position alone and there are as many, whatever the input size."""
        return type(self).window is Op.window and type(self).size is Op.size

    @property
    def reads_all(self) -> bool:
        """Whether each output reads all that its window says, and not less."""
        return not self.bound

    @property
    def takes_one(self) -> bool:
        """Whether it takes one position by its index, whatever the size of its map."""
        return False

    @property
    def rearranges(self) -> bool:
        """Whether neighbours in its map are not neighbours in the map that it reads, so that holes are no defect."""
        return False

    @property
    def unplaced(self) -> Window | None:
        """What it reads but for where it lies, where its place alone depends on a size that is not known."""
        return None

    @property
    def in_training(self) -> Op:
        """The same op as it is in training."""
        return self

    @property
    def widens(self) -> bool:
        """Whether it learns from several positions, as a convolution whose kernel is larger than 1."""
        return False

    @property
    def spacing(self) -> int:
        """How far apart the inputs that one output reads lie; 1 unless a dilation leaves holes."""
        return 1

    @property
    def skips(self) -> bool:
        """Whether its taps do not lie evenly, ``spacing`` apart, because some in between have weight 0."""
        return False

    def taps(self, read: Window, y: int) -> Sequence[int]:
        """Return the positions that output ``y`` reads, in ascending order; borders are not cut.

        Parameters
        ----------
        read
            The window that the op has on its input: local, as ``window`` returns it.
        y
            Index of an output.

        Examples
        --------
        >>> conv = kind_of("conv").parse({"op": "conv", "kernel": 3, "dilation": 2}, 0, 1)
        >>> list(conv.taps(conv.window(0, (None,)), 10))
        [10, 12, 14]
        """
        interval = read.interval(y)
        return () if interval is None else range(interval[0], interval[1] + 1, self.spacing)

    def weights(self, read: Window, y: int) -> dict[int, Fraction] | None:
        """Return the weight of each position that output ``y`` reads, where these are fixed numbers; they sum to 1.

        ``None`` where they are learned, differ from channel to channel, are not rational, or the op is not linear.
        Positions are those of ``taps``, and borders are not cut.

        Parameters
        ----------
        read, y
            As for ``taps``.

        Examples
        --------
        >>> up = kind_of("resize").parse({"op": "resize", "scale": 2, "mode": "linear"}, 0, 1)
        >>> up.weights(up.window(0, (None,)), 1)
        {0: Fraction(3, 4), 1: Fraction(1, 4)}
        """
        return None

    @property
    def learned_taps(self) -> int:
        """How many taps its kernel has, each with a weight of its own that is learned; 0 if it has none."""
        return 0

    @classmethod
    def has_fixed_weights(cls) -> bool:
        """Return whether it states ``weights``: then it is linear, learns nothing and keeps its channels."""
        return cls.weights is not Op.weights

    @property
    def weighs_anew(self) -> bool:
        """Whether its taps weigh as it likes, by no rule: what it hands on then knows nothing of anything else."""
        return type(self).kernel_taps is not Op.kernel_taps and not self.has_fixed_weights()

    def kernel_taps(self, read: Window, y: int) -> tuple[Sequence[int], Fraction] | None:
        """Return which taps of its kernel read ``taps(read, y)``, and the weight of each where all weigh the same.

        That weight makes the sum over the taps of a kernel as large as the number of outputs per input. Outputs that
        read through different taps read with weights that know nothing of each other. ``None`` if it has no kernel;
        where ``weights`` are fixed, those are asked first.

        Parameters
        ----------
        read, y
            As for ``taps``.

        Examples
        --------
        >>> up = kind_of("conv_transpose").parse({"op": "conv_transpose", "kernel": 4, "stride": 2}, 0, 1)
        >>> up.kernel_taps(up.window(0, (None,)), 3)
        ([3, 1], Fraction(1, 2))
        """
        return None

    def padding_at(self, size: Size) -> tuple[int, int] | None:
        """Return its padding before and after an input of ``size``, where other numbers may take their place.

        ``None`` if it has none, or none that is known; a size that is not known is ``None`` too.
        """
        return None

    def may_pad(self, padding: tuple[int, int]) -> bool:
        """Return whether it takes ``padding``, in place of the one that it has."""
        return True

    def center_step(self, inner: Window, field: Window) -> Number:
        """Return how far one more of padding before moves the centre of its field; 0 where padding moves none.

        Parameters
        ----------
        inner, field
            Local fields of its input and of itself.
        """
        return 0

    def window(self, slot: int, sizes: Sizes) -> Window:
        """Return what one output reads by the op's rule: ``reads`` without ``bound``."""
        return IDENTITY

    def reads(self, slot: int, sizes: Sizes) -> Window:
        """Return what one output reads of the input in ``slot``, given the sizes of all inputs on this axis."""
        window = self.window(slot, sizes)
        return window.at_most(self.bound) if self.bound else window

    def size(self, sizes: Sizes) -> Size:
        """Return the output size on this axis, ``None`` if the input sizes do not tell.

        Raises
        ------
        SizeError
            If no output of these inputs exists.
        """
        return sizes[0]

    def too_small(self, sizes: Sizes, size: int) -> str:
        """Return what to say where an output of ``size``, none or less, is no map."""
        return f"its map would have size {size}"

    @classmethod
    def complete(cls, attributes: dict[str, Any]) -> dict[str, Any]:
        """Return the attributes with those that follow from others filled in, refused if they contradict."""
        return attributes

    @classmethod
    def parse(cls, attributes: Mapping[str, Any], axis: int, axes: int) -> Op:
        """Return the op that ``attributes`` of a node describe on ``axis`` of ``axes``."""
        known = {f.metadata["name"] or f.name: f for f in fields(cls)}
        for name, value in attributes.items():
            check_digits(name, value)
            if name not in known and name not in METADATA and name not in cls.extra:
                allowed = sorted((set(known) | cls.extra) - OF_ANY)
                raise AttributeValueError(
                    f"attribute {name!r} is not one of {attributes.get('op', cls.kind)}{near(name, allowed)}; "
                    f"it takes {', '.join(allowed) or 'none'} (and {', '.join(sorted(METADATA - {'op'} | OF_ANY))})"
                )
        given = cls.complete({name: value for name, value in attributes.items() if name not in METADATA})
        values = {}
        for name, f in known.items():
            if name in given:
                values[f.name] = f.metadata["read"](name, entry(name, given[name], axis, axes))
            elif f.default is MISSING:
                raise AttributeValueError(f"{name} is missing; give one number for all axes or one per axis")
        return cls(**values)


class LikeAnother:
    """The part of an op whose output is as large as another map, which stands in its slot ``like``."""

    __slots__ = ()

    arity: ClassVar[Arity] = "several"
    like: int

    @property
    def sizing(self) -> tuple[Op, int | None]:
        return Op(), self.like

    @property
    def window_cycle(self) -> int:
        return 0

    def size(self, sizes: Sizes) -> Size:
        return sizes[self.like] if self.like < len(sizes) else None


def entry(name: str, value: Any, axis: int, axes: int) -> Any:
    """Return what ``value`` says for ``axis``: itself, or its entry if it has one per axis."""
    if not isinstance(value, (list, tuple)):
        return value
    if len(value) != axes:
        raise AttributeValueError(f"{name} {value!r} has {len(value)} entries, but the network has {axes} axes")
    return value[axis]


def near(name: str, known: Iterable[str]) -> str:
    """Return a hint that names what is spelt like ``name``, or nothing."""
    import difflib  # only a misspelt name needs it

    close = difflib.get_close_matches(name, list(known), n=3, cutoff=0.6)
    return f" (near: {', '.join(close)})" if close else ""


#: Numbers of more digits are refused where they are read, so that those that follow from them can be written out.
MOST_DIGITS = 100


def check_digits(name: str, value: Any) -> None:
    """Refuse numbers of more than ``MOST_DIGITS`` digits, and lists that hold one.

    Examples
    --------
    >>> check_digits("kernel", [3, 10**6000])
    Traceback (most recent call last):
    rfgraph.errors.AttributeValueError: kernel has a number of some 6001 digits; those of up to 100 are followed
    """
    if isinstance(value, (list, tuple)):
        for item in value:
            check_digits(name, item)
    elif isinstance(value, Rational):
        bits = max(int(value.numerator).bit_length(), int(value.denominator).bit_length())
        if bits > 64 and bits * log10(2) > MOST_DIGITS:
            digits = floor(bits * log10(2)) + 1
            raise AttributeValueError(
                f"{name} has a number of some {digits} digits; those of up to {MOST_DIGITS} are followed"
            )


# Readers: (name, value on one axis) -> value of the field.


def integer(name: str, value: Any) -> int:
    """Read an integer, of any type that numbers have: values that are equal say the same, so 3.0 is 3."""
    try:
        number = index(value) if hasattr(value, "__index__") else trunc(value)
        if number == value:
            return number
    except (TypeError, ValueError, OverflowError):
        pass
    raise AttributeValueError(f"{name} {value!r} is not an integer")


def positive(name: str, value: Any) -> int:
    """Read a positive integer."""
    try:
        number = integer(name, value)
    except AttributeValueError:
        number = 0
    if number < 1:
        hint = "; give a stride, or leave it out for the default" if name == "stride" else ""
        raise AttributeValueError(f"{name} {value!r} is not a positive integer{hint}")
    return number


def natural(name: str, value: Any) -> int:
    """Read an integer from 0 up."""
    number = integer(name, value)
    if number < 0:
        raise AttributeValueError(f"{name} {value!r} is negative")
    return number


def optional(read: Callable[[str, Any], Any]) -> Callable[[str, Any], Any]:
    """Return a reader that lets ``None`` through."""
    return lambda name, value: None if value is None else read(name, value)


def flag(name: str, value: Any) -> bool:
    """Read a truth value."""
    if value in (True, False):
        return bool(value)
    raise AttributeValueError(f"{name} {value!r} is not true or false")


def text(name: str, value: Any) -> str:
    """Read a text."""
    if not isinstance(value, str):
        raise AttributeValueError(f"{name} {value!r} is not a text")
    return value


#: What a ratio is written as; an exponent of many digits would be a number that fills all memory.
_RATIO = r"\s*\+?\d{1,400}(/\d{1,400}|(\.\d{0,400})?([eE][+-]?\d{1,3})?)\s*|\s*\+?\.\d{1,400}([eE][+-]?\d{1,3})?\s*"


def ratio(name: str, value: Any) -> Number:
    """Read a positive ratio: an int, a Fraction, "4/3", or a float taken as the decimal it prints as."""
    try:
        if not isinstance(value, Rational) and not re.fullmatch(_RATIO, str(value)):
            raise ValueError
        number = Fraction(value) if isinstance(value, Rational) else Fraction(str(value))
    except (ValueError, ZeroDivisionError):
        number = Fraction(0)
    if number <= 0:
        raise AttributeValueError(f'{name} {value!r} is not a positive number; write 2, 0.5 or "4/3"')
    check_digits(name, number)
    return as_number(number)


def choice(*words: str) -> Callable[[str, Any], str]:
    """Return a reader that takes one of ``words``."""

    def read(name: str, value: Any) -> str:
        if value not in words:
            raise AttributeValueError(f"{name} {value!r} is not one of {', '.join(words)}")
        return cast(str, value)

    return read


def padding(name: str, value: Any) -> Padding:
    """Read padding on one axis: a number for both sides, ``[before, after]``, "valid", "same" or "same_lower"."""
    if value == "valid":
        return (0, 0)
    if value in ("same", "same_upper"):
        return "same_upper"
    if value == "same_lower":
        return "same_lower"
    if isinstance(value, str):
        raise AttributeValueError(f"{name} {value!r} is not a number, valid, same, same_upper or same_lower")
    if isinstance(value, (list, tuple)):
        if len(value) != 2:
            raise AttributeValueError(f"{name} {value!r} is not [before, after]")
        return integer(name, value[0]), integer(name, value[1])
    number = integer(name, value)
    return number, number


def attribute(read: Callable[[str, Any], Any], *, name: str | None = None, **default: Any) -> Any:
    """Declare a field of an op: how it is read, what users call it if not by its own name, and its default if any."""
    return field(metadata={"read": read, "name": name}, **default)


def even_weights(taps: Sequence[int]) -> dict[int, Fraction]:
    """Return equal weights that sum to 1."""
    return {tap: Fraction(1, len(taps)) for tap in taps}


def at_border(border: Border, position: Any, size: int) -> Any:
    """Return which of ``size`` positions is read in the place of ``position``, an integer or an array of them.

    Those beyond a ``constant`` border stay outside.
    """
    if border == "constant":
        return position
    if border == "edge":
        before, after = position < 0, position >= size
        return position * (1 - before) * (1 - after) + (size - 1) * after
    inside = position % _border_period(border, size)
    if border == "reflect":
        return size - 1 - abs(size - 1 - inside)
    return inside + (inside >= size) * (2 * size - 1 - 2 * inside)


def runs_at_border(border: Border, positions: Runs, size: int) -> Runs | None:
    """Return which of ``size`` positions are read in the place of ``positions``, ``None`` if none are.

    Those beyond a ``constant`` border are left out.

    Raises
    ------
    TooManyRunsError
        If they have more holes than are followed.
    """
    inside = positions.clipped(0, size - 1)
    if border == "constant" or inside is positions:
        return inside
    parts = [inside]
    for beyond in (positions.clipped(positions.first, -1), positions.clipped(size, positions.last)):
        if beyond is None:
            continue
        if border == "edge":
            place = at_border(border, beyond.first, size)
            parts.append(Runs.of(place, place))
            continue
        folded = beyond.folded(_border_period(border, size))
        back = folded.clipped(size, folded.last)  # only a mirrored border has any
        parts += [folded.clipped(0, size - 1), back and back.scaled(-1, size + at_border(border, size, size))]
    return united(part for part in parts if part is not None)


def _border_period(border: Border, size: int) -> int:
    """Return after how many positions beyond a border the same ones are read again."""
    return {"wrap": size, "symmetric": 2 * size}.get(border) or max(2 * (size - 1), 1)


#: Every op name of the graph format -> its class.
KINDS: dict[str, type[Op]] = {}

OpClass = TypeVar("OpClass", bound=type[Op])


def op_kind(*names: str) -> Callable[[OpClass], OpClass]:
    """Register an op class under the names a graph may use for it; the first is its own."""

    def register(cls: OpClass) -> OpClass:
        cls.kind = names[0]
        for name in names:
            if name in KINDS:
                raise ValueError(f"op {name!r} is registered twice, by {KINDS[name].__name__} and {cls.__name__}")
            KINDS[name] = cls
        return cls

    return register


def kind_of(name: object) -> type[Op]:
    """Return the class of op ``name``.

    Raises
    ------
    UnknownOpError
        If there is none; the message lists names spelt like it.
    """
    if not isinstance(name, str) or name not in KINDS:
        raise UnknownOpError(f"rfgraph does not know what it reads{near(str(name), KINDS)}")
    return KINDS[name]
