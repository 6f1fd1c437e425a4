"""Make the folders in ``tests/data/tfjs`` with TensorFlow.js's converter: ``python tests/data/make_tfjs.py``.

They are the models of ``make_keras_2.py`` as graph models, and one of each as a layers model. Weights that are no small
integers are cut from the files: they stand behind the others in the manifest, where the file ends.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

import make_keras_2
import tensorflow as tf
import tensorflowjs as tfjs
from tensorflowjs.converters import tf_saved_model_conversion_v2 as converter

HERE = Path(__file__).parent / "tfjs"
WIDTHS = {"float32": 4, "int32": 4, "bool": 1}


def size(weight):
    count = WIDTHS[weight["dtype"]]
    for n in weight["shape"]:
        count *= n
    return count


def cut(source, target):
    """Write a model whose weights end behind its integers."""
    model = json.loads((source / "model.json").read_text())
    (group,) = model["weightsManifest"]
    data = b"".join((source / path).read_bytes() for path in group["paths"])
    pieces, at = [], 0
    for weight in group["weights"]:
        pieces.append((weight, data[at : at + size(weight)]))
        at += size(weight)
    kept = [piece for piece in pieces if piece[0]["dtype"] != "float32"]
    group["weights"] = [weight for weight, _ in kept] + [w for w, _ in pieces if w["dtype"] == "float32"]
    group["paths"] = ["weights.bin"]
    for node in model["modelTopology"].get("node", ()):
        node.pop("device", None)
    target.mkdir(parents=True, exist_ok=True)
    (target / "weights.bin").write_bytes(b"".join(contents for _, contents in kept))
    (target / "model.json").write_text(json.dumps(model, separators=(",", ":")))


def main():
    shutil.rmtree(HERE, ignore_errors=True)
    for make in make_keras_2.MODELS:
        model, name = make(), make.__name__
        with tempfile.TemporaryDirectory() as folder:
            tf.saved_model.save(model, f"{folder}/saved")
            converter.convert_tf_saved_model(f"{folder}/saved", f"{folder}/graph", skip_op_check=True)
            cut(Path(folder, "graph"), HERE / name)
            if name == "unet":
                tfjs.converters.save_keras_model(model, f"{folder}/layers")
                cut(Path(folder, "layers"), HERE / "unet_layers")


if __name__ == "__main__":
    main()
