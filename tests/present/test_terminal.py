"""What a terminal shows of a table: fewer rows and columns, shorter names and counts. A pipe gets all."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import rfgraph
from rfgraph import Network
from rfgraph.errors import ColumnError
from rfgraph.policy import Policy, judge
from rfgraph.present import as_csv, as_table
from rfgraph.present.layout import cells, cut, for_terminal, shortened_count, shortened_names
from rfgraph.present.views import Summary

SGR = re.compile(r"\x1b\[[0-9;]*m")


def summary(model: Any, everything: bool = False, depth: int | None = None, columns: Any = None, **options: Any) -> Any:
    report = rfgraph.analyze(model, **options)
    judged = judge(report.findings, Policy())
    return Summary(report, judged, "model", "rfgraph check model", everything, depth=depth, columns=columns)


def shown(view: Summary, width: int = 80) -> list[str]:
    lines = SGR.sub("", as_table.text(view.sheet(), width)).splitlines()
    assert max(map(cells, lines)) <= width
    return lines


def head(view: Summary, width: int) -> list[str]:
    """Return the headings that are drawn."""
    lines = shown(view, width)
    return lines[next(place for place, line in enumerate(lines) if line.startswith("─")) - 1].split()


def firsts(view: Summary, width: int = 80) -> list[str]:
    """Return the names in the rows that a terminal shows."""
    names = [row[0] for row in for_terminal(view.sheet(), width).rows]
    drawn = [line.split()[0] for line in shown(view, width) if line]
    assert [name for name in drawn if name in names] == names
    return names


def test_rows_that_say_nothing_new_are_hidden_on_a_terminal() -> None:
    view = summary("zoo:resnet_v1_50", input_size=224)
    lines = shown(view)
    assert len(firsts(view)) == 42
    assert "hidden: 40 of 82 rows, which change none of n, r, S, P (see --all)" in lines
    assert len(firsts(summary("zoo:resnet_v1_50", everything=True, input_size=224))) == 82
    piped = as_table.text(view.sheet())
    assert all(str(layer.name) in piped for layer in view.layers)
    assert "start" in piped
    assert "hidden" not in piped


@pytest.mark.parametrize("size", [None, 224])
def test_densenet_fits_on_130_lines_of_80_columns(size: int | None) -> None:
    view = summary("zoo:densenet_121", input_size=size)
    assert len(shown(view)) <= 130
    assert len(set(firsts(view))) == len(firsts(view)) == 122  # shortened, names are told apart


def test_what_widens_only_some_phases_is_shown() -> None:
    net = Network("up", axes=1)
    up = net.conv_transpose("up", net.input("x"), kernel=4, stride=2, padding=1)
    net.relu("act", net.conv("conv", up, kernel=3, padding=1))
    view = summary(net)
    assert (view.report["up"].size, view.report["conv"].size) == ((2,), (3,))
    assert firsts(view) == ["x", "up", "conv"]
    same = Network("same", axes=1)
    up = same.resize("up", same.input("x"), scale=4)
    same.conv("conv", same.conv("narrow", up, kernel=2), kernel=2)
    view = summary(same)
    assert [view.report[name].size for name in ("up", "narrow", "conv")] == [(1,), (2,), (2,)]
    assert firsts(view) == ["x", "up", "narrow", "conv"]
    said = " ".join(shown(view))
    assert "r: the widest one's" in said
    assert "output: conv (r 2 at the widest of 4 phases, S 0.25, P 0)" in said


def test_columns_are_dropped_by_rank_and_that_is_said() -> None:
    view = summary("zoo:unet", input_size=572)
    heads = {width: head(view, width) for width in (200, 80, 60, 40, 30)}
    every = ["layer", "op", "n", "channels", "r", "S", "P", "start", "parameters", "MACs", "T", "reach"]
    assert heads[200] == every
    assert heads[80] == [name for name in every if name not in ("reach", "start", "channels")]
    assert heads[60] == ["layer", "op", "n", "r", "S", "P", "T"]
    assert heads[40] == ["layer", "n", "r", "S", "P", "T"]
    assert "no room for reach, start, channels (see --columns)" in shown(view)
    for width, headings in heads.items():
        assert {"layer", "r", "S"} <= set(headings)
        assert ("no room" in "".join(shown(view, width))) == (headings != every)


def test_columns_that_are_chosen() -> None:
    view = summary("zoo:unet", columns=["R", "layer", "macs", "location"], input_size=572)
    assert head(view, 100) == ["r", "layer", "MACs", "location"]
    assert head(view, 60) == ["r", "layer", "MACs", "location"]
    assert as_table.text(view.sheet()).splitlines()[2].split() == ["r", "layer", "MACs", "location"]
    assert as_csv.text(replace(view, columns=["layer", "r", "s_x"]).records()).startswith("layer,r_y,r_x,S_x\r\n")
    with pytest.raises(ColumnError, match=r"no column 'parameter' \(near: parameters\); there are layer, op, n, "):
        summary("zoo:unet", columns=["parameter"]).sheet()


def test_a_table_folded_by_module() -> None:
    net = Network("net", axes=1)
    x = net.input("x", channels=1)
    a = net.conv("body.0.conv", x, kernel=3, padding=1, channels=4)
    b = net.relu("body.0.act", net.conv("body.0.last", a, kernel=3, padding=1, channels=2))
    c = net.add("body.1", b, net.conv("body.1.conv", b, kernel=5, padding=2, channels=2))
    net.concat("join", c, a)
    net.conv("head.conv", c, kernel=1)
    full = summary(net, depth=1, everything=True, input_size=10)
    rows = {row[0]: row[1:] for row in full.sheet().rows}
    assert list(rows) == ["x", "body.0.conv", "body.0.act", "body.1", "join", "head.conv"]  # two layers leave body.0
    first, both, body = (full.report[name] for name in ("body.0.conv", "body.0.last", "body.1.conv"))
    assert rows["body.0.conv"][:1] == ("conv",)
    assert rows["body.0.act"][0] == "3 nodes"
    assert rows["body.1"][0] == "2 nodes"
    headings = [column.heading for column in full.sheet().columns][1:]
    parameters, macs, r = (headings.index(name) for name in ("parameters", "MACs", "r"))
    assert rows["body.0.conv"][parameters] == "0"
    assert rows["body.0.act"][parameters] == str(first.parameters + both.parameters)
    assert rows["body.1"][parameters] == str(body.parameters)
    assert rows["body.1"][macs] == str(body.macs)
    assert rows["body.1"][r] == "9"
    whole = {row[0]: row[1:] for row in summary(net, depth=0, everything=True, input_size=10).sheet().rows}
    assert [name for name in whole if name.startswith("body")] == ["body.0.conv", "body.1"]
    assert whole["body.1"][0] == "5 nodes"


def test_regions_where_paths_drift_apart() -> None:
    net = Network("drift", axes=1)
    x = net.input("image")
    add = net.add("add", net.conv("a", x, kernel=3, stride=2, padding=1), net.slice("b", x, stop=32))
    net.conv("after", add, kernel=3, padding=1)
    view = summary(net, input_size=64)
    rows = {row[0]: row for row in view.sheet().rows}
    regions = view.report.regions("after")
    sizes = (regions.last - regions.first + 1)[regions.reads]
    assert rows["after"][2:] == ("32", f"{sizes.min()}..{sizes.max()}", "?", "?", "?")
    assert "paths drift apart; at this input size the features' regions are a to b long" in view.sheet().notes[1]
    assert firsts(view) == ["image", "a", "b", "add", "after"]
    assert {row[0]: row for row in summary(net).sheet().rows}["after"][2:] == ("?", "?", "?", "?")


@given(st.lists(st.text(min_size=1, max_size=60), min_size=1, max_size=5), st.integers(3, 40))
def test_shortened_names_fit(names: list[str], width: int) -> None:
    short = shortened_names(names, width)
    assert all(cells(name) <= width for name in short)
    for name, shorter in zip(names, short, strict=True):
        assert (shorter == name) or cells(name) > width
        assert cells(cut(name, width)) <= width


@given(st.integers(0, 10**40))
def test_shortened_counts_are_right_to_three_digits(count: int) -> None:
    text = shortened_count(f"{count:,}")
    number, _, letter = text.replace(",", "").partition(" ")
    value = float(number) * 1000 ** " kMGTPE".index(letter or " ")
    assert abs(value - count) <= count / 199
    assert len(text) <= 9


def test_a_sheet_that_fits_is_left_as_it_is() -> None:
    sheet = summary("zoo:unet").sheet()
    wide = for_terminal(replace(sheet, brief=()), 500)
    assert [column.heading for column in wide.columns] == [column.heading for column in sheet.columns]
    assert wide.notes == sheet.notes
