"""What each command takes: its options, how their texts are read, and what ``--help`` says.

A new command is a row of ``COMMANDS`` here, and what it does a row of ``commands.COMMANDS``.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from rfgraph.cli.parsing import Parser, nearest
from rfgraph.version import __version__

#: As ``rfgraph.questions.findings.SEVERITIES``, which would import networkx.
SEVERITIES = ("note", "warning", "error")
#: As ``rfgraph.present.checks.CI_FORMS``.
CI_FORMS = ("concise", "github", "sarif", "junit")

MODEL = "a model file (.onnx, .pt2, .keras, .pb, .tflite, .json, ...), zoo:NAME, or path/to/file.py:function"
#: What stands for several of them.
MODELS = (
    "of several, each; a folder stands for all model files below it, a pattern for what fits, - for a list on stdin"
)

_EPILOG = """\
MODEL is a model file (.onnx; .pt2 of PyTorch; .keras, .h5; .pb, .pbtxt or a
SavedModel of TensorFlow; model.json of TensorFlow.js; .tflite; .xml of
OpenVINO; .param of ncnn; a networkx node-link .json), zoo:NAME for a
published network (see `rfgraph zoo`), or path/to/file.py:function for a
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
  rfgraph trace zoo:vgg_16 -o trace.csv
  rfgraph check models/*.onnx
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
that has one, may hold select, ignore and accept, which are lists, fail-on,
input-size, alignment, causal, treat (a table of patterns), and budget, a table
of min-r, max-look-ahead, max-parameters and tile-multiple: not to keep to it is
an error. [tool.rfgraph.models."audio/*"] holds the same for some models alone.
The options come first; what --accept says is added.

The formats concise, github, sarif and junit are for editors, annotations of
GitHub, code scanning, and test reports. `rfgraph rule RF002` explains a rule.
"""

_DIFF = """\
Show what layers of two models see differently: map size n, field r, stride S
and padding P, as first -> second, and the shift of their centres in input
pixels; which layers, outputs and findings only one of them has, and the
parameters.

Layers are matched by name where the models share half of their names, as two
versions do; else by place in the graph, as two formats of one model are, whose
layers that hand on what they read are not compared then.

  rfgraph diff frozen.pb ported.onnx --input-size 224
  rfgraph diff main.onnx branch.onnx --format md

Exit code 1 where they differ: layers by more than --tolerate pixels in n, r, P
or centre, or anything else at all.
"""

_ANNOTATE = """\
Write what was found into a copy of a model, for viewers of graphs:

  rfgraph annotate model.onnx -o annotated.onnx   for Netron, which shows it as
                                                  metadata of each node
  rfgraph annotate model.onnx -o r.json           node data for Model Explorer

r, S, P, n, the status and findings stand under keys that begin with "rfgraph.";
those of an earlier annotation are replaced, and every other byte of the model
stays as it is. Weights in files of their own are not touched: put the copy
beside them.
"""

_REPAIR = """\
Write a copy of a model with the changes of padding that findings advise, and
show what was changed, and what is left and why. Each change was tried: the copy
is solved again, and has none of the findings that were mended, nor serious new
ones.

  rfgraph repair model.onnx -o repaired.onnx
  rfgraph repair net.json -o repaired.json --select RF002 --node 'block3/*'

FILE is .json, for networks, or .onnx, for ONNX models. Of the findings that
--select, --ignore and --accept choose those are repaired that say how.

Weights were trained with the old paddings: train or tune them again.

Exit code 1 where something that was chosen is left. Nothing is written where
there is nothing to repair.
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
The formats bioimageio, monai and careamics give what those tools take, and what
is lost.
"""

_LATENCY = """\
Show how a network streams: how far it looks ahead of an output's own position,
what chunks of input it takes, and what every layer keeps between them. Lengths
are in input samples, or rows of an image.

Exit code 1 where streaming is forbidden, with the nodes that forbid it, or
where the latency is above --max-ms.
"""

_DRAW = """\
Draw the graph of a network with r and S of every node. Nodes that belong to a
module by their names stand in one box. Merges whose branches do not line up are
coloured: red for an error, yellow for a warning, blue for a note.

svg and png are pictures (png needs matplotlib: pip install 'rfgraph[plot]');
dot is for Graphviz, mermaid for Markdown. Without -o the picture goes to the
output.
"""

_REPORT = """\
Write a page for a browser that holds all there is to see of a network: its
graph, the field of every feature on every map on the way, the findings with
their branches, tables, tiling and latency. It is one file that works from disk
and fetches nothing; pictures that are dropped on it stay on the machine.

  rfgraph report model.onnx --input-size 224 -o report.html
"""

_FIELD = """\
Show how strongly one feature of a layer feels each position of the input: the
mean square of its gradient over random weights, or the gradient itself where
weights are fixed. The theoretical field says what can matter, this one what
does.

With --input-size it is cut at the borders of all maps. A FILE that ends in .npy
is the map itself, one that ends in .png a heat map, which needs matplotlib: pip
install 'rfgraph[plot]'; csv has a row per position.
"""

_STRONGEST = """\
Run a model on an image and show the features of a layer that answer most
strongly, with the pixels that each can see and the smallest square that holds
half of what it feels.

A FILE that ends in .png is the image with these boxes, which needs matplotlib:
pip install 'rfgraph[plot]'.
"""

_SWEEP = """\
Look at many designs of a network: every combination of the values that --set
and --each give, or a sample of them, and tell what they see, whether they line
up, and what they cost where channels are known.

  rfgraph sweep model.onnx --set 'conv*.kernel=3,5,7' --set 'pool1.stride=1,2' \\
      --where 'r >= 256 and aligned' --best macs --input-size 224

A key is a node or a pattern of nodes, and an attribute. Values are numbers, one
per axis as 1x7, or words as same; [...] is read as JSON. What changes together
is joined by &: 'conv*.kernel & conv*.padding = 3&1, 5&2'.

A condition compares r, S, P, map_size, parameters and macs, on all axes and
nodes, or r[0], r["y"], r["node"]; it knows aligned, is_global, works, and, or,
not. What is not known does not fit.
"""

_COMPLETION = """\
Write the script by which a shell completes commands, options and files; it
needs shtab (pip install 'rfgraph[completion]').

  rfgraph completion bash > ~/.local/share/bash-completion/completions/rfgraph
  rfgraph completion zsh > FOLDER/_rfgraph, where FOLDER is one of $fpath
  rfgraph completion fish > ~/.config/fish/completions/rfgraph.fish
"""

#: Shells that are served.
SHELLS = ("bash", "zsh", "fish")

Size = tuple[str | None, int | tuple[int, ...]]
Options = Callable[[argparse.ArgumentParser], None]


class Command(NamedTuple):
    """What is told of a command, and what adds its options to a parser."""

    options: Options
    about: str
    description: str | None = None
    #: What ``--format`` takes beside the usual ones.
    forms: tuple[str, ...] = ()
    #: Whether what it makes is a file of a form of its own: what ``--format`` takes then, the first by default.
    makes: tuple[str, ...] = ()
    #: Whether it writes a model of its own, to the FILE of ``-o``, and shows what it did.
    edits: bool = False


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Return what the arguments ask for.

    Raises
    ------
    SystemExit
        By ``--help``, ``--version`` and without arguments with code 0, and where they cannot be read with code 2.
    """
    whole = parser(arguments)
    if not arguments:
        whole.print_help()
        raise SystemExit(0)
    name = next((argument for argument in arguments if not argument.startswith("-")), None)
    if name is not None and name not in COMMANDS:
        hint = nearest(name, COMMANDS)
        if not hint and (":" in name or "." in name):
            hint = f"; do you mean rfgraph summary {name}?"
        whole.error(f"argument COMMAND: invalid choice: {name!r} (choose from {', '.join(COMMANDS)}){hint}")
    if name is not None:
        command = whole.commands[name]
        command.refuse_unknown(arguments[list(arguments).index(name) + 1 :])
        options, others = whole.parse_known_args(arguments)
        if others:
            command.error(f"unrecognized arguments: {' '.join(others)}")
    else:
        options = whole.parse_args(arguments)
    if options.format is None and not COMMANDS[options.command].makes:
        options.format = form_of(options.output_file, ("table", *FORMS, *COMMANDS[options.command].forms))
    return options


#: What every view can be written as, beside the table for people.
FORMS = ("json", "csv", "md")

#: What files of a format end in besides its name.
_ENDINGS = {"markdown": "md", "txt": "table"}


def form_of(path: str | None, forms: Sequence[str]) -> str:
    """Return which of ``forms`` a file is in by what its name ends in; the first where it does not tell.

    Examples
    --------
    >>> form_of("table.json", ("table", "json")), form_of("table.xyz", ("table", "json")), form_of(None, ("table",))
    ('json', 'table', 'table')
    """
    ending = "" if path is None else path.rpartition(".")[2].lower()
    form = _ENDINGS.get(ending, ending)
    return form if form in forms else forms[0]


class _Versions(argparse.Action):
    """Shows the version, and those of what is needed and of what reads models."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        from rfgraph.cli.versions import lines

        print(f"rfgraph {__version__}", *lines(), sep="\n")
        parser.exit()


class _Parser(Parser):
    """The parser of all commands."""

    #: Name of a command -> its own parser.
    commands: dict[str, Parser]


def parser(arguments: Sequence[str]) -> _Parser:
    """Return what reads ``arguments``; commands that they do not name get no options, which take a while to make."""
    parser = _Parser(
        prog="rfgraph",
        description="Exact receptive fields of convolutional networks, and every merge whose\npaths do not line up.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action=_Versions, nargs=0, help="show versions, of readers too, and exit")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True, parser_class=Parser)
    parser.commands = {}
    for name, command in COMMANDS.items():
        added = commands.add_parser(
            name,
            help=command.about,
            description=command.description or f"Show {command.about}.",
            formatter_class=argparse.RawDescriptionHelpFormatter if command.description else argparse.HelpFormatter,
            allow_abbrev=False,
        )
        parser.commands[name] = added
        if name in arguments:
            if command.edits:
                _edited(added)
            elif command.makes:
                _made(added, command.makes)
            else:
                _output(added, command.forms)
            command.options(added)
            _remarks(added)
            added.set_defaults(command=name)
    return parser


def _remarks(command: argparse.ArgumentParser) -> None:
    """Add what is said on the standard error besides the answer."""
    command.add_argument("-q", "--quiet", action="store_true", help="show no progress")
    command.add_argument(
        "-v", "--verbose", action="store_true", help="say what solved the network, and where an error comes from"
    )


def _summary_options(summary: argparse.ArgumentParser) -> None:
    _model(summary, several=True)
    _measured(summary)
    _alignment(summary)
    _policy(summary)
    summary.add_argument(
        "--all",
        action="store_true",
        help="show layers that do not depend on the source too, and on a terminal those that change none of n, r, S, P",
    )
    summary.add_argument(
        "--depth",
        metavar="N",
        type=_natural,
        help="show modules that lie inside N others as one row; 0 folds all (default: every layer is shown)",
    )
    summary.add_argument(
        "--columns",
        metavar="NAMES",
        type=_rules,
        help="columns to show, in their order, as layer,r,S,MACs (default: what is known, on a terminal what fits)",
    )
    summary.add_argument(
        "--effective", action="store_true", help="show how far the gradient of each layer is spread, at random weights"
    )


def _check_options(check: argparse.ArgumentParser) -> None:
    _model(check, several=True)
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
    check.add_argument("--exit-zero", action="store_true", help="exit 0 whatever is found; 2 where a model is not read")
    check.add_argument(
        "--baseline",
        metavar="FILE",
        help="what was found before (the JSON of an earlier check) is accepted, so that only what is new fails",
    )


def _rule_options(rule: argparse.ArgumentParser) -> None:
    rule.add_argument("rule", metavar="RULE", nargs="?", help="the id of a rule, as RF002 (default: all, one a row)")


def _diff_options(diff: argparse.ArgumentParser) -> None:
    _model(diff)
    diff.add_argument("other", metavar="OTHER", help="the model that it is compared with: another version, or format")
    _measured(diff)
    _alignment(diff)
    diff.add_argument(
        "--tolerate",
        metavar="PIXELS",
        type=_natural,
        default=0,
        help="pixels by which n, r, P and centres of a layer may differ (default: 0)",
    )
    diff.add_argument("--all", action="store_true", help="show each layer that differs, on a terminal too")


def _sizes_options(sizes: argparse.ArgumentParser) -> None:
    _model(sizes)
    _source(sizes)
    _alignment(sizes)
    sizes.set_defaults(input_size=[])


def _region_options(region: argparse.ArgumentParser) -> None:
    _model(region)
    region.add_argument("layer", metavar="LAYER", help="name of a node")
    region.add_argument(
        "index", metavar="INDEX", type=_index, help="its feature, one entry per axis: 3,5; -1 is the last"
    )
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
    forms = ("table", *FORMS, *more)
    command.add_argument("--format", choices=forms, help="default: what FILE ends in, else a table for people")
    command.add_argument("-o", dest="output_file", metavar="FILE", help="write to FILE instead")


def _draw_options(draw: argparse.ArgumentParser) -> None:
    _model(draw)
    _measured(draw)
    _alignment(draw)
    draw.add_argument(
        "--depth",
        metavar="N",
        type=_natural,
        help="draw modules that lie inside N others as one box; 0 folds all (default: every node is shown)",
    )


def _report_options(report: argparse.ArgumentParser) -> None:
    _model(report)
    _measured(report)
    _alignment(report)
    report.add_argument("--sample-rate", metavar="HZ", type=_natural, help="samples per second, for the latency in ms")


def _edited(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--format", choices=("table", "json"), default="table", help="of what is shown (default: table)"
    )
    command.add_argument("-o", dest="result_file", metavar="FILE", required=True, help="the file to write")
    command.add_argument("--overwrite", action="store_true", help="write FILE though it is the model itself")
    command.set_defaults(output_file=None)


def _annotate_options(annotate: argparse.ArgumentParser) -> None:
    _model(annotate)
    _measured(annotate)
    _alignment(annotate)


def _repair_options(repair: argparse.ArgumentParser) -> None:
    _model(repair)
    _measured(repair)
    _alignment(repair)
    _policy(repair)
    repair.add_argument("--causal", metavar="AXIS", help="make what looks ahead along this axis causal (RF010)")
    repair.add_argument(
        "--node",
        metavar="PATTERN",
        action="append",
        default=[],
        help="repair findings at these nodes alone; several may be given (default: all)",
    )


def _made(command: argparse.ArgumentParser, forms: Sequence[str]) -> None:
    if len(forms) > 1:
        command.add_argument("--format", choices=forms, help=f"default: what FILE ends in, else {forms[0]}")
    else:
        command.set_defaults(format=forms[0])
    command.add_argument("-o", dest="output_file", metavar="FILE", help="write to FILE instead")


def _model(command: argparse.ArgumentParser, several: bool = False) -> None:
    if several:
        command.add_argument("models", metavar="MODEL", nargs="+", help=f"{MODEL}; {MODELS}")
    else:
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
        help="size of the input in pixels: 224, or one per axis as 224x320 (y before x); a full shape as 1,3,224,320; "
        "NAME=224, once per input, where inputs differ",
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
    name, separator, size = text.rpartition("=")
    if not re.fullmatch(r"[0-9]{1,18}([x,] ?[0-9]{1,18})*", size.strip("()[] ")):
        raise argparse.ArgumentTypeError(f"{text!r} is not a size; write 224, 224x320 or NAME=224")
    entries = tuple(map(int, re.split("[x,]", size.strip("()[] "))))
    if len(entries) > 3:  # the full shape, as torchinfo takes it: with images, and channels first or last
        last = entries[-1] <= 4 < entries[1]
        entries = entries[1:-1] if last else entries[2:]
    return name if separator else None, entries if len(entries) > 1 else entries[0]


def _pixels(text: str) -> int | tuple[int, ...]:
    name, size = _size(text)
    if name is not None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of pixels, as 512 or 512x256")
    return size


def _axes(text: str) -> tuple[str | None, str]:
    name, separator, letters = text.rpartition(":")
    return name.strip() if separator else None, letters.strip()


def _setting(text: str) -> tuple[str, Any]:
    import json

    name, separator, value = text.rpartition("=")
    try:
        held = json.loads(value) if separator else None
    except (ValueError, RecursionError):
        held = None
    if held is None or isinstance(held, (str, dict)):
        raise argparse.ArgumentTypeError(f"{text!r} says of no input what it holds; write sr=16000, or sizes=[64,64]")
    return name, held


def _treatment(text: str) -> tuple[str, str]:
    pattern, separator, how = text.rpartition("=")
    if not separator:
        raise argparse.ArgumentTypeError(f"{text!r} is not a treatment; write PATTERN=identity, =global or =cut")
    return pattern, how


def _index(text: str) -> tuple[int, ...]:
    if not re.fullmatch(r"-?[0-9]{1,18}(,-?[0-9]{1,18})*", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not an index; write one number per axis, as 3,5")
    return tuple(map(int, text.split(",")))


def _field_options(field: argparse.ArgumentParser) -> None:
    _model(field)
    field.add_argument("layer", metavar="LAYER", help="name of a node")
    field.add_argument(
        "--index", metavar="INDEX", type=_index, help="its feature, as 3,5 or -1,-1 (default: the middle one)"
    )
    field.add_argument(
        "--weights",
        metavar="[PATTERN=]WEIGHTS",
        type=_weights,
        action="append",
        default=[],
        help="random (default), uniform, corners or outside-large; for some layers alone as 'conv*=random', or their "
        "taps as 'blur=1,2,1', others being uniform then",
    )
    field.add_argument("--measured", action="store_true", help="run the model too (.onnx, .keras), beside the theory")
    field.add_argument("--images", metavar="DIR", help="images to run it on (default: random ones)")
    field.add_argument("--samples", metavar="N", type=_natural, default=20, help="gradients to take (default: 20)")
    field.add_argument("--gate", metavar="SHARE", type=float, default=0.5, help="of values past a ReLU (default: 0.5)")
    field.add_argument("--skip", metavar="FACTOR", type=float, default=1.0, help="of skip connections (default: 1)")
    _measured(field)


def _strongest_options(strongest: argparse.ArgumentParser) -> None:
    strongest.add_argument("model", metavar="MODEL", help="a model that can be run: an .onnx or .keras file")
    strongest.add_argument("image", metavar="IMAGE", help="an image, scaled to 0 to 1, or an .npy array [C, *axes]")
    strongest.add_argument("layer", metavar="LAYER", help="name of a node, or of a layer of Keras")
    strongest.add_argument("--channel", metavar="N", type=_natural, help="the channel to look at (default: all)")
    strongest.add_argument("--top", metavar="N", type=_natural, default=5, help="how many features (default: 5)")


def _zoo_options(zoo: argparse.ArgumentParser) -> None:
    zoo.add_argument("--accuracy", action="store_true", help="show published accuracy beside r and MACs instead")


def _completion_options(completion: argparse.ArgumentParser) -> None:
    completion.add_argument("shell", choices=SHELLS, help="the shell that completes commands and options")


def _weights(text: str) -> str | tuple[str, str | list[float]]:
    pattern, separator, said = text.rpartition("=")
    if not separator:
        return said
    try:
        return pattern, [float(tap) for tap in said.split(",")]
    except ValueError:
        return pattern, said


#: Name of a command -> what it takes. Those that do it stand in ``commands.COMMANDS``.
COMMANDS = {
    "summary": Command(_summary_options, "what every layer sees of the input", _SUMMARY),
    "check": Command(_check_options, "merges whose branches do not line up", _CHECK, CI_FORMS),
    "rule": Command(_rule_options, "what a rule of check is about, with an example and how to mend it"),
    "diff": Command(_diff_options, "what two models differ in: versions, or formats of one", _DIFF),
    "annotate": Command(
        _annotate_options, "write r, S, P and findings into a model file, for viewers", _ANNOTATE, edits=True
    ),
    "repair": Command(_repair_options, "write a model with the paddings that findings advise", _REPAIR, edits=True),
    "sizes": Command(_sizes_options, "the input sizes at which a network works and lines up", _SIZES),
    "region": Command(_region_options, "the box of pixels that one feature of a layer reads"),
    "trace": Command(_trace_options, "what one output reads of every layer before it"),
    "tile": Command(
        _tile_options, "how to cut a big input into tiles, exactly", _TILE, ("bioimageio", "monai", "careamics")
    ),
    "latency": Command(_latency_options, "how far a streaming network looks ahead, and what it keeps", _LATENCY),
    "draw": Command(
        _draw_options, "the graph, with r and S of every node", _DRAW, makes=("svg", "png", "dot", "mermaid")
    ),
    "report": Command(_report_options, "everything, on a page for a browser", _REPORT, makes=("html",)),
    "sweep": Command(_sweep_options, "many designs of a network at once", _SWEEP),
    "field": Command(_field_options, "how strongly one feature feels each position of the input", _FIELD),
    "strongest": Command(
        _strongest_options, "the strongest features of a layer, and the pixels they looked at", _STRONGEST
    ),
    "zoo": Command(_zoo_options, "the published networks, computed, beside what was published"),
    "completion": Command(
        _completion_options, "a script by which a shell completes commands", _COMPLETION, makes=("script",)
    ),
}
