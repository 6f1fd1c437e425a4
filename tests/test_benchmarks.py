"""The benchmarks run, print all they promise, and measure what they say they do."""

from __future__ import annotations

import gc
import importlib.util
import re
from typing import Any

import networkx as nx
import pytest

import rfgraph
from benchmarks import arrays, beside, cluster, cold, growth, measure, peers, published
from benchmarks.__main__ import main
from benchmarks.graphs import NETWORKS, SMALLEST
from benchmarks.lines import HEADINGS
from benchmarks.passes import INPUT_SIZE, LARGE, Pass, answers, passes, yardstick
from benchmarks.table import COLUMNS
from rfgraph.fast import interning
from rfgraph.fast.interning import Table

WORK = (
    "topological_sort", "compile", "forward", "reverse", "alignment", "holes", "effective sizes", "latency",
    "exact outputs", "analyze",
)  # fmt: skip


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
    moments = list(found["effective sizes"].values())[-1].by_phase
    stds = [float(variance.ravel()[0]) ** 0.5 for variance in moments.variance]
    assert tuple(stds) == pytest.approx(report.effective_sizes()[last].std)
    assert found["latency"].look_ahead == report.latency(axis="y").look_ahead
    first, end = found["exact outputs"]
    plan, outputs = report.tiling().axes[0], rfgraph.analyze(graph, INPUT_SIZE)[last].map_size[0]
    halo = plan.halos[INPUT_SIZE % plan.multiple]
    assert (first, outputs - 1 - end) == (halo.before, halo.after)


