"""Parameters and multiply-accumulates: formulas by hand, published counts, and torch's own as an oracle."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest

import rfgraph
from rfgraph.errors import AttributeValueError
from rfgraph.importers.program.dimensions import symbol
from rfgraph.models import MODELS
from rfgraph.ops import KINDS
from rfgraph.ops.costs import FORMULAS, KEEPING, Cost, Map, Settings, cost, formula
from rfgraph.policy import Policy, judge
from rfgraph.present.views import Summary, TraceView


def report_of(*layers, size=16, channels=6, axes=2, **graph):
    """Return the report of a chain: ``(op, attributes)`` after an input."""
    net = rfgraph.Network("chain", axes=axes)
    x = net.input("x", channels=channels)
    for op, attributes in layers:
        x = net.node(op, op, x, **attributes)
    net.graph.graph.update(graph)
    return rfgraph.analyze(net, input_size=size)


def numbers(layer):
    return layer.channels, layer.parameters, layer.macs


# Formulas by hand.

#: op, its attributes -> channels, parameters, MACs after an input of 6 channels and 16 x 16 positions.
CASES = [
    ("conv", {"kernel": 3, "channels": 8}, (8, 3 * 3 * 6 * 8, 14 * 14 * 3 * 3 * 6 * 8)),
    ("conv", {"kernel": (3, 5), "channels": 8, "stride": 2}, (8, 3 * 5 * 6 * 8, 7 * 6 * 3 * 5 * 6 * 8)),
    ("conv", {"kernel": 3, "channels": 8, "bias": True}, (8, 3 * 3 * 6 * 8 + 8, 14 * 14 * 3 * 3 * 6 * 8)),
    ("conv", {"kernel": 3, "channels": 8, "groups": 2}, (8, 3 * 3 * 3 * 8, 14 * 14 * 3 * 3 * 3 * 8)),
    ("conv", {"kernel": 3, "channels": 12, "groups": 6}, (12, 3 * 3 * 12, 14 * 14 * 3 * 3 * 12)),
    ("conv", {"kernel": 3, "dilation": 2, "channels": 1}, (1, 3 * 3 * 6, 12 * 12 * 3 * 3 * 6)),
    ("depthwise_conv", {"kernel": 3}, (6, 3 * 3 * 6, 14 * 14 * 3 * 3 * 6)),
    ("depthwise_conv", {"kernel": 3, "channels": 12, "bias": True}, (12, 3 * 3 * 12 + 12, 14 * 14 * 3 * 3 * 12)),
    ("separable_conv", {"kernel": 3, "channels": 8}, (8, 3 * 3 * 6 + 6 * 8, 14 * 14 * (3 * 3 * 6 + 6 * 8))),
    ("conv_transpose", {"kernel": 2, "stride": 2, "channels": 3}, (3, 2 * 2 * 6 * 3, 16 * 16 * 2 * 2 * 6 * 3)),
    (
        "conv_transpose",
        {"kernel": 3, "stride": 2, "padding": 1, "channels": 6, "groups": 6, "bias": True},
        (6, 3 * 3 * 6 + 6, 16 * 16 * 3 * 3 * 6),
    ),
    ("dense", {"channels": 10, "bias": True}, (10, 6 * 256 * 10 + 10, 6 * 256 * 10)),
    ("dense", {"channels": 10, "mixes": [True, False]}, (10, 6 * 16 * 10, 16 * 6 * 16 * 10)),
    ("dense", {}, (None, None, None)),
    ("flatten", {}, (6 * 256, 0, 0)),
    ("global_avg_pool", {}, (6, 0, 0)),
    ("max_pool", {"kernel": 2}, (6, 0, 0)),
    ("batch_norm", {}, (6, 12, 0)),
    ("layer_norm", {"bias": False}, (6, 6, 0)),
    ("group_norm", {}, (6, 12, 0)),
    ("instance_norm", {"parameters": 0}, (6, 0, 0)),
    ("scale", {}, (6, 6, 0)),
    ("scale", {"bias": True}, (6, 12, 0)),
    ("bias", {}, (6, 6, 0)),
    ("relu", {}, (6, 0, 0)),
    ("prelu", {}, (6, None, 0)),
    ("prelu", {"parameters": 1}, (6, 1, 0)),
    ("attention", {}, (6, None, None)),
    ("attention", {"parameters": 4 * 6 * 6, "macs": 7}, (6, 144, 7)),
    ("recurrent", {"channels": 9}, (9, None, None)),
    ("unknown", {"of": "Strange"}, (None, None, None)),
    ("unknown", {"of": "Strange", "channels": 4, "parameters": 3, "macs": 0}, (4, 3, 0)),
    ("unknown", {"of": "Strange", "parameters": None, "macs": None}, (None, None, None)),
    ("space_to_depth", {"block": 2}, (24, 0, 0)),
    ("depth_to_space", {"block": (3, 2)}, (1, 0, 0)),
    ("depth_to_space", {"block": 2}, (None, 0, 0)),
    ("conv", {"kernel": 3, "channels": 8, "groups": 4}, (8, None, None)),
    ("conv", {"kernel": 3}, (None, None, None)),
    ("conv", {"kernel": 3, "channels": 8, "parameters": 5}, (8, 5, 14 * 14 * 3 * 3 * 6 * 8)),
]


@pytest.mark.parametrize(("op", "attributes", "want"), CASES, ids=[f"{case[0]}-{case[1]}" for case in CASES])
def test_formulas_by_hand(op, attributes, want):
    assert numbers(report_of((op, attributes))[op]) == want


def test_every_formula_has_a_case():
    assert set(FORMULAS) <= {op for op, _, _ in CASES} | {"concat", "constant"}
    assert set(FORMULAS) <= set(KINDS)


def test_what_an_op_costs_is_said():
    for op in KINDS.keys() - FORMULAS.keys() - KEEPING:
        if not (KINDS[op].own_position or KINDS[op].has_fixed_weights()):
            pytest.fail(
                f"what op {op!r} holds and takes is not said, so that it is not known; in rfgraph/ops/costs.py, add it "
                f'to KEEPING if it learns nothing and keeps its channels, or write its formula under @formula("{op}")'
            )
    assert not FORMULAS.keys() & KEEPING


def test_an_op_has_one_formula():
    with pytest.raises(ValueError, match="op 'conv' has two formulas; keep one"):
        formula("conv")(lambda *_: Cost())


def test_channels_flow_through_branches_and_merges():
    net = rfgraph.Network("branches")
    x = net.input("x", channels=3)
    a = net.conv("a", x, kernel=3, padding=1, channels=8)
    b = net.max_pool("b", x, kernel=3, stride=1, padding=1)
    both = net.concat("both", a, b)
    gate = net.conv("gate", net.global_avg_pool("squeeze", both), kernel=1, channels=1)
    net.conv("last", net.mul("gated", both, gate), kernel=1, channels=2)
    net.concat("tall", both, both, axis=0)
    report = rfgraph.analyze(net, input_size=4)
    assert [report[node].channels for node in ("both", "squeeze", "gate", "gated", "tall")] == [11, 11, 1, 11, 11]
    assert numbers(report["last"]) == (2, 22, 16 * 22)
    assert report.parameters.count == 3 * 3 * 3 * 8 + 11 + 22
    assert report.parameters.complete
    assert report.macs.count == 16 * 3 * 3 * 3 * 8 + 11 + 16 * 22


def test_channels_that_do_not_fit_are_said_not_guessed():
    net = rfgraph.Network("odd")
    x = net.input("x", channels=6)
    wide = net.conv("wide", x, kernel=1, channels=8)
    net.conv("after", net.add("add", x, wide), kernel=1, channels=2)
    net.depth_to_space("shuffle", wide, block=3)
    net.conv("grouped", wide, kernel=1, channels=8, groups=3)
    report = rfgraph.analyze(net, input_size=4)
    assert report["add"].cost.why == "its inputs have 6, 8 channels"
    assert report["shuffle"].cost.why == "its blocks of 9 positions do not divide 8 channels"
    assert report["grouped"].cost.why == "its 3 groups do not divide 8 and 8 channels"
    assert [report[node].channels for node in ("add", "after", "shuffle")] == [None, 2, None]
    assert report.parameters.count == 48
    assert set(report.parameters.unknown) == {"grouped", "after"}
    assert str(report.parameters) == "at least 48"


def test_without_channels_or_sizes_nothing_is_guessed():
    net = rfgraph.Network("plain")
    net.relu("relu", net.conv("conv", net.input("x"), kernel=3))
    report = rfgraph.analyze(net)
    assert numbers(report["conv"]) == (None, None, None)
    assert not report.costs.known
    net = rfgraph.Network("sizeless")
    net.conv("conv", net.input("x", channels=1), kernel=3, channels=2)
    report = rfgraph.analyze(net)
    assert numbers(report["conv"]) == (2, 18, None)
    assert report.macs.unknown == ("conv",)
    assert report.parameters.complete
    assert rfgraph.trace(net)["conv"].parameters == 18


def test_a_graph_may_state_what_it_holds():
    """Importers state parameters where they are; then nothing else is held, and heads that nothing reads count."""
    layers = [("conv", {"kernel": 3, "channels": 8, "parameters": 7}), ("batch_norm", {})]
    report = report_of(*layers, parameters=10)
    assert [report[op].parameters for op in ("conv", "batch_norm")] == [7, 0]
    assert (report.parameters.count, report.costs.unread) == (10, 3)
    report = report_of(*layers, ("relu", {}), parameters=None)
    assert [report[op].parameters for op in ("conv", "batch_norm", "relu")] == [7, None, 0]
    assert report.parameters.unknown == ("batch_norm",)


def test_macs_that_a_node_states_hold_at_the_size_that_the_input_states():
    net = rfgraph.Network("stated")
    net.conv("conv", net.input("x", channels=2, size=(8, 6)), kernel=1, channels=2, macs=99)
    assert rfgraph.analyze(net)["conv"].macs == 99
    assert rfgraph.analyze(net, input_size=(8, 6))["conv"].macs == 99
    assert rfgraph.analyze(net, input_size=(8, 7))["conv"].macs is None


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"channels": "many"}, r"node 'conv' \(conv\): channels 'many' is not a positive integer"),
        ({"groups": 0}, r"node 'conv' \(conv\): groups 0 is not a positive integer"),
        ({"bias": "yes"}, r"node 'conv' \(conv\): bias 'yes' is not true or false"),
        ({"parameters": -1}, r"node 'conv' \(conv\): parameters -1 is negative"),
    ],
)
def test_attributes_are_checked_when_costs_are_asked(attributes, message):
    report = report_of(("conv", {"kernel": 1, **attributes}))
    with pytest.raises(AttributeValueError, match=message):
        report.costs.parameters  # noqa: B018


def test_formulas_take_arrays_of_designs():
    kernels, widths, groups = np.array([1, 3, 5, 3]), np.array([8, 16, 8, 6]), np.array([1, 2, 4, 4])
    settings = Settings(op="conv", kernel=(kernels, kernels), channels=widths, groups=groups, bias=True)
    found = cost(settings, [Map(8, (32, 32))], (30, 28))
    assert found.fits.tolist() == [True, True, True, False]
    for i in range(3):
        one = cost(
            Settings(
                op="conv", kernel=(int(kernels[i]),) * 2, channels=int(widths[i]), groups=int(groups[i]), bias=True
            ),
            [Map(8, (32, 32))],
            (30, 28),
        )
        assert (found.parameters[i], found.macs[i]) == (one.parameters, one.macs)
    merged = cost(Settings(op="add"), [Map(widths, ()), Map(np.array([8, 1, 4, 6]), ())], ())
    assert merged.fits.tolist() == [True, True, False, True]
    assert merged.channels[[0, 1, 3]].tolist() == [8, 16, 6]


def test_costs_do_not_slow_an_analysis_down():
    """The pass runs when it is first asked, and once."""
    graph = nx.DiGraph(name="lazy", axes=1)
    graph.add_node("x", op="input", channels=2)
    graph.add_node("conv", op="conv", kernel=3, channels="none yet")
    graph.add_edge("x", "conv")
    report = rfgraph.analyze(graph, input_size=9)
    assert report["conv"].size == (3,)
    graph.nodes["conv"]["channels"] = 4
    assert report["conv"].parameters == 24
    assert report.costs["conv"] is report.costs["conv"]


# What is shown.


def shown(report, name="net"):
    return Summary(report, judge(report.findings, Policy()), name, "rfgraph check net")


def small(size=8, **attributes):
    net = rfgraph.Network("small")
    x = net.conv("conv", net.input("x", channels=3), kernel=3, padding=1, channels=1000)
    net.conv("last", x, kernel=1, channels=4, **attributes)
    return net


def test_a_summary_shows_costs_where_they_are_known():
    view = shown(rfgraph.analyze(small(), input_size=8))
    headings = [column.heading for column in view.sheet().columns]
    assert headings == ["layer", "op", "n", "channels", "r", "S", "P", "start", "parameters", "MACs"]
    assert view.sheet().rows[1] == ("conv", "conv", "8", "1,000", "3", "1", "1", "0.5", "27,000", "1,728,000")
    assert "parameters: 31,000" in view.sheet().notes
    assert "MACs: 1,984,000" in view.sheet().notes
    plain = rfgraph.Network("plain")
    plain.conv("conv", plain.input("x"), kernel=3)
    view = shown(rfgraph.analyze(plain, input_size=8))
    assert [column.heading for column in view.sheet().columns] == ["layer", "op", "n", "r", "S", "P", "start"]
    assert not any("parameters" in note for note in view.sheet().notes)


def test_a_summary_says_what_its_totals_leave_out():
    view = shown(rfgraph.analyze(small(groups=3)))
    assert view.sheet().rows[2][-1] == "?"
    why = "its 3 groups do not divide 1000 and 4 channels"
    assert f"parameters: at least 27,000, without 'last' ({why})" in view.sheet().notes
    assert "MACs: not known; they need the channels of all layers and --input-size" in view.sheet().notes
    view = shown(rfgraph.analyze(small(groups=3), input_size=8))
    assert f"MACs: at least 1,728,000, without 'last' ({why})" in view.sheet().notes
    net = small()
    net.graph.graph["parameters"] = 5
    net.graph.nodes["conv"]["parameters"] = 3
    notes = shown(rfgraph.analyze(net)).sheet().notes
    assert "parameters: 5; no layer here reads 2 of them" in notes


def test_a_summary_says_that_a_format_does_not_tell_what_is_learned():
    net = small()
    net.graph.graph["parameters"] = None
    notes = shown(rfgraph.analyze(net, input_size=8)).sheet().notes
    assert "parameters: not known; nothing says which of its tensors are learned" in notes
    assert "MACs: 1,984,000" in notes


def test_documents_and_records_carry_costs():
    view = shown(rfgraph.analyze(small(groups=3), input_size=8))
    document = view.document()
    entry = document["layers"][1]
    assert (entry["channels"], entry["parameters"], entry["macs"]) == (1000, 27000, 1728000)
    assert document["parameters"] == {"count": 27000, "complete": False, "unknown": ["last"], "unread": 0}
    assert document["macs"] == {"count": 1728000, "complete": False, "unknown": ["last"]}
    records = view.records()
    at = records.header.index("channels")
    assert records.header[at : at + 4] == ("channels", "parameters", "macs", "status")
    assert records.rows[1][at : at + 3] == ("1000", "27000", "1728000")
    assert records.rows[2][at : at + 3] == ("4", "", "")
    traced = TraceView(rfgraph.trace(small(), input_size=8), "net").document()
    assert [layer["macs"] for layer in traced["layers"]] == [0, 1728000, 256000]


# Networks of the zoo leave batch norm and heads out: with the numbers of these they must come to the published counts.

PYTORCH = "torchvision.models, num_params of the weights"
KERAS = "keras.applications, trainable parameters of model.summary()"
TIMM = "timm, number of parameters"
MANY = "github.com/osmr/imgclsmob, README.md of pytorch"
CLASSES = 1000


def norms(report, per_channel, depthwise=True):
    """Return the learned numbers of a batch norm after each conv that has no bias."""
    nodes = report._graph.nodes
    convs = [n for n in report if report[n].op == "conv" and not nodes[n].get("bias")]
    return per_channel * sum(report[n].channels for n in convs if depthwise or "groups" not in nodes[n])


def head(features, classes=CLASSES):
    return features * classes + classes


def norms_of_densenet(report):
    """Before each conv but the first, over all that it reads; after the first; and at the end."""
    tails = [next(iter(report._graph.pred[n])) for n in report if report[n].op == "conv"]
    return 2 * (64 + sum(report[tail].channels for tail in tails[1:]) + 1024)


def norms_of_resnet_v2(report):
    """After each conv without a bias, before each unit, and at the end."""
    units = [next(iter(report._graph.pred[n])) for n in report if str(n).endswith("bottleneck_v2/conv1")]
    return norms(report, 2) + 2 * (sum(report[tail].channels for tail in units) + 2048)


@pytest.mark.parametrize(
    ("name", "left_out", "published", "source"),
    [
        ("vgg_16", lambda r: 0, 138_357_544, PYTORCH),
        ("vgg_a", lambda r: 0, 132_863_336, f"{PYTORCH}: vgg11"),
        ("alexnet_guide", lambda r: head(4096), 62_378_344, f"{MANY}: AlexNet"),
        ("mobilenet_v1", lambda r: norms(r, 2) + head(1024), 4_231_976, KERAS),
        ("mobilenet_v1_075", lambda r: norms(r, 2) + head(768), 2_585_560, f"{MANY}: MobileNet x0.75"),
        ("resnet_v1_50", lambda r: norms(r, 2) + head(2048), 25_557_032, PYTORCH),
        ("resnet_v1_101", lambda r: norms(r, 2) + head(2048), 44_549_160, PYTORCH),
        ("resnet_v1_152", lambda r: norms(r, 2) + head(2048), 60_192_808, PYTORCH),
        ("resnet_v1_200", lambda r: norms(r, 2) + head(2048), 64_673_832, TIMM),
        ("resnet_v2_50", lambda r: norms_of_resnet_v2(r) + head(2048), 25_568_360, KERAS),
        ("resnet_v2_101", lambda r: norms_of_resnet_v2(r) + head(2048), 44_577_896, KERAS),
        ("resnet_v2_152", lambda r: norms_of_resnet_v2(r) + head(2048), 60_236_904, KERAS),
        ("resnet50_d", lambda r: norms(r, 2) + head(2048), 25_576_264, TIMM),
        ("resnet3d_18", lambda r: norms(r, 2) + head(512, 400), 33_371_472, PYTORCH),
        ("inception_v3", lambda r: norms(r, 1) + head(2048), 23_817_352, f"{KERAS}; its norms have no factors"),
        ("inception_v4", lambda r: norms(r, 2) + head(1536), 42_679_816, MANY),
        ("inception_resnet_v2", lambda r: norms(r, 1) + head(1536), 55_813_192, f"{KERAS}; its norms have no factors"),
        ("xception", lambda r: norms(r, 2, depthwise=False) + head(2048), 22_855_952, KERAS),
        ("densenet_121", lambda r: norms_of_densenet(r) + head(1024), 7_978_856, PYTORCH),
        ("unet", lambda r: -65, 31_030_593, "torchsummary of U-Nets that score one class, not two"),
    ],
)
def test_published_parameters_of_the_zoo(name, left_out, published, source):
    report = rfgraph.analyze(f"zoo:{name}", input_size=MODELS[name].input_size)
    assert report.parameters.complete
    assert report.parameters.count + left_out(report) == published, source


@pytest.mark.parametrize(
    ("name", "size", "left_out", "published", "source"),
    [
        ("vgg_16", 224, 0, 15.470, "torchvision.models, GFLOPS of the weights"),
        ("densenet_121", 224, 1024 * CLASSES, 2.834, "torchvision.models, GFLOPS of the weights"),
        ("inception_v3", 299, 2048 * CLASSES, 5.713, "torchvision.models, GFLOPS of the weights"),
        ("resnet3d_18", (16, 112, 112), 512 * 400, 40.697, "torchvision.models, GFLOPS of the weights"),
        ("mobilenet_v1", 224, 1024 * CLASSES, 0.569, "Howard et al., MobileNets, table 6: million mult-adds"),
        ("mobilenet_v1_075", 224, 768 * CLASSES, 0.325, "Howard et al., MobileNets, table 6: million mult-adds"),
    ],
)
def test_published_macs_of_the_zoo(name, size, left_out, published, source):
    report = rfgraph.analyze(f"zoo:{name}", input_size=size)
    assert report.macs.complete
    assert round((report.macs.count + left_out) / 1e9, 3) == published, source


def test_every_network_of_the_zoo_tells_its_parameters():
    for name, model in MODELS.items():
        assert rfgraph.analyze(f"zoo:{name}", input_size=model.input_size).parameters.complete, name


def test_groups_of_an_open_number_of_features_are_not_counted():
    size = symbol("n")
    settings = Settings(op="dense", channels=4, groups=2, kernel=(), block=(), mixes=(True,), beside=True)
    assert cost(settings, [Map(3, (size,))], [1]).macs is None
    assert cost(settings, [Map(4, (size,))], [1]).channels == 4
