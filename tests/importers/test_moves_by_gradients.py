"""Random programs of moves as torch modules, in float64: what gradients say their outputs read, and what is told."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from test_moves import check_against, moving_programs

import rfgraph
from rfgraph.errors import ModelFileError
from rfgraph.importers import program as p
from rfgraph.importers.lowering.lower import layout_of, lower

torch = pytest.importorskip("torch")


class Written(torch.nn.Module):
    """A program of moves and convolutions; every weight is positive, so that nothing cancels."""

    def __init__(self, program):
        super().__init__()
        self.program = program
        self.layers = torch.nn.ModuleDict()
        for step in program.instructions:
            op = step.primitive
            layer = None
            if isinstance(op, p.Slide) and op.channel is not None:
                layer = torch.nn.Conv2d(
                    step.inputs[0].shape[1], op.channels, op.kernel, op.stride, (0, 0), op.dilation, op.groups
                )
            if isinstance(op, p.SlideTransposed):
                layer = torch.nn.ConvTranspose2d(
                    step.inputs[0].shape[1], op.channels, op.kernel, op.stride, groups=op.groups
                )
            if layer is not None:
                for parameter in layer.parameters():
                    torch.nn.init.uniform_(parameter, 0.5, 1.0)
                self.layers[step.output.name] = layer

    def forward(self, x):
        values = {self.program.inputs[0].name: x}
        for step in self.program.instructions:
            operands = [self.held(value, x) if value.constant else values[value.name] for value in step.inputs]
            values[step.output.name] = self.run(step, *operands)
        return values[self.program.outputs[0].name]

    def held(self, value, x):
        if value.numbers is not None:
            return torch.from_numpy(np.array(value.numbers.look())).to(x)
        return value if value.data is not None else x.new_zeros(value.shape)

    def run(self, step, x, *others):
        op = step.primitive
        match op:
            case p.Pointwise(function="relu"):
                return torch.relu(x)
            case p.Pointwise(function="add"):
                return x + others[0]
            case p.Pointwise(function="mul"):
                return x * others[0]
            case p.Contract():
                (own, by), output = op.operands, op.output
                return torch.einsum(f"{''.join(own)},{''.join(by)}->{''.join(output)}", x, others[0])
            case p.Reduce():
                return x.sum(op.dims, keepdim=op.keepdims)
            case p.Slide():
                (top, bottom), (left, right) = op.padding
                x = torch.nn.functional.pad(x, (left, right, top, bottom))
                if op.channel is None:  # the maximum of a window has a gradient at one position alone
                    return torch.nn.functional.avg_pool2d(x, op.kernel, op.stride)
                return self.layers[step.output.name](x)
            case p.SlideTransposed():
                (top, bottom), (left, right) = op.padding
                y = self.layers[step.output.name](x)
                return y[:, :, top : y.shape[2] - bottom, left : y.shape[3] - right]
            case p.Resize():
                mode = "nearest" if op.mode == "nearest" else "bilinear"
                return torch.nn.functional.interpolate(x, op.sizes, mode=mode)
            case p.Reshape():
                return x.reshape(op.shape)
            case p.Transpose():
                return x.permute(op.permutation)
            case p.Unsqueeze():
                return x.unsqueeze(op.dims[0])
            case p.Squeeze():
                return x.squeeze(op.dims[0])
            case p.Expand():
                return x.expand(op.shape)
            case p.Roll():
                return torch.roll(x, op.shift, op.dim)
            case p.Slice(steps=(-1,)):
                return x.flip(op.dims[0])
            case p.Slice():
                index = [slice(None)] * x.ndim
                index[op.dims[0]] = slice(op.starts[0], op.stops[0], op.steps[0])
                return x[tuple(index)]
            case p.Take():
                rows = torch.from_numpy(np.array(step.inputs[1].data.elements, dtype=np.int64))
                return x[(*[slice(None)] * op.dim, rows)] if rows.ndim else x.select(op.dim, int(rows))
            case p.Concat():
                return torch.cat([x, *others], op.dim)
            case p.Pad(mode=mode) if mode != "constant":
                for d, amounts in enumerate(op.amounts):
                    x = x.index_select(d, torch.from_numpy(np.pad(np.arange(x.shape[d]), amounts, mode=mode)))
                return x
            case p.Pad():
                return torch.nn.functional.pad(x, [amount for pair in reversed(op.amounts) for amount in pair])
            case p.SpaceToDepth():
                n, c, h, w = x.shape
                return x.reshape(n, c, h // 2, 2, w // 2, 2).permute(0, 3, 5, 1, 2, 4).reshape(n, -1, h // 2, w // 2)
            case p.DepthToSpace():
                n, c, h, w = x.shape
                return x.reshape(n, 2, 2, c // 4, h, w).permute(0, 3, 4, 1, 5, 2).reshape(n, c // 4, 2 * h, 2 * w)
        raise NotImplementedError(type(op).__name__)


def masks_of(model, shape, spatial):
    """Return what each element of the output reads, as ``tests/masks.py`` writes it, from gradients."""
    x = torch.ones(shape, dtype=torch.float64, requires_grad=True)
    y = model(x)
    masks = np.empty(y.shape, dtype=object)
    rest = tuple(d for d in range(len(shape)) if d not in spatial)
    for index in np.ndindex(*y.shape):
        if not y.requires_grad:
            masks[index] = 0
            continue
        (gradient,) = torch.autograd.grad(y[index], x, retain_graph=True)
        read = gradient.abs().amax(rest).permute(np.argsort(np.argsort(spatial)).tolist())
        masks[index] = sum(1 << int(bit) for bit in np.flatnonzero(read.numpy()))
    return masks


@settings(max_examples=50)
@given(moving_programs(elements=120))
def test_random_moves_agree_with_gradients(program):
    try:
        found = layout_of(program)
    except ModelFileError:
        return
    model = Written(program).double()
    name = program.outputs[0].name
    check_against(program, found, lambda spatial: {name: masks_of(model, program.inputs[0].shape, spatial)})


@settings(max_examples=10)
@given(moving_programs(elements=120))
def test_random_moves_are_read_alike_from_torch(program):
    try:
        report = rfgraph.analyze(lower(program))
    except ModelFileError:
        return
    told = report[next(iter(report.outputs))]
    seen = rfgraph.analyze(Written(program), example=program.inputs[0].shape)
    live = seen[next(iter(seen.outputs))]
    if "unknown" in (told.status, live.status):
        return
    if live.axes != told.axes:  # a dimension of size 1, or of channels, is an axis in one reading alone
        return
    if live.map_size != told.map_size:
        # Blocks laid into channels: one reading has the map of blocks, the other that of the positions inside them.
        both = zip(live.map_size, told.map_size, strict=True)
        assert all(max(sizes) % min(sizes) == 0 for sizes in both if None not in sizes)
    if told.status == live.status == "exact" and not any((*told.is_global, *live.is_global)):
        assert read_by_all(seen, live) == read_by_all(report, told)
        if live.map_size == told.map_size:
            assert (live.size, live.stride) == (told.size, told.stride)


def read_by_all(report, layer):
    """The box of pixels that the features of a layer read together."""
    boxes = [report.region(layer.name, index).box for index in np.ndindex(*layer.map_size)]
    read = [box for box in boxes if box is not None]
    return [(min(a for a, _ in ends), max(b for _, b in ends)) for ends in zip(*read, strict=True)]
