"""Recurrences, cumulative sums and causal attention in every format: which side is read, held against perturbation."""

from __future__ import annotations

import numpy as np
import pytest

import rfgraph

STEPS = 7


def read_of(run, shape, time, output_time=None):
    """For each output step the input steps that change it, by running the model on changed inputs."""
    output_time = time if output_time is None else output_time
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    whole = np.asarray(run(x))
    reads = [set() for _ in range(whole.shape[output_time])]
    for step in range(shape[time]):
        changed = x.copy()
        changed[(slice(None),) * time + (step,)] += 1
        differs = np.abs(np.asarray(run(changed)) - whole) > 1e-6
        for y in np.flatnonzero(differs.any(axis=tuple(d for d in range(whole.ndim) if d != output_time))):
            reads[y].add(step)
    return reads


def check(report, node, reads, side):
    """The regions of ``node`` are the hulls of what is read, and exact; ``side`` is told."""
    regions = report.regions(node)
    assert regions.status == "exact"
    assert [regions.box((y,)) for y in range(len(reads))] == [
        ((min(read), max(read)),) if read else None for read in reads
    ]
    assert report[node].side == (side,)
    assert report[node].is_global == (True,)
    assert report[node].status == "exact"


def torch_cases():
    torch = pytest.importorskip("torch")
    nn = torch.nn

    class After(nn.Module):
        """A pooling, so that the axis is known, and something over time after it."""

        def __init__(self, inner):
            super().__init__()
            self.inner = inner
            self.layer = inner if isinstance(inner, nn.Module) else None

        def forward(self, x):
            x = nn.functional.avg_pool1d(x, 1).transpose(1, 2)
            y = self.inner(x)
            return (y[0] if isinstance(y, tuple) else y).transpose(1, 2)

    def attend(x):
        return nn.functional.scaled_dot_product_attention(x[:, None], x[:, None], x[:, None], is_causal=True)[:, 0]

    torch.manual_seed(0)
    return {
        "lstm": (After(nn.LSTM(4, 5, batch_first=True)), "past"),
        "gru": (After(nn.GRU(4, 5, 2, batch_first=True)), "past"),
        "rnn both ways": (After(nn.RNN(4, 5, batch_first=True, bidirectional=True)), "both"),
        "cumsum": (After(lambda x: torch.cumsum(x, 1)), "past"),
        "causal attention": (After(attend), "past"),
    }


@pytest.mark.parametrize("name", ["lstm", "gru", "rnn both ways", "cumsum", "causal attention"])
def test_torch(name):
    torch = pytest.importorskip("torch")
    module, side = torch_cases()[name]
    module.eval()

    def run(x):
        with torch.no_grad():
            return module(torch.from_numpy(x)).numpy()

    shape = (1, 4, STEPS)
    report = rfgraph.analyze(module, example=shape)
    check(report, list(report)[-1] if len(report.outputs) > 1 else report.outputs[0], read_of(run, shape, 2), side)


def keras_model(name):
    keras = pytest.importorskip("keras")
    layers = keras.layers
    keras.utils.set_random_seed(0)
    x = keras.Input((STEPS, 4))
    y = layers.AveragePooling1D(1)(x)

    def by_hand(mask):
        ops = keras.ops
        scores = mask(ops, ops.matmul(y, ops.transpose(y, (0, 2, 1))))
        return ops.matmul(ops.softmax(scores), y)

    return keras.Model(x, {
        "lstm": lambda: layers.LSTM(5, return_sequences=True)(y),
        "both ways": lambda: layers.Bidirectional(layers.GRU(5, return_sequences=True))(y),
        "multi-head": lambda: layers.MultiHeadAttention(2, 3)(y, y, use_causal_mask=True),
        "attention": lambda: layers.Attention()([y, y], use_causal_mask=True),
        "chosen": lambda: by_hand(lambda ops, scores: ops.where(np.tril(np.ones((STEPS, STEPS), bool)), scores, -1e9)),
        "added": lambda: by_hand(lambda ops, scores: scores + ops.triu(ops.full((STEPS, STEPS), -1e9), 1)),
    }[name]())  # fmt: skip


