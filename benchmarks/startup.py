"""What a whole process costs, from its start to its end: a command beside the imports that it cannot do without."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage

import networkx as nx

from benchmarks.lines import Line

#: What the installed command runs.
COMMAND = "import sys; from rfgraph.cli import run; sys.exit(run())"


def measure(runs: int) -> list[Line]:
    """Return the lines of the table, medians of paired runs.

    Bytecode is kept in a folder of its own, so that it is there whatever the environment says of it.
    """
    with tempfile.TemporaryDirectory() as folder:
        kept = {**os.environ, "PYTHONPYCACHEPREFIX": str(Path(folder, "bytecode"))}
        kept.pop("PYTHONDONTWRITEBYTECODE", None)
        graph = Path(folder, "block.json")
        graph.write_text(json.dumps(nx.node_link_data(_block(), edges="edges")), encoding="utf-8")
        imports = "import networkx"
        lines = [
            _line("rfgraph --help", "", ["--help"], "python -c pass", ["pass"], kept, runs),
            _line("rfgraph check", "a JSON graph", ["check", str(graph)], imports, [imports], kept, runs),
        ]
        light = _light_resnet()
        if light is None:
            return [
                *lines,
                Line("rfgraph check", "light_resnet50.onnx", said="onnx, or its test data, is not installed"),
            ]
        loads = ["import networkx, onnx, sys; onnx.load(sys.argv[1])", str(light)]
        yardstick = "import networkx, onnx; onnx.load"
        return [*lines, _line("rfgraph check", light.name, ["check", str(light)], yardstick, loads, kept, runs)]


def _line(
    what: str,
    on: str,
    arguments: Sequence[str],
    yardstick: str,
    code: Sequence[str],
    environment: Mapping[str, str],
    runs: int,
) -> Line:
    base, command = [sys.executable, "-c", *code], [sys.executable, "-c", COMMAND, *arguments]
    pairs = [(_seconds(base, environment), _seconds(command, environment)) for _ in range(runs + 1)][1:]
    ratios = tuple(taken / before for before, taken in pairs)
    return Line(what, on, tuple(taken for _, taken in pairs), "", ratios, yardstick, "whole processes")


def _seconds(command: Sequence[str], environment: Mapping[str, str]) -> float:
    before = getrusage(RUSAGE_CHILDREN)
    subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=True)
    after = getrusage(RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _block() -> nx.DiGraph:
    graph = nx.DiGraph(name="block", axes=2)
    graph.add_node("image", op="input")
    graph.add_node("conv", op="conv", kernel=3, padding=1)
    graph.add_node("add", op="add")
    graph.add_edges_from([("image", "conv"), ("image", "add"), ("conv", "add")])
    return graph


def _light_resnet() -> Path | None:
    """Return the ResNet-50 without weights that the onnx package brings along."""
    try:
        import onnx
    except ModuleNotFoundError:
        return None
    path = Path(onnx.__file__).parent / "backend/test/data/light/light_resnet50.onnx"
    return path if path.exists() else None
