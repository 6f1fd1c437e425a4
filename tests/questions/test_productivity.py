"""Unproductive layers, border layers and feasible resolutions, against paths listed one by one and arithmetic."""

from __future__ import annotations

import json

import networkx as nx
import oracle
from hypothesis import given
from hypothesis import strategies as st
from strategies import networks, per_axis
from test_paths import every_path, field_size

import rfgraph
from rfgraph import Network, cli
from rfgraph.models import build
from rfgraph.present.reach import counted_paths, path_lines


def unproductive(report, partly=False):
    """The layers that add no context, or those that add none on some axes."""
    layers = report.productivity.layers
    return tuple(layer.layer for layer in layers if (layer.partly if partly else layer.unproductive))


def border_layers(report):
    """The unproductive layers with none before them."""
    return tuple(layer.layer for layer in report.productivity.layers if layer.border)


def smallest_input(graph, node, axis):
    """The field of the narrowest path to the input of a convolution."""
    (tail,) = oracle.inputs_of(graph, node)
    return min((field_size(graph, path, axis) for path in every_path(graph, tail, "in0")), default=None)


def before(graph, node):
    return {n for tail in oracle.inputs_of(graph, node) for n in {tail, *before(graph, tail)}}


def _same_conv(draw, axes, same):
    """A convolution that leaves the size of its map alone, so that small images work too."""
    kernel = per_axis(draw, axes, st.sampled_from([1, 2, 3, 4]))
    return {"op": "conv", "kernel": kernel, "dilation": draw(st.integers(1, 2)), "padding": "same"}, 1


def _subsample(draw, axes, same):
    return {"op": "max_pool", "kernel": 1, "stride": 2}, 2


@given(networks(layers=[_same_conv, _same_conv, _same_conv, _subsample], inputs=st.just(1), most=12), st.integers(1, 9))
def test_unproductive_layers_are_those_whose_narrowest_input_path_exceeds_the_image(graph, pixels):
    axes = graph.graph["axes"]
    report = rfgraph.analyze(graph, input_size=pixels)
    expected, partly, narrowest = [], [], [[] for _ in range(axes)]
    for node in report:
        if graph.nodes[node]["op"] != "conv" or smallest_input(graph, node, 0) is None:
            continue
        wide = [axis for axis in range(axes) if oracle.attribute(graph.nodes[node], "kernel", axis) > 1]
        exceeded = [smallest_input(graph, node, axis) > pixels for axis in wide]
        for axis in wide:
            narrowest[axis].append(smallest_input(graph, node, axis))
        if exceeded and all(exceeded):
            expected.append(node)
        elif any(exceeded):
            partly.append(node)
    assert list(unproductive(report)) == expected
    assert list(unproductive(report, partly=True)) == partly
    assert list(border_layers(report)) == [node for node in expected if not before(graph, node) & set(expected)]
    found = [finding for finding in report.findings if finding.rule == "RF007"]
    assert [finding.node for finding in found] == [node for node in report if node in {*expected, *partly}]
    for axis, resolutions in enumerate(report.productivity.axes):
        assert resolutions.smallest == max(narrowest[axis], default=None)
        if narrowest[axis]:
            fields = [field_size(graph, path, axis) for node in graph for path in every_path(graph, node, "in0")]
            assert resolutions.largest == max(fields)


def chain(*layers, axes=2):
    """Convolutions of (kernel, stride) with SAME padding, and a pooling for kernel ``None``."""
    net = Network("chain", axes=axes)
    x = net.input("x")
    for i, (kernel, stride) in enumerate(layers, 1):
        x = net.conv(f"conv{i}", x, kernel=kernel, stride=stride, padding="same")
    return net


def test_the_border_layer_is_the_first_whose_input_exceeds_the_image():
    net = chain((3, 2), (3, 2), (3, 2), (3, 1), (3, 1))  # fields 3, 7, 15, 31, 47
    for pixels, border in ((14, "conv4"), (15, "conv5"), (30, "conv5")):
        assert border_layers(rfgraph.analyze(net, input_size=pixels)) == (border,)
    assert unproductive(rfgraph.analyze(net, input_size=14)) == ("conv4", "conv5")
    assert unproductive(rfgraph.analyze(net, input_size=31)) == ()  # all of it seen, but not more than that
    assert [(r.axis, r.smallest, r.largest, r.why) for r in rfgraph.analyze(net).productivity.axes] == [
        ("y", 31, 47, ""),
        ("x", 31, 47, ""),
    ]


