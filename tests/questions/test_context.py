"""Global context, its culprits, and what users say of it: treatments and batch normalisation in training."""

from __future__ import annotations

import json

import networkx as nx
import oracle
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from strategies import PLAIN, networks

import rfgraph
from rfgraph import Network, cli
from rfgraph.errors import AttributeValueError, SizeError, UnknownNodeError, UnknownOpError
from rfgraph.questions import context

MIXERS = ["attention", "recurrent", "global_avg_pool", "softmax", "group_norm", "instance_norm"]
OWN_TOO = ("softmax", "group_norm", "instance_norm")  # they read their own position besides


def _mixer(draw, axes, same):
    return {"op": draw(st.sampled_from(MIXERS)), "mixes": [draw(st.booleans()) for _ in range(axes)]}, 1


def every_path(graph, node, source):
    if node == source:
        return [[]]
    return [[node, *rest] for tail in oracle.inputs_of(graph, node) for rest in every_path(graph, tail, source)]


def mixes(graph, node, axis):
    return graph.nodes[node]["op"] in MIXERS and graph.nodes[node]["mixes"][axis]


@given(networks(layers=[*PLAIN, _mixer, _mixer]))
def test_culprits_are_the_first_to_mix_the_axis_on_some_path(graph):
    try:
        report = rfgraph.analyze(graph, source="in0")
    except SizeError:  # a kernel that does not fit on the one position that a global pool leaves
        assume(False)
    for node in graph:
        paths = every_path(graph, node, "in0")
        for axis in range(graph.graph["axes"]):
            mixing = [[n for n in path if mixes(graph, n, axis)] for path in paths]
            first = {path[-1] for path in mixing if path}
            # A norm reads its own position too: what mixes next on the same path reads a local field as well.
            for path in mixing:
                for i, n in enumerate(path):
                    if all(graph.nodes[earlier]["op"] in OWN_TOO for earlier in path[i + 1 :]):
                        first.add(n)
            found = report.culprits(node)[axis]
            assert set(found) == first
            assert report[node].is_global[axis] == bool(first)
            assert list(found) == [n for n in report if n in first]  # in topological order
            local = any(all(graph.nodes[n]["op"] in OWN_TOO for n in path) for path in mixing)
            assert report[node].field[axis].is_local == local


def test_what_is_cut_is_to_blame_for_nothing():
    net = Network(axes=1)
    x = net.input("x")
    dropped = net.relu("dropped", net.attention("unseen", x))
    net.add("add", net.attention("seen", x), x, dropped)
    assert rfgraph.analyze(net).culprits("add") == (("unseen", "seen"),)
    assert rfgraph.analyze(net, treat={"dropped": "cut"}).culprits("add") == (("seen",),)


def gated():
    net = Network("gated", axes=2)
    x = net.conv("conv", net.input("x"), kernel=3, padding=1)
    for i in (1, 2):
        pooled = net.global_avg_pool(f"se{i}.pool", x)
        gate = net.sigmoid(f"se{i}.gate", net.conv(f"se{i}.fc", pooled, kernel=1))
        x = net.conv(f"conv{i}", net.mul(f"se{i}.mul", x, gate), kernel=3, padding=1)
    return net


@pytest.mark.parametrize("input_size", [None, 32])
def test_a_network_with_gates_has_a_local_field_and_says_what_is_global(input_size):
    report = rfgraph.analyze(gated(), input_size=input_size)
    assert report["conv2"].size == (7, 7)
    assert report["conv2"].is_global == (True, True)
    # Multiplying by a gate of one position reads the whole gate, but that is global already.
    assert report.culprits("conv2") == (("se1.pool", "se2.pool"),) * 2
    assert report.culprits("conv1") == (("se1.pool",),) * 2
    assert report.culprits("conv") == ((), ())
    (finding,) = report.findings
    assert (finding.rule, finding.severity, finding.node, finding.axes) == ("RF008", "note", "conv2", ("y", "x"))
    assert finding.culprits == ("se1.pool", "se2.pool")
    assert finding.message == (
        "output 'conv2', axes y, x: it reads the whole map, beside its local field, through 'se1.pool' "
        "(global_avg_pool), 'se2.pool' (global_avg_pool)"
    )
    assert finding.advice == "nothing if it is meant: r, S and P are those of the paths that do not pass there"


