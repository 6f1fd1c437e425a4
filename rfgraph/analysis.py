"""The public entry: load, compile, run the passes, and hand out what they found."""

from __future__ import annotations

import os
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, get_args

import networkx as nx

from rfgraph import importers
from rfgraph.algebra.residues import InputSizes
from rfgraph.algebra.window import Interval, Window
from rfgraph.errors import AttributeValueError, EndpointError, ModelFileError, UnboundedError, UnknownFieldError
from rfgraph.fast.affine_walk import Plain, solve
from rfgraph.fast.numbers import Numbers
from rfgraph.graph.costs import Costs, Total
from rfgraph.graph.network import BatchNorm, Layers, Network
from rfgraph.graph.sizes import InputSize
from rfgraph.graph.treatments import Treat, Treatment, chosen
from rfgraph.ops import Size
from rfgraph.ops.costs import Cost
from rfgraph.passes import fields as engine
from rfgraph.passes.compiled import Compiled, compile_graph, compile_layers
from rfgraph.passes.results import Fields
from rfgraph.questions import context, productivity
from rfgraph.questions import support as supports
from rfgraph.questions.alignment import Mode, center_spread, find, is_off, unchecked
from rfgraph.questions.context import GlobalContext
from rfgraph.questions.findings import Finding, worst_first
from rfgraph.questions.layers import Layer, Region, Trace
from rfgraph.questions.misalignment import SizeDependent, common_sizes
from rfgraph.questions.productivity import Productivity, Unproductive

if TYPE_CHECKING:
    from rfgraph.passes.by_size import Solution
    from rfgraph.passes.extents import Regions
    from rfgraph.passes.size_rule import SizeRule
    from rfgraph.questions.features import Features, How, Pixel
    from rfgraph.questions.paths import Paths
    from rfgraph.questions.support import Support

#: A network graph, a ``Network``, or what names one: a file, ``zoo:NAME``, ``path/to/file.py:function``.
Model = Any


