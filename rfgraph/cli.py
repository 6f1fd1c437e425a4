"""The command line.

Nothing that takes long to import is imported up here: a command imports what it needs when it runs.
"""

from __future__ import annotations

import argparse
import gc
import os
import re
import sys
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rfgraph import __version__
from rfgraph.errors import RFGraphError

if TYPE_CHECKING:
    import networkx as nx

    from rfgraph.present.rows import View
    from rfgraph.present.zoo import ZooRow
    from rfgraph.report import Report
    from rfgraph.settings import Settings

CLEAN, FOUND, UNREADABLE, UNFORESEEN, INTERRUPTED = 0, 1, 2, 3, 130

#: As ``rfgraph.questions.findings.SEVERITIES``, which would import networkx.
SEVERITIES = ("note", "warning", "error")

MODEL = "a model file (.onnx, .pt2, .keras, .pb, .tflite, .json, ...), zoo:NAME, or path/to/file.py:function"

_EPILOG = """\
MODEL is a model file (.onnx; .pt2 of PyTorch; .keras; .pb, .pbtxt or a
SavedModel of TensorFlow; .tflite; a networkx node-link .json), zoo:NAME for
a published network (see `rfgraph zoo`), or path/to/file.py:function for a
function that returns a graph; that file is run.

exit codes:
  0  clean
  1  check: something at or above --fail-on
  2  the request or the model cannot be read
  3  an error in rfgraph itself, please report it

examples:
  rfgraph summary zoo:resnet_v1_50 --input-size 224
  rfgraph check model.onnx --fail-on error
  rfgraph sizes zoo:xception
  rfgraph region zoo:vgg_16 vgg_16/pool5 3,5 --input-size 224
  rfgraph trace zoo:vgg_16 --format csv -o trace.csv
"""

_SUMMARY = """\
Show what every layer sees of the input, one row per layer:

  n      size of its feature map, where an input size is given
  r      receptive field size in pixels
  S      effective stride (jump): pixels from one feature to the next
  P      effective padding: feature 0 reads from pixel -P on
  start  centre of feature 0, where the centre of pixel 0 is 0.5

One number stands for all axes if they agree, else one per axis: 7x11. "global"
reads the whole axis, "+global" does so by some path besides; "<=" is an upper
bound, "a..b" goes from a to b by the input size, where none is given, and "?"
is not known, for the reason below the table.
"""

_CHECK = """\
Show every merge whose branches do not line up, worst first: where the branches
part, how far they are off, and the change of padding that repairs it; and what
else users of a network should know, such as holes in receptive fields.

Exit code 1 if a finding is at or above --fail-on and not accepted. Without an
input size, what depends on it is told for all sizes. Where a field is not known
even so, as behind an op that rfgraph does not know, its merges cannot be
checked; that is shown and counts as a warning, so that a network passes only
when it is known to be clean. Give --treat or --input-size to know more, or
--fail-on error to let it pass.

[tool.rfgraph] in the pyproject.toml of this folder, or of the nearest above it
that has one, may hold select, ignore and accept, which are lists, and fail-on.
The options come first; what --accept says is added.
"""

_SIZES = """\
Show the input sizes at which a network works, per axis: at others, maps that
meet differ in size or are shrunk to nothing. Beside them stand those at which
all its merges line up, where padding depends on the size. n is the input size;
"n mod 16 is 0 or 8, from 75" holds for 80, 88, 96 and so on.
"""

_TILE = """\
Show how to cut the input into tiles that are run one by one, so that their
outputs, less a halo, put together are exactly those of the whole: what tile
starts are multiples of, the halo at each side, and for some tile sizes how many
there are and what they cost.

Exit code 1 where exact tiling is forbidden, with the nodes that forbid it.
The formats bioimageio and monai give what those tools take, and what is lost.
"""

_LATENCY = """\
Show how a network streams: how far it looks ahead of an output's own position,
what chunks of input it takes, and what every layer keeps between them. Lengths
are in input samples, or rows of an image.

Exit code 1 where streaming is forbidden, with the nodes that forbid it, or where
the latency is above --max-ms.
"""

