"""What each command does: it asks a report and returns the view that shows the answer, and an exit code.

A command imports what it needs when it runs, so that no other command waits for it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from rfgraph.cli.asked import analyzed, from_end, input_sizes, loaded, modes_of, named, settings_of, settled, written
from rfgraph.cli.checks import CLEAN, FOUND, WAYS_OUT, check
from rfgraph.cli.edits import annotate, repair
from rfgraph.errors import Needed, RFGraphError

if TYPE_CHECKING:
    from rfgraph.present.rows import View
    from rfgraph.present.several import Several
    from rfgraph.present.zoo import ZooRow
    from rfgraph.questions.tiles import Tiling
    from rfgraph.settings import Settings


class File(NamedTuple):
    """What is written as it is."""

    data: bytes


def _summary(options: argparse.Namespace, project: Settings) -> tuple[View, int]:
    import json
    import shlex

    from rfgraph.policy import judge
    from rfgraph.present.views import Summary

    settings = settings_of(options, project)
    report = analyzed(settled(options, settings))
    again = ["rfgraph", "check", options.model]
    for name, size in options.input_size:
        again += ["--input-size", ("" if name is None else f"{name}=") + written(size)]
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


def _summaries(options: argparse.Namespace) -> tuple[View | Several, int]:
    """Summarise all models that are named; the exit code is the worst of theirs."""
    from rfgraph.cli.several import each_model
    from rfgraph.cli.targets import expanded
    from rfgraph.present.several import Several
    from rfgraph.settings import read_settings

    project = read_settings(Path.cwd())
    views, errors, worst = {}, {}, CLEAN
    for outcome in each_model(expanded(options.models), options, lambda one: _summary(one, project)):
        if outcome.answer is None:
            errors[outcome.model] = outcome.error
        else:
            views[outcome.model] = outcome.answer
        worst = max(worst, outcome.code)
    if len(views) == 1 and not errors:
        return next(iter(views.values())), worst
    return Several(options.command, views, errors), worst


def _sizes(options: argparse.Namespace) -> tuple[View, int]:
    from rfgraph.present.sizes import Sizes

    graph = loaded(options).copy()
    inputs = {node: attributes for node, attributes in graph.nodes(data=True) if attributes.get("op") == "input"}
    stated = {node: written(attributes.pop("size")) for node, attributes in inputs.items() if "size" in attributes}
    return Sizes(analyzed(options, graph), options.model, stated, len(inputs), WAYS_OUT), CLEAN


def _region(options: argparse.Namespace) -> tuple[View, int]:
    from rfgraph.present.views import RegionView

    report = analyzed(options)
    layer = named(report, options.layer)
    try:
        region = report.region(layer, from_end(report, layer, options.index) or ())
    except IndexError as error:
        raise RFGraphError(str(error)) from error
    return RegionView(report, region, options.model), CLEAN


def _trace(options: argparse.Namespace) -> tuple[View, int]:
    from rfgraph.analysis import trace
    from rfgraph.present.views import TraceView

    graph = loaded(options)
    traced = trace(
        graph, named(graph, options.output), input_sizes(options, graph), dict(options.treat), options.batch_norm
    )
    return TraceView(traced, str(graph.graph.get("name") or options.model), options.model), CLEAN


def _is_planned(plan: Tiling) -> bool:
    return bool(plan.axes) and plan.axes[0].tile is not None


def _tile(options: argparse.Namespace) -> tuple[View, int]:
    from rfgraph.present.tiling import TilingView, usual_plans

    report = analyzed(options)
    layer = named(report, options.layer)
    whole = report.tiling(layer, options.tile[0] if options.tile else None, options.overlap, options.memory)
    plans = [whole]
    if options.tile:
        more = [report.tiling(layer, tile, options.overlap) for tile in options.tile[1:] if _is_planned(whole)]
        plans += [plan for plan in more if plan.count != 1]
    elif _is_planned(whole):
        plans += usual_plans(report, whole, options.overlap)
    return TilingView(report, options.model, plans), FOUND if whole.blockers else CLEAN


def _latency(options: argparse.Namespace) -> tuple[View, int]:
    from rfgraph.present.latency import LatencyView

    report = analyzed(options)
    timing = report.latency(named(report, options.layer), options.sample_rate, options.chunk, options.axis)
    slow = options.max_ms is not None and not timing.blockers and timing.milliseconds > options.max_ms
    return LatencyView(report, timing, options.model), FOUND if timing.blockers or slow else CLEAN


def _draw(options: argparse.Namespace) -> tuple[File, int]:
    from rfgraph.present.drawing import FORMS, Picture, form_of

    form = options.format or form_of(options.output_file) or FORMS[0]
    return File(Picture(analyzed(options), options.model, options.depth).data(form)), CLEAN


def _report(options: argparse.Namespace) -> tuple[File, int]:
    from rfgraph.present.page import Page

    return File(Page(analyzed(options), options.model, options.sample_rate).text().encode()), CLEAN


def _sweep(options: argparse.Namespace) -> tuple[View, int]:
    from rfgraph.present.sweeps import SweepView
    from rfgraph.sweeps import spelling, sweep

    if options.keep is not None and options.best is None:
        raise RFGraphError("--keep says how many designs --best keeps; give --best too, as --best macs")
    choices = spelling.merged(options.set, options.designs)
    graph = loaded(options)
    designs = sweep(
        graph,
        choices,
        each=spelling.merged(options.each),
        sample=options.sample,
        seed=options.seed,
        where=options.where,
        best=(options.best, options.keep) if options.keep is not None else options.best,
        nodes=None if options.node is None else [named(graph, name) for name in options.node],
        input_size=input_sizes(options, graph),
        source=named(graph, options.source),
        alignment=modes_of(options),
        treat=dict(options.treat),
        batch_norm=options.batch_norm,
        to=options.to,
        form=options.to_format,
        jobs=options.jobs,
    )
    return SweepView(designs, options.model, options.to), CLEAN


def _field(options: argparse.Namespace) -> tuple[View | File, int]:
    from rfgraph.present.effective import FieldView

    report = analyzed(options)
    words = [said for said in options.weights if isinstance(said, str)]
    if words and len(options.weights) > 1:
        raise RFGraphError(f"--weights {words[0]} is for all layers; beside others write PATTERN={words[0]}")
    weights: Any = words[0] if words else dict(options.weights) or "random"
    try:
        layer = named(report, options.layer)
        index = from_end(report, layer, options.index)
        field = report.effective_field(layer, index, weights, options.gate, options.skip)
    except IndexError as error:
        raise RFGraphError(str(error)) from error
    if options.output_file is not None and options.output_file.endswith(".npy"):
        from rfgraph.present.effective import array_data

        return File(array_data(field)), CLEAN
    measured = None
    if options.measured:
        from rfgraph.measure import measure_field

        source = report[report.source]
        shape = (source.channels, *source.map_size)
        measured = measure_field(
            options.model,
            options.layer,
            options.images,
            options.samples,
            index=field.index,
            shape=None if None in shape else shape,  # type: ignore[arg-type]  # all are known
            progress=sys.stderr.isatty(),
        )
    if _wants_png(options):
        from rfgraph.plot import canvas, effective

        shown = measured or field
        return File(canvas.png(lambda ax: effective(shown, axes=shown.axes[-2:], ax=ax))), CLEAN
    return FieldView(report, field, options.model, measured), CLEAN


def _wants_png(options: argparse.Namespace) -> bool:
    return options.output_file is not None and str(options.output_file).lower().endswith(".png")


def _strongest(options: argparse.Namespace) -> tuple[View | File, int]:
    from rfgraph.measure import strongest
    from rfgraph.present.effective import StrongestView

    image: Any = options.image
    if image.endswith(".npy"):
        import numpy as np

        try:
            image = np.load(image, allow_pickle=False)
        except ValueError as error:
            raise RFGraphError(f"{image}: {error}") from error
    features = strongest(options.model, image, options.layer, options.channel, options.top)
    if _wants_png(options):
        from rfgraph.plot import canvas
        from rfgraph.plot import strongest as overlay

        axes = "zyx"[-len(features[0].index) :][-2:] if len(features[0].index) > 1 else "t"
        return File(canvas.png(lambda ax: overlay(features, image, axes=tuple(axes), ax=ax), height=6.4)), CLEAN
    return StrongestView(options.model, options.layer, features), CLEAN


def _diff(options: argparse.Namespace) -> tuple[View, int]:
    from copy import copy

    from rfgraph.cli.refusals import refusal
    from rfgraph.comparison import compared
    from rfgraph.present.comparison import DiffView

    reports = []
    for model in (options.model, options.other):
        one = copy(options)
        one.model = model
        one.treat, one.project_treat = [], dict(options.treat)  # what fits one of the two is enough
        try:
            reports.append(analyzed(one))
        except RFGraphError as error:
            said, _ = refusal(error)
            raise RFGraphError(said if model in said else f"{model}: {said}") from error
    fitting = {treatment.pattern for report in reports for treatment in report.treated}
    for pattern, _ in options.treat:
        if pattern not in fitting:
            raise RFGraphError(f"--treat pattern {pattern!r} fits no node and no op of either model")
    difference = compared(*reports)
    view = DiffView(difference, (options.model, options.other), options.tolerate, options.all)
    return view, FOUND if difference.differs(options.tolerate) else CLEAN


def _rule(options: argparse.Namespace) -> tuple[View, int]:
    from rfgraph.present.explained import EXPLAINED, Rules, RuleView

    if options.rule is None:
        return Rules(), CLEAN
    rule = options.rule.upper()
    if rule not in EXPLAINED:
        from rfgraph.ops import near

        raise RFGraphError(f"{options.rule!r} is no rule{near(rule, EXPLAINED)}; there are {', '.join(EXPLAINED)}")
    return RuleView(rule), CLEAN


def _zoo(options: argparse.Namespace) -> tuple[View, int]:
    if options.accuracy:
        from rfgraph.present.accuracy import published

        return published(), CLEAN
    from rfgraph.present.zoo import Zoo

    return Zoo(_zoo_rows()), CLEAN


#: Arguments that are files.
_FILES = ("model", "models", "output_file", "designs", "images", "image")


def _completion(options: argparse.Namespace) -> tuple[File, int]:
    with Needed("shtab", "completion", "'rfgraph[completion]'"):
        import shtab
    from rfgraph.cli.options import COMMANDS as ALL
    from rfgraph.cli.options import parser

    whole = parser(list(ALL))
    for name, command in whole.commands.items():
        command.description = ALL[name].about  # one line, beside the name
        for action in command._actions:
            if action.dest in _FILES:
                action.complete = shtab.FILE  # type: ignore[attr-defined]
    return File(shtab.complete(whole, options.shell).encode()), CLEAN


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


Run = Callable[[argparse.Namespace], "tuple[View | File | Several, int]"]

#: Name of a command -> what it does.
COMMANDS: dict[str, Run] = {
    "summary": _summaries,
    "check": check,
    "rule": _rule,
    "diff": _diff,
    "annotate": annotate,
    "repair": repair,
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
