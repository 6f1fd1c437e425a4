"""PyTorch's operators on patches of a map, and what puts patches and maxima back; they register with ``HANDLERS``."""

from __future__ import annotations

from math import prod

from rfgraph.importers import program
from rfgraph.importers.program import Builder, Dim, Value
from rfgraph.importers.spelling import UnspelledError, shape_of, whole_number
from rfgraph.importers.spelling.sampling import at_each, read_whole
from rfgraph.importers.torch.nodes import HANDLERS, Made, Node
from rfgraph.importers.torch.windows import last_dims


@HANDLERS.handles("unfold")
def _unfold(node: Node, build: Builder) -> Made:
    d, size = node.dim("dimension"), node.integer("size")
    window = program.Slide(
        function="max_pool", dims=(d,), kernel=(size,), stride=(node.integer("step"),), padding=((0, 0),),
        dilation=(1,), apart=True,
    )  # fmt: skip
    slid = build(window, node.x, part="windows")
    wide = build(program.Unsqueeze(dims=(node.rank,)), slid, part="element")
    return build(program.Expand(shape=(*shape_of(slid), size)), wide)


@HANDLERS.handles("im2col")
def _im2col(node: Node, build: Builder) -> Made:
    kernel = node.integers("kernel_size", 2)
    dims, channel = last_dims(node, 2)
    columns = node.shape[channel] * prod(kernel)
    window = program.Slide(
        function="conv", dims=dims, kernel=kernel, stride=node.integers("stride", 2, 1),
        padding=tuple((amount, amount) for amount in node.integers("padding", 2, 0)),
        dilation=node.integers("dilation", 2, 1), channel=channel, channels=columns, apart=True,
    )  # fmt: skip
    slid = build(window, node.x, macs=0)
    grid = shape_of(slid)
    return build(program.Reshape(shape=(*grid[:channel], columns, grid[dims[0]] * grid[dims[1]])), slid, part="columns")


@HANDLERS.handles("col2im")
def _col2im(node: Node, build: Builder) -> Made:
    """Patches added up where they lie: a transposed convolution of their grid."""
    kernel, size = node.integers("kernel_size", 2), node.integers("output_size", 2)
    stride, padding = node.integers("stride", 2, 1), node.integers("padding", 2, 0)
    dilation = node.integers("dilation", 2, 1)
    channel = node.rank - 2
    channels = whole_number("channels", node.shape[channel])
    spans = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
    grid = tuple((size[i] + 2 * padding[i] - spans[i]) // stride[i] + 1 for i in range(2))
    if channels % prod(kernel) or node.shape[-1] != prod(grid):
        raise ValueError(f"its {node.shape[-1]} patches of {channels} channels are not those of a map of {list(size)}")
    laid = build(program.Reshape(shape=(*node.shape[:-1], *grid)), node.x, part="grid")
    extra = tuple(size[i] - ((grid[i] - 1) * stride[i] - 2 * padding[i] + spans[i]) for i in range(2))
    primitive = program.SlideTransposed(
        dims=(channel + 1, channel + 2), kernel=kernel, stride=stride,
        padding=tuple((amount, amount) for amount in padding), output_padding=extra, dilation=dilation,
        channel=channel, channels=channels // prod(kernel), apart=True,
    )  # fmt: skip
    return build(primitive, laid, macs=0)


@HANDLERS.handles("max_unpool2d", "max_unpool3d")
def _max_unpool(node: Node, build: Builder) -> Made:
    """Maxima put back where they were found: what may lie at a position are those of the windows that cover it.

    Where the indices are not those of a pooling that is at hand, they may point anywhere.
    """
    axes = 2 if node.op == "max_unpool2d" else 3
    dims, _ = last_dims(node, axes)
    indices, size = node.tensor("indices"), node.integers("output_size", axes)
    pool = next((step.primitive for step in build.instructions if step.output.name == indices.name), None)
    if not isinstance(pool, program.Slide) or pool.function != "max_pool" or isinstance(pool.padding, str):
        read = read_whole(build, node.x, (*node.shape[:-axes], *(1,) * axes), "" if indices.constant else "read")
        where = indices if indices.constant else read_whole(build, indices, (1,) * node.rank, "indices")
        return at_each(build, read, where, (*node.shape[:-axes], *size))
    before = [whole_number("size", node.shape[d]) for d in dims]
    spans = [d * (k - 1) + 1 for d, k in zip(pool.dilation, pool.kernel, strict=True)]
    extra = tuple(size[i] - ((before[i] - 1) * pool.stride[i] - sum(pool.padding[i]) + spans[i]) for i in range(axes))
    if any(more < 0 for more in extra):
        raise UnspelledError(f"its output {list(size)} is smaller than its windows cover")
    both = build(program.Pointwise(function="where"), node.x, indices, part="maxima")
    primitive = program.SlideTransposed(
        dims=dims, kernel=pool.kernel, stride=pool.stride, padding=pool.padding, output_padding=extra,
        dilation=pool.dilation, bound="a position holds the maximum of one window at most",
    )  # fmt: skip
    return build(primitive, both)


@HANDLERS.handles("affine_grid_generator")
def _affine_grid(node: Node, build: Builder) -> Made:
    """Coordinates, each of which reads the whole matrix of its image."""
    size = node.sizes("size")
    shape: tuple[Dim, ...] = (size[0], *size[2:], len(size) - 2)
    if node.x.constant:
        return build.weight(shape, node.name)
    batch = tuple(range(1, node.rank))
    read: Value = build(program.Reduce(function="at", dims=batch), node.x, part="matrix")
    read = build(program.Reshape(shape=(node.shape[0], *(1,) * (len(size) - 1))), read, part="laid")
    return build(program.Expand(shape=shape), read)
