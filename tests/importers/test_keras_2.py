"""What Keras 1 and 2 saved: HDF5 files, the spellings of their configs, functions of TensorFlow between layers."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest
from architectures import ARCHITECTURES, check_table

import rfgraph
from rfgraph.errors import ModelFileError
from rfgraph.importers import archive
from rfgraph.importers.keras import config as configs
from rfgraph.importers.keras import hdf5, reader
from rfgraph.importers.keras.before import modern

DATA = Path(__file__).parent.parent / "data" / "keras"


def names_of(name):
    found = {node: node.replace(".", "_").replace("/", "_") for node in ARCHITECTURES[name].build().graph}
    return {**found, "expand.0": "expand/0"}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_an_architecture_that_keras_2_saved_has_the_one_table(name):
    check_table(name, rfgraph.analyze(DATA / f"{name}.h5"), names_of(name))


def test_parameters_are_counted():
    # by hand: 3x3 kernels, 2 channels, biases; 2x2 transposed
    want = (9 * 3 * 2 + 2) + (9 * 2 * 2 + 2) + (4 * 2 * 2 + 2) + (9 * 4 * 2 + 2)
    assert rfgraph.analyze(DATA / "unet.h5").parameters.count == want


def test_functions_of_tensorflow_are_read_as_what_they_do():
    report = rfgraph.analyze(DATA / "functions.h5")
    assert {layer.status for layer in report.values()} <= {"exact", "bound"}
    ops = {
        "tf.math.truediv": "div", "tf.__operators__.getitem": "slice", "tf.math.reduce_mean": "global_avg_pool",
        "tf.concat": "concat", "tf.nn.depth_to_space": "depth_to_space", "tf.nn.softmax": "channel_softmax",
        "tf.image.resize": "resize", "tf.math.cumsum": "cumsum", "tf.math.maximum": "max", "tf.nn.relu6": "relu6",
    }  # fmt: skip
    assert {node: report[node].op for node in ops} == ops
    assert report["tf.__operators__.getitem"].map_size == (28, 46)
    assert report["tf.nn.depth_to_space"].map_size == (56, 92)
    assert report["tf.math.cumsum"].is_global == (True, True)  # of the columns, the gate reads all


def test_weights_alone_are_refused_and_what_to_save_instead_is_said():
    with pytest.raises(ModelFileError, match=r"(?s)weights, without the layers.*model\.save\('model\.keras'\)"):
        rfgraph.load(DATA / "weights.h5")


def test_a_file_of_the_keras_that_is_installed(tmp_path, recwarn):
    keras = pytest.importorskip("keras")
    layers = [keras.Input((9, 8, 3)), keras.layers.Conv2D(4, 3, name="c"), keras.layers.UpSampling2D(name="up")]
    model = keras.Sequential(layers)
    model.save(tmp_path / "m.hdf5")
    model.save(tmp_path / "m.keras")
    old, new = rfgraph.analyze(tmp_path / "m.hdf5"), rfgraph.analyze(tmp_path / "m.keras")
    assert [(node, old[node].field) for node in old][1:] == [(node, new[node].field) for node in new][1:]
    assert old["up"].map_size == (14, 12)
    with (tmp_path / "m.hdf5").open("rb") as file:
        assert rfgraph.analyze(file)["c"].size == (3, 3)
    model.save_weights(tmp_path / "m.weights.h5")
    with pytest.raises(ModelFileError, match="weights, without the layers"):
        rfgraph.load(tmp_path / "m.weights.h5")


# Spellings.


def chain(*layers, shape=(None, 3, 20, 20)):
    entries = [{"class_name": kind, "config": {"name": f"l{i}", **config}} for i, (kind, config) in enumerate(layers)]
    entries[0]["config"]["batch_input_shape"] = list(shape)
    model = {"class_name": "Sequential", "keras_version": "1.2.2", "config": entries}
    return rfgraph.analyze(reader.lowered(configs.model_of("old", json.loads(json.dumps(model)), "it")))


def test_layers_as_keras_1_spelt_them():
    report = chain(
        ("Convolution2D", {"nb_filter": 4, "nb_row": 5, "nb_col": 3, "subsample": [2, 1], "border_mode": "same",
                           "dim_ordering": "th", "bias": False}),
        ("BatchNormalization", {"mode": 0, "axis": 1}),
        ("MaxPooling2D", {"pool_size": [2, 2], "strides": None, "border_mode": "valid", "dim_ordering": "th"}),
        ("AtrousConvolution2D", {"nb_filter": 4, "nb_row": 3, "nb_col": 3, "atrous_rate": [2, 1],
                                 "border_mode": "valid", "dim_ordering": "th"}),
        ("Dropout", {"p": 0.5}),
        ("Flatten", {}),
        ("Dense", {"output_dim": 7, "activation": "softmax"}),
    )  # fmt: skip
    assert report["l0"].size == (5, 3)
    assert report["l0"].map_size == (10, 20)
    assert report["l2"].map_size == (5, 10)
    assert report["l3"].map_size == (1, 8)
    # 5 + (2 - 1) * 2 = 7, then a kernel of 5 rows with gaps at stride 4: 7 + 4 * 4
    assert report["l3"].size == (7 + 4 * 4, 4 + 2 * 2)
    assert report.parameters.count == 5 * 3 * 3 * 4 + 8 + (9 * 4 * 4 + 4) + (4 * 8 * 7 + 7)


def test_a_convolution_along_one_axis_as_keras_1_spelt_it():
    report = chain(
        ("Convolution1D", {"nb_filter": 4, "filter_length": 5, "subsample_length": 2, "border_mode": "valid"}),
        ("AveragePooling1D", {"pool_length": 2, "stride": 2, "border_mode": "valid"}),
        ("UpSampling1D", {"length": 3}),
        ("GRU", {"output_dim": 3, "inner_activation": "hard_sigmoid", "return_sequences": True}),
        shape=(None, 20, 2),
    )
    assert (report["l0"].size, report["l0"].stride) == ((5,), (2,))
    assert report["l1"].size == (7,)
    assert report["l2"].map_size == (12,)
    # three gates, each with a matrix for inputs, one for states and one bias
    assert report.parameters.count == 5 * 2 * 4 + 4 + 3 * (4 * 3 + 3 * 3 + 3)


@pytest.mark.parametrize(("kind", "want"), [("CuDNNLSTM", 4 * (2 * 3 + 3 * 3 + 2 * 3)), ("CuDNNGRU", 3 * (6 + 9 + 6))])
def test_the_layers_of_cudnn_learn_two_biases(kind, want):
    conv = ("Conv1D", {"filters": 2, "kernel_size": 3, "use_bias": False})
    report = chain(conv, (kind, {"units": 3, "return_sequences": True}), shape=(None, 20, 2))
    assert report.parameters.count == 3 * 2 * 2 + want


@pytest.mark.parametrize(
    ("mode", "op"), [("sum", "Add"), ("concat", "Concatenate"), ("ave", "Average"), ("dot", "Merge"), (None, "Merge")]
)
def test_a_merge_is_the_layer_that_its_mode_says(mode, op):
    made = modern({"class_name": "Merge", "config": {"mode": mode, "concat_axis": 1}})
    assert made["class_name"] == op
    assert made["config"].get("axis") == (1 if mode == "concat" else None)


def test_what_keras_1_normalised_otherwise_is_left_alone():
    layer = {"class_name": "BatchNormalizationV1", "config": {"axis": [3]}}
    assert modern(layer) == {"class_name": "BatchNormalization", "config": {"axis": 3}}
    report = chain(("Convolution2D", {"nb_filter": 4, "nb_row": 3, "nb_col": 3}), ("Deconvolution2D", {}))
    assert report["l1"].status == "unknown"


def test_a_layer_of_ones_own_keeps_its_entries():
    own = {"class_name": "Conv2D", "module": "mine", "config": {"subsample": 2}}
    assert modern(json.loads(json.dumps(own))) == own


def calling(function, keywords, call=("c", 0, 0)):
    """A model that calls a function of TensorFlow on what a convolution makes."""
    layers = [
        {"class_name": "InputLayer", "name": "x", "config": {"batch_input_shape": [None, 8, 9, 4]},
         "inbound_nodes": []},
        {"class_name": "Conv2D", "name": "c", "config": {"filters": 4, "kernel_size": 3}, "inbound_nodes":
         [[["x", 0, 0, {}]]]},
        {"class_name": "TFOpLambda", "name": "f", "config": {"function": function},
         "inbound_nodes": [[*call, keywords]]},
    ]  # fmt: skip
    config = {"name": "m", "layers": layers, "input_layers": [["x", 0, 0]], "output_layers": [["f", 0, 0]]}
    return reader.lowered(configs.model_of("called", {"class_name": "Functional", "config": config}, "it"))


@pytest.mark.parametrize(
    ("function", "keywords", "op"),
    [
        ("math.pow", {"y": 2.0}, "pow"),
        ("clip_by_value", {"clip_value_min": 0, "clip_value_max": 6}, "clip"),
        ("nn.swish", {}, "silu"),
        ("math.divide", {"y": 2}, "div"),
        ("cast", {"dtype": "float16"}, "identity"),
        ("math.reduce_max", {"axis": [1], "keepdims": True}, "global_max_pool"),
        ("compat.v1.transpose", {"perm": [0, 2, 1, 3], "conjugate": False}, None),
        ("nn.convolution", {}, "unknown"),
        ("where", {"x": None, "y": None}, "unknown"),
        ("math.l2_normalize", {"axis": None}, "unknown"),
        ("math.l2_normalize", {"axis": -1}, "layer_norm"),
        ("image.resize", {"size": [4, 4], "preserve_aspect_ratio": True}, "unknown"),
        ("reshape", {"shape": ["c", 0, 0]}, "unknown"),
    ],
)
def test_what_a_function_of_tensorflow_is(function, keywords, op):
    graph = calling(function, keywords)
    ops = dict(graph.nodes(data="op"))
    assert ops.get("f") == op


def test_a_number_may_stand_where_a_tensor_is_called_on():
    graph = calling("math.truediv", {"y": ["c", 0, 0]}, ("_CONSTANT_VALUE", -1, 3.0))
    assert graph.nodes["f"]["op"] == "div"


def test_a_function_that_is_no_name_is_refused():
    with pytest.raises(ModelFileError, match="its function 7 is not a name"):
        calling(7, {})


@pytest.mark.parametrize("config", [[], [{"class_name": "Dense"}], 7, None])
def test_a_config_that_is_no_model_is_refused(config):
    with pytest.raises((ModelFileError, ValueError), match=r"not the config of a model|whose config is a list"):
        configs.model_of("x", {"class_name": "Model", "config": config}, "it")


# Files.


def written(tmp_path, data, name="m.h5"):
    path = tmp_path / name
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "it is empty"),
        (b"PK\3\4" + b"\0" * 100, "no HDF5 signature"),
        (hdf5.SIGNATURE + b"\x09" + b"\0" * 100, "version 9"),
        (hdf5.SIGNATURE + b"\0" * 4, "or a damaged one"),
        (hdf5.SIGNATURE + bytes([0, 0, 0, 0, 0, 3, 8]) + b"\0" * 200, "addresses of 3 bytes"),
        (hdf5.SIGNATURE + bytes([2, 8, 8, 0]) + b"\xff" * 40, "or a damaged one"),
    ],
)
def test_what_is_no_hdf5_is_refused(data, why, tmp_path):
    with pytest.raises(ModelFileError, match=why):
        rfgraph.load(written(tmp_path, data))


def test_a_signature_may_stand_behind_what_a_user_puts_first(tmp_path):
    data = (DATA / "tcn.h5").read_bytes()
    at = hdf5.attributes(str(written(tmp_path, b"\0" * 512 + data)), archive.MAX_BYTES)
    assert json.loads(at["model_config"])["config"]["name"] == "tcn"


def test_text_that_is_too_long_is_refused(tmp_path):
    data = (DATA / "tcn.h5").read_bytes()
    length = len(hdf5.attributes(str(DATA / "tcn.h5"), archive.MAX_BYTES)["model_config"])
    with pytest.raises(ValueError, match=f"a text of {length} bytes"):
        hdf5.attributes(str(DATA / "tcn.h5"), length - 1)
    heap = struct.pack("<IQI", length, data.index(b"GCOL"), 1)
    assert heap in data
    longer = data.replace(heap, struct.pack("<IQI", 2**31, data.index(b"GCOL"), 1))
    with pytest.raises(ModelFileError, match=f"a text of {2**31} bytes"):
        rfgraph.load(written(tmp_path, longer))


def test_headers_that_go_on_without_end_are_refused(tmp_path):
    data = bytearray((DATA / "tcn.h5").read_bytes())
    root = struct.unpack_from("<Q", data, 64)[0]
    struct.pack_into("<HHBBHQQ", data, root + 16, hdf5.CONTINUATION, 16, 0, 0, 0, root + 16, 24)  # it names itself
    with pytest.raises(ModelFileError, match=f"more than {hdf5.MAX_PIECES} pieces"):
        rfgraph.load(written(tmp_path, bytes(data)))


@pytest.mark.parametrize("version", ["earliest", "latest"])
def test_attributes_are_read_as_h5py_reads_them(version, tmp_path):
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "a.h5"
    with h5py.File(path, "w", libver=version, userblock_size=1024, track_order=version == "latest") as file:
        file.attrs.update({"long": "ü" * 40_000, "short": b"abc", "number": 3, "list": ["a", "b"], "empty": ""})
        file.create_dataset("data", data=[1, 2, 3])
    found = hdf5.attributes(str(path), archive.MAX_BYTES)
    assert found == {"long": ("ü" * 40_000).encode(), "short": b"abc", "empty": b""}
    with h5py.File(path, "w", libver=version) as file:
        for k in range(40):
            file.attrs[f"a{k}"] = str(k)
    if version == "earliest":
        assert len(hdf5.attributes(str(path), archive.MAX_BYTES)) == 40
    else:
        with pytest.raises(ValueError, match="its attributes lie in an index"):
            hdf5.attributes(str(path), archive.MAX_BYTES)
