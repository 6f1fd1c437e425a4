"""rfgraph: exact receptive fields of convolutional networks, and every merge whose paths do not line up."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rfgraph.analysis import Report, analyze, load, trace
    from rfgraph.arrays import ArrayFields, solve_arrays
    from rfgraph.closed_form import single_path
    from rfgraph.costs import Cost, Total
    from rfgraph.errors import RFGraphError
    from rfgraph.extents import Regions
    from rfgraph.features import Features
    from rfgraph.network import Network
    from rfgraph.paths import Paths
    from rfgraph.results import Branch, Finding, Layer, Numbers, Region, Repair, Trace
    from rfgraph.support import Support
    from rfgraph.sweeps import Sweep, sweep
    from rfgraph.uses.roi import Roi, roi
    from rfgraph.window import EMPTY, FULL, IDENTITY, Window

__version__ = "0.1.0"

__all__ = [
    "EMPTY",
    "FULL",
    "IDENTITY",
    "ArrayFields",
    "Branch",
    "Cost",
    "Features",
    "Finding",
    "Layer",
    "Network",
    "Numbers",
    "Paths",
    "RFGraphError",
    "Region",
    "Regions",
    "Repair",
    "Report",
    "Roi",
    "Support",
    "Sweep",
    "Total",
    "Trace",
    "Window",
    "analyze",
    "load",
    "roi",
    "single_path",
    "solve_arrays",
    "sweep",
    "trace",
]

#: Module -> the public names that it holds, imported when first used: ``rfgraph --help`` needs no networkx.
_HOMES = {
    "analysis": ("Report", "analyze", "load", "trace"),
    "arrays": ("ArrayFields", "solve_arrays"),
    "closed_form": ("single_path",),
    "costs": ("Cost", "Total"),
    "errors": ("RFGraphError",),
    "extents": ("Regions",),
    "features": ("Features",),
    "network": ("Network",),
    "paths": ("Paths",),
    "results": ("Branch", "Finding", "Layer", "Numbers", "Region", "Repair", "Trace"),
    "support": ("Support",),
    "sweeps": ("Sweep", "sweep"),
    "uses.roi": ("Roi", "roi"),
    "window": ("EMPTY", "FULL", "IDENTITY", "Window"),
}


def __getattr__(name: str) -> object:
    for home, names in _HOMES.items():
        if name in names:
            value: object = getattr(import_module(f"rfgraph.{home}"), name)
            globals()[name] = value
            return value
    raise AttributeError(f"module 'rfgraph' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