class Report(Mapping[Hashable, Layer]):
    """What an analysis found: a mapping from node name to ``Layer``, in topological order, and the findings.

    ``rfgraph.analyze`` makes it.
    """

    def __init__(
        self,
        network: Compiled | Plain,
        source: Hashable | None,
        modes: Sequence[Mode],
        graph: nx.DiGraph[Any] | None = None,
    ) -> None:
        self._network = network
        self._graph = graph
        self._source_name = source
        self._modes = modes

    @cached_property
    def _plain(self) -> Plain | None:
        """The network, where it is a plain one: what that does not tell is worked out when first asked."""
        return self._network if isinstance(self._network, Plain) else None

    @cached_property
    def _compiled(self) -> Compiled:
        if isinstance(self._network, Plain):
            return compile_layers(self._layers, self._network.input_size)
        return self._network

    @cached_property
    def _layers(self) -> Layers:
        return self._network.layers() if isinstance(self._network, Plain) else self._network.layers

    @cached_property
    def _sizes(self) -> list[tuple[Size, ...]]:
        return self._network.sizes() if isinstance(self._network, Plain) else self._network.sizes

    @cached_property
    def _source(self) -> int:
        return self._layers.source(self._source_name)

    @cached_property
    def _fields(self) -> list[Fields]:
        return self._compiled.per_axis(lambda axis: engine.forward(self._compiled, axis, self._source))

    @cached_property
    def costs(self) -> Costs:
        """What each layer holds and takes: a mapping from node name."""
        return Costs(lambda: (self._layers, self._sizes), self._graph)

    def __getitem__(self, node: Hashable) -> Layer:
        if self._plain is not None and self._plain.has_no_holes and node in self._plain.states:
            field, frames = self._plain.field(node), self._plain.frames(node)
            kind, location = self._plain.kind(node), self._location(node)
            map_size, is_global = tuple(f.map_size for f in frames), tuple(f.is_global for f in frames)
            return Layer(
                node, kind, self.axes, map_size, field, is_global, location=location, costs=self.costs,
                side=tuple("both" if whole else "" for whole in is_global),
            )  # fmt: skip
        v = self._layers.id_of(node)
        layer = _layer(self._compiled, v, self._fields, self.costs)
        if location := self._location(node):
            layer = replace(layer, location=location)
        if not any(field.kind == "unknown" for field in layer.field):
            return layer
        return replace(
            layer,
            field=tuple(f if s is None else s.window(v, f) for s, f in zip(self._solutions, layer.field, strict=True)),
            by_size=tuple(None if s is None else s.by_size(v) for s in self._solutions),
        )

    def __iter__(self) -> Iterator[Hashable]:
        return iter(self._layers.nodes if self._plain is None else self._plain.nodes)

    def __len__(self) -> int:
        return len(self._layers.nodes if self._plain is None else self._plain.states)

    def __contains__(self, node: object) -> bool:
        return node in (self._layers.ids if self._plain is None else self._plain.states)

    def __repr__(self) -> str:
        return (
            f"<Report of {self.name!r}: {len(self)} nodes, axes {', '.join(self.axes)}, {len(self.findings)} findings>"
        )

    @cached_property
    def _solutions(self) -> list[Solution | None]:
        """Fields by residue of the input size, for axes on which no size is given and it decides."""
        if not any(field.kind == "unknown" for fields in self._fields for field in fields.local):
            return [None] * len(self.axes)
        from rfgraph.passes.by_size import solve  # numpy is imported when it is first needed

        source = self._source
        return self._compiled.per_axis(lambda axis: solve(self._compiled, axis, source, self._fields[axis]))

    def _location(self, node: Hashable) -> str:
        """Return where the code calls a node, as the graph tells, empty if it does not."""
        if self._graph is None or node not in self._graph:
            return ""
        return str(self._graph.nodes[node].get("location", ""))

    @property
    def name(self) -> str:
        """Name of the network."""
        return self._layers.name if self._plain is None else self._plain.name

    @property
    def axes(self) -> tuple[str, ...]:
        """Names of the spatial axes."""
        return self._layers.axes if self._plain is None else self._plain.axes

    @property
    def source(self) -> Hashable:
        """The node in whose indices all fields are given."""
        return self._layers.nodes[self._source] if self._plain is None else self._plain.source

    @cached_property
    def outputs(self) -> tuple[Hashable, ...]:
        """The last maps that still have spatial axes: the default outputs."""
        return tuple(self._layers.nodes[v] for v in self._outputs)

    @cached_property
    def _outputs(self) -> list[int]:
        return _outputs(self._layers)

    @cached_property
    def findings(self) -> tuple[Finding, ...]:
        """What does not line up, worst first."""
        plain, suspects = self._plain, self._suspects
        misaligned: list[Finding] = []
        if suspects is None or suspects:
            misaligned = find(self._compiled, self._fields, self._source, self._modes, self._solutions, suspects)
        whole: list[GlobalContext] = []
        if plain is None or (
            plain.has_global and any(f.is_global for node in self.outputs for f in plain.frames(node))
        ):
            whole = context.find(self._compiled, self._fields, self._outputs)
        holes: list[Finding] = []
        if plain is None or not plain.has_no_holes:
            holes = supports.find(self._compiled, self._fields, self._source, self._outputs)
        found = worst_first([*misaligned, *self._unproductive, *whole, *holes])
        located = [(finding, self._location(finding.node)) for finding in found]
        return tuple(replace(finding, location=location) if location else finding for finding, location in located)

    @property
    def aligned(self) -> bool | None:
        """Whether all merges line up; ``None`` where some cannot be checked, as when it depends on the input size."""
        if self._plain is not None and "causal" not in self._modes:
            return not any(
                is_off(sides, mode)
                for merge in self._plain.misaligned
                for sides, mode in zip(self._plain.branches(merge), self._modes, strict=True)
            )
        serious = [finding for finding in self.findings if finding.severity != "note"]
        if any(not isinstance(finding, SizeDependent) for finding in serious):
            return False
        if any(sizes is not None and not sizes.residues for sizes in self.aligned_sizes):
            return False
        return None if serious or self.unchecked or self.ends_unknown else True

    @property
    def ends_unknown(self) -> bool:
        """Whether an op that no one knows leads to an output: what it merges cannot be checked."""
        unknown: list[bool] = []
        for ops, tails in zip(self._layers.ops, self._layers.tails, strict=True):
            unknown.append(not ops[0].is_known or any(unknown[tail] for tail in tails))
        return any(unknown[v] for v in self._outputs)

    @property
    def _suspects(self) -> list[int] | None:
        """Node ids of the merges that may not line up, where the walk over a plain network tells."""
        if self._plain is None or "causal" in self._modes:
            return None
        return [self._layers.id_of(merge) for merge in self._plain.misaligned]

    def numbers(self) -> Numbers:
        """Return size, stride and padding of the fields of all nodes as arrays, fast and small on large networks.

        Examples
        --------
        >>> net = Network("two", axes=1)
        >>> last = net.conv("last", net.conv("first", net.input("x"), kernel=3, stride=2, padding=1), kernel=5)
        >>> numbers = analyze(net).numbers()
        >>> numbers.nodes, numbers.size[:, 0].tolist(), numbers.stride[:, 0].tolist(), numbers.padding[:, 0].tolist()
        (('x', 'first', 'last'), [1, 3, 11], [1, 2, 2], [0, 1, 1])
        """
        if self._plain is not None:
            return self._plain.numbers()
        from rfgraph.fast.field_arrays import of_fields  # numpy is imported when it is first needed

        return of_fields(tuple(self), self.axes, self._fields)

    def aligned_when(self, input_size: InputSize) -> bool | None:
        """Return whether all merges line up at an input size; ``None`` where some cannot be checked even so.

        Parameters
        ----------
        input_size
            As for ``analyze``.

        Raises
        ------
        SizeError
            If the network does not work at that size.

        Examples
        --------
        >>> report = analyze("zoo:inception_resnet_v2_same")
        >>> report.aligned, report.aligned_when(224)
        (True, True)
        """
        compiled = compile_layers(self._layers, input_size)
        return Report(compiled, self.source, self._modes).aligned

    @cached_property
    def aligned_sizes(self) -> tuple[InputSizes | None, ...]:
        """The input sizes at which all merges line up, per axis, where it depends on the size; else ``None``.

        Examples
        --------
        >>> print(analyze("zoo:xception").aligned_sizes[0])
        n mod 32 is 7 or 8, from 7
        """
        return tuple(
            common_sizes(axis, [f for f in self.findings if isinstance(f, SizeDependent) and axis in f.axes])
            for axis in self.axes
        )

    @cached_property
    def _size_rules(self) -> list[SizeRule]:
        """How the sizes of all maps follow from the input size, per axis; axes of like ops share one."""
        from rfgraph.passes.size_rule import size_rule  # numpy is imported when it is first needed

        return [size_rule(self._layers, axis) for axis in range(len(self.axes))]

    @cached_property
    def input_sizes(self) -> tuple[InputSizes | None, ...]:
        """The input sizes at which the network works, per axis; ``None`` where that cannot be told.

        Examples
        --------
        >>> print(analyze("zoo:unet_2x2").input_sizes[0])
        multiples of 16, from 16
        """
        return tuple(rule.input_sizes for rule in self._size_rules)

    @cached_property
    def unchecked(self) -> tuple[Hashable, ...]:
        """The merges that cannot be checked, because the field of a branch is not known."""
        merges = unchecked(self._compiled, self._fields, self._source, self._solutions)
        return tuple(self._layers.nodes[v] for v in merges)

    @property
    def treated(self) -> tuple[Treatment, ...]:
        """The nodes of which the user said what they read, by ``treat`` or in the graph, in topological order."""
        treated = self._layers.treated
        return tuple(treated[node] for node in self if node in treated) if treated else ()

    @property
    def batch_norm(self) -> BatchNorm:
        """Whether batch normalisation was taken to use trained statistics or those of the whole map."""
        return self._layers.batch_norm

    @property
    def parameters(self) -> Total:
        """Learned numbers of the model: a lower bound where not all layers tell theirs.

        Examples
        --------
        >>> net = Network("two", axes=2)
        >>> out = net.conv("wide", net.conv("c", net.input("x", channels=3), kernel=3, channels=8), kernel=5)
        >>> report = analyze(net, input_size=32)
        >>> report["c"].channels, report["c"].parameters, report["c"].macs
        (8, 216, 194400)
        >>> print(report.parameters, report.parameters.unknown)
        at least 216 ('wide',)
        """
        return self.costs.parameters

    @property
    def macs(self) -> Total:
        """Multiply-accumulates of all convolutions and products, for one input of the size that was given."""
        return self.costs.macs

    def culprits(self, node: Hashable) -> tuple[tuple[Hashable, ...], ...]:
        """Return the ops through which ``node`` reads the whole map, per axis, in topological order.

        There are none on axes where its ``is_global`` is false.

        Parameters
        ----------
        node
            A node.

        Examples
        --------
        >>> net = Network("gated", axes=1)
        >>> x = net.conv("conv", net.input("x"), kernel=3)
        >>> out = net.mul("mul", x, net.sigmoid("gate", net.global_avg_pool("pool", x)))
        >>> report = analyze(net, input_size=32)
        >>> report["mul"].size, report["mul"].is_global, report.culprits("mul")
        ((3,), (True,), (('pool',),))
        """
        v = self._layers.id_of(node)
        found = [context.culprits(self._compiled, fields, axis, v) for axis, fields in enumerate(self._fields)]
        return tuple(tuple(self._layers.nodes[u] for u in blamed) for blamed in found)

    @cached_property
    def productivity(self) -> Productivity:
        """How convolutions and the image fit each other; ``rfgraph.questions.resolution`` answers questions of it."""
        from rfgraph.questions import paths

        if self._plain is not None:
            extremes = self._plain.extremes()
        else:
            compiled, source = self._compiled, self._source
            extremes = compiled.per_axis(lambda axis: paths.extremes(compiled, axis, source))
        judged = productivity.judge(self._layers, self._sizes, extremes, self._source)
        return Productivity(tuple(judged), productivity.resolutions(self._layers.axes, extremes, judged))

    @property
    def _unproductive(self) -> list[Unproductive]:
        if self._plain is not None:
            if not self._plain.may_see_all():
                return []
        elif not productivity.may_exceed(self._compiled, self._fields, self._source):
            return []
        return productivity.find(self.productivity.layers)

    def center_spread(self, node: Hashable) -> tuple[Fraction | None, ...]:
        """Return how far apart the centres of all paths to ``node`` lie, per axis, in pixels of the source.

        0 is the article's alignment condition for all pairs of paths; ``None`` where the node has no local field.
        Where a path upsamples, its centre at each merge is the mean over the output phases.
        """
        v = self._layers.id_of(node)
        return tuple(spread[v] for spread in self._spreads)

    @cached_property
    def _spreads(self) -> list[list[Fraction | None]]:
        return self._compiled.per_axis(lambda axis: center_spread(self._compiled, self._fields[axis], axis))

    def paths(self, layer: Hashable) -> Paths:
        """Return how many paths lead from the source to ``layer``, and how wide their fields are.

        They are counted by dynamic programming, never one by one. Two edges between the same nodes are two paths.

        Parameters
        ----------
        layer
            A node.

        Examples
        --------
        >>> net = Network("block", axes=1)
        >>> x = net.input("x")
        >>> out = net.add("add", x, net.conv("wide", net.conv("c", x, kernel=3), kernel=5))
        >>> paths = analyze(net).paths("add")
        >>> paths.count, paths.axes[0].smallest, paths.axes[0].largest
        (2, 1, 7)
        >>> [(size.smallest, size.count) for size in paths.axes[0].sizes]
        [(1, 1), (7, 1)]
        """
        from rfgraph.questions import paths

        return paths.between(self._compiled, self._source, self._layers.id_of(layer))

    def region(self, layer: Hashable, index: Sequence[int] | int) -> Region:
        """Return the box of source pixels that feature ``index`` of ``layer`` reads.

        With the sizes of all maps known it is cut at the border of every map that it passes, else at none.

        Parameters
        ----------
        layer
            A node.
        index
            Index of the feature, one entry per axis; an int if there is one axis.

        Raises
        ------
        IndexError
            If the index lies outside the map.
        UnknownFieldError
            If the field is not known, or ``layer`` does not depend on the source.
        UnboundedError
            If it reads a whole axis of a size that is not known.
        """
        v = self._layers.id_of(layer)
        place = (index,) if isinstance(index, int) else tuple(index)
        if len(place) != len(self.axes):
            raise IndexError(f"index {place} has {len(place)} entries, but the network has {len(self.axes)} axes")
        for axis, (y, size) in enumerate(zip(place, self._compiled.sizes[v], strict=True)):
            if size is not None and not 0 <= y < size:
                name = self._layers.describe(v, axis)
                raise IndexError(f"{name}: index {y} lies outside its map of size {size}")
        if self._is_clipped(v):
            from rfgraph.passes import regions

            reached = regions.reach(self._compiled, v, place, self._source)
            return Region(layer, place, self.axes, regions.box(reached), True, "exact" if reached.exact else "bound")
        fields = [fields.field(v) for fields in self._fields]
        beyond = [fields.beyond[v] for fields in self._fields]
        intervals = list(map(_unclipped, fields, beyond, place))
        status = self[layer].status
        found = None if None in intervals else tuple(interval for interval in intervals if interval is not None)
        return Region(layer, place, self.axes, found, False, "bound" if status == "bound" else "exact")

    def regions(self, layer: Hashable) -> Regions:
        """Return the boxes of source pixels that all features of ``layer`` read: ``region`` of each, in one pass.

        Parameters
        ----------
        layer
            A node.

        Raises
        ------
        UnknownFieldError
            If some map between the source and ``layer`` has no known size, or some op on the way reads who knows what.
        SizeError
            If a map on the way has more than 2**24 positions along an axis.

        Examples
        --------
        >>> net = Network("two", axes=2)
        >>> last = net.conv("last", net.conv("first", net.input("image"), kernel=3, padding=1), kernel=3, padding=1)
        >>> regions = analyze(net, input_size=(4, 5)).regions("last")
        >>> regions.first.shape, regions.first[0, 3].tolist(), regions.last[0, 3].tolist()
        ((4, 5, 2), [0, 1], [2, 4])
        >>> bool(regions.reads.all())
        True
        """
        from rfgraph.passes import extents

        v = self._layers.id_of(layer)
        if not self._is_clipped(v):
            raise UnknownFieldError(extents.obstacle(self._compiled, v, self._source))
        return extents.reach_all(self._compiled, v, self._source)

    def features(self, layer: Hashable, box: Sequence[Sequence[Pixel]], how: How = "meets") -> Features:
        """Return the features of ``layer`` whose field meets a box of source pixels: the inverse of ``regions``.

        With the sizes of all maps known, fields are cut at the border of every map on the way, and features that read
        nothing but padding are never picked; else the network is taken to go on beyond every border.

        Parameters
        ----------
        layer
            A node.
        box
            One closed interval ``(first, last)`` per axis, in pixels of the source; fractions of pixels too.
        how
            ``"meets"``: the box that the feature reads and the pixel box share a pixel. ``"inside"``: it lies in the
            pixel box. ``"center"``: the centre of its field, as it is without borders, lies in the pixel box.

        Raises
        ------
        AttributeValueError
            If ``box`` has not one interval per axis, or ``how`` is none of the three.
        UnknownFieldError
            If the field is not known, or ``layer`` does not depend on the source.
        UnboundedError
            If a field that reads a whole axis is asked for its centre, or has no borders to end at.

        Examples
        --------
        >>> net = Network("block", axes=1)
        >>> last = net.conv("last", net.input("x"), kernel=3, stride=2, padding=1)
        >>> report = analyze(net, input_size=16)
        >>> report.features("last", [(5, 8)]).box, report.features("last", [(5, 8)], "center").box
        (((2, 4),), ((3, 4),))
        """
        from rfgraph.questions import features

        if how not in get_args(features.How):
            raise AttributeValueError(f"how {how!r} is not one of {', '.join(get_args(features.How))}")
        pixels = features.pixel_box(box, self.axes)
        v = self._layers.id_of(layer)
        fields = [fields.field(v) for fields in self._fields]
        clipped = self._is_clipped(v)
        if how == "center" or not clipped:
            for axis, field in enumerate(fields):
                if field.is_unbounded:
                    name = self._layers.describe(v, axis)
                    raise UnboundedError(
                        f"{name} reads the whole axis, or all to one end of it: its field has no centre and no two ends"
                    )
                if field.is_unknown:
                    raise UnknownFieldError(f"{self._layers.describe(v, axis)} is not known: {field.why}")
        if clipped:
            return features.on_map(layer, self.regions(layer), fields, pixels, how)
        return features.on_plane(layer, self.axes, fields, pixels, how)

    def support(self, layer: Hashable) -> Support:
        """Return which positions inside the hull of its receptive field ``layer`` really reads, and their share.

        Borders are left out, as in the field itself. Paths through ops that read the whole axis are cut.

        Parameters
        ----------
        layer
            A node.

        Raises
        ------
        UnknownFieldError
            If its field is not known, or it does not depend on the source.
        UnboundedError
            If it reads a whole axis and nothing else.

        Examples
        --------
        >>> net = Network("gridding", axes=1)
        >>> last = net.conv("last", net.conv("first", net.input("x"), kernel=3, dilation=2), kernel=3, dilation=2)
        >>> support = analyze(net).support("last")
        >>> support[0].marks.tolist()
        [True, False, True, False, True, False, True, False, True]
        >>> support.coverage
        (Fraction(5, 9),)
        """
        return supports.support(self._compiled, self._fields, self._layers.id_of(layer), self._source)

    def _is_clipped(self, v: int) -> bool:
        """Return whether what ``v`` reads is followed from map to map, and refuse if it is not known at all."""
        from rfgraph.passes import extents  # numpy is imported when it is first needed

        if not self._compiled.between([v], self._source):
            raise UnknownFieldError(f"{self._layers.describe(v)} does not depend on {self.source!r}")
        if not extents.obstacle(self._compiled, v, self._source):
            return True
        for axis, field in enumerate(fields.field(v) for fields in self._fields):
            if field.kind == "unknown":
                raise UnknownFieldError(f"{self._layers.describe(v, axis)} is not known: {field.why}")
        return False


