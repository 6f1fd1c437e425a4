"""The command line, from arguments to exit codes: every option has a test that fails without it."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import networkx as nx
import pytest
from misuse import misused

import rfgraph
from rfgraph import Network, cli
from rfgraph.cli import commands, options
from rfgraph.models import MODELS
from rfgraph.questions.findings import SEVERITIES

Save = Callable[[Any], str]


@pytest.fixture
def save(tmp_path: Path) -> Iterator[Save]:
    """Return a function that writes a network to a node-link file and returns its path."""

    def write(model: Network | nx.DiGraph) -> str:
        graph = model.graph if isinstance(model, Network) else model
        path = tmp_path / f"{graph.name or 'model'}.json"
        path.write_text(json.dumps(nx.node_link_data(graph, edges="edges")), encoding="utf-8")
        return str(path)

    return write


@pytest.fixture
def aligned(save: Save) -> str:
    """A file with a strided block that lines up, whose axes differ."""
    net = Network("aligned", axes=2)
    image = net.input("image")
    conv = net.conv("conv", image, kernel=(3, 5), stride=2, padding=(1, 2))
    net.add("add", conv, net.conv("shortcut", image, kernel=1, stride=2))
    return save(net)


@pytest.fixture
def misaligned(save: Save) -> str:
    """A file with one warning."""
    net = Network("misaligned", axes=1)
    signal = net.input("signal")
    net.add("add", signal, net.conv("conv", signal, kernel=3))
    return save(net)


@pytest.fixture
def causal(save: Save) -> str:
    """A file with five notes."""
    net = Network("causal", axes=1)
    x = net.input("signal")
    for index in range(5):
        x = net.add(f"add{index}", x, net.conv(f"conv{index}", x, kernel=2, padding=[[1, 0]]))
    return save(net)


@pytest.fixture
def sized(save: Save) -> str:
    """A file whose merge lines up at odd input sizes only, by SAME padding."""
    net = Network("sized", axes=2)
    image = net.input("image")
    pool = net.max_pool("pool", image, kernel=3, stride=2, padding="same")
    net.add("add", pool, net.conv("shortcut", image, kernel=1, stride=2))
    return save(net)


@pytest.fixture
def mystery(save: Save) -> str:
    """A file with a merge that cannot be checked."""
    net = Network("mystery", axes=1)
    image = net.input("image")
    net.graph.add_node("odd", op="unknown", of="Mystery")
    net.graph.add_edge(image, "odd")
    net.add("add", image, "odd")
    return save(net)


def two_inputs() -> Network:
    net = Network("two", axes=1)
    one, two = net.input("left"), net.input("right = wrong")
    net.concat("concat", net.conv("conv", one, kernel=3, padding=1), two)
    return net


def run_json(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> Any:
    """Run a command with JSON output, which must be all that it prints."""
    assert cli.main([*arguments, "--format", "json"]) == code
    out, err = capsys.readouterr()
    assert err == ""
    return json.loads(out)


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run a command that must be refused, and return its one paragraph of explanation."""
    assert cli.main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("rfgraph: ")
    assert err.count("\n") == 1
    assert err.endswith("\n")
    return err.removeprefix("rfgraph: ").removesuffix("\n")


#: Without its own buffer Python does not notice that only part of a text was written.
BUFFERED = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}


