"""Models that are run: the features of a layer, and their gradients with respect to the image.

A probe speaks of arrays with channels first, whatever its framework does. Frameworks are imported when a probe is made.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from rfgraph.errors import AttributeValueError, ModelFileError, Needed, UnknownNodeError
from rfgraph.ops import near

Floats = NDArray[np.float64]

#: Values that are run through a model at once, at most.
MAX_VALUES = 1 << 24


class Probe(Protocol):
    """A layer of a model that can be run."""

    #: Whether gradients may miss what is felt, so that what they reach is a lower bound.
    bound: bool
    #: Shape of an image, channels first, as far as the model tells.
    shape: tuple[int | None, ...] | None
    #: Whether the model itself takes images with channels last.
    last: bool

    def features(self, images: Floats) -> Floats:
        """Return what the layer makes of images, [N, C, *map]."""

    def gradient(self, image: Floats, channel: int, index: Sequence[int]) -> Floats:
        """Return the derivative of one feature with respect to an image, [C, *axes]."""


def probe(model: Any, layer: Any, channels: str | None = None) -> Probe:
    """Return what runs ``layer`` of a model.

    Parameters
    ----------
    model
        A ``torch.nn.Module``; a Keras model or the path of one; the path of an ONNX file or a ``ModelProto``; a JAX
        function of one image with a batch of 1, which returns the layer, or a mapping or sequence that holds it;
        ``path/to/file.py:function`` that returns one of these.
    layer
        Name of a module, layer, ONNX node or tensor; the key in what a JAX function returns, ``None`` for all of it.
    channels
        ``"first"`` or ``"last"``, where a Keras layer or JAX function does not follow its framework's habit.

    Raises
    ------
    ModelFileError
        If it is none of these.
    UnknownNodeError
        If it has no such layer; the message lists names spelt like it.
    """
    if channels not in (None, "first", "last"):
        raise AttributeValueError(f"channels {channels!r} is neither 'first' nor 'last'")
    if isinstance(model, (str, Path)):
        if str(model).endswith(".onnx"):
            return _Onnx(model, layer)
        if str(model).endswith((".keras", ".h5")):
            return _Keras(_imported("keras").saving.load_model(model), layer, channels)
        path, _, function = str(model).rpartition(":")
        if path.endswith(".py"):
            from rfgraph.importers import python_file

            return probe(python_file.run(path, function), layer, channels)
        raise ModelFileError(
            f"{model}: rfgraph runs .onnx and .keras files, live models, and file.py:function that returns one; this "
            "is none of them"
        )
    kinds = {(kind.__module__.partition(".")[0], kind.__name__) for kind in type(model).__mro__}
    if ("keras", "Model") in kinds:
        return _Keras(model, layer, channels)
    if ("torch", "Module") in kinds:
        return _Torch(model, layer)
    if ("onnx", "ModelProto") in kinds:
        return _Onnx(model, layer)
    if callable(model):
        return _Jax(model, layer, channels)
    raise ModelFileError(
        f"a {type(model).__name__} cannot be run; pass a torch, Keras or ONNX model, or a JAX function"
    )


def _imported(package: str) -> Any:
    from importlib import import_module

    with Needed(package, "running this model"):
        return import_module(package)


def _known(layer: Any, names: Sequence[str]) -> None:
    if layer not in names:
        raise UnknownNodeError(f"the model has no layer {layer!r}{near(str(layer), names)}")


class _Torch:
    bound = False
    last = False
    shape: tuple[int | None, ...] | None = None

    def __init__(self, model: Any, layer: str) -> None:
        self.torch = _imported("torch")
        modules = dict(model.named_modules())
        _known(layer, [name for name in modules if name])
        self.model, self.module = model, modules[layer]
        self.like = next(iter(model.parameters()), self.torch.zeros(1))

    def _run(self, images: Any) -> Any:
        outputs: list[Any] = []
        handle = self.module.register_forward_hook(lambda module, arguments, output: outputs.append(output))
        try:
            self.model(images)
        finally:
            handle.remove()
        if len(outputs) != 1 or not isinstance(outputs[0], self.torch.Tensor):
            raise ModelFileError(
                f"the layer was called {len(outputs)} times, or does not return one tensor; name another"
            )
        return outputs[0]

    def features(self, images: Floats) -> Floats:
        with self.torch.no_grad():
            output = self._run(self._tensor(images))
        return np.asarray(output.detach().cpu().numpy(), dtype=np.float64)

    def _tensor(self, images: Floats) -> Any:
        return self.torch.as_tensor(images, dtype=self.like.dtype, device=self.like.device)

    def gradient(self, image: Floats, channel: int, index: Sequence[int]) -> Floats:
        x = self._tensor(image[None]).requires_grad_()
        feature = self._run(x)[(0, channel, *index)]
        (gradient,) = self.torch.autograd.grad(feature, x, allow_unused=True)
        result = np.zeros(image.shape) if gradient is None else gradient[0].detach().cpu().numpy()
        return np.asarray(result, dtype=np.float64)


class _Called:
    """Runs a function of images whose channels may come last; what it gets and returns is laid out with them first."""

    bound = False
    last: bool
    backend: str

    def _called(self, images: Any) -> Any:
        raise NotImplementedError

    def _to(self, images: Floats) -> Any:
        return np.moveaxis(images, 1, -1) if self.last else images

    def _from(self, output: Any) -> Floats:
        channels = np.asarray(output, dtype=np.float64)
        return np.moveaxis(channels, -1, 1) if self.last else channels

    def gradient(self, image: Floats, channel: int, index: Sequence[int]) -> Floats:
        place = (0, *index, channel) if self.last else (0, channel, *index)
        felt: Floats = self._from(_gradient(self.backend, self._called, self._to(image[None]), place))[0]
        return felt


class _Keras(_Called):
    def __init__(self, model: Any, layer: str, channels: str | None) -> None:
        keras = _imported("keras")
        self.tensor = keras.ops.convert_to_tensor
        _known(layer, [one.name for one in model.layers])
        if len(model.inputs) != 1:
            raise ModelFileError(f"the model has {len(model.inputs)} inputs; rfgraph runs models of one image")
        self.part = keras.Model(model.inputs, model.get_layer(layer).output)
        own = getattr(model.get_layer(layer), "data_format", None) or keras.config.image_data_format()
        self.last = (f"channels_{channels}" if channels else own) == "channels_last"
        self.backend = keras.backend.backend()
        shape = tuple(model.inputs[0].shape[1:])
        self.shape: tuple[int | None, ...] | None = (shape[-1], *shape[:-1]) if self.last else shape

    def _called(self, images: Any) -> Any:
        return self.part(images)

    def _to(self, images: Floats) -> Any:
        return super()._to(images).astype(np.float32)

    def features(self, images: Floats) -> Floats:
        output = self.part(self.tensor(self._to(images)))
        return self._from(output.detach().cpu().numpy() if hasattr(output, "detach") else output)


class _Jax(_Called):
    backend = "jax"
    shape: tuple[int | None, ...] | None = None

    def __init__(self, model: Any, layer: Any, channels: str | None) -> None:
        self.model, self.layer, self.last = model, layer, channels != "first"

    def _called(self, images: Any) -> Any:
        output = self.model(images)
        return output if self.layer is None else output[self.layer]

    def _to(self, images: Floats) -> Any:
        return _imported("jax").numpy.asarray(super()._to(images))

    def features(self, images: Floats) -> Floats:
        return np.concatenate([self._from(self._called(self._to(image[None]))) for image in images])


def _gradient(backend: str, function: Any, images: Any, place: tuple[int, ...]) -> Any:
    """Return the derivative of one entry of what a function makes of images."""
    if backend == "jax":
        return _imported("jax").grad(lambda x: function(x)[place])(images)
    if backend == "tensorflow":
        tensorflow = _imported("tensorflow")
        x = tensorflow.convert_to_tensor(images)
        with tensorflow.GradientTape() as tape:
            tape.watch(x)
            feature = function(x)[place]
        gradient = tape.gradient(feature, x)
        return np.zeros(images.shape) if gradient is None else gradient.numpy()
    if backend == "torch":
        torch = _imported("torch")
        x = torch.as_tensor(images).requires_grad_()
        (gradient,) = torch.autograd.grad(function(x)[place], x, allow_unused=True)
        return np.zeros(images.shape) if gradient is None else gradient.cpu().numpy()
    raise ModelFileError(f"Keras runs on {backend!r}; gradients are known on torch, tensorflow and jax")


class _Onnx:
    """An ONNX model, of which derivatives are differences: an image is run once more for every value of it.

    A value that a feature does not heed at this image, or less than floats can tell, seems to count for nothing.
    """

    bound = True
    last = False
    #: By how much a value is changed.
    step = 1e-2

    def __init__(self, model: Any, layer: str) -> None:
        onnx, runtime = _imported("onnx"), _imported("onnxruntime")
        whole = onnx.load(str(model)) if isinstance(model, (str, Path)) else model
        changed = onnx.ModelProto()
        changed.CopyFrom(whole)
        tensors = {name: name for node in whole.graph.node for name in node.output if name}
        tensors.update({node.name: node.output[0] for node in whole.graph.node if node.name})
        _known(layer, list(tensors))
        tensor = tensors[layer]
        if tensor not in [output.name for output in changed.graph.output]:
            changed.graph.output.append(onnx.ValueInfoProto(name=tensor))
        options = runtime.SessionOptions()
        options.log_severity_level = 3
        self.session = runtime.InferenceSession(
            changed.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        inputs = self.session.get_inputs()
        if len(inputs) != 1:
            raise ModelFileError(f"the model has {len(inputs)} inputs; rfgraph runs models of one image")
        (self.input,), self.tensor = inputs, tensor
        self.type = {"tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(float16)": np.float16}.get(
            self.input.type
        )
        if self.type is None:
            raise ModelFileError(f"its input {self.input.name!r} is a {self.input.type}; rfgraph runs models of floats")
        batch, *rest = self.input.shape
        self.batch = batch if isinstance(batch, int) else 0
        self.shape: tuple[int | None, ...] | None = tuple(size if isinstance(size, int) else None for size in rest)

    def features(self, images: Floats) -> Floats:
        size = self.batch or max(1, min(len(images), MAX_VALUES // max(1, images[0].size)))
        parts = []
        for start in range(0, len(images), size):
            some = images[start : start + size]
            missing = self.batch - len(some) if self.batch else 0
            padded = np.concatenate([some, np.repeat(some[-1:], missing, axis=0)]) if missing > 0 else some
            (part,) = self.session.run([self.tensor], {self.input.name: padded.astype(self.type)})
            parts.append(np.asarray(part, dtype=np.float64)[: len(some)])
        return np.concatenate(parts)

    def gradient(self, image: Floats, channel: int, index: Sequence[int]) -> Floats:
        result = np.zeros(image.size)
        place: Any = (slice(None), channel, *index)
        base = float(self.features(image[None])[place][0])
        some = max(1, min(256, MAX_VALUES // image.size))
        for start in range(0, image.size, some):
            count = min(some, image.size - start)
            changed = np.repeat(image.reshape(1, -1), count, axis=0)
            changed[np.arange(count), start + np.arange(count)] += self.step
            moved = self.features(changed.reshape(count, *image.shape))[place]
            result[start : start + count] = (moved - base) / self.step
        return result.reshape(image.shape)