def analyze(
    model: Model,
    input_size: InputSize = None,
    source: Hashable | None = None,
    alignment: str | Sequence[str] = "auto",
    treat: Treat | None = None,
    batch_norm: BatchNorm = "inference",
    example: Any = None,
) -> Report:
    """Return what every feature of a network sees of its input, and every merge whose paths do not line up.

    Parameters
    ----------
    model
        A networkx graph in rfgraph's format, a ``Network``, a file path, ``"zoo:NAME"``,
        ``"path/to/file.py:function"``, a live ``torch.nn.Module`` or Keras model, or a function of JAX arrays.
    input_size
        Size of the input in pixels, one number for all axes or one per axis; a mapping from input name to that where
        inputs differ. What depends on it is unknown without it.
    source
        Node to measure from; the input if there is just one.
    alignment
        What counts as aligned, for all axes or one entry per axis: ``"center"``, ``"causal"`` (branches end at the same
        index), or ``"auto"`` (centres, but a merge that is causal on purpose is a note).
    treat
        What nodes read, whatever their op says, and where no one knows: a pattern of names of nodes or ops, as in
        ``fnmatch`` -> ``"identity"`` (its own position), ``"global"`` (everything) or ``"cut"`` (nothing). The first
        pattern that fits counts. ``Report.treated`` lists what was treated.
    batch_norm
        ``"inference"``: batch normalisation reads its own position. ``"training"``: it reads the whole map besides.
    example
        What a live module is traced on: the full shape of its input, such as ``(1, 3, 224, 224)``, or a tensor; a list
        of these if it has several inputs. Others need none.

    Raises
    ------
    RFGraphError
        If the model cannot be read; the message names node, axis and values. Each cause has its own class.

    Examples
    --------
    >>> import networkx as nx
    >>> g = nx.DiGraph(name="block", axes=2)
    >>> g.add_node("image", op="input")
    >>> g.add_node("conv", op="conv", kernel=3, stride=2, padding=1)
    >>> g.add_node("pool", op="avg_pool", kernel=2)
    >>> g.add_node("add", op="add")
    >>> g.add_edges_from([("image", "conv"), ("image", "pool"), ("conv", "add"), ("pool", "add")])
    >>> report = analyze(g)
    >>> report["add"].size, report["add"].stride, report["add"].padding
    ((3, 3), (2, 2), (1, 1))
    >>> print(report.findings[0].message)  # doctest: +NORMALIZE_WHITESPACE
    merge 'add', axes y, x: centres are off by +1/2 input pixels, +1/4 of the merge's own
    ('pool' against 'conv', parting at 'image')
    """
    graph = _graph(model, treat, input_size, example)
    simple = not treat and batch_norm == "inference"
    network = (solve(graph, source, input_size) if simple else None) or compile_graph(
        graph, input_size, treat, batch_norm
    )
    axes = network.axes if isinstance(network, Plain) else network.layers.axes
    modes = (alignment,) * len(axes) if isinstance(alignment, str) else tuple(alignment)
    known = get_args(Mode)
    if len(modes) != len(axes) or any(mode not in known for mode in modes):
        raise AttributeValueError(
            f"alignment {alignment!r} is not one of {', '.join(known)}, for all axes or one per axis"
        )
    if isinstance(network, Compiled):
        network.layers.source(source)  # refused here if there is none
    return Report(network, source, cast("tuple[Any, ...]", modes), graph)


