"""The JSON Schema that ships with rfgraph holds of what every command writes."""

from __future__ import annotations

import json
import warnings
from importlib.resources import files
from pathlib import Path
from typing import Any

import networkx as nx
import pytest

import rfgraph
from rfgraph import Network, cli
from rfgraph.cli.options import COMMANDS
from rfgraph.models import MODELS
from rfgraph.present.rows import SCHEMA_VERSION

jsonschema = pytest.importorskip("jsonschema")


@pytest.fixture(scope="module")
def schema() -> Any:
    return json.loads(files("rfgraph.present").joinpath("schema.json").read_text(encoding="utf-8"))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with networks that have something to tell: a merge that is off, phases, whole axes, drift."""
    monkeypatch.chdir(tmp_path)
    off = Network("off", axes=2)
    x = off.input("x", channels=3)
    y = off.conv("c", x, kernel=3, stride=2, padding=[[0, 1], [0, 1]], channels=4)
    y = off.add("add", y, off.max_pool("p", x, kernel=2, stride=2))
    off.relu("end", off.conv_transpose("up", y, kernel=4, stride=2, padding=1, channels=2))
    odd = Network("odd", axes=1)
    x = odd.input("signal")
    part = odd.slice("part", x, stop=8)
    odd.add("drift", odd.conv("strided", x, kernel=3, stride=2, padding="same"), part)
    whole = odd.global_avg_pool("whole", x)
    odd.graph.add_node("mystery", op="unknown", of="Mystery")
    odd.graph.add_edge(whole, "mystery")
    for net in (off, odd):
        data = nx.node_link_data(net.graph, edges="edges")
        Path(f"{net.graph.name}.json").write_text(json.dumps(data))
    return tmp_path


ASKED = [
    "summary off.json", "summary off.json --input-size 32 --effective", "summary odd.json",
    "summary odd.json --input-size 16", "summary off.json odd.json", "summary off.json missing.json",
    *(f"summary zoo:{name}" for name in ("wavenet", "xception", "inception_v2", "unet")),
    "check off.json --input-size 32", "check odd.json", "check . missing.json", "check zoo:unet", "check zoo:xception",
    "check off.json --accept RF002:add", "rule", "rule RF002", "diff off.json off.json --input-size 32",
    "diff zoo:unet zoo:unet_2x2", "sizes off.json", "sizes odd.json", "sizes zoo:xception",
    "region off.json end 3,3 --input-size 32", "region off.json end 3,3", "trace off.json",
    "trace off.json --output add",
    "tile off.json --input-size 256", "tile odd.json --layer whole", "latency zoo:wavenet",
    "latency odd.json --layer whole",
    "sweep off.json --set c.kernel=2,4", "field off.json add --input-size 16", "field off.json add",
    "zoo", "zoo --accuracy",
]  # fmt: skip


def problems(schema: Any, document: Any) -> list[str]:
    validator = jsonschema.Draft202012Validator(schema)
    return [f"{error.json_path}: {error.message[:200]}" for error in validator.iter_errors(document)]


@pytest.mark.parametrize("asked", ASKED)
@pytest.mark.usefixtures("folder")
def test_the_schema_holds_of_what_is_written(asked: str, schema: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*asked.split(), "--format", "json"]) in (0, 1, 2)
    document = json.loads(capsys.readouterr().out)
    assert problems(schema, document) == []
    assert document["command"] == asked.split()[0]
    assert document["tool"] == {"name": "rfgraph", "version": rfgraph.__version__}


def test_what_is_written_to_files_too(folder: Path, schema: Any, capsys: pytest.CaptureFixture[str]) -> None:
    onnx = pytest.importorskip("onnx")
    weights = [onnx.helper.make_tensor(name, 1, [1, 1, k], [0.0] * k) for name, k in (("w", 3), ("v", 4))]
    nodes = [
        onnx.helper.make_node("Conv", ["x", "w"], ["c"], "c", pads=[0, 2]),
        onnx.helper.make_node("Add", ["c", "x"], ["y"], "add"),
    ]
    ends = [onnx.helper.make_tensor_value_info(name, 1, [1, 1, 16]) for name in ("x", "y")]
    onnx.save(onnx.helper.make_model(onnx.helper.make_graph(nodes, "g", ends[:1], ends[1:], weights[:1])), "m.onnx")
    for command in ("annotate", "repair"):
        assert cli.main([command, "m.onnx", "-o", f"{command}.onnx", "--format", "json"]) in (0, 1)
        document = json.loads(capsys.readouterr().out)
        assert problems(schema, document) == []
        assert document["findings" if command == "annotate" else "repaired"]
        assert document["inputs"] == [{"name": "x", "size": [16]}]


def test_what_a_run_found_strongest(schema: Any) -> None:
    from rfgraph.present.effective import StrongestView

    document = StrongestView("m.onnx", "y", []).document()
    assert problems(schema, document) == []


def test_every_command_is_in_the_schema(schema: Any) -> None:
    written = {name for name, command in COMMANDS.items() if not command.makes}
    assert set(schema["properties"]["command"]["enum"]) == written
    assert {asked.split()[0] for asked in ASKED} == written - {"annotate", "repair", "strongest"}
    assert schema["properties"]["schema_version"]["const"] == SCHEMA_VERSION
    jsonschema.Draft202012Validator.check_schema(schema)


@pytest.mark.usefixtures("folder")
def test_the_schema_refuses_what_is_not_so(schema: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["check", "off.json", "--format", "json"]) == 1
    document = json.loads(capsys.readouterr().out)
    for change in (
        {"schema_version": 1}, {"tool": "rfgraph"}, {"command": "chek"}, {"inputs": None}, {"findings": {"error": 0}},
        {"findings": [{**document["findings"][0], "severity": "bad"}]}, {"counts": None}, {"as_run": None},
    ):  # fmt: skip
        assert problems(schema, {**document, **change})
    for key in ("model", "source", "input_size", "axes", "findings"):
        assert problems(schema, {name: value for name, value in document.items() if name != key})


@pytest.mark.usefixtures("folder")
def test_the_envelope_tells_the_model_and_its_inputs(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["region", "off.json", "end", "3,3", "--input-size", "32x16", "--format", "json"]) == 0
    document = json.loads(capsys.readouterr().out)
    told = {name: document[name] for name in ("model", "name", "inputs", "source", "input_size")}
    assert told == {
        "model": "off.json", "name": "off", "inputs": [{"name": "x", "size": [32, 16]}], "source": "x",
        "input_size": [32, 16],
    }  # fmt: skip


def test_where_the_example_decides_is_told() -> None:
    graph = MODELS["unet"].build()
    graph.graph["as_run"] = ["model.py:12"]
    report = rfgraph.analyze(graph)
    from rfgraph.present.layers import head

    with warnings.catch_warnings():
        assert head("summary", report, "m")["as_run"] == ["model.py:12"]
