"""PyTorch's operators on patches of a map, and what puts patches and maxima back; they register with ``HANDLERS``."""

from __future__ import annotations

from typing import Any

from rfgraph.importers import program
from rfgraph.importers.program import Builder, Dim, Value
from rfgraph.importers.spelling import UnspelledError, shape_of, whole_number
from rfgraph.importers.spelling.patches import added_up, columns
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
    return columns(build, node.x, node.rank - 3, **_patches(node))


@HANDLERS.handles("col2im")
def _col2im(node: Node, build: Builder) -> Made:
    return added_up(build, node.x, node.integers("output_size", 2), **_patches(node))


def _patches(node: Node) -> dict[str, Any]:
    return {
        "kernel": node.integers("kernel_size", 2),
        "stride": node.integers("stride", 2, 1),
        "dilation": node.integers("dilation", 2, 1),
        "padding": [(amount, amount) for amount in node.integers("padding", 2, 0)],
    }


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
