"""What a command imports: small runs need no large packages."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import networkx as nx
import pytest

#: Runs a command and prints, last of all, which packages it has imported.
CODE = """
import sys
from rfgraph.cli import run
try:
    code = run()
except SystemExit as ended:
    code = ended.code
print()
print(code, *sorted({name.partition(".")[0] for name in sys.modules}))
"""

LARGE = {"numpy", "onnx", "rich", "torch", "keras", "tensorflow", "jax", "numba", "matplotlib", "scipy", "pandas"}


def imported(*arguments: str) -> set[str]:
    """Return the packages that a command, which must end well, imports in a process of its own."""
    done = subprocess.run([sys.executable, "-c", CODE, *arguments], capture_output=True, text=True, check=True)
    code, *packages = done.stdout.splitlines()[-1].split()
    assert code in ("0", "None"), done.stderr
    return set(packages)


@pytest.fixture
def block(tmp_path: Path) -> str:
    """Return the path of a small network that lines up."""
    graph = nx.DiGraph(name="block", axes=2)
    graph.add_node("image", op="input")
    graph.add_node("conv", op="conv", kernel=3, padding=1)
    graph.add_node("add", op="add")
    graph.add_edges_from([("image", "conv"), ("image", "add"), ("conv", "add")])
    path = tmp_path / "block.json"
    path.write_text(json.dumps(nx.node_link_data(graph, edges="edges")), encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["check", "--help"]])
def test_help_needs_no_package_at_all(arguments: list[str]) -> None:
    assert not imported(*arguments) & (LARGE | {"networkx"})


@pytest.mark.parametrize(
    "command", [["check"], ["check", "--input-size", "32"], ["summary"], ["trace"], ["summary", "--format", "json"]]
)
def test_a_json_graph_needs_networkx_alone(command: list[str], block: str) -> None:
    packages = imported(command[0], block, *command[1:])
    assert "networkx" in packages
    assert not packages & LARGE


def test_the_zoo_needs_networkx_alone() -> None:
    assert not imported("check", "zoo:resnet_v1_50", "--input-size", "224") & LARGE


def test_an_onnx_file_brings_no_reader_of_other_formats() -> None:
    onnx = pytest.importorskip("onnx")
    light = Path(onnx.__file__).parent / "backend/test/data/light/light_resnet50.onnx"
    if not light.exists():
        pytest.skip("the onnx package comes without its test data")
    code = CODE.replace('{name.partition(".")[0] for name in sys.modules}', "set(sys.modules)")
    done = subprocess.run([sys.executable, "-c", code, "check", str(light)], capture_output=True, text=True, check=True)
    found = set(done.stdout.splitlines()[-1].split()[1:])
    assert "rfgraph.importers.onnx.reader" in found
    assert (
        not {
            "rfgraph.importers.torch.reader",
            "rfgraph.importers.torch.saved",
            "rfgraph.passes.by_size",
            "rfgraph.sweeps",
        }
        & found
    )
