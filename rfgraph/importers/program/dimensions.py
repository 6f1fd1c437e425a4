"""Sizes of tensor dimensions: integers, and exact expressions over sizes that only the running model knows.

A symbolic size is a sum of terms; a term is a coefficient times a product of *atoms*. An atom is a name, a floored
quotient, a number known by its bound alone, or a whole sum that stands as a factor of a product. So
``2*H == H + H``, ``(H - 2)*W / W == H - 2`` and ``14*H // 7 == 2*H`` are found, which is what following a reshape
needs; nothing here simplifies further than that.

Named sizes are at least 1, as those of tensors that exist are. What an expression over them can be is ``bounds``:
interval arithmetic, which never says more than holds for every size, so that a comparison is decided or left open.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import field
from fractions import Fraction
from functools import lru_cache
from math import ceil, floor, lcm
from typing import TypeAlias, Union
from zlib import crc32

from rfgraph.frozen import dataclass

Coefficient = int | Fraction

#: Quotients nested deeper than this become plain names: a bound on the work that a hostile file can ask for.
MAX_DEPTH = 12
#: Sums of more terms than this are not divided further, for the same reason.
MAX_TERMS = 32
#: Nor are expressions of more terms than this, those of their quotients and factors counted too.
MAX_WEIGHT = 512
#: Nor those with a coefficient of more bits than this: a size has 63.
MAX_BITS = 256


@dataclass(frozen=True, slots=True)
class Quotient:
    """``numerator // denominator``, rounded down."""

    numerator: Expression
    denominator: int

    def __str__(self) -> str:
        return f"({self.numerator})//{self.denominator}"


@dataclass(frozen=True, slots=True)
class Unknown:
    """An integer that is only known by how it came about, and to be at least ``least``; ``None`` is no bound."""

    text: str
    least: int | None
    #: Tells it for numbers in the place of names, where that can be told.
    value: Callable[[Mapping[str, int]], int | None] | None = field(default=None, compare=False, repr=False)

    def __str__(self) -> str:
        return self.text


Atom: TypeAlias = Union[str, Quotient, Unknown, "Expression"]
Monomial = tuple[Atom, ...]


@dataclass(frozen=True, slots=True)
class Expression:
    """A size that is not known, as a sum of ``coefficient * product of atoms``; build one with ``symbol``.

    Examples
    --------
    >>> height = symbol("H")
    >>> str((height + 2 * 1 - 3) // 2 + 1)
    '(H + 1)//2'
    >>> 2 * height == height + height
    True
    """

    terms: tuple[tuple[Monomial, Coefficient], ...]
    depth: int = 0
    #: How many terms it is written with.
    weight: int = 1

    def __add__(self, other: Dim | Fraction) -> Dim:
        return _sum([*self.terms, *_terms(other)])

    __radd__ = __add__

    def __neg__(self) -> Dim:
        return self * -1

    def __sub__(self, other: Dim | Fraction) -> Dim:
        return self + other * -1

    def __rsub__(self, other: int | Fraction) -> Dim:
        return -self + other  # type: ignore[return-value]  # a fraction meets one that makes it whole

    def __mul__(self, other: Dim | Fraction) -> Dim:
        if not isinstance(other, Expression):
            return self if other == 1 else _sum([(atoms, coefficient * other) for atoms, coefficient in self.terms])
        (left, a), (right, b) = self._as_term(), other._as_term()
        return _sum([(tuple(sorted((*left, *right), key=str)), a * b)])

    __rmul__ = __mul__

    def __floordiv__(self, other: Dim | Fraction) -> Dim:
        if isinstance(other, Expression):
            exact = _ratio(self, other)
            whole = bounds(self).least, bounds(other).least
            positive = all(least is not None and least >= 0 for least in whole)
            return exact if exact is not None else unknown(f"({self})//({other})", 0 if positive else None)
        return _floored(self * (1 / Fraction(other)))

    def __truediv__(self, other: Coefficient) -> Dim:
        return self * (1 / Fraction(other))

    def __floor__(self) -> Dim:
        return _floored(self)

    def __ceil__(self) -> Dim:
        return -_floored(-self)

    def _as_term(self) -> tuple[Monomial, Coefficient]:
        """Return it as one term; a sum that becomes a factor is freed of denominators, so that atoms are integers."""
        if len(self.terms) == 1:
            return self.terms[0]
        denominator = lcm(*(coefficient.denominator for _, coefficient in self.terms))
        whole = self * denominator
        assert isinstance(whole, Expression)
        return (whole,), Fraction(1, denominator)

    def __str__(self) -> str:
        text = ""
        for atoms, coefficient in self.terms:
            sign = ("-" if not text else " - ") if coefficient < 0 else ("" if not text else " + ")
            factors = [f"({atom})" if isinstance(atom, Expression) else str(atom) for atom in atoms]
            if abs(coefficient) != 1 or not factors:
                factors.insert(0, str(abs(coefficient)))
            text += sign + "*".join(factors)
        return text


