"""A merge whose branches do not line up: what both read, one below the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rfgraph.algebra.window import Window
from rfgraph.errors import AttributeValueError
from rfgraph.plot.canvas import BLUE, INK, QUIET, RED, axes_for, legend, matplotlib, named, plain, title
from rfgraph.present.rows import number
from rfgraph.questions.findings import Finding, named_axes
from rfgraph.questions.misalignment import Branch, Misalignment

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Outputs of the merge that are drawn by default, at most.
_OUTPUTS = 6


def alignment(finding: Finding, outputs: Sequence[int] | None = None, *, ax: Axes | None = None) -> Axes:
    """Draw what the two branches of a merge read, as bars over the pixels of the input, each with its centre.

    Parameters
    ----------
    finding
        A finding of two branches: RF001 to RF004.
    outputs
        Outputs of the merge to draw; by default the first three, or as many as it takes until phases repeat.
    ax
        Where to draw.

    Raises
    ------
    AttributeValueError
        If the finding is of no two branches, or their fields have no numbers.

    Examples
    --------
    >>> from rfgraph import Network, analyze
    >>> net = Network("block", axes=1)
    >>> x = net.input("x")
    >>> out = net.add("add", x, net.conv("conv", x, kernel=2))
    >>> ax = alignment(analyze(net).findings[0], outputs=[0])
    >>> [(bar.get_gid(), bar.get_x(), bar.get_width()) for bar in ax.patches]
    [('reference', -0.5, 2), ('branch', -0.5, 1)]
    """
    if not isinstance(finding, Misalignment):
        raise AttributeValueError(f"a finding {finding.rule} is of no two branches: only RF001 to RF004 are drawn")
    sides = (("reference", finding.reference, BLUE), ("branch", finding.branch, RED))
    for side, branch, _ in sides:
        if not branch.field.is_local:
            raise AttributeValueError(f"the field of the {side}, through {branch.tail!r}, has no numbers")
    periods = [branch.field.period for _, branch, _ in sides]
    shown = (
        list(range(min(max(3, *(period + 1 for period in periods)), _OUTPUTS))) if outputs is None else list(outputs)
    )
    ax = axes_for(ax, 7.2, 1.9 + 0.56 * len(shown))
    entries: dict[str, tuple[Any, str]] = {}
    for row, y in enumerate(shown):
        for place, (side, branch, colour) in enumerate(sides):
            ends = branch.field.interval(y)
            if ends is None:
                continue
            top = row + 0.4 * place - 0.38
            look = {"facecolor": colour, "alpha": 0.55, "edgecolor": colour, "gid": side}
            bar = matplotlib("patches").Rectangle((ends[0] - 0.5, top), ends[1] - ends[0] + 1, 0.36, **look)
            ax.add_patch(bar)
            center = (ends[0] + ends[1]) / 2
            ax.plot([center, center], [top, top + 0.36], color=INK, linewidth=1.6, gid=f"{side} centre")
            entries.setdefault(side, (bar, _told(side, branch)))
        _arrow(ax, finding, row, y)
    ax.autoscale_view()
    low, high = ax.get_xlim()
    ax.set_xlim(low, high + 0.02 * (high - low))
    ax.set_ylim(len(shown) - 0.4, -0.6)
    ax.set_yticks(range(len(shown)), [f"output {y}" for y in shown], fontsize=8.5)
    pixels = "the input" if finding.measured_at is None else named(finding.measured_at)
    ax.set_xlabel(f"positions of {pixels} along {named_axes(finding.axes)}", fontsize=9, parse_math=False)
    plain(ax)
    ax.tick_params(axis="y", length=0)
    line = matplotlib("lines").Line2D([], [], color=INK, linewidth=1.6)
    legend(ax, [*entries.values(), (line, "centre")], below=True)
    title(ax, f"{named(finding.merge)}: {finding.title} ({finding.rule})", _said(finding))
    return ax


def _arrow(ax: Axes, finding: Misalignment, row: int, y: int) -> None:
    """Draw from the centre of the reference to that of the branch, where they differ at this output."""
    start, end = (_center(branch.field, y) for branch in (finding.reference, finding.branch))
    if start is None or end is None or start == end:
        return
    ax.annotate(
        "", (end, row), (start, row), gid="offset", zorder=5,
        arrowprops={"arrowstyle": "-|>", "color": INK, "linewidth": 1.1, "shrinkA": 0, "shrinkB": 0},
    )  # fmt: skip
    at = max(_last(finding.reference.field, y), _last(finding.branch.field, y))
    ax.annotate(
        f"{end - start:+g}", (at + 0.5, row), (4, 0), textcoords="offset points", va="center", fontsize=8.5, color=QUIET
    )  # fmt: skip


def _center(field: Window, y: int) -> float | None:
    ends = field.interval(y)
    return None if ends is None else (ends[0] + ends[1]) / 2


def _last(field: Window, y: int) -> float:
    ends = field.interval(y)
    return float("-inf") if ends is None else ends[1]


def _told(side: str, branch: Branch) -> str:
    field = branch.field
    numbers = f"r {number(field.size)}, S {number(field.stride)}, P {number(field.padding)}"
    return f"{side}, through {named(branch.tail)}: {numbers}"


def _said(finding: Misalignment) -> str:
    """Return the offset in words."""
    if finding.drift is not None:
        return f"branches drift apart {finding.drift}"
    if not finding.offset:
        return "centres agree on average, not at each output; an arrow says how far they are apart"
    pixels = "input pixels" if finding.measured_at is None else f"positions of {named(finding.measured_at)}"
    offset, own = (f"{'+' if value > 0 else ''}{number(value)}" for value in (finding.offset, finding.offset_in_merge))
    return f"centres are off by {offset} {pixels}, {own} of the merge's own"