def trace(
    model: Model,
    output: Hashable | None = None,
    input_size: InputSize = None,
    treat: Treat | None = None,
    batch_norm: BatchNorm = "inference",
    example: Any = None,
) -> Trace:
    """Return what one output reads of each of its ancestors: the reverse pass of the article.

    Parameters
    ----------
    model, input_size, treat, batch_norm, example
        As for ``analyze``.
    output
        The node whose field is followed; the output if there is just one.

    Raises
    ------
    EndpointError
        If none is named and there are several outputs.
    RFGraphError
        If the model cannot be read.

    Examples
    --------
    >>> net = Network("two", axes=1)
    >>> last = net.conv("last", net.conv("first", net.input("signal"), kernel=3, stride=2), kernel=3)
    >>> trace(net)["signal"].size, trace(net)["first"].size
    ((7,), (3,))
    """
    graph = _graph(model, treat, input_size, example)
    compiled = compile_graph(graph, input_size, treat, batch_norm)
    layers = compiled.layers
    if output is None:
        outputs = _outputs(layers)
        if len(outputs) != 1:
            names = ", ".join(repr(layers.nodes[v]) for v in outputs[:8])
            raise EndpointError(f"the network has {len(outputs)} outputs, {names}; pass output= to say which one")
        end = outputs[0]
    else:
        end = layers.id_of(output)
    fields = compiled.per_axis(lambda axis: engine.reverse(compiled, axis, end))
    reached = [v for v in range(end + 1) if any(f.field(v).kind != "empty" for f in fields)]
    costs = Costs(lambda: (layers, compiled.sizes), graph)
    return Trace(layers.nodes[end], {layers.nodes[v]: _layer(compiled, v, fields, costs) for v in reached})


