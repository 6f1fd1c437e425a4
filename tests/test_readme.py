"""The README's examples run, and what it and the pages of docs/ say of networks is what rfgraph says."""

from __future__ import annotations

import inspect
import re
from dataclasses import fields
from fractions import Fraction
from pathlib import Path
from types import FunctionType

import pytest

import rfgraph
from rfgraph.ops import KINDS, Op
from rfgraph.questions.findings import RULES

ROOT = Path(__file__).parent.parent
#: The README, and behind it the pages of the documentation.
README = "\n".join(
    page.read_text(encoding="utf-8") for page in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
)


def test_the_python_example_runs(capsys):
    code = re.findall(r"```python\n(.*?)```", README, re.DOTALL)[0]
    names = {}
    exec(code, names)
    assert names["report"]["add"].size == (3, 3)
    assert "off by +1/2 input pixels" in capsys.readouterr().out


def test_the_sweep_runs():
    """On a network by hand, in the place of a file."""
    net = rfgraph.Network("model")
    x = net.max_pool("pool1", net.input("image", channels=3), kernel=3, stride=2, padding=1)
    for k in range(8):
        x = net.max_pool(f"pool{k}x", x, kernel=2) if k in (2, 4) else x
        x = net.conv(f"conv{k}", x, kernel=3, padding=1, channels=8)
    code = re.findall(r"```python\n(found = .*?)```", README, re.DOTALL)[0]
    names = {"rfgraph": rfgraph, "net": net}
    exec(code.replace('"model.json"', "net").replace("r >= 256", "r >= 100"), names)
    found = names["found"]
    assert len(found["macs"]) > 0
    assert rfgraph.analyze(found.graph(0), input_size=224).macs.count == found["macs"][0]


def test_the_network_as_arrays_runs():
    pytest.importorskip("numba")
    import numpy as np

    code = re.findall(r"```python\n(fields = .*?)```", README, re.DOTALL)[0]
    names = {
        "rfgraph": rfgraph, "starts": np.array([0, 0, 1]), "tails": np.array([0]), "ops": np.array([0, 0]),
        "windows": [[rfgraph.Window(3, 2, 1)]],
    }  # fmt: skip
    exec(code, names)
    assert names["fields"].size[1, 0] == 3


def test_the_commands_named_are_there():
    from rfgraph.cli.options import parser

    (line,) = re.findall(r"rfgraph (\S+\|\S+) MODEL", README)
    assert set(line.split("|")) <= set(parser([])._subparsers._group_actions[0].choices)


def test_every_op_of_the_table_is_known():
    table = README[README.index("| op | attributes") : README.index("`padding` is a number")]
    rows = [row for row in table.splitlines() if row.startswith("| `")]
    ops = {name for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[1])}
    assert ops
    assert ops <= set(KINDS)


def test_every_op_with_attributes_is_in_the_table():
    table = README[README.index("| op | attributes") : README.index("`padding` is a number")]
    common = {f.name for f in fields(Op)}
    assert all(f"Any op may carry `{name}`" in README for name in common)
    for kind in set(KINDS.values()):
        names = [name for name, other in KINDS.items() if other is kind]
        own = [f.metadata["name"] or f.name for f in fields(kind) if f.name not in common]
        if own and not any(f"`{name}`" in table for name in names):
            row = f"| `{names[0]}` | {', '.join(f'`{name}`' for name in own)} |"
            pytest.fail(
                f"docs/graphs.md does not have op {names[0]!r}; write into its table of ops, or add to a row:\n{row}"
            )


def test_the_finding_shown_is_found():
    onnx = pytest.importorskip("onnx")
    path = Path(onnx.__file__).parent / "backend/test/data/light/light_inception_v2.onnx"
    findings = [f for f in rfgraph.analyze(path).findings if f.severity == "warning"]
    assert len(findings) == 2
    assert findings[0].message in README
    assert findings[0].advice in README


@pytest.mark.parametrize(
    ("name", "size", "offsets"),
    [
        ("xception", 299, [Fraction(1, 2)]),
        ("resnet50_d", None, [Fraction(1, 4)] * 3),
        ("fpn", None, [Fraction(1, 2), Fraction(3, 2), Fraction(7, 2)]),
        ("unet_3x3", None, [Fraction(1, 2), Fraction(3, 2), Fraction(7, 2), Fraction(15, 2)]),
        ("unet_2x2", None, []),
        ("wavenet", None, []),
        ("mobilenet_v1", None, []),
        ("inception_v2", None, []),
    ],
)
def test_what_is_said_of_published_networks(name, size, offsets):
    report = rfgraph.analyze(f"zoo:{name}", input_size=size)
    found = [abs(f.offset_in_merge) for f in report.findings if f.rule == "RF002"]
    assert found == offsets
    assert report.aligned is (not offsets)


def test_xception_lines_up_where_the_readme_says():
    assert str(rfgraph.analyze("zoo:xception").aligned_sizes[0]) == "n mod 32 is 7 or 8, from 7"
    assert "n mod 32 is 7 or 8" in README


