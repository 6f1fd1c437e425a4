"""What the engine must agree with: slow, obvious, and without a line of its code.

Ops are read from the attributes of the networkx graph, taps are listed one by one, sets are followed position by
position.
"""

from __future__ import annotations

from fractions import Fraction
from functools import cache
from itertools import product
from math import ceil, floor

import networkx as nx

WIDE = 60  # how far round a position a tap is looked for


#: Ops whose stride is their kernel where they state none; that of any other is 1.
KERNEL_IS_STRIDE = {"max_pool", "avg_pool", "lp_pool"}


def attribute(attributes, name, axis, default=None):
    value = attributes.get(name, default)
    if isinstance(value, (list, tuple)):
        return value[axis]
    return value


def pads_of(attributes, axis, size):
    """Padding before and after."""
    value = attribute(attributes, "padding", axis, 0)
    if value == "valid":
        return 0, 0
    if value in ("same", "same_upper", "same_lower"):
        span = span_of(attributes, axis)
        stride = stride_of(attributes, axis)
        if attributes["op"] == "conv_transpose":
            total = max(span - stride, 0)
        elif stride == 1:
            total = span - 1
        else:
            outputs = ceil(Fraction(size, stride))
            total = max((outputs - 1) * stride + span - size, 0)
        small, large = total // 2, total - total // 2
        return (large, small) if value == "same_lower" else (small, large)
    return tuple(value) if isinstance(value, (list, tuple)) else (value, value)


def stride_of(attributes, axis):
    default = attribute(attributes, "kernel", axis) if attributes["op"] in KERNEL_IS_STRIDE else 1
    return attribute(attributes, "stride", axis, default)


def span_of(attributes, axis):
    kernel, dilation = attribute(attributes, "kernel", axis), attribute(attributes, "dilation", axis, 1)
    return max(t * dilation for t in range(kernel)) + 1