def load(
    model: Model, treat: Treat | None = None, example: Any = None, input_size: InputSize = None
) -> nx.DiGraph[Any]:
    """Return the network graph that a file, ``"zoo:NAME"`` or ``"path/to/file.py:function"`` stands for.

    Parameters
    ----------
    model
        What names the model, or a live one of PyTorch, Keras or JAX; a graph stands for itself.
    treat
        As for ``analyze``; each node that a pattern fits gets it as its attribute ``treat``.
    example, input_size
        As for ``analyze``; the size matters to models that compute shapes.

    Raises
    ------
    ModelFileError
        If it cannot be read.

    Examples
    --------
    >>> load("zoo:vgg_16").nodes["vgg_16/pool5"]["kernel"]
    2
    """
    graph = _graph(model, treat, input_size, example)
    if treat:
        graph = graph.copy()
        for node, treatment in chosen(graph.nodes(data=True), treat).items():
            graph.nodes[node]["treat"] = treatment.how
    return graph


def _graph(model: Model, treat: Treat | None, input_size: InputSize, example: Any = None) -> nx.DiGraph[Any]:
    if isinstance(model, Network):
        return model.graph
    if isinstance(model, nx.Graph):
        return model
    if isinstance(model, (str, Path, os.PathLike)):
        return importers.load(os.fspath(model), treat, input_size)
    live = importers.live(model, example, treat, input_size)
    if live is not None:
        return live
    raise ModelFileError(
        f"a {type(model).__name__} is no model that rfgraph reads; "
        "pass a networkx graph, a Network, a file path, 'zoo:NAME', a live PyTorch or Keras model, or a JAX function"
    )


