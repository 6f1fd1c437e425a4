"""Sizes of tensor dimensions: integers, and exact expressions over sizes that only the running model knows.

A symbolic size is a sum of terms; a term is a coefficient times a product of *atoms*. An atom is a name, a floored
quotient, or a whole sum that stands as a factor of a product. So ``2*H == H + H``, ``(H - 2)*W / W == H - 2`` and
``14*H // 7 == 2*H`` are found, which is what following a reshape needs; nothing here simplifies further than that.
Every size is taken to be positive, as the sizes of tensors that exist are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import lcm
from typing import TypeAlias, Union
from zlib import crc32

Coefficient = int | Fraction

#: Quotients nested deeper than this become plain names: a bound on the work that a hostile file can ask for.
MAX_DEPTH = 12
#: Sums of more terms than this are not divided further, for the same reason.
MAX_TERMS = 32


@dataclass(frozen=True, slots=True)
class Quotient:
    """``numerator // denominator``, rounded down."""

    numerator: Expression
    denominator: int

    def __str__(self) -> str:
        return f"({self.numerator})//{self.denominator}"


Atom: TypeAlias = Union[str, Quotient, "Expression"]
Monomial = tuple[Atom, ...]


@dataclass(frozen=True, slots=True)
class Expression:
    """A size that is not known, as a sum of ``coefficient * product of atoms``; build one with ``symbol``.

    Examples
    --------
    >>> height = symbol("H")
    >>> str((height + 2 * 1 - 3) // 2 + 1)
    '(H - 1)//2 + 1'
    >>> 2 * height == height + height
    True
    """

    terms: tuple[tuple[Monomial, Coefficient], ...]
    depth: int = 0

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
            return _sum([(atoms, coefficient * other) for atoms, coefficient in self.terms])
        (left, a), (right, b) = self._as_term(), other._as_term()
        return _sum([(tuple(sorted((*left, *right), key=str)), a * b)])

    __rmul__ = __mul__

    def __floordiv__(self, other: Dim | Fraction) -> Dim:
        if isinstance(other, Expression):
            exact = exact_quotient(self, other)
            return exact if exact is not None else unknown(f"({self})//({other})")
        return _floored(self * (1 / Fraction(other)))

    def __truediv__(self, other: Coefficient) -> Dim:
        return self * (1 / Fraction(other))

    def __floor__(self) -> Dim:
        return _floored(self)

    def __ceil__(self) -> Dim:
        return -_floored(-self)

    def _as_term(self) -> tuple[Monomial, Coefficient]:
        return self.terms[0] if len(self.terms) == 1 else ((self,), 1)

    @property
    def positive(self) -> bool:
        """Whether it is certainly above zero."""
        return all(coefficient > 0 for _, coefficient in self.terms)

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


def unknown(name: str) -> Expression:
    """Return a size that is only known by how it came about; long descriptions are cut."""
    return symbol(name if len(name) <= 80 else f"{name[:60]}...#{crc32(name.encode()):08x}")


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
    if len(divisors) == 1 and b == 1 and isinstance(divisors[0], Quotient):
        split = exact_quotient(whole, divisors[0].numerator)
        return None if split is None else split * divisors[0].denominator
    return None


def _integral(size: Dim) -> bool:
    return isinstance(size, int) or all(coefficient.denominator == 1 for _, coefficient in size.terms)


def _terms(size: Dim | Fraction) -> tuple[tuple[Monomial, Coefficient], ...]:
    return size.terms if isinstance(size, Expression) else (((), size),)


def _depth(terms: Iterable[tuple[Monomial, Coefficient]]) -> int:
    depth = 0
    for atoms, _ in terms:
        for atom in atoms:
            if isinstance(atom, Quotient):
                depth = max(depth, atom.numerator.depth + 1)
            elif isinstance(atom, Expression):
                depth = max(depth, atom.depth + 1)
    return depth


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
    if len(whole) == 1 and whole[0][1] == 1 and len(whole[0][0]) == 1 and isinstance(whole[0][0][0], Expression):
        return whole[0][0][0]
    depth = _depth(whole)
    if depth > MAX_DEPTH or len(whole) > MAX_TERMS:
        return unknown(str(Expression(whole)))
    return Expression(whole, depth)


def _floored(size: Dim) -> Dim:
    """Return ``size`` rounded down: whole terms leave the quotient, the others share one denominator."""
    if isinstance(size, int):
        return size
    whole = [term for term in size.terms if term[1].denominator == 1 and term[0]]
    rest = [term for term in size.terms if term[1].denominator != 1 or not term[0]]
    fractions = _sum(rest)
    if isinstance(fractions, int) or _integral(fractions):
        return _sum([*whole, *_terms(fractions)])
    denominator = lcm(*(coefficient.denominator for _, coefficient in fractions.terms))
    numerator = fractions * denominator
    if isinstance(numerator, int):
        return _sum([*whole, ((), numerator // denominator)])
    return _sum([*whole, ((Quotient(numerator, denominator),), 1)])
