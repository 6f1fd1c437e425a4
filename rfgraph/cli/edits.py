"""The commands ``annotate`` and ``repair``: a copy of a model with what was found in it, or with other paddings."""

from __future__ import annotations

import argparse
import os
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rfgraph.cli.asked import analyzed, loaded, settings_of, settled
from rfgraph.cli.checks import CLEAN, FOUND
from rfgraph.cli.writing import write_file
from rfgraph.errors import RFGraphError

if TYPE_CHECKING:
    import networkx as nx

    from rfgraph.importers.onnx.reader import Origins
    from rfgraph.present.rows import View
    from rfgraph.questions.findings import Finding
    from rfgraph.report import Report


def annotate(options: argparse.Namespace) -> tuple[View, int]:
    """Write what was found into a copy of an ONNX model, or as node data beside any."""
    from rfgraph.editing import annotate as editing
    from rfgraph.present.edits import Annotation

    form = _form(options, (".onnx", ".json"))
    model_is_onnx = _is_onnx(options.model)
    if form == ".onnx" and not model_is_onnx:
        raise RFGraphError(f"-o {options.result_file}: only ONNX models are written as .onnx; node data is .json")
    if not model_is_onnx:
        report = analyzed(options)
        text = editing.node_data(report, {node: [str(node)] for node in report})
        write_file(options.result_file, text.encode())
        return Annotation(report, options.model, options.result_file, len(report), len(report)), CLEAN
    origins = _origins()
    report = analyzed(options, loaded(options, origins))
    data = Path(options.model).read_bytes()
    names, external = _names(data)
    made_by = _made_by(origins, report)
    findings_at: dict[int, list[Finding]] = {}
    for finding in report.findings:
        if (place := origins.places.get(str(finding.node))) is not None:
            findings_at.setdefault(place, []).append(finding)
    if form == ".json":
        called: dict[Hashable, list[str]] = {}
        for place, node in made_by.items():
            called.setdefault(node, []).extend(names[place])
        content = editing.node_data(report, called).encode()
    else:
        content = editing.annotated(data, report, made_by, findings_at)
    write_file(options.result_file, content)
    external = external and form == ".onnx"
    return Annotation(report, options.model, options.result_file, len(made_by), len(names), external), CLEAN


def repair(options: argparse.Namespace) -> tuple[View, int]:
    """Write a copy of a model with the paddings that findings advise."""
    from rfgraph.editing import repair as editing
    from rfgraph.present.edits import RepairView
    from rfgraph.settings import read_settings

    form = _form(options, (".onnx", ".json"))
    if form == ".onnx" and not _is_onnx(options.model):
        raise RFGraphError(f"-o {options.result_file}: only ONNX models are written as .onnx; networks are .json")
    if form == ".json" and not _is_network(options.model):
        raise RFGraphError(
            f"-o {options.result_file}: only networks are written as .json (of .json, zoo: or a function), and models "
            "as .onnx (of .onnx)"
        )
    settings = settings_of(options, read_settings(Path.cwd()))
    options = settled(options, settings)
    origins = _origins() if form == ".onnx" else None
    graph = loaded(options, origins)

    def choose(report: Report) -> Sequence[Finding]:
        return _chosen(report, options, settings)

    repaired = editing.repaired(graph, lambda changed: analyzed(options, changed), choose)
    file = options.result_file if repaired.done else ""
    if repaired.done and origins is not None:
        from rfgraph.editing import onnx_file

        def read(model: Any, origins: Origins) -> nx.DiGraph[Any]:
            return loaded(options, origins, model)

        data = Path(options.model).read_bytes()
        data, changed = onnx_file.repaired(data, origins, [change for _, change in repaired.done], read)
        onnx_file.check(analyzed(options, changed), repaired.after)
        write_file(file, data)
    elif repaired.done:
        from rfgraph.importers import node_link

        write_file(file, node_link.written(repaired.graph, file).encode())
    return RepairView(repaired, options.model, file), FOUND if repaired.left else CLEAN


def _chosen(report: Report, options: argparse.Namespace, settings: Any) -> Sequence[Finding]:
    """Return the findings that are to be repaired, of those that are wrong: notes tell what may be meant."""
    from rfgraph.graph.treatments import matches
    from rfgraph.policy import judge
    from rfgraph.questions.findings import worst_first

    findings = list(report.findings)
    if "RF010" in settings.policy.rules:
        findings += report.asked({"RF010"}, settings.causal_axis)
    judged = judge(worst_first(findings), settings.policy)
    return [
        finding
        for finding in judged.open
        if finding.severity != "note"
        and (not options.node or any(matches(pattern, [str(finding.node)]) for pattern in options.node))
    ]


def _form(options: argparse.Namespace, forms: Sequence[str]) -> str:
    """Return what the file to write ends in, and refuse to write over the model."""
    path = Path(options.result_file)
    form = path.suffix.lower()
    if form not in forms:
        raise RFGraphError(f"-o {path}: it ends in none of {', '.join(forms)}, which say what is written")
    if path.is_dir():
        raise RFGraphError(f"-o {path}: it is a directory; name the file to write in it")
    if not options.overwrite and path.exists() and os.path.exists(options.model) and path.samefile(options.model):
        raise RFGraphError(f"-o {path}: it is the model itself; write to another file, or say --overwrite")
    return form


def _is_onnx(model: str) -> bool:
    return model.lower().endswith(".onnx")


def _is_network(model: str) -> bool:
    file, colon, _ = model.rpartition(":")
    return model.lower().endswith(".json") or model.startswith("zoo:") or bool(colon and file.endswith(".py"))


def _origins() -> Origins:
    from rfgraph.errors import Needed

    with Needed("onnx", "reading .onnx files", "'rfgraph[onnx]'"):
        from rfgraph.importers.onnx.reader import Origins
    return Origins()


def _made_by(origins: Origins, report: Report) -> dict[int, Hashable]:
    """Return which node of the network makes what a node of the file makes first, for those that make a map."""
    made_by: dict[int, Hashable] = {}
    for node in report:
        place = origins.places.get(str(node))
        if place is not None and origins.first.get(place) == node:
            made_by[place] = node
    return made_by


def _names(data: bytes) -> tuple[list[list[str]], bool]:
    """Return what Model Explorer calls the nodes of an ONNX model, and whether it has weights in other files."""
    import onnx

    graph = onnx.load_model_from_string(data).graph
    names = [[node.name] if node.name else [output for output in node.output if output] for node in graph.node]
    return names, any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in graph.initializer)
