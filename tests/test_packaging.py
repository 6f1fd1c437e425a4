"""What is installed is all there is: every package, every extra, and the versions that are told."""

from __future__ import annotations

import re
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

import rfgraph
from rfgraph import cli
from rfgraph.cli import versions
from rfgraph.importers import FORMATS

ROOT = Path(__file__).parent.parent
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_every_package_is_installed() -> None:
    folders = {path.parent.relative_to(ROOT) for path in (ROOT / "rfgraph").rglob("*.py")}
    found = {".".join(folder.parts) for folder in folders} | {"rfgraph.models"}
    assert set(PROJECT["tool"]["setuptools"]["packages"]) == found


def test_files_that_are_no_code_are_installed() -> None:
    files = {
        path.relative_to(ROOT / "rfgraph")
        for path in (ROOT / "rfgraph").rglob("*")
        if path.is_file() and path.suffix != ".py" and path.parent.name != "__pycache__"
    }
    patterns = PROJECT["tool"]["setuptools"]["package-data"]["rfgraph"]
    assert {file for file in files if not any(file.match(pattern) for pattern in patterns)} == set()


def test_all_brings_what_every_extra_brings() -> None:
    extras = PROJECT["project"]["optional-dependencies"]
    (everything,) = extras["all"]
    names = everything.removeprefix("rfgraph[").removesuffix("]").split(",")
    assert sorted(names) == sorted(extras.keys() - versions.WORKSHOP)
    assert versions.WORKSHOP - {"docs"} <= extras.keys()


def test_the_hook_is_run_on_model_files() -> None:
    text = (ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8")
    (suffixes,) = re.findall(r"^  files: \\\.\((.*)\)\$$", text, re.MULTILINE)
    assert {f".{suffix}" for suffix in suffixes.split("|")} == set(FORMATS) - {".json", ".xml", ".param"}
    (entry,) = re.findall(r"^  entry: rfgraph (.*)$", text, re.MULTILINE)
    assert cli.main([*entry.split(), "zoo:vgg_16"]) == 0
    (needed,) = re.findall(r"^  additional_dependencies: \[(.*)\]$", text, re.MULTILINE)
    extras = PROJECT["project"]["optional-dependencies"]
    brought = {re.split(r"[<>=]", name)[0] for extra in ("onnx", "tensorflow", "tflite") for name in extras[extra]}
    assert set(needed.split(", ")) == brought


def test_the_version_is_one() -> None:
    assert PROJECT["project"]["version"] == rfgraph.__version__


def test_versions_of_readers_are_told(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["--version"])
    assert caught.value.code == 0
    first, *rest = capsys.readouterr().out.splitlines()
    assert first == f"rfgraph {rfgraph.__version__}"
    told = dict(line.split(maxsplit=1) for line in rest)
    assert told["numpy"] == metadata.version("numpy")
    assert set(told) >= {"python", "networkx", "rich", "[onnx]", "[torch]"}
    assert not set(told) & {f"[{extra}]" for extra in versions.WORKSHOP}

    there = {"networkx": "3.2", "onnx": "1.16.0", "b": "2"}

    def version(name: str) -> str:
        if name not in there:
            raise metadata.PackageNotFoundError(name)
        return there[name]

    extras = {"onnx>=1.16": "onnx", "torch": "torch", "b>1": "two", "c": "two", "ruff": "dev", "rfgraph[test]": "dev"}
    required = ["networkx>=3.2", "rich>=13", *(f'{name}; extra == "{extra}"' for name, extra in extras.items())]
    monkeypatch.setattr(metadata, "version", version)
    monkeypatch.setattr(metadata, "requires", lambda name: required)
    assert versions.lines()[1:] == [
        "  networkx  3.2",
        "  rich      not installed",
        "  [onnx]    onnx 1.16.0",
        "  [torch]   not installed",
        "  [two]     b 2, the rest not",
    ]

    def nothing(name: str) -> list[str]:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "requires", nothing)
    assert len(versions.lines()) == 1
