"""The benchmarks run, print all they promise, and measure what they say they do."""

from __future__ import annotations

import gc
import re
from typing import Any

import networkx as nx
import pytest

import rfgraph
from benchmarks import measure
from benchmarks.__main__ import main
from benchmarks.graphs import NETWORKS, SMALLEST
from benchmarks.passes import Pass, passes, yardstick
from benchmarks.table import COLUMNS

WORK = ("topological_sort", "compile", "forward", "reverse", "alignment", "holes", "analyze")


def markdown_rows(text: str) -> list[dict[str, str]]:
    """Read a Markdown table back, one dict per row."""
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    return [dict(zip(lines[0], line, strict=True)) for line in lines[2:]]


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("nodes", [SMALLEST, 137, 1000])
def test_networks_have_the_size_asked_for_and_a_field_at_every_node(network: str, nodes: int) -> None:
    graph = NETWORKS[network](nodes)
    assert len(graph) == nodes
    assert nx.is_directed_acyclic_graph(graph)
    last = list(graph)[-1]
    assert nx.ancestors(graph, last) == set(graph) - {last}  # nothing is left unread
    report = rfgraph.analyze(graph)
    assert {report[node].status for node in graph} == {"exact"}
    assert report.outputs == (last,)
    assert report[last].stride == (32, 32)


@pytest.mark.parametrize("network", ["inception", "random", "misaligned"])
def test_branching_networks_have_about_a_third_more_edges_than_nodes(network: str) -> None:
    assert 1.25 < NETWORKS[network](5000).number_of_edges() / 5000 < 1.35


@pytest.mark.parametrize("network", NETWORKS)
def test_networks_are_the_same_every_time(network: str) -> None:
    one, two = NETWORKS[network](300), NETWORKS[network](300)
    assert list(one.nodes(data=True)) == list(two.nodes(data=True))
    assert list(one.edges(data=True)) == list(two.edges(data=True))


def test_merges_line_up_but_for_the_network_made_not_to() -> None:
    findings = {network: len(rfgraph.analyze(make(1000)).findings) for network, make in NETWORKS.items()}
    assert findings.pop("misaligned") > 100
    assert set(findings.values()) == {0}


def test_branches_of_random_networks_differ_in_size() -> None:
    graph = NETWORKS["random"](1000)
    report = rfgraph.analyze(graph)
    unlike = [node for node in graph if len({report[tail].size for tail in graph.pred[node]}) > 1]
    assert len(unlike) > 100  # each needs a hull


def test_a_network_too_small_to_have_every_part_is_refused() -> None:
    with pytest.raises(ValueError, match=f"{SMALLEST - 1} nodes is too small .* take {SMALLEST} or more"):
        NETWORKS["chain"](SMALLEST - 1)


def test_each_pass_does_the_work_it_is_named_after() -> None:
    graph = NETWORKS["misaligned"](100)
    found: dict[str, Any] = {one.name: one.run() for one in (yardstick(graph), *passes(graph))}
    assert tuple(found) == WORK
    assert found["topological_sort"] == list(nx.topological_sort(graph))
    report = rfgraph.analyze(graph)
    source, last = next(iter(graph)), list(graph)[-1]
    assert tuple(fields.local[-1] for fields in found["forward"]) == report[last].field
    assert tuple(fields.local[0] for fields in found["reverse"]) == rfgraph.trace(graph)[source].field
    assert (*found["alignment"], *found["holes"]) == report.findings


