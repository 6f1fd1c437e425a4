"""Configs as Keras 1 and 2 wrote them, brought to what Keras 3 writes.

Only spellings change here: names of classes and of entries, and lists that stand for a mapping. What a layer of those
times means otherwise keeps its name, and is unknown to the reader.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

Config: TypeAlias = "dict[str, Any]"

#: Classes of Keras 1 and 2 -> what Keras 3 calls them.
CLASSES = {
    "Convolution1D": "Conv1D", "Convolution2D": "Conv2D", "Convolution3D": "Conv3D",
    "AtrousConvolution1D": "Conv1D", "AtrousConvolution2D": "Conv2D", "AtrousConv1D": "Conv1D",
    "AtrousConv2D": "Conv2D", "SeparableConvolution2D": "SeparableConv2D", "Convolution2DTranspose": "Conv2DTranspose",
    "BatchNormalizationV1": "BatchNormalization", "BatchNormalizationV2": "BatchNormalization",
    "SyncBatchNormalization": "BatchNormalization", "LSTMV1": "LSTM", "LSTMV2": "LSTM", "GRUV1": "GRU", "GRUV2": "GRU",
    "CuDNNLSTM": "LSTM", "CuDNNGRU": "GRU", "DenseV2": "Dense", "ThresholdedReLU": "ReLU",
}  # fmt: skip

#: What configs of several classes call an entry -> what Keras 3 calls it.
ENTRIES = {
    "border_mode": "padding", "subsample": "strides", "dim_ordering": "data_format", "nb_filter": "filters",
    "atrous_rate": "dilation_rate", "bias": "use_bias", "inner_activation": "recurrent_activation",
    "pool_length": "pool_size", "stride": "strides", "filter_length": "kernel_size", "subsample_length": "strides",
    "length": "size", "p": "rate",
}  # fmt: skip

#: Sides of a kernel that had an entry each.
SIDES = (("nb_row", "nb_col"), ("kernel_dim1", "kernel_dim2", "kernel_dim3"))

#: What Keras 1 called the order of dimensions.
ORDERS = {"tf": "channels_last", "th": "channels_first"}

#: Layers of Keras 1 whose ``output_dim`` is their ``units``.
WITH_UNITS = ("Dense", "LSTM", "GRU", "SimpleRNN")

#: What a ``Merge`` of Keras 1 does -> the layer that does it.
MERGES = {"sum": "Add", "mul": "Multiply", "ave": "Average", "max": "Maximum", "concat": "Concatenate"}


def modern(model: Config) -> Config:
    """Bring the config of a model, and of all layers in it, to the spelling of Keras 3, in place, and return it.

    Examples
    --------
    >>> modern({"class_name": "Convolution2D", "config": {"nb_filter": 8, "nb_row": 3, "nb_col": 5, "bias": False}})
    {'class_name': 'Conv2D', 'config': {'filters': 8, 'use_bias': False, 'kernel_size': [3, 5]}}
    """
    waiting: list[Any] = [model]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            if isinstance(one.get("class_name"), str) and _of_keras(one):
                _layer(one)
            waiting += [value for value in one.values() if isinstance(value, (dict, list))]
        else:
            waiting += [value for value in one if isinstance(value, (dict, list))]
    return model


def _of_keras(layer: Mapping[str, Any]) -> bool:
    module = layer.get("module", "keras")
    return isinstance(module, str) and module.startswith(("keras", "tensorflow.python.keras", "tf_keras"))


def _layer(layer: Config) -> None:
    kind, config = layer["class_name"], layer.get("config")
    if kind == "Sequential" and isinstance(config, list):
        layer["config"] = {"name": str(layer.get("name") or "sequential"), "layers": config}
        return
    if not isinstance(config, dict) or "layers" in config:
        return
    if kind == "BatchNormalization" and config.get("mode") == 1:
        return  # it normalises each position by its own channels
    _entries(kind, config)
    special = SPECIAL.get(kind)
    layer["class_name"] = CLASSES.get(kind, kind) if special is None else special(config)


def _entries(kind: str, config: Config) -> None:
    """Rename the entries of a config."""
    for old, new in () if ENTRIES.keys().isdisjoint(config) else ENTRIES.items():
        if old in config and new not in config:
            config[new] = config.pop(old)
    for sides in SIDES:
        if sides[0] in config and all(side in config for side in sides) and "kernel_size" not in config:
            config["kernel_size"] = [config.pop(side) for side in sides]
    order = config.get("data_format")
    if isinstance(order, str) and order in ORDERS:
        config["data_format"] = ORDERS[order]
    if kind in WITH_UNITS and "output_dim" in config and "units" not in config:
        config["units"] = config.pop("output_dim")
    axis = config.get("axis")
    if kind.startswith(("BatchNormalization", "SyncBatch")) and isinstance(axis, list) and len(axis) == 1:
        config["axis"] = axis[0]


def _cudnn(kind: str) -> Callable[[Config], str]:
    def made(config: Config) -> str:
        config["reset_after"] = config["two_biases"] = True
        return kind

    return made


def _gru(config: Config) -> str:
    config.setdefault("reset_after", False)  # as it was before there was a choice
    return "GRU"


def _merge(config: Config) -> str:
    mode = config.get("mode")
    if mode == "concat" and "concat_axis" in config:
        config["axis"] = config.pop("concat_axis")
    return MERGES.get(mode, "Merge") if isinstance(mode, str) else "Merge"


#: Classes that need more than another name.
SPECIAL: dict[str, Callable[[Config], str]] = {
    "CuDNNLSTM": _cudnn("LSTM"), "CuDNNGRU": _cudnn("GRU"), "GRU": _gru, "GRUV1": _gru, "GRUV2": _gru, "Merge": _merge,
}  # fmt: skip