def python(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run Python in a process of its own."""
    environment = {**BUFFERED, **options.pop("environment", {})}
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, encoding="utf-8", env=environment, **options
    )


def layer(document: Any, name: str) -> Any:
    return next(entry for entry in document["layers"] if entry["name"] == name)


# summary


def test_summary_has_a_row_for_each_node_in_order(capsys: pytest.CaptureFixture[str], aligned: str) -> None:
    assert cli.main(["summary", aligned]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out == (
        "aligned: axes y, x, measured at 'image'\n"
        "\n"
        "layer     op       r  S    P  start\n"
        "--------  -----  ---  -  ---  -----\n"
        "image     input    1  1    0    0.5\n"
        "conv      conv   3x5  2  1x2    0.5\n"
        "shortcut  conv     1  2    0    0.5\n"
        "add       add    3x5  2  1x2    0.5\n"
        "\n"
        "output: add (r 3x5, S 2, P 1x2)\n"
        "paths: 2 to 'add' (r 1 to 3x5)\n"
        "findings: none, all merges line up\n"
    )


@pytest.mark.parametrize(("size", "shown"), [("63", "32x32"), ("63x65", "32x33"), ("1x1", "1x1")])
def test_input_size_of_a_summary(capsys: pytest.CaptureFixture[str], aligned: str, size: str, shown: str) -> None:
    document = run_json(capsys, "summary", aligned, "--input-size", size)
    assert [str(field["map_size"]) for field in layer(document, "add")["fields"]] == shown.split("x")


def test_input_size_by_name(capsys: pytest.CaptureFixture[str], save: Save) -> None:
    sizes = ("--input-size", "left=64", "--input-size", "right = wrong=64")
    document = run_json(capsys, "summary", save(two_inputs()), *sizes, "--source", "left")
    assert layer(document, "concat")["fields"][0]["map_size"] == 64
    path = save(two_inputs())
    differ = ("--input-size", "left=64", "--input-size", "right = wrong=32", "--source", "left")
    assert "its inputs differ in size ('conv' gives 64, 'right = wrong' gives 32)" in refused(
        capsys, "summary", path, *differ
    )


@pytest.mark.parametrize("sizes", [("64", "64"), ("64", "left=64"), ("left=64", "left=32")])
def test_input_sizes_that_contradict(capsys: pytest.CaptureFixture[str], save: Save, sizes: tuple[str, str]) -> None:
    options = [part for size in sizes for part in ("--input-size", size)]
    said = refused(capsys, "summary", save(two_inputs()), *options, "--source", "left")
    assert said == "--input-size is given several times; give it once, or once per input as NAME=224"


def test_source(capsys: pytest.CaptureFixture[str], save: Save) -> None:
    document = run_json(capsys, "summary", save(two_inputs()), "--source", "conv")
    assert document["source"] == "conv"
    assert layer(document, "concat")["fields"][0]["size"] == 1
    said = refused(capsys, "summary", save(two_inputs()))
    assert said == "the network has 2 inputs, 'left', 'right = wrong'; pass --source NAME to say which one"


def test_all_of_a_summary(capsys: pytest.CaptureFixture[str], save: Save) -> None:
    path = save(two_inputs())
    shown = run_json(capsys, "summary", path, "--source", "left")["layers"]
    every = run_json(capsys, "summary", path, "--source", "left", "--all")["layers"]
    assert [entry["name"] for entry in shown] == ["left", "conv", "concat"]
    assert [entry["name"] for entry in every] == ["left", "right = wrong", "conv", "concat"]


def test_alignment(capsys: pytest.CaptureFixture[str], causal: str, save: Save) -> None:
    assert run_json(capsys, "summary", causal)["counts"] == {"error": 0, "warning": 0, "note": 5}
    centred = run_json(capsys, "summary", causal, "--alignment", "center")
    assert centred["counts"] == {"error": 0, "warning": 5, "note": 0}
    assert run_json(capsys, "check", causal, "--alignment", "causal")["findings"] == []
    net = Network("video", axes=("t", "y", "x"))
    clip = net.input("clip")
    net.add("add", clip, net.conv("conv", clip, kernel=(2, 3, 3), padding=[[1, 0], [1, 1], [1, 1]]))
    net.graph.graph["axes"] = ["t", "y", "x"]
    assert run_json(capsys, "check", save(net), "--alignment", "causal,center,auto")["findings"] == []
    assert "alignment" in refused(capsys, "check", save(net), "--alignment", "causal,center")
    assert "is not one of auto, center, causal" in refused(capsys, "check", causal, "--alignment", "middle")


def test_summary_says_how_to_see_the_findings(capsys: pytest.CaptureFixture[str], tmp_path: Path, save: Save) -> None:
    net = two_inputs()
    net.add("add", "conv", net.conv("even", "left", kernel=2))
    path = Path(save(net)).rename(tmp_path / "with space.json")
    options = ["--input-size", "right = wrong=64", "--treat", "add=identity"]
    options += ["--source", "left", "--alignment", "center"]
    assert cli.main(["summary", str(path), *options]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == (
        f"findings: 1 warning (see `rfgraph check '{path}' --input-size 'right = wrong=64' --treat add=identity "
        "--source left --alignment center`)"
    )


def test_treat(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    weight = onnx.helper.make_tensor("w", onnx.TensorProto.FLOAT, [3, 3, 3, 3], [0.0] * 81)
    nodes = [
        onnx.helper.make_node("Conv", ["x", "w"], ["c"], "conv", pads=[1, 1, 1, 1]),
        onnx.helper.make_node("Mystery", ["c"], ["m"], "mystery", domain="custom"),
        onnx.helper.make_node("Add", ["c", "m"], ["y"], "add"),
    ]
    image = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["n", 3, 64, 64])
    output = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["n", 3, 64, 64])
    graph = onnx.helper.make_graph(nodes, "odd", [image], [output], [weight])
    versions = [onnx.helper.make_opsetid("", 17), onnx.helper.make_opsetid("custom", 1)]
    path = str(tmp_path / "odd.onnx")
    onnx.save(onnx.helper.make_model(graph, opset_imports=versions), path)

    assert cli.main(["check", path]) == 1
    out = capsys.readouterr().out
    assert "rfgraph does not know what Mystery reads" in out
    assert "advice     say what it reads, as --treat NODE=identity (or global, or cut)\n" in out
    assert cli.main(["check", path, "--treat", "mystery=identity", "--treat", "unknown=cut"]) == 0
    assert cli.main(["check", path, "--treat", "Myst*=identity"]) == 0
    capsys.readouterr()
    assert "'guess'" in refused(capsys, "check", path, "--treat", "mystery=guess")
    assert "fits no node and no op (near: mystery" in refused(capsys, "trace", path, "--treat", "mistery=cut")


def test_zoo_and_functions_are_models(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    document = run_json(capsys, "summary", "zoo:vgg_16")
    assert layer(document, "vgg_16/pool5")["fields"][1]["size"] == MODELS["vgg_16"].published.size
    target = tmp_path / "net.py"
    target.write_text(
        "from rfgraph import Network\n"
        "def build():\n"
        "    net = Network('from python', axes=1)\n"
        "    net.conv('conv', net.input('image'), kernel=7)\n"
        "    return net.graph\n"
    )
    assert run_json(capsys, "summary", f"{target}:build")["name"] == "from python"
    said = refused(capsys, "summary", f"{target}:biuld")
    assert "biuld" in said


# check


def test_check_of_a_clean_network(capsys: pytest.CaptureFixture[str], aligned: str) -> None:
    assert cli.main(["check", aligned]) == 0
    out, err = capsys.readouterr()
    assert out == "aligned: axes y, x, measured at 'image'\n\nfindings: none, all merges line up\n"
    assert err == ""


def test_check_explains_and_exits_1(capsys: pytest.CaptureFixture[str], misaligned: str) -> None:
    assert cli.main(["check", misaligned]) == 1
    out, err = capsys.readouterr()
    assert err == ""
    (finding,) = rfgraph.analyze(misaligned).findings
    for said in ("warning RF002 misaligned", finding.message, finding.advice, "signal -> conv -> add"):
        assert said in out
    assert out.endswith("\nfindings: 1 warning\n")


@pytest.mark.parametrize(
    ("level", "codes"),
    [("note", (0, 1, 1, 1)), ("warning", (0, 0, 1, 1)), ("error", (0, 0, 0, 1)), (None, (0, 0, 1, 1))],
)
def test_fail_on(
    capsys: pytest.CaptureFixture[str],
    save: Save,
    aligned: str,
    causal: str,
    misaligned: str,
    level: str | None,
    codes: tuple[int, ...],
) -> None:
    net = Network("drifting", axes=1)
    signal = net.input("signal")
    net.add("add", signal, net.conv("conv", signal, kernel=1, stride=2))
    options = [] if level is None else ["--fail-on", level]
    models = (aligned, causal, misaligned, save(net))
    assert tuple(cli.main(["check", model, *options]) for model in models) == codes
    assert capsys.readouterr().err == ""


def test_severities_are_those_of_the_results() -> None:
    assert options.SEVERITIES == SEVERITIES


def test_every_command_that_can_be_asked_for_is_done_by_something() -> None:
    assert list(options.COMMANDS) == list(commands.COMMANDS)


def test_what_is_not_known_is_said_and_does_not_pass(capsys: pytest.CaptureFixture[str], mystery: str) -> None:
    assert cli.main(["check", mystery]) == 1
    out, _ = capsys.readouterr()
    assert "warning not checked\n  merge 'add' cannot be checked: node 'odd' (unknown), axis t: rfgraph does not" in out
    assert "  advice     say what it reads, as --treat NODE=identity (or global, or cut)\n" in out
    assert out.endswith("\nfindings: none; 1 merge not checked\n")
    assert cli.main(["check", mystery, "--fail-on", "error"]) == 0
    assert "warning not checked" in capsys.readouterr().out
    document = run_json(capsys, "check", mystery, code=1)
    assert document["aligned"] is None
    assert document["unchecked"][0]["merges"] == 1


def test_a_check_says_at_which_sizes_all_merges_line_up(capsys: pytest.CaptureFixture[str], sized: str) -> None:
    assert cli.main(["check", sized]) == 1
    out, _ = capsys.readouterr()
    assert "warning RF005 aligned for some input sizes only\n" in out
    assert out.endswith("\nfindings: 1 warning\nall merges line up iff n mod 2 is 1 (axes y, x)\n")
    document = run_json(capsys, "check", sized, code=1)
    assert document["aligned"] is None
    (finding,) = document["findings"]
    assert (finding["modulus"], finding["residues"], finding["smallest"], finding["offset"]) == (2, [1], 1, -1)
    assert (finding["fork"], finding["reference"], finding["branch"]) == (
        "image",
        {"tail": "pool"},
        {"tail": "shortcut"},
    )


def test_an_input_size_settles_it(capsys: pytest.CaptureFixture[str], sized: str) -> None:
    assert cli.main(["check", sized, "--input-size", "65"]) == 0
    assert cli.main(["check", sized, "--input-size", "64"]) == 1
    assert cli.main(["check", sized, "--input-size", "65x64"]) == 1
    assert "axis x: centres are off" in capsys.readouterr().out


def test_all_of_a_check(capsys: pytest.CaptureFixture[str], causal: str) -> None:
    assert cli.main(["check", causal]) == 0
    assert "note RF004 causally aligned: 2 more\n" in capsys.readouterr().out
    assert cli.main(["check", causal, "--all"]) == 0
    out = capsys.readouterr().out
    assert " more\n" not in out
    assert out.count("note RF004 causally aligned\n") == 5


# Policy


def test_select_and_ignore(capsys: pytest.CaptureFixture[str], causal: str, misaligned: str) -> None:
    assert cli.main(["check", misaligned, "--select", "RF001,RF006"]) == 0
    assert cli.main(["check", misaligned, "--select", "RF001", "--select", "RF002"]) == 1
    assert cli.main(["check", misaligned, "--ignore", "RF001, RF002"]) == 0
    assert cli.main(["check", misaligned, "--ignore", "RF001"]) == 1
    capsys.readouterr()
    assert run_json(capsys, "summary", causal, "--ignore", "RF004")["counts"]["note"] == 0
    assert run_json(capsys, "summary", causal, "--select", "RF00")["counts"]["note"] == 5
    assert run_json(capsys, "check", causal, "--select", "RF001")["left_out"] == 5
    for option in ("--select", "--ignore"):
        said = refused(capsys, "check", misaligned, option, "RF002,RF099")
        assert said.startswith(f"{option}: 'RF099' is no rule and begins none (near: ")
        assert "RF001 (stride mismatch), RF002 (misaligned)" in said


def test_accept(capsys: pytest.CaptureFixture[str], misaligned: str) -> None:
    assert cli.main(["check", misaligned, "--accept", "RF002:other", "--accept", "RF:a*"]) == 0
    out = capsys.readouterr().out
    assert "\naccepted warning RF002 misaligned (by RF:a*)\n  merge 'add'" in out
    assert out.endswith("\naccept 'RF002:other' accepts nothing\nfindings: 1 accepted\n")
    assert cli.main(["check", misaligned, "--accept", "RF001:add"]) == 1
    assert cli.main(["check", misaligned, "--accept", "RF002:add", "--fail-on", "note"]) == 0
    capsys.readouterr()
    summary = run_json(capsys, "summary", misaligned, "--accept", "RF002:add")
    assert (summary["counts"], summary["accepted"]) == ({"error": 0, "warning": 0, "note": 0}, 1)
    assert "--accept: 'add' does not say what to accept where" in refused(
        capsys, "check", misaligned, "--accept", "add"
    )


def test_summary_says_how_to_see_the_same_findings(capsys: pytest.CaptureFixture[str], misaligned: str) -> None:
    policy = ["--select", "RF001,RF002", "--ignore", "RF001", "--accept", "RF002:a*"]
    assert cli.main(["summary", misaligned, *policy]) == 0
    assert capsys.readouterr().out.endswith(
        f"\nfindings: 1 accepted (see `rfgraph check {misaligned} --select RF001,RF002 --ignore RF001 --accept "
        "'RF002:a*'`)\n"
    )


def test_settings_of_the_project(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, misaligned: str, causal: str
) -> None:
    folder = tmp_path / "project" / "inner"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    settings = tmp_path / "project" / "pyproject.toml"

    def codes(text: str, *options: str) -> tuple[int, int]:
        settings.write_text(f"[tool.rfgraph]\n{text}\n")
        return cli.main(["check", misaligned, *options]), cli.main(["check", causal, *options])

    assert codes("") == (1, 0)
    assert codes("fail-on = 'error'") == (0, 0)
    assert codes("fail-on = 'note'") == (1, 1)
    assert codes("fail-on = 'note'", "--fail-on", "warning") == (1, 0)
    assert codes("select = ['RF001']") == (0, 0)
    assert codes("select = ['RF001']", "--select", "RF002") == (1, 0)
    assert codes("ignore = ['RF002']") == (0, 0)
    assert codes("ignore = ['RF002']", "--ignore", "RF001") == (1, 0)
    assert codes("accept = ['RF002:add']") == (0, 0)
    assert codes("accept = ['RF002:add']", "--accept", "RF001:add") == (0, 0)
    capsys.readouterr()
    assert run_json(capsys, "summary", misaligned)["accepted"] == 1

    settings.write_text("[tool.rfgraph")
    assert refused(capsys, "check", misaligned).startswith(f"{settings}: it is not TOML (")
    settings.write_text("[tool.rfgraph]\nselct = []\n")
    said = refused(capsys, "summary", misaligned)
    assert said.startswith(f"{settings}, [tool.rfgraph]: 'selct' is no key of it (near: select")
    assert cli.main(["sizes", misaligned]) == 0


# sizes


def test_sizes(capsys: pytest.CaptureFixture[str], sized: str) -> None:
    assert cli.main(["sizes", sized]) == 0
    assert capsys.readouterr().out == (
        "sized: axes y, x, measured at 'image'\n"
        "\n"
        "axes  works at         all merges line up at\n"
        "----  ---------------  ---------------------\n"
        "y, x  any size from 1  n mod 2 is 1, from 1\n"
        "\n"
        "it works and lines up at 1, 3, 5, 7, 9, 11, ...\n"
    )
    for entry in run_json(capsys, "sizes", sized)["sizes"]:
        assert entry["works"] == {"modulus": 1, "residues": [0], "smallest": 1}
        assert entry["lines_up"] == {"modulus": 2, "residues": [1], "smallest": 1}
        assert entry["first"] == [1, 3, 5, 7, 9, 11]


def test_sizes_that_a_model_states_are_left_aside(capsys: pytest.CaptureFixture[str], sized: str) -> None:
    graph = json.loads(Path(sized).read_text())
    next(node for node in graph["nodes"] if node["op"] == "input")["size"] = [64, 63]
    Path(sized).write_text(json.dumps(graph))
    document = run_json(capsys, "sizes", sized)
    assert document["stated"] == {"image": "64x63"}
    assert document["sizes"][0]["lines_up"]["residues"] == [1]
    assert cli.main(["sizes", sized]) == 0
    assert "'image' states the size 64x63, which is left aside here" in capsys.readouterr().out


def test_options_of_sizes(capsys: pytest.CaptureFixture[str], sized: str, mystery: str, save: Save) -> None:
    def lines_up(*arguments: str) -> Any:
        return run_json(capsys, "sizes", *arguments)["sizes"][0]["lines_up"]

    assert lines_up(mystery) is None
    assert lines_up(mystery, "--treat", "odd=identity") == {"modulus": 1, "residues": [0], "smallest": 1}
    assert lines_up(sized, "--source", "pool")["modulus"] == 1
    # The last taps of a 3/2 pool and of a 1/2 convolution never agree.
    assert lines_up(sized, "--alignment", "causal")["residues"] == []
    assert "unrecognized arguments: --input-size" in misused(capsys, "sizes", sized, "--input-size", "64")


# region


def test_region(capsys: pytest.CaptureFixture[str], aligned: str) -> None:
    document = run_json(capsys, "region", aligned, "add", "0,4")
    report = rfgraph.analyze(aligned)
    assert [(end["first"], end["last"]) for end in document["box"]] == list(report.region("add", (0, 4)).box or ())
    assert document["box"][0] == {"axis": "y", "first": -1, "last": 1}
    document = run_json(capsys, "region", aligned, "add", "0,4", "--input-size", "64")
    assert document["box"][0] == {"axis": "y", "first": 0, "last": 1}
    document = run_json(capsys, "region", aligned, "add", "0,4", "--source", "conv")
    assert document["box"][0] == {"axis": "y", "first": 0, "last": 0}


def test_region_of_one_axis(capsys: pytest.CaptureFixture[str], misaligned: str) -> None:
    assert cli.main(["region", misaligned, "conv", "7"]) == 0
    assert capsys.readouterr().out == (
        "misaligned: axis t, measured at 'signal'; what feature (7) of 'conv' reads\n"
        "\n"
        "axis  index  first  last  size\n"
        "----  -----  -----  ----  ----\n"
        "t         7      7     9     3\n"
        "\n"
        "not cut at any border: give --input-size for that\n"
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("ad", "0,0"), "the network has no node 'ad' (near: add)"),
        (("add", "3"), "index (3,) has 1 entries, but the network has 2 axes"),
        (("add", "3,32", "--input-size", "64"), "index 32 lies outside its map of size 32"),
    ],
)
def test_regions_that_are_not_there(
    capsys: pytest.CaptureFixture[str], aligned: str, arguments: tuple[str, ...], said: str
) -> None:
    assert said in refused(capsys, "region", aligned, *arguments)


def test_region_of_a_whole_axis_of_unknown_size(capsys: pytest.CaptureFixture[str], save: Save) -> None:
    net = Network("global", axes=1)
    net.attention("mixed", net.input("image"))
    assert "whole axis" in refused(capsys, "region", save(net), "mixed", "0")
    assert run_json(capsys, "region", save(net), "mixed", "0", "--input-size", "9")["box"] == [
        {"axis": "t", "first": 0, "last": 8}
    ]


# trace


def test_trace(capsys: pytest.CaptureFixture[str], aligned: str) -> None:
    document = run_json(capsys, "trace", aligned)
    assert document["output"] == "add"
    assert [field["size"] for field in layer(document, "image")["fields"]] == [3, 5]
    document = run_json(capsys, "trace", aligned, "--output", "shortcut")
    assert [entry["name"] for entry in document["layers"]] == ["image", "shortcut"]
    assert layer(document, "image")["fields"][0]["map_size"] is None
    document = run_json(capsys, "trace", aligned, "--input-size", "64")
    assert layer(document, "image")["fields"][0]["map_size"] == 64


def test_trace_of_several_outputs(capsys: pytest.CaptureFixture[str], save: Save) -> None:
    net = Network("fork", axes=1)
    image = net.input("image")
    net.conv("one", image, kernel=3)
    net.conv("other", image, kernel=5)
    said = refused(capsys, "trace", save(net))
    assert said == "the network has 2 outputs, 'one', 'other'; pass --output NAME to say which one"
    assert layer(run_json(capsys, "trace", save(net), "--output", "other"), "image")["fields"][0]["size"] == 5
    assert "no node 'otter' (near: other)" in refused(capsys, "trace", save(net), "--output", "otter")


def test_trace_is_named_after_the_file_where_the_network_has_no_name(
    capsys: pytest.CaptureFixture[str], save: Save
) -> None:
    net = Network(axes=1)
    net.conv("conv", net.input("image"), kernel=3)
    path = save(net)
    assert run_json(capsys, "trace", path)["name"] == path
    assert run_json(capsys, "summary", path)["name"] == path


# zoo


@pytest.fixture(scope="module")
def zoo_document() -> Any:
    """The zoo, computed once."""
    done = python("-m", "rfgraph", "zoo", "--format", "json")
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


def test_zoo_lists_every_network_in_order(zoo_document: Any) -> None:
    assert list(dict.fromkeys(model["model"] for model in zoo_document["models"])) == list(MODELS)


def test_zoo_is_computed_and_agrees_with_what_is_published(zoo_document: Any) -> None:
    for entry in zoo_document["models"]:
        model = MODELS[entry["model"]]
        assert (entry["about"], entry["input_size"]) == (model.about, model.input_size)
        if model.published is None:
            assert entry["published"] is None
            continue
        assert entry["published"]["agrees"] is True
        assert entry["published"]["source"] == model.published.source
        assert entry["layer"]["name"] == model.node
        for field in entry["layer"]["fields"]:
            published = (model.published.size, model.published.stride, model.published.padding)
            assert (field["size"], field["stride"], field["padding"]) == published


def test_zoo_has_a_row_for_each_output(zoo_document: Any) -> None:
    shown = [entry["layer"]["name"] for entry in zoo_document["models"] if entry["model"] == "fpn"]
    assert shown == list(rfgraph.analyze("zoo:fpn").outputs)


def test_zoo_says_where_it_differs(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    model = MODELS["vgg_16"]
    wrong = rfgraph.models.Published(211, 32, 90, "a paper")
    changed = {"vgg_16": rfgraph.models.Model("vgg_16", model.build, "", model.node, None, wrong)}
    monkeypatch.setattr("rfgraph.models.MODELS", changed)
    assert cli.main(["zoo"]) == 0
    assert "differs: r 211, S 32, P 90 [1]\n\n[1] a paper\n" in capsys.readouterr().out


# Formats and files


COMMANDS = [("summary",), ("check",), ("sizes",), ("region", "add", "1,2"), ("trace",)]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
@pytest.mark.parametrize("form", ["table", "json", "csv", "md"])
def test_a_file_gets_what_would_be_printed(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, aligned: str, command: tuple[str, ...], form: str
) -> None:
    arguments = [command[0], aligned, *command[1:], "--format", form]
    assert cli.main(arguments) == 0
    printed = capsys.readouterr().out
    target = tmp_path / "out"
    assert cli.main([*arguments, "-o", str(target)]) == 0
    assert capsys.readouterr() == ("", "")
    assert target.read_bytes() == printed.encode()
    assert "\x1b" not in printed


def test_formats_are_what_they_are_called(capsys: pytest.CaptureFixture[str], aligned: str) -> None:
    def printed(form: str) -> str:
        assert cli.main(["summary", aligned, "--format", form]) == 0
        return capsys.readouterr().out

    assert json.loads(printed("json"))["command"] == "summary"
    rows = list(csv.DictReader(io.StringIO(printed("csv"), newline="")))
    assert [(row["layer"], row["r_y"], row["r_x"]) for row in rows][-1] == ("add", "3", "5")
    assert "| add | add | 3x5 | 2 | 1x2 | 0.5 |\n" in printed("md")
    assert cli.main(["summary", aligned]) == 0
    assert capsys.readouterr().out == printed("table")


def test_exit_code_of_a_check_that_is_written_to_a_file(tmp_path: Path, misaligned: str) -> None:
    assert cli.main(["check", misaligned, "-o", str(tmp_path / "out")]) == 1


def test_a_failure_leaves_an_existing_file_alone(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, aligned: str
) -> None:
    target = tmp_path / "out"
    target.write_text("mine")
    refused(capsys, "region", aligned, "nothing", "0,0", "-o", str(target))
    assert target.read_text() == "mine"


def test_a_file_that_cannot_be_written(capsys: pytest.CaptureFixture[str], tmp_path: Path, aligned: str) -> None:
    target = str(tmp_path / "no such folder" / "out")
    assert refused(capsys, "summary", aligned, "-o", target) == f"{target}: No such file or directory"


class Terminal(io.StringIO):
    """A terminal to draw on."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("columns", [80, 120])
def test_a_terminal_is_drawn_on_to_its_width(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    assert cli.main(["summary", "zoo:resnet_v1_50", "--input-size", "224"]) == 0
    drawn = terminal.getvalue()
    assert "\x1b[1m" in drawn
    assert "─" * 20 in drawn
    lines = drawn.replace("\x1b[1m", "").replace("\x1b[0m", "").split("\n")
    assert 70 < max(map(len, lines)) <= columns


@pytest.mark.parametrize("form", ["json", "csv", "md"])
def test_other_formats_are_never_drawn(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], aligned: str, form: str
) -> None:
    assert cli.main(["summary", aligned, "--format", form]) == 0
    piped = capsys.readouterr().out
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    assert cli.main(["summary", aligned, "--format", form]) == 0
    assert terminal.getvalue().replace("\r\n", "\n") == piped.replace("\r\n", "\n")


HOSTILE = "\x1b]0;owned\x07[bold]größe|`x`\u202e\n=1"


@pytest.mark.parametrize("form", ["table", "csv", "md", "json"])
@pytest.mark.parametrize("command", ["summary", "check", "trace"])
def test_hostile_names_do_not_reach_the_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], save: Save, form: str, command: str
) -> None:
    net = Network("hostile", axes=1)
    image = net.input("image")
    net.add("add" + HOSTILE, image, net.conv(HOSTILE, image, kernel=3))
    path = save(net)
    code = 1 if command == "check" else 0
    assert cli.main([command, path, "--format", form]) == code
    printed = capsys.readouterr().out
    assert printed.replace("\r\n", "").replace("\n", "").isprintable()
    if form == "json":
        document = json.loads(printed)
        names = [entry["name"] for entry in document["layers"]] if code == 0 else document["findings"][0]["node"]
        assert "add" + HOSTILE in names
    else:
        assert r"\x1b]0;owned\x07" in (re.sub(r"\\([^\w\s])", r"\1", printed) if form == "md" else printed)
        assert "größe" in printed
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("NO_COLOR", "1")
    assert cli.main([command, path, "--format", form]) == code
    assert "\x1b]" not in terminal.getvalue()
    assert "\x07" not in terminal.getvalue()
    assert "\u202e" not in terminal.getvalue()


