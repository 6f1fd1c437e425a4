"""Latency: look-ahead, chunks and state against a simulation that goes position by position, and against torch."""

from __future__ import annotations

from fractions import Fraction
from math import floor

import numpy as np
import oracle
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from strategies import REGULAR, networks

import rfgraph
from rfgraph.errors import AttributeValueError, LatencyError
from rfgraph.graph.network import read
from rfgraph.passes.available import available, states
from rfgraph.passes.compiled import compile_layers
from rfgraph.passes.fold import between
from rfgraph.questions.frames import Frames
from rfgraph.questions.latency import latency


def latency_of(graph, **options):
    layers = read(graph)
    return latency(compile_layers(layers), 0, len(layers.nodes) - 1, layers.inputs[0], **options)


def chain(*layers):
    net = rfgraph.Network("chain", axes=1)
    x = net.input("x")
    for i, (op, attributes) in enumerate(layers):
        x = net.node(op, f"{op}{i}", x, **attributes)
    return net.graph


def tcn(causal):
    """Dilations 1 to 8, two layers of three taps each."""
    layers = []
    for dilation in (1, 2, 4, 8):
        padding = [[2 * dilation, 0]] if causal else dilation
        layers += [("conv", {"kernel": 3, "dilation": dilation, "padding": padding})] * 2
    return chain(*layers)


def conv_tasnet():
    """Encoder of 16 samples, hop 8, causal separator, transposed convolution as decoder."""
    return chain(
        ("conv", {"kernel": 16, "stride": 8}),
        ("conv", {"kernel": 3, "dilation": 4, "padding": [[8, 0]]}),
        ("conv_transpose", {"kernel": 16, "stride": 8}),
    )


def wav2vec2():
    """The feature encoder of Baevski et al., wav2vec 2.0, 2020: kernels 10, 3, 3, 3, 3, 2, 2."""
    layers = [(10, 5), (3, 2), (3, 2), (3, 2), (3, 2), (2, 2), (2, 2)]
    return chain(*(("conv", {"kernel": kernel, "stride": stride}) for kernel, stride in layers))


def sincnet():
    """The front end of pyannote's segmentation, after Ravanelli and Bengio, SincNet, 2018: 251 taps, hop 10, pools."""
    pool = ("max_pool", {"kernel": 3})
    return chain(("conv", {"kernel": 251, "stride": 10}), pool, *(("conv", {"kernel": 5}), pool) * 2)


def encodec():
    """The causal encoder of Défossez et al., EnCodec, 2022, at 24 kHz: strides 2, 4, 5, 8."""
    layers = [("conv", {"kernel": 7, "padding": [[6, 0]]})]
    for stride in (2, 4, 5, 8):
        layers.append(("conv", {"kernel": 3, "padding": [[2, 0]]}))
        layers.append(("conv", {"kernel": 2 * stride, "stride": stride, "padding": [[stride, 0]]}))
    layers.append(("conv", {"kernel": 7, "padding": [[6, 0]]}))
    return chain(*layers)


def unet(causal):
    net = rfgraph.Network("unet", axes=1)
    x, skips = net.input("x"), []

    def block(name, x):
        for i in range(2):
            x = net.conv(f"{name}{i}", x, kernel=3, padding=[[2, 0]] if causal else 1)
        return x

    for level in range(2):
        x = block(f"down{level}", x)
        skips.append(x)
        x = net.max_pool(f"pool{level}", x, kernel=2)
    x = block("bottom", x)
    for level in (1, 0):
        x = net.concat(f"join{level}", skips[level], net.resize(f"up{level}", x, scale=2))
        x = block(f"after{level}", x)
    return net.graph


