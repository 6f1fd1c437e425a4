"""Two networks side by side: which layer is which, and what each sees in the one and in the other."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import networkx as nx
import oracle
import pytest
import strategies
from hypothesis import given, settings
from hypothesis import strategies as st

from rfgraph import Network, cli, diff
from rfgraph.errors import EndpointError


def five(padding: Any, names: str = "conv{}", pads: Any = None, most: int = 5) -> Network:
    """Five convolutions of 3 with stride 2, as an encoder has; padded by nodes of their own if ``pads`` says so."""
    net = Network("five", axes=2)
    x = net.input("image", channels=3)
    for i in range(1, most + 1):
        x = x if pads is None else net.pad(f"{names.format(i)}/pad", x, padding=pads)
        x = net.conv(names.format(i), x, kernel=3, stride=2, padding=padding, channels=8)
        x = net.relu(f"{names.format(i)}/relu", x)
    return net


def test_a_port_of_same_padding_is_off_by_more_at_each_level() -> None:
    """At 224 and each half of it, SAME of 3 by 2 pads only after the map; so P is 0, and 1 + 2 + 4 + ... by hand."""
    for names in ("conv{}", "layer{}/Conv2D"):
        found = diff(five("same", names), five(1), input_size=224)
        shifts = {layer.b.name: layer.shift for layer in found.differing() if layer.b.op == "conv"}
        off = {f"conv{i}": ((1 - 2**i, 1 - 2**i),) * 2 for i in range(1, 6)}
        assert shifts == off
        assert [shift[0][0] for shift in shifts.values()] == [-1, -3, -7, -15, -31]
        assert all(layer.a.map_size == layer.b.map_size for layer in found.layers)
        assert all(layer.changed <= {"P", "shift"} for layer in found.layers)
        assert found.differs(tolerate=30)
        assert not found.differs(tolerate=31)
        # An odd size is padded by as much on both sides.
        assert diff(five("same", names), five(1), input_size=225).differing() == ()


def test_without_a_size_the_difference_is_told_for_all() -> None:
    found = diff(five("same"), five(1))
    assert found["conv3"].shift == ((-7, 0), (-7, 0))
    assert found["conv3"].differs(6)
    assert not found["conv3"].differs(7)


def test_pads_of_their_own_are_no_layers_where_names_are_no_help() -> None:
    """As Keras writes it: ZeroPadding2D and a convolution without padding."""
    found = diff(five(0, "block{}_conv", pads=1), five(1, "layer{}.0"), input_size=224)
    assert [(layer.a.name, layer.b.name, layer.by) for layer in found.layers] == [
        ("image", "image", "place"),
        *((f"block{i}_conv", f"layer{i}.0", "place") for i in range(1, 6)),
    ]
    assert not found.differs()
    asymmetric = diff(five(0, "block{}_conv", pads=[[0, 1], [0, 1]]), five(1, "layer{}.0"), input_size=224)
    assert asymmetric["layer5.0"].shift == ((-31, -31),) * 2


def test_layers_that_only_one_has() -> None:
    found = diff(five(1), five(1, most=4))
    assert (found.only_a, found.only_b) == (("conv5", "conv5/relu"), ())
    assert (found.outputs_a, found.outputs_b) == (("conv5",), ("conv4",))
    assert found.differs(tolerate=10**9)
    other = five(1, "l{}")
    x = other.conv("extra", "l5/relu", kernel=1, channels=8)
    other.conv("head", x, kernel=3, channels=2)
    found = diff(five(1), other)
    assert found.only_a == ()
    assert found.only_b == ("extra", "head")
    assert (found.outputs_a, found.outputs_b) == (("conv5",), ("head",))


def test_parameters_and_channels() -> None:
    wide = five(1)
    wide.graph.nodes["conv3"]["channels"] = 16
    found = diff(five(1), wide)
    assert [total.count for total in found.parameters] == [216 + 4 * 576, 216 + 2 * 576 + 2 * 1152]
    assert found.differing() == ()
    assert found.differs()


def block(name: str, padding: Any = 1, prefix: str = "") -> Network:
    net = Network(name, axes=1)
    x = net.input("x")
    net.add(f"{prefix}add", x, net.conv(f"{prefix}conv", x, kernel=3, padding=padding))
    return net


@pytest.mark.parametrize("prefix", ["", "b/"])
def test_findings_that_are_new_or_mended(prefix: str) -> None:
    off, good = block("off", [[0, 2]]), block("good", 1, prefix)
    found = diff(off, good)
    assert ([f.rule for f in found.new], [f.rule for f in found.mended]) == ([], ["RF002"])
    found = diff(good, off)
    assert ([f.node for f in found.new], found.mended) == (["add"], ())
    found = diff(off, block("later", [[0, 2]], prefix))
    assert (found.new, found.mended) == ((), ())


def test_a_whole_axis_and_phases_count_too() -> None:
    def gated(op: str) -> Network:
        net = Network("net", axes=1)
        x = net.conv("conv", net.input("x"), kernel=3, padding=1)
        gate = net.global_avg_pool("gate", x) if op == "gate" else net.sigmoid("gate", x)
        net.mul("mul", x, gate)
        return net

    found = diff(gated("gate"), gated("own"))
    assert found["mul"].changed == {"reads"}
    assert found["mul"].differs(tolerate=10**9)

    def up(coordinates: str) -> Network:
        net = Network("net", axes=1)
        net.resize("up", net.input("x"), scale=2, mode="linear", coordinates=coordinates)
        return net

    found = diff(up("half_pixel"), up("asymmetric"))
    assert "reads" in found["up"].changed or "shift" in found["up"].changed
    assert found["up"].differs()


def test_maps_that_are_not_known_in_one_of_the_two() -> None:
    def odd(op: str) -> Network:
        net = Network("net", axes=1)
        x = net.input("x")
        net.graph.add_node("odd", op=op, **({"of": "Mystery"} if op == "unknown" else {}))
        net.graph.add_edge(x, "odd")
        return net

    found = diff(odd("unknown"), odd("relu"))
    assert found["odd"].shift == (None,)
    assert found.differs(tolerate=10**9)
    assert not diff(odd("unknown"), odd("unknown")).differs()


def test_networks_of_other_axes_are_refused() -> None:
    with pytest.raises(EndpointError, match="'five' has axes y, x, and 'good' t: only networks with as many axes"):
        diff(five(1), block("good"))


@settings(max_examples=60)
@given(strategies.networks(same=True, inputs=st.just(1)))
def test_a_network_does_not_differ_from_itself_whatever_its_layers_are_called(graph: nx.DiGraph) -> None:
    assert not diff(graph, graph).differs()
    found = diff(graph, nx.relabel_nodes(graph, {node: f"other/{node}" for node in graph}))
    assert found.differing() == ()
    assert all(layer.b.name == f"other/{layer.a.name}" for layer in found.layers)
    assert not found.only_a
    assert not found.only_b
    assert not found.differs()


@settings(max_examples=60)
@given(strategies.networks(inputs=st.just(1)), st.data())
def test_what_differs_is_what_the_oracle_says(graph: nx.DiGraph, data: st.DataObject) -> None:
    """One padding is changed; fields of both by enumeration of taps."""
    padded = [
        node for node, attributes in graph.nodes(data=True) if attributes["op"] in ("conv", "max_pool", "avg_pool")
    ]
    changed = graph.copy()
    if padded:
        node = data.draw(st.sampled_from(padded))
        changed.nodes[node]["padding"] = data.draw(st.integers(0, 2))
    source = next(node for node, attributes in graph.nodes(data=True) if attributes["op"] == "input")
    found = diff(graph, changed)
    for layer in found.layers:
        for axis in range(len(found.b.axes)):
            if not all(side.field[axis].is_local and side.status == "exact" for side in (layer.a, layer.b)):
                continue
            one, two = (oracle.unclipped(g, layer.b.name, source, axis, 0) for g in (graph, changed))
            if not one or not two or layer.a.field[axis].period > 1:
                continue
            shift = Fraction(min(two) + max(two) - min(one) - max(one), 2)
            assert layer.shift[axis] == (shift, shift)


# On the command line


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, net in (("same", five("same", "layer{}/Conv2D")), ("torch", five(1)), ("signal", block("signal"))):
        Path(f"{name}.json").write_text(json.dumps(nx.node_link_data(net.graph, edges="edges")))
    Path("broken.json").write_text("{")


@pytest.mark.usefixtures("files")
def test_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["diff", "same.json", "torch.json", "--input-size", "224"]) == 1
    assert capsys.readouterr().out == (
        "same.json -> torch.json: axes y, x, input 224x224\n"
        "\n"
        "layer                    n   r   S        P  shift\n"
        "---------------------  ---  --  --  -------  -----\n"
        "layer1/Conv2D = conv1  112   3   2   0 -> 1     -1\n"
        "layer2/Conv2D = conv2   56   7   4   0 -> 3     -3\n"
        "layer3/Conv2D = conv3   28  15   8   0 -> 7     -7\n"
        "layer4/Conv2D = conv4   14  31  16  0 -> 15    -15\n"
        "layer5/Conv2D = conv5    7  63  32  0 -> 31    -31\n"
        "\n"
        "layers: 1 alike, 5 not\n"
        "shift: how far the centre lies from that in the first, in input pixels\n"
    )
    arguments = ["diff", "same.json", "torch.json", "--input-size", "224", "--tolerate"]
    assert [cli.main([*arguments, pixels]) for pixels in ("30", "31")] == [1, 0]
    assert "layers: 6 alike within 31 pixels, 0 not" in capsys.readouterr().out
    assert cli.main(["diff", "torch.json", "torch.json"]) == 0
    assert capsys.readouterr().out == "torch.json -> torch.json: axes y, x\n\nlayers: 11 alike, 0 not\n"


@pytest.mark.usefixtures("files")
def test_every_format_of_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["diff", "same.json", "torch.json", "--input-size", "224", "--format", "json"]) == 1
    document = json.loads(capsys.readouterr().out)
    last = document["layers"][-1]
    assert (last["name_a"], last["name"], last["matched_by"]) == ("layer5/Conv2D", "conv5", "place")
    assert last["differences"]["shift"] == [[-31, -31], [-31, -31]]
    assert (last["changed"], last["a"]["fields"][0]["padding"]) == (["P", "shift"], 0)
    assert (document["differs"], document["layers"][0]["a"]) == (True, None)
    assert cli.main(["diff", "same.json", "torch.json", "--format", "csv"]) == 1
    header, *rows = capsys.readouterr().out.split("\r\n")
    assert header.startswith("layer,layer_a,matched_by,differs,n_y,r_y,S_y,P_y,shift_y,n_x")
    assert rows[1] == "conv1,layer1/Conv2D,place,true,?,0,0,0..1,-1..0,?,0,0,0..1,-1..0" or rows[1].startswith("conv1,")
    assert cli.main(["diff", "same.json", "torch.json", "--input-size", "224", "--format", "md"]) == 1
    assert "\n| layer3/Conv2D = conv3 | 28 | 15 | 8 | 0 -> 7 | -7 |\n" in capsys.readouterr().out


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["torch.json", "missing.json"], "missing.json: there is no such file"),
        (["broken.json", "torch.json"], "broken.json: not JSON"),
        (["torch.json", "."], ".: it is a directory"),
        (["torch.json", "signal.json"], "'five' has axes y, x, and 'signal' t"),
        (
            ["same.json", "torch.json", "--treat", "odd=cut"],
            "--treat pattern 'odd' fits no node and no op of either model",
        ),
        (["same.json", "torch.json", "--source", "conv1"], "same.json: "),
    ],
)
def test_what_the_command_refuses(capsys: pytest.CaptureFixture[str], arguments: list[str], said: str) -> None:
    assert cli.main(["diff", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err
    assert err.count("\n") == 1


@pytest.mark.usefixtures("files")
def test_a_treatment_of_one_of_the_two_is_enough(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["diff", "same.json", "torch.json", "--treat", "conv5=cut", "--tolerate", "31"]) == 1


def test_a_terminal_shows_where_a_difference_begins() -> None:
    from rfgraph.present import as_table
    from rfgraph.present.comparison import DiffView

    found = diff(five("same"), five(1), input_size=224)
    view = DiffView(found, ("a", "b"))
    assert len(view.sheet().rows) == 10
    shown = as_table.text(view.sheet(), 80, styled=False)
    assert "/relu" not in shown
    assert "5 layers left out that differ as what they read does (see --all)" in shown
    assert max(map(len, shown.splitlines())) <= 80
    assert "conv5/relu" in as_table.text(DiffView(found, ("a", "b"), everything=True).sheet(), 80, styled=False)


def test_two_formats_of_one_network() -> None:
    """As TensorFlow writes it, with pads of their own, and by hand: all landmarks are found, and agree."""
    pytest.importorskip("google.protobuf")

    def conv(net: Network, name: str, x: object, kernel: int, channels: int, stride: int = 1) -> object:
        return net.conv(name, x, kernel=kernel, stride=stride, padding=kernel // 2, channels=channels)

    net = Network("resnet18", axes=2)
    x = conv(net, "stem", net.input("image", channels=3), 7, 8, 2)
    x = net.max_pool("pool", x, kernel=3, stride=2, padding=1)
    for stage in range(4):
        for unit in range(2):
            stride, name = 2 if stage and not unit else 1, f"{stage}.{unit}"
            y = conv(net, f"{name}.a", x, 3, 8 << stage, stride)
            y = conv(net, f"{name}.b", net.relu(f"{name}.relu", y), 3, 8 << stage)
            x = conv(net, f"{name}.down", x, 1, 8 << stage, stride) if stride == 2 else x
            x = net.add(f"{name}.add", x, y)
    found = diff(Path(__file__).parent / "data/tensorflow/resnet18.pb", net, input_size=224)
    assert not found.differing()
    assert not found.only_b
    assert {layer.by for layer in found.layers} == {"place"}
    assert len(found.layers) == 1 + 1 + 1 + 16 + 3 + 8