Dim: TypeAlias = int | Expression
Shape = tuple[Dim, ...]


def symbol(name: str) -> Expression:
    """Return the size called ``name``."""
    return Expression((((name,), 1),))


def unknown(
    name: str, least: int | None = 0, value: Callable[[Mapping[str, int]], int | None] | None = None
) -> Expression:
    """Return a number that is only known by how it came about; long descriptions are cut.

    Parameters
    ----------
    name
        How it came about: numbers of the same name are the same.
    least
        What it is at least, ``None`` if that is not known; sizes are at least 0, as those that count what is found.
    value
        Tells it for numbers in the place of names.
    """
    text = name if len(name) <= 80 else f"{name[:60]}...#{crc32(name.encode('utf-8', 'replace')):08x}"
    return Expression((((Unknown(text, least, value),), 1),))


# What an expression can be.


@dataclass(frozen=True, slots=True)
class Bounds:
    """The least and the greatest that a number can be; ``None`` where no bound is known."""

    least: Coefficient | None
    greatest: Coefficient | None

    def __add__(self, other: Bounds) -> Bounds:
        return Bounds(
            None if self.least is None or other.least is None else self.least + other.least,
            None if self.greatest is None or other.greatest is None else self.greatest + other.greatest,
        )

    def __mul__(self, other: Bounds) -> Bounds:
        if self.least is None or other.least is None or self.least < 0 or other.least < 0:
            return UNBOUNDED  # products of what may be negative are not needed
        ends = self.greatest, other.greatest
        return Bounds(self.least * other.least, None if ends[0] is None or ends[1] is None else ends[0] * ends[1])

    def times(self, factor: Coefficient) -> Bounds:
        """Return the bounds of ``factor`` times the number."""
        ends = [None if end is None else end * factor for end in (self.least, self.greatest)]
        return Bounds(*(ends if factor >= 0 else ends[::-1]))

    def within(self, other: Bounds) -> Bounds:
        """Return the bounds of a number that both bound."""
        least = [end for end in (self.least, other.least) if end is not None]
        greatest = [end for end in (self.greatest, other.greatest) if end is not None]
        return Bounds(max(least, default=None), min(greatest, default=None))

    def rounded(self) -> Bounds:
        """Return the bounds of an integer that these bound."""
        return Bounds(
            None if self.least is None else ceil(self.least), None if self.greatest is None else floor(self.greatest)
        )


UNBOUNDED = Bounds(None, None)


def bounds(size: Dim | Fraction) -> Bounds:
    """Return what a size can be, whatever positive integers its names stand for.

    Examples
    --------
    >>> height = symbol("H")
    >>> bounds((height - 64) // 64 + 1)
    Bounds(least=0, greatest=None)
    >>> bounds(height - height // 32 * 32)
    Bounds(least=0, greatest=31)
    """
    return _bounds(size) if isinstance(size, Expression) else Bounds(size, size)


@lru_cache(maxsize=4096)
def _bounds(size: Expression) -> Bounds:
    """Bound term by term, and once more with each quotient replaced by the line that bounds it: terms then cancel."""
    below, above = (_by_term(_terms(_line(size, low))) for low in (True, False))
    ends = _by_term(size.terms).within(Bounds(below.least, above.greatest))
    return ends.rounded() if _integral(size) else ends


