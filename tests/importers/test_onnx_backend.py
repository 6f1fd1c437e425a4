"""Every node test case that onnx generates for its operators, perturbed, against the regions that rfgraph gives.

The oracle is onnx's reference evaluator. One pixel after the other of a case's first tensor is changed, in all its
channels; an output that changes reads that pixel, so the pixel must lie in the region of that output, always. Where
all pixels were tried, the box of those that are read may also *be* the region, for every output: the weights of
convolutions and products, which in these cases are often all alike, are replaced by random ones, so that nothing
cancels. Cases of more than ``SMALL`` numbers have ``FEW`` pixels changed, and can only be found inside.
"""

from __future__ import annotations

import warnings
from collections import Counter, defaultdict
from functools import cache

import numpy as np
import onnx
from onnx import numpy_helper
from onnx.backend.test.case.node import collect_testcases
from onnx.reference import ReferenceEvaluator

import rfgraph
from rfgraph.errors import ModelFileError, SizeError
from rfgraph.importers.lowering.layout import Layout
from rfgraph.importers.lowering.lower import place_all
from rfgraph.importers.lowering.maps import LoweringBuilder
from rfgraph.importers.onnx.reader import read_model

SMALL, LARGE, FEW = 400, 20_000, 6
#: Inputs that are weights, whose zeros and equal numbers hide what is read.
WEIGHTS = {
    "Conv": (1,),
    "ConvTranspose": (1,),
    "DeformConv": (1,),
    "Gemm": (1,),
    "MatMul": (1,),
    "CausalConvWithState": (1,),
}
PERTURBED = (np.float32, np.float64, np.uint8, np.int8)


def axes_of(view, shape):
    """Return, for every element of a tensor, its position on each axis of its map: integers [*shape, axes]."""
    positions = np.zeros((*shape, max(view.axes, default=-1) + 1), int)
    for d, dim in enumerate(view.dims):
        at = np.arange(shape[d]) - dim.before
        for part in reversed(dim.parts):
            at, digit = np.divmod(at, part.size)
            if part.axis is not None:
                positions[..., part.axis] += (digit * part.stride).reshape(-1, *[1] * (len(shape) - 1 - d))
    return positions