NETWORKS = {  # look-ahead, chunk multiple
    "TCN, centred": (tcn(False), 30, 1),
    "TCN, causal": (tcn(True), 0, 1),
    "Conv-TasNet": (conv_tasnet(), 15, 8),
    "wav2vec 2.0": (wav2vec2(), 399, 320),
    "SincNet": (sincnet(), 990, 270),
    "EnCodec": (encodec(), 319, 320),
    "U-Net, centred": (unet(False), 23, 4),
    "U-Net, causal": (unet(True), 3, 4),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_look_ahead_and_chunks(name):
    graph, ahead, multiple = NETWORKS[name]
    found = latency_of(graph, sample_rate=16000)
    assert (found.look_ahead, found.multiple, found.status) == (ahead, multiple, "exact")
    assert found.samples == ahead + 1
    assert found.milliseconds == (ahead + 1) / 16
    assert found.waits == (ahead >= multiple)


def test_what_is_causal_and_what_waits():
    assert latency_of(tcn(True)).causal
    assert latency_of(tcn(True)).first_ahead is None
    assert not latency_of(tcn(False)).causal
    assert latency_of(tcn(False)).first_ahead == "conv0"
    assert latency_of(encodec()).causal  # a strided causal layer looks ahead less than its stride
    assert not latency_of(encodec()).waits
    assert not latency_of(unet(True)).waits
    assert latency_of(conv_tasnet()).waits


def test_chunks_are_added_to_the_latency():
    found = latency_of(encodec(), sample_rate=24000, chunk=640)
    assert (found.samples, found.outputs_per_chunk) == (319 + 640, 2)
    assert found.milliseconds == pytest.approx(959 / 24)


@pytest.mark.parametrize("name", NETWORKS)
def test_look_ahead_and_past_are_those_of_the_positions_read(name):
    graph = NETWORKS[name][0]
    check_reach(graph, latency_of(graph))


def check_reach(graph, found):
    layers = read(graph)
    last, source = layers.nodes[-1], layers.nodes[layers.inputs[0]]
    stride = Fraction(found.stride)
    ahead, past = [], []
    for y in range(int(2 * found.multiple / stride)):
        positions = oracle.unclipped(graph, last, source, 0, y)
        if positions:
            ahead.append(max(positions) - y * stride)
            past.append(y * stride - min(positions))
    assert max(ahead) == found.look_ahead
    if found.past is None:
        assert any(row.recurrent for row in found.layers)
        assert max(past) > oracle.WIDE / 2  # as far as the oracle looks, less what later ops look ahead
    else:
        assert max(past) == found.past


# The state, by simulation: every map keeps what it is said to keep, and no position that is read is missing.


def starved(graph, less=None):
    """Run chunk by chunk; return a map that lacks a position that is read, ``None`` if none does."""
    layers = read(graph)
    compiled, source, last = compile_layers(layers), layers.inputs[0], len(layers.nodes) - 1
    on_way = between(layers, source, [last])
    avail = available(compiled, 0, on_way)
    kept = states(compiled, 0, avail)
    found = latency_of(graph)
    steps = {layers.id_of(row.node): found.multiple / Fraction(row.stride) for row in found.layers}
    for v in on_way[1:]:
        assert steps[v].denominator == 1
        # Not one more can be computed: the next output reads a position that is not there.
        tails = [(slot, tail) for slot, tail in enumerate(layers.tails[v]) if tail in avail]
        name = layers.nodes[v]

        def reads(y, name=name, tails=tails):
            return [(tail, i) for slot, tail in tails for i in oracle.taps(graph.nodes[name], 0, y, slot=slot)]

        assert any(i > avail[tail] for tail, i in reads(avail[v] + 1))
        for y in range(avail[v] - 3 * int(steps[v]), avail[v] + 1):
            assert all(i <= avail[tail] for tail, i in reads(y))
        # What a recurrence has read it carries in a state of its own.
        remembers = graph.nodes[name]["op"] in ("recurrent", "cumsum", "attention")
        known = {read for y in range(avail[v] + 1) for read in reads(y)} if remembers else set()
        known |= set(reads(avail[v])) if remembers else set()
        for y in range(avail[v] + 1, avail[v] + int(steps[v]) + 1):
            for tail, i in set(reads(y)) - known:
                assert i <= avail[tail] + steps[tail]
                if i <= avail[tail] - (kept.get(tail, 0) - (tail == less)):
                    return layers.nodes[tail]
    return None


@pytest.mark.parametrize("name", NETWORKS)
def test_the_state_is_enough_and_one_feature_less_is_not(name):
    graph = NETWORKS[name][0]
    assert starved(graph) is None
    layers = read(graph)
    rows = [row for row in latency_of(graph).layers if row.state]
    assert rows
    for row in rows:
        assert starved(graph, layers.id_of(row.node)) == row.node


@settings(max_examples=40)
@given(networks(axes=st.just(1), inputs=st.just(1), most=5))
def test_random_networks(graph):
    layers = read(graph)
    assume(all(data.get("mode", "constant") == "constant" for _, data in graph.nodes(data=True) if data["op"] == "pad"))
    found = latency_of(graph)
    assume(found.status == "exact")
    check_reach(graph, found)
    assert starved(graph) is None
    for row in found.layers:
        if row.state:
            assert starved(graph, layers.id_of(row.node)) == row.node


def _recurrence(draw, axes, same):
    op = draw(st.sampled_from(["recurrent", "attention", "cumsum"]))
    return {"op": op, "direction": "forward"}, Fraction(1)


@settings(max_examples=40)
@given(networks(axes=st.just(1), inputs=st.just(1), most=4, layers=[_recurrence, *REGULAR]))
def test_random_networks_with_recurrences(graph):
    layers = read(graph)
    assume(all(data.get("mode", "constant") == "constant" for _, data in graph.nodes(data=True) if data["op"] == "pad"))
    found = latency_of(graph)
    assume(found.status == "exact")
    check_reach(graph, found)
    assert starved(graph) is None
    for row in found.layers:
        assert row.recurrent == (graph.nodes[row.node]["op"] in ("recurrent", "attention", "cumsum"))
        if row.state:
            assert starved(graph, layers.id_of(row.node)) == row.node


STREAM = [("conv", {"kernel": 4, "stride": 2, "padding": [[2, 0]]}), ("recurrent", {"direction": "forward"})]


def test_a_recurrence_costs_a_state_and_no_look_ahead():
    found = latency_of(chain(*STREAM, ("conv", {"kernel": 3, "padding": [[2, 0]]})))
    assert (found.status, found.look_ahead, found.past, found.multiple, found.causal) == ("exact", 1, None, 2, True)
    assert [row.recurrent for row in found.layers] == [False, False, True, False]
    assert [row.past for row in found.layers] == [0, 2, None, None]
    # Two samples for the strided convolution, two features for the last one; the recurrence keeps what it carries.
    assert [row.state for row in found.layers] == [2, 0, 2, 0]


def test_a_recurrence_in_chunks_is_the_recurrence():
    """An exponential mean after a strided sum, run chunk by chunk on what is said to be kept, and at once."""
    found = latency_of(chain(*STREAM))
    signal = np.random.default_rng(0).normal(size=60)

    def mean(values, state):
        run = []
        for value in values:
            state = 0.5 * state + value
            run.append(state)
        return run, state

    padded = np.pad(signal, (2, 0))
    whole, _ = mean([padded[2 * y : 2 * y + 4].sum() for y in range(29)], 0.0)
    kept, state, streamed = np.zeros(found.layers[0].state), 0.0, []
    for begin in range(0, 58, found.multiple):
        window = np.concatenate([kept, signal[begin : begin + found.multiple]])
        run, state = mean([window.sum()], state)
        streamed += run
        kept = window[-found.layers[0].state :]
    assert np.allclose(streamed, whole)


def test_an_exclusive_sum_waits_for_nothing():
    found = latency_of(chain(("cumsum", {"exclusive": True})))
    assert (found.look_ahead, found.past, found.state) == (-1, None, 0)


def test_state_counts_channels():
    net = rfgraph.Network("net", axes=1)
    x = net.input("x", channels=2)
    net.conv("a", x, kernel=5, padding=[[4, 0]], channels=3)
    found = latency_of(net.graph, channels=lambda node: {"x": 2, "a": 3}[node])
    assert (found.state, found.values) == (4, 8)
    assert (found.bytes, [row.bytes for row in found.layers]) == (32, [32, 0])
    assert latency_of(net.graph).values is None
    assert latency_of(net.graph).bytes is None


# What forbids it.


@pytest.mark.parametrize(
    ("graph", "node", "why"),
    [
        (chain(("global_avg_pool", {})), "global_avg_pool0", "reads the stream to its end"),
        (chain(("resize", {"size": 10})), "resize0", "length of the whole stream"),
        (chain(("conv", {"kernel": 3, "stride": 2, "padding": "same"})), "conv0", "length of the whole stream"),
        (chain(("unknown", {"of": "Op"})), "unknown0", "not known"),
        (chain(*STREAM, ("recurrent", {"direction": "both"})), "recurrent2", "reads the stream to its end"),
        (chain(("recurrent", {"direction": "backward"})), "recurrent0", "reads the stream to its end"),
    ],
)
def test_what_forbids_it_is_named(graph, node, why):
    found = latency_of(graph)
    assert found.status == "forbidden"
    assert found.blockers[0].node == node
    assert why in found.blockers[0].why
    with pytest.raises(LatencyError, match=f"cannot be streamed: node '{node}'"):
        _ = found.look_ahead


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"chunk": 7}, LatencyError, "multiples of 4 samples, and 7 is none; take 4 or 8"),
        ({"chunk": 3}, LatencyError, "and 3 is none; take 4"),
        ({"chunk": 0}, AttributeValueError, "chunk 0 is not a positive"),
        ({"chunk": 4.0}, AttributeValueError, r"chunk 4\.0 is not a positive"),
        ({"sample_rate": -1}, AttributeValueError, "sample_rate -1 is not a positive"),
        ({"sample_rate": float("nan")}, AttributeValueError, "sample_rate nan is not a positive"),
        ({"sample_rate": "16k"}, AttributeValueError, "sample_rate '16k' is not a positive"),
    ],
)
def test_bad_chunks_and_rates(options, error, message):
    with pytest.raises(error, match=message):
        latency_of(unet(True), **options)


