"""What a command line names: folders, patterns and lists stand for models."""

from __future__ import annotations

import json
from pathlib import Path

import networkx as nx
import pytest

from rfgraph import Network
from rfgraph.cli.targets import expanded
from rfgraph.errors import ModelFileError


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with models of every kind, and files that are none; it is the working folder."""
    monkeypatch.chdir(tmp_path)
    net = Network("net", axes=1)
    net.conv("conv", net.input("signal"), kernel=3)
    network = json.dumps(nx.node_link_data(net.graph, edges="edges"))
    for name in ("b.json", "a/deep/c.JSON", ".hidden/d.json", "[odd].json"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(network)
    for name in ("a.onnx", "a/e.tflite", "a/saved/variables/v.json", "a/saved/saved_model.pb", "a/README.md"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(b"what it holds does not matter: nodes")
    for name, text in (("m.xml", "<net/>"), ("n.param", "7767517"), ("t.json", '{"modelTopology": {}}')):
        Path("a", name).write_text(text)
    for name, text in (("config.json", '{"hidden_size": 768}'), ("pom.xml", "<project/>"), ("x.param", "a = 3")):
        Path("a", name).write_text(text)
    Path("a/empty.json").touch()
    Path("net.mlpackage").mkdir()
    return tmp_path


BELOW_A = ["a/e.tflite", "a/empty.json", "a/m.xml", "a/n.param", "a/t.json", "a/deep/c.JSON", "a/saved"]


@pytest.mark.parametrize(
    ("named", "models_meant"),
    [
        (["b.json"], ["b.json"]),
        (["missing.onnx", "missing/"], ["missing.onnx", "missing/"]),
        (["net.py:function", "zoo:vgg_16"], ["net.py:function", "zoo:vgg_16"]),
        (["a"], BELOW_A),
        (["."], ["./[odd].json", "./a.onnx", "./b.json", *(f"./{name}" for name in BELOW_A)]),
        (["a/saved"], ["a/saved"]),
        (["net.mlpackage"], ["net.mlpackage"]),
        (["*.json"], ["[odd].json", "b.json"]),
        (["[odd].json"], ["[odd].json"]),
        (["a/*.json"], ["a/empty.json", "a/t.json"]),
        (["[ab].*"], ["a.onnx", "b.json"]),
        (["**/*.JSON"], ["a/deep/c.JSON"]),
        (["a*"], [*BELOW_A, "a.onnx"]),
        (["b.json", "a.onnx", "b.json", "[b].json"], ["b.json", "a.onnx"]),
        (["zoo:resnet_v1_*"], ["zoo:resnet_v1_50", "zoo:resnet_v1_101", "zoo:resnet_v1_152", "zoo:resnet_v1_200"]),
    ],
)
@pytest.mark.usefixtures("models")
def test_models_that_are_named(named: list[str], models_meant: list[str]) -> None:
    assert expanded(named) == models_meant


@pytest.mark.usefixtures("models")
def test_lists_on_the_standard_input() -> None:
    assert expanded(["zoo:vgg_16", "-"], ["b.json\n", "\n", "  a/saved \n", "a/d*/*"]) == [
        "zoo:vgg_16",
        "b.json",
        "a/saved",
        "a/deep/c.JSON",
    ]
    with pytest.raises(ModelFileError, match="list of models on the standard input is empty"):
        expanded(["-"], ["\n"])


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("a/saved/variables", r"no model file in this folder; rfgraph reads .*\.json, .*\.tflite"),
        ("*.pt2", "no file fits this pattern"),
        ("a/*.md", r"none of the 1 files that fit is one; rfgraph reads \."),
        ("zoo:lenet*", "no published network fits this pattern"),
    ],
)
@pytest.mark.usefixtures("models")
def test_what_stands_for_no_model(name: str, said: str) -> None:
    with pytest.raises(ModelFileError, match=said):
        expanded([name])


@pytest.mark.usefixtures("models")
def test_links_in_a_circle_end() -> None:
    Path("a/again").symlink_to("..")
    assert expanded(["a"]) == BELOW_A


def test_a_function_of_a_file_may_have_marks_of_a_pattern_in_its_folder(models: Path) -> None:
    folder = models / "[x]"
    folder.mkdir()
    (folder / "net.py").touch()
    assert expanded([f"{folder}/net.py:build"]) == [f"{folder}/net.py:build"]
