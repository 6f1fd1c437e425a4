"""How the texts that options are given are read."""

from __future__ import annotations

import argparse
import re
from typing import Any

Size = tuple[str | None, int | tuple[int, ...]]


def natural(text: str) -> int:
    """Return a number from 0 up."""
    if not re.fullmatch(r"[0-9]{1,18}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 up")
    return int(text)


def entries(text: str) -> list[str]:
    """Return the entries of a list, as ``RF001,RF002``."""
    return [entry.strip() for entry in text.split(",")]


def size(text: str) -> Size:
    """Return the name of an input, if it is said, and its size, as ``224``, ``224x320`` or ``NAME=224``."""
    name, separator, stated = text.rpartition("=")
    stated = stated.strip("()[] ")
    if not re.fullmatch(r"[0-9]{1,18}([x,] ?[0-9]{1,18})*", stated):
        raise argparse.ArgumentTypeError(f"{text!r} is not a size; write 224, 224x320 or NAME=224")
    sizes = tuple(map(int, re.split("[x,]", stated)))
    if len(sizes) > 3:  # the full shape, as torchinfo takes it: with images, and channels first or last
        last = sizes[-1] <= 4 < sizes[1]
        sizes = sizes[1:-1] if last else sizes[2:]
    return name if separator else None, sizes if len(sizes) > 1 else sizes[0]


def pixels(text: str) -> int | tuple[int, ...]:
    """Return a size of no input in particular."""
    name, numbers = size(text)
    if name is not None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of pixels, as 512 or 512x256")
    return numbers


def axes(text: str) -> tuple[str | None, str]:
    """Return the name of an input, if it is said, and a letter for each of its dimensions."""
    name, separator, letters = text.rpartition(":")
    return name.strip() if separator else None, letters.strip()


def setting(text: str) -> tuple[str, Any]:
    """Return the name of an input and what it holds, as ``sr=16000``."""
    import json

    name, separator, value = text.rpartition("=")
    try:
        held = json.loads(value) if separator else None
    except (ValueError, RecursionError):
        held = None
    if held is None or isinstance(held, (str, dict)):
        raise argparse.ArgumentTypeError(f"{text!r} says of no input what it holds; write sr=16000, or sizes=[64,64]")
    return name, held


def treatment(text: str) -> tuple[str, str]:
    """Return a pattern of nodes, and how those that fit are treated."""
    pattern, separator, how = text.rpartition("=")
    if not separator:
        raise argparse.ArgumentTypeError(f"{text!r} is not a treatment; write PATTERN=identity, =global or =cut")
    return pattern, how


def index(text: str) -> tuple[int, ...]:
    """Return the index of a feature, one entry per axis."""
    if not re.fullmatch(r"-?[0-9]{1,18}(,-?[0-9]{1,18})*", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not an index; write one number per axis, as 3,5")
    return tuple(map(int, text.split(",")))


def weights(text: str) -> str | tuple[str, str | list[float]]:
    """Return the weights of all layers, or a pattern of layers and theirs: a word, or taps."""
    pattern, separator, said = text.rpartition("=")
    if not separator:
        return said
    try:
        return pattern, [float(tap) for tap in said.split(",")]
    except ValueError:
        return pattern, said