def test_milliseconds_want_a_rate():
    with pytest.raises(LatencyError, match="want a sample rate"):
        _ = latency_of(tcn(True)).milliseconds


# Running it.


def smoothed(before, after):
    def run(signal):
        padded = np.pad(signal, (before, after))
        return np.stack([padded[i : i + len(signal)] for i in range(before + after + 1)]).sum(0)

    return run


def test_verify():
    found = latency_of(chain(("conv", {"kernel": 5, "padding": [[3, 1]]})))
    signal = np.random.default_rng(0).uniform(size=40)
    found.verify(smoothed(3, 1), signal)
    with pytest.raises(LatencyError, match="looks ahead by 2 samples, not 1"):
        found.verify(smoothed(2, 2), signal)
    with pytest.raises(LatencyError, match="no output looks ahead further than 0 samples; 1 were said"):
        found.verify(smoothed(4, 0), signal)
    with pytest.raises(LatencyError, match="the signal has 3 samples; verifying wants 7"):
        found.verify(smoothed(3, 1), signal[:3])


def strided(hop, extra=0):
    """The mean of ``hop`` samples and ``extra`` before them, one a hop; the end is padded to a whole hop."""

    def run(signal):
        padded = np.pad(signal, (extra, -len(signal) % hop))
        return np.array([padded[y : y + hop + extra].mean() for y in range(0, len(signal), hop)])

    return run


