"""Where in the user's code a finding is: from a live module and from a saved file, in every format that is shown."""

from __future__ import annotations

import csv
import importlib.util
import io
import json
import textwrap

import networkx
import pytest

import rfgraph
from rfgraph import Network, cli

torch = pytest.importorskip("torch")

SOURCE = """
    import torch
    from torch import nn

    import rfgraph


    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.wide = nn.Conv2d(2, 2, 5, padding=2)
            self.narrow = nn.Conv2d(2, 2, 3)

        def forward(self, x):
            a = torch.relu(self.wide(x))
            b = self.narrow(x)
            return a[:, :, :-2, :-2] + b  # cut to the size of b, but at one end only


    def network():
        return rfgraph.load(Net(), example=(1, 2, 16, 16))
"""


def line_of(text):
    (found,) = [number for number, line in enumerate(textwrap.dedent(SOURCE).splitlines(), 1) if text in line]
    return found


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The code, and the model that it makes, saved."""
    directory = tmp_path_factory.mktemp("user")
    source = directory / "net.py"
    source.write_text(textwrap.dedent(SOURCE))
    spec = importlib.util.spec_from_file_location("net", source)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    program = torch.export.export(module.Net(), (torch.zeros(1, 2, 16, 16),), strict=False)
    torch.export.save(program, directory / "net.pt2")
    return source, module.Net, directory / "net.pt2"


@pytest.fixture(params=["function", "file", "module"])
def told(request, files):
    """What rfgraph makes of the model, and where the merge and the convolution are called that do not fit."""
    source, module, saved = files
    model = {"function": f"{source}:network", "file": str(saved), "module": module()}[request.param]
    example = (1, 2, 16, 16) if request.param == "module" else None
    at = [f"{source}:{line_of(text)}" for text in ("+ b", "self.wide(x)")]
    return rfgraph.analyze(model, example=example), *at


def test_findings_and_layers_say_where_they_are(told):
    report, merge, conv = told
    (finding,) = [finding for finding in report.findings if finding.rule == "RF002"]
    assert (finding.node, finding.location) == ("add", merge)
    assert finding.repair.node == "wide"
    assert (report["wide"].location, report["add"].location) == (conv, merge)
    assert report[report.source].location == ""


@pytest.mark.parametrize("which", ["function", "file"])
def test_every_format_shows_where_a_finding_is(which, files, capsys):
    source, _, saved = files
    model = f"{source}:network" if which == "function" else str(saved)
    merge, conv = (f"{source}:{line_of(text)}" for text in ("+ b", "self.wide(x)"))

    def shown(command, form):
        assert cli.main([command, model, "--format", form]) == (1 if command == "check" else 0)
        return capsys.readouterr().out

    table = shown("check", "table").splitlines()
    assert f"  location   {merge}" in [line.rstrip() for line in table]
    assert any(line.startswith("  advice") and line.endswith(f"(at {conv})") for line in table)
    markdown = shown("check", "md")
    assert "| finding | message | location | reference | branch | advice |" in markdown
    assert merge in markdown.replace("\\", "")
    document = json.loads(shown("check", "json"))
    (finding,) = [finding for finding in document["findings"] if finding["rule"] == "RF002"]
    assert (finding["location"], finding["repair"]["location"]) == (merge, conv)
    (row,) = [row for row in csv.DictReader(io.StringIO(shown("check", "csv"))) if row["rule"] == "RF002"]
    assert row["location"] == merge
    layers = {layer["name"]: layer for layer in json.loads(shown("summary", "json"))["layers"]}
    assert (layers["wide"]["location"], layers["x"]["location"]) == (conv, "")
    rows = {row["layer"]: row for row in csv.DictReader(io.StringIO(shown("summary", "csv")))}
    assert (rows["add"]["location"], rows["x"]["location"]) == (merge, "")


def test_a_graph_may_say_where_its_nodes_are_and_most_do_not(tmp_path, capsys):
    net = Network("by_hand", axes=1)
    x = net.input("x")
    net.add("add", net.conv("conv", x, kernel=3), x, location="model.yaml:12")
    assert [finding.location for finding in rfgraph.analyze(net).findings] == ["model.yaml:12"]
    del net.graph.nodes["add"]["location"]
    (finding,) = rfgraph.analyze(net).findings
    assert finding.location == ""
    path = tmp_path / "net.json"
    path.write_text(json.dumps(networkx.node_link_data(net.graph, edges="edges")))
    assert cli.main(["check", str(path), "--format", "md"]) == 1
    assert "| finding | message | reference | branch | advice |" in capsys.readouterr().out


def test_a_merge_that_cannot_be_checked_is_located_too(capsys, tmp_path):
    net = Network("unchecked", axes=1)
    x = net.input("x")
    net.add("add", net.node("unknown", "mystery", x, of="mystery"), x, location="model.yaml:7")
    path = tmp_path / "net.json"
    path.write_text(json.dumps(networkx.node_link_data(net.graph, edges="edges")))
    assert cli.main(["check", str(path)]) == 1
    assert "model.yaml:7" in capsys.readouterr().out
    cli.main(["check", str(path), "--format", "json"])
    assert json.loads(capsys.readouterr().out)["unchecked"][0]["location"] == "model.yaml:7"
    cli.main(["check", str(path), "--format", "csv"])
    (row,) = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert row["location"] == "model.yaml:7"
