"""Effective fields of models that are run, and where their strongest features looked."""

from __future__ import annotations

import json

import numpy as np
import pytest

import rfgraph
from rfgraph import cli, measure
from rfgraph.errors import AttributeValueError, ModelFileError, UnknownNodeError

torch = pytest.importorskip("torch")


def fixed(taps) -> object:
    """Return a conv with these taps between two that keep all as it is, in float64."""
    model = torch.nn.Sequential(
        torch.nn.Conv1d(1, 1, len(taps), padding=len(taps) // 2, bias=False), torch.nn.Identity()
    ).double()
    with torch.no_grad():
        model[0].weight[0, 0] = torch.tensor(taps, dtype=torch.float64)
    return model.eval()


def test_each_measure_of_a_torch_module() -> None:
    model = fixed([1.0, -2.0, 3.0])
    square, absolute, positive = (
        rfgraph.measure_field(model, "0", shape=(1, 9), samples=3, reduce=reduce)
        for reduce in ("square", "abs", "positive")
    )
    assert (square.map.tolist(), square.first, square.measure) == ([1, 4, 9], (3,), "E[g^2]")
    assert (absolute.map.tolist(), absolute.measure) == ([1, 2, 3], "E|g|")
    assert (positive.map.tolist(), positive.measure) == ([1, 0, 3], "E[max(g, 0)]")
    assert square.error.tolist() == [0, 0, 0]
    assert (square.status, square.samples, square.lower_bound) == ("approximate", 3, False)
    assert rfgraph.measure_field(model, "1", shape=(1, 9), samples=1, index=0).first == (0,)


def test_theory_stands_beside_what_is_measured() -> None:
    torch.manual_seed(0)
    model = torch.nn.Sequential(*(torch.nn.Conv2d(16 if i else 3, 16, 3, padding=1) for i in range(4))).eval()
    field = rfgraph.measure_field(model, "3", shape=(3, 17, 17), samples=60, seed=1)
    assert field.theory is not None
    assert field.theory.status == "exact"
    assert field.map.shape == field.theory.map.shape == (9, 9)
    assert field.first == field.theory.first
    assert field.size == (9, 9)
    assert field.std == pytest.approx(field.theory.std, rel=0.1)
    assert rfgraph.measure_field(model, "3", shape=(3, 17, 17), samples=5, seed=1).error.shape == (9, 9)
    again = rfgraph.measure_field(model, "3", shape=(3, 17, 17), samples=60, seed=1)
    assert np.array_equal(again.map, field.map)


def test_a_model_learns_to_feel_what_its_target_needs() -> None:
    """The paper's claim: fields grow in training. Here the target is x[t - 5] + x[t + 5]."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Conv1d(1, 8, 5, padding=2), torch.nn.Conv1d(8, 8, 5, padding=2), torch.nn.Conv1d(8, 1, 5, padding=2)
    )
    before = rfgraph.measure_field(model, "2", shape=(1, 41), samples=4)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(300):
        x = torch.randn(16, 1, 64)
        loss = ((model(x)[..., 8:-8] - x[..., 3:-13] - x[..., 13:-3]) ** 2).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    after = rfgraph.measure_field(model, "2", shape=(1, 41), samples=4)
    assert loss.item() < 0.05
    assert before.std[0] < 2.6
    assert after.std[0] == pytest.approx(5, abs=0.3)


def test_an_interrupt_keeps_what_was_measured(monkeypatch) -> None:
    model = fixed([1.0, 2.0, 3.0])
    images = measure._images

    def stopped(*arguments):
        for number, image in enumerate(images(*arguments)):
            if number == 2:
                raise KeyboardInterrupt
            yield image

    monkeypatch.setattr(measure, "_images", stopped)
    assert rfgraph.measure_field(model, "0", shape=(1, 9), samples=50).samples == 2


def test_images_are_taken_from_a_folder_or_an_array(tmp_path) -> None:
    pil = pytest.importorskip("PIL.Image")
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 2, 3), torch.nn.ReLU()).eval()
    for number in range(2):
        pixels = np.random.default_rng(number).integers(0, 255, (12, 10, 3), dtype=np.uint8)
        pil.fromarray(pixels).save(tmp_path / f"{number}.png")
    (tmp_path / "notes.txt").write_text("no image")
    field = rfgraph.measure_field(model, "0", images=tmp_path, samples=3)
    assert field.map.shape == (3, 3)
    assert field.index == (5, 4)
    assert rfgraph.measure_field(model, "0", images=np.ones((2, 3, 9, 9)), samples=3).index == (3, 3)
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(AttributeValueError, match="there is no image in that folder"):
        rfgraph.measure_field(model, "0", images=empty)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"reduce": "max"}, "reduce 'max' is not one of square, abs, positive"),
        ({"samples": 0}, "samples 0 is not a positive number"),
        ({"shape": None}, "tells no shape"),
        ({"index": 9}, r"index \[9\] lies outside a map of \[9\]"),
        ({"images": np.ones(3)}, r"images of shape \[3\]"),
        ({"channels": "middle"}, "neither 'first' nor 'last'"),
    ],
)
def test_what_cannot_be_measured_is_refused(options, match) -> None:
    with pytest.raises(AttributeValueError, match=match):
        rfgraph.measure_field(fixed([1.0, 2.0, 3.0]), "0", **{"shape": (1, 9), **options})


def test_layers_and_models_that_are_not_there() -> None:
    with pytest.raises(UnknownNodeError, match=r"no layer '9'"):
        rfgraph.measure_field(fixed([1.0, 2.0, 3.0]), "9", shape=(1, 9))
    with pytest.raises(ModelFileError, match=r"runs .onnx and .keras files"):
        rfgraph.measure_field("model.json", "9")
    with pytest.raises(ModelFileError, match="a int cannot be run"):
        rfgraph.measure_field(3, "9")
    with pytest.raises(AttributeValueError, match="feels nothing"):
        rfgraph.measure_field(fixed([0.0, 0.0, 0.0]), "0", shape=(1, 9))


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(3)
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3, padding=1), torch.nn.ReLU(), torch.nn.Conv2d(4, 4, 3, stride=2)
    ).eval()


@pytest.fixture(scope="module")
def exported(network, tmp_path_factory):
    pytest.importorskip("onnxruntime")
    onnx = pytest.importorskip("onnx")
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    helper, numpy_helper = onnx.helper, onnx.numpy_helper
    weights = [
        numpy_helper.from_array(tensor.detach().numpy(), name)
        for name, tensor in zip(["w0", "b0", "w2", "b2"], network.parameters(), strict=True)
    ]
    nodes = [
        helper.make_node("Conv", ["image", "w0", "b0"], ["c0"], "first", pads=[1, 1, 1, 1], kernel_shape=[3, 3]),
        helper.make_node("Relu", ["c0"], ["r"], "relu"),
        helper.make_node("Conv", ["r", "w2", "b2"], ["out"], "last", strides=[2, 2], kernel_shape=[3, 3]),
    ]
    value = helper.make_tensor_value_info
    image = value("image", onnx.TensorProto.FLOAT, ["batch", 3, 12, 12])
    out = value("out", onnx.TensorProto.FLOAT, ["batch", 4, 5, 5])
    graph = helper.make_graph(nodes, "small", [image], [out], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, str(path))
    return path


def test_onnx_by_differences(network, exported) -> None:
    differences = rfgraph.measure_field(exported, "last", samples=2)
    gradients = rfgraph.measure_field(network, "2", shape=(3, 12, 12), samples=2)
    assert differences.lower_bound
    assert differences.first == gradients.first
    assert differences.map == pytest.approx(gradients.map, rel=0.1, abs=2e-3)


def test_the_strongest_features_and_where_they_looked(network, exported) -> None:
    image = np.random.default_rng(0).standard_normal((3, 12, 12))
    found = rfgraph.strongest(network, image, "2", top=3)
    values = network(torch.as_tensor(image[None], dtype=torch.float32)).detach().numpy()[0]
    assert [one.value for one in found] == pytest.approx(np.sort(values, axis=None)[::-1][:3].tolist(), rel=1e-5)
    report = rfgraph.analyze(network, example=(1, 3, 12, 12))
    for one in found:
        assert values[(one.channel, *one.index)] == pytest.approx(one.value)
        assert one.box == report.region("2", one.index).box
        assert all(a <= c <= d <= b for (a, b), (c, d) in zip(one.box, one.effective_box, strict=True))
    by_file = rfgraph.strongest(exported, image, "last", top=3)
    assert [(one.channel, one.index, one.box) for one in by_file] == [(f.channel, f.index, f.box) for f in found]
    (only,) = rfgraph.strongest(network, image, "2", channel=2, top=1)
    assert only.channel == 2
    assert only.value == pytest.approx(values[2].max(), rel=1e-5)
    with pytest.raises(AttributeValueError, match="channel 7 is not one of the 4"):
        rfgraph.strongest(network, image, "2", channel=7)


def test_commands_run_a_file(exported, tmp_path, capsys) -> None:
    image = np.random.default_rng(0).standard_normal((3, 12, 12))
    np.save(tmp_path / "image.npy", image)
    arguments = ["strongest", str(exported), str(tmp_path / "image.npy"), "last", "--top", "2"]
    assert cli.main([*arguments, "--format", "json"]) == 0
    document = json.loads(capsys.readouterr().out)
    expected = rfgraph.strongest(exported, image, "last", top=2)
    assert [tuple(one["index"]) for one in document["features"]] == [one.index for one in expected]
    assert [one["box"] for one in document["features"]] == [[list(ends) for ends in one.box] for one in expected]
    assert cli.main(arguments) == 0
    assert "half of what it feels" in capsys.readouterr().out
    field = ["field", str(exported), "last", "--input-size", "12", "--measured", "--samples", "2"]
    assert cli.main([*field, "--format", "json"]) == 0
    measured = json.loads(capsys.readouterr().out)["measured"]
    assert (measured["samples"], measured["lower_bound"], measured["measure"]) == (2, True, "E[g^2]")
    assert cli.main(field) == 0
    said = capsys.readouterr().out
    assert "y, measured" in said
    assert "measured: E[g^2] over 2 samples; by differences" in " ".join(said.split())


def test_features_that_are_as_strong_are_all_told() -> None:
    model = fixed([1.0, 1.0, 1.0])
    found = rfgraph.strongest(model, np.ones((1, 6)), "0", top=1)
    assert [one.index for one in found] == [(1,), (2,), (3,), (4,)]
    assert found[0].box == ((0, 2),)
    with pytest.raises(AttributeValueError, match="too many are as strong"):
        rfgraph.strongest(model, np.ones((1, 2000)), "0", top=1)


def test_keras_models() -> None:
    keras = pytest.importorskip("keras")
    layers = [keras.Input((9, 9, 2)), keras.layers.Conv2D(3, 3, name="conv"), keras.layers.Conv2D(2, 3, name="last")]
    model = keras.Sequential(layers)
    field = rfgraph.measure_field(model, "last", samples=3)
    assert field.map.shape == (5, 5)
    assert (field.first, field.index) == ((2, 2), (2, 2))
    assert field.theory is not None
    image = np.random.default_rng(0).standard_normal((2, 9, 9))
    (best,) = rfgraph.strongest(model, image, "last", top=1)
    x = keras.ops.convert_to_tensor(np.moveaxis(image, 0, -1)[None].astype("float32"))
    made = model(x)
    values = (made.detach().numpy() if hasattr(made, "detach") else np.asarray(made))[0]
    assert best.value == pytest.approx(float(values.max()), rel=1e-5)
    assert best.box == tuple((y, y + 4) for y in best.index)


def test_jax_functions() -> None:
    jax = pytest.importorskip("jax")
    kernel = jax.numpy.asarray(np.array([1.0, 2.0, 4.0], dtype=np.float32).reshape(3, 1, 1))

    def model(x):
        made = jax.lax.conv_general_dilated(x, kernel, (1,), "SAME", dimension_numbers=("NHC", "HIO", "NHC"))
        return {"conv": made}

    field = rfgraph.measure_field(model, "conv", shape=(1, 7), samples=2)
    assert (field.map.tolist(), field.first) == ([1, 4, 16], (2,))


def test_theory_of_a_jax_function_has_channels_last_too() -> None:
    jax = pytest.importorskip("jax")
    kernel = jax.numpy.ones((3, 3, 2, 1))

    def model(x):
        return jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))

    field = rfgraph.measure_field(model, None, shape=(2, 7, 9), samples=1)
    assert field.theory is not None, field.no_theory
    assert field.theory.map.shape == field.map.shape == (3, 3)
    (best,) = rfgraph.strongest(model, np.eye(9)[None, :7] * np.ones((2, 1, 1)), None, top=1, channel=0)[:1]
    assert [last - first for first, last in best.box] == [2, 2]


MADE = """
import torch

def net():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, padding=1), torch.nn.Conv2d(4, 2, 3, padding=1)).eval()
"""


def test_a_live_model_of_a_python_file_on_the_command_line(tmp_path, capsys) -> None:
    (tmp_path / "made.py").write_text(MADE)
    model = f"{tmp_path}/made.py:net"
    assert (
        cli.main(["field", model, "1", "--input-size", "12", "--measured", "--samples", "2", "--format", "json"]) == 0
    )
    measured = json.loads(capsys.readouterr().out)["measured"]
    assert np.shape(measured["map"]) == (5, 5)
    np.save(tmp_path / "image.npy", np.random.default_rng(0).random((3, 12, 12)))
    assert cli.main(["strongest", model, str(tmp_path / "image.npy"), "1"]) == 0
    assert "the strongest features of '1'" in capsys.readouterr().out


def test_a_folder_that_is_not_there(tmp_path) -> None:
    with pytest.raises(AttributeValueError, match="nowhere: there is no such folder of images"):
        rfgraph.measure_field(fixed([1.0]), "0", images=tmp_path / "nowhere")
