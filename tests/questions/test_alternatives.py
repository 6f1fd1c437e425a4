"""Branches of which one runs: their fields are told side by side, their hull is a bound, nothing is held against it."""

from __future__ import annotations

import pytest

import rfgraph
from rfgraph import Network
from rfgraph.errors import UnknownFieldError


def branches(one, other, after=True):
    net = Network("branches", axes=1)
    x = net.input("x")
    made = net.either("if", net.conv("then", x, **one), net.conv("else", x, **other))
    if after:
        net.conv("after", made, kernel=3, padding=1)
    return net


SHORT, LONG = {"kernel": 3, "padding": 1}, {"kernel": 7, "padding": 3}


def test_the_field_of_alternatives_is_a_bound_and_names_each():
    report = rfgraph.analyze(branches(SHORT, LONG))
    assert (report["then"].size, report["else"].size) == ((3,), (7,))
    assert {report["then"].status, report["else"].status} == {"exact"}
    for node, size in (("if", 7), ("after", 7 + 2)):
        assert (report[node].size, report[node].status) == ((size,), "bound")
        assert "'if' is one of its inputs" in report[node].why
        assert "r 3, S 1, P 1 or r 7, S 1, P 3" in report[node].why


@pytest.mark.parametrize("other", [{"kernel": 4, "padding": 2}, {"kernel": 3}, {"kernel": 3, "padding": [[2, 0]]}])
def test_alternatives_are_not_held_against_each_other(other):
    report = rfgraph.analyze(branches(SHORT, other))
    assert report.findings == ()
    assert report.unchecked == ()
    assert report.aligned is True
    merged = branches(SHORT, other, after=False).graph
    merged.nodes["if"]["op"] = "add"
    assert rfgraph.analyze(merged).findings  # as the inputs of a sum they are


def test_alternatives_of_other_strides_have_no_common_field():
    report = rfgraph.analyze(branches({"kernel": 3, "stride": 2}, {"kernel": 3}))
    assert report.findings == ()
    assert report["after"].status == "unknown"
    assert "r 3, S 2, P 0 or r 3, S 1, P 0" in report["after"].why
    assert "strides 1 and 2 drift apart" in report["after"].why
    with pytest.raises(UnknownFieldError):
        report.region("after", (3,))


def test_what_is_read_through_alternatives_is_a_bound_everywhere():
    report = rfgraph.analyze(branches({"kernel": 3, "dilation": 3, "padding": 3}, SHORT), input_size=20)
    assert report.region("after", (9,)).status == "bound"
    assert report.regions("after").status == "bound"
    support = report.support("after")
    assert support.status == "bound"
    assert "decided when the model runs" in support[0].why
    assert report.region("then", (9,)).status == "exact"
    traced = rfgraph.trace(branches(SHORT, LONG))
    assert (traced["x"].size, traced["x"].status) == ((9,), "bound")


def test_sizes_of_alternatives():
    same = rfgraph.analyze(branches(SHORT, LONG), input_size=20)
    assert same["after"].map_size == (20,)
    differ = rfgraph.analyze(branches(SHORT, {"kernel": 7}), input_size=20)
    assert differ["if"].map_size == (None,)
    assert str(rfgraph.analyze(branches(SHORT, LONG)).input_sizes[0]) == "any size from 1"