@pytest.mark.parametrize(
    ("name", "node", "whole", "rest"),
    [("mobilenet_v1", "Conv2d_13_pointwise", 126, 158), ("inception_v2", "Mixed_5c", 318, 350)],
)
def test_padding_by_residue_is_what_the_readme_says(name, node, whole, rest):
    table = rfgraph.analyze(f"zoo:{name}")[node].by_size[0]
    assert f"| {whole} for multiples of 32, else {rest} - (n mod 32) |" in README
    assert [window.padding for window in table.windows] == [whole, *(rest - n for n in range(1, 32))]


def test_paddings_of_xception_are_what_the_readme_says():
    layer = rfgraph.analyze("zoo:xception")["block14_sepconv2"]
    paddings = [window.padding for window in layer.by_size[0].windows]
    assert f"| 1083 | 32 | {min(paddings)} to {max(paddings)}, by n mod 32 |" in README
    assert (layer.size, layer.stride) == ((1083, 1083), (32, 32))


def test_the_rules_of_the_table_are_those_there_are():
    rows = re.findall(r"^\| (RF\d+) \| (\w+) \| ([\w ]+?):? ?", README, re.MULTILINE)
    assert [(rule, severity) for rule, severity, _ in rows] == [(rule, RULES[rule].severity) for rule in RULES]
    for rule in RULES:
        assert f"| {rule} | {RULES[rule].severity} | {RULES[rule].title}" in README


def test_the_questions_of_the_table_have_answers():
    report = rfgraph.analyze("zoo:vgg_16", input_size=224)
    table = README[README.index("| question | answer |") :].split("\n\n")[0]
    names = re.findall(r"`report\.(\w+)", table)
    assert len(names) == 14
    assert all(hasattr(report, name) for name in names)
    assert all(hasattr(report["vgg_16/pool5"], name) for name in ("channels", "parameters", "macs"))
    assert all(hasattr(report.numbers(), name) for name in ("size", "stride", "padding"))
    assert callable(rfgraph.roi)


def test_the_formats_of_the_table_are_those_that_are_read():
    from rfgraph.importers import FORMATS, FRAMEWORKS

    table = README[README.index("| format | from |") : README.index("Live models of PyTorch and JAX")]
    suffixes = set(re.findall(r"`(\.\w+)`", table))
    assert suffixes == set(FORMATS)
    extras = set(re.findall(r"`rfgraph\[(\w+)\]`", table))
    assert extras == {framework.package for framework in FRAMEWORKS} | {"onnx", "tensorflow", "tflite"}


def test_paths_of_resnet_152_are_what_the_readme_says():
    report = rfgraph.analyze("zoo:resnet_v1_152")
    (axis, _) = report.paths("resnet_v1_152/block4").axes
    assert report.paths("resnet_v1_152/block4").count == 2**50
    assert f"fields {axis.smallest} to {axis.largest}" in README


def test_the_tiles_of_the_readme_are_those_of_the_command(capsys):
    from rfgraph import cli

    assert cli.main(["tile", "zoo:unet_2x2", "--input-size", "4096", "--tile", "512", "--tile", "1024"]) == 0
    shown = capsys.readouterr().out.split("\n\nhalo:")[0]
    assert shown in README


def test_the_streams_of_the_readme_are_those_that_are_worked_out():
    def latency(*layers):
        net = rfgraph.Network("encoder", axes=1)
        x = net.input("wave")
        for i, (kernel, stride, padding) in enumerate(layers):
            x = net.conv(f"conv{i}", x, kernel=kernel, stride=stride, padding=[[padding, 0]])
        return rfgraph.analyze(net).latency(sample_rate=24000)

    strided = [part for s in (2, 4, 5, 8) for part in ((3, 1, 2), (2 * s, s, s))]
    codec = latency((7, 1, 6), *strided, (7, 1, 6))
    assert (codec.look_ahead, codec.multiple, codec.causal, codec.waits) == (319, 320, True, False)
    assert "read 319 samples" in README
    assert round(codec.in_milliseconds(320 + 319), 1) == 26.6
    speech = latency((10, 5, 0), *[(3, 2, 0)] * 4, *[(2, 2, 0)] * 2)
    assert (speech.look_ahead, speech.multiple, speech.waits) == (399, 320, True)


METHODS = (FunctionType, classmethod, staticmethod)


def public() -> list[tuple[str, object]]:
    """What users may call, by name: what ``rfgraph`` exports, and the methods of its classes; errors are left out."""
    found: list[tuple[str, object]] = []
    for name in rfgraph.__all__:
        one = getattr(rfgraph, name)
        if inspect.isfunction(one):
            found.append((name, one))
        elif inspect.isclass(one) and not issubclass(one, Exception):
            methods = [m for m, held in vars(one).items() if m[0] != "_" and isinstance(held, METHODS)]
            found += [(name, one), *((f"{name}.{method}", getattr(one, method)) for method in methods)]
    return found


def test_everything_public_has_an_example() -> None:
    assert [name for name, one in public() if ">>> " not in (inspect.getdoc(one) or "")] == []
