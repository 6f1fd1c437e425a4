"""What each command does: it asks a report and returns the view that shows the answer, and an exit code.

A command imports what it needs when it runs, so that no other command waits for it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from rfgraph.cli.options import SEVERITIES, Size
from rfgraph.cli.progress import doing
from rfgraph.errors import MissingExtraError, RFGraphError

if TYPE_CHECKING:
    import networkx as nx

    from rfgraph.present.accuracy import AccuracyRow
    from rfgraph.present.rows import View
    from rfgraph.present.several import Several
    from rfgraph.present.zoo import ZooRow
    from rfgraph.report import Report
    from rfgraph.settings import Settings

CLEAN, FOUND = 0, 1


class File(NamedTuple):
    """What is written as it is."""

    data: bytes


#: What the reason why something is not known speaks of -> the option for it.
WAYS_OUT = {
    "input size": "give an input size, as --input-size 224",
    "treat=": "say what it reads, as --treat NODE=identity (or global, or cut)",
}

#: Tile sizes that are shown beside the best one, for a person to choose from.
_USUAL_TILES = (128, 256, 384, 512, 768, 1024, 1536, 2048)


def _summary(options: argparse.Namespace) -> tuple[View, int]:
    import json
    import shlex

    from rfgraph.policy import judge
    from rfgraph.present.views import Summary

    settings = _settings(options)
    report = _analyze(options)
    again = ["rfgraph", "check", options.model]
    for name, size in options.input_size:
        again += ["--input-size", ("" if name is None else f"{name}=") + _written(size)]
    for pattern, how in options.treat:
        again += ["--treat", f"{pattern}={how}"]
    for name, letters in options.axes:
        again += ["--axes", letters if name is None else f"{name}: {letters}"]
    for name, held in options.set_input:
        again += ["--set-input", f"{name}={json.dumps(held)}"]
    for option in ("source", "alignment", "batch-norm"):
        value = getattr(options, option.replace("-", "_"))
        if value not in (None, "auto", "inference"):
            again += [f"--{option}", value]
    for option in ("select", "ignore"):
        rules = getattr(options, option)
        again += [] if rules is None else [f"--{option}", ",".join(rules)]
    for entry in options.accept:
        again += ["--accept", entry]
    judged = judge(report.findings, settings.policy)
    flags = (options.all, options.verbose, options.effective, options.depth, options.columns)
    if options.format == "json" and (options.depth is not None or options.columns is not None):
        raise RFGraphError("--depth and --columns are for tables; json has every layer and number")
    if options.format == "csv" and options.depth is not None:
        raise RFGraphError("--depth is for people's tables; csv has every layer")
    return Summary(report, judged, options.model, shlex.join(again), *flags), CLEAN


def _check(options: argparse.Namespace) -> tuple[View, int]:
    from rfgraph.policy import judge
    from rfgraph.present.findings import Check

    settings = _settings(options)
    report = _analyze(options)
    found = report.findings
    if options.causal is not None or settings.policy.rules & {"RF009", "RF010"}:
        from rfgraph.questions.findings import worst_first

        found = worst_first([*found, *report.asked(settings.policy.rules, options.causal)])
    view = Check(report, judge(found, settings.policy), options.model, WAYS_OUT, options.all)
    fail_on = options.fail_on or settings.fail_on
    failed = view.worst is not None and SEVERITIES.index(view.worst) >= SEVERITIES.index(fail_on)
    return view, FOUND if failed else CLEAN


def _settings(options: argparse.Namespace) -> Settings:
    """Return the settings of the project that this runs in, with what the options say: they come first."""
    from dataclasses import replace

    from rfgraph.errors import PolicyError
    from rfgraph.policy import Policy
    from rfgraph.settings import read_settings

    said = {name: tuple(getattr(options, name)) for name in ("select", "ignore") if getattr(options, name) is not None}
    try:
        asked = Policy(**said, accept=tuple(options.accept))
    except PolicyError as error:
        raise PolicyError(f"--{error}") from error
    settings = read_settings(Path.cwd())
    accept = (*settings.policy.accept, *asked.accept)
    if getattr(options, "causal", None) is not None:
        said["select"] = (*(said.get("select") or settings.policy.select), "RF010")
    return replace(settings, policy=replace(settings.policy, **said, accept=accept))


def _sizes(options: argparse.Namespace) -> tuple[View, int]:
    from rfgraph.present.sizes import Sizes

    graph = _load(options).copy()
    inputs = {node: attributes for node, attributes in graph.nodes(data=True) if attributes.get("op") == "input"}
    stated = {node: _written(attributes.pop("size")) for node, attributes in inputs.items() if "size" in attributes}
    return Sizes(_analyze(options, graph), options.model, stated, len(inputs), WAYS_OUT), CLEAN


def _region(options: argparse.Namespace) -> tuple[View, int]:
    from rfgraph.present.views import RegionView

    report = _analyze(options)
    layer = _named(report, options.layer)
    try:
        region = report.region(layer, _from_end(report, layer, options.index) or ())
    except IndexError as error:
        raise RFGraphError(str(error)) from error
    return RegionView(report, region, options.model), CLEAN


def _trace(options: argparse.Namespace) -> tuple[View, int]:
    from rfgraph.analysis import trace
    from rfgraph.present.views import TraceView

    graph = _load(options)
    found = trace(
        graph,
        _named(graph, options.output),
        _input_sizes(options, graph),
        dict(options.treat),
        options.batch_norm,
    )
    return TraceView(found, str(graph.graph.get("name") or options.model)), CLEAN


def _tile(options: argparse.Namespace) -> tuple[View, int]:
    from rfgraph.errors import SizeError, TilingError
    from rfgraph.present.tiling import EXPORTS, Export, TilingView

    report = _analyze(options)
    layer = _named(report, options.layer)
    whole = report.tiling(layer, options.tile[0] if options.tile else None, options.overlap, options.memory)
    plans = [whole]
    if whole.axes and whole.axes[0].tile is not None:
        others = options.tile[1:] if options.tile else _USUAL_TILES
        for tile in others:
            try:
                plan = report.tiling(layer, tile, options.overlap)
            except (TilingError, SizeError):
                if options.tile:
                    raise
                continue
            if plan.count != 1:
                plans.append(plan)
    view = TilingView(report, options.model, plans)
    code = FOUND if whole.blockers else CLEAN
    return (Export(view, options.format) if options.format in EXPORTS else view), code


def _latency(options: argparse.Namespace) -> tuple[View, int]:
    from rfgraph.present.latency import LatencyView

    report = _analyze(options)
    found = report.latency(_named(report, options.layer), options.sample_rate, options.chunk, options.axis)
    slow = options.max_ms is not None and not found.blockers and found.milliseconds > options.max_ms
    return LatencyView(report, found, options.model), FOUND if found.blockers or slow else CLEAN


def _draw(options: argparse.Namespace) -> tuple[File, int]:
    from rfgraph.present.drawing import FORMS, Picture, form_of

    form = options.format or form_of(options.output_file) or FORMS[0]
    return File(Picture(_analyze(options), options.model, options.depth).data(form)), CLEAN


def _report(options: argparse.Namespace) -> tuple[File, int]:
    from rfgraph.present.page import Page

    return File(Page(_analyze(options), options.model, options.sample_rate).text().encode()), CLEAN


def _sweep(options: argparse.Namespace) -> tuple[View, int]:
    from rfgraph.present.sweeps import SweepView
    from rfgraph.sweeps import spelling, sweep

    if options.keep is not None and options.best is None:
        raise RFGraphError("--keep says how many designs --best keeps; give --best too, as --best macs")
    choices = spelling.merged(options.set, options.designs)
    graph = _load(options)
    modes = options.alignment.split(",")
    found = sweep(
        graph,
        choices,
        each=spelling.merged(options.each),
        sample=options.sample,
        seed=options.seed,
        where=options.where,
        best=(options.best, options.keep) if options.keep is not None else options.best,
        nodes=None if options.node is None else [_named(graph, name) for name in options.node],
        input_size=_input_sizes(options, graph),
        source=_named(graph, options.source),
        alignment=modes if len(modes) > 1 else modes[0],
        treat=dict(options.treat),
        batch_norm=options.batch_norm,
        to=options.to,
        form=options.to_format,
        jobs=options.jobs,
    )
    return SweepView(found, options.model, options.to), CLEAN


def _field(options: argparse.Namespace) -> tuple[View | File, int]:
    from rfgraph.present.effective import FieldView

    report = _analyze(options)
    words = [said for said in options.weights if isinstance(said, str)]
    if words and len(options.weights) > 1:
        raise RFGraphError(f"--weights {words[0]} is for all layers; beside others write PATTERN={words[0]}")
    weights: Any = words[0] if words else dict(options.weights) or "random"
    try:
        layer = _named(report, options.layer)
        field = report.effective_field(
            layer, _from_end(report, layer, options.index), weights, options.gate, options.skip
        )
    except IndexError as error:
        raise RFGraphError(str(error)) from error
    if options.output_file is not None and options.output_file.endswith(".npy"):
        from rfgraph.present.effective import array_data

        return File(array_data(field)), CLEAN
    measured = None
    if options.measured:
        from rfgraph.measure import measure_field

        measured = measure_field(
            options.model,
            options.layer,
            options.images,
            options.samples,
            index=field.index,
            progress=sys.stderr.isatty(),
        )
    return FieldView(report, field, options.model, measured), CLEAN


def _strongest(options: argparse.Namespace) -> tuple[View, int]:
    from rfgraph.measure import strongest
    from rfgraph.present.effective import StrongestView

    image: Any = options.image
    if image.endswith(".npy"):
        import numpy as np

        try:
            image = np.load(image, allow_pickle=False)
        except ValueError as error:
            raise RFGraphError(f"{image}: {error}") from error
    found = strongest(options.model, image, options.layer, options.channel, options.top)
    return StrongestView(options.model, options.layer, found), CLEAN


def _zoo(options: argparse.Namespace) -> tuple[View, int]:
    if options.accuracy:
        from rfgraph.present.accuracy import Accuracies

        return Accuracies(_accuracy_rows()), CLEAN
    from rfgraph.present.zoo import Zoo

    return Zoo(_zoo_rows()), CLEAN


#: Arguments that are files.
_FILES = ("model", "models", "output_file", "designs", "images", "image")


def _completion(options: argparse.Namespace) -> tuple[File, int]:
    try:
        import shtab
    except ModuleNotFoundError as error:
        if error.name != "shtab":
            raise
        raise MissingExtraError("completion needs shtab: pip install 'rfgraph[completion]'") from error
    from rfgraph.cli.options import COMMANDS as ALL
    from rfgraph.cli.options import parser

    whole = parser(list(ALL))
    for command in whole.commands.values():
        for action in command._actions:
            if action.dest in _FILES:
                action.complete = shtab.FILE  # type: ignore[attr-defined]
    return File(shtab.complete(whole, options.shell).encode()), CLEAN


def _accuracy_rows() -> list[AccuracyRow]:
    from rfgraph.analysis import analyze
    from rfgraph.models import ARTICLE, MODELS
    from rfgraph.present.accuracy import AccuracyRow

    rows = []
    for model in MODELS.values():
        said = model.accuracy
        if said is None:
            continue
        report = analyze(model.build(), input_size=said.input_size)
        size = report[model.node].size[0]
        macs, plotted = report.macs.count, model.name in ARTICLE
        rows.append(AccuracyRow(model.name, float(said.top1), size, macs, said.input_size, said.source, plotted))
    return rows


def _zoo_rows() -> list[ZooRow]:
    from rfgraph.analysis import analyze
    from rfgraph.models import MODELS
    from rfgraph.present.zoo import ZooRow

    rows = []
    for model in MODELS.values():
        report = analyze(model.build(), input_size=model.input_size)
        said = model.published
        published = None if said is None else (said.size, said.stride, said.padding)
        for node in report.outputs if model.node is None else (model.node,):
            source = "" if said is None else said.source
            rows.append(ZooRow(model.name, model.about, model.input_size, report[node], published, source))
    return rows


def _analyze(options: argparse.Namespace, graph: nx.DiGraph[Any] | None = None) -> Report:
    from rfgraph.analysis import analyze

    graph = _load(options) if graph is None else graph
    modes = getattr(options, "alignment", "auto").split(",")
    doing(f"solving {len(graph)} nodes of {options.model}")
    return analyze(
        graph,
        input_size=_input_sizes(options, graph),
        source=_named(graph, options.source),
        alignment=modes if len(modes) > 1 else modes[0],
        treat=dict(options.treat),
        batch_norm=options.batch_norm,
    )


def _load(options: argparse.Namespace) -> nx.DiGraph[Any]:
    from rfgraph import importers

    doing(f"reading {options.model}")
    return importers.load(
        options.model, dict(options.treat), _input_sizes(options), dict(options.set_input), _stated_axes(options)
    )


def _stated_axes(options: argparse.Namespace) -> dict[str, str] | str | None:
    """Return the axes given: by input, or one text for all."""
    given: list[tuple[str | None, str]] = options.axes
    if not given:
        return None
    if len(given) == 1 and given[0][0] is None:
        return given[0][1]
    named = {name: letters for name, letters in given if name is not None}
    if len(named) < len(given):
        raise RFGraphError("--axes is given several times; give it once, or once per input as 'NAME: ..HW'")
    return named


def _input_sizes(
    options: argparse.Namespace, graph: nx.DiGraph[Any] | None = None
) -> int | tuple[int, ...] | dict[Hashable, int | tuple[int, ...]] | None:
    """Return the sizes given; those by name under the nodes of ``graph``, under the names given if there is none."""
    sizes: list[Size] = options.input_size
    if not sizes:
        return None
    if len(sizes) == 1 and sizes[0][0] is None:
        return sizes[0][1]
    named = {_named(graph or (), name): size for name, size in sizes if name is not None}
    if len(named) < len(sizes):
        raise RFGraphError("--input-size is given several times; give it once, or once per input as NAME=224")
    return named


def _from_end(report: Report, layer: Hashable, index: tuple[int, ...] | None) -> tuple[int, ...] | None:
    """Return the index of a feature, with negative entries counted from the end of the map."""
    if index is None or min(index) >= 0 or layer not in report or len(report.axes) != len(index):
        return index
    sizes = report[layer].map_size
    if any(y < 0 and size is None for y, size in zip(index, sizes, strict=True)):
        raise RFGraphError(
            f"index {','.join(map(str, index))} counts from the end of the map of {layer!r}, whose size is not known; "
            "give an input size, as --input-size 224"
        )
    return tuple(y + (size or 0) if -(size or 0) <= y < 0 else y for y, size in zip(index, sizes, strict=True))


def _named(nodes: Any, name: str | None) -> Hashable:
    """Return the node that an argument names; graphs from Python may have names that are no strings."""
    if name is None or name in nodes:
        return name
    same = [node for node in nodes if str(node) == name]
    return same[0] if len(same) == 1 else name


def _written(size: Any) -> str:
    return "x".join(map(str, size)) if isinstance(size, (list, tuple)) else str(size)


def _several(run: Callable[[argparse.Namespace], tuple[View, int]]) -> Run:
    """Return a command on all models that ``options.models`` names; the exit code is the worst of theirs."""

    def run_all(options: argparse.Namespace) -> tuple[View | File | Several, int]:
        from rfgraph.cli.several import each_model
        from rfgraph.present.several import Several

        views, errors, worst = {}, {}, CLEAN
        for outcome in each_model(options, run):
            if outcome.answer is None:
                errors[outcome.model] = outcome.error
            else:
                views[outcome.model] = outcome.answer
            worst = max(worst, outcome.code)
        if len(views) == 1 and not errors:
            return next(iter(views.values())), worst
        return Several(options.command, views, errors), worst

    return run_all


Run = Callable[[argparse.Namespace], "tuple[View | File | Several, int]"]

#: Name of a command -> what it does.
COMMANDS: dict[str, Run] = {
    "summary": _several(_summary),
    "check": _check,
    "sizes": _sizes,
    "region": _region,
    "trace": _trace,
    "tile": _tile,
    "latency": _latency,
    "draw": _draw,
    "report": _report,
    "sweep": _sweep,
    "field": _field,
    "strongest": _strongest,
    "zoo": _zoo,
    "completion": _completion,
}
