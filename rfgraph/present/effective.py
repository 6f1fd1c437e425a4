"""What is shown of effective fields: how far gradients are spread, as a column of ``summary``."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING

from rfgraph.present.layers import NAMED
from rfgraph.present.rows import Document, Records, across, counted
from rfgraph.questions.layers import Layer

if TYPE_CHECKING:  # numpy is imported when it is asked for
    from rfgraph.questions.effective import EffectiveSize


def decimal(value: float) -> str:
    """Return a float for people.

    Examples
    --------
    >>> decimal(3.65148), decimal(1234.5678), decimal(0.0)
    ('3.651', '1235', '0')
    """
    return f"{value:.4g}" if abs(value) < 1000 else f"{value:.0f}"


def size_texts(layers: Sequence[Layer], sizes: Mapping[Hashable, EffectiveSize]) -> list[str]:
    """Return for people the standard deviation of each layer's effective field, ``~`` where it is approximate."""
    texts = []
    for layer in layers:
        size = sizes.get(layer.name)
        if size is None or size.std is None:
            texts.append("-" if size is None or size.status != "unknown" else "?")
        else:
            texts.append(("~" if size.status == "approximate" else "") + across([decimal(std) for std in size.std]))
    return texts


def size_lines_of(layers: Sequence[Layer], sizes: Mapping[Hashable, EffectiveSize]) -> list[str]:
    """Return what a column of effective sizes means, and why some are not exact."""
    lines = ["effective: standard deviation of E[g^2], g the gradient at random weights, in pixels; without borders"]
    reasons: dict[tuple[str, str], list[Hashable]] = {}
    for layer in layers:
        size = sizes.get(layer.name)
        if size is not None and size.why:
            reasons.setdefault((size.status, size.why), []).append(layer.name)
    for (status, why), names in list(reasons.items())[:NAMED]:
        others = f" and {counted(len(names) - 1, 'layer')} after it" if len(names) > 1 else ""
        mark = "effective ~ approximate" if status == "approximate" else "effective ? not known"
        lines.append(f"{mark} at {names[0]!r}{others}: {why}")
    return lines


def with_sizes(
    records: Records, layers: Sequence[Layer], axes: Sequence[str], sizes: Mapping[Hashable, EffectiveSize]
) -> Records:
    """Return a table of layers for spreadsheets with columns for their effective sizes."""
    numbers = (f"effective_{name}_{axis}" for name in ("mean", "std") for axis in axes)
    header = (*records.header, "effective_mass", *numbers, "effective_status", "effective_why")
    rows = []
    for layer, row in zip(layers, records.rows, strict=True):
        size = sizes.get(layer.name)
        if size is None or size.mass is None or size.mean is None or size.std is None:
            cells = ["", *("" for _ in range(2 * len(axes)))]
        else:
            cells = [repr(value) for value in chain((size.mass,), size.mean, size.std)]
        rows.append((*row, *cells, *(("", "") if size is None else (size.status, size.why))))
    return Records(header, rows)


def size_document(size: EffectiveSize | None) -> Document | None:
    """Return an effective size for programs, ``None`` for a layer that has none."""
    if size is None:
        return None
    known = size.mass is not None and size.mass != float("inf")
    return {
        "measure": "E[g^2]",
        "mass": size.mass if known else None,
        "mean": None if size.mean is None else list(size.mean),
        "std": None if size.std is None else list(size.std),
        "phases": list(size.phases),
        "status": size.status,
        "why": size.why,
    }
