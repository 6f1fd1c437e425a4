"""The public entry: read what is asked, make the tables, run the chunks, and put together what they found."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast, get_args

import networkx as nx

from rfgraph.algebra.alignment import Mode
from rfgraph.analysis import analyze, load
from rfgraph.errors import AttributeValueError, SizeError, SweepError
from rfgraph.graph.network import BatchNorm, OrderedNetwork, read
from rfgraph.graph.sizes import InputSize
from rfgraph.graph.treatments import Treat
from rfgraph.sweeps import cost_plan as totals
from rfgraph.sweeps import designs as numbering
from rfgraph.sweeps import tape as compiled
from rfgraph.sweeps.chunks import progress as progress_bar
from rfgraph.sweeps.chunks import run
from rfgraph.sweeps.columns import Columns, joined
from rfgraph.sweeps.designs import MOST_NUMBERED, Blocks, Choices, Designs, Key
from rfgraph.sweeps.expressions import Expression, expression
from rfgraph.sweeps.folder import LAYOUT, Folder, Form
from rfgraph.sweeps.plan import Plan
from rfgraph.sweeps.plan import plan as make_plan
from rfgraph.sweeps.results import Sweep, collected
from rfgraph.sweeps.search import Best, Counts, Question, Search
from rfgraph.sweeps.variants import NoPlan, ops_by_variant

#: Designs in a chunk: its arrays take some tens of megabytes at most.
CHUNK = 1 << 16

#: How many designs ``best`` keeps where that is not said.
KEEP_BEST = 10


def sweep(
    model: Any,
    choices: Choices = (),
    *,
    each: Mapping[Key, Sequence[Any]] | None = None,
    sample: int | None = None,
    seed: int = 0,
    where: str | None = None,
    best: str | int | tuple[str, int] | None = None,
    nodes: Sequence[Hashable] | None = None,
    input_size: InputSize = None,
    source: Hashable | None = None,
    alignment: str | Sequence[str] = "auto",
    treat: Treat | None = None,
    batch_norm: BatchNorm = "inference",
    example: Any = None,
    to: str | os.PathLike[str] | None = None,
    form: Form = "npz",
    chunk: int = CHUNK,
    jobs: int | None = None,
    progress: bool | None = None,
) -> Sweep:
    """Return receptive fields, alignment and costs of many designs of a network: what ``analyze`` says of each.

    Parameters
    ----------
    model
        The network that the designs vary: anything that ``load`` takes.
    choices
        What designs differ in: mapping from ``"node.attribute"`` or ``"pattern.attribute"`` to the values it takes, of
        which every combination is a design. Patterns are those of ``fnmatch``; of the nodes that one fits, it sets
        those that take the attribute, all to the same value. A tuple of keys is set together, each value a tuple too:
        ``{("conv*.kernel", "conv*.padding"): [(3, 1), (5, 2)]}``. Values are what the graph may hold: numbers, one per
        axis, ``"same"``. Or a list of designs, each a mapping from key to value.
    each
        As ``choices``, but every node that a key fits chooses on its own.
    sample
        How many designs to draw at random, without repetition; all of them by default, or if there are no more.
    seed
        Which sample.
    where
        Which designs to keep, as ``"r >= 256 and aligned"``: comparisons and arithmetic of ``r``, ``S``, ``P``,
        ``map_size``, ``parameters`` and ``macs``, with ``aligned``, ``is_global``, ``works``, ``and``, ``or``, ``not``.
        What has a number per axis and node must fit on all; ``r[0]``, ``r["y"]`` and ``r["node"]`` pick one. Where
        something is not known a design is not kept, unless the condition holds whatever it is.
    best
        Keep those that cost least, sorted: what the cost is, as ``"macs"`` or ``"macs + 10 * parameters"``, and how
        many to keep (10); or just how many, by multiply-accumulates if they are known, else by parameters.
    nodes
        The nodes to tell of; the outputs by default.
    input_size, source, alignment, treat, batch_norm, example
        As for ``analyze``.
    to
        A folder for the results, in chunks; a sweep that was stopped goes on where it was, if it is the same one.
    form
        What the chunks are: ``"npz"``, or ``"parquet"``, which needs ``rfgraph[parquet]``.
    chunk
        Most designs in a chunk.
    jobs
        How many chunks to do at once, as joblib's ``n_jobs``; by default what ``joblib.parallel_config`` says, which
        may name a Dask, Ray or Spark cluster, else one. It needs ``rfgraph[sweep]``.
    progress
        Whether to show a progress bar; by default if standard error is a terminal.

    Raises
    ------
    AttributeValueError
        If a value is none for its attribute; the message names the node.
    UnknownNodeError
        If a key fits no node.
    SweepError
        If the results do not fit into memory, the folder holds another sweep, or a cost is not known.
    ExpressionError
        If ``where`` or ``best`` cannot be read.

    Examples
    --------
    >>> from rfgraph import Network
    >>> net = Network("two", axes=1)
    >>> out = net.conv("c2", net.conv("c1", net.input("x", channels=1), kernel=3, channels=8), kernel=3, channels=8)
    >>> designs = sweep(net, each={"c*.kernel": [3, 5, 7]}, where="r >= 9", best="macs", input_size=64)
    >>> designs["r"][:3, 0, 0].tolist(), designs["macs"][:3].tolist()
    ([9, 9, 11], [14000, 20320, 20528])
    >>> designs.options(0)
    {'c1.kernel': 7, 'c2.kernel': 3}
    """
    search = prepare(
        load(model, treat, example, input_size),
        choices,
        each or {},
        sample=sample,
        seed=seed,
        where=where,
        best=best,
        nodes=nodes,
        input_size=input_size,
        source=source,
        alignment=alignment,
        batch_norm=batch_norm,
    )
    blocks = _blocks(search.designs, chunk)
    folder = None if to is None else _folder(Path(to), search, form, chunk)
    parts: dict[int, Columns] = {}
    kept: Columns | None = None
    counts = Counts()
    with nullcontext() if folder is None else folder.open(), progress_bar(len(search.designs), progress) as advance:

        def note(number: int, columns: Columns, counted: Counts) -> None:
            nonlocal kept, counts
            counts = counts + counted
            if search.best is not None:
                kept = search.best.of(columns if kept is None else joined([kept, columns]))
            elif folder is None:
                parts[number] = columns
            advance(counted.seen)

        missing = []
        for number in range(len(blocks)):
            known = None if folder is None else folder.stored(number)
            if known is not None:
                note(number, *known)
            else:
                missing.append(number)

        def tried() -> Iterator[tuple[int, Columns]]:
            for number, columns, its in run(search, chunk, missing, jobs):
                if folder is not None:
                    folder.write(number, columns, its)
                note(number, columns, its)
                yield number, columns

        if search.best is None and folder is None:
            collected(columns for _, columns in tried())  # refused once they take too much memory
            kept = joined([parts[number] for number in sorted(parts)])
        else:
            for _ in tried():
                pass
    if search.best is not None or folder is None:
        return Sweep(search, counts, kept)
    return Sweep(search, counts, None, partial(_stored, folder, len(blocks)))


def stream(
    model: Any, choices: Choices = (), *, chunk: int = CHUNK, jobs: int | None = None, **options: Any
) -> Iterator[Sweep]:
    """Yield the results of a sweep chunk by chunk, in memory that does not grow with how many designs there are.

    Parameters
    ----------
    model, choices, chunk, jobs
        As for ``sweep``.
    options
        The other parameters of ``sweep``, but for ``to``, ``form`` and ``progress``; ``best`` picks some of each chunk.

    Examples
    --------
    >>> from rfgraph import Network
    >>> net = Network("one", axes=1)
    >>> out = net.conv("c", net.input("x"), kernel=3)
    >>> [part["r"].ravel().tolist() for part in stream(net, {"c.kernel": [1, 2, 3]}, chunk=2)]
    [[1, 2], [3]]
    """
    treat, example = options.pop("treat", None), options.pop("example", None)
    each = options.pop("each", None) or {}
    graph = load(model, treat, example, options.get("input_size"))
    search = prepare(graph, choices, each, **options)
    for _, columns, counts in run(search, chunk, range(len(_blocks(search.designs, chunk))), jobs):
        yield Sweep(search, counts, columns)


def prepare(
    graph: nx.DiGraph[Any],
    choices: Choices,
    each: Mapping[Key, Sequence[Any]],
    *,
    sample: int | None = None,
    seed: int = 0,
    where: str | None = None,
    best: str | int | tuple[str, int] | None = None,
    nodes: Sequence[Hashable] | None = None,
    input_size: InputSize = None,
    source: Hashable | None = None,
    alignment: str | Sequence[str] = "auto",
    batch_norm: BatchNorm = "inference",
) -> Search:
    """Read what is asked of a network, and make the tables that answer it; the parameters are those of ``sweep``."""
    for name, number in (("sample", sample), ("seed", seed)):
        if number is not None and (isinstance(number, bool) or not isinstance(number, int) or number < 0):
            raise AttributeValueError(f"{name} {number!r} is not a number of designs, nor 0")
    graph = graph.copy()
    layers = read(graph, batch_norm=batch_norm)
    chosen = numbering.read(graph, layers.nodes, choices, each)
    graph, unread = totals.released(graph, layers, chosen)
    designs = Designs(graph, chosen, sample or None, seed)
    if designs.count > MOST_NUMBERED:
        raise SweepError(f"there are {designs.total} designs, too many to go through; draw some of them with sample=")
    question = Question(
        tuple(_outputs(graph, input_size, source, batch_norm) if nodes is None else nodes),
        layers.axes,
        layers.nodes[layers.source(source)],
        input_size,
        _modes(alignment, layers),
        batch_norm,
    )
    ids = tuple(layers.id_of(node) for node in question.nodes)
    plan, costs, why_not = _plans(graph, layers, chosen, unread, question)
    tapes: tuple[compiled.Tape | None, ...] = ()
    flat, work = designs.drawn or len(chosen) == 1, designs.count * len(layers.nodes)
    if plan is not None and flat and work >= compiled.ENOUGH and compiled.available():
        designs = replace(designs, compiled=designs.drawn)
        axes = zip(plan.axis_of, question.modes, strict=True)
        tapes = tuple(compiled.tape(plan.axes[axis], ids, mode) for axis, mode in axes)
    search = Search(designs, question, plan, why_not, ids, costs, unread, tapes)
    condition = None if where is None else expression(where, question.nodes, layers.axes, is_truth=True)
    picked = None if best is None else _best(best, search)
    for asked in (condition, None if picked is None else picked.cost):
        _check_known(search, asked)
    return replace(search, where=condition, best=picked)


def _plans(
    graph: nx.DiGraph[Any],
    layers: OrderedNetwork,
    choices: tuple[numbering.Choice, ...],
    unread: int,
    question: Question,
) -> tuple[Plan | None, totals.CostPlan | None, str]:
    try:
        plan = make_plan(ops_by_variant(graph, layers, choices), layers.id_of(question.source), question.input_size)
        largest = list(zip(*(plan.axes[axis].largest for axis in plan.axis_of), strict=True))
        return plan, totals.cost_plan(graph, layers, choices, unread, largest), ""
    except NoPlan as reason:
        return None, None, str(reason)


def _outputs(
    graph: nx.DiGraph[Any], input_size: InputSize, source: Hashable | None, batch_norm: BatchNorm
) -> tuple[Hashable, ...]:
    """Return the outputs of the network as it stands, whatever sizes its maps have."""
    bare = graph.copy()
    for node in bare:
        if bare.nodes[node].get("op") == "input":
            bare.nodes[node].pop("size", None)
    for candidate, size in ((bare, None), (graph, input_size)):
        try:
            return analyze(candidate, size, source, batch_norm=batch_norm).outputs
        except SizeError as error:
            failed = error
    raise SweepError(f"the network as it stands does not work ({failed}); pass nodes= to say which to tell of")


def _modes(alignment: str | Sequence[str], layers: OrderedNetwork) -> tuple[Mode, ...]:
    modes = (alignment,) * len(layers.axes) if isinstance(alignment, str) else tuple(alignment)
    if len(modes) != len(layers.axes) or any(mode not in get_args(Mode) for mode in modes):
        raise AttributeValueError(
            f"alignment {alignment!r} is not one of {', '.join(get_args(Mode))}, for all axes or one per axis"
        )
    return cast("tuple[Mode, ...]", modes)


def _best(best: str | int | tuple[str, int], search: Search) -> Best:
    cost: str | int
    cost, count = best if isinstance(best, tuple) else (best, KEEP_BEST)
    if isinstance(cost, int):
        count, cost = cost, "parameters" if search.costs is not None and search.costs.no_macs else "macs"
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise AttributeValueError(f"best={best!r} does not say how many designs to keep; give one or more")
    return Best(expression(cost, search.question.nodes, search.question.axes, is_truth=False), count)


def _check_known(search: Search, asked: Expression | None) -> None:
    """Refuse costs that are known of no design: nothing would be found."""
    if asked is None or search.costs is None:
        return
    for name, layers in (("parameters", search.costs.no_parameters), ("macs", search.costs.no_macs)):
        if name in asked.names() and layers:
            more = f" and {len(layers) - 1} more" if len(layers) > 1 else ""
            sized = ", and an input size" if name == "macs" and search.question.input_size is None else ""
            raise SweepError(
                f"{asked.text!r}: {name} of the designs are not known, for want of those of {layers[0]!r}{more}; give "
                f"channels to the inputs and to all layers with weights{sized}"
            )


def _blocks(designs: Designs, chunk: int) -> Blocks:
    if isinstance(chunk, bool) or not isinstance(chunk, int) or not 1 <= chunk <= 1 << 24:
        raise AttributeValueError(f"chunk {chunk!r} is not a number of designs from 1 to {1 << 24}")
    return Blocks(designs, chunk)


def _folder(path: Path, search: Search, form: Form, chunk: int) -> Folder:
    question = search.question
    about = {
        "network": str(search.designs.graph.graph.get("name", "")),
        "designs": len(search.designs),
        "choices": [list(choice.keys) for choice in search.designs.choices],
        "nodes": [str(node) for node in question.nodes],
        "axes": list(question.axes),
        "where": None if search.where is None else search.where.text,
        "best": None if search.best is None else [search.best.cost.text, search.best.count],
        "chunk": chunk,
    }
    return Folder(path, fingerprint(search, chunk), about, form, (len(question.nodes), len(question.axes)))


def fingerprint(search: Search, chunk: int) -> str:
    """Return what tells this sweep from others: a hash of all that its results follow from."""
    graph, designs = search.designs.graph, search.designs
    said: list[Any] = [LAYOUT, chunk, designs.sample, designs.seed if designs.drawn else 0, search.question]
    said += [search.where, search.best, search.unread]
    said += [(choice.keys, choice.targets, list(choice.options)) for choice in designs.choices]
    said.append(sorted((str(key), repr(value)) for key, value in graph.graph.items()))
    said.append(sorted((repr(n), sorted((k, repr(v)) for k, v in a.items())) for n, a in graph.nodes(data=True)))
    said.append(sorted((repr(t), repr(h), repr(a.get("slot"))) for t, h, a in graph.edges(data=True)))
    return hashlib.sha256(repr(said).encode()).hexdigest()


def _stored(folder: Folder, count: int) -> Iterator[Columns]:
    for columns, _ in folder.chunks(count):
        yield columns
