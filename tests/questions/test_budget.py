"""Budgets: what is demanded of a network, told where it is not kept to, and where that is not known."""

from __future__ import annotations

import pytest

import rfgraph
from rfgraph import Budget, Network, OverBudget
from rfgraph.errors import AttributeValueError
from rfgraph.report import Report


def over(report: Report, **demands: int) -> list[tuple[str, object, tuple[str, ...], object]]:
    found = report.over(Budget(**demands))
    assert all(isinstance(finding, OverBudget) and finding.limit in demands.values() for finding in found)
    return [(finding.rule, finding.node, finding.axes, finding.value) for finding in found]


def chain(**attributes: object) -> Report:
    net = Network("chain", axes=2)
    net.conv("b", net.conv("a", net.input("x"), kernel=(3, 5), padding=1), kernel=(3, 5), **attributes)
    return rfgraph.analyze(net)


def gated() -> Network:
    net = Network("gated", axes=1)
    x = net.input("x")
    net.mul("gated", x, net.global_avg_pool("pool", x))
    return net


def test_a_field_is_as_large_as_is_demanded_on_every_axis() -> None:
    assert over(chain(), min_r=5) == []
    assert over(chain(), min_r=6) == [("RF011", "b", ("y",), 5)]
    assert over(chain(), min_r=10) == [("RF011", "b", ("y",), 5), ("RF011", "b", ("x",), 9)]
    (finding,) = chain().over(Budget(min_r=6))
    assert str(finding) == "output 'b', axis y: r is 5 pixels, less than min-r = 6"
    assert finding.severity == "error"
    assert "lower min-r = 6" in finding.advice


def test_what_reads_everything_is_large_enough_and_what_is_not_known_is_not() -> None:
    assert over(rfgraph.analyze(gated()), min_r=10**9) == []
    net = Network("odd", axes=1)
    net.graph.add_node("odd", op="unknown", of="Mystery")
    net.graph.add_edge(net.input("x"), "odd")
    assert over(rfgraph.analyze(net), min_r=1) == [("RF011", "odd", ("t",), None)]
    assert "is not known" in rfgraph.analyze(net).over(Budget(min_r=1))[0].message


def test_a_bound_is_no_proof_of_a_large_field_but_one_of_a_small_one() -> None:
    net = Network("bound", axes=1)
    net.conv("join", net.input("x"), kernel=5)
    net.graph.nodes["join"]["bound"] = "of two kernels, one is used"
    report = rfgraph.analyze(net)
    (window,) = report["join"].field
    assert window.status == "bound"
    assert over(report, min_r=window.size + 1) == [("RF011", "join", ("t",), window.size)]
    assert over(report, min_r=window.size) == [("RF011", "join", ("t",), None)]
    assert "it is 5 at most (of two kernels, one is used)" in report.over(Budget(min_r=window.size))[0].message


def test_a_field_that_depends_on_the_size_is_held_at_every_size() -> None:
    net = Network("sized", axes=1)
    x = net.input("x")
    pool = net.max_pool("pool", x, kernel=3, stride=2, padding="same")
    net.add("add", pool, net.conv("side", x, kernel=3, stride=2, padding=1))
    report = rfgraph.analyze(net)
    sizes = sorted({window.size for window in report["add"].by_size[0].fields})
    assert sizes == [3, 4]
    assert over(report, min_r=3) == []
    assert over(report, min_r=4) == [("RF011", "add", ("t",), 3)]
    assert "3 pixels at some input sizes" in report.over(Budget(min_r=4))[0].message
    assert over(report, min_r=5) == [("RF011", "add", ("t",), 3)]
    assert "some input sizes" not in report.over(Budget(min_r=5))[0].message


def test_looking_ahead() -> None:
    net = Network("stream", axes=1)
    net.conv("b", net.conv("a", net.input("x"), kernel=3, padding=1), kernel=5, padding=[[3, 1]])
    assert over(rfgraph.analyze(net), max_look_ahead=2) == []
    assert over(rfgraph.analyze(net), max_look_ahead=1) == [("RF012", "b", ("t",), 2)]
    assert over(rfgraph.analyze(gated()), max_look_ahead=2) == [("RF012", "gated", ("t",), None)]
    report = chain()
    assert [finding.axes for finding in report.over(Budget(max_look_ahead=0), "x")] == [("x",)]
    with pytest.raises(AttributeValueError, match="axis 't' is not one of y, x"):
        report.over(Budget(max_look_ahead=0), "t")


def test_parameters() -> None:
    net = Network("costs", axes=1)
    x = net.conv("a", net.input("x", channels=2), kernel=3, channels=4)
    assert over(rfgraph.analyze(net), max_parameters=24) == []
    assert over(rfgraph.analyze(net), max_parameters=23) == [("RF013", "a", ("t",), 24)]
    net.conv("b", x, kernel=3)
    assert over(rfgraph.analyze(net), max_parameters=23) == [("RF013", "b", ("t",), 24)]
    assert over(rfgraph.analyze(net), max_parameters=24) == [("RF013", "b", ("t",), None)]
    assert (
        "it has at least 24, and 'b' does not tell" in rfgraph.analyze(net).over(Budget(max_parameters=24))[0].message
    )


def test_tiles() -> None:
    report = rfgraph.analyze("zoo:unet_2x2")
    assert report.tiling().axes[0].multiple == 16
    assert over(report, tile_multiple=32) == []
    assert over(report, tile_multiple=24) == [("RF014", "segments", ("y", "x"), 16)]
    assert over(rfgraph.analyze("zoo:unet_2x2", input_size=512), tile_multiple=24) == over(report, tile_multiple=24)
    assert over(rfgraph.analyze(gated()), tile_multiple=32) == [("RF014", "gated", ("t",), None)]


def test_every_output_keeps_to_it_but_those_that_do_not_depend_on_the_source() -> None:
    net = Network("heads", axes=1)
    x = net.input("x")
    net.conv("small", x, kernel=3)
    net.conv("large", x, kernel=9)
    net.constant("code")
    assert over(rfgraph.analyze(net), min_r=5) == [("RF011", "small", ("t",), 3)]


@pytest.mark.parametrize("demand", ["min_r", "max_look_ahead", "max_parameters", "tile_multiple"])
@pytest.mark.parametrize("value", [-1, True, 1.5, "9"])
def test_demands_are_integers(demand: str, value: object) -> None:
    with pytest.raises(AttributeValueError, match=demand.replace("_", "-")):
        Budget(**{demand: value})
