"""Exports the models of ``tests/real_models.py`` to ``tests/data/onnx``, without their weights.

Run it with PyTorch, torchvision, onnx and onnxscript: ``python tests/data/make_onnx.py [NAME ...]``. Of each weight
only its shape is left: its contents are said to be in a file that does not exist, as weights of more than 2 GB are.
"""

from __future__ import annotations

import io
import json
import math
import re
import sys
import warnings
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

import onnx  # noqa: E402
import torch.ao.quantization as quantization  # noqa: E402
from real_models import MODELS, Model, torch  # noqa: E402

#: Weights of more elements than this lose their contents; what shapes are computed from has fewer.
KEPT = 16
#: What is left of the exporter's notes on each node.
NOTES = (
    "pkg.torch.onnx.name_scopes", "pkg.torch.onnx.class_hierarchy", "pkg.torch.onnx.stack_trace",
    "pkg.onnxscript.rewriter.rule_name",
)  # fmt: skip
FRAME = re.compile(r'File "[^"\n]*?((?:site-packages/|tests/)[^"\n]+)", line (\d+), in (\w+)')


def exported(model: Model, name: str) -> onnx.ModelProto:
    module = model.build().eval()
    x = torch.zeros(model.shape)
    target = io.BytesIO()
    if name == "drrn_loop":
        torch.onnx.export(torch.jit.script(module), (x,), target, dynamo=False, input_names=["x"])
    elif name == "mobilenet_v2_int8":
        torch.onnx.export(quantised(module, x), (x,), target, dynamo=False, input_names=["x"], opset_version=17)
    else:
        shapes = ({d: torch.export.Dim(symbol, min=64, max=4096) for d, symbol in model.dynamic.items()},)
        shapes_ = shapes if model.dynamic else None
        return torch.onnx.export(module, (x,), dynamo=True, dynamic_shapes=shapes_, input_names=["x"]).model_proto
    return onnx.load_from_string(target.getvalue())


def quantised(module, x):
    """Quantise as PyTorch does: fuse, observe one image, convert."""
    torch.backends.quantized.engine = "x86"
    module.net.fuse_model()
    module.qconfig = quantization.get_default_qconfig("x86")
    quantization.prepare(module, inplace=True)
    module(torch.rand(x.shape))
    return quantization.convert(module, inplace=True)


def empty(tensor: onnx.TensorProto) -> None:
    if math.prod(tensor.dims) <= KEPT:
        return
    for contents in ("raw_data", "float_data", "int32_data", "int64_data"):
        tensor.ClearField(contents)
    del tensor.external_data[:]
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="weights.bin")


def strip(graph: onnx.GraphProto) -> None:
    del graph.value_info[:]
    for tensor in graph.initializer:
        empty(tensor)
    for node in graph.node:
        node.ClearField("doc_string")
        notes = {note.key: note.value for note in node.metadata_props if note.key in NOTES}
        del node.metadata_props[:]
        for key, value in notes.items():
            if key.endswith("stack_trace"):  # the innermost frames that are the model's own and the framework's
                frames = [f'File "{file}", line {line}, in {code}' for file, line, code in FRAME.findall(value)]
                own = [frame for frame in frames if "site-packages/torch/" not in frame]
                value = "\n".join(dict.fromkeys([*own[-1:], *frames[-1:]]))
            if key.endswith("class_hierarchy"):
                value = f"[{value.strip('[]').rpartition(', ')[2]}]"
            node.metadata_props.add(key=key, value=value)
        for attribute in node.attribute:
            if attribute.HasField("g"):
                strip(attribute.g)
            if attribute.HasField("t"):
                empty(attribute.t)


def sizes(model: Model) -> dict[str, list[int]]:
    """Return the shape that every convolution makes."""
    found: dict[str, list[int]] = {}

    def note(name):
        def hook(module, inputs, output):
            found.setdefault(name, list(output.shape))

        return hook

    module = model.build().eval()
    for name, layer in module.named_modules():
        if type(layer).__name__ in ("Conv1d", "Conv2d", "ConvTranspose1d"):
            layer.register_forward_hook(note(name))
    with torch.no_grad():
        module(torch.zeros(model.shape))
    return found


def main(names: list[str]) -> None:
    warnings.simplefilter("ignore")
    path = HERE / "onnx" / "shapes.json"
    table = json.loads(path.read_text()) if path.exists() else {}
    for name in names or MODELS:
        proto = exported(MODELS[name], name)
        for part in (proto.graph, *proto.functions):
            strip(part)
        del proto.metadata_props[:]
        (HERE / "onnx" / f"{name}.onnx").write_bytes(proto.SerializeToString())
        table[name] = sizes(MODELS[name])
        print(name, (HERE / "onnx" / f"{name}.onnx").stat().st_size, len(proto.graph.node))
    path.write_text(json.dumps(table, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
