"""Files that are known and not read: what they are, by suffix and by contents, and lines that make one that is read."""

from __future__ import annotations

import ast
import io
import json
import zipfile

import pytest

import rfgraph
from rfgraph import cli
from rfgraph.errors import ModelFileError
from rfgraph.importers import FORMATS, refused


def lines_of(error):
    return [line for line in str(error.value).splitlines()[1:] if line.startswith("    ")]


@pytest.mark.parametrize("suffix", [*refused.SUFFIXES, ".PTH"])
def test_a_suffix_that_is_known_says_the_way_out(suffix, tmp_path):
    path = tmp_path / f"my net{suffix}"
    path.write_bytes(b"")
    with pytest.raises(ModelFileError, match=r"not|part of|compiled|another") as raised:
        rfgraph.load(path)
    assert str(raised.value).startswith(f"{path}: ")
    lines = lines_of(raised)
    assert 1 <= len(lines) <= 5
    if any("=" in line for line in lines):  # Python, which another shell command may follow
        ast.parse("\n".join(line[4:] for line in lines if not line[4:].startswith(("rfgraph", "paddle2onnx"))))
    assert "{" not in str(raised.value).partition(": ")[2]
    # whether it is there or not
    path.unlink()
    with pytest.raises(ModelFileError) as again:
        rfgraph.load(path)
    assert str(again.value) == str(raised.value)


def test_lines_of_code_are_told_apart_on_the_terminal(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["check", "m.pt"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    code = line.partition("where it is at hand: ")[2]
    assert [ast.unparse(part).partition("(")[0] for part in ast.parse(code).body] == [
        "import torch", "program = torch.export.export", "torch.export.save",
    ]  # fmt: skip
    (tmp_path / "p.mlpackage").mkdir()
    assert cli.main(["summary", "p.mlpackage"]) == 2
    assert "Core ML is what a model was converted to" in capsys.readouterr().err


def test_no_suffix_is_read_and_refused():
    assert not set(refused.SUFFIXES) & set(FORMATS)


def archive(*names):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as file:
        for name in names:
            file.writestr(name, b"")
    return packed.getvalue()


HEADER = json.dumps({"weight": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"GGUF\3\0\0\0", refused.GGUF),
        (len(HEADER).to_bytes(8, "little") + HEADER + b"\0" * 4, refused.SAFE),
        (b"\x80\4K\1.", refused.PICKLE),
        (archive("m/data.pkl", "m/version"), refused.PICKLE),
        (archive("m/data.pkl", "m/constants.pkl", "m/code/__torch__.py"), refused.SCRIPT),
        (b"[net]\nwidth=416\n", refused.DARKNET),
    ],
    ids=["gguf", "safetensors", "pickle", "archive", "torchscript", "darknet"],
)
@pytest.mark.parametrize("name", ["net", "net.model", "net.bin"])
def test_contents_tell_what_a_file_is(data, kind, name, tmp_path):
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(ModelFileError) as raised:
        rfgraph.load(path)
    assert kind.what in str(raised.value)
    with path.open("rb") as stream, pytest.raises(ModelFileError) as opened:
        rfgraph.analyze(stream)
    assert kind.what in str(opened.value)


@pytest.mark.parametrize("data", [b"", b"\x80", b"\xff" * 8 + b"{", archive("other"), b"PK\3\4 no archive"])
def test_other_contents_tell_nothing(data, tmp_path):
    path = tmp_path / "net.model"
    path.write_bytes(data)
    assert refused.kind_of(path) is None
    with pytest.raises(ModelFileError, match=r"suffix '\.model' is not one of"):
        rfgraph.load(path)


@pytest.mark.parametrize("suffix", [".xml", ".param"])
def test_weights_beside_a_model_name_it(suffix, tmp_path):
    (tmp_path / "net.bin").write_bytes(b"\0" * 40)
    (tmp_path / f"net{suffix}").write_text("")
    with pytest.raises(ModelFileError, match=rf"it holds the weights of net\{suffix}; read that"):
        rfgraph.load(tmp_path / "net.bin")


def test_a_package_of_core_ml_is_a_folder(tmp_path):
    (tmp_path / "net.mlpackage").mkdir()
    with pytest.raises(ModelFileError, match="Core ML is what a model was converted to"):
        rfgraph.load(tmp_path / "net.mlpackage")


def test_the_command_line_says_it_in_one_paragraph(tmp_path, capsys):
    (tmp_path / "net.gguf").write_bytes(b"GGUF")
    assert cli.main(["summary", str(tmp_path / "net.gguf")]) == 2
    said = capsys.readouterr().err
    assert "weights and settings of a model for llama.cpp" in said
    assert "Traceback" not in said
