"""What an analysis found: one report, whatever engine solved the network."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast, get_args

import networkx as nx

from rfgraph.algebra.alignment import Mode
from rfgraph.algebra.residues import InputSizes, MapSize
from rfgraph.algebra.window import Window
from rfgraph.display import Shown, display
from rfgraph.errors import AttributeValueError, EndpointError, Needed, UnboundedError, UnknownFieldError
from rfgraph.fast.numbers import Numbers
from rfgraph.graph.costs import Costs, Total
from rfgraph.graph.network import BatchNorm, OrderedNetwork
from rfgraph.graph.outputs import beginnings, outputs, with_axes
from rfgraph.graph.sizes import InputSize
from rfgraph.graph.treatments import Treat, Treatment
from rfgraph.ops import Size
from rfgraph.passes.centers import center_spread
from rfgraph.passes.compiled import Compiled, compile_layers
from rfgraph.passes.results import Fields
from rfgraph.questions import context, grids, holes, productivity
from rfgraph.questions import unread as unreads
from rfgraph.questions.alignment import unchecked
from rfgraph.questions.context import GlobalContext
from rfgraph.questions.findings import Finding, worst_first
from rfgraph.questions.layers import Layer, Read, Region
from rfgraph.questions.misalignment import SizeDependent, common_residues, common_sizes
from rfgraph.questions.productivity import Productivity, Unproductive
from rfgraph.questions.records import finding_document, layer_document, layer_record
from rfgraph.solved import Engine, General, Solved, solve

if TYPE_CHECKING:
    from rfgraph.algebra.window import Number
    from rfgraph.passes.extents import Regions
    from rfgraph.passes.size_rule import SizeRule
    from rfgraph.passes.weighing import Gate, Weights
    from rfgraph.questions.budget import Budget
    from rfgraph.questions.effective import EffectiveField, EffectiveSize
    from rfgraph.questions.features import Features, How, Pixel
    from rfgraph.questions.frames import Frames
    from rfgraph.questions.latency import Latency
    from rfgraph.questions.paths import Paths
    from rfgraph.questions.support import Support
    from rfgraph.questions.tiles import Tiling


class Report(Mapping[Hashable, Layer]):
    """What an analysis found: a mapping from node name to ``Layer``, in topological order, and the findings.

    ``rfgraph.analyze`` makes it.

    Examples
    --------
    >>> from rfgraph import Network, analyze
    >>> net = Network("block", axes=1)
    >>> out = net.conv("conv2", net.conv("conv1", net.input("x"), kernel=3, stride=2), kernel=3)
    >>> report = analyze(net)
    >>> list(report), report["conv2"].size, report["conv2"].stride, report.aligned
    (['x', 'conv1', 'conv2'], (7,), (2,), True)
    """

    def __init__(
        self,
        solved: Solved,
        modes: Sequence[Mode],
        graph: nx.DiGraph[Any] | None = None,
        options: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        self._solved = solved
        self._modes = modes
        self._graph = graph
        self._options = options
        #: Reports of a model that is read anew: at one input size, and for any where it can be.
        self._traced: tuple[Callable[[InputSize], Report], Callable[[], Report | None]] | None = None

    def read_anew(self, at_size: Callable[[InputSize], Report], at_any_size: Callable[[], Report | None]) -> None:
        """Have what holds at other input sizes be told by the model read for them: here some sizes are fixed.

        Parameters
        ----------
        at_size
            Returns the report of the model read for one input size.
        at_any_size
            Returns that of the model read for any size, ``None`` if it cannot be.

        Examples
        --------
        >>> from rfgraph import analyze
        >>> read = {size: analyze("zoo:xception", size) for size in (295, None)}
        >>> read[295].read_anew(lambda size: analyze("zoo:xception", size), lambda: read[None])
        >>> read[295].aligned, read[295].aligned_when(299), read[295].at_any_size is read[None]
        (True, False, True)
        """
        self._traced = at_size, at_any_size

    @property
    def engine(self) -> Engine:
        """What solved the network, and why no faster engine did: ``rfgraph.solved.solve`` tells which does when.

        Examples
        --------
        >>> from rfgraph import Network, analyze
        >>> net = Network("same", axes=1)
        >>> far = net.conv("far", net.input("x"), kernel=3, stride=300, padding="same")
        >>> print(analyze(net).engine)
        passes: what the input size decides comes round again only after 300 pixels
        """
        return self._solved.engine

    @property
    def as_run(self) -> tuple[str, ...]:
        """Where the code of a live model looked at what its example holds (``file:line``): what is told is told as run.

        Another example may make it run other code. Empty where only shapes decide.
        """
        return tuple(self._graph.graph.get("as_run", ())) if self._graph is not None else ()

    @property
    def _general(self) -> General:
        return self._solved.general

    @property
    def _compiled(self) -> Compiled:
        return self._general.compiled

    @property
    def _fields(self) -> list[Fields]:
        return self._general.fields

    @property
    def _source(self) -> int:
        return self._solved.source_id

    @property
    def _layers(self) -> OrderedNetwork:
        return self._solved.layers

    @property
    def _sizes(self) -> list[tuple[Size, ...]]:
        return self._solved.sizes

    @cached_property
    def costs(self) -> Costs:
        """What each layer holds and takes: a mapping from node name."""
        return Costs(lambda: (self._layers, self._sizes), self._graph)

    def __getitem__(self, node: Hashable) -> Layer:
        if node not in self._solved.known:
            node = self._layers.nodes[self._layers.id_of(node)]  # an output by its own name, or none
        seen = self._solved.seen(node)
        return Layer(
            node,
            seen.op,
            self.axes,
            seen.map_size,
            seen.field,
            seen.is_global,
            seen.by_size,
            location=self._location(node),
            costs=self.costs,
            beyond=seen.beyond,
        )

    def __iter__(self) -> Iterator[Hashable]:
        return iter(self._solved.nodes)

    def __len__(self) -> int:
        return len(self._solved.nodes)

    def __contains__(self, node: object) -> bool:
        return node in self._solved.known or node in self._layers.returned

    def __reduce__(self) -> tuple[Any, ...]:
        if self._graph is None:
            raise TypeError("only reports that rfgraph.analyze made can be copied and pickled")
        return solved_anew, (self._graph, dict(self._options))

    def __repr__(self) -> str:
        return (
            f"<Report of {self.name!r}: {len(self)} nodes, axes {', '.join(self.axes)}, {len(self.findings)} findings>"
        )

    def __str__(self) -> str:
        return str(self.summary())

    def _repr_html_(self) -> str:
        return display().html(self)

    def _ipython_key_completions_(self) -> list[str]:
        """Return what may stand in ``report[...]``, for shells that complete it: nodes and outputs by their names."""
        return list(dict.fromkeys(str(name) for name in (*self, *self.outputs)))

    def summary(self, depth: int | None = None, columns: Sequence[str] | None = None) -> Shown:
        """Return the table of layers, which is shown where it is printed, by shells and in notebooks.

        Parameters
        ----------
        depth
            How many modules may lie around one that is shown as one row; every layer is shown by default.
        columns
            Headings of the columns, in their order, as ``["layer", "r", "S"]``; those of which something is known by
            default.

        Raises
        ------
        RFGraphError
            If there is no such column, when it is shown.

        Examples
        --------
        >>> from rfgraph import analyze
        >>> table = analyze("zoo:resnet_v1_50").summary(depth=1, columns=["layer", "op", "r", "S"])
        >>> print("\\n".join(str(table).splitlines()[2:7]))
        layer                op          r   S
        -------------------  --------  ---  --
        image                input       1   1
        resnet_v1_50/conv1   2 nodes     7   2
        resnet_v1_50/pool1   max_pool   11   4
        """
        return display().table(self, depth, columns)

    def _location(self, node: Hashable) -> str:
        """Return where the code calls a node, as the graph tells, empty if it does not."""
        if self._graph is None or node not in self._graph:
            return ""
        return str(self._graph.nodes[node].get("location", ""))

    @property
    def name(self) -> str:
        """Name of the network."""
        return self._solved.name

    @property
    def axes(self) -> tuple[str, ...]:
        """Names of the spatial axes."""
        return self._solved.axes

    @property
    def source(self) -> Hashable:
        """The node in whose indices all fields are given."""
        return self._solved.source

    @property
    def outputs(self) -> tuple[Hashable, ...]:
        """What the model returns, by its own names and in its order, as far as it has spatial axes.

        In place of an output without any, such as class scores, stand the last maps that it is made of. Where the graph
        does not say what is returned (graph attribute ``outputs``), they are the last maps of the network.

        Examples
        --------
        >>> from rfgraph import Network, analyze
        >>> net = Network("pyramid", axes=1)
        >>> p3 = net.conv("c3", net.input("x"), kernel=3, stride=2)
        >>> p4 = net.conv("c4", p3, kernel=3, stride=2)
        >>> analyze(net).outputs
        ('c4',)
        >>> net.graph.graph["outputs"] = {"P3": p3, "P4": p4}
        >>> report = analyze(net)
        >>> report.outputs, report["P3"].name, report["P3"].size
        (('P3', 'P4'), 'c3', (3,))
        """
        return tuple(self._outputs)

    @cached_property
    def _outputs(self) -> dict[Hashable, int]:
        return outputs(self._layers)

    @cached_property
    def _ends(self) -> list[int]:
        """The node ids of the outputs, each once."""
        return list(dict.fromkeys(self._outputs.values()))

    @cached_property
    def findings(self) -> tuple[Finding, ...]:
        """What does not line up, worst first."""
        misaligned = self._solved.misaligned(self._modes)
        whole: list[GlobalContext] = []
        if self._solved.has_global and self._solved.may_be_global([self._layers.nodes[v] for v in self._ends]):
            whole = context.find(self._compiled, self._fields, self._ends)
        skips: list[Finding] = []
        if not self._solved.has_no_holes:
            skips = holes.find(self._compiled, self._fields, self._source, self._ends)
        unread: list[Finding] = []
        if not self._solved.reads_all:
            unread = unreads.find(self._layers, self._solved.sizes, lambda: self._compiled, self._source, self._ends)
        findings = worst_first([*misaligned, *self._behind[0], *self._unproductive, *whole, *skips, *unread])
        return self._located(findings)

    @cached_property
    def _behind(self) -> tuple[list[Finding], list[int]]:
        """What does not line up behind ops that read all of the source, and the merges that are not checked there."""
        if not self._solved.collapses or not beginnings(self._layers, with_axes(self._layers)):
            return [], []
        return grids.find(self._compiled, self._fields, self._source, self._modes)

    @property
    def aligned(self) -> bool | None:
        """Whether all merges line up; ``None`` where some cannot be checked, as when it depends on the input size."""
        certain = self._solved.aligned(self._modes)
        if certain is False or (certain and self._behind == ([], [])):
            return certain
        serious = [finding for finding in self.findings if finding.severity != "note"]
        if any(not isinstance(finding, SizeDependent) for finding in serious):
            return False
        # They hold at some sizes only, of which there may be none together. To look for these is dear in a live model.
        if serious and any(dependent and not common_residues(dependent)[1] for dependent in self._dependent):
            return False
        return None if serious or self.unchecked or self.ends_unknown else True

    @property
    def ends_unknown(self) -> bool:
        """Whether an op that no one knows leads to an output: what it merges cannot be checked."""
        unknown: list[bool] = []
        for ops, tails in zip(self._layers.ops, self._layers.tails, strict=True):
            unknown.append(not ops[0].is_known or any(unknown[tail] for tail in tails))
        return any(unknown[v] for v in self._ends)

    def numbers(self) -> Numbers:
        """Return size, stride and padding of the fields of all nodes as arrays, fast and small on large networks.

        Examples
        --------
        >>> from rfgraph import Network, analyze
        >>> net = Network("two", axes=1)
        >>> last = net.conv("last", net.conv("first", net.input("x"), kernel=3, stride=2, padding=1), kernel=5)
        >>> numbers = analyze(net).numbers()
        >>> numbers.nodes, numbers.size[:, 0].tolist(), numbers.stride[:, 0].tolist(), numbers.padding[:, 0].tolist()
        (('x', 'first', 'last'), [1, 3, 11], [1, 2, 2], [0, 1, 1])
        """
        return self._solved.numbers()

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
        >>> from rfgraph import analyze
        >>> report = analyze("zoo:inception_resnet_v2_same")
        >>> report.aligned, report.aligned_when(224)
        (True, True)
        """
        if self._traced is not None:
            at_size, _ = self._traced
            anywhere = self.at_any_size
            return at_size(input_size).aligned if anywhere is self else anywhere.aligned_when(input_size)
        compiled = compile_layers(self._layers, input_size)
        return Report(General(compiled, self.source, "it is solved anew for a size"), self._modes).aligned

    @cached_property
    def aligned_sizes(self) -> tuple[InputSizes | None, ...]:
        """The input sizes at which all merges line up, per axis, where it depends on the size; else ``None``.

        Examples
        --------
        >>> from rfgraph import analyze
        >>> print(analyze("zoo:xception").aligned_sizes[0])
        n mod 32 is 7 or 8, from 7
        """
        return tuple(map(common_sizes, self.axes, self._dependent))

    @property
    def _dependent(self) -> list[list[SizeDependent]]:
        """Per axis, what depends on the input size."""
        dependent = [finding for finding in self.at_any_size.findings if isinstance(finding, SizeDependent)]
        return [[finding for finding in dependent if axis in finding.axes] for axis in self.axes]

    @cached_property
    def at_any_size(self) -> Report:
        """The report of the model read for inputs of any size, where it can be read so; else this one.

        Examples
        --------
        >>> from rfgraph import analyze
        >>> sized = analyze("zoo:xception", input_size=299)
        >>> [finding.rule for finding in sized.findings], [finding.rule for finding in sized.at_any_size.findings]
        (['RF002'], ['RF005', 'RF005', 'RF005', 'RF005'])
        """
        return self if self._traced is None else self._traced[1]() or self

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
        >>> from rfgraph import analyze
        >>> print(analyze("zoo:unet_2x2").input_sizes[0])
        multiples of 16, from 16
        """
        if self._traced is not None and self.at_any_size is self:
            return (None,) * len(self.axes)  # sizes that the trace holds may be the model's or the example's
        return tuple(rule.input_sizes for rule in self.at_any_size._size_rules)

    def map_size_of(self, layer: Hashable) -> tuple[MapSize | None, ...]:
        """Return the size of a layer's map as a formula of the input size, per axis; ``None`` where it cannot be told.

        Parameters
        ----------
        layer
            A node.

        Examples
        --------
        >>> from rfgraph import Network, analyze
        >>> net = Network("half", axes=1)
        >>> half = net.conv("half", net.input("x"), kernel=3, stride=2, padding=1)
        >>> (size,) = analyze(net).map_size_of("half")
        >>> print(size)
        n/2 where n mod 2 is 0; (n + 1)/2 where n mod 2 is 1
        >>> size.size(224), str(size.unchanged)
        (112, '1 only')
        """
        report = self.at_any_size
        v = report._layers.id_of(layer)
        return tuple(
            None if sizes is None else rule.map_size(v)
            for rule, sizes in zip(report._size_rules, self.input_sizes, strict=True)
        )

    @cached_property
    def unchecked(self) -> tuple[Hashable, ...]:
        """The merges that cannot be checked, because the field of a branch is not known."""
        merges = unchecked(self._compiled, self._fields, self._source, self._general.solutions)
        return tuple(self._layers.nodes[v] for v in sorted({*merges, *self._behind[1]}))

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
        >>> from rfgraph import Network, analyze
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
        >>> from rfgraph import Network, analyze
        >>> net = Network("gated", axes=1)
        >>> x = net.conv("conv", net.input("x"), kernel=3)
        >>> out = net.mul("mul", x, net.sigmoid("gate", net.global_avg_pool("pool", x)))
        >>> report = analyze(net, input_size=32)
        >>> report["mul"].size, report["mul"].is_global, report.culprits("mul")
        ((3,), (True,), (('pool',),))
        """
        v = self._layers.id_of(node)
        along = [context.culprits(self._compiled, fields, axis, v) for axis, fields in enumerate(self._fields)]
        return tuple(tuple(self._layers.nodes[u] for u in blamed) for blamed in along)

    @cached_property
    def productivity(self) -> Productivity:
        """How convolutions and the image fit each other: layers that add no context, and images that are worth giving.

        Examples
        --------
        MobileNet was made for 224 pixels. On 32, its features have seen them all before the sixth block.

        >>> from rfgraph import analyze
        >>> small = analyze("zoo:mobilenet_v1", input_size=32).productivity
        >>> [layer.layer for layer in small.layers if layer.border]
        ['Conv2d_6_depthwise']
        >>> [(axis.axis, axis.smallest, axis.largest) for axis in analyze("zoo:vgg_16").productivity.axes]
        [('y', 212, 404), ('x', 212, 404)]
        """
        extremes = self._solved.extremes()
        judged = productivity.judge(self._layers, self._sizes, extremes, self._layers.id_of(self.source))
        return Productivity(tuple(judged), productivity.resolutions(self._layers.axes, extremes, judged))

    @property
    def _unproductive(self) -> list[Unproductive]:
        if not self._solved.may_add_nothing():
            return []
        return productivity.find(self.productivity.layers)

    def to_records(self) -> list[dict[str, Any]]:
        """Return one row per layer: a dict of exact numbers, text and ``None``.

        Headings are those of ``rfgraph summary --format csv``: ``n_y``, ``r_y``, ``S_y``, ``P_y``, ``start_y`` ...

        Examples
        --------
        >>> from rfgraph import Network, analyze
        >>> net = Network("one", axes=1)
        >>> out = net.conv("conv", net.input("x"), kernel=4, stride=2, padding=1)
        >>> row = analyze(net).to_records()[1]
        >>> row["layer"], row["r_t"], row["S_t"], row["P_t"], row["start_t"]
        ('conv', 4, 2, 1, 1)
        """
        return [layer_record(layer) for layer in self.values()]

    def to_dict(self) -> dict[str, Any]:
        """Return the report as dicts, lists, numbers and text, as JSON has them: fractions are text, such as ``"1/2"``.

        Examples
        --------
        >>> from rfgraph import Network, analyze
        >>> net = Network("one", axes=1)
        >>> out = net.conv("conv", net.input("x"), kernel=4, stride=2, padding=1)
        >>> data = analyze(net).to_dict()
        >>> data["outputs"], data["aligned"], data["layers"][1]["fields"][0]["size"]
        (['conv'], True, 4)
        """
        return {
            "name": self.name,
            "axes": list(self.axes),
            "source": str(self.source),
            "input_size": list(self[self.source].map_size),
            "batch_norm": self.batch_norm,
            "engine": {"name": self.engine.name, "why": self.engine.why},
            "outputs": [str(name) for name in self.outputs],
            "aligned": self.aligned,
            "layers": [layer_document(layer) for layer in self.values()],
            "findings": [finding_document(finding) for finding in self.findings],
        }

    def to_dataframe(self) -> Any:
        """Return the rows of ``to_records`` as a ``pandas.DataFrame``, indexed by layer.

        Raises
        ------
        MissingExtraError
            If pandas is not installed.

        Examples
        --------
        >>> from rfgraph import analyze
        >>> report = analyze("zoo:alexnet_v2")
        >>> next(row["r_y"] for row in report.to_records() if row["layer"] == "alexnet_v2/pool5")
        195
        >>> report.to_dataframe().loc["alexnet_v2/pool5", "r_y"]  # where pandas is installed # doctest: +SKIP
        195
        """
        with Needed("pandas", "a data frame"):
            from pandas import DataFrame
        return DataFrame.from_records(self.to_records(), index="layer")

    def center_spread(self, node: Hashable) -> tuple[Fraction | None, ...]:
        """Return how far apart the centres of all paths to ``node`` lie, per axis, in pixels of the source.

        0 is the article's alignment condition for all pairs of paths; ``None`` where the node has no local field.
        Where a path upsamples, its centre at each merge is the mean over the output phases.

        Parameters
        ----------
        node
            A node.

        Examples
        --------
        >>> from rfgraph import Network, analyze
        >>> net = Network("block", axes=1)
        >>> x = net.input("x")
        >>> out = net.add("add", x, net.conv("conv", x, kernel=3))
        >>> analyze(net).center_spread("add")
        (Fraction(1, 1),)
        """
        v = self._layers.id_of(node)
        return tuple(spread[v] for spread in self._spreads)

    @cached_property
    def _spreads(self) -> list[list[Fraction | None]]:
        compiled, fields = self._compiled, self._fields
        return compiled.per_axis(lambda axis: center_spread(compiled, axis, fields[axis], self._source))

    def paths(self, layer: Hashable) -> Paths:
        """Return how many paths lead from the source to ``layer``, and how wide their fields are.

        They are counted by dynamic programming, never one by one. Two edges between the same nodes are two paths.

        Parameters
        ----------
        layer
            A node.

        Examples
        --------
        >>> from rfgraph import Network, analyze
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

    def reads(self, node: Hashable) -> tuple[Read, ...]:
        """Return what ``node`` reads of each of its inputs by its own op alone, by slot: the edges of the network.

        Parameters
        ----------
        node
            A node.

        Examples
        --------
        >>> from rfgraph import Network, analyze
        >>> net = Network("one", axes=1)
        >>> out = net.conv("conv", net.input("x"), kernel=3, dilation=2, padding=1)
        >>> [(read.tail, read.window, read.spacing) for read in analyze(net).reads("conv")]
        [('x', (Window(size=5, stride=1, padding=1, spacing=2),), (2,))]
        """
        v = self._layers.id_of(node)
        ops = self._layers.ops[v]
        spacing, skips, border = (tuple(getattr(op, name) for op in ops) for name in ("spacing", "skips", "border"))
        return tuple(
            Read(
                self._layers.nodes[tail],
                tuple(reads[v][slot] for reads in self._compiled.reads),
                spacing,
                skips,
                border,
            )
            for slot, tail in enumerate(self._layers.tails[v])
        )

    def region(self, layer: Hashable, index: Sequence[int] | int) -> Region:
        """Return the box of source pixels that feature ``index`` of ``layer`` reads.

        With the sizes of all maps known it is cut at the border of every map that it passes, else at none: then what
        is read on to one end of the axis has ``None`` there.

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
            If it reads a whole axis of a size that is not known, alone or besides a local field.

        Examples
        --------
        >>> from rfgraph import Network, analyze
        >>> net = Network("block", axes=1)
        >>> out = net.conv("conv", net.input("x"), kernel=3, padding=1)
        >>> analyze(net, input_size=8).region("conv", 0).box, analyze(net).region("conv", 0).box
        (((0, 1),), ((-1, 1),))
        """
        v = self._layers.id_of(layer)
        place = self._place(v, index)
        if self._is_clipped(v):
            from rfgraph.passes import regions

            reached = regions.reach(self._compiled, v, place, self._source)
            return Region(layer, place, self.axes, regions.box(reached), True, "exact" if reached.exact else "bound")
        windows = [self._whole(v, axis) for axis in range(len(self.axes))]
        ends = [window.ends(y) for window, y in zip(windows, place, strict=True)]
        box = None if None in ends else tuple(end for end in ends if end is not None)
        exact = all(window.exact for window in windows)
        return Region(layer, place, self.axes, box, False, "exact" if exact else "bound")

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
            If a map on the way has more than 2**22 positions along an axis.

        Examples
        --------
        >>> from rfgraph import Network, analyze
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

    def region_ranges(self) -> dict[Hashable, tuple[tuple[int, int] | None, ...]]:
        """Return the sizes of the smallest and the largest region, per axis, of layers whose field is not known.

        Where branches of unequal strides meet there is no one receptive field, but at an input size each feature has
        its region. Layers where that cannot be told are left out.

        Examples
        --------
        >>> from rfgraph import Network, analyze
        >>> net = Network("drifting", axes=1)
        >>> x = net.input("x")
        >>> out = net.add("add", net.conv("conv", x, kernel=1, stride=2), net.slice("slice", x, stop=4))
        >>> analyze(net, input_size=8).region_ranges()
        {'add': ((1, 4),)}
        """
        if all(size is None for size in self._sizes[self._layers.id_of(self.source)]):
            return {}
        unknown = [node for node, layer in self.items() if any(window.is_unknown for window in layer.field)]
        if not unknown:
            return {}
        from rfgraph.passes import extents

        ids = [self._layers.id_of(node) for node in unknown]
        ranges = extents.size_ranges(self._compiled, self._source, ids)
        return {self._layers.nodes[v]: sizes for v, sizes in ranges.items()}

    def tails(self, node: Hashable) -> tuple[Hashable, ...]:
        """Return what ``node`` reads, by slot.

        Parameters
        ----------
        node
            A node.

        Raises
        ------
        UnknownNodeError
            If there is no such node.

        Examples
        --------
        >>> from rfgraph import Network, analyze
        >>> net = Network("one", axes=1)
        >>> out = net.conv("conv", net.input("x"), kernel=3)
        >>> analyze(net).tails("conv")
        ('x',)
        """
        return tuple(self._layers.nodes[tail] for tail in self._layers.tails[self._layers.id_of(node)])

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
        >>> from rfgraph import Network, analyze
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
        clipped = self._is_clipped(v)
        fields = [fields.field(v) for fields in self._fields]
        if how == "center" or not clipped:
            if how != "center" and not any(field.is_unbounded for field in fields):
                fields = [self._whole(v, axis) for axis in range(len(self.axes))]
            for axis, field in enumerate(fields):
                if field.is_unbounded:
                    name = self._layers.describe(v, axis)
                    read = "the whole axis" if field.is_full else f"all of the {field.side}"
                    raise UnboundedError(f"{name} reads {read}: its field has no centre and no two ends")
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
        >>> from rfgraph import Network, analyze
        >>> net = Network("gridding", axes=1)
        >>> last = net.conv("last", net.conv("first", net.input("x"), kernel=3, dilation=2), kernel=3, dilation=2)
        >>> support = analyze(net).support("last")
        >>> support[0].marks.tolist()
        [True, False, True, False, True, False, True, False, True]
        >>> support.coverage
        (Fraction(5, 9),)
        """
        from rfgraph.questions import support as supports

        return supports.support(self._compiled, self._fields, self._layers.id_of(layer), self._source)

    def effective_sizes(
        self, weights: Weights = "random", gate: Gate = 0.5, skip: float = 1
    ) -> dict[Hashable, EffectiveSize]:
        """Return where the gradient of every layer's features lies on the source, and how far it is spread.

        All nodes take one pass. Borders are left out, and so are paths through ops that read a whole axis.

        Parameters
        ----------
        weights
            ``"random"``: independent, of mean zero, each tap of a layer as strong as any other; what is told is the
            mean square of the gradient. ``"uniform"``: all taps are the same, and what is told is the gradient itself,
            as it is for ``"corners"``, where the first and the last tap of each axis hold all, and ``"outside-large"``,
            where a tap is the stronger the farther out it lies. Or a mapping from patterns of node and op names to such
            a word, or to the taps themselves: one list for all axes. What no pattern fits is uniform. Layers that share
            weights count as if they did not.
        gate
            What the mean square of a gradient is multiplied by at a ReLU: the share of values that it lets through. Or
            a mapping from patterns of node and op names to factors, for others too: ``{"dropout": 2, "relu": 0.5}``.
            Where weights are fixed and none is negative a ReLU lets all through, and one number is not used.
        skip
            What is multiplied at the side of a merge that comes straight from the fork, without any layer.

        Raises
        ------
        AttributeValueError, UnknownNodeError
            If the weights or factors make no sense, or a pattern fits nothing.

        Examples
        --------
        A chain of n layers that are k wide has variance n (k**2 - 1) / 12:

        >>> from rfgraph import Network, analyze
        >>> net = Network("chain", axes=1)
        >>> x = net.input("x")
        >>> for i in range(20):
        ...     x = net.conv(f"conv{i}", x, kernel=3)
        >>> round(analyze(net).effective_sizes()["conv19"].std[0], 4), round((20 * (3**2 - 1) / 12) ** 0.5, 4)
        (3.6515, 3.6515)
        """
        from rfgraph.questions import effective  # numpy is imported when it is first needed

        assumed = effective.assumed(self._compiled, self._fields, self._source, weights, gate, skip)
        return effective.sizes(self._compiled, self._source, assumed)

    def effective_field(
        self,
        layer: Hashable,
        index: Sequence[int] | int | None = None,
        weights: Weights = "random",
        gate: Gate = 0.5,
        skip: float = 1,
    ) -> EffectiveField:
        """Return how strongly one feature of ``layer`` feels each position of the source.

        With the sizes of all maps known it is cut at the border of every map that it passes, else at none. Paths
        through ops that read a whole axis are left out, and the status says so. What is carried is float64.

        Parameters
        ----------
        layer
            A node.
        index
            Index of the feature, one entry per axis; the middle of the map by default, 0 where no size is known.
        weights, gate, skip
            As for ``effective_sizes``; here taps of all axes may be given as one array too.

        Raises
        ------
        IndexError
            If the index lies outside the map.
        UnboundedError
            If every path reads a whole axis, or the maps on the way are larger than 2**22 positions.
        UnknownFieldError
            If a field on the way is not known, or the feature feels nothing of the source.

        Examples
        --------
        >>> from rfgraph import Network, analyze
        >>> net = Network("pooled", axes=1)
        >>> x = net.input("x", size=9)
        >>> out = net.add("out", x, net.avg_pool("mean", x, kernel=3, stride=1, padding=1))
        >>> field = analyze(net).effective_field("out")
        >>> (field.map * 9).round(9).tolist(), field.first, field.status
        ([1.0, 16.0, 1.0], (3,), 'exact')
        """
        from rfgraph.questions import effective

        v = self._layers.id_of(layer)
        sizes = self._compiled.sizes[v]
        place = tuple(0 if size is None else size // 2 for size in sizes) if index is None else self._place(v, index)
        assumed = effective.assumed(self._compiled, self._fields, self._source, weights, gate, skip)
        clipped = self._is_clipped(v)
        return effective.effective_field(self._compiled, self._fields, v, place, self._source, assumed, clipped)

    def _place(self, v: int, index: Sequence[int] | int) -> tuple[int, ...]:
        """Return the index of a feature, one entry per axis, and refuse one outside its map."""
        place = (index,) if isinstance(index, int) else tuple(index)
        if len(place) != len(self.axes):
            raise IndexError(f"index {place} has {len(place)} entries, but the network has {len(self.axes)} axes")
        for axis, (y, size) in enumerate(zip(place, self._compiled.sizes[v], strict=True)):
            if size is not None and not 0 <= y < size:
                name = self._layers.describe(v, axis)
                raise IndexError(f"{name}: index {y} lies outside its map of size {size}")
        return place

    def tiling(
        self,
        layer: Hashable | None = None,
        tile: int | Sequence[int] | None = None,
        overlap: int | Sequence[int] | None = None,
        memory: int | None = None,
    ) -> Tiling:
        """Return how to cut the source into tiles that are run one by one, exactly, or who forbids it.

        Without an input size it is the rule for all sizes: start multiple and halo. With one it is a plan.

        Parameters
        ----------
        layer
            The output that is put together; the only output by default.
        tile
            Pixels of a tile, one number or one per axis. By default those of the least overhead among tiles of at most
            2**20 pixels, or that fit into ``memory``.
        overlap
            Pixels that neighbouring tiles share at least; as few as are exact by default.
        memory
            Bytes that the feature maps of one tile may take, as 32-bit floats: at most so many live at once.

        Raises
        ------
        TilingError
            If the tile or the overlap does not do; the message says what would.
        EndpointError
            If there are several outputs and none is named.
        UnknownFieldError
            If ``memory`` is given and channels are not known.

        Examples
        --------
        >>> from rfgraph import analyze
        >>> plan = analyze("zoo:unet_2x2", input_size=2048).tiling(tile=512)
        >>> plan.axes[0].multiple, plan.axes[0].halo, plan.count
        (16, (94, 94), 36)
        """
        from rfgraph.questions import tiling

        v = self._output(layer)
        sizes = self._sizes[self._source]
        image = None if None in sizes else tuple(size for size in sizes if size is not None)
        tiler = tiling.Tiler(self._layers, v, self._source)
        fits = None
        if memory is not None:
            channels = {node: cost.channels for node, cost in self.costs.items()}
            fits = tiling.fits_memory(tiler, image, channels, memory)
        return tiling.plan(
            tiler, image, tiling.given("tile", tile, self.axes), tiling.given("overlap", overlap, self.axes), fits
        )

    def latency(
        self,
        layer: Hashable | None = None,
        sample_rate: Number | None = None,
        chunk: int | None = None,
        axis: str | None = None,
    ) -> Latency:
        """Return how the network streams: look-ahead, chunks, and what it keeps between them, or who forbids it.

        Parameters
        ----------
        layer
            The output; the only one by default.
        sample_rate
            Samples per second, for times.
        chunk
            Samples that come at once.
        axis
            Name of the axis that is streamed; the first one by default.

        Raises
        ------
        LatencyError
            If ``chunk`` is no multiple of what the network takes.
        EndpointError
            If there are several outputs and none is named.

        Examples
        --------
        >>> from rfgraph import Network, analyze
        >>> net = Network("centred", axes=1)
        >>> out = net.conv("out", net.input("x"), kernel=5, padding=2)
        >>> latency = analyze(net).latency(sample_rate=8000)
        >>> latency.look_ahead, latency.causal, latency.first_ahead, latency.milliseconds, latency.state
        (2, False, 'out', 0.375, 4)
        """
        from rfgraph.questions import latency

        costs = self.costs
        return latency.latency(
            self._compiled,
            self._axis(axis),
            self._output(layer),
            self._source,
            lambda node: costs[node].channels,
            sample_rate,
            chunk,
        )

    def frames(self, layer: Hashable, sample_rate: Number, axis: str | None = None) -> Frames:
        """Return the times that the features of ``layer`` stand for.

        Parameters
        ----------
        layer
            A node.
        sample_rate
            Samples per second.
        axis
            Name of the axis; the first one by default.

        Raises
        ------
        UnboundedError, UnknownFieldError
            If its field has no numbers.

        Examples
        --------
        >>> from rfgraph import Network, analyze
        >>> net = Network("spectrogram", axes=1)
        >>> out = net.conv("out", net.input("x"), kernel=400, stride=160)
        >>> frames = analyze(net).frames("out", sample_rate=16000)
        >>> frames.start(2), frames.end(2), frames.center(2)
        (0.02, 0.045, 0.0325)
        """
        from rfgraph.questions.frames import Frames

        index = self._axis(axis)
        seen = self[layer]
        _ = seen.field[index].size  # a field without numbers says so
        return Frames(layer, seen.field[index], sample_rate, seen.map_size[index])

    def asked(self, rules: Collection[str], axis: str | None = None) -> tuple[Finding, ...]:
        """Return findings of rules that are looked for only where they are asked for: ``RF009`` and ``RF010``.

        Parameters
        ----------
        rules
            Rule ids; others are passed over.
        axis
            Name of the axis that is to be causal; the first one by default.

        Examples
        --------
        >>> from rfgraph import Network, analyze
        >>> net = Network("block", axes=1)
        >>> out = net.conv("conv", net.input("x"), kernel=3, padding=1)
        >>> [finding.rule for finding in analyze(net).asked({"RF010"})]
        ['RF010']
        """
        findings: list[Finding] = []
        if "RF010" in rules:
            from rfgraph.questions import latency

            findings += latency.find(self._compiled, self._axis(axis), self._ends, self._source)
        if "RF009" in rules:
            from rfgraph.passes.compiled import compile_layers
            from rfgraph.questions import tiling

            findings += tiling.find(compile_layers(self._layers), self._ends, self._source)
        return self._located(findings)

    def paddings(self, node: Hashable) -> tuple[tuple[int, int] | None, ...]:
        """Return how much a node pads before and after its map, per axis; ``None`` where it does not pad, or by size.

        Parameters
        ----------
        node
            A node. Units: positions of the map that it reads.

        Raises
        ------
        UnknownNodeError
            If there is no such node.

        Examples
        --------
        >>> from rfgraph import Network, analyze
        >>> net = Network("block", axes=2)
        >>> out = net.conv("conv", net.input("x"), kernel=3, padding=[[0, 1], [1, 1]])
        >>> analyze(net).paddings("conv"), analyze(net).paddings("x")
        (((0, 1), (1, 1)), (None, None))
        """
        v = self._layers.id_of(node)
        tails = self._layers.tails[v]
        if not tails:
            return (None,) * len(self.axes)
        return tuple(op.padding_at(size) for op, size in zip(self._layers.ops[v], self._sizes[tails[0]], strict=True))

    def over(self, budget: Budget, axis: str | None = None) -> tuple[Finding, ...]:
        """Return what does not keep to a budget, or of which that cannot be told: ``RF011`` to ``RF014``.

        Parameters
        ----------
        budget
            What is demanded.
        axis
            Name of the axis that is streamed; the first one by default.

        Examples
        --------
        >>> from rfgraph import Budget, Network, analyze
        >>> net = Network("block", axes=1)
        >>> out = net.conv("conv", net.input("x"), kernel=3, padding=1)
        >>> print(*analyze(net).over(Budget(min_r=5, max_look_ahead=1)))
        output 'conv', axis t: r is 3 pixels, less than min-r = 5
        """
        from rfgraph.passes.compiled import compile_layers
        from rfgraph.questions import budget as budgets

        findings = budgets.find(
            budget,
            self._compiled,
            lambda: compile_layers(self._layers),
            lambda v: self[self._layers.nodes[v]],
            lambda: self.parameters,
            self._ends,
            self._source,
            self._axis(axis),
        )
        return self._located(findings)

    def _located(self, findings: Iterable[Finding]) -> tuple[Finding, ...]:
        """Return findings with the places in the code of their nodes."""
        located = [(finding, self._location(finding.node)) for finding in findings]
        return tuple(replace(finding, location=location) if location else finding for finding, location in located)

    def _output(self, layer: Hashable | None) -> int:
        if layer is not None:
            return self._layers.id_of(layer)
        if len(self.outputs) != 1:
            names = ", ".join(repr(name) for name in self.outputs[:8])
            raise EndpointError(f"the network has {len(self.outputs)} outputs, {names}; pass output= to say which one")
        return self._layers.id_of(self.outputs[0])

    def _axis(self, name: str | None) -> int:
        if name is not None and name not in self.axes:
            raise AttributeValueError(f"axis {name!r} is not one of {', '.join(self.axes)}")
        return 0 if name is None else self.axes.index(name)

    def _whole(self, v: int, axis: int) -> Window:
        """Return all that ``v`` reads along an axis of a size that is not known, and refuse if that has no ends."""
        fields = self._fields[axis]
        window = fields.local[v].hull(fields.beyond[v])
        if window.is_full or window.side == "future":
            read = "the whole axis" if window.is_full else "all of the future"
            besides = "" if fields.local[v].is_empty else " besides its local field"
            raise UnboundedError(
                f"{self._layers.describe(v, axis)} reads {read}{besides}, and the size of the axis is not known; give "
                "an input size, or cut those paths: treat={node: 'cut'}"
            )
        return window

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


def report_of(
    graph: nx.DiGraph[Any],
    input_size: InputSize = None,
    source: Hashable | None = None,
    alignment: str | Sequence[str] = "auto",
    treat: Treat | None = None,
    batch_norm: BatchNorm = "inference",
) -> Report:
    """Return the report of a network graph, as ``rfgraph.analyze`` does."""
    solved = solve(graph, input_size, source, treat, batch_norm)
    modes = (alignment,) * len(solved.axes) if isinstance(alignment, str) else tuple(alignment)
    known = get_args(Mode)
    if len(modes) != len(solved.axes) or any(mode not in known for mode in modes):
        raise AttributeValueError(
            f"alignment {alignment!r} is not one of {', '.join(known)}, for all axes or one per axis"
        )
    options = {
        "input_size": input_size,
        "source": source,
        "alignment": alignment,
        "treat": treat,
        "batch_norm": batch_norm,
    }
    return Report(solved, cast("tuple[Mode, ...]", modes), graph, options)


def solved_anew(graph: nx.DiGraph[Any], options: dict[str, Any]) -> Report:
    """Return a report that was copied or pickled: its network is kept, and solved again."""
    return report_of(graph, **options)
