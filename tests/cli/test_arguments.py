"""What a person types: sizes and indices in the ways people write them, and what is said of what there is not."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from misuse import misused

from rfgraph import Network, analyze, cli
from rfgraph.cli.options import COMMANDS, form_of
from rfgraph.errors import UnknownNodeError


def answer(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    assert cli.main([*arguments, "--format", "json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("--input-shape", "--input-size"), ("--input_size=224", "--input-size"), ("--inputsize", "--input-size"),
        ("--Input-Size", "--input-size"), ("--img_size", "--input-size"), ("--colums", "--columns"),
        ("--forma", "--format"), ("--verbos", "--verbose"), ("--out", "-o"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("first", [True, False])
def test_an_option_that_there_is_not(capsys: pytest.CaptureFixture[str], typed: str, meant: str, first: bool) -> None:
    arguments = [typed, "zoo:unet"] if first else ["zoo:unet", typed, "224"]
    said = misused(capsys, "summary", *arguments)
    assert said.startswith("usage: rfgraph summary ")
    name = typed.partition("=")[0]
    assert said.endswith(f"rfgraph summary: error: unrecognized arguments: {name}; do you mean {meant}?\n")


def test_an_option_like_no_other(capsys: pytest.CaptureFixture[str]) -> None:
    assert misused(capsys, "region", "m", "x", "1", "--frobnicate").endswith("unrecognized arguments: --frobnicate\n")
    assert misused(capsys, "zoo", "-x").startswith("usage: rfgraph zoo ")


@pytest.mark.parametrize(
    ("typed", "hint"),
    [("sumary", "summary"), ("Check", "check"), ("model.onnx", "rfgraph summary model.onnx"),
     ("zoo:unet", "rfgraph summary zoo:unet")],
)  # fmt: skip
def test_a_command_that_there_is_not(capsys: pytest.CaptureFixture[str], typed: str, hint: str) -> None:
    assert misused(capsys, typed).endswith(f"; do you mean {hint}?\n")


def test_without_arguments_there_is_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main([])
    assert caught.value.code == 0
    assert "exit codes:" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("typed", "size"),
    [
        ("64", [64, 64]), ("64x96", [64, 96]), ("64,96", [64, 96]), ("1,3,64,96", [64, 96]), ("1x3x64x96", [64, 96]),
        ("(1, 3, 64, 96)", [64, 96]), ("1,64,96,3", [64, 96]), ("8,64,96,1", [64, 96]), ("x=64,96", [64, 96]),
    ],
)  # fmt: skip
def test_sizes_as_people_write_them(capsys: pytest.CaptureFixture[str], typed: str, size: list[int]) -> None:
    arguments = ["zoo:resnet_v1_50", "--input-size", typed.replace("x=", "image=")]
    assert answer(capsys, "summary", *arguments)["input_size"] == size


def test_negative_indices_count_from_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["region", "zoo:unet", "segments"]
    sized = ["--input-size", "572"]
    last = answer(capsys, *asked, *sized, "387,3")
    for index in (["-1,3"], ["--format", "json", "--", "-1,3"]):
        assert cli.main([*asked, *sized, "--format", "json", *index]) == 0
        assert json.loads(capsys.readouterr().out) == last
    assert answer(capsys, "region", "zoo:wavenet", "post2", "-1", "--input-size", "4000")["index"] == [3999]
    for typed, said in (
        (["-389,3", *sized], "index -389 lies outside its map of size 388"),
        (["-1,3"], "index -1,3 counts from the end of the map of 'segments', whose size is not known"),
    ):
        assert cli.main([*asked, *typed]) == 2
        assert said in capsys.readouterr().err


def test_a_layer_named_by_a_digit_is_told_from_a_number() -> None:
    net = Network("digits", axes=1)
    net.conv("0", net.input("x"), kernel=3)
    with pytest.raises(UnknownNodeError, match=r"no node 0, a name of type int; it has '0' of type str$"):
        analyze(net).region(0, 0)


@pytest.mark.parametrize("ending", ["json", "csv", "md", "markdown", "txt", "JSON", "xyz"])
def test_a_file_says_its_format(capsys: pytest.CaptureFixture[str], tmp_path: Path, ending: str) -> None:
    form = {"markdown": "md", "txt": "table", "JSON": "json", "xyz": "table"}.get(ending, ending)
    path = tmp_path / f"answer.{ending}"
    assert cli.main(["summary", "zoo:unet", "-o", str(path)]) == 0
    assert cli.main(["summary", "zoo:unet", "--format", form]) == 0
    assert path.read_bytes().decode() == capsys.readouterr().out
    other = "csv" if form == "json" else "json"
    assert cli.main(["summary", "zoo:unet", "-o", str(path), "--format", other]) == 0
    assert cli.main(["summary", "zoo:unet", "--format", other]) == 0
    assert path.read_bytes().decode() == capsys.readouterr().out


def test_forms_of_files() -> None:
    assert form_of("a.b/c", ("table", "json")) == "table"
    assert form_of("plan.monai", ("table", "monai")) == "monai"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_knows_every_command_and_option(capsys: pytest.CaptureFixture[str], shell: str) -> None:
    pytest.importorskip("shtab")
    assert cli.main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert all(name in script for name in COMMANDS)
    assert "input-size" in script
    if shell == "bash":
        assert subprocess.run(["bash", "-n"], input=script, text=True).returncode == 0


def test_completion_of_a_word(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("shtab")
    assert cli.main(["completion", "bash"]) == 0
    ask = '\nCOMP_WORDS=(rfgraph summary --inp); COMP_CWORD=2; _shtab_rfgraph; echo "${COMPREPLY[@]}"\n'
    script = capsys.readouterr().out + ask
    done = subprocess.run(["bash"], input=script, capture_output=True, text=True)
    assert done.stdout.split() == ["--input-size"]


def test_verbose_says_where_an_error_comes_from(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["summary", "missing.onnx"]) == 2
    assert "Traceback" not in capsys.readouterr().err
    assert cli.main(["summary", "missing.onnx", "-v"]) == 2
    err = capsys.readouterr().err
    assert err.startswith("rfgraph: missing.onnx: there is no such file\n")
    assert "Traceback" in err


def test_what_a_missing_extra_is_called(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert cli.main(["completion", "bash"]) == 2
    assert "pip install 'rfgraph[completion]'" in capsys.readouterr().err


def test_what_the_library_asks_for_is_called_as_an_option_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["tile", "zoo:inception_v3", "--input-size", "2000", "--memory", "10000"]) == 2
    assert capsys.readouterr().err.endswith(
        " pixels: pass --tile SIZE, or --memory BYTES for more bytes that its feature maps may take\n"
    )