@pytest.fixture
def short_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Go through small graphs only a few times per run."""
    monkeypatch.setattr(measure, "NODES_PER_RUN", 200)


@pytest.mark.usefixtures("short_runs")
def test_the_table_has_a_row_per_network_size_and_pass(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--sizes", "120,40", "--runs", "2", "--markdown"])
    shown = capsys.readouterr().out
    assert re.match(r"rfgraph \S+, CPython 3\.\S+, networkx \S+, .* \d+ cores, .* median of 2 runs", shown)
    rows = markdown_rows(shown)
    assert tuple(rows[0]) == COLUMNS
    assert [(row["network"], row["nodes"], row["pass"]) for row in rows] == [
        (network, nodes, work) for network in NETWORKS for nodes in ("40", "120") for work in WORK
    ]
    for row in rows:
        size = int(row["nodes"]) + int(row["edges"])
        assert float(row["ns/(node+edge)"].replace(",", "")) > 0
        assert float(row["x topological_sort"]) >= 0
        assert (row["x topological_sort"] == "1.00") or row["pass"] != "topological_sort"
        low, high = (float(end) for end in row["range"].split(" - ")) if row["range"] else (0, 1e9)
        assert low <= float(row["x topological_sort"]) <= high
        assert row["growth"] == "1.00" or row["nodes"] == "120"
        assert abs(float(row["peak MiB"]) * 2**20 - float(row["B/(node+edge)"].replace(",", "")) * size) < 2**17


@pytest.mark.usefixtures("short_runs")
def test_networks_can_be_chosen_and_memory_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--sizes", "40", "--runs", "1", "--networks", "chain,random", "--no-memory", "--gc", "--markdown"])
    shown, progress = capsys.readouterr()
    assert "cycle collector on;" in shown
    assert re.match(
        r"chain, 40 nodes \.\.\. x topological_sort: compile [\d.]+, .* analyze [\d.]+\nrandom, 40", progress
    )
    rows = markdown_rows(shown)
    assert {row["network"] for row in rows} == {"chain", "random"}
    assert {row["peak MiB"] for row in rows} == {""}


@pytest.mark.usefixtures("short_runs")
def test_the_table_of_the_terminal_shows_every_column_in_full(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--sizes", "40", "--runs", "1", "--networks", "chain"])
    shown = capsys.readouterr().out
    assert all(column in shown for column in COLUMNS)
    assert all(f" {work} " in shown for work in WORK)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--sizes", "1000,7"], f"7 nodes are too few; the smallest network has {SMALLEST}"),
        (["--networks", "chian"], "'chian' is not one of chain, inception, random, misaligned"),
        (["--runs", "0"], "0 is not a positive number of runs"),
    ],
)
def test_bad_options_are_refused(capsys: pytest.CaptureFixture[str], arguments: list[str], message: str) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert message in capsys.readouterr().err


def test_runs_are_interleaved_with_the_yardstick_and_the_collector_is_put_back() -> None:
    order: list[str] = []
    collecting: list[bool] = []

    def run(name: str) -> None:
        order.append(name)
        collecting.append(gc.isenabled())

    def named(name: str) -> Pass:
        return Pass(name, lambda: run(name))

    arguments = ([named("one"), named("two")], named("yardstick"), measure.NODES_PER_RUN, 2)
    timings = measure.time_side_by_side(*arguments, collect=False)
    warm_up = ["yardstick", "one", "two"]
    assert order == warm_up + ["yardstick", "one", "yardstick", "two"] * 2
    assert not any(collecting)
    assert gc.isenabled()
    assert [len(timing.seconds) for timing in timings] == [4, 2, 2]
    measure.time_side_by_side(*arguments, collect=True)
    assert all(collecting[len(collecting) // 2 :])


def test_small_graphs_are_gone_through_several_times_a_run() -> None:
    count = [0]

    def run() -> None:
        count[0] += 1

    measure.time_side_by_side([], Pass("yardstick", run), 1000, 3, collect=True)
    assert count == [1]  # no pass to set it beside
    measure.time_side_by_side([Pass("one", run)], Pass("yardstick", lambda: None), 1000, 3, collect=True)
    assert count == [1 + 1 + 3 * measure.NODES_PER_RUN // 1000]


def test_peak_memory_counts_what_is_let_go_again_and_not_what_was_there() -> None:
    before = bytearray(50_000_000)

    def run() -> bytearray:
        passing = bytearray(3_000_000)
        kept = bytearray(1_000_000)
        del passing
        return kept

    peak = measure.peak_bytes(run)
    assert 4_000_000 <= peak < 4_100_000
    assert len(before) == 50_000_000