def test_errors_do_not_reach_the_terminal_raw(capsys: pytest.CaptureFixture[str], save: Save) -> None:
    net = Network("hostile", axes=1)
    net.conv(HOSTILE, net.input("image"), kernel=3)
    said = refused(capsys, "region", save(net), HOSTILE[:-1], "0")
    assert said.isprintable()
    assert "near: " in said


def test_names_outside_the_encoding_of_the_stream(save: Save) -> None:
    net = Network("net", axes=1)
    net.conv("größe-層", net.input("image"), kernel=3)
    done = python("-m", "rfgraph", "summary", save(net), environment={"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"})
    assert (done.returncode, done.stderr) == (0, "")
    assert r"gr\xf6\xdfe-\u5c64" in done.stdout


def strided(layers: int) -> Network:
    """Return a chain whose stride is 2 to the power of its length, behind which one pixel meets three."""
    net = Network("deep", axes=1)
    x = net.input("image")
    for index in range(layers):
        x = net.conv(f"conv{index}", x, kernel=2, stride=2)
    net.add("add", x, net.conv("last", x, kernel=3))
    return net


def test_long_numbers_are_exact(capsys: pytest.CaptureFixture[str], save: Save) -> None:
    path = save(strided(9_900))  # 2 ** 9900 has 2,981 digits
    assert cli.main(["region", path, "add", "1", "--format", "json"]) == 0
    box = json.loads(capsys.readouterr().out)["box"]
    assert box == [{"axis": "t", "first": 2**9_900, "last": 4 * 2**9_900 - 1}]
    assert cli.main(["check", path]) == 1
    assert "  branch     r ~%s, S ~%s, P 0: conv9899 -> add\n" % (("1.57e+2980",) * 2) in capsys.readouterr().out


