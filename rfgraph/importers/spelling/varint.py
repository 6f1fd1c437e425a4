"""Whole numbers as protocol buffers write them: seven bits a byte, the lowest first.

References
----------
Protocol Buffers, Encoding. https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

from collections.abc import Callable

#: Longer numbers are none: eight bytes of contents take ten.
_BITS = 70


def decoded(byte: Callable[[int], int], at: int, end: int) -> tuple[int, int]:
    """Return the number that begins at a place, and where it ends.

    Parameters
    ----------
    byte
        Returns the byte at a place.
    at, end
        Where the number begins, and where its message ends.

    Raises
    ------
    ValueError
        If it has no end there.

    Examples
    --------
    >>> decoded(b"\\xac\\x02".__getitem__, 0, 2)
    (300, 2)
    """
    number = 0
    for shift in range(0, _BITS, 7):
        if at >= end:
            break
        part = byte(at)
        at += 1
        number |= (part & 127) << shift
        if part < 128:
            return number, at
    raise ValueError("a number without end")


def encoded(number: int) -> bytes:
    """Return a number from 0 up as seven bits a byte.

    Examples
    --------
    >>> encoded(300)
    b'\\xac\\x02'
    """
    parts = bytearray()
    while number > 127:
        parts.append(number & 127 | 128)
        number >>= 7
    parts.append(number)
    return bytes(parts)
