"""Files that hold a model, or parts of one, in a form that is not read: what they are, and what to save instead.

A file is told by its suffix, or by its first bytes. Nothing of it is opened that could run.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

from rfgraph.frozen import dataclass
from rfgraph.importers import archive

#: Lines that save a module of PyTorch, which is named ``module``.
_EXPORTED = (
    "    import torch\n"
    "    program = torch.export.export(module.eval(), (torch.zeros(1, 3, 224, 224),))\n"
    "    torch.export.save(program, {stem!r} '.pt2')"
)


@dataclass(frozen=True, slots=True)
class Kind:
    """A form that is not read."""

    #: What such a file is, and why it is not read, in a clause.
    what: str
    #: What to do, and the lines that do it; ``{name}`` is the file, ``{stem}`` its name without a suffix.
    way: str

    def refusal(self, path: Path) -> str:
        """Return what is wrong with a file of this kind, and the way out."""
        way = self.way.replace("{stem!r} '.pt2'", repr(f"{path.stem}.pt2"))
        return f"{self.what}; {way.format(name=path.name, stem=path.stem)}"


PICKLE = Kind(
    "such files hold weights, a pickle or TorchScript, which are not read (to open a pickle runs what is in it)",
    f"save the module itself, where it is at hand:\n{_EXPORTED}",
)
SCRIPT = Kind(
    "it is TorchScript, a module that was compiled, and not read",
    f"save the module that it was made from:\n{_EXPORTED}",
)
SAFE = Kind(
    "it holds weights by their names, and not the layers that they are of",
    "build the module, give it the weights, and save it whole:\n"
    "    from safetensors.torch import load_file\n"
    f"    module.load_state_dict(load_file({{name!r}}))\n{_EXPORTED}",
)
GGUF = Kind(
    "it holds the weights and settings of a model for llama.cpp, and not its layers",
    f"save the module that it was made from, of transformers for example:\n{_EXPORTED}",
)
CORE_ML = Kind(
    "Core ML is what a model was converted to, and not read",
    f"save the model that it was converted from; of PyTorch:\n{_EXPORTED}",
)
PADDLE = Kind(
    "models of Paddle are not read as they are",
    "bring it to ONNX (pip install paddle2onnx):\n"
    "    paddle2onnx --model_dir . --model_filename {stem}.pdmodel --params_filename {stem}.pdiparams "
    "--save_file {stem}.onnx",
)
PADDLE_WEIGHTS = Kind(
    "it holds weights of Paddle by their names, and not the layers that they are of",
    "build the model, give it the weights, and bring it to ONNX (pip install paddle2onnx):\n"
    "    model.set_state_dict(paddle.load({name!r}))\n"
    "    paddle.onnx.export(model, {stem!r}, input_spec=[paddle.static.InputSpec([1, 3, 224, 224])])",
)
CAFFE = Kind(
    "models of Caffe are not read as they are",
    "bring it to ncnn by the tool that ncnn has for it:\n"
    "    caffe2ncnn {stem}.prototxt {stem}.caffemodel {stem}.param {stem}.bin\n"
    "    rfgraph summary {stem}.param",
)
DARKNET = Kind(
    "models of Darknet are not read as they are",
    "bring it to ncnn by the tool that ncnn has for it:\n"
    "    darknet2ncnn {stem}.cfg {stem}.weights {stem}.param {stem}.bin\n"
    "    rfgraph summary {stem}.param",
)
TENSOR_RT = Kind(
    "it is compiled for one device, and its layers are fused",
    "read the .onnx file that it was built from:\n    rfgraph summary {stem}.onnx",
)
CHECKPOINT = Kind(
    "it is part of a checkpoint of TensorFlow: variables without what is computed with them",
    "save the model that it is of:\n    tf.saved_model.save(model, {stem!r})\n    rfgraph summary {stem}",
)

#: Suffix -> what a file of it is.
SUFFIXES = {
    **dict.fromkeys((".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".bin"), PICKLE),
    **dict.fromkeys((".ts", ".jit", ".torchscript"), SCRIPT),
    ".safetensors": SAFE,
    **dict.fromkeys((".gguf", ".ggml"), GGUF),
    **dict.fromkeys((".mlmodel", ".mlpackage", ".mlmodelc"), CORE_ML),
    **dict.fromkeys((".pdmodel", ".pdiparams"), PADDLE),
    **dict.fromkeys((".pdparams", ".pdopt"), PADDLE_WEIGHTS),
    **dict.fromkeys((".prototxt", ".caffemodel"), CAFFE),
    **dict.fromkeys((".cfg", ".weights"), DARKNET),
    **dict.fromkeys((".engine", ".plan", ".trt"), TENSOR_RT),
    **dict.fromkeys((".index", ".meta"), CHECKPOINT),
}  # fmt: skip


def kind_of(path: Path) -> Kind | None:
    """Return what a file is that is not read, by its contents or else its suffix; ``None`` if that is not known."""
    if path.is_file():
        with path.open("rb") as file:
            start = file.read(16)
        if start.startswith(b"PK\3\4"):
            kind = _archived(path)
        else:
            kind = next((one for told, one in CONTENTS if told(start, path.stat().st_size)), None)
        if kind is not None:
            return kind
    if path.suffix.lower() == ".bin":
        beside = next((one for one in (path.with_suffix(".xml"), path.with_suffix(".param")) if one.is_file()), None)
        if beside is not None:
            return Kind(f"it holds the weights of {beside.name}", f"read that:\n    rfgraph summary {beside.name}")
    return SUFFIXES.get(path.suffix.lower())


def _is_safe(start: bytes, size: int) -> bool:
    """Return whether a length comes first that fits the file, and then an object of JSON."""
    return start[8:9] == b"{" and 2 <= int.from_bytes(start[:8], "little") <= size - 8


#: What tells a kind by the first bytes of a file, and its size.
CONTENTS: tuple[tuple[Callable[[bytes, int], bool], Kind], ...] = (
    (lambda start, _: start.startswith(b"GGUF"), GGUF),
    (_is_safe, SAFE),
    (lambda start, _: start[:1] == b"\x80" and start[1:2] in b"\2\3\4\5" and len(start) > 1, PICKLE),
    (lambda start, _: start.startswith(b"[net]"), DARKNET),
)


def _archived(path: Path) -> Kind | None:
    """Return what PyTorch puts into an archive, ``None`` if it is another one."""
    try:
        with zipfile.ZipFile(path) as packed:
            names = packed.namelist()[: archive.MAX_MEMBERS]
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError):
        return None
    inner = {name.partition("/")[2] for name in names}
    if "constants.pkl" in inner or any(name.startswith("code/") for name in inner):
        return SCRIPT
    return PICKLE if "data.pkl" in inner else None