def test_findings_say_what_is_seen_and_what_helps():
    net = chain((3, 2), (3, 2), (3, 1))
    (finding,) = rfgraph.analyze(net, input_size=(6, 4)).findings
    assert (finding.rule, finding.severity, finding.node, finding.axes) == ("RF007", "note", "conv3", ("y", "x"))
    assert finding.message == (
        "layer 'conv3' (conv), axes y, x: all of its inputs see 7 pixels of an image of 4 and 7 pixels of an image of "
        "6 already, so that it adds no context; it is a border layer, the first such on all paths to it"
    )
    assert finding.advice == "leave it out, stride less before it, or use images of 7 pixels or more"
    (finding,) = rfgraph.analyze(net, input_size=(64, 4)).findings
    assert finding.partly
    assert finding.axes == ("x",)
    assert finding.message.endswith(
        "axis x: all of its inputs see 7 pixels of an image of 4 already, so that it adds no context there, but does "
        "on another axis"
    )
    assert rfgraph.analyze(net, input_size=64).findings == ()
    assert rfgraph.analyze(net).findings == ()  # no image to compare with


def test_one_axis_or_all():
    report = rfgraph.analyze(chain((3, 2), (3, 2), (3, 1)), input_size=(64, 4))
    assert unproductive(report) == border_layers(report) == ()
    assert unproductive(report, partly=True) == ("conv3",)


def test_a_kernel_is_judged_on_the_axes_that_it_widens():
    net = chain((7, 1), ((1, 3), 1))
    assert unproductive(rfgraph.analyze(net, input_size=(64, 5))) == ("conv2",)
    narrow = rfgraph.analyze(net, input_size=(5, 64))
    assert unproductive(narrow) == unproductive(narrow, partly=True) == ()


def test_shortcuts_keep_layers_productive():
    net = chain((3, 2), (3, 2))
    x = net.conv("conv3", "conv2", kernel=3, padding=1)
    net.conv("conv4", net.add("add", "conv2", x), kernel=3, padding=1)
    report = rfgraph.analyze(net, input_size=10)  # conv3 sees 15, but its shortcut hands on 7
    assert report["add"].size == (15, 15)
    assert unproductive(report) == ()


def test_a_layer_after_a_border_layer_is_none_though_a_shortcut_lies_between():
    net = chain((5, 1), (3, 1))
    x = net.conv("fresh", net.add("add", "x", "conv2"), kernel=5, padding=2)
    net.conv("late", x, kernel=3, padding=1)
    report = rfgraph.analyze(net, input_size=4)
    assert unproductive(report) == ("conv2", "late")
    assert border_layers(report) == ("conv2",)
    assert [finding.border for finding in report.findings if finding.rule == "RF007"] == [True, False]


def test_convolutions_of_kernel_one_and_transposed_ones_are_not_judged():
    net = chain((5, 1), (1, 1))
    net.conv_transpose("up", "conv2", kernel=2, stride=2)
    report = rfgraph.analyze(net, input_size=3)
    assert report["conv2"].size == (5, 5)
    assert unproductive(report) == ()
    assert report.productivity.axes[0].smallest == 1  # the input of conv1


def test_what_only_reads_everything_is_not_judged():
    net = chain((3, 1))
    pool = net.global_avg_pool("pool", "conv1")
    net.conv("after", pool, kernel=3, padding=1)
    assert unproductive(rfgraph.analyze(net, input_size=8)) == ()


