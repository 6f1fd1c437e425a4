"""Results as plain records, and the one place where their numbers become text.

A view is shown three ways: a ``Sheet`` for people (table, Markdown), ``Records`` for spreadsheets (CSV), and a document
of plain dicts and lists for programs (JSON). People read decimals and one number where all axes agree; programs get
every axis and exact fractions.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import floor, log10
from typing import Any, Literal, Protocol

from rfgraph.algebra.window import Number
from rfgraph.frozen import dataclass
from rfgraph.version import __version__

#: Version of the JSON documents: raised when a key changes its meaning or goes, not when one is added.
SCHEMA_VERSION = 2

Document = dict[str, Any]


def envelope(
    command: str,
    model: str | None = None,
    inputs: Sequence[Document] = (),
    source: str | None = None,
    input_size: Sequence[int | None] | None = None,
) -> Document:
    """Return what the document of every command begins with; what a command has none of is ``None``.

    The JSON Schema of all documents is ``schema.json`` beside this module.
    """
    return {
        "schema_version": SCHEMA_VERSION,
        "tool": {"name": "rfgraph", "version": __version__},
        "command": command,
        "model": model,
        "inputs": list(inputs),
        "source": source,
        "input_size": None if input_size is None else list(input_size),
    }


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a sheet."""

    heading: str
    align: Literal["left", "right"] = "left"
    #: Where a terminal has no room, columns are left out: those of the highest number first, those of 0 never.
    rank: int = 0
    #: Whether it holds names, which a terminal shortens in the middle.
    names: bool = False
    #: Whether it holds counts, of which a terminal shows three digits.
    counts: bool = False


@dataclass(frozen=True)
class Sheet:
    """A table for people: text in cells, and what is said above and below it."""

    title: str
    columns: tuple[Column, ...]
    rows: Sequence[tuple[str, ...]]
    notes: tuple[str, ...] = ()
    #: Whether a terminal shows each row as a paragraph, the first cell as its head and the second as a sentence.
    stacked: bool = False
    #: Lines that stand between rows and notes as they are.
    drawing: tuple[str, ...] = ()
    #: Rows that a terminal does not show, by their places.
    hidden: frozenset[int] = frozenset()
    #: What a terminal says below the table in place of ``notes``: as many to a line as fit.
    brief: tuple[str, ...] = ()
    #: Whether there are no empty lines around the table.
    dense: bool = False


@dataclass(frozen=True)
class Records:
    """A table for programs: one header, exact values."""

    header: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]


class View(Protocol):
    """What a command shows, in each of the three shapes."""

    def sheet(self) -> Sheet:
        """Return it for people."""

    def records(self) -> Records:
        """Return it for spreadsheets."""

    def document(self) -> Document:
        """Return it for programs."""


# Text


def printable(text: str) -> str:
    r"""Return ``text`` with everything that a terminal may obey written as an escape.

    Names come from files that anyone can send: control codes, line breaks and marks that reorder text stay visible.

    Examples
    --------
    >>> print(printable("conv\x1b[31m\n"))
    conv\x1b[31m\n
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def counted(count: int, noun: str) -> str:
    """Return a count with its noun, which takes an s.

    Examples
    --------
    >>> counted(1, "note"), counted(2, "note")
    ('1 note', '2 notes')
    """
    return f"{count} {noun}{'' if count == 1 else 's'}"


# Numbers

#: Integers of more bits than this are shown to people by their magnitude; programs get every digit.
_LONGEST = 132

_MILLION = 10**6


def number(value: Number) -> str:
    """Return a number for people: a decimal where six places hold it, else a fraction.

    Examples
    --------
    >>> from fractions import Fraction
    >>> number(483), number(Fraction(-7, 2)), number(Fraction(1, 3)), number(3**200)
    ('483', '-3.5', '1/3', '~2.66e+95')
    """
    numerator, denominator = value.numerator, value.denominator
    if max(abs(numerator), denominator).bit_length() > _LONGEST:
        return _magnitude(numerator, denominator)
    if denominator == 1:
        return str(numerator)
    if _MILLION % denominator:
        return f"{numerator}/{denominator}"
    whole, millionths = divmod(abs(numerator) * (_MILLION // denominator), _MILLION)
    return f"{'-' if numerator < 0 else ''}{whole}.{millionths:06d}".rstrip("0")


def _magnitude(numerator: int, denominator: int) -> str:
    log = _log10(abs(numerator)) - _log10(denominator)
    exponent = floor(log)
    return f"~{'-' if numerator < 0 else ''}{10 ** (log - exponent):.2f}e{exponent:+d}"


def _log10(value: int) -> float:
    excess = max(value.bit_length() - 64, 0)  # floats end at 1e308, strides need not
    return log10(value >> excess) + excess * log10(2)


def digits(value: Number | None) -> str:
    """Return an exact number as text, nothing for none; a fraction is a decimal where six places hold it.

    A spreadsheet would take 1/2 for a date.

    Examples
    --------
    >>> from fractions import Fraction
    >>> digits(Fraction(1, 2)), digits(Fraction(1, 3)), digits(None)
    ('0.5', '1/3', '')
    """
    if value is None:
        return ""
    return str(value.numerator) if value.denominator == 1 else number(value)


def across(texts: Sequence[str]) -> str:
    """Return one text for all axes: itself where they agree.

    Examples
    --------
    >>> across(["7", "7"]), across(["7", "11"]), across(["global", "1/3"]), across(["7", "1..2"])
    ('7', '7x11', 'global x 1/3', '7 x 1..2')
    """
    if all(text == texts[0] for text in texts):
        return texts[0]
    joined = "".join(texts)
    plain = "-" not in texts and ".." not in joined and set(joined) <= set("-.0123456789")
    return ("x" if plain else " x ").join(texts)


def truth(value: bool) -> str:
    """Return a truth value for programs that read text."""
    return "true" if value else "false"


def times(sizes: Iterable[int | None]) -> str:
    """Return the size of a map, all axes written out."""
    return "x".join("?" if size is None else number(size) for size in sizes)