def test_numbers_longer_than_python_writes_are_unknown(capsys: pytest.CaptureFixture[str], save: Save) -> None:
    """Python converts no integer of more than 4,300 digits unless told to; 2 ** 15000 has 4,516."""
    limit = sys.get_int_max_str_digits()
    assert cli.main(["region", save(strided(15_000)), "add", "1", "--format", "json"]) == 2
    assert "node 'conv10000' (conv), axis t: its stride has more than 3000 digits" in capsys.readouterr().err
    assert sys.get_int_max_str_digits() == limit


# Requests that cannot be read


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_a_model_that_is_not_there(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, command: tuple[str, ...]
) -> None:
    path = str(tmp_path / "missing.json")
    assert path in refused(capsys, command[0], path, *command[1:])


def test_models_that_cannot_be_read(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "broken.json"
    path.write_text("{")
    assert "broken.json" in refused(capsys, "summary", str(path))
    assert "vgg_16" in refused(capsys, "summary", "zoo:vgg_61")
    assert str(tmp_path) in refused(capsys, "summary", str(tmp_path))


def test_models_that_cannot_be(capsys: pytest.CaptureFixture[str], save: Save) -> None:
    g = nx.DiGraph(name="bad", axes=1)
    g.add_node("image", op="input")
    g.add_node("conv", op="conv", kernel=3, stride=0)
    g.add_edge("image", "conv")
    said = refused(capsys, "summary", save(g))
    assert "node 'conv' (conv), axis t: stride 0 is not a positive integer" in said


@pytest.mark.parametrize("size", ["0", "224x0", "1x2x3"])
def test_input_sizes_that_cannot_be(capsys: pytest.CaptureFixture[str], aligned: str, size: str) -> None:
    assert "input_size" in refused(capsys, "summary", aligned, "--input-size", size)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("explain",), "invalid choice: 'explain'"),
        (("summary",), "required: MODEL"),
        (("summary", "m.json", "--input-size", "big"), "'big' is not a size; write 224, 224x320 or NAME=224"),
        (("summary", "m.json", "--input-size", "-3"), "'-3' is not a size"),
        (("summary", "m.json", "--input-size", "٣"), "is not a size"),
        (("summary", "m.json", "--input-size", "1" * 5000), "is not a size"),
        (("summary", "m.json", "--treat", "op"), "'op' is not a treatment; write PATTERN=identity, =global or =cut"),
        (("region", "m.json", "conv", "3,a"), "'3,a' is not an index; write one number per axis, as 3,5"),
        (("region", "m.json", "conv"), "required: INDEX"),
        (("check", "m.json", "--fail-on", "never"), "invalid choice: 'never'"),
        (("check", "m.json", "--fail", "note"), "unrecognized arguments: --fail"),
        (("summary", "m.json", "--format", "xml"), "invalid choice: 'xml'"),
        (("zoo", "vgg_16"), "unrecognized arguments: vgg_16"),
    ],
)
def test_arguments_that_cannot_be_read(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], said: str
) -> None:
    assert said in misused(capsys, *arguments)


