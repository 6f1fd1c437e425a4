"""Results as plain data: dicts and lists of numbers, text and ``None``, that any program can use."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from rfgraph.algebra.residues import BySize
from rfgraph.algebra.window import Number, Window
from rfgraph.questions.findings import Finding
from rfgraph.questions.layers import Layer

#: The field of a layer along one axis, by residue of the input size where that decides.
Field = Window | BySize

#: Headings of the numbers of a field, and the attributes of ``Window`` that hold them.
NUMBERS = {"r": "size", "S": "stride", "P": "padding", "start": "start"}

#: What layers hold and take: attributes of ``Layer``, and their headings.
COSTS = {"channels": "channels", "parameters": "parameters", "macs": "MACs"}


def exact(value: Number | None) -> int | str | None:
    """Return a number for programs: an int, or a fraction as a string.

    Examples
    --------
    >>> from fractions import Fraction
    >>> exact(7), exact(Fraction(1, 2)), exact(None)
    (7, '1/2', None)
    """
    if value is None or value.denominator != 1:
        return None if value is None else f"{value.numerator}/{value.denominator}"
    return value.numerator


def told(thing: object, *names: str) -> dict[str, Any]:
    """Return attributes of an object for programs, by their names: numbers are ``exact``, lists of lists.

    Examples
    --------
    >>> told(Window(3, 2, 1), "size", "stride", "status")
    {'size': 3, 'stride': 2, 'status': 'exact'}
    """
    return {name: _plain(getattr(thing, name)) for name in names}


def _plain(value: Any) -> Any:
    if isinstance(value, (tuple, list)):
        return [_plain(entry) for entry in value]
    if isinstance(value, Fraction):
        return exact(value)
    return value.tolist() if hasattr(value, "tolist") else value


def fields_of(layer: Layer) -> list[Field]:
    """Return the field of a layer along each axis."""
    tables = layer.by_size or (None,) * len(layer.field)
    return [window if table is None else table for window, table in zip(layer.field, tables, strict=True)]


def values_of(field: Field, name: str) -> list[Number]:
    """Return what a number of a field is at some input size or other, in order; nothing where it has none."""
    if isinstance(field, Window):
        return [getattr(field, name)] if field.is_local else []
    return sorted({getattr(window, name) for window in field.fields if window.is_local})


def value_of(field: Field, name: str) -> Number | None:
    """Return a number of a field if it has one and the input size does not matter to it."""
    values = values_of(field, name)
    if len(values) != 1 or (not isinstance(field, Window) and any(window.is_unknown for window in field.fields)):
        return None
    return values[0]


def layer_document(layer: Layer) -> dict[str, Any]:
    """Return a layer for programs; a field that reads the whole axis has no size but says ``global``."""
    fields = []
    columns = zip(layer.axes, layer.map_size, fields_of(layer), layer.is_global, layer.side, strict=True)
    for axis, size, field, whole, side in columns:
        told = {"global": whole, "side": side or None}
        fields.append({"axis": axis, "map_size": size, **field_document(field), **told})
    return {
        "name": str(layer.name),
        "op": layer.op,
        "location": layer.location,
        "fields": fields,
        **{name: getattr(layer, name) for name in COSTS},
        "status": layer.status,
        "why": layer.why,
    }


def field_document(field: Field) -> dict[str, Any]:
    """Return a field for programs; under ``by_size`` stands the window of each residue of the input size."""
    if isinstance(field, Window):
        return {**window_document(field), "by_size": None}
    windows = [None if window.is_unknown else window_document(window) for window in field.windows]
    states = {window.status for window in field.fields}
    return {
        **{name: exact(value_of(field, name)) for name in _WINDOW_NUMBERS},
        "status": next((state for state in ("unknown", "bound") if state in states), "exact"),
        "by_size": {"modulus": field.modulus, "smallest": field.smallest, "windows": windows},
    }


#: What a window is for programs, and the attributes of ``Window`` that hold it.
_WINDOW_NUMBERS = ("size", "stride", "padding", "center", "start", "period")


def window_document(window: Window) -> dict[str, Any]:
    """Return a window for programs: output ``y`` reads ``intervals[y % period]``, moved by ``step * (y // period)``.

    The size is that of the phase that reads widest, padding, centre and start are those of output 0. An interval is
    ``None`` where a phase reads nothing, and an end of it where that is the end of the axis.
    """
    phases = range(window.period) if window.is_local or window.side in ("past", "future") else ()
    intervals = [None if (ends := window.ends(y)) is None else list(ends) for y in phases]
    return {
        **{name: exact(getattr(window, name)) if window.is_local else None for name in _WINDOW_NUMBERS},
        "step": window.step if phases else None,
        "intervals": intervals or None,
        "status": window.status,
    }


def layer_record(layer: Layer) -> dict[str, Any]:
    """Return a layer as one flat row: numbers are exact, and ``None`` where they are not known or depend on the size.

    Headings are those of the article: ``n`` is the size of the map, ``r`` that of the field, ``S`` and ``P`` its
    effective stride and padding, one of each per axis.
    """
    fields = dict(zip(layer.axes, fields_of(layer), strict=True))
    row: dict[str, Any] = {"layer": layer.name, "op": layer.op}
    row |= {f"n_{axis}": size for axis, size in zip(layer.axes, layer.map_size, strict=True)}
    row |= {f"{name}_{axis}": value_of(fields[axis], held) for name, held in NUMBERS.items() for axis in layer.axes}
    row |= {f"global_{axis}": whole for axis, whole in zip(layer.axes, layer.is_global, strict=True)}
    row |= {name: getattr(layer, name) for name in COSTS}
    return row | {"status": layer.status, "why": layer.why, "location": layer.location}


def finding_document(finding: Finding) -> dict[str, Any]:
    """Return what all findings have."""
    more = told(finding, "location", "axes", "message", "advice")
    return {**told(finding, "rule", "title", "severity"), "node": str(finding.node), **more}
