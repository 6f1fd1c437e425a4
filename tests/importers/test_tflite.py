"""TFLite: every handler against the runtime itself, whose inputs are perturbed; real files; damage.

The oracle is TensorFlow's interpreter. A pixel is changed, in all its channels; the outputs that change are the ones
that read it. For every output feature the box of the pixels that it reads must be the region that rfgraph gives. The
files in ``data/tflite`` are read without TensorFlow.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import textwrap
import tracemalloc
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cache
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("tflite")

import op_by_op
from architectures import ARCHITECTURES, check_table
from perturbation import check_regions

import rfgraph
from rfgraph.errors import MissingExtraError, ModelFileError
from rfgraph.importers.lowering.lower import lower
from rfgraph.importers.program.folding import constant
from rfgraph.importers.tflite import file as files
from rfgraph.importers.tflite import reader as tflite_graphs
from rfgraph.importers.tflite.operators import HANDLERS, NOT_FOLLOWED, SEVERAL, UNARY
from rfgraph.importers.tflite.reader import Graph, Model, Reader, Step, Tensor, trimmed

pytestmark = pytest.mark.filterwarnings(
    r"ignore:\s*Warning. tf.lite.Interpreter is deprecated:UserWarning:tensorflow.lite.python.interpreter"
)

DATA = Path(__file__).parents[1] / "data" / "tflite"

IMAGE = (1, 6, 7, 4)


# Models of a few operators, written with the schema that TensorFlow brings.


@cache
def tensorflow():
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    pytest.importorskip("tensorflow")
    import tensorflow
    from tensorflow.lite.python import schema_py_generated

    return tensorflow, schema_py_generated


#: Tables of options that are not called after the operator.
TABLES = {
    **dict.fromkeys(("AVERAGE_POOL_2D", "MAX_POOL_2D", "L2_POOL_2D"), "Pool2DOptions"),
    **dict.fromkeys(
        ("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_PROD", "REDUCE_ANY", "REDUCE_ALL"), "ReducerOptions"
    ),
    "L2_NORMALIZATION": "L2NormOptions", "UNIDIRECTIONAL_SEQUENCE_RNN": "SequenceRNNOptions",
    "RANDOM_UNIFORM": "RandomOptions", "RANDOM_STANDARD_NORMAL": "RandomOptions", "MULTINOMIAL": "RandomOptions",
    "CONV_3D_TRANSPOSE": "Conv3DOptions", "MAXIMUM": "MaximumMinimumOptions", "MINIMUM": "MaximumMinimumOptions",
}  # fmt: skip

KINDS = {np.dtype("f4"): "FLOAT32", np.dtype("i4"): "INT32", np.dtype("i8"): "INT64", np.dtype("?"): "BOOL",
         np.dtype("i1"): "INT8", np.dtype("u1"): "UINT8", np.dtype("c8"): "COMPLEX64"}  # fmt: skip


class Net:
    """One graph of a model under construction; tensors are numbers."""

    def __init__(self, model: ModelWriter) -> None:
        self.model, self.schema = model, model.schema
        self.graph = self.schema.SubGraphT()
        self.graph.tensors, self.graph.operators, self.graph.inputs, self.graph.outputs = [], [], [], []

    def tensor(self, name, shape, kind="FLOAT32", data=b"", signature=None, scale=None, variable=False):
        tensor = self.schema.TensorT()
        tensor.name, tensor.shape, tensor.type = name, list(shape), getattr(self.schema.TensorType, kind)
        tensor.buffer, tensor.shapeSignature, tensor.isVariable = self.model.buffer(data), signature, variable
        if scale is not None:
            tensor.quantization = self.schema.QuantizationParametersT()
            tensor.quantization.scale, tensor.quantization.zeroPoint = [scale], [0]
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def input(self, shape, kind="FLOAT32", name="x", signature=None):
        self.graph.inputs.append(self.tensor(name, shape, kind, signature=signature))
        return self.graph.inputs[-1]

    def constant(self, array):
        array = np.asarray(array)
        array = array.astype({"f": "f4", "i": "i4"}.get(array.dtype.kind, array.dtype))
        return self.tensor(f"constant{len(self.graph.tensors)}", array.shape, KINDS[array.dtype], array.tobytes())

    def op(self, op, *inputs, made=1, kind="FLOAT32", shape=(), scale=None, custom=None, name="", **options):
        """Add an operator; inputs that are no tensors are constants. Return its outputs, or the one it has."""
        operator = self.schema.OperatorT()
        operator.opcodeIndex = self.model.code(op, custom)
        operator.inputs = [-1 if i is None else i if type(i) is int else self.constant(i) for i in inputs]
        kinds = [kind] * made if isinstance(kind, str) else kind
        operator.outputs = [
            self.tensor(name or f"{op.lower()}{len(self.graph.tensors)}", shape, kind, scale=scale) for kind in kinds
        ]
        self.options(operator, op, options)
        self.graph.operators.append(operator)
        return operator.outputs[0] if len(operator.outputs) == 1 else operator.outputs

    def options(self, operator, op, options):
        squashed = op.lower().replace("_", "") + "options"
        for union, slot in (("BuiltinOptions", "builtinOptions"), ("BuiltinOptions2", "builtinOptions2")):
            codes = vars(getattr(self.schema, union))
            table = next((n for n in codes if n == TABLES.get(op) or n.lower() == squashed), None)
            if table is not None:
                made = getattr(self.schema, f"{table}T")()
                for field, value in options.items():
                    assert hasattr(made, field), (table, field)
                    setattr(made, field, value)
                setattr(operator, slot, made)
                setattr(operator, f"{slot}Type", codes[table])
                return
        assert not options, op


class ModelWriter:
    """A model under construction."""

    def __init__(self) -> None:
        self.schema = tensorflow()[1]
        self.made = self.schema.ModelT()
        self.made.version, self.made.operatorCodes, self.made.subgraphs, self.made.buffers = 3, [], [], []
        self.buffer(b"")

    def buffer(self, data):
        buffer = self.schema.BufferT()
        if data:
            buffer.data = np.frombuffer(data, np.uint8)
        self.made.buffers.append(buffer)
        return len(self.made.buffers) - 1

    def code(self, op, custom=None):
        code = self.schema.OperatorCodeT()
        code.builtinCode = getattr(self.schema.BuiltinOperator, "CUSTOM" if custom else op)
        code.deprecatedBuiltinCode, code.customCode = min(code.builtinCode, 127), custom
        code.version = 2 if op == "BROADCAST_TO" else 1  # the runtime has lost its first
        self.made.operatorCodes.append(code)
        return len(self.made.operatorCodes) - 1

    def graph(self):
        net = Net(self)
        self.made.subgraphs.append(net.graph)
        return net

    def data(self):
        import flatbuffers

        builder = flatbuffers.Builder(1024)
        builder.Finish(self.made.Pack(builder), b"TFL3")
        return bytes(builder.Output())


@dataclass(frozen=True)
class Case(op_by_op.Case):
    """A graph of one input, and an operator that it holds."""

    x: tuple = IMAGE
    at: tuple = (1, 2)
    out: tuple = (1, 2)

    def model(self) -> bytes:
        writer = ModelWriter()
        net = writer.graph()
        x = net.input(self.x)
        made = self.run(net, x)
        net.graph.outputs = list(made) if isinstance(made, list) else [made]
        return writer.data()


def loaded(data, tmp_path):
    path = tmp_path / "case.tflite"
    path.write_bytes(data)
    return files.decode(path)


def graph_of(case, tmp_path):
    return lower(Reader(loaded(case.model(), tmp_path)).program(), spatial={"x": case.at})


def interpreter_of(data):
    lite = tensorflow()[0].lite
    found = lite.Interpreter(
        model_content=data,
        experimental_op_resolver_type=lite.experimental.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    found.allocate_tensors()
    return found


def runner(data):
    interpreter = interpreter_of(data)
    x, y = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]

    def run(value):
        interpreter.reset_all_variables()
        interpreter.set_tensor(x, value)
        interpreter.invoke()
        return interpreter.get_tensor(y)

    return run


def reads(case: Case) -> np.ndarray:
    """Return which pixels each output feature reads: booleans [*output positions, *input positions]."""
    rng = np.random.default_rng(0)
    run = runner(case.model())
    bases = [(rng.random(case.x) * 4 - 2).astype("f4") for _ in range(2)]
    spatial = [case.x[d] for d in case.at]
    kept = [d for d in case.out if d is not None]
    made = [run(x) for x in bases]
    columns = []
    for pixel in itertools.product(*map(range, spatial)):
        index = [slice(None)] * len(case.x)
        for d, i in zip(case.at, pixel, strict=True):
            index[d] = i
        changed = np.zeros([made[0].shape[d] for d in kept], bool)
        for (x, base), value in itertools.product(zip(bases, made, strict=True), (None, 9.0, -9.0)):
            near = x.copy()
            near[tuple(index)] = rng.random(near[tuple(index)].shape) if value is None else value
            after = run(near)
            moved = (after != base) & ~((after != after) & (base != base))
            others = tuple(d for d in range(base.ndim) if d not in kept)
            changed |= moved.any(axis=others).transpose(np.argsort(np.argsort(kept)))
        columns.append(changed)
    sizes = [1 if d is None else made[0].shape[d] for d in case.out]
    return np.stack(columns, axis=-1).reshape(*sizes, *spatial)


def check_reads(case: Case, tmp_path) -> None:
    found = reads(case)
    graph = graph_of(case, tmp_path)
    check_regions(graph, found, case.exact)


def w(*shape):
    return np.linspace(0.5, 1.5, int(np.prod(shape)), dtype="f4").reshape(shape)


LINE = {"x": (1, 9, 4), "at": (1,), "out": (1,)}
CUBE = {"x": (1, 4, 5, 3, 2), "at": (1, 2, 3), "out": (1, 2, 3)}
WHOLE = {"out": (None, None)}
SAME, VALID = 0, 1


def window(y=1, x=1, padding=VALID, dy=1, dx=1, **more):
    return {"strideH": y, "strideW": x, "padding": padding, "dilationHFactor": dy, "dilationWFactor": dx, **more}


def strides(y=1, x=1, padding=VALID, **more):
    return {"strideH": y, "strideW": x, "padding": padding, **more}


def cube(z=1, y=1, x=1, padding=VALID, dz=1, dy=1, dx=1):
    return {**window(y, x, padding, dy, dx), "strideD": z, "dilationDFactor": dz}


def pool(height, width, y=1, x=1, padding=VALID):
    return strides(y, x, padding, filterHeight=height, filterWidth=width)


def resized(op, size, **how):
    return Case(op, lambda n, x: n.op(op, x, np.array(size), **how))


def atrous(n, x, block, paddings, crops, kernel, **how):
    inside = n.op("SPACE_TO_BATCH_ND", x, np.array(block), np.array(paddings))
    inside = n.op("CONV_2D", inside, w(3, *kernel, 4), w(3), **window(**how))
    return n.op("BATCH_TO_SPACE_ND", inside, np.array(block), np.array(crops))


def quantised(n, x):
    return n.op("QUANTIZE", x, kind="INT8", scale=0.05)


def lstm(op, time_major=False, merge=None):
    """A sequence LSTM of 4 inputs and 3 units, with its states."""

    def build(n, x):
        batch = n.graph.tensors[x].shape[1 if time_major else 0]
        if op == "UNIDIRECTIONAL_SEQUENCE_LSTM":
            weights = [*(w(3, 4) * s for s in (0.1, 0.2, 0.3, 0.4)), *(w(3, 3) * s for s in (0.1, 0.2, 0.3, 0.4))]
            states = [n.tensor(f"state{i}", (batch, 3), variable=True) for i in range(2)]
            return n.op(
                op, x, *weights, None, None, None, *[w(3)] * 4, None, None, *states,
                fusedActivationFunction=4, timeMajor=time_major,
            )  # fmt: skip
        one = [*(w(3, 4) * s for s in (0.1, 0.2, 0.3, 0.4)), *(w(3, 3) * s for s in (0.1, 0.2, 0.3, 0.4))]
        one += [None, None, None, *[w(3)] * 4, None, None]
        states = [n.tensor(f"state{i}", (batch, 3), variable=True) for i in range(4)]
        return n.op(
            op, x, *one, *one, *states, *[None] * 9, made=1 if merge else 2, fusedActivationFunction=4,
            timeMajor=time_major, mergeOutputs=bool(merge),
        )  # fmt: skip

    return build


def one_step(n, x):
    """The first LSTM of the schema, on the channels of one row."""
    rows = n.op("RESHAPE", x, np.array([9, 4]))
    weights = [*(w(3, 4) * s for s in (0.1, 0.2, 0.3, 0.4)), *(w(3, 3) * s for s in (0.1, 0.2, 0.3, 0.4))]
    states = [n.tensor(f"state{i}", (9, 3), variable=True) for i in range(2)]
    return n.op("LSTM", rows, *weights, None, None, None, *[w(3)] * 4, None, None, *states, fusedActivationFunction=4)


def basic_step(n, x):
    rows = n.op("RESHAPE", x, np.array([9, 4]))
    kept = [n.tensor(f"state{i}", (9, 3), variable=True) for i in range(2)]
    gates = w(12, 7) * 0.1
    return n.op("LSTM", rows, kept[0], gates, w(12), kept[1], made=4, fusedActivationFunction=4, kernelType=1)[0]


def rnn(op, made=1, **options):
    def build(n, x):
        states = [n.tensor(f"state{i}", (1, 3), variable=True) for i in range(2)]
        weights = w(3, 4) * 0.1, w(3, 3) * 0.3, w(3)
        if op == "BIDIRECTIONAL_SEQUENCE_RNN":
            more = [*weights, states[0], *weights, states[1], *[None] * 3]
        else:
            more = [*weights, states[0]]
        return n.op(op, x, *more, made=made, fusedActivationFunction=4, **options)

    return build


def step_of_rnn(n, x):
    rows = n.op("RESHAPE", x, np.array([9, 4]))
    state = n.tensor("state", (9, 3), variable=True)
    return n.op("RNN", rows, w(3, 4) * 0.1, w(3, 3) * 0.1, w(3), state, fusedActivationFunction=4)


def step_of_svdf(n, x):
    rows = n.op("RESHAPE", x, np.array([9, 4]))
    state = n.tensor("state", (9, 6 * 2), variable=True)
    return n.op("SVDF", rows, w(6, 4), w(6, 2), None, state, rank=2)


def either(n, x):
    """A branch whose condition depends on the input: a pool, or nothing."""
    total = n.op("SUM", x, np.array([0, 1, 2, 3]))
    condition = n.op("GREATER", total, np.float32(0), kind="BOOL")
    bodies = []
    for pooled in (True, False):
        body = n.model.graph()
        inside = body.input(IMAGE)
        options = pool(3, 3, padding=SAME)
        body.graph.outputs = [body.op("MAX_POOL_2D", inside, **options) if pooled else body.op("NEG", inside)]
        bodies.append(len(n.model.made.subgraphs) - 1)
    return n.op("IF", condition, x, shape=IMAGE, thenSubgraphIndex=bodies[0], elseSubgraphIndex=bodies[1])


def decided(n, x):
    condition = n.op("LESS", np.array(1), np.array(2), kind="BOOL")
    bodies = []
    for size in (3, 5):
        body = n.model.graph()
        body.graph.outputs = [body.op("MAX_POOL_2D", body.input(IMAGE), **pool(size, size, padding=SAME))]
        bodies.append(len(n.model.made.subgraphs) - 1)
    return n.op("IF", condition, x, shape=IMAGE, thenSubgraphIndex=bodies[0], elseSubgraphIndex=bodies[1])


def repeated(n, x):
    """Two turns of a loop, each with a pool of 3."""
    test, body = n.model.graph(), n.model.graph()
    turn, _ = test.input((), "INT32", "turn"), test.input(IMAGE)
    test.graph.outputs = [test.op("LESS", turn, np.array(2), kind="BOOL")]
    turn, inside = body.input((), "INT32", "turn"), body.input(IMAGE)
    pooled = body.op("MAX_POOL_2D", inside, **pool(3, 3, padding=SAME))
    body.graph.outputs = [body.op("ADD", turn, np.array(1), kind="INT32"), pooled]
    return n.op("WHILE", np.array(0), x, kind=("INT32", "FLOAT32"), condSubgraphIndex=1, bodySubgraphIndex=2)[1]


def called(n, x):
    body = n.model.graph()
    body.graph.outputs = [body.op("MAX_POOL_2D", body.input(IMAGE), **pool(3, 2))]
    return n.op("CALL", x, subgraph=1)


def remembered(n, x):
    """What is written is what is read after it."""
    handle = n.op("VAR_HANDLE", kind="RESOURCE", sharedName="memory")
    n.op("ASSIGN_VARIABLE", handle, n.op("MAX_POOL_2D", x, **pool(2, 3)), made=0)
    return n.op("READ_VARIABLE", handle)


def selected(n, x):
    rows = n.op("GREATER", n.op("MEAN", x, np.array([1, 2, 3])), np.float32(9), kind="BOOL")
    return n.op("SELECT", rows, x, n.op("MAX_POOL_2D", x, **pool(3, 3, padding=SAME)))


def sizes_computed(n, x):
    """Twice the sizes of the input, computed from its shape, by floored quotients too."""
    shape = n.op("SHAPE", x, kind="INT32", outType=2)
    rows = n.op("STRIDED_SLICE", shape, np.array([1]), np.array([3]), np.array([1]), kind="INT32")
    twice = n.op("MUL", rows, np.array(5), kind="INT32")
    size = n.op("FLOOR_DIV", twice, np.array(2), kind="INT32")
    return n.op("RESIZE_NEAREST_NEIGHBOR", x, size)


# fmt: off
CASES = [
    # Windows.
    Case("CONV_2D", lambda n, x: n.op("CONV_2D", x, w(3, 3, 2, 4), w(3), **window(2, 1))),
    Case("CONV_2D", lambda n, x: n.op("CONV_2D", x, w(3, 3, 4, 4), w(3), **window(2, 3, SAME))),
    Case("CONV_2D", lambda n, x: n.op("CONV_2D", x, w(3, 3, 2, 4), w(3), **window(1, 1, SAME, 2, 3))),
    Case("CONV_2D", lambda n, x: n.op("CONV_2D", x, w(4, 3, 3, 2), w(4), **window(1, 1, SAME))),
    Case("DEPTHWISE_CONV_2D", lambda n, x: n.op(
        "DEPTHWISE_CONV_2D", x, w(1, 3, 2, 8), w(8), **window(2, 2, SAME, depthMultiplier=2))),
    Case("DEPTHWISE_CONV_2D", lambda n, x: n.op(
        "DEPTHWISE_CONV_2D", x, w(1, 2, 3, 4), w(4), **window(1, 1, VALID, 3, 2, depthMultiplier=1))),
    Case("CONV_3D", lambda n, x: n.op("CONV_3D", x, w(2, 1, 3, 2, 3), **cube(2, 1, 1, SAME)), **CUBE),
    Case("CONV_3D", lambda n, x: n.op("CONV_3D", x, w(2, 2, 1, 2, 3), **cube(dz=2, dy=3)), **CUBE),
    Case("CONV_3D_TRANSPOSE", lambda n, x: n.op(
        "CONV_3D_TRANSPOSE", np.array([1, 8, 5, 6, 3]), w(3, 2, 2, 3, 2), x, **cube(2, 1, 2, SAME)), **CUBE),
    Case("TRANSPOSE_CONV", lambda n, x: n.op(
        "TRANSPOSE_CONV", np.array([1, 12, 14, 3]), w(3, 3, 2, 4), x, **strides(2, 2, SAME))),
    Case("TRANSPOSE_CONV", lambda n, x: n.op(
        "TRANSPOSE_CONV", np.array([1, 11, 21, 3]), w(3, 4, 5, 4), x, **strides(2, 3, SAME))),
    Case("TRANSPOSE_CONV", lambda n, x: n.op(
        "TRANSPOSE_CONV", np.array([1, 13, 22, 3]), w(3, 3, 2, 4), x, **strides(2, 3, VALID))),
    Case("TRANSPOSE_CONV", lambda n, x: n.op(
        "TRANSPOSE_CONV", np.array([1, 14, 21, 3]), w(3, 3, 3, 4), x, **strides(2, 3, VALID))),
    Case("AVERAGE_POOL_2D", lambda n, x: n.op("AVERAGE_POOL_2D", x, **pool(3, 2, 2, 1, SAME))),
    Case("MAX_POOL_2D", lambda n, x: n.op("MAX_POOL_2D", x, **pool(3, 2, 2, 2))),
    Case("L2_POOL_2D", lambda n, x: n.op("L2_POOL_2D", x, **pool(2, 3, 1, 2, SAME))),
    Case("DILATE", lambda n, x: n.op("DILATE", x, np.array([1, 2, 3, 1]), np.float32(0))),
    # Resolutions: sizes up, down, by fractions, and to one.
    *(resized(op, size, alignCorners=corners, halfPixelCenters=half)
      for op in ("RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR")
      for size in ((12, 14), (9, 4), (3, 21), (1, 7), (5, 10))
      for corners, half in ((False, False), (True, False), (False, True))),
    Case("RESIZE_NEAREST_NEIGHBOR", lambda n, x: n.op(
        "RESIZE_NEAREST_NEIGHBOR", x, np.array([9, 9]), alignCorners=True, halfPixelCenters=True), unknown="both"),
    Case("DEPTH_TO_SPACE", lambda n, x: n.op("DEPTH_TO_SPACE", x, blockSize=2)),
    Case("SPACE_TO_DEPTH", lambda n, x: n.op("SPACE_TO_DEPTH", x, blockSize=2), x=(1, 6, 8, 2)),
    Case("SPACE_TO_BATCH_ND", lambda n, x: atrous(n, x, [2, 2], [[2, 2], [2, 3]], [[0, 0], [0, 1]], (3, 3))),
    Case("SPACE_TO_BATCH_ND", lambda n, x: atrous(n, x, [3, 2], [[0, 0], [0, 1]], [[0, 0], [0, 0]], (2, 2))),
    Case("BATCH_TO_SPACE_ND", lambda n, x: atrous(n, x, [2, 3], [[2, 2], [3, 2]], [[1, 0], [0, 2]], (2, 1))),
    Case("BATCH_TO_SPACE_ND", lambda n, x: n.op(
        "BATCH_TO_SPACE_ND", n.op("SPACE_TO_BATCH_ND", x, np.array([3]), np.array([[0, 0]])), np.array([3]),
        np.array([[1, 1]])), **LINE),
    # Reductions and mixtures.
    Case("MEAN", lambda n, x: n.op("MEAN", x, np.array([1, 2]), keepDims=True)),
    Case("MEAN", lambda n, x: n.op("MEAN", x, np.array([-1]))),
    Case("SUM", lambda n, x: n.op("SUM", x, np.array([2])), out=(1, None)),
    Case("SUM", lambda n, x: n.op("SUM", x, np.array([1, 2])), **WHOLE),
    Case("REDUCE_MAX", lambda n, x: n.op("REDUCE_MAX", x, np.array([3]), keepDims=True)),
    Case("REDUCE_MIN", lambda n, x: n.op("REDUCE_MIN", x, np.array([3]), keepDims=True)),
    Case("REDUCE_PROD", lambda n, x: n.op("REDUCE_PROD", x, np.array([3]), keepDims=True)),
    Case("REDUCE_ANY", lambda n, x: n.op(
        "REDUCE_ANY", n.op("GREATER", x, np.float32(2), kind="BOOL"), np.array([3]), kind="BOOL")),
    Case("REDUCE_ALL", lambda n, x: n.op(
        "REDUCE_ALL", n.op("GREATER", x, np.float32(-2), kind="BOOL"), np.array([3]), kind="BOOL")),
    Case("ARG_MAX", lambda n, x: n.op("ARG_MAX", x, np.array(3), kind="INT32", outputType=2)),
    Case("ARG_MIN", lambda n, x: n.op("ARG_MIN", x, np.array(-1), kind="INT32", outputType=2)),
    Case("SOFTMAX", lambda n, x: n.op("SOFTMAX", x, beta=0.2)),
    Case("LOG_SOFTMAX", lambda n, x: n.op("LOG_SOFTMAX", x)),
    Case("L2_NORMALIZATION", lambda n, x: n.op("L2_NORMALIZATION", x)),
    Case("CUMSUM", lambda n, x: n.op("CUMSUM", x, np.array(1)), exact=False),
    Case("CUMSUM", lambda n, x: n.op("CUMSUM", x, np.array(3))),
    Case("TOPK_V2", lambda n, x: n.op("TOPK_V2", x, np.array(2), made=2, kind=("FLOAT32", "INT32"))[0]),
    Case("RFFT2D", lambda n, x: n.op("COMPLEX_ABS", n.op("RFFT2D", x, np.array([4, 8]), kind="COMPLEX64")),
         x=(1, 1, 4, 8), at=(2, 3), out=(2, 3)),
    # Products.
    Case("FULLY_CONNECTED", lambda n, x: n.op("FULLY_CONNECTED", x, w(5, 4), w(5), keepNumDims=True)),
    Case("FULLY_CONNECTED", lambda n, x: n.op("FULLY_CONNECTED", x, w(5, 168), None), **WHOLE),
    Case("FULLY_CONNECTED", lambda n, x: n.op(
        "RESHAPE", n.op("FULLY_CONNECTED", x, w(5, 4), None), np.array([1, 6, 7, 5]))),
    Case("BATCH_MATMUL", lambda n, x: n.op("BATCH_MATMUL", x, w(4, 5))),
    Case("BATCH_MATMUL", lambda n, x: n.op("BATCH_MATMUL", w(1, 4, 5), x, adjX=True), x=(1, 4, 9), at=(2,), out=(2,)),
    Case("BATCH_MATMUL", lambda n, x: n.op("BATCH_MATMUL", x, x, adjY=True), **LINE, exact=False),
    # Recurrences.
    Case("UNIDIRECTIONAL_SEQUENCE_LSTM", lstm("UNIDIRECTIONAL_SEQUENCE_LSTM"), **LINE),
    Case("UNIDIRECTIONAL_SEQUENCE_LSTM", lstm("UNIDIRECTIONAL_SEQUENCE_LSTM", time_major=True),
         x=(9, 1, 4), at=(0,), out=(0,)),
    Case("BIDIRECTIONAL_SEQUENCE_LSTM", lstm("BIDIRECTIONAL_SEQUENCE_LSTM", merge=True), **LINE),
    Case("BIDIRECTIONAL_SEQUENCE_LSTM", lstm("BIDIRECTIONAL_SEQUENCE_LSTM"), **LINE),
    Case("UNIDIRECTIONAL_SEQUENCE_RNN", rnn("UNIDIRECTIONAL_SEQUENCE_RNN"), **LINE),
    Case("BIDIRECTIONAL_SEQUENCE_RNN", rnn("BIDIRECTIONAL_SEQUENCE_RNN", mergeOutputs=True), **LINE),
    Case("LSTM", one_step, **LINE | {"out": (0,)}),
    Case("LSTM", basic_step, **LINE | {"out": (0,)}),
    Case("RNN", step_of_rnn, **LINE | {"out": (0,)}),
    Case("SVDF", step_of_svdf, **LINE | {"out": (0,)}),
    # Elements moved, dropped, added.
    Case("PAD", lambda n, x: n.op("PAD", x, np.array([[0, 0], [1, 2], [0, 3], [0, 0]]))),
    Case("PADV2", lambda n, x: n.op("PADV2", x, np.array([[0, 0], [2, 0], [1, 0], [0, 1]]), np.float32(3))),
    Case("MIRROR_PAD", lambda n, x: n.op("MIRROR_PAD", x, np.array([[0, 0], [1, 2], [3, 0], [0, 0]]), mode=0)),
    Case("MIRROR_PAD", lambda n, x: n.op("MIRROR_PAD", x, np.array([[0, 0], [1, 2], [3, 0], [0, 0]]), mode=1)),
    Case("SLICE", lambda n, x: n.op("SLICE", x, np.array([0, 1, 2, 1]), np.array([1, 4, -1, 2]))),
    Case("STRIDED_SLICE", lambda n, x: n.op(
        "STRIDED_SLICE", x, np.array([0, 1, -5, 0]), np.array([1, 6, -1, 4]), np.array([1, 2, 1, 1]))),
    Case("STRIDED_SLICE", lambda n, x: n.op(
        "STRIDED_SLICE", x, np.array([0, 3, 0]), np.array([0, 4, 3]), np.array([1, 1, 1]), ellipsisMask=1,
        shrinkAxisMask=2, beginMask=4), out=(1, None)),
    Case("STRIDED_SLICE", lambda n, x: n.op(
        "STRIDED_SLICE", x, np.array([0, 0, -1, 1]), np.array([0, 0, 0, 6]), np.array([1, 1, 1, 1]), beginMask=1,
        endMask=1, newAxisMask=2, shrinkAxisMask=4), x=(6, 7, 8, 4), at=(0, 2), out=(0, 2)),
    Case("STRIDED_SLICE", lambda n, x: n.op(
        "STRIDED_SLICE", x, np.array([0, 2, 1, 0]), np.array([1, 3, 5, 4]), np.array([1, 1, 1, 1]), offset=True)),
    Case("STRIDED_SLICE", lambda n, x: n.op(
        "STRIDED_SLICE", x, np.array([0, 0, 0, 3]), np.array([1, 6, 7, 0]), np.array([1, 1, 1, -1]), endMask=8)),
    Case("SPLIT", lambda n, x: n.op("SPLIT", np.array(1), x, made=2, numSplits=2)[1]),
    Case("SPLIT_V", lambda n, x: n.op("SPLIT_V", x, np.array([2, -1, 1]), np.array(2), made=3, numSplits=3)[1]),
    Case("UNPACK", lambda n, x: n.op("UNPACK", x, made=4, num=4, axis=3)[2]),
    Case("PACK", lambda n, x: n.op("PACK", x, n.op("NEG", x), valuesCount=2, axis=1), out=(2, 3)),
    Case("CONCATENATION", lambda n, x: n.op("CONCATENATION", x, n.op("NEG", x), axis=-1)),
    Case("CONCATENATION", lambda n, x: n.op("CONCATENATION", x, x, axis=1)),
    Case("GATHER", lambda n, x: n.op("GATHER", x, np.array([3, 1]), axis=3)),
    Case("GATHER", lambda n, x: n.op("GATHER", x, np.array([1, 3, 5]), axis=1)),
    Case("EMBEDDING_LOOKUP", lambda n, x: n.op(
        "EMBEDDING_LOOKUP", n.op("RESHAPE", n.op("CAST", n.op("SIGN", n.op("RELU", x)), kind="INT32", inDataType=0,
                                                 outDataType=2), np.array([9]), kind="INT32"), w(2, 3)),
         x=(1, 9, 1), at=(1,), out=(0,)),
    Case("TILE", lambda n, x: n.op("TILE", x, np.array([1, 2, 1, 3]))),
    Case("BROADCAST_TO", lambda n, x: n.op("BROADCAST_TO", x, np.array([1, 6, 7, 4])), x=(1, 6, 7, 1)),
    Case("BROADCAST_ARGS", lambda n, x: n.op(
        "BROADCAST_TO", x, n.op("BROADCAST_ARGS", np.array([1, 1, 7, 3]), np.array([2, 6, 1, 1]), kind="INT32")),
         x=(1, 6, 7, 1)),
    Case("REVERSE_V2", lambda n, x: n.op("REVERSE_V2", x, np.array([3]))),
    # Numbering.
    Case("RESHAPE", lambda n, x: n.op("RESHAPE", x, np.array([6, 7, 2, -1])), out=(0, 1)),
    Case("RESHAPE", lambda n, x: n.op("RESHAPE", n.op("RESHAPE", x, newShape=[1, -1, 4]), np.array([1, 6, 7, 4]))),
    Case("SQUEEZE", lambda n, x: n.op("SQUEEZE", x, squeezeDims=[0]), out=(0, 1)),
    Case("SQUEEZE", lambda n, x: n.op("SQUEEZE", x, squeezeDims=[]), out=(0, 1)),
    Case("EXPAND_DIMS", lambda n, x: n.op("EXPAND_DIMS", x, np.array(-1)), out=(1, 2)),
    Case("TRANSPOSE", lambda n, x: n.op("TRANSPOSE", x, np.array([0, 3, 2, 1])), out=(3, 2)),
    # Constants, and sizes.
    Case("SHAPE", sizes_computed),
    Case("FLOOR_DIV", sizes_computed),
    Case("FLOOR_DIV", lambda n, x: n.op("FLOOR_DIV", x, np.float32(0.01))),
    Case("RANK", lambda n, x: n.op("EXPAND_DIMS", x, n.op("RANK", x, kind="INT32"))),
    Case("FILL", lambda n, x: n.op("ADD", x, n.op("FILL", np.array([1, 6, 1, 4]), np.float32(2)))),
    Case("FILL", lambda n, x: n.op("TILE", x, n.op("FILL", np.array([4]), np.array(1), kind="INT32"))),
    Case("RANGE", lambda n, x: n.op("GATHER", x, n.op(
        "RANGE", np.array(1), np.array(6), np.array(2), kind="INT32"), axis=1)),
    Case("ZEROS_LIKE", lambda n, x: n.op("ADD", x, n.op("ZEROS_LIKE", x))),
    Case("RANDOM_UNIFORM", lambda n, x: n.op("ADD", x, n.op("MUL", n.op(
        "RANDOM_UNIFORM", np.array([6, 7, 4]), seed=1, seed2=2), np.float32(0)))),
    Case("RANDOM_STANDARD_NORMAL", lambda n, x: n.op("ADD", x, n.op("MUL", n.op(
        "RANDOM_STANDARD_NORMAL", np.array([6, 7, 4]), seed=1, seed2=2), np.float32(0)))),
    Case("ONE_HOT", lambda n, x: n.op("ONE_HOT", n.op("ARG_MAX", x, np.array(3), kind="INT32", outputType=2),
                                      np.array(4), np.float32(1), np.float32(0), axis=-1)),
    # Functions of several tensors, and those with a rule of their own.
    Case("CAST", lambda n, x: n.op("CAST", n.op("CAST", x, kind="INT32", inDataType=0, outDataType=2), inDataType=2,
                                   outDataType=0)),
    Case("SELECT", selected, exact=False),
    Case("SELECT", lambda n, x: n.op("SELECT", n.op("GREATER", x, np.float32(0), kind="BOOL"), x, n.op("NEG", x))),
    Case("SELECT_V2", lambda n, x: n.op(
        "SELECT_V2", n.op("GREATER", x, np.float32(0), kind="BOOL"), np.float32(2), x)),
    Case("PRELU", lambda n, x: n.op("PRELU", x, w(1, 1, 4))),
    Case("DEQUANTIZE", lambda n, x: n.op("DEQUANTIZE", quantised(n, x))),
    Case("QUANTIZE", lambda n, x: n.op("DEQUANTIZE", n.op(
        "MAX_POOL_2D", quantised(n, x), **pool(2, 3), kind="INT8", scale=0.05))),
    # What a step calls, and what it remembers.
    Case("IF", either, exact=False),
    Case("IF", decided),
    Case("WHILE", repeated),
    Case("VAR_HANDLE", remembered),
    Case("ASSIGN_VARIABLE", remembered),
    Case("READ_VARIABLE", remembered),
    # Not followed, and why.
    Case("GATHER", lambda n, x: n.op("GATHER", x, np.zeros((1, 2), "i4"), axis=1, batchDims=1), unknown="each batch"),
    Case("GATHER_ND", lambda n, x: n.op("GATHER_ND", x, np.array([[0, 1, 2]])), unknown="indices"),
    Case("BITCAST", lambda n, x: n.op("BITCAST", x, kind="INT32"), unknown="another type"),
    Case("TILE", lambda n, x: n.op("TILE", x, np.array([1, 1, 65, 1])), unknown="65 times"),
]
# fmt: on


#: Functions of elements whose numbers, kinds or arguments are none of their first operand's.
OPTIONS = {
    "COMPLEX_ABS": None, "REAL": None, "IMAG": None,  # rows of RFFT2D
    "DEQUANTIZE": None, "QUANTIZE": None,  # rows of their own
    "DENSIFY": None,  # of a constant only
    "FAKE_QUANT": {"min": -10.0, "max": 10.0, "numBits": 16},
    "BUCKETIZE": {"boundaries": [-3.0, 0.0, 3.0], "kind": "INT32"},
    "LOCAL_RESPONSE_NORMALIZATION": {"radius": 1, "bias": 1.0, "alpha": 1.0, "beta": 0.5},
}  # fmt: skip


def function_of_one(op):
    def run(n, x):
        if op == "LOGICAL_NOT":
            return n.op(op, n.op("GREATER", x, np.float32(0), kind="BOOL"), kind="BOOL")
        return n.op(op, x, **(OPTIONS.get(op) or {}))

    return run


def function_of_several(op):
    """Of a pool of the input and the input, or what that makes of a kind that the operator takes."""

    def run(n, x):
        y, kind = n.op("MAX_POOL_2D", x, **pool(3, 3, padding=SAME)), "FLOAT32"
        if op in ("BITWISE_XOR", "RIGHT_SHIFT"):
            x, y = (n.op("CAST", n.op("ABS", z), kind="INT32", inDataType=0, outDataType=2) for z in (x, y))
            kind = "INT32"
        elif op in ("LOGICAL_AND", "LOGICAL_OR"):
            x, y = (n.op("GREATER", z, np.float32(0.5), kind="BOOL") for z in (x, y))
        if op.startswith(("LOGICAL", "LESS", "GREATER")) or op.endswith("EQUAL"):
            kind = "BOOL"
        return n.op(op, x, y, kind=kind)

    return run


#: Their rows stand among the others.
OWN = {"SELECT_V2", "PRELU"}
FUNCTIONS = [Case(op, function_of_one(op)) for op in UNARY if op not in OPTIONS or OPTIONS[op] is not None]
FUNCTIONS += [Case(op, function_of_several(op), exact=False) for op in SEVERAL if op not in OWN]


@pytest.mark.parametrize("case", FUNCTIONS, ids=lambda case: case.op)
def test_a_function_of_elements_reads_its_own_position(case, tmp_path):
    check_reads(case, tmp_path)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_what_an_operator_reads(case, tmp_path):
    model = loaded(case.model(), tmp_path)
    assert case.op in {step.op for graph in model.graphs for step in graph.steps}
    if case.unknown:
        graph = graph_of(case, tmp_path)
        assert any(d["op"] == "unknown" and case.unknown in d.get("why", "") for _, d in graph.nodes(data=True))
        return
    check_reads(case, tmp_path)


def written_by_hand(op, options=None, inputs=(0, 1), made=1):
    """A model of one operator on two images, without TensorFlow."""
    tensors = {i: Tensor("xy"[i], IMAGE, "float") for i in range(2)}
    tensors |= {2 + k: Tensor(f"made{k}", None, "float") for k in range(made)}
    step = Step(op, options or {}, inputs, tuple(range(2, 2 + made)))
    return Model("hand.tflite", (Graph(tensors, (0, 1), (2,), (step,)),))


@pytest.mark.parametrize("op", sorted(NOT_FOLLOWED))
def test_what_is_not_followed_says_why(op):
    graph = lower(Reader(written_by_hand(op)).program(), spatial={"x": (1, 2), "y": (1, 2)})
    (unknown,) = [d for _, d in graph.nodes(data=True) if d["op"] == "unknown"]
    assert (unknown["of"], unknown["why"]) == (op, NOT_FOLLOWED[op])


SELECTING = ("WHERE", "UNIQUE", "NON_MAX_SUPPRESSION_V4", "NON_MAX_SUPPRESSION_V5", "MULTINOMIAL")


@pytest.mark.parametrize("op", SELECTING)
def test_what_selects_by_contents_reads_everything(op):
    graph = lower(Reader(written_by_hand(op, made=2)).program(), spatial={"x": (1, 2), "y": (1, 2)})
    assert rfgraph.analyze(graph, source="x")[list(graph)[-1]].is_global == (True, True)


def test_every_operator_has_a_row():
    rows = {case.op for case in (*CASES, *FUNCTIONS)} | {*NOT_FOLLOWED, *SELECTING}
    assert sorted(set(HANDLERS) - rows) == [
        "COMPLEX_ABS",
        "Convolution2DTransposeBias",
        "DENSIFY",
        "IMAG",
        "REAL",
    ]  # rows below
    assert {*HANDLERS, "IF", "WHILE", "CALL"} - {"Convolution2DTransposeBias"} <= set(files.OPERATORS.values())


def model_of(*graphs):
    return Model("hand.tflite", graphs)


def test_weights_that_the_file_packs_are_weights():
    tensors = {0: Tensor("x", IMAGE, "float"), 1: Tensor("packed", (4,), "float", constant=True),
               2: Tensor("weights", (4,), "float"), 3: Tensor("y", None, "float")}  # fmt: skip
    steps = Step("DENSIFY", {}, (1,), (2,)), Step("MUL", {}, (0, 2), (3,))
    program = Reader(model_of(Graph(tensors, (0,), (3,), steps))).program()
    assert [step.op for step in program.instructions] == ["MUL"]
    assert program.outputs[0].shape == IMAGE


# Names.


@pytest.mark.parametrize(
    ("name", "op", "want"),
    [
        ("functional_1/re_lu_1/Relu;functional_1/stem_1/convolution", "CONV_2D", "functional_1/stem_1"),
        ("functional_1/dw_1/depthwise;1", "DEPTHWISE_CONV_2D", "functional_1/dw_1"),
        ("MobilenetV1/MobilenetV1/Conv2d_0/Relu6", "CONV_2D", "MobilenetV1/MobilenetV1/Conv2d_0"),
        ("model/dense/Tensordot/MatMul", "FULLY_CONNECTED", "model/dense"),
        ("model/re_lu/Relu;model/add/add", "ADD", "model/add/add"),
        ("model/up/ResizeBilinear", "RESIZE_BILINEAR", "model/up/ResizeBilinear"),
        ("conv", "CONV_2D", "conv"),
        ("StatefulPartitionedCall_1:0", "CONV_2D", ""),
        ("", "ADD", ""),
    ],
)
def test_names_are_trimmed_of_what_was_fused(name, op, want):
    assert trimmed(name, op) == want


def test_nodes_are_called_as_people_know_them():
    unet = rfgraph.analyze(str(DATA / "unet.tflite"))
    assert set(unet) == {"x", "a_1", "pool_1/MaxPool2d", "b_1", "up_1", "cat_1/concat", "c_1"}
    # The last is the model's output, which lost its name: its weight has it. Sums have no weights.
    assert list(rfgraph.analyze(str(DATA / "inverted.tflite")))[-1] == "output_0"
    graph = rfgraph.load(DATA / "unet.tflite")
    assert graph.nodes["up_1"]["label"] == "TRANSPOSE_CONV"


# The same architecture, whichever way it comes. Keras calls layers by their second trace: a_1, b_1.

NAMES = {
    "resnet18": {
        "stem.0": "stem_1", "pool": "pool_1/MaxPool2d", "head": "head_1/Mean",
        **{f"layers.{i}.{part}": f"layers_{i}_{part}_1" for i in range(8) for part in ("conv1", "conv2")},
        **{f"layers.{i}.down.0": f"layers_{i}_down_1" for i in (2, 4, 6)},
        **{f"layers.{i}/add": f"layers_{i}_add_1/Add" for i in range(8)},
    },
    "unet": {
        "pool": "pool_1/MaxPool2d", "cat": "cat_1/concat", "a": "a_1", "b": "b_1", "c": "c_1", "up": "up_1",
    },
    "inverted": {
        "first": "first_1", "depthwise.0": "depthwise_1", "expand.0": "expand_1", "project": "project_1",
        "add": "output_0",
    },
    "convnext": {"add": "output_0", **{name: f"{name}_1" for name in ("stem", "down", "depthwise", "wide", "narrow")}},
    "tcn": {
        "first": "first_1", "add": "add_0_1/Add", "add_2": "add_1_1/Add", "add_3": "add_2_1/Add", "add_4": "output_0",
        **{f"convs.{i}": f"convs_{i}_1" for i in range(4)},
    },
}  # fmt: skip


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_an_architecture_has_one_table_whichever_way_it_comes(name):
    check_table(name, rfgraph.analyze(str(DATA / f"{name}.tflite")), NAMES[name])


def test_a_quantised_model_reads_as_its_float_twin():
    assert {tensor.kind for tensor in files.decode(DATA / "inverted_int8.tflite").graphs[0].tensors.values()} == {
        "integer"
    }
    check_table("inverted", rfgraph.analyze(str(DATA / "inverted_int8.tflite")), NAMES["inverted"])


def test_a_published_network_has_its_published_numbers():
    # Araujo, Norris, Sim, Distill 2019: mobilenet_v2 has receptive field 491 and effective stride 32.
    report = rfgraph.analyze(str(DATA / "mobilenet_v2_int8.tflite"))
    assert report.outputs == ("Conv_1_1",)
    assert (report["Conv_1_1"].size, report["Conv_1_1"].stride) == ((491, 491), (32, 32))


def test_a_detector_has_an_output_at_every_level():
    report = rfgraph.analyze(str(DATA / "detector.tflite"))
    assert report.outputs == ("output_0", "output_1", "output_2")  # as its signature calls them
    assert {report[name].name: report[name].stride for name in report.outputs} == {
        "boxes_0_1": (8, 8), "boxes_1_1": (16, 16), "boxes_2_1": (32, 32)
    }  # fmt: skip
    assert all(report[name].status == "exact" for name in report)


def test_loops_are_unrolled_and_branches_joined():
    report = rfgraph.analyze(str(DATA / "control.tflite"))
    (output,) = report.outputs
    assert report[output].size == (3 * 2 + 5, 3 * 2 + 5)  # three turns of a kernel of 3, then the larger pool
    assert report[output].is_global == (True, True)  # the condition is a mean of the image


def test_sizes_that_are_computed_follow_the_input_size():
    unsized = rfgraph.analyze(str(DATA / "segmenter.tflite"))
    assert unsized["down_1"].size == (3, 3)
    node = rfgraph.load(DATA / "segmenter.tflite").nodes["atrous_1/convolution/SpaceToBatchND"]
    assert node["why"] == "its padding depends on the input size; give one"
    for size in ((64, 90), (33, 47)):
        report = rfgraph.analyze(str(DATA / "segmenter.tflite"), input_size=size)
        assert report["classes_1"].map_size == size
        assert report["classes_1"].status == "exact"


# Whole files against the runtime.


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("inverted", (1, 12, 14, 3)), ("segmenter", (1, 11, 14, 3)), ("tcn", (1, 64, 2)),
        ("inverted_int8", (1, 32, 48, 3)),
    ],
)  # fmt: skip
def test_a_file_reads_what_the_runtime_reads(name, shape):
    size = shape[1:-1]
    data = (DATA / f"{name}.tflite").read_bytes()
    interpreter = tensorflow()[0].lite.Interpreter(model_content=data)
    interpreter.resize_tensor_input(0, shape)
    interpreter.allocate_tensors()
    y = interpreter.get_output_details()[0]["index"]

    def run(value):
        interpreter.set_tensor(0, value)
        interpreter.invoke()
        return interpreter.get_tensor(y)

    report = rfgraph.analyze(str(DATA / f"{name}.tflite"), input_size=size)
    output = report.outputs[-1]
    positions = report[output].map_size
    boxes = [report.region(output, index).box for index in itertools.product(*map(range, positions))]
    box = np.array(boxes).reshape(*positions, len(size), 2)
    first, last = box[..., 0], box[..., 1]
    rng = np.random.default_rng(0)
    small, large = (-128, 127) if "int8" in name else (0, 2)
    kind = "i1" if "int8" in name else "f4"
    bases = [(rng.random(shape) * (large - small) + small).astype(kind) for _ in range(2)]
    made = [run(x) for x in bases]
    assert made[0].shape[1:-1] == positions
    low, high = np.full((*positions, len(size)), 10**6), np.full((*positions, len(size)), -1)
    for pixel in itertools.product(*map(range, size)):
        changed = np.zeros(positions, bool)
        for (x, base), value in itertools.product(zip(bases, made, strict=True), (small, large)):
            near = x.copy()
            near[(0, *pixel)] = value
            changed |= (run(near) != base).any(axis=(0, -1))
        inside = ((first <= pixel) & (pixel <= last)).all(axis=-1)
        assert not (changed & ~inside).any(), pixel
        low[changed] = np.minimum(low[changed], pixel)
        high[changed] = np.maximum(high[changed], pixel)
    # Rectifiers and rounding may hide what is read at the rim of a region.
    reached = np.mean((low == first) & (high == last))
    assert reached >= LEAST[name], reached


#: The share of outputs that see every side of their region change.
LEAST = {"inverted": 0.9, "segmenter": 0.9, "tcn": 0.9, "inverted_int8": 0.9}


# What is missing, malformed, or meant to do harm.


BLOCKED = """
    import sys
    sys.modules["tensorflow"] = None
    import rfgraph
    report = rfgraph.analyze(sys.argv[1])
    print(report["layers_7_add_1/Add"].size)