_SWEEP = """\
Look at many designs of a network: every combination of the values that --set and
--each give, or a sample of them, and tell what they see, whether they line up,
and what they cost where channels are known.

  rfgraph sweep model.onnx --set 'conv*.kernel=3,5,7' --set 'pool1.stride=1,2' \\
      --where 'r >= 256 and aligned' --best macs --input-size 224

A key is a node or a pattern of nodes, and an attribute. Values are numbers, one
per axis as 1x7, or words as same; [...] is read as JSON. What changes together
is joined by &: 'conv*.kernel & conv*.padding = 3&1, 5&2'.

A condition compares r, S, P, map_size, parameters and macs, on all axes and
nodes, or r[0], r["y"], r["node"]; it knows aligned, is_global, works, and, or,
not. What is not known does not fit.
"""

#: What the reason why something is not known speaks of -> the option for it.
_WAYS_OUT = {
    "input size": "give an input size, as --input-size 224",
    "treat=": "say what it reads, as --treat NODE=identity (or global, or cut)",
}

#: Tile sizes that are shown beside the best one, for a person to choose from.
_USUAL_TILES = (128, 256, 384, 512, 768, 1024, 1536, 2048)

Size = tuple[str | None, int | tuple[int, ...]]
Run = Callable[[argparse.Namespace], "tuple[View, int]"]
Options = Callable[[argparse.ArgumentParser], None]

#: New objects between two looks for cyclic garbage. Importing and reading make many objects and hardly a cycle, so that
#: to look as often as Python does takes a fifth of a short run.
OBJECTS_PER_LOOK = 200_000


