"""Checks as tools of CI take them: each form is read back by a parser that is not ours, whatever names hold."""

from __future__ import annotations

import json
import re
import string
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import networkx as nx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import rfgraph
from rfgraph import Network
from rfgraph.policy import Policy, judge
from rfgraph.present import as_concise, as_github, as_junit, as_sarif
from rfgraph.present.checks import CI_FORMS, Checks, place_of
from rfgraph.present.findings import Check
from rfgraph.questions.findings import RULES

#: As Microsoft's jest-sarif ships it.
SCHEMA = Path(__file__).parent.parent / "data/sarif/sarif-2.1.0-rtm.5.json"

#: Names that break what is put together of them without care.
NAMES = st.text(st.sampled_from([*string.printable, *"\0\x1b\ud800\ufffe\u2028é漢<>&]%:,"]), min_size=1, max_size=8)


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working folder in which there is code of the user's."""
    monkeypatch.chdir(tmp_path)
    Path("src").mkdir()
    for file in ("net.py", "src/net.py"):
        Path(file).touch()


def check(net: Network | nx.DiGraph, model: str = "model.onnx", policy: Policy | None = None) -> Check:
    report = rfgraph.analyze(net)
    return Check(report, judge(report.findings, policy or Policy()), model, {"treat=": "say"})


def off(blocks: int = 1, location: str = "") -> Network:
    """Blocks that are off by one, each with the place in the code that calls it, and a causal one."""
    net = Network("off", axes=1)
    x = net.input("x")
    for i in range(blocks):
        x = net.add(f"add{i}", x, net.conv(f"conv{i}", x, kernel=3, padding=[[0, 2]]))
        if location:
            net.graph.nodes[x]["location"] = location.format(i)
    net.add("causal", x, net.conv("past", x, kernel=3, padding=[[2, 0]]))
    return net


def clean() -> Network:
    net = Network("clean", axes=1)
    net.conv("conv", net.input("x"), kernel=3)
    return net


def unknown(name: str = "odd") -> Network:
    net = Network("unknown", axes=1)
    x = net.input("x")
    net.graph.add_node(name, op="unknown", of="Mystery")
    net.graph.add_edge(x, name)
    net.add("add", x, name)
    return net


def checks(*views: Check, errors: dict[str, str] | None = None, fail_on: Any = "warning") -> Checks:
    return Checks("check", {view.name: view for view in views}, errors or {}, fail_on)


# SARIF


@cache
def validator() -> Any:
    jsonschema = pytest.importorskip("jsonschema")
    return jsonschema.Draft4Validator(json.loads(SCHEMA.read_text(encoding="utf-8")))


def sarif(view: Checks) -> Any:
    document = json.loads(as_sarif.text(view))
    validator().validate(document)
    (run,) = document["runs"]
    return run


def test_sarif_of_a_clean_network_has_no_results() -> None:
    run = sarif(checks(check(clean())))
    assert run["results"] == []
    assert run["invocations"][0]["executionSuccessful"] is True
    rules = run["tool"]["driver"]["rules"]
    assert [rule["id"] for rule in rules] == [*RULES, "unchecked"]
    assert all(rule["helpUri"].startswith("https://") and rule["help"]["text"] for rule in rules)


def test_sarif_of_findings() -> None:
    view = check(off(2, "src/net.py:{}7"), policy=Policy(accept=("RF002:add1",)))
    run = sarif(checks(view, check(unknown(), "zoo:odd"), errors={"bad.onnx": "it is broken"}))
    first, second, causal, unchecked = run["results"]
    found = view.report.findings
    assert first["message"]["text"] == f"{found[0].message}\n{found[0].advice}"
    assert (first["ruleId"], first["level"]) == ("RF002", "warning")
    assert run["tool"]["driver"]["rules"][first["ruleIndex"]]["id"] == "RF002"
    (location,) = first["locations"]
    assert location["physicalLocation"] == {
        "artifactLocation": {"uri": "src/net.py"},
        "region": {"startLine": 7},
    }
    assert location["logicalLocations"][0]["name"] == "add0"
    assert "suppressions" not in first
    assert second["suppressions"] == [{"kind": "external", "justification": "RF002:add1"}]
    (location,) = causal["locations"]
    assert location["physicalLocation"]["artifactLocation"]["uri"] == "model.onnx"
    assert (unchecked["ruleId"], unchecked["level"]) == ("unchecked", "warning")
    assert "physicalLocation" not in unchecked["locations"][0]  # the zoo is no file
    assert run["invocations"][0]["executionSuccessful"] is False
    (told,) = run["invocations"][0]["toolExecutionNotifications"]
    assert told["message"]["text"] == "bad.onnx: it is broken"


