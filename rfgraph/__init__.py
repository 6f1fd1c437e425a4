"""rfgraph: exact receptive fields of convolutional networks, and every merge whose paths do not line up."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rfgraph import plot as plot
    from rfgraph.algebra.closed_form import single_path
    from rfgraph.algebra.window import EMPTY, FULL, IDENTITY, Window
    from rfgraph.analysis import analyze, load, trace
    from rfgraph.comparison import Diff, LayerDiff, diff
    from rfgraph.errors import RFGraphError
    from rfgraph.fast.arrays import ArrayFields, solve_arrays
    from rfgraph.fast.numbers import Numbers
    from rfgraph.graph.costs import Total
    from rfgraph.graph.network import Network
    from rfgraph.measure import MeasuredField, Strongest, measure_field, strongest
    from rfgraph.ops.costs import Cost
    from rfgraph.passes.extents import Regions
    from rfgraph.present.notebook import page
    from rfgraph.questions.budget import Budget, OverBudget
    from rfgraph.questions.context import GlobalContext
    from rfgraph.questions.effective import EffectiveField, EffectiveSize
    from rfgraph.questions.features import Features
    from rfgraph.questions.findings import Finding
    from rfgraph.questions.holes import Holes
    from rfgraph.questions.latency import LooksAhead
    from rfgraph.questions.layers import Layer, Region, Trace
    from rfgraph.questions.misalignment import Branch, Misalignment, Repair, SizeDependent
    from rfgraph.questions.paths import Paths
    from rfgraph.questions.productivity import Unproductive
    from rfgraph.questions.roi import Roi, roi
    from rfgraph.questions.support import Support
    from rfgraph.questions.tiles import Untileable
    from rfgraph.questions.unread import Unread
    from rfgraph.report import Report
    from rfgraph.sweeps import Sweep, sweep

from rfgraph.display import Display as _Display
from rfgraph.display import displayed_by as _displayed_by
from rfgraph.version import __version__ as __version__

__all__ = [
    "EMPTY",
    "FULL",
    "IDENTITY",
    "ArrayFields",
    "Branch",
    "Budget",
    "Cost",
    "Diff",
    "EffectiveField",
    "EffectiveSize",
    "Features",
    "Finding",
    "GlobalContext",
    "Holes",
    "Layer",
    "LayerDiff",
    "LooksAhead",
    "MeasuredField",
    "Misalignment",
    "Network",
    "Numbers",
    "OverBudget",
    "Paths",
    "RFGraphError",
    "Region",
    "Regions",
    "Repair",
    "Report",
    "Roi",
    "SizeDependent",
    "Strongest",
    "Support",
    "Sweep",
    "Total",
    "Trace",
    "Unproductive",
    "Unread",
    "Untileable",
    "Window",
    "analyze",
    "diff",
    "load",
    "measure_field",
    "page",
    "plot",
    "roi",
    "single_path",
    "solve_arrays",
    "strongest",
    "sweep",
    "trace",
]

#: Module -> the public names that it holds, imported when first used: ``rfgraph --help`` needs no networkx.
_HOMES = {
    "analysis": ("analyze", "load", "trace"),
    "report": ("Report",),
    "comparison": ("Diff", "LayerDiff", "diff"),
    "measure": ("MeasuredField", "Strongest", "measure_field", "strongest"),
    "questions.budget": ("Budget", "OverBudget"),
    "questions.effective": ("EffectiveField", "EffectiveSize"),
    "fast.arrays": ("ArrayFields", "solve_arrays"),
    "algebra.closed_form": ("single_path",),
    "graph.costs": ("Total",),
    "ops.costs": ("Cost",),
    "errors": ("RFGraphError",),
    "passes.extents": ("Regions",),
    "present.notebook": ("page",),
    "questions.features": ("Features",),
    "graph.network": ("Network",),
    "questions.paths": ("Paths",),
    "questions.roi": ("Roi", "roi"),
    "fast.numbers": ("Numbers",),
    "questions.findings": ("Finding",),
    "questions.layers": ("Layer", "Region", "Trace"),
    "questions.misalignment": ("Branch", "Misalignment", "Repair", "SizeDependent"),
    "questions.holes": ("Holes",),
    "questions.support": ("Support",),
    "questions.tiles": ("Untileable",),
    "questions.latency": ("LooksAhead",),
    "questions.unread": ("Unread",),
    "questions.context": ("GlobalContext",),
    "questions.productivity": ("Unproductive",),
    "sweeps": ("Sweep", "sweep"),
    "algebra.window": ("EMPTY", "FULL", "IDENTITY", "Window"),
}


def _notebook() -> _Display:
    from rfgraph.present import notebook

    return notebook


_displayed_by(_notebook)


def __getattr__(name: str) -> object:
    if name == "plot":  # a room whose functions are called by their full names: rfgraph.plot.region
        return import_module("rfgraph.plot")
    for home, names in _HOMES.items():
        if name in names:
            value: object = getattr(import_module(f"rfgraph.{home}"), name)
            globals()[name] = value
            return value
    raise AttributeError(f"module 'rfgraph' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
