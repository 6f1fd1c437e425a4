"""What the options of a command ask for, as the library takes it: the model, its sizes, and the project's settings."""

from __future__ import annotations

import argparse
from collections.abc import Hashable, Mapping
from copy import copy
from typing import TYPE_CHECKING, Any

from rfgraph.cli.progress import doing
from rfgraph.cli.values import Size
from rfgraph.errors import RFGraphError

if TYPE_CHECKING:
    import networkx as nx

    from rfgraph.importers import InputSize
    from rfgraph.importers.onnx.reader import Origins
    from rfgraph.report import Report
    from rfgraph.settings import Settings


def settings_of(options: argparse.Namespace, project: Settings) -> Settings:
    """Return what the project says of ``options.model``, with what the options say: they come first.

    Rules that are looked for only where they are asked for are selected where they are: by an axis that is to be
    causal, or a budget.
    """
    from dataclasses import replace

    from rfgraph.errors import PolicyError
    from rfgraph.policy import Policy

    said = {name: tuple(getattr(options, name)) for name in ("select", "ignore") if getattr(options, name) is not None}
    try:
        asked = Policy(**said, accept=tuple(options.accept))
    except PolicyError as error:
        raise PolicyError(f"--{error}") from error
    settings = project.of(options.model)
    causal = getattr(options, "causal", None) or settings.causal
    select = said.get("select", settings.policy.select)
    said["select"] = (*select, *(("RF010",) if causal else ()), *settings.budget.rules)
    accept = (*settings.policy.accept, *asked.accept)
    return replace(settings, causal=causal, policy=replace(settings.policy, **said, accept=accept))


def settled(options: argparse.Namespace, settings: Settings) -> argparse.Namespace:
    """Return options with what the project says of how a model is read, where they say nothing themselves."""
    settled = copy(options)
    settled.project_treat = dict(settings.treat)
    if not options.input_size and settings.input_size is not None:
        sizes = settings.input_size if isinstance(settings.input_size, Mapping) else {None: settings.input_size}
        settled.input_size = list(sizes.items())
    if options.alignment is None and settings.alignment is not None:
        modes = settings.alignment
        settled.alignment = modes if isinstance(modes, str) else ",".join(modes)
    return settled


def modes_of(options: argparse.Namespace) -> str | list[str]:
    """Return what counts as lined up: for all axes, or per axis."""
    modes: list[str] = (getattr(options, "alignment", None) or "auto").split(",")
    return modes if len(modes) > 1 else modes[0]


def analyzed(options: argparse.Namespace, graph: nx.DiGraph[Any] | None = None) -> Report:
    """Return the report of the model, or of ``graph`` in its place."""
    from rfgraph import importers
    from rfgraph.analysis import analyze

    graph = loaded(options) if graph is None else graph
    doing(f"solving {len(graph)} nodes of {options.model}")
    source, modes = named(graph, options.source), modes_of(options)
    treat = {**dict(options.treat), **_fitting(options, graph)}
    sizes = input_sizes(options, graph)
    report = analyze(graph, sizes, source, modes, treat, options.batch_norm)
    if importers.is_read_anew(options.model, sizes):
        set_input, axes = dict(options.set_input), _stated_axes(options)

        def at_size(size: InputSize) -> Report:
            return analyze(options.model, size, source, modes, treat, options.batch_norm, inputs=set_input, axes=axes)

        def at_any_size() -> Report | None:
            anywhere = importers.at_any_size(options.model, None, treat, set_input, axes)
            return None if anywhere is None else analyze(anywhere, None, source, modes, treat, options.batch_norm)

        report.read_anew(at_size, at_any_size)
    return report


def loaded(options: argparse.Namespace, origins: Origins | None = None, model: Any = None) -> nx.DiGraph[Any]:
    """Return the network graph of the model; of an ONNX model, note in ``origins`` where its nodes come from.

    ``model`` is an ONNX model in memory that is read in place of the file.
    """
    from rfgraph import importers

    doing(f"reading {options.model}")
    treat = dict(options.treat)
    for pattern, how in getattr(options, "project_treat", {}).items():
        treat.setdefault(pattern, how)  # after those of the options: the first that fits counts
    asked = treat, input_sizes(options), dict(options.set_input), _stated_axes(options), origins
    if model is not None:
        from rfgraph.importers.onnx import reader

        return reader.graph_of(model, *asked)
    return importers.load(options.model, *asked)


def _fitting(options: argparse.Namespace, graph: nx.DiGraph[Any]) -> dict[str, str]:
    """Return those of the project's treatments that fit some node of this model: they are for all of its models."""
    from rfgraph.errors import UnknownNodeError
    from rfgraph.graph.treatments import chosen

    fitting = {}
    said = dict(options.treat)
    for pattern, how in getattr(options, "project_treat", {}).items():
        try:
            chosen(graph.nodes(data=True), {pattern: how})
        except UnknownNodeError:
            continue
        if pattern not in said:
            fitting[pattern] = how
    return fitting


def _stated_axes(options: argparse.Namespace) -> dict[str, str] | str | None:
    """Return the axes given: by input, or one text for all."""
    given: list[tuple[str | None, str]] = options.axes
    if not given:
        return None
    if len(given) == 1 and given[0][0] is None:
        return given[0][1]
    by_input = {name: letters for name, letters in given if name is not None}
    if len(by_input) < len(given):
        raise RFGraphError("--axes is given several times; give it once, or once per input as 'NAME: ..HW'")
    return by_input


def input_sizes(
    options: argparse.Namespace, graph: nx.DiGraph[Any] | None = None
) -> int | tuple[int, ...] | dict[Hashable, int | tuple[int, ...]] | None:
    """Return the sizes given; those by name under the nodes of ``graph``, under the names given if there is none."""
    sizes: list[Size] = options.input_size
    if not sizes:
        return None
    if len(sizes) == 1 and sizes[0][0] is None:
        return sizes[0][1]
    by_input = {named(graph or (), name): size for name, size in sizes if name is not None}
    if len(by_input) < len(sizes):
        raise RFGraphError("--input-size is given several times; give it once, or once per input as NAME=224")
    return by_input


def from_end(report: Report, layer: Hashable, index: tuple[int, ...] | None) -> tuple[int, ...] | None:
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


def named(nodes: Any, name: str | None) -> Hashable:
    """Return the node that an argument names; graphs from Python may have names that are no strings."""
    if name is None or name in nodes:
        return name
    same = [node for node in nodes if str(node) == name]
    return same[0] if len(same) == 1 else name


def written(size: Any) -> str:
    """Return a size as an option writes it."""
    return "x".join(map(str, size)) if isinstance(size, (list, tuple)) else str(size)