@pytest.mark.parametrize(
    ("name", "side"),
    [
        ("lstm", "past"),
        ("both ways", "both"),
        ("multi-head", "past"),
        ("attention", "past"),
        ("chosen", "past"),
        ("added", "past"),
    ],
)
def test_keras(name, side):
    model = keras_model(name)
    report = rfgraph.analyze(model, input_size=STEPS)
    ops = pytest.importorskip("keras").ops

    def run(x):
        made = model(ops.convert_to_tensor(x))
        return made.detach().numpy() if hasattr(made, "detach") else np.asarray(made)

    reads = read_of(run, (1, STEPS, 4), 1)
    check(report, report.outputs[0], reads, side)


def test_keras_steps_handed_out_last_first_are_a_bound():
    keras = pytest.importorskip("keras")
    x = keras.Input((STEPS, 4))
    y = keras.layers.LSTM(5, return_sequences=True, go_backwards=True)(keras.layers.AveragePooling1D(1)(x))
    report = rfgraph.analyze(keras.Model(x, y), input_size=STEPS)
    layer = report[report.outputs[0]]
    assert (layer.status, layer.side) == ("bound", ("both",))
    assert "last first" in layer.why


def jax_function(name):
    jax = pytest.importorskip("jax")
    jnp, lax = jax.numpy, jax.lax
    weights = np.random.default_rng(1).normal(size=(4, 4)).astype(np.float32)

    def pooled(x):
        return lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 1), (1, 1, 1), "VALID")

    def scanned(reverse):
        def step(state, row):
            state = jnp.tanh(state @ weights + row)
            return state, state

        def run(x):
            rows = jnp.moveaxis(pooled(x), 1, 0)
            _, made = lax.scan(step, jnp.zeros((1, 4), jnp.float32), rows, reverse=reverse)
            return jnp.moveaxis(made, 0, 1)

        return run

    def attended(x):
        rows = pooled(x)[:, :, None]
        return jax.nn.dot_product_attention(rows, rows, rows, is_causal=True)[:, :, 0]

    return {
        "attention": attended,
        "scan": scanned(False),
        "scan backward": scanned(True),
        "cumsum": lambda x: jnp.cumsum(pooled(x), 1),
        "cumsum backward": lambda x: lax.cumsum(pooled(x), 1, reverse=True),
    }[name]


@pytest.mark.parametrize(
    ("name", "side"),
    [
        ("attention", "past"),
        ("scan", "past"),
        ("scan backward", "future"),
        ("cumsum", "past"),
        ("cumsum backward", "future"),
    ],
)
def test_jax(name, side):
    run = jax_function(name)
    shape = (1, STEPS, 4)
    report = rfgraph.analyze(run, example=shape)
    check(report, report.outputs[0], read_of(run, shape, 1), side)


def test_rows_of_which_a_condition_chooses_what_becomes_are_an_axis():
    """What is chosen depends on all rows before, so that it is a bound; the rows are stacked along the axis again."""
    jax = pytest.importorskip("jax")
    jnp, lax = jax.numpy, jax.lax

    def step(state, row):
        state = lax.cond(state.sum() > 0, jnp.tanh, lambda z: z * 2, state + row)
        return state, state

    def run(x):
        rows = jnp.moveaxis(lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 1), (1, 1, 1), "VALID"), 1, 0)
        return jnp.moveaxis(lax.scan(step, jnp.zeros((1, 4), jnp.float32), rows)[1], 0, 1)

    shape = (1, STEPS, 4)
    report = rfgraph.analyze(run, example=shape)
    (output,) = report.outputs
    assert report[output].map_size == (STEPS - 1,)
    regions = report.regions(output)
    assert regions.status == "bound"
    for y, read in enumerate(read_of(run, shape, 1)):
        ((first, last),) = regions.box((y,))
        assert first <= min(read)
        assert max(read) <= last


