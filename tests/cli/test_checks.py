"""``check`` as CI runs it: several models, what their project says of them, what was known before, and exit codes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import networkx as nx
import pytest

from rfgraph import Network, cli
from rfgraph.cli import options
from rfgraph.present.checks import CI_FORMS


def write(net: Network) -> None:
    Path(f"{net.graph.name}.json").write_text(json.dumps(nx.node_link_data(net.graph, edges="edges")))


def off(name: str = "off", *merges: str) -> None:
    net = Network(name, axes=1)
    x = net.input("x")
    for merge in merges or ("add",):
        x = net.add(merge, x, net.conv(f"{merge}/conv", x, kernel=3, padding=[[0, 2]], channels=4))
    write(net)


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working folder with a network that is off, a clean one, one of an op that no one knows, and a broken file."""
    monkeypatch.chdir(tmp_path)
    off()
    net = Network("clean", axes=1)
    net.conv("conv", net.input("x", channels=2), kernel=3, padding=1, channels=4)
    write(net)
    net = Network("odd", axes=1)
    x = net.input("x")
    net.graph.add_node("odd", op="unknown", of="Mystery")
    net.graph.add_edge(x, "odd")
    net.add("add", x, "odd")
    write(net)
    Path("broken.json").write_text('{"nodes": 1}')


def project(text: str) -> None:
    Path("pyproject.toml").write_text(f"[tool.rfgraph]\n{text}\n")


Capture = pytest.CaptureFixture[str]


def checked(capsys: Capture, *arguments: str) -> tuple[int, Any]:
    code = cli.main(["check", *arguments, "--format", "json"])
    out, err = capsys.readouterr()
    assert code in (2, 3) or not err
    return code, json.loads(out)


# Several models


def test_the_exit_code_is_the_worst_and_the_others_go_on(capsys: Capture) -> None:
    assert cli.main(["check", "clean.json", "off.json"]) == 1
    out = capsys.readouterr().out
    assert "clean.json: clean: axis t" in out
    assert out.index("clean.json:") < out.index("off.json:") < out.index("warning RF002 misaligned")
    assert out.endswith("\nchecked 2 models: 1 passed, 1 failed\n")
    for models, code in ((["clean.json", "broken.json"], 2), (["broken.json", "off.json"], 2), (["clean.json"] * 2, 0)):
        assert cli.main(["check", *models]) == code
    out, err = capsys.readouterr()
    assert err.count("rfgraph: broken.json: JSON, but not a node-link graph") == 2
    assert "checked 2 models: 1 passed, 0 failed, 1 not read" in out
    code, document = checked(capsys, "broken.json", "off.json", "clean.json")
    assert [model["model"] for model in document["models"]] == ["off.json", "clean.json"]
    assert (code, document["errors"][0]["model"]) == (2, "broken.json")


def test_exit_zero_is_of_findings_alone(capsys: Capture) -> None:
    assert cli.main(["check", "off.json", "clean.json", "--exit-zero"]) == 0
    assert cli.main(["check", "off.json", "--exit-zero", "--fail-on", "note"]) == 0
    assert cli.main(["check", "off.json", "broken.json", "--exit-zero"]) == 2
    assert cli.main(["check", "broken.json", "--exit-zero"]) == 2
    assert "RF002" in capsys.readouterr().out


@pytest.mark.parametrize("form", CI_FORMS)
def test_forms_of_ci(capsys: Capture, form: str) -> None:
    assert cli.main(["check", "off.json", "clean.json", "--format", form]) == 1
    out, err = capsys.readouterr()
    assert "RF002" in out
    assert err == ""
    for models in (["broken.json"], ["broken.json", "clean.json"]):  # what CI reads tells what cannot be read too
        assert cli.main(["check", *models, "--format", form]) == 2
        out, err = capsys.readouterr()
        assert "not a node-link graph" in out
        assert err.startswith("rfgraph: broken.json: ")
    assert cli.main(["check", "clean.json", "--format", form, "-o", f"out.{form}"]) == 0
    assert capsys.readouterr().out == ""
    text = Path(f"out.{form}").read_text()
    if form == "sarif":
        assert json.loads(text)["runs"][0]["results"] == []
    elif form == "junit":
        assert ElementTree.fromstring(text).get("failures") == "0"
    else:
        assert "1 model: 1 passed, 0 failed" in text


def test_forms_are_those_of_the_options() -> None:
    assert options.CI_FORMS == CI_FORMS


