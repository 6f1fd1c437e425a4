"""Reports as data: what solved them, copies and pickles, rows and dicts, methods that editors know."""

from __future__ import annotations

import copy
import inspect
import json
import pickle
import sys
from fractions import Fraction
from pathlib import Path

import pytest

import rfgraph
from rfgraph import cli
from rfgraph.errors import MissingExtraError
from rfgraph.graph import methods
from rfgraph.importers import node_link
from rfgraph.ops import KINDS
from rfgraph.questions.context import GlobalContext
from rfgraph.questions.findings import Finding
from rfgraph.questions.holes import Holes
from rfgraph.questions.productivity import Unproductive

FINDINGS = {
    "misaligned": rfgraph.Misalignment,
    "by size": rfgraph.SizeDependent,
    "global": rfgraph.GlobalContext,
    "holes": rfgraph.Holes,
    "unproductive": rfgraph.Unproductive,
}


def network(kind):
    """A network with a finding of a kind."""
    net = rfgraph.Network(kind, axes=1)
    x = net.input("x", size=None if kind == "by size" else 8)
    if kind == "global":
        net.mul("mul", x, net.global_avg_pool("pool", x))
    elif kind == "holes":
        net.conv("conv", x, kernel=3, dilation=2)
    elif kind == "unproductive":
        net.conv("last", net.conv("conv", x, kernel=15, padding=7), kernel=3, padding=1)
    else:
        padding, kernel = ("same", 1) if kind == "by size" else ([[0, 1]], 2)
        right = net.max_pool("right", x, kernel=kernel, stride=2)
        net.add("add", net.conv("left", x, kernel=3, stride=2, padding=padding), right)
    return net


def main(*arguments):
    """Run the command line."""
    assert cli.main(list(map(str, arguments))) == 0


HOW = {"copy": copy.copy, "deepcopy": copy.deepcopy, "pickle": lambda x: pickle.loads(pickle.dumps(x))}


@pytest.mark.parametrize("how", HOW.values(), ids=HOW)
@pytest.mark.parametrize("kind", FINDINGS)
def test_reports_layers_traces_and_findings_are_copied_and_pickled(kind, how):
    report = rfgraph.analyze(network(kind))
    again = how(report)
    assert list(again) == list(report)
    assert [again[node] for node in again] == [report[node] for node in report]
    assert (again.outputs, again.aligned, again.engine) == (report.outputs, report.aligned, report.engine)
    assert list(map(str, again.findings)) == list(map(str, report.findings))
    finding = next(f for f in report.findings if isinstance(f, FINDINGS[kind]))
    same = how(finding)
    assert (same, same.message, same.advice) == (finding, finding.message, finding.advice)
    if isinstance(finding, rfgraph.Misalignment):
        assert same.branch.path == finding.branch.path
        assert same.repair == finding.repair
    layer = report[report.outputs[0]]
    assert (how(layer), how(layer).cost) == (layer, layer.cost)
    trace = rfgraph.trace(network(kind))
    assert how(trace).layers == trace.layers


def test_a_copied_report_keeps_how_it_was_asked_for():
    net = network("global")
    report = rfgraph.analyze(net, input_size=9, treat={"pool": "identity"}, alignment="center", source="x")
    again = pickle.loads(pickle.dumps(report))
    assert again["x"].map_size == (9,)
    assert again.treated == report.treated
    assert again["mul"].is_global == report["mul"].is_global == (False,)


def test_a_finding_is_told_by_its_message():
    (finding,) = (f for f in rfgraph.analyze(network("misaligned")).findings if isinstance(f, rfgraph.Misalignment))
    assert str(finding) == f"{finding}" == finding.message
    assert finding.offset == Fraction(-1, 2)
    assert {GlobalContext, Holes, Unproductive} < set(FINDINGS.values())
    assert all(issubclass(kind, Finding) for kind in FINDINGS.values())