def test_fingerprints_are_of_rule_and_node_alone() -> None:
    def prints(net: Network) -> list[str]:
        return [result["partialFingerprints"]["ruleAndNode/v1"] for result in sarif(checks(check(net)))["results"]]

    net = off()
    net.graph.nodes["conv0"]["padding"] = [[0, 3]]
    assert prints(net) == prints(off())
    assert len(set(prints(off(3)))) == 4


def test_a_model_that_lies_elsewhere_has_an_absolute_address(tmp_path: Path) -> None:
    for model, uri in (
        (str(tmp_path / "a b.onnx"), "a%20b.onnx"),
        ("/elsewhere/a.onnx", "file:///elsewhere/a.onnx"),
        ("nets/made.py:build", "nets/made.py"),
    ):
        (result, _) = sarif(checks(check(off(), model)))["results"]
        assert result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == uri


# GitHub


def annotations(text: str) -> list[tuple[str, dict[str, str], str]]:
    """Read workflow commands back as the runner does."""
    read = []
    *lines, last = text.removesuffix("\n").split("\n")
    assert last.startswith("rfgraph checked ")
    for line in lines:
        command, properties, message = re.fullmatch(r"::(\w+) ([^:]*)::(.*)", line).groups()
        pairs = (pair.split("=", 1) for pair in properties.split(","))
        read.append((command, {key: unescaped(value) for key, value in pairs}, unescaped(message)))
    return read


def unescaped(text: str) -> str:
    for code, char in (("%3A", ":"), ("%2C", ","), ("%0D", "\r"), ("%0A", "\n"), ("%25", "%")):
        text = text.replace(code, char)
    return text


def test_annotations_tell_what_is_alike_once() -> None:
    view = check(off(3), policy=Policy(accept=("RF002:add2",)))
    warning, notice = annotations(as_github.text(checks(view)))
    assert warning[0] == "warning"
    assert warning[1] == {"file": "model.onnx", "title": "RF002 misaligned (2 times)"}
    finding = view.report.findings[0]
    assert warning[2].split("\n") == [finding.message, finding.advice, "also at add1"]
    assert notice[0] == "notice"
    assert notice[1]["title"] == "RF004 causally aligned"


def test_annotations_stand_at_the_code_that_calls_the_node() -> None:
    told = annotations(as_github.text(checks(check(off(2, "net.py:1{}")))))
    assert [place.get("line") for _, place, _ in told] == ["10", "11", None]
    assert told[0][2].endswith("\nmodel: model.onnx")
    assert "model:" not in told[2][2]


def test_no_more_annotations_than_github_shows_and_none_is_lost() -> None:
    told = annotations(as_github.text(checks(check(off(25, "net.py:1{}")), errors={f"m{i}": "no" for i in range(30)})))
    by_command = {command: [entry for entry in told if entry[0] == command] for command, *_ in told}
    assert {command: len(entries) for command, entries in by_command.items()} == {
        "error": 1,
        "warning": 10,
        "notice": 1,
    }
    assert by_command["warning"][-1][2] == "model.onnx: RF002 misaligned, 16 times"
    assert by_command["error"][0][2].count("\n") == 29
    few = annotations(as_github.text(checks(check(off(10, "net.py:1{}")), errors={"bad.onnx": "it is broken"})))
    assert [command for command, *_ in few] == ["error", *["warning"] * 10, "notice"]
    assert few[0][2] == "bad.onnx: it is broken"


# JUnit


def test_junit_has_a_case_a_model() -> None:
    views = check(off(2)), check(clean(), "clean.onnx"), check(unknown(), "odd.onnx")
    root = ElementTree.fromstring(as_junit.text(checks(*views, errors={"bad.onnx": "it is <broken>"})))
    (suite,) = root
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("4", "2", "1")
    cases = {case.get("name"): [part.tag for part in case] for case in suite}
    assert cases == {
        "model.onnx": ["failure", "system-out"],
        "clean.onnx": [],
        "odd.onnx": ["failure"],
        "bad.onnx": ["error"],
    }
    failure = suite[0][0]
    assert failure.get("type") == "RF002"
    assert failure.get("message").endswith("(and 1 more)")
    assert "change padding of 'conv1'" in failure.text
    assert suite[0][1].text.startswith("note RF004 causally aligned: ")
    assert suite[3][0].get("message") == "it is <broken>"


