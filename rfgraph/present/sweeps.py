"""What ``sweep`` shows: the designs that were kept, one row each, and how many others there were."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from rfgraph.frozen import dataclass
from rfgraph.present.layers import cost_text
from rfgraph.present.rows import Column, Document, Records, Sheet, across, counted, digits, envelope, number, truth
from rfgraph.questions.records import exact

if TYPE_CHECKING:
    from rfgraph.sweeps import Sweep

#: Designs that people are shown; programs get all.
_SHOWN = 20


@dataclass(frozen=True)
class _Row:
    """One design at one node."""

    position: int
    options: dict[str, Any]
    node: str
    #: Per axis; ``None`` where it is not known.
    size: tuple[Any, ...]
    stride: tuple[Any, ...]
    padding: tuple[Any, ...]
    map_size: tuple[Any, ...]
    is_global: tuple[bool, ...]
    status: str
    aligned: bool | None
    parameters: int | None
    macs: int | None


@dataclass(frozen=True)
class SweepView:
    """A sweep.

    Parameters
    ----------
    folder
        Where they are stored, if they are.
    """

    sweep: Sweep
    name: str
    folder: str | None = None

    def _rows(self, most: int | None = None) -> Iterator[_Row]:
        sweep, given = self.sweep, 0
        for columns in sweep.chunks():
            listed = {name: column.tolist() for name, column in _first(columns, most, given).items()}
            for row, position in enumerate(listed["position"]):
                options = sweep.options_at(position)
                for k, node in enumerate(sweep.nodes):
                    status = sweep.status_name(listed["status"][row][k])
                    known = status in ("exact", "bound")
                    sizes, paddings = listed["r"][row][k], listed["P"][row][k]
                    yield _Row(
                        position,
                        options,
                        str(node),
                        tuple(size or None for size in sizes),
                        tuple(stride or None for stride in listed["S"][row][k]),
                        tuple(p if size and known else None for size, p in zip(sizes, paddings, strict=True)),
                        tuple(size or None for size in listed["map_size"][row][k]),
                        tuple(listed["is_global"][row][k]),
                        status,
                        {1: True, 0: False}.get(listed["aligned"][row]),
                        *(None if listed[name][row] < 0 else listed[name][row] for name in ("parameters", "macs")),
                    )
                given += 1
            if most is not None and given >= most:
                return

    def sheet(self) -> Sheet:
        """Return it for people."""
        rows = list(self._rows(_SHOWN))
        several = len(self.sweep.nodes) > 1
        costs = [name for name in ("parameters", "macs") if any(getattr(row, name) is not None for row in rows)]
        sized = any(size is not None for row in rows for size in row.map_size)
        columns = (
            Column("design", "right"),
            *(Column(key, "right") for key in self.sweep.choices),
            *([Column("node")] if several else []),
            *([Column("n", "right")] if sized else []),
            *(Column(heading, "right") for heading in ("r", "S", "P")),
            Column("aligned"),
            *(Column(name, "right") for name in costs),
        )
        cells = [
            (
                number(row.position),
                *(_option(row.options.get(key, "")) for key in self.sweep.choices),
                *([row.node] if several else []),
                *([_across(row, row.map_size)] if sized else []),
                *(_across(row, numbers) for numbers in (row.size, row.stride, row.padding)),
                {True: "yes", False: "no", None: "?"}[row.aligned],
                *(cost_text(getattr(row, name)) for name in costs),
            )
            for row in rows
        ]
        return Sheet(self._title, columns, cells, tuple(self._notes(len({row.position for row in rows}))))

    @property
    def _title(self) -> str:
        counts = self.sweep.counts
        of = f" of {self.sweep.total:,}" if counts.seen < self.sweep.total else ""
        return f"{self.sweep.name or self.name}: {counts.kept:,} of {counts.seen:,} designs looked at{of} fit"

    def _notes(self, shown: int) -> Iterator[str]:
        sweep, counts = self.sweep, self.sweep.counts
        if shown < counts.kept:
            stored = f"; all are in {self.folder}" if self.folder else ""
            yield f"the first {shown:,} of {counts.kept:,} are shown{stored}"
        if counts.fail:
            failing = counted(counts.fail, "design")
            yield f"{failing} cannot work: maps that meet differ in size, or one is shrunk to nothing"
        if sweep.why_not:
            yield f"each design was analysed on its own, which is slow: {sweep.why_not}"
        elif counts.alone:
            yield f"{counted(counts.alone, 'design')} had to be analysed alone"
        for name, layers in sweep.costs_unknown.items():
            yield f"{name} are not known, for want of those of {layers[0]!r}"

    def records(self) -> Records:
        """Return it for spreadsheets."""
        axes = self.sweep.axes
        header = (
            *("design", *self.sweep.choices, "node"),
            *(f"{name}_{axis}" for name in ("r", "S", "P", "map_size", "global") for axis in axes),
            *("status", "aligned", "parameters", "macs"),
        )
        rows = [
            (
                *(digits(row.position), *(_option(row.options.get(key, "")) for key in self.sweep.choices), row.node),
                *(digits(n) for numbers in (row.size, row.stride, row.padding, row.map_size) for n in numbers),
                *map(truth, row.is_global),
                *(row.status, "" if row.aligned is None else truth(row.aligned)),
                *(digits(row.parameters), digits(row.macs)),
            )
            for row in self._rows()
        ]
        return Records(header, rows)

    def document(self) -> Document:
        """Return it for programs."""
        sweep, counts = self.sweep, self.sweep.counts
        designs: dict[int, Document] = {}
        for row in self._rows():
            design = designs.setdefault(
                row.position,
                {
                    "design": row.position,
                    "options": {key: _plain(value) for key, value in row.options.items()},
                    "aligned": row.aligned,
                    "parameters": row.parameters,
                    "macs": row.macs,
                    "nodes": {},
                },
            )
            design["nodes"][row.node] = {
                "size": list(map(exact, row.size)),
                "stride": list(map(exact, row.stride)),
                "padding": list(map(exact, row.padding)),
                "map_size": list(row.map_size),
                "global": list(row.is_global),
                "status": row.status,
            }
        return {
            **envelope("sweep", self.name),
            "name": sweep.name or self.name,
            "axes": list(sweep.axes),
            "choices": list(sweep.choices),
            "total": sweep.total,
            "counts": {"seen": counts.seen, "kept": counts.kept, "alone": counts.alone, "fail": counts.fail},
            "why_not_vectorised": sweep.why_not,
            "designs": list(designs.values()),
        }


def _first(columns: dict[str, Any], most: int | None, given: int) -> dict[str, Any]:
    return columns if most is None else {name: column[: most - given] for name, column in columns.items()}


def _across(row: _Row, numbers: tuple[Any, ...]) -> str:
    if row.status == "fails":
        return "fails"
    texts = []
    for size, value, is_global in zip(row.size, numbers, row.is_global, strict=True):
        text = "?" if value is None else number(value)
        texts.append("global" if value is None and is_global and size is None else text)
    return across(texts)


def _option(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return "x".join(map(str, value)) if all(isinstance(v, int) for v in value) else str(list(value))
    return str(value)


def _plain(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    return value if isinstance(value, (int, float, str, bool, type(None))) else str(value)
