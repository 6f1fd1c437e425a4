"""Make the small models in ``tests/data/seeds`` that ``tests/test_damage.py`` damages, one or more of every format.

``python tests/data/make_seeds.py`` needs torch, keras and tensorflow. The weights are random.
"""

from __future__ import annotations

import os
import re
import shutil
import zipfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import keras
import onnx
import tensorflow as tf
import torch
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2
from torch import nn

import rfgraph
from rfgraph.importers import node_link

HERE = Path(__file__).parent / "seeds"


def make_json():
    net = rfgraph.Network("small", axes=2)
    x = net.conv("stem", net.input("x", size=32), kernel=3, stride=2, padding=1)
    y = net.conv("dilated", x, kernel=[3, 1], dilation=2, padding=[[2, 2], [0, 0]])
    z = net.conv_transpose("up", net.max_pool("pool", y, kernel=2), kernel=2, stride=2)
    y = net.add("merge", y, z)
    y = net.node("resize", "back", y, scale=2, mode="linear")
    y = net.concat("cat", y, net.node("pad", "pad", y, padding=0))
    net.node("instance_norm", "norm", net.node("slice", "cut", y, start=1, stop=-1))
    node_link.save(net.graph, HERE / "small.json")


ONNX = """
<ir_version: 8, opset_import: ["" : 17, "own" : 1]>
small (float[1, 3, H, W] x, bool flag) => (float[1, 4, H2, W2] y, float[1, 4, P, Q] z)
<int64[1] zero64 = {0}, int64[1] two = {2}, int64[8] pads = {0, 0, 1, 1, 0, 0, 1, 1}, int64 turns = {2},
 bool yes = {1}, float scale = {0.5}, int8 zero = {0}, int64[2] parts = {1, 3}>
{
    a = Conv<kernel_shape = [3, 3], strides = [2, 2], pads = [1, 1, 1, 1]>(x, w)
    q = QuantizeLinear(a, scale, zero)
    d = DequantizeLinear(q, scale, zero)
    b = own.block(d)
    c = Pad<mode = "reflect">(b, pads)
    first, second = Split<axis = 1>(c, parts)
    e = Concat<axis = 1>(second, first)
    n = GlobalAveragePool(e)
    f = Mul(e, n)
    shape = Shape(f)
    start = Constant<value_ints = [2]>()
    stop = Constant<value_ints = [4]>()
    spatial = Slice(shape, start, stop)
    doubled = Mul(spatial, two)
    lead = Slice(shape, zero64, start)
    sizes = Concat<axis = 0>(lead, doubled)
    g = Resize<mode = "linear", coordinate_transformation_mode = "half_pixel">(f, , , sizes)
    y = If(flag)<
        then_branch = one () => (float[1, 4, A, B] t) { t = MaxPool<kernel_shape = [3, 3], pads = [1, 1, 1, 1]>(g) },
        else_branch = other () => (float[1, 4, C, D] u) { u = Relu(g) }
    >
    z = Loop(turns, yes, f)<
        body = turn (int64 i, bool before, float[1, 4, E, F] carried) => (bool after, float[1, 4, G, I] made) {
            after = Identity(before)
            made = AveragePool<kernel_shape = [3, 3], ceil_mode = 1>(carried)
        }
    >
}
<domain: "own", opset_import: ["" : 17]>
block (v) => (r) {
    t = Transpose<perm = [0, 2, 3, 1]>(v)
    s = Softmax<axis = -1>(t)
    r0 = Transpose<perm = [0, 3, 1, 2]>(s)
    r = Add(r0, v)
}
"""


def make_onnx():
    model = onnx.parser.parse_model(ONNX)
    model.graph.initializer.append(onnx.helper.make_tensor("w", 1, (4, 3, 3, 3), [0.5] * 108))
    onnx.checker.check_model(model)
    onnx.save(model, HERE / "small.onnx")