def node_cases():
    """Yield the cases whose first tensor can be perturbed: name, its name, model with all else as weights, inputs."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cases = collect_testcases(None)
    rng = np.random.default_rng(0)
    for case in cases:
        if not case.model.graph.node or not case.data_sets or case.name.startswith("test_ai_onnx"):
            continue
        feed = {info.name: array for info, array in zip(case.model.graph.input, case.data_sets[0][0], strict=False)}
        arrays = {name: array for name, array in feed.items() if isinstance(array, np.ndarray)}
        images = [name for name, array in arrays.items() if array.dtype in PERTURBED and array.ndim > 1]
        if not images or not 0 < arrays[images[0]].size <= LARGE:
            continue
        for node in case.model.graph.node:
            for i in WEIGHTS.get(node.op_type, ()):
                old = arrays.get(node.input[i])
                if old is not None and np.issubdtype(old.dtype, np.floating) and node.input[i] != images[0]:
                    arrays[node.input[i]] = feed[node.input[i]] = rng.uniform(0.5, 1.5, old.shape).astype(old.dtype)
        model = onnx.ModelProto()
        model.CopyFrom(case.model)
        for name, array in arrays.items():
            if name != images[0] and array.dtype != object:
                model.graph.initializer.append(numpy_helper.from_array(array, name))
        yield case.name, images[0], model, case.model, feed


def compared(image, model, evaluated, feed):
    """Return how what is read lies to the regions, and the reason where that is not known."""
    x = feed[image]
    dims = tuple(range(2, x.ndim)) if x.ndim > 2 else (1,)
    program = read_model(model)
    maps = LoweringBuilder("m", len(dims), {})
    end = place_all(program, Layout.given(program, {image: dims}), maps).get(program.outputs[0].name)
    report = rfgraph.analyze(maps.network.graph, source=image)
    if end is None:
        return "constant", ""
    layer = report[end.node]
    if layer.status == "unknown":
        return "unknown", layer.why
    if end.view is None:
        return ("global", "") if all(layer.is_global) else ("outside", "its dimensions are lost")
    try:
        run = ReferenceEvaluator(evaluated).run
        base = run(None, feed)[0]
    except (NotImplementedError, TypeError, ValueError, RuntimeError):
        return "unevaluated", ""  # not in the evaluator, or not of these types
    if not isinstance(base, np.ndarray):
        return "unevaluated", ""  # a sequence
    assert base.shape == tuple(dim.size for dim in end.view.dims)
    positions = axes_of(end.view, base.shape)
    # A scale of 0.6 stands for 3/5, but is a little more or less as a float: taps of no weight then have a tiny one.
    slack = 1e-5 if any(node.op_type == "Resize" for node in evaluated.graph.node) else 0
    read = boxes_read(x, dims, base, lambda near: run(None, {**feed, image: near})[0], positions, slack)
    equal = x.size <= SMALL
    for at in {tuple(map(int, position)) for position in positions.reshape(base.size, -1)} if base.size else ():
        box = report.region(end.node, (*at, *[0] * (len(dims) - len(at)))).box
        if at not in read:
            equal = equal and box is None
            continue
        low, high = read[at]
        if box is None or any(a < first or b > last for (first, last), a, b in zip(box, low, high, strict=True)):
            return "outside", f"output {at} reads {low} to {high}, not {box}"
        equal = equal and all(pair == (a, b) for pair, a, b in zip(box, low, high, strict=True))
    return "sampled" if x.size > SMALL else "equal" if equal else "inside", ""


def boxes_read(x, dims, base, run, positions, slack):
    """Return the first and last pixel on each axis that change each position of the output."""
    rng = np.random.default_rng(0)
    pixels = list(np.ndindex(*[x.shape[d] for d in dims]))
    if x.size > SMALL:
        pixels = [pixels[i] for i in rng.choice(len(pixels), min(FEW, len(pixels)), replace=False)]
    high = 9 + 2 * np.abs(x).max() if x.dtype.kind == "f" else 100  # above what is there, for maxima
    read = {}
    for pixel in pixels:
        index = [slice(None)] * x.ndim
        for d, i in zip(dims, pixel, strict=True):
            index[d] = i
        values = x[tuple(index)]
        for new in (rng.uniform(0, 3, values.shape), np.full(values.shape, high)):
            near = x.copy()
            near[tuple(index)] = new.astype(x.dtype)
            moved = run(near)
            if moved.shape != base.shape:
                continue
            changed = (moved != base) & ~((moved != moved) & (base != base))
            if slack:
                changed &= np.abs(moved - base) > slack
            for at in {tuple(map(int, position)) for position in positions[changed]}:
                first, last = read.get(at, (pixel, pixel))
                read[at] = tuple(map(min, first, pixel)), tuple(map(max, last, pixel))
    return read


@cache
def results():
    """Return name, operator, how it compares and why of every case."""
    found = []
    for name, image, model, evaluated, feed in node_cases():
        try:
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                how, why = compared(image, model, evaluated, feed)
        except (ModelFileError, SizeError) as error:
            how, why = "refused", str(error)
        found.append((name, model.graph.node[0].op_type, how, why))
    return found


#: Cases that are not known, by operator, and why; those of an operator that is not listed fail the test.
UNKNOWN = {
    "Col2Im": "the axes that it works on cannot be told apart",  # its columns are no axis of a map
    "CumSum": "its axis depend on what the network computes",
    "Einsum": "takes a diagonal",
    "FlexAttention": "it runs graphs of its own on the scores",
    "Gather": "which positions it takes is not known",
    "OneHot": "its depth depend on what the network computes",
    "Reshape": "its shape cuts through positions",
    "Resize": "its scale makes no whole size|keeping its aspect ratio|half_pixel_symmetric",
    "Scan": "it is a Scan of opset 8",
    "STFT": "which an op before it mixed",
    "Constant": "it slices a dimension that carries several axes",  # the body of a RotaryEmbedding of one tensor
}


def test_nothing_is_read_outside_of_a_region():
    assert [case for case in results() if case[2] == "outside"] == []


#: Of an op that is followed where what it needs is in the file.
COMPUTED = "what the network computes"


def test_what_is_not_known_says_why():
    for name, op, how, why in results():
        if how == "unknown":
            assert any(phrase in why for phrase in (COMPUTED, *UNKNOWN.get(op, COMPUTED).split("|"))), (name, why)


def test_counts_can_only_get_better():
    counts = Counter(how for _, _, how, _ in results())
    # Measured with onnx 1.23; another release has other cases, of which as large a share must hold.
    total = sum(counts.values())
    assert total > 1000
    assert counts["equal"] / total >= 0.77
    assert (counts["equal"] + counts["inside"] + counts["sampled"] + counts["global"]) / total >= 0.95
    assert counts["unknown"] <= 29
    assert counts["unevaluated"] <= 10
    assert counts["refused"] <= 18  # nothing depends on an input, or a tensor is empty


def test_operators_of_space_have_the_region_itself():
    by_op = defaultdict(Counter)
    for _, op, how, _ in results():
        by_op[op][how] += 1
    for op in (
        "Conv", "ConvTranspose", "MaxPool", "AveragePool", "LpPool", "GlobalAveragePool", "DepthToSpace",
        "SpaceToDepth", "Slice", "Transpose", "Split", "Squeeze", "Unsqueeze", "Upsample", "Tile", "Expand",
    ):  # fmt: skip
        assert by_op[op], op
        assert set(by_op[op]) <= {"equal", "sampled"}, (op, by_op[op])