"""


def test_a_file_is_read_without_tensorflow():
    command = [sys.executable, "-c", textwrap.dedent(BLOCKED), str(DATA / "resnet18.tflite")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "(435, 435)\n"


def test_without_tflite_a_file_asks_for_the_extra(monkeypatch):
    monkeypatch.delitem(sys.modules, "rfgraph.importers.tflite.file")
    monkeypatch.setitem(sys.modules, "tflite", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'rfgraph\[tflite\]'"):
        rfgraph.load(DATA / "unet.tflite")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "it is empty"),
        (b"no model", "bytes 4 to 7 are not TFL3"),
        (b"\x08\0\0\0TFL3", "not a TFLite model, or a damaged one"),
        (b"\xff\xff\xff\xffTFL3" + b"\0" * 64, "not a TFLite model, or a damaged one"),
    ],
)
def test_files_that_are_no_models_are_refused(data, message, tmp_path):
    (tmp_path / "bad.tflite").write_bytes(data)
    with pytest.raises(ModelFileError, match=message):
        rfgraph.load(tmp_path / "bad.tflite")


WINDOW = {"Padding": 0, "StrideW": 1, "StrideH": 1, "DilationWFactor": 1, "DilationHFactor": 1}


@pytest.mark.parametrize(
    ("op", "options", "constants", "message"),
    [
        ("CONV_2D", WINDOW, [np.zeros((2, 3), int)], r"its weight has shape \[2, 3\], not 4 dimensions"),
        ("CONV_2D", {**WINDOW, "StrideH": 0}, [np.zeros((2, 3, 3, 4), int)], r"StrideH, StrideW are \[0, 1\]"),
        ("CONV_2D", {**WINDOW, "Padding": 2}, [np.zeros((2, 3, 3, 4), int)], "Padding 2 is neither SAME"),
        ("CONV_2D", {}, [np.zeros((2, 3, 3, 4), int)], "its options have no StrideH"),
        ("CONV_2D", WINDOW, [], "input 1 is missing"),
        ("MAX_POOL_2D", {}, [], "its options have no FilterHeight"),
        ("TRANSPOSE", {}, [[0, 1, 2, 4]], "axis 4 is not one of the 4"),
        ("TRANSPOSE", {}, [[0, 1, 2, 2]], "does not permute 4 dimensions"),
        ("RESHAPE", {}, [[5, 5]], r"shape \[1, 6, 7, 4\] cannot become \[5, 5\]"),
        ("RESHAPE", {}, [[-1, -1]], "more than one -1"),
        ("SQUEEZE", {"SqueezeDims": (1,)}, [], "are not all of size 1"),
        ("PAD", {}, [[1, 1]], "it pads 1 dimensions of a tensor of 4"),
        ("SLICE", {}, [[0], [1]], "do not have 4 entries each"),
        ("SPLIT_V", {}, [[1, 3], [3]], "it splits into 2 parts but has 1 outputs"),
        ("SPLIT_V", {}, [[-1, -1], [3]], "it splits into 2 parts"),
        ("DEPTH_TO_SPACE", {"BlockSize": 0}, [], "BlockSize 0 is not positive"),
        ("SPACE_TO_BATCH_ND", {}, [[2, 2], [0, 0]], "do not fit a tensor of 4 dimensions"),
        ("RESIZE_BILINEAR", {"AlignCorners": 0, "HalfPixelCenters": 0}, [[3]], "its 1 sizes do not fit a tensor of 4"),
        ("CALL", {"Subgraph": 7}, [], "it calls graph 7 of 1"),
        ("RESHAPE", {}, [[Fraction(3, 2)]], "its shape holds numbers that are no integers"),
        ("TILE", {}, [[2]], "it repeats 1 dimensions of a tensor of 4"),
        ("DILATE", {}, [[1, 0, 1, 1]], "are not one positive number for each dimension"),
    ],
)
def test_malformed_nodes_are_named(op, options, constants, message):
    tensors = {0: Tensor("x", IMAGE, "float"), 9: Tensor("made", None, "float")}
    for i, array in enumerate(constants, 1):
        integer = not any(isinstance(number, Fraction) for number in np.ravel(array))
        data = constant(np.asarray(array), integer=integer)
        tensors[i] = Tensor(f"constant{i}", data.elements.shape, "integer", constant=True, data=data)
    step = Step(op, options, tuple(range(1 + len(constants))), (9,))
    model = model_of(Graph(tensors, (0,), (9,), (step,)))
    with pytest.raises(ModelFileError, match=rf"hand.tflite: node 'made' \({op}\): .*{message}"):
        Reader(model).program()


def test_a_file_made_for_one_size_is_not_bent_to_another():
    graph = rfgraph.load(DATA / "unet.tflite", input_size=64)
    assert "is that for which the model was made" in graph.nodes["up_1"]["why"]
    tensors = {0: Tensor("x", (None, *IMAGE[1:]), "float"), 2: Tensor("y", None, "float"),
               1: Tensor("shape", (3,), "integer", constant=True, data=constant([-1, 42, 4]))}  # fmt: skip
    model = model_of(Graph(tensors, (0,), (2,), (Step("RESHAPE", {}, (0, 1), (2,)),)))
    fits = Reader(model, {"x": (5, 6, 7, 4)}).program()
    assert fits.outputs[0].shape == (5, 42, 4)
    model = model_of(
        Graph(tensors | {1: replace(tensors[1], data=constant([1, 42, 4]))}, (0,), (2,), model.graphs[0].steps)
    )
    (step,) = Reader(model, {"x": (1, 8, 8, 4)}).program().instructions
    assert step.primitive.why == "it reshapes to [1, 42, 4], for which the model was made"


def test_what_is_read_before_it_is_made_is_refused():
    tensors = {i: Tensor(f"t{i}", IMAGE, "float") for i in range(3)}
    steps = Step("ADD", {}, (0, 2), (1,)), Step("NEG", {}, (1,), (2,))
    with pytest.raises(
        ModelFileError, match=r"node 't1' \(ADD\) reads 't2' \(tensor 2\), which nothing before it makes"
    ):
        Reader(model_of(Graph(tensors, (0,), (2,), steps))).program()
    with pytest.raises(ModelFileError, match="its output reads 't2'"):
        Reader(model_of(Graph(tensors, (0,), (2,), steps[:0]))).program()
    with pytest.raises(ModelFileError, match="the model has no outputs"):
        Reader(model_of(Graph(tensors, (0,), (), steps[:0]))).program()


def test_graphs_that_call_themselves_are_refused(monkeypatch):
    tensors = {i: Tensor(f"t{i}", IMAGE, "float") for i in range(2)}
    inner = Graph(tensors, (0,), (1,), (Step("CALL", {"Subgraph": 0}, (0,), (1,)),))
    with pytest.raises(ModelFileError, match=f"call each other more than {tflite_graphs.MAX_CALLS} deep"):
        Reader(model_of(inner)).program()
    # Each graph calls the next twice: small in the file, and 2**20 operators long.
    twice = [
        Graph(
            {i: Tensor(f"t{i}", IMAGE, "float") for i in range(3)}, (0,), (2,),
            tuple(Step("CALL", {"Subgraph": k + 1}, (i,), (i + 1,)) for i in range(2)),
        )
        for k in range(20)
    ]  # fmt: skip
    monkeypatch.setattr(tflite_graphs, "MAX_STEPS", 1000)
    with pytest.raises(ModelFileError, match="it unfolds to more than 1000 operators"):
        Reader(model_of(*twice, Graph(tensors, (0,), (1,), (Step("NEG", {}, (0,), (1,)),)))).program()


def endless():
    """A loop whose condition is always true."""
    number = Tensor("turn", (), "integer")
    one = Tensor("one", (), "bool", constant=True, data=constant(np.array(True, object)))
    outer = Graph({0: Tensor("x", IMAGE, "float"), 1: Tensor("y", IMAGE, "float")}, (0,), (1,),
                  (Step("WHILE", {"CondSubgraphIndex": 1, "BodySubgraphIndex": 2}, (0,), (1,)),))  # fmt: skip
    test = Graph({0: number, 1: one}, (0,), (1,), ())
    body = Graph({0: number, 1: number}, (0,), (1,), (Step("NEG", {}, (0,), (1,)),))
    return model_of(outer, test, body)


def test_loops_of_many_turns_are_not_unrolled():
    (step,) = Reader(endless()).program().instructions
    assert step.primitive.why == f"it runs more than {tflite_graphs.MAX_TURNS} times"


def test_custom_operators_are_called_by_their_code(tmp_path):
    writer = ModelWriter()
    net = writer.graph()
    pooled = net.op("MAX_POOL_2D", net.input(IMAGE), **pool(3, 3))
    net.graph.outputs = [net.op("", pooled, custom="FlexErf", name="erf", shape=(1, 4, 5, 4))]
    (tmp_path / "custom.tflite").write_bytes(writer.data())
    graph = rfgraph.load(tmp_path / "custom.tflite")
    assert (graph.nodes["erf"]["op"], graph.nodes["erf"]["of"]) == ("unknown", "FlexErf")
    assert rfgraph.analyze(str(tmp_path / "custom.tflite"), treat={"Flex*": "identity"})["erf"].size == (3, 3)


def test_weights_are_never_read(tmp_path):
    """A file of 16 GB that is nearly all hole, whose weight lies behind the flatbuffer."""
    writer = ModelWriter()
    net = writer.graph()
    weight = net.tensor("weight", (1 << 20, 32, 32, 4))
    net.graph.outputs = [net.op("CONV_2D", net.input((1, 64, 64, 4)), weight, **window())]
    buffer = writer.made.buffers[net.graph.tensors[weight].buffer]
    buffer.offset, buffer.size = 1 << 20, 1 << 34
    path = tmp_path / "large.tflite"
    path.write_bytes(writer.data())
    with pytest.raises(ModelFileError, match=r"buffer \d+ ends at byte 17180917760 of \d+"):
        files.decode(path)
    os.truncate(path, (1 << 20) + (1 << 34))
    tracemalloc.start()
    report = rfgraph.analyze(str(path))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert report[report.outputs[0]].size == (32, 32)
    assert peak < 10_000_000


def vandalised(change):
    data = bytearray((DATA / "inverted.tflite").read_bytes())
    change(data, positions_of_vectors(data))
    return bytes(data)


def positions_of_vectors(data):
    """Where the root table of a file has its vectors: name of the field -> where their length is."""
    import tflite

    root = tflite.Model.GetRootAs(bytes(data), 0)
    slots = {"OperatorCodes": 6, "Subgraphs": 8, "Buffers": 12}
    return {name: root._tab.Vector(root._tab.Offset(slot)) - 4 for name, slot in slots.items()}


def write_number(data, at, number):
    data[at : at + 4] = number.to_bytes(4, "little")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d, at: write_number(d, at["Subgraphs"], 2**32 - 1), "a vector of 4294967295 entries"),
        (lambda d, at: write_number(d, at["Subgraphs"], 900), "900 graphs in a file of"),
        (lambda d, at: write_number(d, at["Subgraphs"], 0), "it has no operators"),
        (lambda d, at: write_number(d, at["Buffers"], 2), r"buffer \d+ is not one of the 2 of the file"),
        (lambda d, at: write_number(d, at["OperatorCodes"], 0), "operator 0 has code 0 of 0"),
    ],
)
def test_counts_are_held_against_the_size_of_the_file(change, message, tmp_path):
    (tmp_path / "bad.tflite").write_bytes(vandalised(change))
    with pytest.raises(ModelFileError, match=message):
        rfgraph.load(tmp_path / "bad.tflite")


def test_one_table_named_many_times_is_bounded(tmp_path, monkeypatch):
    """Offsets may share what they point at, so a small file can name more than it holds."""
    monkeypatch.setattr(files, "MAX_ITEMS", 100)
    with pytest.raises(ModelFileError, match="with those before"):
        files.decode(DATA / "resnet18.tflite")
    monkeypatch.undo()
    monkeypatch.setattr(files, "MAX_TEXT", 100)
    with pytest.raises(ModelFileError, match="its names have more than 100 bytes"):
        files.decode(DATA / "resnet18.tflite")
    monkeypatch.undo()
    monkeypatch.setattr(files, "MAX_NAME", 4)
    with pytest.raises(ModelFileError, match=r"a text of \d+ bytes in a file of"):
        files.decode(DATA / "resnet18.tflite")
    monkeypatch.undo()
    monkeypatch.setattr(files, "MAX_ENTRIES", 3)
    with pytest.raises(ModelFileError, match="entries, more than 3"):
        files.decode(DATA / "resnet18.tflite")


def test_a_constant_of_no_elements_is_a_constant():
    empty = tflite_graphs.Tensor("shape", (0,), "integer")
    reader = tflite_graphs.Reader(tflite_graphs.Model("m.tflite", ()))
    graph = tflite_graphs.Graph({0: empty}, (), (), ())
    value = reader.value(graph, 0, {}, "node 'r' (RESHAPE)")
    assert value.constant
    assert value.shape == (0,)
    assert value.data.elements.tolist() == []


@pytest.mark.parametrize(("padding", "stride", "size", "crop"), [(1, 2, 16, 0), (2, 2, 17, 0), (1, 1, 8, 1)])
def test_the_transposed_convolution_of_mediapipe_crops_to_the_size_that_the_file_states(
    padding, stride, size, crop, tmp_path
):
    writer = ModelWriter()
    net = writer.graph()
    x = net.input((1, 8, 8, 4))
    kernel = 2 if stride == 2 and padding == 1 else 3
    made = net.op("CUSTOM", x, np.zeros((5, kernel, kernel, 4), "f4"), np.zeros(5, "f4"), shape=(1, size, size, 5),
                  custom="Convolution2DTransposeBias", name="up")  # fmt: skip
    net.graph.operators[0].customOptions = np.frombuffer(np.array([padding, stride, stride, 0], "<i4"), np.uint8)
    net.graph.outputs.append(made)
    (tmp_path / "up.tflite").write_bytes(writer.data())
    graph = rfgraph.load(tmp_path / "up.tflite")
    (node,) = [data for _, data in graph.nodes(data=True) if data["op"] == "conv_transpose"]
    assert (node["kernel"], node["stride"]) == ([kernel] * 2, [stride] * 2)
    layer = rfgraph.analyze(graph)["up"]
    assert layer.map_size == (size, size)
    # Output 0 reads the inputs i whose taps stride * i - crop .. stride * i - crop + kernel - 1 hold it.
    reads = [i for i in range(8) if stride * i - crop <= 0 <= stride * i - crop + kernel - 1]
    assert rfgraph.analyze(graph).region("up", (0, 0)).box == ((min(reads), max(reads)),) * 2


def test_custom_options_that_are_too_short_are_named(tmp_path):
    writer = ModelWriter()
    net = writer.graph()
    made = net.op("CUSTOM", net.input((1, 8, 8, 4)), np.zeros((5, 2, 2, 4), "f4"), shape=(1, 16, 16, 5),
                  custom="Convolution2DTransposeBias")  # fmt: skip
    net.graph.operators[0].customOptions = np.zeros(7, np.uint8)
    net.graph.outputs.append(made)
    (tmp_path / "up.tflite").write_bytes(writer.data())
    with pytest.raises(ModelFileError, match="custom options have 7 bytes, too few for Padding, StrideW, StrideH"):
        rfgraph.load(tmp_path / "up.tflite")