def _by_term(terms: Iterable[tuple[Monomial, Coefficient]]) -> Bounds:
    total = Bounds(0, 0)
    for atoms, coefficient in terms:
        factor = Bounds(1, 1) if len(atoms) != 1 else _of_atom(atoms[0])
        for atom in atoms if len(atoms) != 1 else ():
            factor = factor * _of_atom(atom)
        total = total + factor.times(coefficient)
    return total


def _of_atom(atom: Atom) -> Bounds:
    if isinstance(atom, str):
        return Bounds(1, None)
    if isinstance(atom, Unknown):
        return Bounds(atom.least, None)
    if isinstance(atom, Expression):
        return bounds(atom)
    ends = bounds(atom.numerator)
    return Bounds(
        None if ends.least is None else floor(Fraction(ends.least) / atom.denominator),
        None if ends.greatest is None else floor(Fraction(ends.greatest) / atom.denominator),
    )


def _line(size: Dim, low: bool) -> Dim | Fraction:
    """Return a sum in which no quotient stands as a term and that ``size`` is never below, or never above."""
    for _ in range(MAX_DEPTH + 1):
        if isinstance(size, int) or not any(_is_quotient(atoms) for atoms, _ in size.terms):
            break
        terms: list[tuple[Monomial, Coefficient]] = []
        for atoms, coefficient in size.terms:
            if not _is_quotient(atoms):
                terms.append((atoms, coefficient))
                continue
            quotient = atoms[0]
            assert isinstance(quotient, Quotient)
            share = Fraction(coefficient) / quotient.denominator
            terms += [(part, c * share) for part, c in quotient.numerator.terms]
            if (coefficient > 0) == low:  # integers are rounded down by (d - 1)/d at most
                terms.append(((), -share * (quotient.denominator - 1)))
        size = _sum(terms)
    return size


def _is_quotient(atoms: Monomial) -> bool:
    return len(atoms) == 1 and isinstance(atoms[0], Quotient)


def names_of(size: Dim) -> frozenset[str] | None:
    """Return the names that a size depends on, ``None`` if it depends on a number of which only a bound is known.

    Examples
    --------
    >>> sorted(names_of((symbol("H") - 1) // 2 * symbol("W")))
    ['H', 'W']
    """
    names: frozenset[str] = frozenset()
    for atoms, _ in () if isinstance(size, int) else size.terms:
        for atom in atoms:
            if isinstance(atom, str):
                names |= {atom}
                continue
            inner = None if isinstance(atom, Unknown) else names_of(_inside(atom))
            if inner is None:
                return None
            names |= inner
    return names


def denominators(size: Dim) -> Iterator[int]:
    """Return modulo what numbers a size depends on those that its names stand for, rounding by rounding.

    Examples
    --------
    >>> list(denominators((symbol("H") - 1) // 2 * ((symbol("W") + 3) // 4)))
    [2, 4]
    """
    for atoms, _ in _terms(size):
        for atom in atoms:
            if isinstance(atom, Quotient):
                yield from (atom.denominator * inner for inner in (1, *denominators(atom.numerator)))
            elif isinstance(atom, Expression):
                yield from denominators(atom)


def valued(size: Dim, numbers: Mapping[str, int]) -> Coefficient | None:
    """Return a size for numbers in the place of its names, ``None`` if they do not tell it.

    Examples
    --------
    >>> valued((symbol("H") - 1) // 2 + 1, {"H": 8})
    4
    """
    total: Coefficient = 0
    for atoms, coefficient in _terms(size):
        for atom in atoms:
            factor = numbers.get(atom) if isinstance(atom, str) else None
            if isinstance(atom, Quotient | Expression):
                factor = valued(_inside(atom), numbers)  # type: ignore[assignment]
                if factor is not None and isinstance(atom, Quotient):
                    factor //= atom.denominator
            elif isinstance(atom, Unknown) and atom.value is not None:
                factor = atom.value(numbers)
            if factor is None:
                return None
            coefficient = coefficient * factor
        total += coefficient
    return total


