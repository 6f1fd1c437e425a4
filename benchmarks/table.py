"""The figures as one table: for the terminal, or as Markdown."""

from __future__ import annotations

from dataclasses import dataclass

from rich.table import Table

from benchmarks.measure import Timing

COLUMNS = (
    "network",
    "nodes",
    "edges",
    "pass",
    "time",
    "x topological_sort",
    "range",
    "ns/(node+edge)",
    "growth",
    "peak MiB",
    "B/(node+edge)",
)


@dataclass(frozen=True)
class Row:
    """One pass over one graph."""

    network: str
    nodes: int
    edges: int
    work: str
    timing: Timing
    #: Cost per node and edge, relative to that on the smallest graph of the kind: 1 is linear.
    growth: float
    peak_bytes: int | None

    @property
    def nanoseconds(self) -> float:
        """Cost per node and edge."""
        return self.timing.typical * 1e9 / (self.nodes + self.edges)

    def cells(self) -> tuple[str, ...]:
        """Return what stands in ``COLUMNS``."""
        ratios = self.timing.ratios
        memory = ("", "")
        if self.peak_bytes is not None:
            each = self.peak_bytes / (self.nodes + self.edges)
            memory = (f"{self.peak_bytes / 2**20:,.1f}", f"{each:,.0f}")
        return (
            self.network,
            f"{self.nodes:,}",
            f"{self.edges:,}",
            self.work,
            _time(self.timing.typical),
            f"{self.timing.ratio:.2f}",
            "" if len(set(ratios)) == 1 else f"{min(ratios):.2f} - {max(ratios):.2f}",
            f"{self.nanoseconds:,.0f}",
            f"{self.growth:.2f}",
            *memory,
        )


def _time(seconds: float) -> str:
    return f"{seconds * 1e3:,.2f} ms" if seconds < 1 else f"{seconds:,.2f} s"


def rich_table(rows: list[Row]) -> Table:
    """Return the table for a terminal, with a rule between graphs."""
    table = Table()
    for column in COLUMNS:
        table.add_column(column, justify="left" if column in ("network", "pass") else "right", no_wrap=True)
    for row, following in zip(rows, [*rows[1:], None], strict=True):
        last = following is None or (following.network, following.nodes) != (row.network, row.nodes)
        table.add_row(*row.cells(), end_section=last)
    return table


def markdown_table(rows: list[Row]) -> str:
    """Return the table in Markdown."""
    rule = [":---" if column in ("network", "pass") else "---:" for column in COLUMNS]
    lines = [COLUMNS, rule, *(row.cells() for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
