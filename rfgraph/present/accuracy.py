"""What ``zoo --accuracy`` shows: published accuracy beside the size of receptive fields, and the line through them."""

from __future__ import annotations

from collections.abc import Sequence
from math import log10

from rfgraph.frozen import dataclass
from rfgraph.present.rows import Column, Document, Records, Sheet, counted, envelope


@dataclass(frozen=True)
class AccuracyRow:
    """A published network: its accuracy, and what it sees and costs at the size it was measured at."""

    model: str
    top1: float
    size: int
    macs: int
    input_size: int
    source: str
    #: Whether the article plots it.
    plotted: bool


@dataclass(frozen=True)
class Line:
    """The least-squares line ``top1 = at_1 + per_decade * log10(r)`` through some networks."""

    networks: int
    at_1: float
    per_decade: float
    r_squared: float


def line(rows: Sequence[AccuracyRow]) -> Line:
    """Return the line of least squares through accuracies over the logarithm of r."""
    xs, ys = [log10(row.size) for row in rows], [row.top1 for row in rows]
    x_mean, y_mean = sum(xs) / len(xs), sum(ys) / len(ys)
    xx = sum((x - x_mean) ** 2 for x in xs)
    yy = sum((y - y_mean) ** 2 for y in ys)
    xy = sum((x - x_mean) * (y - y_mean) for x, y in zip(xs, ys, strict=True))
    return Line(len(rows), y_mean - xy / xx * x_mean, xy / xx, xy**2 / (xx * yy))


@dataclass(frozen=True)
class Accuracies:
    """The networks of the zoo whose accuracy was published."""

    rows: Sequence[AccuracyRow]

    @property
    def lines(self) -> tuple[Line, Line]:
        """The line through what the article plots, and that without AlexNet."""
        plotted = [row for row in self.rows if row.plotted]
        return line(plotted), line([row for row in plotted if not row.model.startswith("alexnet")])

    @property
    def sources(self) -> list[str]:
        """The sources, in the order in which they are met."""
        return list(dict.fromkeys(row.source for row in self.rows))

    def sheet(self) -> Sheet:
        """Return it for people."""
        columns = (
            Column("model"), *(Column(name, "right") for name in ("top-1", "r", "GMACs", "input")), Column("source"),
        )  # fmt: skip
        rows = [
            (
                row.model + (" *" if row.plotted else ""), f"{row.top1:.1%}", str(row.size), f"{row.macs / 1e9:.2f}",
                str(row.input_size), f"[{self.sources.index(row.source) + 1}]",
            )
            for row in self.rows
        ]  # fmt: skip
        whole, without = self.lines
        notes = [f"[{number}] {source}" for number, source in enumerate(self.sources, start=1)]
        notes += [
            f"through the {counted(whole.networks, 'network')} that the article plots (*): {_said(whole)}; "
            f"doubling r goes with {100 * log10(2) * whole.per_decade:.0f} points",
            f"without AlexNet: {_said(without)}",
            "the article draws no line; that accuracy goes with r does not say that it comes from it",
        ]
        return Sheet("", columns, rows, tuple(notes))

    def records(self) -> Records:
        """Return it for spreadsheets."""
        header = ("model", "top1", "r", "macs", "input_size", "plotted", "source")
        rows = [
            (
                row.model, repr(row.top1), str(row.size), str(row.macs), str(row.input_size),
                "true" if row.plotted else "false", row.source,
            )
            for row in self.rows
        ]  # fmt: skip
        return Records(header, rows)

    def document(self) -> Document:
        """Return it for programs."""
        names = ("model", "top1", "size", "macs", "input_size", "plotted", "source")
        lines = [
            {"networks": fit.networks, "at_1": fit.at_1, "per_decade": fit.per_decade, "r_squared": fit.r_squared}
            for fit in self.lines
        ]
        return {
            **envelope("zoo"),
            "models": [{name: getattr(row, name) for name in names} for row in self.rows],
            "lines": dict(zip(("article", "without_alexnet"), lines, strict=True)),
        }


def published() -> Accuracies:
    """Return the networks of the zoo whose accuracy was published, each as it sees the images that it was tried on."""
    from rfgraph.analysis import analyze
    from rfgraph.models import ARTICLE, MODELS

    rows = []
    for model in MODELS.values():
        said = model.accuracy
        if said is None:
            continue
        report = analyze(model.build(), input_size=said.input_size)
        size = report[model.node].size[0]
        macs, plotted = report.macs.count, model.name in ARTICLE
        rows.append(AccuracyRow(model.name, float(said.top1), size, macs, said.input_size, said.source, plotted))
    return Accuracies(rows)


def _said(fit: Line) -> str:
    return f"top-1 = {fit.at_1:.3f} + {fit.per_decade:.3f} log10 r, R^2 {fit.r_squared:.2f}"