def run() -> int:
    """Run the command that the process was started for and return its exit code, as ``main``."""
    gc.set_threshold(OBJECTS_PER_LOOK, *gc.get_threshold()[1:])
    try:
        return main()
    finally:
        gc.freeze()  # the process ends: what it leaves goes with it
        gc.disable()


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    Parameters
    ----------
    argv
        The arguments, by default those of the process.

    Raises
    ------
    SystemExit
        By ``--help`` and ``--version`` with code 0, and where the arguments cannot be read with code 2.
    """
    arguments = sys.argv[1:] if argv is None else argv
    options = _parser(arguments).parse_args(arguments)
    limit = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(0)  # strides are exact, and 15,000 layers of stride 2 have one of 4,516 digits
    try:
        view, code = options.run(options)
        _emit(view, options.format, options.output_file)
        return int(code)
    except (RFGraphError, OSError) as error:
        return _refuse(error)
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:  # 1 means found, and nothing else may end with it
        return _report(error)
    finally:
        sys.set_int_max_str_digits(limit)


# Arguments


def _parser(arguments: Sequence[str]) -> argparse.ArgumentParser:
    """Return what reads ``arguments``; commands that they do not name get no options, which take a while to make."""
    parser = argparse.ArgumentParser(
        prog="rfgraph",
        description="Exact receptive fields of convolutional networks, and every merge whose\npaths do not line up.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"rfgraph {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def command(name: str, run: Run, options: Options, about: str, description: str | None = None) -> None:
        added = commands.add_parser(
            name,
            help=about,
            description=description or f"Show {about}.",
            formatter_class=argparse.RawDescriptionHelpFormatter if description else argparse.HelpFormatter,
            allow_abbrev=False,
        )
        if name in arguments:
            _output(added, ("bioimageio", "monai") if name == "tile" else ())
            options(added)
            added.set_defaults(run=run)

    command("summary", _summary, _summary_options, "what every layer sees of the input", _SUMMARY)
    command("check", _check, _check_options, "merges whose branches do not line up", _CHECK)
    command("sizes", _sizes, _sizes_options, "the input sizes at which a network works and lines up", _SIZES)
    command("region", _region, _region_options, "the box of pixels that one feature of a layer reads")
    command("trace", _trace, _trace_options, "what one output reads of every layer before it")
    command("tile", _tile, _tile_options, "how to cut a big input into tiles, exactly", _TILE)
    command(
        "latency", _latency, _latency_options, "how far a streaming network looks ahead, and what it keeps", _LATENCY
    )
    command("sweep", _sweep, _sweep_options, "many designs of a network at once", _SWEEP)
    command("zoo", _zoo, lambda zoo: None, "the published networks, computed, beside what was published")
    return parser


def _summary_options(summary: argparse.ArgumentParser) -> None:
    _model(summary)
    _measured(summary)
    _alignment(summary)
    _policy(summary)
    summary.add_argument("--all", action="store_true", help="show layers that do not depend on the source too")
    summary.add_argument(
        "--effective", action="store_true", help="show how far the gradient of each layer is spread, at random weights"
    )
    summary.add_argument("--verbose", action="store_true", help="say which engine solved the network, and why")


def _check_options(check: argparse.ArgumentParser) -> None:
    _model(check)
    _measured(check)
    _alignment(check)
    _policy(check)
    check.add_argument(
        "--all",
        action="store_true",
        help="show every note and every accepted finding in full, not the first few of each rule",
    )
    check.add_argument(
        "--causal", metavar="AXIS", help="what looks ahead along this axis is a finding too (RF010), as for streaming"
    )
    check.add_argument("--fail-on", choices=SEVERITIES, help="exit 1 from this severity up (default: warning)")


def _sizes_options(sizes: argparse.ArgumentParser) -> None:
    _model(sizes)
    _source(sizes)
    _alignment(sizes)
    sizes.set_defaults(input_size=[])


def _region_options(region: argparse.ArgumentParser) -> None:
    _model(region)
    region.add_argument("layer", metavar="LAYER", help="name of a node")
    region.add_argument("index", metavar="INDEX", type=_index, help="its feature, one entry per axis: 3,5")
    _measured(region)


def _trace_options(trace: argparse.ArgumentParser) -> None:
    _model(trace)
    _input_size(trace)
    trace.add_argument("--output", metavar="NAME", help="the node to trace (default: the output, if there is one)")


def _tile_options(tile: argparse.ArgumentParser) -> None:
    _model(tile)
    _measured(tile)
    tile.add_argument("--layer", metavar="NAME", help="the output that is put together (default: the only one)")
    tile.add_argument(
        "--tile", metavar="SIZE", type=_pixels, action="append", default=[], help="pixels of a tile: 512, or 512x256"
    )
    tile.add_argument("--overlap", metavar="SIZE", type=_pixels, help="pixels that tiles share at least")
    tile.add_argument("--memory", metavar="BYTES", type=_natural, help="what the feature maps of a tile may take")


def _latency_options(latency: argparse.ArgumentParser) -> None:
    _model(latency)
    _measured(latency)
    latency.add_argument("--layer", metavar="NAME", help="the output (default: the only one)")
    latency.add_argument("--axis", metavar="NAME", help="the axis that is streamed (default: the first)")
    latency.add_argument("--sample-rate", metavar="HZ", type=_natural, help="samples per second")
    latency.add_argument("--chunk", metavar="N", type=_natural, help="samples that come at once")
    latency.add_argument("--max-ms", metavar="MS", type=float, help="exit 1 where the latency is above it")


def _output(command: argparse.ArgumentParser, more: Sequence[str] = ()) -> None:
    forms = ("table", "json", "csv", "md", *more)
    command.add_argument("--format", choices=forms, default="table", help="default: a table for people")
    command.add_argument("-o", dest="output_file", metavar="FILE", help="write to FILE instead")


def _model(command: argparse.ArgumentParser) -> None:
    command.add_argument("model", metavar="MODEL", help=MODEL)
    command.add_argument(
        "--treat",
        metavar="PATTERN=HOW",
        type=_treatment,
        action="append",
        default=[],
        help="what nodes read whose name or op fits the pattern: identity (their own position), global (the whole map) "
        "or cut (nothing); several patterns may be given, of which the first that fits counts",
    )
    command.add_argument(
        "--axes",
        metavar="[NAME:]AXES",
        type=_axes,
        action="append",
        default=[],
        help="which dimensions of an input are spatial, where the model does not tell: a letter for each that is an "
        "axis and a dot for any other, as in 'image: ..HW'; without a name, of all inputs",
    )
    command.add_argument(
        "--set-input",
        metavar="NAME=VALUE",
        type=_setting,
        action="append",
        default=[],
        help="what an input of a model file holds, as sr=16000; of the branches that it decides only one is left",
    )
    command.add_argument(
        "--batch-norm",
        choices=("inference", "training"),
        default="inference",
        help="training: batch normalisation reads the whole map (default: inference)",
    )


def _input_size(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--input-size",
        metavar="SIZE",
        type=_size,
        action="append",
        default=[],
        help="size of the input in pixels: 224, or one per axis as 224x320 (y before x); NAME=224, once per input, "
        "where inputs differ",
    )


def _measured(command: argparse.ArgumentParser) -> None:
    _input_size(command)
    _source(command)


def _source(command: argparse.ArgumentParser) -> None:
    command.add_argument("--source", metavar="NAME", help="node to measure from (default: the input, if there is one)")


def _alignment(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--alignment",
        metavar="MODE",
        default="auto",
        help="what lines up: center, causal (branches end at the same index), or auto (default: centres, but what is "
        "causal on purpose is a note); one for all axes or one per axis as causal,center",
    )


def _sweep_options(sweep: argparse.ArgumentParser) -> None:
    _model(sweep)
    choice = "PATTERN.ATTRIBUTE=VALUES"
    sweep.add_argument(
        "--set", metavar=choice, action="append", default=[], help="values that all nodes that fit take together"
    )
    sweep.add_argument(
        "--each", metavar=choice, action="append", default=[], help="values that each node that fits takes on its own"
    )
    sweep.add_argument("--designs", metavar="FILE", help="JSON: a list of designs, or a mapping from keys to values")
    sweep.add_argument("--sample", metavar="N", type=_natural, help="look at N designs drawn at random")
    sweep.add_argument("--seed", metavar="N", type=_natural, default=0, help="which sample (default: 0)")
    sweep.add_argument("--where", metavar="CONDITION", help="which designs to keep, as 'r >= 256 and aligned'")
    sweep.add_argument("--best", metavar="COST", help="keep those of least cost, sorted, as macs or parameters")
    sweep.add_argument("--keep", metavar="N", type=_natural, help="how many --best keeps (default: 10)")
    sweep.add_argument("--node", metavar="NAME", action="append", help="a node to tell of (default: the outputs)")
    _measured(sweep)
    _alignment(sweep)
    sweep.add_argument("--to", metavar="FOLDER", help="write results there in chunks; run again to go on after a stop")
    sweep.add_argument("--to-format", choices=("npz", "parquet"), default="npz", help="what chunks are (default: npz)")
    sweep.add_argument("--jobs", metavar="N", type=int, help="chunks to do at once; -1 for one per core (needs joblib)")


def _natural(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,18}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 up")
    return int(text)


def _policy(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--select",
        metavar="RULES",
        type=_rules,
        action="extend",
        help="rules that are looked at, by their ids or what these begin with, as RF001,RF002 (default: RF, all)",
    )
    command.add_argument(
        "--ignore",
        metavar="RULES",
        type=_rules,
        action="extend",
        help="rules that are not looked at, though selected",
    )
    command.add_argument(
        "--accept",
        metavar="RULE:NODE",
        action="append",
        default=[],
        help="findings that are known and accepted: they are shown as such and do not fail a check; NODE may be a "
        "pattern, as RF002:block*/add",
    )


def _rules(text: str) -> list[str]:
    return [entry.strip() for entry in text.split(",")]


def _size(text: str) -> Size:
    name, found, size = text.rpartition("=")
    if not re.fullmatch(r"[0-9]{1,18}(x[0-9]{1,18})*", size):
        raise argparse.ArgumentTypeError(f"{text!r} is not a size; write 224, 224x320 or NAME=224")
    entries = tuple(map(int, size.split("x")))
    return name if found else None, entries if len(entries) > 1 else entries[0]


def _pixels(text: str) -> int | tuple[int, ...]:
    name, size = _size(text)
    if name is not None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of pixels, as 512 or 512x256")
    return size


def _axes(text: str) -> tuple[str | None, str]:
    name, found, letters = text.rpartition(":")
    return name.strip() if found else None, letters.strip()


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


def _setting(text: str) -> tuple[str, Any]:
    import json

    name, found, value = text.rpartition("=")
    try:
        held = json.loads(value) if found else None
    except (ValueError, RecursionError):
        held = None
    if held is None or isinstance(held, (str, dict)):
        raise argparse.ArgumentTypeError(f"{text!r} says of no input what it holds; write sr=16000, or sizes=[64,64]")
    return name, held


def _treatment(text: str) -> tuple[str, str]:
    pattern, found, how = text.rpartition("=")
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} is not a treatment; write PATTERN=identity, =global or =cut")
    return pattern, how


def _index(text: str) -> tuple[int, ...]:
    if not re.fullmatch(r"-?[0-9]{1,18}(,-?[0-9]{1,18})*", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not an index; write one number per axis, as 3,5")
    return tuple(map(int, text.split(",")))


# Commands


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
    flags = (options.all, options.verbose, options.effective)
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
    view = Check(report, judge(found, settings.policy), options.model, _WAYS_OUT, options.all)
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
    return Sizes(_analyze(options, graph), options.model, stated, len(inputs), _WAYS_OUT), CLEAN


def _region(options: argparse.Namespace) -> tuple[View, int]:
    from rfgraph.present.views import RegionView

    report = _analyze(options)
    layer = _named(report, options.layer)
    try:
        region = report.region(layer, options.index)
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


def _zoo(options: argparse.Namespace) -> tuple[View, int]:
    from rfgraph.present.zoo import Zoo

    return Zoo(_zoo_rows()), CLEAN


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

    return importers.load(
        options.model, dict(options.treat), _input_sizes(options), dict(options.set_input), _stated_axes(options)
    )


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


def _named(nodes: Any, name: str | None) -> Hashable:
    """Return the node that an argument names; graphs from Python may have names that are no strings."""
    if name is None or name in nodes:
        return name
    same = [node for node in nodes if str(node) == name]
    return same[0] if len(same) == 1 else name


def _written(size: Any) -> str:
    return "x".join(map(str, size)) if isinstance(size, (list, tuple)) else str(size)


# Output


def _emit(view: View, form: str, path: str | None) -> None:
    """Write a view, made whole before anything is opened, so that a failure leaves an existing file alone."""
    if path is not None:
        Path(path).write_text(_text(view, form, None), encoding="utf-8", newline="")
        return
    stream = sys.stdout
    width = None
    if stream.isatty():
        import shutil

        width = shutil.get_terminal_size().columns
    text = _text(view, form, width)
    encoding = stream.encoding or "utf-8"
    try:
        stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
        stream.flush()
    except OSError as error:
        # What is left in the buffer goes nowhere, or Python complains of it once more when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        if not isinstance(error, BrokenPipeError):
            raise


def _text(view: View, form: str, width: int | None) -> str:
    if form in ("json", "bioimageio", "monai"):
        from rfgraph.present import as_json

        return as_json.text(view.document())
    if form == "csv":
        from rfgraph.present import as_csv

        return as_csv.text(view.records())
    if form == "md":
        from rfgraph.present import as_markdown

        return as_markdown.text(view.sheet())
    from rfgraph.present import as_table

    return as_table.text(view.sheet(), width)


def _refuse(error: RFGraphError | OSError) -> int:
    from rfgraph.present.rows import printable

    said = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) and error.filename else str(error)
    for argument, option in (("pass source=", "pass --source NAME"), ("pass output=", "pass --output NAME")):
        said = said.replace(argument, option)
    print(f"rfgraph: {printable(' '.join(said.splitlines()))}", file=sys.stderr)
    return UNREADABLE


def _report(error: Exception) -> int:
    """Say what no one foresaw in one paragraph, with the place in the code for those who will repair it."""
    import traceback

    from rfgraph.present.rows import printable

    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if f"{os.sep}rfgraph{os.sep}" in frame.filename] or list(frames)
    place = f" at {Path(own[-1].filename).name}:{own[-1].lineno}" if own else ""
    said = " ".join(str(error).split())[:300]
    print(
        printable(
            f"rfgraph: an error in rfgraph itself, {type(error).__name__}{place}: {said or 'it says no more'}; "
            "please report it with the command and, if you can, the model"
        ),
        file=sys.stderr,
    )
    return UNFORESEEN
