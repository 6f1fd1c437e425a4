"""rfgraph: exact receptive fields of convolutional networks, and every merge whose paths do not line up."""

from rfgraph.analysis import Report, analyze, load, trace
from rfgraph.closed_form import single_path
from rfgraph.errors import RFGraphError
from rfgraph.network import Network
from rfgraph.results import Branch, Finding, Layer, Region, Repair, Trace
from rfgraph.window import EMPTY, FULL, IDENTITY, Window

__version__ = "0.1.0"

__all__ = [
    "EMPTY",
    "FULL",
    "IDENTITY",
    "Branch",
    "Finding",
    "Layer",
    "Network",
    "RFGraphError",
    "Region",
    "Repair",
    "Report",
    "Trace",
    "Window",
    "analyze",
    "load",
    "single_path",
    "trace",
]
