"""What a model returns, under its own names, as each format tells it."""

from __future__ import annotations

import pytest

import rfgraph

LEVELS = {"p3": (8, 8), "p4": (4, 4), "p5": (2, 2)}


def check_levels(model, names, **options):
    """Hold the outputs of a pyramid whose levels read one another."""
    report = rfgraph.analyze(model, **options)
    assert report.outputs == tuple(names)
    assert [report[name].map_size for name in names] == list(LEVELS.values())
    assert rfgraph.trace(model, output=names[0], **options).output == report[names[0]].name


def torch_pyramid(torch, returned):
    class Pyramid(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.levels = torch.nn.ModuleList([torch.nn.Conv2d(3, 3, 3, 2, 1) for _ in range(3)])

        def forward(self, x):
            maps = []
            for level in self.levels:
                x = level(x)
                maps.append(x)
            return returned(maps)

    return Pyramid()


def keyed(maps):
    return dict(zip(LEVELS, maps, strict=True))


def test_torch_modules(tmp_path):
    torch = pytest.importorskip("torch")
    example = (1, 3, 16, 16)
    nodes = ("levels.0", "levels.1", "levels.2")
    check_levels(torch_pyramid(torch, tuple), nodes, example=example)
    check_levels(torch_pyramid(torch, lambda maps: (maps[0], [maps[1], maps[2]])), nodes, example=example)
    check_levels(torch_pyramid(torch, keyed), tuple(LEVELS), example=example)
    nested = torch_pyramid(torch, lambda maps: {"small": maps[0], "others": maps[1:]})
    check_levels(nested, ("small", "others.0", "others.1"), example=example)
    torch.export.save(torch.export.export(nested, (torch.zeros(example),)), tmp_path / "nested.pt2")
    check_levels(tmp_path / "nested.pt2", ("small", "others.0", "others.1"))


def test_features_only_backbones_list_all_their_maps():
    pytest.importorskip("torch")
    pytest.importorskip("vision")
    timm = pytest.importorskip("timm")
    report = rfgraph.analyze(timm.create_model("resnet18", features_only=True), example=(1, 3, 64, 64))
    assert [report[name].stride[0] for name in report.outputs] == [2, 4, 8, 16, 32]


def test_onnx_graphs(tmp_path):
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper

    nodes, name = [], "x"
    for level in LEVELS:
        window = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}
        nodes.append(helper.make_node("MaxPool", [name], [level.upper()], name=f"pool_{level}", **window))
        name = level.upper()
    nodes.append(helper.make_node("Relu", ["P3"], ["pool_p3"], name="relu"))  # a tensor is called as another node is
    outputs = [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in ("P3", "P4", "P5", "pool_p3")]
    image = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 16, 16])
    onnx.save(helper.make_model(helper.make_graph(nodes, "pyramid", [image], outputs)), tmp_path / "pyramid.onnx")
    report = rfgraph.analyze(tmp_path / "pyramid.onnx")
    assert report.outputs == ("P3", "P4", "P5", "relu")
    assert [report[n].name for n in report.outputs] == ["pool_p3", "pool_p4", "pool_p5", "relu"]
    assert rfgraph.trace(tmp_path / "pyramid.onnx", output="P4").output == "pool_p4"


@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning")
def test_keras_models(tmp_path):
    keras = pytest.importorskip("keras")
    x, maps = keras.Input((16, 16, 3)), []
    for level in LEVELS:
        y = keras.layers.Conv2D(3, 3, 2, padding="same", name=f"conv_{level}")(maps[-1] if maps else x)
        maps.append(y)
    check_levels(keras.Model(x, maps), ("conv_p3", "conv_p4", "conv_p5"))
    named = keras.Model(x, keyed(maps))
    check_levels(named, tuple(LEVELS))
    named.save(tmp_path / "pyramid.keras")
    check_levels(tmp_path / "pyramid.keras", tuple(LEVELS))

    class Subclassed(keras.Model):
        def call(self, image):
            return named(image)

    check_levels(Subclassed(), tuple(LEVELS), example=(1, 16, 16, 3))


def test_tensorflow_signatures(tmp_path):
    tf = pytest.importorskip("tensorflow")

    class Pyramid(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([1, 16, 16, 3])])
        def __call__(self, image):
            maps = []
            for _ in LEVELS:
                image = tf.nn.max_pool2d(image, 3, 2, "SAME")
                maps.append(image)
            return keyed(maps)

    model = Pyramid()
    tf.saved_model.save(model, str(tmp_path / "model"), signatures={"serving_default": model.__call__})
    check_levels(tmp_path / "model", tuple(LEVELS))


def test_jax_functions():
    jax = pytest.importorskip("jax")

    def pool(x):
        return jax.lax.reduce_window(x, -jax.numpy.inf, jax.lax.max, (1, 3, 3, 1), (1, 2, 2, 1), "SAME")

    def maps(x):
        found = [pool(x)]
        for _ in range(2):
            found.append(pool(found[-1]))
        return found

    check_levels(lambda x: keyed(maps(x)), tuple(LEVELS), example=(1, 16, 16, 3))
    check_levels(lambda x: ({"small": maps(x)[0]}, maps(x)[1:])[0] | {"tail": maps(x)[1:]},
                 ("small", "tail.0", "tail.1"), example=(1, 16, 16, 3))  # fmt: skip