def least_number(size: Dim, name: str, least: int, most: int) -> int | None:
    """Return from which number for its one name on a size is at least ``least``, and below which it never is.

    ``None`` if there is no such number up to ``most``, or none is found.

    Examples
    --------
    >>> least_number((symbol("H") - 1) // 2 // 7 + 2, "H", 6, 1000)
    57
    """
    below = _line(size, low=True) - least
    if isinstance(below, int | Fraction):
        return None
    slope = sum(Fraction(coefficient) for atoms, coefficient in below.terms if atoms == (name,))
    start = sum(Fraction(coefficient) for atoms, coefficient in below.terms if not atoms)
    if slope <= 0 or any(atoms not in ((name,), ()) for atoms, _ in below.terms):
        return None
    end = max(ceil(-start / slope), 1)  # from here on the line says that it is
    if end > most:
        return None
    enough = [(number := valued(size, {name: n})) is not None and number >= least for n in range(1, end)]
    first = enough.index(True) + 1 if True in enough else end
    return first if all(enough[first - 1 :]) else None


def _inside(atom: Quotient | Expression) -> Expression:
    return atom.numerator if isinstance(atom, Quotient) else atom


def truncated_quotient(a: Dim, b: int) -> Dim:
    """Return ``a / b`` rounded towards zero, as integers divide in most formats; ``b`` is not 0."""
    if isinstance(a, int):
        return a // b if (a >= 0) == (b > 0) else -(-a // b)
    ends = bounds(a)
    if b < 0:
        return truncated_quotient(-a, -b)
    if ends.least is not None and ends.least >= 0:
        return a // b
    if ends.greatest is not None and ends.greatest <= 0:
        return -(-a // b)
    least = None if ends.least is None else -floor(-Fraction(ends.least) / b)
    return unknown(f"({a})/{b} rounded towards 0", least)


def product(sizes: Iterable[Dim]) -> Dim:
    """Return the product of sizes."""
    result: Dim = 1
    for size in sizes:
        result = result * size
    return result


def exact_quotient(whole: Dim, part: Dim) -> Dim | None:
    """Return ``q`` with ``whole == q * part``, ``None`` if none is found.

    A size is taken to be divisible where a model splits it so: ``H`` by ``H//7`` is 7. Other than that ``q`` is whole.

    Examples
    --------
    >>> height, width = symbol("H"), symbol("W")
    >>> str(exact_quotient(6 * height * width, 2 * width))
    '3*H'
    >>> exact_quotient(height, height // 7)
    7
    """
    exact = _ratio(whole, part)
    if exact is not None or isinstance(whole, int) or isinstance(part, int):
        return exact
    over, under = _as_quotient(whole), _as_quotient(part)
    if over is not None and under is not None and over.numerator == under.numerator:
        times, rest = divmod(under.denominator, over.denominator)
        return None if rest else times
    divisors, b = part._as_term()
    if len(divisors) == 1 and b == 1 and isinstance(divisors[0], Quotient):
        split = exact_quotient(whole, divisors[0].numerator)
        return None if split is None else split * divisors[0].denominator
    return None


def _ratio(whole: Dim, part: Dim) -> Dim | None:
    """Return ``q`` with ``whole == q * part`` whatever the sizes are, ``None`` if none is found."""
    if whole == part:
        return 1
    if isinstance(part, int):
        if isinstance(whole, int):
            return whole // part if part and not whole % part else None
        scaled = whole * Fraction(1, part) if part else whole
        return scaled if part and _integral(scaled) else None
    if isinstance(whole, int):
        return None
    times = Fraction(whole.terms[0][1]) / part.terms[0][1]
    if times.denominator == 1 and whole == part * times:
        return int(times)
    (atoms, a), (divisors, b) = whole._as_term(), part._as_term()
    left = list(atoms)
    for atom in divisors:
        if atom not in left:
            break
        left.remove(atom)
    else:
        quotient = _sum([(tuple(left), Fraction(a) / b)])
        return quotient if _integral(quotient) else None
    return None


def _as_quotient(size: Expression) -> Quotient | None:
    """Return a sum of a quotient and whole terms as one quotient, ``None`` if it is none."""
    if not _integral(size):
        return None
    for term in size.terms:
        atom = term[0][0] if len(term[0]) == 1 else None
        if isinstance(atom, Quotient) and term[1] == 1:
            rest = _sum([other for other in size.terms if other is not term])
            numerator = atom.numerator + rest * atom.denominator
            return Quotient(numerator, atom.denominator) if isinstance(numerator, Expression) else None
    return None


def _integral(size: Dim) -> bool:
    return isinstance(size, int) or all(coefficient.denominator == 1 for _, coefficient in size.terms)


def _terms(size: Dim | Fraction) -> tuple[tuple[Monomial, Coefficient], ...]:
    return size.terms if isinstance(size, Expression) else (((), size),)


def _depth_and_weight(terms: Iterable[tuple[Monomial, Coefficient]]) -> tuple[int, int]:
    depth, weight = 0, 0
    for atoms, _ in terms:
        weight += max(len(atoms), 1)
        for atom in atoms:
            inner = atom.numerator if isinstance(atom, Quotient) else atom
            if isinstance(inner, Expression):
                depth = max(depth, inner.depth + 1)
                weight += inner.weight
    return depth, weight


def _sum(terms: Iterable[tuple[Monomial, Coefficient]]) -> Dim:
    total: dict[Monomial, Coefficient] = {}
    for atoms, coefficient in terms:
        total[atoms] = total.get(atoms, 0) + coefficient
    return _made(total)


def _made(total: Mapping[Monomial, Coefficient]) -> Dim:
    kept = sorted(((atoms, c) for atoms, c in total.items() if c), key=lambda term: (not term[0], str(term[0])))
    whole = tuple((atoms, c.numerator if c.denominator == 1 else c) for atoms, c in kept)
    if not whole:
        return 0
    if len(whole) == 1 and not whole[0][0] and isinstance(whole[0][1], int):
        return whole[0][1]
    if len(whole) == 1 and len(whole[0][0]) == 1 and isinstance(factor := whole[0][0][0], Expression):
        return factor * whole[0][1]
    depth, weight = _depth_and_weight(whole)
    bits = max(max(c.numerator.bit_length(), c.denominator.bit_length()) for _, c in whole)
    if depth > MAX_DEPTH or len(whole) > MAX_TERMS or weight > MAX_WEIGHT or bits > MAX_BITS:
        denominator = lcm(*(c.denominator for _, c in whole)) if bits <= MAX_BITS else 1
        least = _by_term(whole).times(denominator).least if bits <= MAX_BITS else None
        name = unknown(str(Expression(whole)), None if least is None else floor(least))
        return name if denominator == 1 else Expression(((name.terms[0][0], Fraction(1, denominator)),))
    return Expression(whole, depth, weight)


def _floored(size: Dim) -> Dim:
    """Return ``size`` rounded down: whole terms leave the quotient, the others share one denominator."""
    if isinstance(size, int):
        return size
    whole = [term for term in size.terms if term[1].denominator == 1 and term[0]]
    rest = [term for term in size.terms if term[1].denominator != 1 or not term[0]]
    constant = floor(sum(coefficient for atoms, coefficient in rest if not atoms))
    if constant:  # of the constant only what is less than 1 stays, so that equal quotients look alike
        return _sum([((), constant), *_terms(_floored(size - constant))])
    fractions = _sum(rest)
    if isinstance(fractions, int) or _integral(fractions):
        return _sum([*whole, *_terms(fractions)])
    denominator = lcm(*(coefficient.denominator for _, coefficient in fractions.terms))
    numerator = fractions * denominator
    if isinstance(numerator, int):
        return _sum([*whole, ((), numerator // denominator)])
    inner = _as_quotient(numerator)
    if inner is not None:  # a quotient of a quotient is one: all else in it is whole
        flat = _floored(inner.numerator * Fraction(1, inner.denominator * denominator))
        return _sum([*whole, *_terms(flat)])
    return _sum([*whole, ((Quotient(numerator, denominator),), 1)])