@pytest.fixture
def short_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Go through small graphs only a few times per run."""
    monkeypatch.setattr(measure, "NODES_PER_RUN", 200)


@pytest.mark.usefixtures("short_runs")
def test_the_table_has_a_row_per_network_size_and_pass(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--parts", "passes", "--sizes", "120,40", "--runs", "2", "--markdown"])
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
    main(
        [
            "--parts",
            "passes",
            "--sizes",
            "40",
            "--runs",
            "1",
            "--networks",
            "chain,random",
            "--no-memory",
            "--gc",
            "--markdown",
        ]
    )
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
    main(["--parts", "passes", "--sizes", "40", "--runs", "1", "--networks", "chain"])
    shown = capsys.readouterr().out
    assert all(column in shown for column in COLUMNS)
    assert all(f" {work} " in shown for work in WORK)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--sizes", "1000,7"], f"7 nodes are too few; the smallest network has {SMALLEST}"),
        (["--networks", "chian"], "'chian' is not one of chain, unpadded, inception, random, misaligned"),
        (["--runs", "0"], "0 is not a positive number of runs"),
        (
            ["--parts", "engine,speed"],
            "'speed' is not one of engine, published, cold, growth, arrays, startup, sweeps, cluster, beside, peers, "
            "passes",
        ),
        (["--parts", "engine,passes"], "passes have a table of their own; ask for them alone"),
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
    assert order == warm_up + ["yardstick", "yardstick", "one", "yardstick", "yardstick", "two"] * 2
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


def test_the_engine_of_record_answers_what_its_lines_say() -> None:
    graph = NETWORKS["random"](100)
    found: dict[str, Any] = {one.name: one.run() for one in answers(graph)}
    assert list(found) == ["aligned", "aligned, numbers()", "findings", "findings, read", "findings, sizes"]
    assert found["aligned"] is True
    assert found["aligned, numbers()"][1].nodes == tuple(rfgraph.analyze(graph))
    sized = found["findings, sizes"][0]
    assert {layer.map_size for layer in sized.values()} >= {(512, 512), (16, 16)}
    assert [one.name for one in answers(NETWORKS["chain"](LARGE + 1))] == ["aligned", "aligned, numbers()"]


@pytest.mark.usefixtures("short_runs")
def test_the_one_table_has_the_lines_of_its_parts(capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--parts", "engine,startup", "--sizes", "40,120", "--networks", "chain,misaligned", "--runs", "1"]
    main([*options, "--markdown"])
    shown = capsys.readouterr().out
    assert re.match(r"rfgraph \S+, CPython .* medians of 1 runs", shown)
    rows = markdown_rows(shown)
    assert tuple(rows[0]) == HEADINGS
    works = ["aligned", "aligned, numbers()", "findings", "findings, read", "findings, sizes"]
    engine = [(row["what"], row["on"]) for row in rows if row["yardstick"] == "topological_sort"]
    assert engine == [
        (work, f"{network}, {nodes} nodes")
        for network in ("chain", "misaligned")
        for nodes in (40, 120)
        for work in works
    ]
    commands = [row for row in rows if row["what"].startswith("rfgraph ")]
    assert [row["on"] for row in commands] == ["", "a JSON graph", "light_resnet50.onnx"]
    for row in commands:
        assert row["said"] == "onnx, or the test data in it, is not installed" or float(row["x yardstick"]) > 0.5
    main([*options[:1], "startup", "--runs", "1"])
    assert "a JSON graph" in capsys.readouterr().out


@pytest.mark.usefixtures("short_runs")
def test_published_networks_have_a_line_each() -> None:
    lines = published.measure([("mobilenet_v1", 224), ("mobilenet_v1", None)], 1)
    assert [line.on for line in lines] == [
        "mobilenet_v1, 224 pixels, 28 nodes",
        "mobilenet_v1, any size, 28 nodes",
    ]
    assert all(len(line.ratios) == len(line.seconds) == 1 for line in lines)


@pytest.mark.usefixtures("short_runs")
def test_networks_that_grow_have_a_line_each() -> None:
    lines = growth.measure(1, 10)
    assert [line.on.split(",")[:2] for line in lines] == [
        [kind, f" {number} {counted}"]
        for kind, counted, numbers in (
            ("resnet", "blocks", (10,)),
            ("unet", "levels", growth.DEPTHS),
            ("inception", "branches", (2, 4, 8)),
            ("hourglass", "stacks", (1, 2, 4, 8)),
        )
        for number in numbers
    ]
    assert [
        line.said for line in lines if line.on.startswith(("resnet", "unet, 2", "inception, 2", "hourglass, 1"))
    ] == ["growth 1.00"] * 4
    for make, _, numbers in growth.KINDS:
        report = rfgraph.analyze(make(numbers[0]))
        assert report.aligned
        assert len(report.outputs) == 1


@pytest.mark.usefixtures("short_runs")
def test_networks_are_measured_when_they_are_first_met_and_when_they_are_met_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun: list[Table] = []
    monkeypatch.setattr(interning, "_TABLES", {})
    monkeypatch.setattr(interning, "Table", lambda lanes: begun.append(Table(lanes)) or begun[-1])
    lines = cold.measure(2, [network for network in cold.NETWORKS if network[0] == "1 hourglass"])
    assert [(line.what, line.on) for line in lines] == [
        (f"findings, {when}", "1 hourglass, any size, 24 nodes") for when in ("met again", "first met")
    ]
    asked = [table for table in begun if table.frames]
    assert len(asked) == 1 + (1 + 2)  # met again by what the first one left; each of two runs begins anew
    assert len({(len(table.frames), len(table.specs)) for table in asked}) == 1


def test_what_torch_tells_of_a_network_is_what_rfgraph_does() -> None:
    pytest.importorskip("torch")
    lines = {line.what: line for line in beside.measure(1)}
    assert lines["halo of tiles, by gradients of a period"].said == "halo 23, 23"
    assert lines["halo of tiles, rfgraph, from the live model"].said == "halo 23, 23: the same"
    said = lines["effective field, rfgraph, report at hand"].said
    assert float(said.removeprefix("shares differ by ").removesuffix(" at most")) < 1e-6  # of floats of 32 bits


def test_a_cluster_that_is_not_installed_is_a_line_that_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster.importlib.util, "find_spec", lambda package: None)
    assert [line.said for line in cluster.measure()] == ["distributed and joblib not installed"]


@pytest.mark.parametrize("doublings", [0, 3])
@pytest.mark.parametrize("order", arrays.ORDERS)
def test_networks_as_arrays_are_those_that_graphs_would_be(doublings: int, order: str) -> None:
    pytest.importorskip("numba")
    starts, tails, ops, _, source = arguments = arrays.renumbered(arrays.network(40, doublings), order)
    net = rfgraph.Network("blocks", axes=2)
    graph = net.graph
    layers: list[dict[str, Any]] = [
        {"op": "relu"},
        {"op": "conv", "kernel": 3, "padding": 1},
        {"op": "conv", "kernel": [1, 7], "padding": [0, 3]},
        {"op": "conv", "kernel": [7, 1], "padding": [3, 0]},
        {"op": "resize", "scale": 2, "mode": "nearest", "coordinates": "asymmetric", "nearest_mode": "floor"},
    ]
    for v, op in enumerate(ops):
        merges = starts[v + 1] - starts[v] > 1
        graph.add_node(v, **({"op": "input"} if v == source else {"op": "concat"} if merges else layers[op]))
    for v in range(len(ops)):
        slots = enumerate(tails[starts[v] : starts[v + 1]])
        graph.add_edges_from((int(tail), v, {"slot": slot}) for slot, tail in slots)
    report = rfgraph.analyze(graph)
    fields = rfgraph.solve_arrays(*arguments)
    assert fields.phases == 1 << doublings
    for v in graph:
        assert tuple(fields.window(v, axis) for axis in range(2)) == report[v].field


def test_lines_of_arrays_tell_time_and_memory() -> None:
    pytest.importorskip("numba")
    lines = arrays.measure([20_000], [4], runs=2)
    orders = [f"solve_arrays, {order} ids" for order in arrays.ORDERS]
    expected = ["copy of an array", "solve_arrays, axes alike", *orders, "solve_arrays, 4 phases"]
    assert [line.what for line in lines] == expected
    assert all(len(line.seconds) == len(line.ratios) == 2 for line in lines[1:])


def test_a_peer_that_cannot_run_is_a_line_that_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers.importlib.util, "find_spec", lambda package: None)
    assert [line.said for line in peers.measure(1)] == ["torch and torchvision are not installed"]


def test_answers_of_peers_are_held_against_rfgraph(monkeypatch: pytest.MonkeyPatch) -> None:
    answers: dict[str, dict[str, dict[str, Any]]] = {
        "rfgraph": {"a": {"size": [7, 7], "seconds": [2.0]}, "b": {"size": [9, 5], "seconds": [1.0]}},
        "right": {"a": {"size": [7, 7], "seconds": [1.0]}, "b": {"why": "KeyError: 3"}},
        "wrong": {"a": {"size": [3, 3], "seconds": [4.0]}, "b": {"size": [9, 5], "seconds": [1.0]}},
        "missing": {"a": {"why": "ModuleNotFoundError: x"}, "b": {"why": "ModuleNotFoundError: x"}},
    }
    monkeypatch.setattr(peers.importlib.util, "find_spec", lambda package: True)
    monkeypatch.setattr(peers, "_asked", lambda tool, runs, networks: answers[tool])
    lines = peers.measure(1, ("a", "b"), tuple(answers))
    assert [(line.what.split()[0], line.on, line.ratios, line.said) for line in lines] == [
        ("rfgraph", "a", (1.0,), "r = 7x7"),
        ("rfgraph", "b", (1.0,), "r = 9x5"),
        ("right", "a", (0.5,), "r = 7x7, right"),
        ("right", "b", (), "fails: KeyError: 3"),
        ("wrong", "a", (2.0,), "r = 3x3, wrong: it is 7x7"),
        ("wrong", "b", (1.0,), "r = 9x5, right"),
        ("missing", "all networks", (), "cannot run: ModuleNotFoundError: x"),
    ]


def test_a_tool_that_is_not_installed_says_so_in_a_process_of_its_own() -> None:
    if importlib.util.find_spec("torchvision") is None:
        pytest.skip("torchvision is not installed")
    found = peers._asked("torchscan", 1, ["resnet18"])["resnet18"]
    assert found.get("why", "") == "ModuleNotFoundError: No module named 'torchscan'" or found["size"]