def onnx_model(op, **attributes):
    onnx = pytest.importorskip("onnx")
    helper = onnx.helper
    rng = np.random.default_rng(2)
    nodes = [helper.make_node("AveragePool", ["x"], ["p"], kernel_shape=[1], name="pool")]
    constants = {}
    if op == "CumSum":
        constants["axis"] = np.array(2)
        nodes.append(helper.make_node(op, ["p", "axis"], ["y"], name="cum", **attributes))
    elif op == "Attention":
        nodes += [
            helper.make_node("Transpose", ["p"], ["t"], perm=[0, 2, 1], name="t"),
            helper.make_node(op, ["t", "t", "t"], ["a"], q_num_heads=2, kv_num_heads=2, name="attend", **attributes),
            helper.make_node("Transpose", ["a"], ["y"], perm=[0, 2, 1], name="back"),
        ]
    else:
        gates = {"LSTM": 4, "GRU": 3, "RNN": 1}[op]
        directions = 2 if attributes.get("direction") == "bidirectional" else 1
        constants["w"] = rng.normal(size=(directions, gates * 5, 4)).astype(np.float32)
        constants["r"] = rng.normal(size=(directions, gates * 5, 5)).astype(np.float32)
        constants["shape"] = np.array([STEPS, 1, directions * 5])
        nodes += [
            helper.make_node("Transpose", ["p"], ["t"], perm=[2, 0, 1], name="t"),
            helper.make_node(op, ["t", "w", "r"], ["s"], hidden_size=5, name="recurrence", **attributes),
            helper.make_node("Transpose", ["s"], ["u"], perm=[0, 2, 1, 3], name="u"),
            helper.make_node("Reshape", ["u", "shape"], ["v"], name="v"),
            helper.make_node("Transpose", ["v"], ["y"], perm=[1, 2, 0], name="back"),
        ]
    initializers = [onnx.numpy_helper.from_array(value, name) for name, value in constants.items()]
    x = helper.make_tensor_value_info("x", 1, [1, 4, STEPS])
    y = helper.make_tensor_value_info("y", 1, None)
    graph = helper.make_graph(nodes, op, [x], [y], initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=10)


@pytest.mark.parametrize(
    ("op", "attributes", "side"),
    [
        ("LSTM", {}, "past"),
        ("LSTM", {"direction": "reverse"}, "future"),
        ("GRU", {"direction": "bidirectional"}, "both"),
        ("RNN", {"direction": "forward"}, "past"),
        ("CumSum", {}, "past"),
        ("CumSum", {"reverse": 1}, "future"),
        ("CumSum", {"exclusive": 1}, "past"),
        ("CumSum", {"exclusive": 1, "reverse": 1}, "future"),
        ("Attention", {"is_causal": 1}, "past"),
        ("Attention", {}, "both"),
    ],
)
def test_onnx(op, attributes, side, tmp_path):
    onnx = pytest.importorskip("onnx")
    reference = pytest.importorskip("onnx.reference")
    model = onnx_model(op, **attributes)
    onnx.save(model, tmp_path / "model.onnx")
    report = rfgraph.analyze(str(tmp_path / "model.onnx"))
    if op in ("CumSum", "Attention") or attributes.get("direction", "forward") == "forward":
        evaluator = reference.ReferenceEvaluator(model)
        reads = read_of(lambda x: evaluator.run(None, {"x": x})[0], (1, 4, STEPS), 2)
    else:
        runtime = pytest.importorskip("onnxruntime")
        session = runtime.InferenceSession(str(tmp_path / "model.onnx"))
        reads = read_of(lambda x: session.run(None, {"x": x})[0], (1, 4, STEPS), 2)
    check(report, report.outputs[0], reads, side)