def test_junit_fails_from_the_severity_that_fails_the_check() -> None:
    for fail_on, failures in (("error", "0"), ("warning", "1"), ("note", "1")):
        root = ElementTree.fromstring(as_junit.text(checks(check(off()), fail_on=fail_on)))
        assert root.get("failures") == failures
        assert (root.find(".//failure") is not None) == (failures == "1")
    accepted = check(off(), policy=Policy(accept=("RF:*",)))
    root = ElementTree.fromstring(as_junit.text(checks(accepted, fail_on="note")))
    assert root.get("failures") == "0"
    assert "warning RF002 misaligned (accepted by RF:*)" in root.find(".//system-out").text


# Concise


def test_concise_is_a_line_a_finding() -> None:
    view = check(off(2, "net.py:1{}"), policy=Policy(accept=("RF002:add1",)))
    lines = as_concise.text(
        checks(view, check(clean(), "clean.onnx"), errors={"bad.onnx": "it is broken"})
    ).splitlines()
    off_by, _, causal = view.report.findings
    assert lines == [
        f"net.py:10: warning RF002 {off_by.message} (model.onnx)",
        f"model.onnx: note RF004 {causal.message}",
        "bad.onnx: cannot be read: it is broken",
        "3 models: 1 passed, 1 failed, 1 not read; 1 warning, 1 note",
    ]
    assert as_concise.text(checks(check(clean()))) == "1 model: 1 passed, 0 failed; nothing found\n"


def test_notes_of_one_rule_are_cut_short_but_with_all() -> None:
    net = Network("past", axes=1)
    x = net.input("x")
    for i in range(5):
        x = net.add(f"add{i}", x, net.conv(f"conv{i}", x, kernel=2, padding=[[1, 0]]))
    view = check(net)
    lines = as_concise.text(checks(view)).splitlines()
    assert len(lines) == 5
    assert lines[3:] == [
        "model.onnx: note RF004 causally aligned: 2 more (each is shown with --all)",
        "1 model: 1 passed, 0 failed; 5 notes",
    ]
    assert len(as_concise.text(checks(replace(view, everything=True))).splitlines()) == 6


def test_a_place_is_no_command_to_a_runner() -> None:
    (line, *_) = as_concise.text(checks(check(off(), "::error::x"))).splitlines()
    assert line.startswith("./::error::x: warning")


def test_code_that_is_not_here_is_told_but_no_place() -> None:
    view = checks(check(off(1, "/elsewhere/net.py:1{}")))
    (line, *_) = as_concise.text(view).splitlines()
    assert line.startswith("model.onnx: warning RF002 ")
    assert line.endswith(" (/elsewhere/net.py:10)")
    (_, place, message), _ = annotations(as_github.text(view))
    assert place["file"] == "model.onnx"
    assert message.endswith("\ncalled at /elsewhere/net.py:10")
    result = sarif(view)["results"][0]
    assert result["message"]["text"].endswith("\ncalled at /elsewhere/net.py:10")
    assert result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "model.onnx"
    assert "/elsewhere/net.py:10: warning RF002" in as_junit.text(view)


# All


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(node=NAMES, model=NAMES, location=NAMES)
def test_no_name_breaks_a_form(node: str, model: str, location: str) -> None:
    net = unknown(f"o{node}")
    x = net.conv(f"k{node}", "x", kernel=3, padding=[[0, 2]])
    merge = net.add(f"m{node}", "x", x)
    net.graph.nodes[merge]["location"] = f"{location}:3"
    view = checks(check(net, model), errors={f"bad{model}": f"no {node}"})
    run = sarif(view)
    assert len(run["results"]) == len(view.alerts) >= 2
    root = ElementTree.fromstring(as_junit.text(view))
    assert len(root.findall(".//testcase")) == 2
    assert len(annotations(as_github.text(view))) == 3
    lines = as_concise.text(view)
    assert len(lines.splitlines()) == len(view.alerts) + 2
    assert lines.replace("\n", "").isprintable()
    assert not any(line.startswith(("::", "##[")) for line in lines.splitlines())


def test_places() -> None:
    assert place_of("zoo:vgg_16") is None
    assert str(place_of("zoo:vgg_16", "net.py:3")) == "net.py:3"
    assert str(place_of("zoo:vgg_16", str(Path("net.py").absolute()) + ":3")) == "net.py:3"
    assert str(place_of("model.onnx", "net.py")) == "model.onnx"
    assert str(place_of("a/../model.onnx")) == "model.onnx"
    assert set(CI_FORMS) == {"concise", "github", "sarif", "junit"}
