"""Repairs carried out: what was chosen is gone from the result, and nothing serious is new in it."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import networkx as nx
import pytest
import strategies
from hypothesis import given, settings

import rfgraph
from rfgraph import Network, Report, cli
from rfgraph.editing.repair import repaired
from rfgraph.questions.findings import Finding

Capture = pytest.CaptureFixture[str]


def wrong(report: Report) -> list[Finding]:
    return [finding for finding in report.findings if finding.severity != "note"]


def off(name: str = "off", *paddings: Any) -> Network:
    net = Network(name, axes=1)
    x = net.input("x", channels=2)
    for i, padding in enumerate(paddings or ([[0, 2]],)):
        x = net.add(f"add{i}", x, net.conv(f"conv{i}", x, kernel=3, padding=padding, channels=2))
    return net


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def save(net: Network) -> str:
    path = f"{net.graph.name}.json"
    Path(path).write_text(json.dumps(nx.node_link_data(net.graph, edges="edges")))
    return path


# Networks


@settings(max_examples=60)
@given(strategies.networks(inputs=strategies.st.just(1), drift=False))
def test_what_is_repaired_is_gone_and_nothing_serious_is_new(graph: nx.DiGraph) -> None:
    before = nx.node_link_data(graph, edges="edges")
    result = repaired(graph, rfgraph.analyze, wrong)
    assert nx.node_link_data(graph, edges="edges") == before
    again = rfgraph.analyze(result.graph)
    first = rfgraph.analyze(graph)
    counts = [Counter((finding.rule, finding.node) for finding in wrong(report)) for report in (first, again)]
    assert not counts[1] - counts[0]
    assert len(wrong(again)) == len(result.left)
    assert len(wrong(first)) >= len(result.left) + (1 if result.done else 0)
    assert [str(finding) for finding, _ in result.left] == [str(finding) for finding in wrong(again)]
    if not result.done:
        assert result.graph is graph


def test_repairs_that_only_help_one_by_one() -> None:
    """Three branches, of which two are off: each finding has a repair of its own."""
    net = Network("wide", axes=1)
    x = net.input("x")
    net.concat("concat", *(net.conv(f"c{i}", x, kernel=3, padding=[[i, 2 - i]]) for i in range(3)), x)
    result = repaired(net.graph, rfgraph.analyze, wrong)
    assert wrong(rfgraph.analyze(result.graph)) == []
    assert len({repair.node for _, repair in result.done}) == 2


def test_what_no_padding_repairs_is_left_and_says_why() -> None:
    net = off("half", [[0, 2]])
    net.add("even", "add0", net.conv("two", "add0", kernel=2, padding=[[0, 1]], channels=2))
    result = repaired(net.graph, rfgraph.analyze, wrong)
    assert [finding.node for finding, _ in result.done] == ["add0"]
    ((finding, why),) = result.left
    assert finding.node == "even"
    assert why.startswith("no change of padding repairs it")


# On the command line


def test_a_network_is_repaired(capsys: Capture) -> None:
    path = save(off("off", [[0, 2]], [[2, 0]], [[0, 2]]))
    before = Path(path).read_bytes()
    assert cli.main(["repair", path, "-o", "good.json"]) == 0
    out = capsys.readouterr().out
    assert "repaired warning RF002 misaligned\n  merge 'add0'" in out
    assert "  repaired   change padding of 'conv0' from [[0, 2]] to [[1, 1]]\n" in out
    assert out.endswith(
        "good.json: 2 repaired, 0 left; none of those repaired is found in it\n"
        "weights were trained with the old paddings: train or tune them again\n"
    )
    assert cli.main(["check", "good.json"]) == 0
    assert Path(path).read_bytes() == before
    nodes = {node["id"]: node for node in json.loads(Path("good.json").read_text())["nodes"]}
    assert [nodes[f"conv{i}"]["padding"] for i in range(3)] == [[[1, 1]], [[2, 0]], [[1, 1]]]


def test_only_what_is_chosen_is_repaired(capsys: Capture) -> None:
    path = save(off("off", [[0, 2]], [[0, 2]]))
    assert cli.main(["repair", path, "-o", "one.json", "--node", "add1"]) == 0
    assert [finding.node for finding in wrong(rfgraph.analyze("one.json"))] == ["add0"]
    assert cli.main(["repair", path, "-o", "accepted.json", "--accept", "RF002:add1"]) == 0
    assert [finding.node for finding in wrong(rfgraph.analyze("accepted.json"))] == ["add1"]
    capsys.readouterr()
    assert cli.main(["repair", path, "-o", "none.json", "--select", "RF001"]) == 0
    assert capsys.readouterr().out == "nothing to repair, so nothing was written\n"
    assert not Path("none.json").exists()


def test_what_is_left_fails(capsys: Capture) -> None:
    net = Network("half", axes=1)
    x = net.input("x")
    net.add("add", x, net.conv("two", x, kernel=2, padding=[[0, 1]]))
    path = save(net)
    assert cli.main(["repair", path, "-o", "out.json"]) == 1
    assert capsys.readouterr().out.endswith("\nnothing repaired, nothing written\n")
    assert not Path("out.json").exists()
    document = None
    assert cli.main(["repair", path, "-o", "out.json", "--format", "json"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert (document["file"], document["repaired"], document["left"][0]["node"]) == (None, [], "add")


def test_what_looks_ahead_is_made_causal() -> None:
    net = Network("ahead", axes=1)
    net.conv("b", net.conv("a", net.input("x"), kernel=3, padding=1), kernel=5, stride=2, padding=2)
    path = save(net)
    assert cli.main(["repair", path, "-o", "causal.json", "--causal", "t"]) == 0
    assert rfgraph.analyze("causal.json").latency().causal
    assert cli.main(["check", "causal.json", "--causal", "t"]) == 0


def test_attributes_and_names_of_a_network_stay() -> None:
    graph = nx.MultiDiGraph(name="odd", axes=2, outputs=[("a", 1)])
    graph.add_node(7, op="input", size=[32, 32])
    graph.add_node("conv", op="conv", kernel=3, padding=[[0, 2], [1, 1]], label="mine")
    graph.add_node(("a", 1), op="add")
    graph.add_edge(7, "conv")
    graph.add_edge(7, ("a", 1), slot=0)
    graph.add_edge("conv", ("a", 1), slot=1)
    Path("odd.json").write_text(json.dumps(nx.node_link_data(graph, edges="edges")))
    assert cli.main(["repair", "odd.json", "-o", "good.json"]) == 0
    made = rfgraph.load("good.json")
    assert dict(made.nodes(data=True)) == {
        **dict(rfgraph.load("odd.json").nodes(data=True)),
        "conv": {"op": "conv", "kernel": 3, "padding": [[1, 1], [1, 1]], "label": "mine"},
    }
    assert list(made.edges(keys=True, data=True)) == list(rfgraph.load("odd.json").edges(keys=True, data=True))
    assert made.graph == rfgraph.load("odd.json").graph


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["missing.json", "-o", "out.json"], "missing.json: there is no such file"),
        (["off.json", "-o", "off.json"], "-o off.json: it is the model itself"),
        (["off.json", "-o", "out.pt2"], "-o out.pt2: it ends in none of .onnx, .json"),
        (["off.json", "-o", "out.onnx"], "-o out.onnx: only ONNX models are written as .onnx"),
        (["bad.json", "-o", "out.json"], "bad.json: not JSON"),
        (["folder.json", "-o", "out.json"], "folder.json: it is a directory"),
        (["off.json", "-o", "out.json", "--select", "RF2"], "--select: 'RF2' is no rule"),
        (["model.keras", "-o", "out.json"], "-o out.json: only networks are written as .json"),
    ],
)
def test_what_is_refused(capsys: Capture, arguments: list[str], said: str) -> None:
    save(off())
    Path("bad.json").write_text("{")
    Path("folder.json").mkdir()
    assert cli.main(["repair", *arguments]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert said in err
    assert not Path("out.json").exists()


# ONNX


def graph_of(nodes: list[Any], constants: dict[str, list[int]], version: int = 17, size: int = 16) -> None:
    """Write a model of an image of 4 channels; all convolutions have the weights ``w``, 4 x 4 x 3 x 3."""
    helper, types = onnx().helper, onnx().TensorProto
    stored = [helper.make_tensor("w", types.FLOAT, [4, 4, 3, 3], [0.5] * 144)]
    stored += [helper.make_tensor(name, types.INT64, [len(values)], values) for name, values in constants.items()]
    image = helper.make_tensor_value_info("x", types.FLOAT, [1, 4, size, size])
    output = helper.make_tensor_value_info("y", types.FLOAT, [1, 4, "oh", "ow"])
    graph = helper.make_graph(nodes, "net", [image], [output], stored)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", version)], ir_version=8)
    Path("m.onnx").write_bytes(made.SerializeToString())


def onnx() -> Any:
    return pytest.importorskip("onnx")


def node(op: str, reads: str, makes: str, **attributes: Any) -> Any:
    return onnx().helper.make_node(op, reads.split(), [makes], f"{makes}_node", **attributes)


WINDOW = {"kernel_shape": [3, 3], "strides": [1, 1]}
ADD = ("Add", "x a", "y")


def cases() -> dict[str, tuple[list[Any], dict[str, list[int]], int]]:
    """Branches that are off, by what pads them; the name tells which node is changed."""
    off_by = {"pads": [0, 1, 2, 1]}
    return {
        "Conv": ([node("Conv", "x w", "a", **WINDOW, **off_by), node(*ADD)], {}, 17),
        "MaxPool": ([node("MaxPool", "x", "a", **WINDOW, **off_by), node(*ADD)], {}, 17),
        "AveragePool": ([node("AveragePool", "x", "a", **WINDOW, **off_by, count_include_pad=1), node(*ADD)], {}, 11),
        "Pad": (
            [node("Pad", "x p", "q"), node("Conv", "q w", "a", kernel_shape=[3, 3]), node(*ADD)],
            {"p": [0, 0, 0, 1, 0, 0, 2, 1]},
            17,
        ),
        "old Pad": (
            [node("Pad", "x", "q", pads=[0, 0, 0, 1, 0, 0, 2, 1]), node("Conv", "q w", "a", **WINDOW), node(*ADD)],
            {},
            10,
        ),
        "SAME": (
            [
                node("Conv", "x w", "a", kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_UPPER"),
                node("Conv", "x w", "b", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
                node("Add", "a b", "y"),
            ],
            {},
            17,
        ),
        "inserted": (
            [
                node("Conv", "x w", "h", **WINDOW, pads=[1, 1, 1, 1]),
                node("Slice", "h one end axes", "s"),
                node("Slice", "h zero last axes", "a"),
                node("Add", "s a", "y"),
            ],
            {"zero": [0], "one": [1], "last": [15], "end": [16], "axes": [2]},
            17,
        ),
        "cropped": (
            [
                node("Conv", "x w", "a", kernel_shape=[3, 3]),
                node("Slice", "x zero last axes", "s"),
                node("Add", "s a", "y"),
            ],
            {"zero": [0, 0], "last": [14, 14], "axes": [2, 3]},
            13,
        ),
    }


@pytest.mark.parametrize("name", ["Conv", "MaxPool", "AveragePool", "Pad", "old Pad", "SAME", "inserted", "cropped"])
def test_onnx_models_are_repaired(capsys: Capture, name: str) -> None:
    graph_of(*cases()[name])
    before = Path("m.onnx").read_bytes()
    assert len(wrong(rfgraph.analyze("m.onnx"))) == 1
    assert cli.main(["repair", "m.onnx", "-o", "good.onnx"]) == 0
    assert "good.onnx: 1 repaired, 0 left" in capsys.readouterr().out
    assert cli.main(["check", "good.onnx"]) == 0
    assert Path("m.onnx").read_bytes() == before
    old, new = onnx().load("m.onnx").graph, onnx().load("good.onnx").graph
    onnx().checker.check_model(onnx().load("good.onnx"))
    kept = {made.name for made in new.node}
    assert all(made.name in kept for made in old.node)
    same = [made for made in old.node if made in list(new.node)]
    assert len(same) >= len(old.node) - 1
    assert all(tensor in list(new.initializer) for tensor in old.initializer)


@pytest.mark.parametrize("name", ["Conv", "MaxPool", "AveragePool", "Pad", "SAME", "inserted", "cropped"])
def test_what_is_repaired_runs_and_reads_what_is_said(name: str) -> None:
    """An impulse in the input moves the output where the fields of the repaired model say, and only there."""
    np = pytest.importorskip("numpy")
    runtime = pytest.importorskip("onnxruntime")
    graph_of(*cases()[name])
    assert cli.main(["repair", "m.onnx", "-o", "good.onnx"]) == 0
    session = runtime.InferenceSession("good.onnx", providers=["CPUExecutionProvider"])
    zero = np.zeros((1, 4, 16, 16), np.float32)
    rest = session.run(None, {"x": zero})[0]
    report = rfgraph.analyze("good.onnx")
    (output,) = report.outputs
    assert rest.shape[2:] == report[output].map_size
    impulse = zero.copy()
    impulse[:, :, 8, 8] = 1
    moved = np.argwhere(session.run(None, {"x": impulse})[0] != rest)[:, 2:]
    fits = {
        (y, x) for y in range(rest.shape[2]) for x in range(rest.shape[3])
        for box in [report.region(output, (y, x)).box] if box is not None and all(a <= 8 <= b for a, b in box)
    }  # fmt: skip
    assert {tuple(map(int, place)) for place in moved} == fits


def test_what_onnx_cannot_say_is_refused(capsys: Capture) -> None:
    """A pool without padding, one position late: it would need less than none on one side."""
    graph_of(
        [
            node("MaxPool", "x", "a", kernel_shape=[3, 3]),
            node("Slice", "x starts ends axes", "s"),
            node("Add", "s a", "y"),
        ],
        {"starts": [0, 0], "ends": [14, 14], "axes": [2, 3]},
    )
    assert cli.main(["repair", "m.onnx", "-o", "good.onnx"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "to [[1, -1], [1, -1]]; ONNX has no negative pads there" in err
    assert not Path("good.onnx").exists()


def test_padding_inside_a_function_is_refused(capsys: Capture) -> None:
    helper = onnx().helper
    types = onnx().TensorProto
    inside = helper.make_function(
        "local", "Block", ["a", "w"], ["b"],
        [helper.make_node("Conv", ["a", "w"], ["b"], "inner", kernel_shape=[3, 3], pads=[0, 0, 2, 2])],
        [helper.make_opsetid("", 17)],
    )  # fmt: skip
    nodes = [helper.make_node("Block", ["x", "w"], ["a"], "block", domain="local"), node(*ADD)]
    image = helper.make_tensor_value_info("x", types.FLOAT, [1, 4, 16, 16])
    output = helper.make_tensor_value_info("y", types.FLOAT, [1, 4, "oh", "ow"])
    weight = helper.make_tensor("w", types.FLOAT, [4, 4, 3, 3], [0.5] * 144)
    graph = helper.make_graph(nodes, "net", [image], [output], [weight])
    versions = [helper.make_opsetid("", 17), helper.make_opsetid("local", 1)]
    made = helper.make_model(graph, opset_imports=versions, functions=[inside], ir_version=8)
    Path("m.onnx").write_bytes(made.SerializeToString())
    assert cli.main(["repair", "m.onnx", "-o", "good.onnx"]) == 2
    assert "the file has no padding of it that could be changed (it is a Block there)" in capsys.readouterr().err
    assert not Path("good.onnx").exists()