def _unclipped(field: Window, beyond: Window, y: int) -> Interval | None:
    """Return what output ``y`` reads where no size is known; all that comes before it begins at 0."""
    if beyond.side != "past":
        return field.interval(y)
    ends = field.hull(beyond).ends(y)
    return None if ends is None or ends[1] is None or ends[1] < 0 else (0, ends[1])


def _layer(compiled: Compiled, v: int, fields: Sequence[Fields], costs: Mapping[Hashable, Cost]) -> Layer:
    layers = compiled.layers
    return Layer(
        name=layers.nodes[v],
        op=layers.kinds[v],
        axes=layers.axes,
        map_size=compiled.sizes[v],
        field=tuple(axis.field(v) for axis in fields),
        is_global=tuple(axis.is_global[v] for axis in fields),
        side=tuple(axis.beyond[v].side for axis in fields),
        costs=costs,
    )


def _outputs(layers: Layers) -> list[int]:
    """Return the nodes with spatial axes that no node with spatial axes comes after."""
    collapses = {key: all(op.collapses for op in ops) for key, ops in layers.distinct.items()}
    spatial: list[bool] = []
    for ops, tails in zip(layers.ops, layers.tails, strict=True):
        spatial.append((not tails or True in [spatial[tail] for tail in tails]) and not collapses[id(ops)])
    followed = [False] * len(spatial)
    for v in reversed(range(len(spatial))):
        if spatial[v] or followed[v]:
            for tail in layers.tails[v]:
                followed[tail] = True
    return [v for v, here in enumerate(spatial) if here and not followed[v]]