def taps(attributes, axis, y, sizes=None, slot=0):
    """The positions of input ``slot`` that output ``y`` reads along ``axis``; borders are not cut."""
    op = attributes["op"]
    size = sizes[slot] if sizes else None
    if "kernel" in attributes and op != "conv_transpose":
        before = pads_of(attributes, axis, size)[0]
        dilation = attribute(attributes, "dilation", axis, 1)
        start = y * stride_of(attributes, axis) - before
        return {start + dilation * t for t in range(attribute(attributes, "kernel", axis))}
    if op == "conv_transpose":
        before = pads_of(attributes, axis, size)[0]
        stride, dilation = stride_of(attributes, axis), attribute(attributes, "dilation", axis, 1)
        written = {dilation * t for t in range(attribute(attributes, "kernel", axis))}
        return {i for i in range(y // stride - WIDE, y // stride + WIDE) if y + before - stride * i in written}
    if op == "resize":
        scale = attribute(attributes, "scale", axis)
        scale = Fraction(str(scale)) if scale is not None else Fraction(attribute(attributes, "size", axis), size)
        x = y / scale
        if attributes.get("coordinates", "half_pixel") == "half_pixel":
            x = (y + Fraction(1, 2)) / scale - Fraction(1, 2)
        if attributes.get("coordinates") == "align_corners":
            x = Fraction(y * (size - 1), attribute(attributes, "size", axis) - 1)
        near = range(floor(x) - 3, floor(x) + 5)
        mode = attributes.get("mode", "nearest")
        if mode == "nearest":
            rule = attributes.get("nearest_mode", "round_prefer_floor")
            if rule == "floor":
                return {max(i for i in near if i <= x)}
            if rule == "ceil":
                return {min(i for i in near if i >= x)}
            ties = sorted(near, key=lambda i: (abs(x - i), i if rule == "round_prefer_floor" else -i))
            return {ties[0]}
        wide = max(1 / scale, 1) if attributes.get("antialias") else 1
        radius = {"linear": 1, "cubic": 2, "lanczos3": 3, "lanczos5": 5, "gaussian": 1.5}[mode]
        distances = {i: abs(x - i) / wide for i in range(floor(x - radius * wide), floor(x + radius * wide) + 2)}
        # The weight at every whole distance but 0 is 0, unless the kernel is a Gaussian.
        everywhere = mode == "gaussian"
        return {i for i, d in distances.items() if d < radius and (everywhere or not d or d % 1)}
    if op == "depth_to_space":
        return {floor(Fraction(y, attribute(attributes, "block", axis)))}
    if op == "space_to_depth":
        block = attribute(attributes, "block", axis)
        return {y * block + i for i in range(block)}
    if op in ("pad", "crop"):
        padded = y - pads_of(attributes, axis, size)[0]
        mode = attributes.get("mode", "constant")
        if mode == "constant" or not size:
            return {padded}
        lap = list(range(size))
        lap = {
            "edge": [0] * 40 + lap + [size - 1] * 40,
            "reflect": (lap + lap[-2:0:-1]) * 40 + lap + (lap[-2:0:-1] + lap) * 40,
            "symmetric": (lap + lap[::-1]) * 40 + lap + (lap[::-1] + lap) * 40,
            "wrap": lap * 80,
        }[mode]
        at = {
            "edge": 40,
            "reflect": (2 * size - 2) * 40 if size > 1 else 40,
            "symmetric": 2 * size * 40,
            "wrap": size * 40,
        }
        return {lap[at[mode] + padded]}
    if op == "slice":
        start = attribute(attributes, "start", axis, 0) or 0
        if start and attribute(attributes, "turned", axis):
            start %= size
        if start < 0:
            start = max(size + start, 0)
        return {y * (attribute(attributes, "step", axis, 1) or 1) + start}
    if op == "gather" and (table := (attributes.get("positions") or [None] * 9)[axis]) is not None:
        turns, place = divmod(y, len(table))
        source = attribute(attributes, "source_size", axis)
        return set() if table[place] is None else {table[place] + turns * source}
    if op in ("adaptive_avg_pool", "adaptive_max_pool") and attribute(attributes, "size", axis) is not None:
        outputs = attribute(attributes, "size", axis)
        return set(range(floor(Fraction(y * size, outputs)), ceil(Fraction((y + 1) * size, outputs))))
    if op in ("global_avg_pool", "global_max_pool", "dense") and attribute(attributes, "mixes", axis, True):
        return set(range(size))
    if op in ("recurrent", "attention", "cumsum"):
        if not attribute(attributes, "mixes", axis, True):
            return {y}
        own = set() if attributes.get("exclusive") else {y}
        default = "forward" if op == "cumsum" else "both"
        end = y + WIDE if size is None else size  # on a plane it goes on for as far as is looked
        start = y - WIDE if size is None else 0
        sides = {"forward": range(start, y), "backward": range(y + 1, end), "both": range(start, end)}
        return own | set(sides[attributes.get("direction", default)])
    if op == "concat" and attributes.get("axis", "channels") == axis:
        return {y - sum(sizes[:slot])}
    if op in ("add", "mul") and sizes and sizes[slot] == 1:
        return {0}  # broadcast
    return {y}


def output_size(attributes, axis, sizes):
    """Size of the map, by counting the outputs there are."""
    op, size = attributes["op"], sizes[0] if sizes else None
    if op == "input":
        return attribute(attributes, "size", axis)
    if "kernel" in attributes and op != "conv_transpose":
        before, after = pads_of(attributes, axis, size)
        stride, span = stride_of(attributes, axis), span_of(attributes, axis)
        end = size + before + after
        # With ceil_mode a last window may hang over the end by less than a stride, but not start in the padding after.
        ceil_mode = attributes.get("ceil_mode")
        over = stride - 1 if ceil_mode else 0
        count = 0
        while count * stride + span <= end + over:
            count += 1
        if ceil_mode and count and (count - 1) * stride >= size + before:
            count -= 1
        return count
    if op == "conv_transpose":
        stride, span = stride_of(attributes, axis), span_of(attributes, axis)
        if isinstance(attributes.get("padding"), str) and attributes["padding"] != "valid":
            return size * stride + attribute(attributes, "output_padding", axis, 0)
        before, after = pads_of(attributes, axis, size)
        written = {stride * i + t for i in range(size) for t in range(span)}
        return max(written) + 1 - before - after + attribute(attributes, "output_padding", axis, 0)
    if op == "resize":
        scale = attribute(attributes, "scale", axis)
        return attribute(attributes, "size", axis) if scale is None else floor(size * Fraction(str(scale)))
    if op == "depth_to_space":
        return size * attribute(attributes, "block", axis)
    if op == "space_to_depth":
        return size // attribute(attributes, "block", axis)
    if op in ("pad", "crop"):
        return size + sum(pads_of(attributes, axis, size))
    if op == "slice":
        step = attribute(attributes, "step", axis, 1) or 1
        ends = [attribute(attributes, name, axis) for name in ("start", "stop")]
        if attribute(attributes, "turned", axis):
            ends = [None if end is None else end % size for end in ends]
        return len(list(range(size))[ends[0] : ends[1] : step])
    if op == "gather" and (table := (attributes.get("positions") or [None] * 9)[axis]) is not None:
        return len(table)
    if op in ("adaptive_avg_pool", "adaptive_max_pool"):
        outputs = attribute(attributes, "size", axis)
        return size if outputs is None else outputs
    if op in ("global_avg_pool", "global_max_pool", "dense") and attribute(attributes, "mixes", axis, True):
        return 1
    if op == "concat" and attributes.get("axis", "channels") == axis:
        return sum(sizes)
    return max(sizes)


def inputs_of(graph, node):
    """Tails in slot order."""
    edges = [(edge.get("slot", 0), tail) for tail, _, edge in graph.in_edges(node, data=True)]
    return [tail for _, tail in sorted(edges, key=lambda pair: pair[0])]


def unclipped(graph, node, source, axis, y):
    """All positions of ``source`` that output ``y`` of ``node`` reads, on a plane without borders."""

    @cache
    def follow(v, position):
        if v == source:
            return frozenset({position})
        found = set()
        for slot, tail in enumerate(inputs_of(graph, v)):
            for i in taps(graph.nodes[v], axis, position, slot=slot):
                found |= follow(tail, i)
        return frozenset(found)

    return follow(node, y)


def all_sizes(graph, axes):
    """Node -> map size per axis."""
    sizes = {}
    for v in nx.topological_sort(graph):
        tails = inputs_of(graph, v)
        sizes[v] = tuple(output_size(graph.nodes[v], axis, [sizes[t][axis] for t in tails]) for axis in range(axes))
    return sizes


def clipped(graph, node, source, index):
    """All pixels of ``source`` that feature ``index`` of ``node`` reads; positions outside a map are not there."""
    axes = len(index)
    sizes = all_sizes(graph, axes)

    @cache
    def follow(v, place):
        if v == source:
            return frozenset({place})
        found = set()
        tails = inputs_of(graph, v)
        for slot, tail in enumerate(tails):
            per_axis = []
            for axis in range(axes):
                read = taps(graph.nodes[v], axis, place[axis], [sizes[t][axis] for t in tails], slot)
                if graph.nodes[v]["op"] == "resize":
                    read = {min(max(i, 0), sizes[tail][axis] - 1) for i in read}
                per_axis.append([i for i in read if 0 <= i < sizes[tail][axis]])
            for i in product(*per_axis):
                found |= follow(tail, i)
        return frozenset(found)

    return follow(node, tuple(index))