def test_names_that_are_no_strings(capsys: pytest.CaptureFixture[str], save: Save) -> None:
    g = nx.DiGraph(name="numbered", axes=1)
    g.add_node(0, op="input")
    g.add_node(1, op="conv", kernel=3)
    g.add_edge(0, 1)
    path = save(g)
    assert run_json(capsys, "region", path, "1", "5")["box"][0] == {"axis": "t", "first": 5, "last": 7}
    assert run_json(capsys, "summary", path, "--source", "0")["source"] == "0"
    assert run_json(capsys, "trace", path, "--output", "1")["output"] == "1"
    assert run_json(capsys, "summary", path, "--input-size", "0=9")["input_size"] == [9]


def test_interrupts_are_quiet(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("rfgraph.importers.load", interrupted)
    assert cli.main(["summary", "zoo:vgg_16"]) == 130
    assert capsys.readouterr() == ("", "")


# The process


def test_help_and_version(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    for arguments, said in (
        (["--help"], "exit codes:"),
        (["check", "--help"], "is shown and counts as a warning"),
        (["summary", "--help"], "  r      receptive field size in pixels\n"),
        (["summary", "--help"], '"a..b" goes from a to b by the input size'),
        (["sizes", "--help"], "holds for 80, 88, 96 and so on"),
        (["--version"], f"rfgraph {rfgraph.__version__}\n"),
    ):
        with pytest.raises(SystemExit) as caught:
            cli.main(arguments)
        assert caught.value.code == 0
        out = capsys.readouterr().out
        assert said in out
        assert max(map(len, out.splitlines())) <= 80


HEAVY = {"numpy", "networkx", "rich", "onnx"}

MODULES = """\
import sys
from rfgraph.cli import main
code = 0
try:
    code = main(sys.argv[1:])
except SystemExit as stop:
    code = stop.code
print("modules:", *sorted(set(sys.modules) & {"numpy", "networkx", "rich", "onnx", "rfgraph.present.as_csv"}))
sys.exit(code)
"""


def modules(*arguments: str) -> set[str]:
    """Return which of the modules that matter a command imports."""
    done = python("-c", MODULES, *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    return set(done.stdout.splitlines()[-1].split()[1:])


@pytest.mark.parametrize("arguments", [("--help",), ("summary", "--help"), ("--version",)])
def test_help_imports_nothing_heavy(arguments: tuple[str, ...]) -> None:
    assert modules(*arguments) & HEAVY == set()


def test_a_command_imports_what_it_needs(aligned: str) -> None:
    assert modules("summary", aligned) == {"networkx"}
    assert modules("summary", aligned, "--format", "md") == {"networkx"}
    assert modules("summary", aligned, "--format", "csv") == {"networkx", "rfgraph.present.as_csv"}
    assert modules("check", aligned, "--format", "json") == {"networkx"}
    assert modules("region", aligned, "add", "0,0", "--input-size", "64") == {"networkx", "numpy"}


def test_python_m_rfgraph(misaligned: str) -> None:
    done = python("-m", "rfgraph", "check", misaligned)
    assert (done.returncode, done.stderr) == (1, "")
    assert "warning RF002 misaligned" in done.stdout
    done = python("-m", "rfgraph", "summary", "zoo:nothing")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("rfgraph: ")


@pytest.mark.skipif(os.name != "posix", reason="pipes of a POSIX shell")
def test_a_reader_that_has_gone_ends_it_quietly(save: Save) -> None:
    net = Network("long", axes=1)
    x = net.input("image")
    for index in range(5_000):
        x = net.conv(f"conv{index}", x, kernel=3)
    command = [sys.executable, "-m", "rfgraph", "summary", save(net)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=BUFFERED) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_full_disk_is_an_error(aligned: str) -> None:
    command = [sys.executable, "-m", "rfgraph", "summary", aligned]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, env=BUFFERED)
    assert done.returncode == 2
    assert done.stderr == "rfgraph: [Errno 28] No space left on device\n"