# What the project says


def test_how_a_project_reads_its_models(capsys: Capture) -> None:
    assert cli.main(["check", "odd.json"]) == 1
    project('treat = {Mystery = "identity", GridSample = "global"}')
    assert cli.main(["check", "odd.json", "clean.json"]) == 0  # what fits no node of one model is for another
    assert cli.main(["check", "odd.json", "--treat", "odd=cut"]) == 0
    capsys.readouterr()
    assert checked(capsys, "odd.json")[1]["treated"] == [{"node": "odd", "as": "identity", "pattern": "Mystery"}]
    treated = checked(capsys, "odd.json", "--treat", "odd=cut")[1]["treated"]
    assert [(entry["as"], entry["pattern"]) for entry in treated] == [("cut", "odd")]
    assert cli.main(["check", "odd.json", "--treat", "none=cut"]) == 2
    assert "'none' fits no node" in capsys.readouterr().err

    project("input-size = 64")
    assert checked(capsys, "clean.json")[1]["input_size"] == [64]
    assert checked(capsys, "clean.json", "--input-size", "8")[1]["input_size"] == [8]
    project("input-size = {x = 64}\n[tool.rfgraph.models.'odd.*']\ninput-size = 9")
    assert checked(capsys, "clean.json")[1]["input_size"] == [64]
    assert checked(capsys, "odd.json")[1]["input_size"] == [9]
    assert cli.main(["summary", "odd.json", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["input_size"] == [9]

    net = Network("past", axes=1)
    x = net.input("x")
    net.add("add", x, net.conv("conv", x, kernel=3, padding=[[2, 0]]))
    write(net)
    rules = [finding["rule"] for finding in checked(capsys, "past.json")[1]["findings"]]
    assert "RF004" in rules
    project('alignment = "causal"')
    assert checked(capsys, "past.json")[1]["findings"] == []
    project('alignment = ["center"]')
    assert [finding["rule"] for finding in checked(capsys, "past.json")[1]["findings"]] == ["RF002"]
    assert checked(capsys, "past.json", "--alignment", "causal")[1]["findings"] == []


def test_a_causal_project(capsys: Capture) -> None:
    project('causal = "t"')
    code, document = checked(capsys, "clean.json")
    assert (code, [finding["rule"] for finding in document["findings"]]) == (1, ["RF010"])
    project('causal = "y"')
    assert cli.main(["check", "clean.json"]) == 2
    assert "axis 'y' is not one of t" in capsys.readouterr().err
    assert cli.main(["check", "clean.json", "--causal", "t"]) == 1


@pytest.mark.parametrize(("said", "rules"), [("true", ["RF010"]), ("false", [])])
def test_a_project_is_causal_along_its_first_axis(capsys: Capture, said: str, rules: list[str]) -> None:
    project(f"causal = {said}")
    code, document = checked(capsys, "clean.json")
    assert (code, [finding["rule"] for finding in document["findings"]]) == (len(rules), rules)


def test_a_budget_fails_a_check(capsys: Capture) -> None:
    project("budget = {min-r = 4, max-look-ahead = 0, max-parameters = 23, tile-multiple = 1}")
    code, document = checked(capsys, "clean.json", "--fail-on", "error")
    assert (code, [finding["rule"] for finding in document["findings"]]) == (1, ["RF011", "RF012", "RF013"])
    project("ignore = ['RF012', 'RF013']\nbudget = {min-r = 3, max-look-ahead = 0, max-parameters = 23}")
    assert cli.main(["check", "clean.json"]) == 0
    project("select = ['RF001']\nbudget = {min-r = 4}")  # a budget asks for its rules itself
    assert cli.main(["check", "clean.json"]) == 1
    assert cli.main(["check", "clean.json", "--accept", "RF011:conv"]) == 0
    project("budget = {min-r = 4}\n[tool.rfgraph.models.'cl*']\nbudget = {min-r = 3}")
    assert cli.main(["check", "clean.json"]) == 0
    assert cli.main(["check", "clean.json", "off.json", "--accept", "RF002:*"]) == 1
    assert "RF011 field too small" in capsys.readouterr().out


# What was known before


def test_only_what_is_new_fails(capsys: Capture) -> None:
    assert cli.main(["check", "off.json", "--format", "json", "-o", "known.json"]) == 1
    assert cli.main(["check", "off.json", "--baseline", "known.json", "--fail-on", "note"]) == 0
    out = capsys.readouterr().out
    assert "accepted warning RF002 misaligned (by baseline known.json)" in out
    assert "\nbaseline known.json: 1 known\n" in out
    off("off", "add", "new")
    code, document = checked(capsys, "off.json", "--baseline", "known.json")
    assert code == 1
    assert [(finding["node"], finding["accepted"]) for finding in document["findings"]] == [
        ("add", True),
        ("new", False),
    ]
    off("off", "other")
    assert cli.main(["check", "off.json", "--baseline", "known.json"]) == 1
    assert "\nbaseline known.json: 0 known, 1 of it mended\n" in capsys.readouterr().out


def test_a_baseline_of_one_model_is_of_any_and_one_of_several_is_by_name(capsys: Capture) -> None:
    off("later")
    assert cli.main(["check", "off.json", "--format", "json", "-o", "one.json"]) == 1
    assert cli.main(["check", "off.json", "clean.json", "--format", "json", "-o", "two.json"]) == 1
    assert cli.main(["check", "later.json", "--baseline", "one.json"]) == 0
    assert cli.main(["check", "later.json", "off.json", "--baseline", "one.json"]) == 1
    assert cli.main(["check", "off.json", "clean.json", "--baseline", "two.json"]) == 0
    assert cli.main(["check", "later.json", "--baseline", "two.json"]) == 1


def test_what_was_found_once_and_is_found_twice_is_new(capsys: Capture) -> None:
    def concat(*paddings: int) -> None:
        net = Network("wide", axes=1)
        x = net.input("x")
        sides = [net.conv(f"c{i}", x, kernel=3, padding=[[pad, 2 - pad]]) for i, pad in enumerate(paddings)]
        net.concat("concat", x, *sides)
        write(net)

    concat(1, 0)
    assert cli.main(["check", "wide.json", "--format", "json", "-o", "known.json"]) == 1
    assert cli.main(["check", "wide.json", "--baseline", "known.json"]) == 0
    concat(0, 0, 1)
    assert cli.main(["check", "wide.json", "--baseline", "known.json"]) == 1


def test_what_could_not_be_checked_before_is_known(capsys: Capture) -> None:
    assert cli.main(["check", "odd.json", "--format", "json", "-o", "known.json"]) == 1
    assert cli.main(["check", "odd.json", "--baseline", "known.json"]) == 0
    assert "baseline known.json: 1 known" in capsys.readouterr().out
    net = Network("odder", axes=1)
    x = net.input("x")
    net.graph.add_node("strange", op="unknown", of="Enigma")
    net.graph.add_edge(x, "strange")
    net.add("add", x, "strange")
    write(net)
    assert cli.main(["check", "odder.json", "--baseline", "known.json"]) == 1


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "it cannot be read (No such file"),
        ("{", "it is no baseline; write one with"),
        ("[]", "it is no baseline"),
        ('{"command": "summary"}', "(it is of the command 'summary')"),
        ('{"command": "check", "models": 3}', "it is no baseline"),
        ('{"command": "check", "models": [{"model": "a", "findings": [{}], "unchecked": []}]}', "it is no baseline"),
        ('{"command": "check", "model": "a", "findings": [3], "unchecked": []}', "it is no baseline"),
        ('{"command": "check", "model": "a", "findings": [], "unchecked": [{"first": 1}]}', "it is no baseline"),
        ("[" * 9999, "it is no baseline"),
    ],
)
def test_what_is_no_baseline_is_refused(capsys: Capture, content: str | None, said: str) -> None:
    if content is not None:
        Path("known.json").write_text(content)
    assert cli.main(["check", "off.json", "--baseline", "known.json"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("rfgraph: known.json: ")
    assert said in err


def test_settings_are_read_once_a_run(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("pyproject.toml").write_text("[tool.rfgraph]\nselect = ['RF001']\n")
    read, bytes_of = [], Path.read_bytes

    def counted(path: Path) -> bytes:
        read.append(path.name)
        return bytes_of(path)

    monkeypatch.setattr(Path, "read_bytes", counted)
    assert cli.main(["check", "off.json", "clean.json", "off.json", "--format", "concise"]) == 0
    assert cli.main(["summary", "off.json", "clean.json"]) == 0
    assert read.count("pyproject.toml") == 2


@pytest.mark.parametrize("command", options.COMMANDS)
def test_help_fits_into_a_terminal(capsys: Capture, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as caught:
        cli.main([command, "--help"])
    assert caught.value.code == 0
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 80