def test_an_output_that_is_global_only_says_how_to_see_the_rest():
    net = Network(axes=["t"])
    net.conv("conv", net.recurrent("lstm", net.input("x")), kernel=3)
    (finding,) = rfgraph.analyze(net).findings
    assert finding.message == "output 'conv', axis t: it reads the whole map through 'lstm' (recurrent)"
    assert "treat={'lstm': 'identity'}" in finding.advice
    report = rfgraph.analyze(net, treat={"lstm": "identity"})
    assert report.findings == ()
    assert report["conv"].size == (3,)


def test_many_culprits_are_counted_in_the_message():
    net = Network(axes=1)
    x = net.input("x")
    for i in range(6):
        x = net.add(f"add{i}", x, net.attention(f"attention{i}", x))
    (finding,) = rfgraph.analyze(net).findings
    assert finding.message.endswith("'attention3' (attention) and 2 more")
    assert len(finding.culprits) == 6


def test_culprits_of_many_outputs_are_looked_up_when_asked_for(monkeypatch):
    net = Network()
    x = net.attention("a", net.input("x"))
    for i in range(100):
        net.conv(f"out{i}", x, kernel=3)
    asked = []
    walk = context.culprits
    monkeypatch.setattr(context, "culprits", lambda *args: asked.append(args) or walk(*args))
    findings = rfgraph.analyze(net).findings
    assert [(finding.axes, finding.node) for finding in findings] == [(("y", "x"), f"out{i}") for i in range(100)]
    assert not asked  # each is a walk over the network
    assert findings[7].culprits == ("a",)
    assert len(asked) == 1


def test_axes_that_are_mixed_by_different_ops_have_a_finding_each():
    net = Network()
    net.attention("columns", net.attention("rows", net.input("x"), mixes=[False, True]), mixes=[True, False])
    assert [(f.axes, f.culprits) for f in rfgraph.analyze(net).findings] == [
        (("y",), ("columns",)),
        (("x",), ("rows",)),
    ]


@pytest.mark.parametrize("op", OWN_TOO)
def test_norms_over_space_keep_the_local_field(op):
    net = Network()
    x = net.conv("conv", net.input("x"), kernel=3)
    last = net.conv("last", net.node(op, "norm", x), kernel=3)
    report = rfgraph.analyze(net, input_size=20)
    assert (report[last].size, report[last].is_global, report.culprits(last)[0]) == ((5, 5), (True, True), ("norm",))
    assert report.region(last, (4, 4)).box == ((0, 19), (0, 19))
    assert report.paths(last).count == 1


def trained():
    net = Network(axes=1)
    x = net.batch_norm("bn1", net.conv("conv1", net.input("x"), kernel=3))
    net.batch_norm("bn2", net.conv("conv2", x, kernel=3))
    return net


def test_batch_norm_reads_the_whole_map_in_training_only():
    inference = rfgraph.analyze(trained())
    assert inference.batch_norm == "inference"
    assert inference["bn2"].is_global == (False,)
    training = rfgraph.analyze(trained(), batch_norm="training")
    assert training.batch_norm == "training"
    assert training["bn2"].is_global == (True,)
    assert training["bn2"].size == inference["bn2"].size == (5,)
    assert training.culprits("bn2") == (("bn1", "bn2"),)
    assert rfgraph.analyze(trained(), input_size=30, batch_norm="training").region("bn2", 10).box == ((0, 29),)
    assert rfgraph.trace(trained(), batch_norm="training")["x"].is_global == (True,)
    assert rfgraph.trace(trained())["x"].is_global == (False,)


def test_batch_norm_is_inference_or_training():
    with pytest.raises(AttributeValueError, match="batch_norm 'train' is not one of inference, training"):
        rfgraph.analyze(trained(), batch_norm="train")