def test_rows_have_exact_numbers():
    net = rfgraph.Network("up", axes=2)
    up = net.resize("up", net.conv("conv", net.input("x"), kernel=3, stride=(2, 1), padding=1), scale=4)
    net.flatten("flat", up)
    rows = rfgraph.analyze(net, input_size=(8, 6)).to_records()
    by_name = {row["layer"]: row for row in rows}
    assert list(by_name) == ["x", "conv", "up", "flat"]
    assert (by_name["up"]["S_y"], by_name["up"]["S_x"]) == (Fraction(1, 2), Fraction(1, 4))
    assert (by_name["up"]["n_y"], by_name["conv"]["P_x"], by_name["conv"]["r_y"]) == (16, 1, 3)
    assert (by_name["flat"]["r_y"], by_name["flat"]["global_y"], by_name["up"]["global_y"]) == (None, True, False)


def test_a_dict_is_json_and_says_what_the_command_line_says(tmp_path, capsys):
    net = network("misaligned")
    data = rfgraph.analyze(net).to_dict()
    assert json.loads(json.dumps(data)) == data
    node_link.save(net.graph, tmp_path / "net.json")
    main("summary", tmp_path / "net.json", "--all", "--format", "json")
    summary = json.loads(capsys.readouterr().out)
    shared = ("name", "axes", "source", "input_size", "outputs", "aligned", "layers")
    assert {key: summary[key] for key in shared} == {key: data[key] for key in shared}
    assert [(f["rule"], f["node"]) for f in data["findings"]] == [("RF002", "add")]


def test_a_data_frame_has_the_rows():
    pytest.importorskip("pandas")
    report = rfgraph.analyze(network("holes"))
    frame = report.to_dataframe()
    assert list(frame.index) == list(report)
    assert frame.loc["conv", "r_t"] == 5


def test_without_pandas_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingExtraError, match="pip install pandas"):
        rfgraph.analyze(network("holes")).to_dataframe()


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"source": "left"}, "measured at a node that is not the input"),
        ({"input_size": {"x": 8}}, "sizes are given by name"),
        ({"treat": {"left": "cut"}}, "treat says what some nodes read"),
        ({"batch_norm": "training"}, "batch normalisation is taken as in training"),
    ],
)
def test_a_report_says_why_the_walk_did_not_solve_it(options, why):
    report = rfgraph.analyze(network("misaligned"), **options)
    assert report.engine.name == "passes"
    assert why in str(report.engine)


@pytest.mark.parametrize(
    ("op", "attributes", "why"),
    [
        ("resize", {"scale": 2, "bound": "a mask"}, "op 'resize' may read less than its window"),
        ("adaptive_avg_pool", {"size": 3}, "op 'adaptive_avg_pool' reads"),
        ("unknown", {"of": "Foo"}, "Foo"),
    ],
)
def test_the_op_that_is_not_plain_is_named(op, attributes, why):
    net = rfgraph.Network(axes=1)
    net.node(op, "it", net.input("x"), **attributes)
    assert why in rfgraph.analyze(net).engine.why


def test_summary_tells_the_engine_when_asked(tmp_path, capsys):
    node_link.save(network("misaligned").graph, tmp_path / "net.json")
    main("summary", tmp_path / "net.json")
    assert "engine:" not in capsys.readouterr().out
    main("summary", tmp_path / "net.json", "--verbose")
    assert "engine: walk: each op reads one interval" in capsys.readouterr().out


def test_outputs_are_named_on_the_command_line(tmp_path, capsys):
    net = network("misaligned")
    net.graph.graph["outputs"] = {"sum": "add", "skip": "left"}
    node_link.save(net.graph, tmp_path / "net.json")
    main("trace", tmp_path / "net.json", "--output", "skip", "--format", "json")
    assert json.loads(capsys.readouterr().out)["output"] == "left"
    main("summary", tmp_path / "net.json")
    assert "outputs: sum = add (" in capsys.readouterr().out


def test_the_stub_of_the_builder_tells_every_method():
    path = Path(methods.__file__).with_suffix(".pyi")
    assert path.read_text() == methods.signatures(), f"run: python -m {methods.__name__} > rfgraph/graph/{path.name}"


@pytest.mark.parametrize("op", KINDS)
def test_methods_of_the_builder_have_signatures(op):
    net = rfgraph.Network()
    signature = inspect.signature(getattr(net, op))
    assert "name" in signature.parameters
    assert op in dir(net)
    with pytest.raises(AttributeError, match=r"conv2d.*near: conv"):
        net.conv2d  # noqa: B018