def test_published_networks():
    """MobileNet has no shortcuts: the fields of its blocks at stride 32 are its published 315 - 2 * 32 and 315."""
    report = rfgraph.analyze(build("mobilenet_v1"), input_size=224)
    assert unproductive(report) == ("Conv2d_13_depthwise",)
    assert [(r.smallest, r.largest) for r in report.productivity.axes] == [(315 - 2 * 32, 315)] * 2
    # In a ResNet the narrowest path takes every shortcut: nothing is unproductive from 7 + 2 * 2 pixels on.
    resnet = rfgraph.analyze(build("resnet_v1_50"))
    assert [(r.smallest, r.largest) for r in resnet.productivity.axes] == [(11, 483)] * 2


def test_without_the_size_of_an_image_nothing_is_unproductive():
    report = rfgraph.analyze(chain((3, 1)))
    assert [layer.image for layer in report.productivity.layers] == [(None, None)]
    assert unproductive(report) == border_layers(report) == ()


def test_unknown_fields_leave_the_range_open():
    net = Network(axes=["t"])
    x = net.unknown("odd", net.conv("conv1", net.input("x", size=4), kernel=3, padding=1), of="Odd")
    net.conv("conv2", x, kernel=3, padding=1)
    report = rfgraph.analyze(net)
    assert unproductive(report) == ()
    (found,) = report.productivity.axes
    assert (found.smallest, found.largest) == (None, None)
    assert "does not know what Odd reads" in found.why


def test_a_network_without_convolutions_has_no_range():
    net = Network(axes=1)
    net.max_pool("pool", net.input("x"), kernel=2)
    (found,) = rfgraph.analyze(net).productivity.axes
    assert (found.smallest, found.largest, found.why) == (None, None, "")


# Shown


def shown(capsys, *arguments):
    assert cli.main(arguments) == 0
    return capsys.readouterr().out


def test_summary_tells_paths_and_resolutions(capsys):
    out = shown(capsys, "summary", "zoo:resnet_v1_152")
    assert "paths: 1125899906842624 to 'resnet_v1_152/block4' (r 11 to 1507)\n" in out
    assert "resolutions: 11 to 1507 pixels; on smaller images some convolution adds no context" in out
    document = json.loads(shown(capsys, "summary", "zoo:resnet_v1_152", "--format", "json"))
    assert [list(axis.values()) for axis in document["resolutions"]] == [["y", 11, 1507, ""], ["x", 11, 1507, ""]]
    (paths,) = document["paths"]
    assert (paths["layer"], paths["count"]) == ("resnet_v1_152/block4", 2**50)
    for axis in paths["axes"]:
        assert (axis["smallest"], axis["largest"], axis["status"]) == (11, 1507, "exact")
        assert sum(size["count"] for size in axis["sizes"]) == 2**50
        assert all(size["from"] == size["to"] for size in axis["sizes"])


def test_summary_tells_neither_where_there_is_nothing_to_tell(capsys, tmp_path):
    path = tmp_path / "one.json"
    path.write_text(json.dumps(nx.node_link_data(chain((3, 1)).graph, edges="edges")), encoding="utf-8")
    out = shown(capsys, "summary", str(path))
    assert "paths:" not in out
    assert "resolutions:" not in out


def test_summary_says_what_paths_read_everything_or_are_not_known():
    net = Network(axes=["t"])
    x = net.input("x")
    net.add("whole", net.attention("a", x), net.recurrent("b", x))
    net.add("odd", net.unknown("c", x, of="Odd"), x)
    lines = path_lines(counted_paths(rfgraph.analyze(net), ["whole", "odd"]))
    assert lines == ["paths: 2 to 'whole' (r global), 2 to 'odd' (r ?)"]


def test_check_shows_unproductive_layers(capsys):
    out = shown(capsys, "check", "zoo:mobilenet_v1", "--input-size", "32")
    assert "note RF007 unproductive layer\n" in out
    assert "use images of 43 pixels or more\n" in out
    document = json.loads(shown(capsys, "check", "zoo:mobilenet_v1", "--input-size", "32x400", "--format", "json"))
    first = next(finding for finding in document["findings"] if finding["rule"] == "RF007")
    assert {key: first[key] for key in ("node", "axes", "narrowest", "image", "partly", "border")} == {
        "node": "Conv2d_6_depthwise", "axes": ["y"], "narrowest": [43], "image": [32], "partly": True, "border": False,
    }  # fmt: skip