def test_attributes_of_batch_norm_are_checked_in_training_too():
    net = Network(axes=1)
    net.batch_norm("bn", net.input("x"), kernel=3)
    with pytest.raises(AttributeValueError, match="attribute 'kernel' is not one of batch_norm"):
        rfgraph.analyze(net, batch_norm="training")


# Treatments


def pooled():
    net = Network(axes=1)
    x = net.conv("block/conv", net.input("x"), kernel=3, padding=1)
    return net, net.max_pool("block/pool", x, kernel=2)


def test_identity_reads_its_own_position_and_keeps_the_map():
    report = rfgraph.analyze(pooled()[0], input_size=10, treat={"block/pool": "identity"})
    assert (report["block/pool"].size, report["block/pool"].stride, report["block/pool"].map_size) == (
        (3,),
        (1,),
        (10,),
    )
    assert report["block/pool"].op == "max_pool"


def test_global_reads_everything_and_leaves_the_size_to_the_op():
    report = rfgraph.analyze(pooled()[0], input_size=10, treat={"max_pool": "global"})
    assert report["block/pool"].field[0].is_full
    assert report["block/pool"].map_size == (5,)
    assert report.culprits("block/pool") == (("block/pool",),)


def test_cut_reads_nothing():
    report = rfgraph.analyze(pooled()[0], input_size=10, treat={"*/pool": "cut"})
    assert report["block/pool"].field[0].is_empty
    assert report["block/pool"].map_size == (5,)
    assert report.paths("block/pool").count == 0
    assert list(rfgraph.trace(pooled()[0], treat={"*/pool": "cut"})) == ["block/pool"]


def test_what_was_treated_is_recorded_in_order_and_the_first_pattern_counts():
    net, _ = pooled()
    report = rfgraph.analyze(net, treat={"*pool": "cut", "block*": "identity"})
    assert [(t.node, t.how, t.pattern) for t in report.treated] == [
        ("block/conv", "identity", "block*"),
        ("block/pool", "cut", "*pool"),
    ]


def test_inputs_read_nothing_and_are_left_alone():
    net, _ = pooled()
    with pytest.raises(UnknownNodeError, match=r"treat pattern 'x' fits no node and no op"):
        rfgraph.analyze(net, treat={"x": "cut"})
    assert [t.node for t in rfgraph.analyze(net, treat={"*": "identity"}).treated] == ["block/conv", "block/pool"]


def test_names_with_brackets_are_taken_as_they_are_too():
    net = Network(axes=1)
    net.attention("m[0]", net.input("x"))
    assert rfgraph.analyze(net, treat={"m[0]": "identity"})["m[0]"].size == (1,)


def test_a_pattern_that_fits_nothing_names_what_is_near():
    net, _ = pooled()
    with pytest.raises(UnknownNodeError, match=r"treat pattern 'block/poll' fits no node and no op \(near: block/pool"):
        rfgraph.analyze(net, treat={"block/poll": "cut"})
    with pytest.raises(UnknownNodeError, match=r"'pool' fits no node.* '\*pool\*' fits 'block/pool' and 1 more"):
        rfgraph.analyze(net, treat={"pool": "cut"})
    with pytest.raises(UnknownNodeError, match=r"'loc' fits no node and no op; '\*loc\*' fits 'block' and 2 more"):
        rfgraph.analyze(net, treat={"loc": "cut"})
    with pytest.raises(UnknownNodeError, match=r"'blok/\*' fits no node"):
        rfgraph.trace(net, treat={"blok/*": "cut"})


def test_treatments_are_three():
    net, last = pooled()
    with pytest.raises(AttributeValueError, match="treat 'ignore' is not one of identity, global, cut"):
        rfgraph.analyze(net, treat={"block/pool": "ignore"})
    net.graph.nodes[last]["treat"] = "drop"
    with pytest.raises(AttributeValueError, match=r"node 'block/pool' \(max_pool\): treat 'drop' is not one of"):
        rfgraph.analyze(net)