class Small(nn.Module):
    """Windows, resolutions, views, products, a branch."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(2, 4, 3, 2, 1), nn.BatchNorm2d(4)
        self.up = nn.ConvTranspose2d(4, 2, 3, 2, 1, 1)

    def forward(self, x):
        y = nn.functional.relu(self.norm(self.conv(x)), inplace=True)
        a, b = nn.functional.interpolate(y, scale_factor=2).chunk(2, 1)
        z = torch.cat([a, b, x, self.up(y)], 1).permute(0, 2, 3, 1)
        z = nn.functional.softmax(z @ torch.ones(8, 2), -1)
        pooled = torch.cond(y.mean() > 0, lambda y: nn.functional.avg_pool2d(y, 3, 1, 1), lambda y: y * 2.0, (y,))
        return z.flatten(1, 2), nn.functional.max_pool2d(pooled, 2).mean((2, 3)), nn.functional.pad(y, (1, 2, 0, -1))


def repacked(name, dropped):
    """Write an archive again without members that no reader looks at, and without the paths of this machine."""
    with zipfile.ZipFile(HERE / name) as archive:
        kept = {member: archive.read(member) for member in archive.namelist() if not re.fullmatch(dropped, member)}
    here = str(Path(__file__).parent).encode()
    with zipfile.ZipFile(HERE / name, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, contents in kept.items():
            contents = re.sub(rb'[^"\\ ]*/site-packages/', b"site-packages/", contents.replace(here + b"/", b""))
            archive.writestr(zipfile.ZipInfo(member), contents, zipfile.ZIP_DEFLATED)


def make_pt2():
    model = Small().eval()
    torch.export.save(torch.export.export(model, (torch.zeros(1, 2, 8, 8),), strict=False), HERE / "small.pt2")
    sizes = {2: torch.export.Dim("height", min=8, max=512), 3: torch.export.Dim("width", min=8, max=512)}
    net = nn.Sequential(nn.Conv2d(2, 4, 3, 2, 1), nn.Upsample(scale_factor=2), nn.AvgPool2d(3), nn.Flatten(2))
    made = torch.export.export(net.eval(), (torch.zeros(1, 2, 16, 24),), dynamic_shapes=({**sizes},), strict=False)
    torch.export.save(made, HERE / "dynamic.pt2")
    for name in ("small.pt2", "dynamic.pt2"):
        repacked(name, r".*/sample_inputs/.*")


def make_keras():
    layers = keras.layers
    inner_input = keras.Input((None, None, 4))
    inner = keras.Model(inner_input, layers.DepthwiseConv2D(3, padding="same")(inner_input), name="inner")
    image = keras.Input((32, 24, 3), name="image")
    x = layers.Conv2D(4, 3, 2, padding="same", name="stem")(image)
    y = layers.BatchNormalization()(inner(layers.ReLU()(inner(x))))
    y = layers.Add()([x, layers.UpSampling2D(interpolation="bilinear")(layers.MaxPooling2D()(y))])
    y = layers.Concatenate()([keras.ops.transpose(y, (0, 1, 2, 3)), layers.Activation("gelu")(x)])
    rows = layers.Reshape((-1, 8))(layers.ZeroPadding2D(((1, 0), (2, 1)))(y))
    mixed = layers.LSTM(2, return_sequences=True)(layers.Conv1D(4, 3, padding="causal", dilation_rate=2)(rows))
    keras.Model(image, [layers.Conv2DTranspose(2, 3, 2)(y), mixed], name="small").save(HERE / "small.keras")
    repacked("small.keras", r".*\.h5")


class Control(tf.Module):
    """Windows, a loop, a branch, sizes that are computed."""

    def __init__(self):
        self.weight = tf.Variable(tf.ones((3, 3, 2, 2)))

    @tf.function(input_signature=[tf.TensorSpec((1, None, 32, 2), name="image")])
    def __call__(self, image):
        def turn(i, x):
            return i + 1, tf.nn.relu(tf.nn.conv2d(x, self.weight, 1, "SAME"))

        _, x = tf.while_loop(lambda i, x: i < 2, turn, (0, image))
        x = tf.cond(
            tf.reduce_mean(image) < 0.5,
            lambda: tf.nn.max_pool2d(x, 3, 1, "SAME"),
            lambda: tf.nn.avg_pool2d(x, 5, 1, "SAME"),
        )
        y = tf.image.resize(tf.pad(x, [[0, 0], [1, 0], [0, 1], [0, 0]]), tf.shape(image)[1:3] * 2)
        y = tf.nn.conv2d_transpose(y, self.weight, tf.shape(y) * [1, 2, 2, 1], 2)
        return tf.reshape(tf.nn.depth_to_space(tf.concat([y, y], 3), 2), (1, -1, 1)), tf.strided_slice(
            x, [0, 0, 1, 0], [1, -1, 9, 1], [1, 2, 3, 1], end_mask=9
        )


def make_tensorflow():
    model = Control()
    function = model.__call__.get_concrete_function()
    for name, lower in (("small", False), ("lowered", True)):
        graph = convert_variables_to_constants_v2(function, lower_control_flow=lower).graph.as_graph_def()
        tf.io.write_graph(graph, str(HERE), f"{name}.pb", as_text=False)
        tf.io.write_graph(graph, str(HERE), f"{name}.pbtxt", as_text=True)
    tf.saved_model.save(model, str(HERE / "saved"), signatures=function)
    shutil.rmtree(HERE / "saved" / "assets", ignore_errors=True)


if __name__ == "__main__":
    HERE.mkdir(exist_ok=True)
    keras.utils.set_random_seed(0)
    torch.manual_seed(0)
    for make in (make_json, make_onnx, make_pt2, make_keras, make_tensorflow):
        make()