def test_verify_feeds_prefixes():
    """What is settled after each chunk must be what is said, and what is settled stays."""
    found = latency_of(chain(("conv", {"kernel": 7, "stride": 4, "padding": [[3, 0]]})))
    signal = np.random.default_rng(0).uniform(size=60)
    lengths = []

    def watched(piece):
        lengths.append(len(piece))
        return strided(4, 3)(piece)

    found.verify(watched, signal)
    assert sorted(set(lengths)) == [48, 52, 56, 60]
    assert lengths.count(60) == 6  # whole, and changed from each sample of a step on
    held_back = strided(4, 3)

    def lagging(piece):  # its last output is another where the signal ends
        outputs = held_back(piece)
        return outputs if len(piece) == 60 else outputs * np.r_[np.ones(len(outputs) - 3), 2, 2, 2]

    with pytest.raises(LatencyError, match="output 9 differs where the signal ends after 48 samples"):
        found.verify(lagging, signal)

    def in_pairs(piece):  # settles outputs two by two
        outputs = held_back(piece)
        return outputs if len(piece) == 60 else outputs[: len(outputs) // 2 * 2]

    with pytest.raises(LatencyError, match="output 12 differs where the signal ends after 52"):
        found.verify(in_pairs, signal)

    def eager(piece):  # settles more than a chunk holds
        return held_back(piece if len(piece) != 52 else signal[:56])

    with pytest.raises(LatencyError, match="a chunk of 4 samples more settles 2 outputs more, and 1 are said"):
        found.verify(eager, signal)


def test_verify_leaves_rounding_out():
    found = latency_of(chain(("conv", {"kernel": 5, "padding": [[3, 1]]})))
    signal = np.random.default_rng(0).uniform(size=60)

    def by_transform(piece):  # a convolution by FFT: everything changes by some last bits
        size = len(piece) + 4
        both = np.fft.rfft(piece, size) * np.fft.rfft(np.ones(5), size)
        return np.fft.irfft(both, size)[1:][: len(piece)]

    np.testing.assert_allclose(by_transform(signal), smoothed(3, 1)(signal))
    found.verify(by_transform, signal)


# Rule RF010.


def ahead_in(graph, **options):
    return [finding for finding in rfgraph.analyze(graph, **options).asked({"RF010"}) if finding.rule == "RF010"]


@pytest.mark.parametrize(
    ("layers", "node", "why"),
    [
        ([("recurrent", {"direction": "both"})], "recurrent0", "it reads the stream to its end"),
        ([("recurrent", {"direction": "backward"})], "recurrent0", "it reads the stream to its end"),
        ([("conv", {"kernel": 1}), ("group_norm", {})], "group_norm1", "it reads the stream to its end"),
        ([("conv", {"kernel": 3, "stride": 2, "padding": "same"})], "conv0", "the length of the whole stream"),
        ([("unknown", {"of": "Op"})], "unknown0", "what it reads is not known"),
    ],
)  # fmt: skip
def test_what_reads_to_the_end_is_not_causal(layers, node, why):
    (finding,) = ahead_in(chain(*layers))
    assert (finding.node, finding.steps, finding.samples, finding.padding) == (node, None, None, None)
    assert why in finding.message
    assert "take a causal op" in finding.advice


@pytest.mark.parametrize("before", [0, 1, 2, 3])
@pytest.mark.parametrize("after", [0, 1, 2])
@pytest.mark.parametrize(
    "attributes",
    [
        {"op": "conv", "kernel": 3}, {"op": "conv", "kernel": 3, "dilation": 2},
        {"op": "conv", "kernel": 4, "stride": 2},
        {"op": "avg_pool", "kernel": 3, "stride": 1}, {"op": "max_pool", "kernel": 2},
        {"op": "conv_transpose", "kernel": 3, "stride": 1}, {"op": "conv_transpose", "kernel": 4, "stride": 2},
        {"op": "conv_transpose", "kernel": 5, "stride": 3, "dilation": 2}, {"op": "pad"},
    ],
)  # fmt: skip
@pytest.mark.parametrize("first", [("conv", {"kernel": 1}), ("resize", {"scale": 2})])
def test_the_padding_that_makes_it_causal(attributes, before, after, first):
    op, size = attributes["op"], 24
    given = {key: value for key, value in attributes.items() if key != "op"} | {"padding": [[before, after]]}
    graph = chain(first, (op, given))
    node = f"{op}1"
    stride = Fraction(rfgraph.analyze(graph)[node].stride[0]) / Fraction(
        rfgraph.analyze(graph)[f"{first[0]}0"].stride[0]
    )

    def furthest(graph):
        """How many positions of its input the op reads past its own step, position by position."""
        reads = [(y, max(oracle.taps(graph.nodes[node], 0, y), default=-99)) for y in range(12)]
        return max(0, max(floor(last - y * stride - stride) + 1 for y, last in reads))

    findings = [finding for finding in ahead_in(graph) if finding.node == node]
    assert bool(findings) == (furthest(graph) > 0)
    for finding in findings:
        assert finding.steps == furthest(graph)
        assert finding.padding is not None
        repaired = chain(first, (op, given | {"padding": [list(finding.padding)]}))
        assert furthest(repaired) == 0
        sizes = [rfgraph.analyze(g, input_size=size)[node].map_size for g in (graph, repaired)]
        assert sizes[0] == sizes[1]


def test_one_position_is_one():
    (finding,) = ahead_in(chain(("conv", {"kernel": 3, "padding": 1})))
    assert "it reads 1 position of its input past its own step, 1 input sample, in a" in finding.message
    assert finding.advice == "give it padding [2, 0], which makes it causal and keeps its size"


def test_frames():
    window = rfgraph.Window(400, 160, 200)
    frames = Frames("frames", window, 16000, 101)
    assert (frames.start(0), frames.end(0), frames.center(1)) == (-0.0125, 0.0125, 0.01)
    assert (frames.step, frames.duration) == (0.01, 0.025)
    assert [frames.at(t) for t in (0, 0.004, 0.005, 0.5, 99, -1)] == [0, 0, 1, 50, 100, 0]
    for y in range(101):
        assert frames.at(frames.center(y)) == y


def test_frames_that_are_not_there():
    window = rfgraph.Window(400, 160, 200)
    frames = Frames("frames", window, 16000, 101)
    for y in (-1, 101):
        with pytest.raises(IndexError, match=f"frame {y} of 'frames' is none of those there are, 0 to 100"):
            frames.start(y)
    assert Frames("frames", window, 16000, None).end(10**6) == (160 * 10**6 - 200 + 400) / 16000
    with pytest.raises(LatencyError, match="nan seconds are no time"):
        frames.at(float("nan"))
    for rate in (0, -16000, float("inf"), "16k"):
        with pytest.raises(AttributeValueError, match=r"sample_rate .* is not a positive number"):
            Frames("frames", window, rate, 101)