def test_a_node_of_the_graph_may_say_it_itself():
    net, last = pooled()
    net.graph.nodes[last]["treat"] = "global"
    report = rfgraph.analyze(net)
    assert report[last].field[0].is_full
    assert [(t.node, t.how, t.pattern) for t in report.treated] == [(last, "global", None)]
    assert rfgraph.analyze(net, treat={"max_pool": "identity"})[last].size == (3,)
    net.graph.nodes["x"]["treat"] = "cut"
    with pytest.raises(AttributeValueError, match=r"node 'x' \(input\): it reads nothing, so that treat='cut' says"):
        rfgraph.analyze(net)


def test_an_op_that_no_one_knows_needs_a_treatment():
    graph = nx.DiGraph(axes=1)
    graph.add_node("x", op="input", size=9)
    graph.add_node("up", op="GridSample", grid="any")
    graph.add_node("conv", op="conv", kernel=3)
    nx.add_path(graph, ["x", "up", "conv"])
    with pytest.raises(UnknownOpError, match=r"node 'up' \(GridSample\).*pass treat=\{'up': 'identity'\}, 'global'"):
        rfgraph.analyze(graph)
    report = rfgraph.analyze(graph, treat={"Grid*": "identity"})
    assert (report["conv"].size, report["conv"].map_size, report["up"].op) == ((3,), (7,), "GridSample")
    assert rfgraph.analyze(graph, treat={"up": "global"})["conv"].field[0].is_full
    assert rfgraph.analyze(graph, treat={"up": "cut"})["conv"].field[0].is_empty


def test_several_inputs_may_be_treated_at_once():
    net = Network(axes=1)
    x = net.input("x", size=9)
    net.unknown("odd", net.conv("a", x, kernel=3, padding=1), net.conv("b", x, kernel=5, padding=2), of="Odd")
    assert rfgraph.analyze(net, treat={"Odd": "identity"})["odd"].size == (5,)
    assert rfgraph.analyze(net, treat={"Odd": "global"})["odd"].map_size == (9,)
    assert rfgraph.analyze(net)["odd"].status == "unknown"


def test_files_are_read_with_treatments(tmp_path):
    onnx = pytest.importorskip("onnx")
    weight = onnx.helper.make_tensor("w", onnx.TensorProto.FLOAT, [3, 3, 3, 3], [0.0] * 81)
    nodes = [
        onnx.helper.make_node("Conv", ["x", "w"], ["c"], "conv", pads=[1, 1, 1, 1]),
        onnx.helper.make_node("Mystery", ["c"], ["m"], "mystery", domain="custom"),
        onnx.helper.make_node("Conv", ["m", "w"], ["y"], "last", pads=[1, 1, 1, 1]),
    ]
    ends = [onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, ["n", 3, 64, 64]) for n in "xy"]
    graph = onnx.helper.make_graph(nodes, "odd", ends[:1], ends[1:], [weight])
    versions = [onnx.helper.make_opsetid("", 17), onnx.helper.make_opsetid("custom", 1)]
    path = str(tmp_path / "odd.onnx")
    onnx.save(onnx.helper.make_model(graph, opset_imports=versions), path)
    assert rfgraph.analyze(path)["last"].status == "unknown"
    for pattern in ("mystery", "Myst*"):
        assert rfgraph.analyze(path, treat={pattern: "identity"})["last"].size == (5, 5)
        assert rfgraph.trace(path, treat={pattern: "identity"})["x"].size == (5, 5)
        assert rfgraph.analyze(path, treat={pattern: "global"})["last"].field[0].is_full
        assert rfgraph.analyze(path, treat={pattern: "cut"})["last"].field[0].is_empty
    loaded = rfgraph.load(path, treat={"Mystery": "identity"})
    assert loaded.nodes["mystery"]["treat"] == "identity"
    report = rfgraph.analyze(loaded)
    assert report["last"].size == (5, 5)
    assert [(t.node, t.how) for t in report.treated] == [("mystery", "identity")]


