"""One command on several models: what each answers, what of them cannot be read, and the exit code."""

from __future__ import annotations

import csv
import io
import json
from argparse import Namespace
from pathlib import Path

import networkx as nx
import pytest

from rfgraph import Network, cli
from rfgraph.cli.several import Outcome, each_model
from rfgraph.cli.targets import expanded
from rfgraph.errors import ModelFileError


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with an image network, a signal network, and a file that is none."""
    monkeypatch.chdir(tmp_path)
    for name, axes in (("image", 2), ("signal", 1)):
        net = Network(name, axes=axes)
        net.conv("conv", net.input("x"), kernel=3)
        Path(f"{name}.json").write_text(json.dumps(nx.node_link_data(net.graph, edges="edges")))
    return tmp_path


def said_of(options: Namespace) -> tuple[str, int]:
    if "broken" in options.model:
        raise ModelFileError(f"{options.model}: it is broken")
    if "odd" in options.model:
        raise ZeroDivisionError("division by zero")
    return options.model.upper(), len(options.model)


def test_each_model_is_done_and_what_fails_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    outcomes = list(each_model(["a", "broken", "odd", "bb"], Namespace(verbose=False), said_of))
    assert outcomes[0] == Outcome("a", 1, "A")
    assert outcomes[1] == Outcome("broken", 2, None, "broken: it is broken")
    assert (outcomes[2].code, outcomes[2].answer) == (3, None)
    assert outcomes[3] == Outcome("bb", 2, "BB")
    broken, odd = capsys.readouterr().err.splitlines()
    assert broken == "rfgraph: broken: it is broken"
    assert odd.startswith("rfgraph: odd: an error in rfgraph itself, ZeroDivisionError at several.py:")


def test_of_one_model_errors_are_raised(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ModelFileError, match="it is broken"):
        list(each_model(expanded(["broken", "broken"]), Namespace(), said_of))
    assert capsys.readouterr().err == ""


@pytest.mark.usefixtures("folder")
def test_summaries_of_several_models(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["summary", "signal.json", "image.json"]) == 0
    both = capsys.readouterr().out
    assert cli.main(["summary", "signal.json"]) == 0
    signal = capsys.readouterr().out
    assert cli.main(["summary", "image.json"]) == 0
    assert both == f"{signal}\n{capsys.readouterr().out}"

    assert cli.main(["summary", ".", "--format", "json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [model["axes"] for model in document["models"]] == [["y", "x"], ["t"]]
    assert document["errors"] == []

    assert cli.main(["summary", "*.json", "--format", "csv"]) == 0
    image, *_, conv = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert (image["model"], image["layer"], image["r_y"], image["r_t"]) == ("image.json", "x", "1", "")
    assert (conv["model"], conv["layer"], conv["r_y"], conv["r_t"]) == ("signal.json", "conv", "", "3")


def test_what_cannot_be_read_is_named_and_the_others_are_shown(
    capsys: pytest.CaptureFixture[str], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("broken.json").write_text('{"nodes": 1}')
    monkeypatch.setattr("sys.stdin", io.StringIO("broken.json\nimage.json\n"))
    assert cli.main(["summary", "-", "--format", "json"]) == 2
    out, err = capsys.readouterr()
    document = json.loads(out)
    assert [model["name"] for model in document["models"]] == ["image"]
    ((error,), lines) = document["errors"], err.splitlines()
    assert error["model"] == "broken.json"
    assert lines == [f"rfgraph: {error['error']}"]
    assert cli.main(["summary", "missing/*", "image.json"]) == 2
    out, err = capsys.readouterr()
    assert (out, err) == ("", "rfgraph: missing/*: no file fits this pattern\n")
