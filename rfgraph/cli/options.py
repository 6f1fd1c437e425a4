"""What each command takes: its options.

A new command is a row of ``COMMANDS`` here, and what it does a row of ``commands.COMMANDS``.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from rfgraph.cli import descriptions, values
from rfgraph.cli.parsing import Parser, nearest
from rfgraph.version import __version__

#: As ``rfgraph.questions.findings.SEVERITIES``, which would import networkx.
SEVERITIES = ("note", "warning", "error")
#: As ``rfgraph.present.checks.CI_FORMS``.
CI_FORMS = ("concise", "github", "sarif", "junit")

#: Shells that are served.
SHELLS = ("bash", "zsh", "fish")
Options = Callable[[argparse.ArgumentParser], None]
#: Reads the text of a value.
Read = Callable[[str], Any]


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
        epilog=descriptions.EPILOG,
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


def _flag(command: argparse.ArgumentParser, name: str, about: str) -> None:
    command.add_argument(name, action="store_true", help=about)


def _value(
    command: argparse.ArgumentParser, name: str, kind: str, about: str, read: Read | None = None, default: Any = None
) -> None:
    command.add_argument(name, metavar=kind, help=about, type=read or str, default=default)


def _values(command: argparse.ArgumentParser, name: str, kind: str, about: str, read: Read | None = None) -> None:
    """Add an option that may be given several times."""
    command.add_argument(name, metavar=kind, help=about, type=read or str, action="append", default=[])


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
    _flag(
        summary,
        "--all",
        "show layers that do not depend on the source too, and on a terminal those that change none of n, r, S, P",
    )
    _value(
        summary,
        "--depth",
        "N",
        "show modules that lie inside N others as one row; 0 folds all (default: every layer is shown)",
        values.natural,
    )
    _value(
        summary,
        "--columns",
        "NAMES",
        "columns to show, in their order, as layer,r,S,MACs (default: what is known, on a terminal what fits)",
        values.entries,
    )
    _flag(summary, "--effective", "show how far the gradient of each layer is spread, at random weights")


def _check_options(check: argparse.ArgumentParser) -> None:
    _model(check, several=True)
    _measured(check)
    _alignment(check)
    _policy(check)
    _flag(check, "--all", "show every note and every accepted finding in full, not the first few of each rule")
    _value(check, "--causal", "AXIS", "what looks ahead along this axis is a finding too (RF010), as for streaming")
    check.add_argument("--fail-on", choices=SEVERITIES, help="exit 1 from this severity up (default: warning)")
    _flag(check, "--exit-zero", "exit 0 whatever is found; 2 where a model is not read")
    _value(
        check,
        "--baseline",
        "FILE",
        "what was found before (the JSON of an earlier check) is accepted, so that only what is new fails",
    )


def _rule_options(rule: argparse.ArgumentParser) -> None:
    rule.add_argument("rule", metavar="RULE", nargs="?", help="the id of a rule, as RF002 (default: all, one a row)")


def _diff_options(diff: argparse.ArgumentParser) -> None:
    _model(diff)
    _value(diff, "other", "OTHER", "the model that it is compared with: another version, or format")
    _measured(diff)
    _alignment(diff)
    _value(
        diff,
        "--tolerate",
        "PIXELS",
        "pixels by which n, r, P and centres of a layer may differ (default: 0)",
        values.natural,
        default=0,
    )
    _flag(diff, "--all", "show each layer that differs, on a terminal too")


def _sizes_options(sizes: argparse.ArgumentParser) -> None:
    _model(sizes)
    _source(sizes)
    _alignment(sizes)
    sizes.set_defaults(input_size=[])


def _region_options(region: argparse.ArgumentParser) -> None:
    _model(region)
    _value(region, "layer", "LAYER", "name of a node")
    _value(region, "index", "INDEX", "its feature, one entry per axis: 3,5; -1 is the last", values.index)
    _measured(region)


def _trace_options(trace: argparse.ArgumentParser) -> None:
    _model(trace)
    _input_size(trace)
    _value(trace, "--output", "NAME", "the node to trace (default: the output, if there is one)")


def _tile_options(tile: argparse.ArgumentParser) -> None:
    _model(tile)
    _measured(tile)
    _value(tile, "--layer", "NAME", "the output that is put together (default: the only one)")
    _values(tile, "--tile", "SIZE", "pixels of a tile: 512, or 512x256", values.pixels)
    _value(tile, "--overlap", "SIZE", "pixels that tiles share at least", values.pixels)
    _value(tile, "--memory", "BYTES", "what the feature maps of a tile may take", values.natural)


def _latency_options(latency: argparse.ArgumentParser) -> None:
    _model(latency)
    _measured(latency)
    _value(latency, "--layer", "NAME", "the output (default: the only one)")
    _value(latency, "--axis", "NAME", "the axis that is streamed (default: the first)")
    _value(latency, "--sample-rate", "HZ", "samples per second", values.natural)
    _value(latency, "--chunk", "N", "samples that come at once", values.natural)
    _value(latency, "--max-ms", "MS", "exit 1 where the latency is above it", float)


def _output(command: argparse.ArgumentParser, more: Sequence[str] = ()) -> None:
    forms = ("table", *FORMS, *more)
    command.add_argument("--format", choices=forms, help="default: what FILE ends in, else a table for people")
    command.add_argument("-o", dest="output_file", metavar="FILE", help="write to FILE instead")


def _draw_options(draw: argparse.ArgumentParser) -> None:
    _model(draw)
    _measured(draw)
    _alignment(draw)
    _value(
        draw,
        "--depth",
        "N",
        "draw modules that lie inside N others as one box; 0 folds all (default: every node is shown)",
        values.natural,
    )


def _report_options(report: argparse.ArgumentParser) -> None:
    _model(report)
    _measured(report)
    _alignment(report)
    _value(report, "--sample-rate", "HZ", "samples per second, for the latency in ms", values.natural)


def _edited(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--format", choices=("table", "json"), default="table", help="of what is shown (default: table)"
    )
    command.add_argument("-o", dest="result_file", metavar="FILE", required=True, help="the file to write")
    _flag(command, "--overwrite", "write FILE though it is the model itself")
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
    _value(repair, "--causal", "AXIS", "make what looks ahead along this axis causal (RF010)")
    _values(repair, "--node", "PATTERN", "repair findings at these nodes alone; several may be given (default: all)")


def _made(command: argparse.ArgumentParser, forms: Sequence[str]) -> None:
    if len(forms) > 1:
        command.add_argument("--format", choices=forms, help=f"default: what FILE ends in, else {forms[0]}")
    else:
        command.set_defaults(format=forms[0])
    command.add_argument("-o", dest="output_file", metavar="FILE", help="write to FILE instead")


def _model(command: argparse.ArgumentParser, several: bool = False) -> None:
    if several:
        command.add_argument("models", metavar="MODEL", nargs="+", help=f"{descriptions.MODEL}; {descriptions.MODELS}")
    else:
        _value(command, "model", "MODEL", descriptions.MODEL)
    _values(
        command,
        "--treat",
        "PATTERN=HOW",
        "what nodes read whose name or op fits the pattern: identity (their own position), global (the whole map) "
        "or cut (nothing); several patterns may be given, of which the first that fits counts",
        values.treatment,
    )
    _values(
        command,
        "--axes",
        "[NAME:]AXES",
        "which dimensions of an input are spatial, where the model does not tell: a letter for each that is an "
        "axis and a dot for any other, as in 'image: ..HW'; without a name, of all inputs",
        values.axes,
    )
    _values(
        command,
        "--set-input",
        "NAME=VALUE",
        "what an input of a model file holds, as sr=16000; of the branches that it decides only one is left",
        values.setting,
    )
    command.add_argument(
        "--batch-norm",
        choices=("inference", "training"),
        default="inference",
        help="training: batch normalisation reads the whole map (default: inference)",
    )


def _input_size(command: argparse.ArgumentParser) -> None:
    _values(
        command,
        "--input-size",
        "SIZE",
        "size of the input in pixels: 224, or one per axis as 224x320 (y before x); a full shape as 1,3,224,320; "
        "NAME=224, once per input, where inputs differ",
        values.size,
    )


def _measured(command: argparse.ArgumentParser) -> None:
    _input_size(command)
    _source(command)


def _source(command: argparse.ArgumentParser) -> None:
    _value(command, "--source", "NAME", "node to measure from (default: the input, if there is one)")


def _alignment(command: argparse.ArgumentParser) -> None:
    _value(
        command,
        "--alignment",
        "MODE",
        "what lines up: center, causal (branches end at the same index), or auto (default: centres, but what is "
        "causal on purpose is a note); one for all axes or one per axis as causal,center",
    )


def _sweep_options(sweep: argparse.ArgumentParser) -> None:
    _model(sweep)
    choice = "PATTERN.ATTRIBUTE=VALUES"
    _values(sweep, "--set", choice, "values that all nodes that fit take together")
    _values(sweep, "--each", choice, "values that each node that fits takes on its own")
    _value(sweep, "--designs", "FILE", "JSON: a list of designs, or a mapping from keys to values")
    _value(sweep, "--sample", "N", "look at N designs drawn at random", values.natural)
    _value(sweep, "--seed", "N", "which sample (default: 0)", values.natural, default=0)
    _value(sweep, "--where", "CONDITION", "which designs to keep, as 'r >= 256 and aligned'")
    _value(sweep, "--best", "COST", "keep those of least cost, sorted, as macs or parameters")
    _value(sweep, "--keep", "N", "how many --best keeps (default: 10)", values.natural)
    sweep.add_argument("--node", metavar="NAME", action="append", help="a node to tell of (default: the outputs)")
    _measured(sweep)
    _alignment(sweep)
    _value(sweep, "--to", "FOLDER", "write results there in chunks; run again to go on after a stop")
    sweep.add_argument("--to-format", choices=("npz", "parquet"), default="npz", help="what chunks are (default: npz)")
    _value(sweep, "--jobs", "N", "chunks to do at once; -1 for one per core (needs joblib)", int)


def _policy(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--select",
        metavar="RULES",
        type=values.entries,
        action="extend",
        help="rules that are looked at, by their ids or what these begin with, as RF001,RF002 (default: RF, all)",
    )
    command.add_argument(
        "--ignore",
        metavar="RULES",
        type=values.entries,
        action="extend",
        help="rules that are not looked at, though selected",
    )
    _values(
        command,
        "--accept",
        "RULE:NODE",
        "findings that are known and accepted: they are shown as such and do not fail a check; NODE may be a "
        "pattern, as RF002:block*/add",
    )


def _field_options(field: argparse.ArgumentParser) -> None:
    _model(field)
    _value(field, "layer", "LAYER", "name of a node")
    _value(field, "--index", "INDEX", "its feature, as 3,5 or -1,-1 (default: the middle one)", values.index)
    _values(
        field,
        "--weights",
        "[PATTERN=]WEIGHTS",
        "random (default), uniform, corners or outside-large; for some layers alone as 'conv*=random', or their "
        "taps as 'blur=1,2,1', others being uniform then",
        values.weights,
    )
    _flag(field, "--measured", "run the model too (.onnx, .keras), beside the theory")
    _value(field, "--images", "DIR", "images to run it on (default: random ones)")
    _value(field, "--samples", "N", "gradients to take (default: 20)", values.natural, default=20)
    _value(field, "--gate", "SHARE", "of values past a ReLU (default: 0.5)", float, default=0.5)
    _value(field, "--skip", "FACTOR", "of skip connections (default: 1)", float, default=1.0)
    _measured(field)


def _strongest_options(strongest: argparse.ArgumentParser) -> None:
    _value(strongest, "model", "MODEL", "a model that can be run: an .onnx or .keras file")
    _value(strongest, "image", "IMAGE", "an image, scaled to 0 to 1, or an .npy array [C, *axes]")
    _value(strongest, "layer", "LAYER", "name of a node, or of a layer of Keras")
    _value(strongest, "--channel", "N", "the channel to look at (default: all)", values.natural)
    _value(strongest, "--top", "N", "how many features (default: 5)", values.natural, default=5)


def _zoo_options(zoo: argparse.ArgumentParser) -> None:
    _flag(zoo, "--accuracy", "show published accuracy beside r and MACs instead")


def _completion_options(completion: argparse.ArgumentParser) -> None:
    completion.add_argument("shell", choices=SHELLS, help="the shell that completes commands and options")


#: Name of a command -> what it takes. Those that do it stand in ``commands.COMMANDS``.
COMMANDS = {
    "summary": Command(_summary_options, "what every layer sees of the input", descriptions.SUMMARY),
    "check": Command(_check_options, "merges whose branches do not line up", descriptions.CHECK, CI_FORMS),
    "rule": Command(_rule_options, "what a rule of check is about, with an example and how to mend it"),
    "diff": Command(_diff_options, "what two models differ in: versions, or formats of one", descriptions.DIFF),
    "annotate": Command(
        _annotate_options,
        "write r, S, P and findings into a model file, for viewers",
        descriptions.ANNOTATE,
        edits=True,
    ),
    "repair": Command(
        _repair_options, "write a model with the paddings that findings advise", descriptions.REPAIR, edits=True
    ),
    "sizes": Command(_sizes_options, "the input sizes at which a network works and lines up", descriptions.SIZES),
    "region": Command(_region_options, "the box of pixels that one feature of a layer reads"),
    "trace": Command(_trace_options, "what one output reads of every layer before it"),
    "tile": Command(
        _tile_options,
        "how to cut a big input into tiles, exactly",
        descriptions.TILE,
        ("bioimageio", "monai", "careamics"),
    ),
    "latency": Command(
        _latency_options, "how far a streaming network looks ahead, and what it keeps", descriptions.LATENCY
    ),
    "draw": Command(
        _draw_options,
        "the graph, with r and S of every node",
        descriptions.DRAW,
        makes=("svg", "png", "dot", "mermaid"),
    ),
    "report": Command(_report_options, "everything, on a page for a browser", descriptions.REPORT, makes=("html",)),
    "sweep": Command(_sweep_options, "many designs of a network at once", descriptions.SWEEP),
    "field": Command(_field_options, "how strongly one feature feels each position of the input", descriptions.FIELD),
    "strongest": Command(
        _strongest_options, "the strongest features of a layer, and the pixels they looked at", descriptions.STRONGEST
    ),
    "zoo": Command(_zoo_options, "the published networks, computed, beside what was published"),
    "completion": Command(
        _completion_options, "a script by which a shell completes commands", descriptions.COMPLETION, makes=("script",)
    ),
}