# Shown


def test_the_command_line_takes_both_and_shows_what_was_taken(capsys, tmp_path):
    net = gated()
    net.batch_norm("bn", "conv2")
    path = tmp_path / "gated.json"
    path.write_text(json.dumps(nx.node_link_data(net.graph, edges="edges")), encoding="utf-8")
    given = ["--treat", "se?.pool=identity", "--batch-norm", "training"]
    assert cli.main(["summary", str(path), *given]) == 0
    out = capsys.readouterr().out
    assert "treated as identity: 'se1.pool', 'se2.pool'\n" in out
    assert "batch normalisation: in training, over the whole map\n" in out
    assert "--treat 'se?.pool=identity' --batch-norm training`)" in out  # how to see the findings
    assert cli.main(["check", str(path), *given, "--format", "json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["batch_norm"] == "training"
    assert document["treated"] == [
        {"node": f"se{i}.pool", "as": "identity", "pattern": "se?.pool"} for i in (1, 2)
    ]  # fmt: skip
    (finding,) = document["findings"]
    assert (finding["rule"], finding["culprits"], finding["local"]) == ("RF008", ["bn"], True)
    assert cli.main(["check", str(path), *given]) == 0
    out = capsys.readouterr().out
    assert "note RF008 global context" in out
    assert "treated as identity: 'se1.pool', 'se2.pool'\n" in out
    assert cli.main(["trace", str(path), *given, "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["layers"][0]["fields"][0]["global"] is True
    assert cli.main(["check", str(path), "--format", "json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["batch_norm"], document["treated"]) == ("inference", [])


def attending():
    """A module that mixes all positions, and adds its input to what it makes: one op of the model, several nodes."""
    net = Network("attending", axes=1)
    x = net.conv("stem", net.input("x"), kernel=3, padding=1)
    made = {"label": "sdpa"}
    scores = net.mul("blocks.0.attn/sdpa/scores", x, net.flatten("blocks.0.attn/sdpa/keys", x, **made), **made)
    read = net.mul("blocks.0.attn/sdpa", scores, net.flatten("blocks.0.attn/sdpa/values", x, **made), **made)
    both = net.concat("blocks.0.attn/cat", net.conv("blocks.0.attn.proj", read, kernel=1), x)
    net.conv("head", net.relu("blocks.0.attn/relu", both), kernel=3, padding=1)
    return net


@pytest.mark.parametrize("pattern", ["blocks.0.attn", "blocks", "*.attn", "blocks.*", "sdpa"])
def test_a_treatment_fits_the_module_and_the_op_of_the_model(pattern):
    report = rfgraph.analyze(attending(), treat={pattern: "identity"})
    assert (report["head"].size, report["head"].is_global) == ((5,), (False,))


@pytest.mark.parametrize("pattern", ["blocks.0.attn", "blocks", "*.attn", "blocks.*", "sdpa"])
def test_what_is_cut_is_the_reading_not_the_path_beside_it(pattern):
    report = rfgraph.analyze(attending(), treat={pattern: "cut"})
    assert (report["head"].size, report["head"].is_global) == ((5,), (False,))
    assert "blocks.0.attn/cat" not in {treatment.node for treatment in report.treated}
    assert report["blocks.0.attn.proj"].field[0].is_empty


def test_a_module_that_reads_everything_keeps_the_path_beside_it():
    report = rfgraph.analyze(attending(), treat={"blocks": "global"})
    assert (report["head"].size, report["head"].is_global) == ((5,), (True,))


def test_a_merge_that_is_named_is_cut():
    report = rfgraph.analyze(attending(), treat={"blocks.0.attn/cat": "cut"})
    assert report["head"].field[0].is_empty


def test_a_pattern_of_which_nothing_can_be_said_is_refused():
    with pytest.raises(UnknownNodeError, match=r"'\*relu' fits only nodes that read their own position.*'cut'"):
        rfgraph.analyze(attending(), treat={"*relu": "cut"})
