"""What names a model: node-link files, functions of Python files, the zoo; and what is wrong with each."""

from __future__ import annotations

import json
import subprocess
import sys
from fractions import Fraction

import networkx as nx
import numpy as np
import pytest

import rfgraph
from rfgraph import importers
from rfgraph.errors import GraphError, MissingExtraError, ModelFileError
from rfgraph.graph.network import Network
from rfgraph.importers import node_link


@pytest.fixture
def net():
    net = Network('blöck "1"', axes=2)
    image = net.input("the image/0", size=[32, None])
    conv = net.conv("conv 'a'", image, kernel=[3, 5], padding=[[1, 1], [2, 2]])
    up = net.resize("up", conv, scale=Fraction(3, 2), mode="linear")
    net.mul("square", up, up)
    return net


def same(a, b):
    """Return whether two graphs have the same nodes, attributes and edges, in order."""
    return (
        type(a) is type(b)
        and list(a.nodes(data=True)) == list(b.nodes(data=True))
        and list(a.edges(data=True)) == list(b.edges(data=True))
        and a.graph == b.graph
    )


def test_a_saved_graph_is_read_back(net, tmp_path):
    path = tmp_path / "net.json"
    node_link.save(net.graph, path)
    found = rfgraph.load(path)
    assert found.nodes["up"]["scale"] == "3/2"
    found.nodes["up"]["scale"] = Fraction(3, 2)
    assert same(found, net.graph)
    assert rfgraph.analyze(path)["square"].size == rfgraph.analyze(net)["square"].size


@pytest.mark.parametrize("key", ["edges", "links"])
def test_what_networkx_writes_is_read(key, net, tmp_path):
    plain = nx.DiGraph(net.graph)
    plain.remove_edge("up", "square")
    plain.add_edge("up", "square", slot=0)
    plain.nodes["up"]["scale"] = 2
    data = nx.node_link_data(plain, edges=key)
    path = tmp_path / "net.json"
    path.write_text(json.dumps(data))
    assert same(node_link.read(path), plain)


def test_networkx_reads_what_is_saved(net, tmp_path):
    path = tmp_path / "net.json"
    net.graph.nodes["up"]["scale"] = np.int64(2)
    node_link.save(net.graph, path)
    found = nx.node_link_graph(json.loads(path.read_text()), edges="edges")
    net.graph.nodes["up"]["scale"] = 2
    assert same(found, net.graph)


def test_names_that_are_no_text_are_read(tmp_path):
    path = tmp_path / "net.json"
    graph = nx.DiGraph(axes=1)
    graph.add_node(("stage", 1), op="input")
    graph.add_node(2, op="relu")
    graph.add_edge(("stage", 1), 2)
    node_link.save(graph, path)
    assert same(node_link.read(path), graph)


def test_an_undirected_graph_stays_undirected(tmp_path):
    path = tmp_path / "net.json"
    node_link.save(nx.path_graph(3), path)
    with pytest.raises(GraphError, match="undirected"):
        rfgraph.analyze(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not JSON, or truncated"),
        (b'{"nodes": [', "not JSON, or truncated"),
        (b"\xff\xfe\x00", "not JSON, or truncated"),
        (b"[" * 100_000, "its JSON is nested too deep for a graph"),
        (b"[1, 2]", 'JSON, but not a node-link graph: it needs an object with "nodes" and "edges"'),
        (b'{"nodes": [], "edges": {}}', 'JSON, but not a node-link graph: it needs an object with "nodes" and "edges"'),
        (b'{"nodes": [], "edges": [], "graph": 7}', '"graph" is not an object but 7'),
        (b'{"nodes": [7], "edges": []}', 'node 0 is not an object with an "id" but 7'),
        (b'{"nodes": [{"op": "input"}], "edges": []}', 'node 0 is not an object with an "id" but'),
        (b'{"nodes": [{"id": null}], "edges": []}', r"node 0: null is no name of a node; write a text or a number"),
        (b'{"nodes": [{"id": {}}], "edges": []}', r"node 0: \{\} is no name of a node; write a text or a number"),
        (b'{"nodes": [{"id": 1}, {"id": 1}], "edges": []}', "two nodes are called 1; ids are unique"),
        (
            b'{"nodes": [{"id": 1}], "edges": [[1, 1]]}',
            r'edge 0 is not an object with "source" and "target" but \[1, 1\]',
        ),
        (
            b'{"nodes": [{"id": 1}], "edges": [{"source": 1, "target": "b"}]}',
            "edge 0 joins 'b', which is not among the nodes",
        ),
        (b'{"nodes": [{"id": ' + b"[" * 500 + b"]" * 500 + b"}]," + b'"edges": []}', None),
    ],
)
def test_files_that_hold_no_graph_are_refused(content, message, tmp_path):
    path = tmp_path / "bad.json"
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match=message or r"bad\.json") as raised:
        rfgraph.analyze(path)
    assert str(raised.value).startswith(str(path))


def test_a_graph_that_json_cannot_hold_is_not_written(net, tmp_path):
    net.graph.nodes["up"]["location"] = object()
    with pytest.raises(ModelFileError, match="the graph cannot be written as JSON"):
        node_link.save(net.graph, tmp_path / "net.json")
    assert not (tmp_path / "net.json").exists()
    with pytest.raises(ModelFileError, match="it cannot be written"):
        node_link.save(nx.DiGraph(), tmp_path / "nowhere" / "net.json")


# Functions of Python files.

PYTHON = """
import networkx as nx
import beside
from rfgraph.graph.network import Network

def plain():
    graph = nx.DiGraph(axes=1)
    graph.add_node("x", op="input")
    graph.add_node("c", op="conv", kernel=beside.KERNEL)
    graph.add_edge("x", "c")
    return graph

def built(kernel=7):
    net = Network(axes=1)
    net.conv("c", net.input("x"), kernel=kernel)
    return net

def needy(kernel):
    return built(kernel)

def wrong():
    return Exception

def falls():
    return 1 / 0

def refuses():
    Network().conv("c", "nothing", kernel=3)
"""


@pytest.fixture
def file(tmp_path):
    (tmp_path / "beside.py").write_text("KERNEL = 5\n")
    path = tmp_path / "my nets.py"
    path.write_text(PYTHON)
    yield path
    sys.modules.pop("beside", None)


@pytest.mark.parametrize(("function", "size"), [("plain", 5), ("built", 7)])
def test_a_function_is_run(file, function, size):
    assert rfgraph.analyze(f"{file}:{function}")["c"].size == (size,)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("planes", r"the file has no function 'planes' \(near: plain\)"),
        ("zzz", r"the file has no function 'zzz'; it has 'plain', 'built', 'needy', 'wrong', 'falls', 'refuses'"),
        ("nx", "the file has no function 'nx'"),
        ("", "no function is named; it has 'plain', 'built'"),
        ("needy", "rfgraph calls it without arguments, but it is missing a required argument: 'kernel'"),
        ("wrong", "it returned a type; return a networkx.DiGraph or an rfgraph.Network"),
        ("falls", "line 25: ZeroDivisionError: division by zero"),
    ],
)
def test_functions_that_make_no_network(file, function, message):
    with pytest.raises(ModelFileError, match=message) as raised:
        rfgraph.load(f"{file}:{function}")
    assert str(raised.value).startswith(f"{file}:{function}: ")


def test_errors_of_rfgraph_in_a_function_keep_their_class(file):
    with pytest.raises(GraphError, match="its input 'nothing' is not there yet"):
        rfgraph.load(f"{file}:refuses")


def test_python_files_that_cannot_be_run(tmp_path):
    path = tmp_path / "broken.py"
    path.write_text("def f(:\n")
    with pytest.raises(ModelFileError, match=r"broken\.py: line 1: SyntaxError"):
        rfgraph.load(f"{path}:f")
    path.write_text("\n\nraise KeyError('this')\n")
    with pytest.raises(ModelFileError, match=r"broken\.py: line 3: KeyError: 'this'"):
        rfgraph.load(f"{path}:f")
    with pytest.raises(ModelFileError, match=r"nothing\.py: there is no such file"):
        rfgraph.load(f"{tmp_path / 'nothing.py'}:f")


# Which reader.


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "net.xyz",
            r"net\.xyz: suffix '\.xyz' is not one of .*\.json.*\.onnx.*, nor is it zoo:NAME or file\.py:function",
        ),
        ("net", r"net: it has none of the suffixes .*\.json"),
        ("net.py", r"net\.py: suffix '\.py' .*; to run a function of it, write .*net\.py:FUNCTION"),
        ("net.json", r"net\.json: there is no such file"),
        ("net.onnx", r"net\.onnx: there is no such file"),
    ],
)
def test_names_that_are_no_model(name, message, tmp_path):
    with pytest.raises(ModelFileError, match=message):
        rfgraph.load(tmp_path / name)


def test_directories_are_named_as_such(tmp_path):
    (tmp_path / "net.json").mkdir()
    with pytest.raises(ModelFileError, match=r"net\.json: it is a directory; name the model file in it"):
        rfgraph.load(tmp_path / "net.json")


def test_suffixes_may_be_capitals(net, tmp_path):
    path = tmp_path / "NET.JSON"
    node_link.save(net.graph, path)
    assert len(rfgraph.load(path)) == 4


def test_the_zoo_is_built():
    assert rfgraph.load("zoo:vgg_16").nodes["vgg_16/pool5"]["op"] == "max_pool"


def test_onnx_is_needed_for_onnx_files_only(monkeypatch, tmp_path):
    code = "import rfgraph, sys; rfgraph.load('zoo:vgg_16'); print(*{'onnx', 'numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
    path = tmp_path / "net.onnx"
    path.write_bytes(b"")
    monkeypatch.setitem(sys.modules, "onnx", None)
    monkeypatch.delitem(sys.modules, "rfgraph.importers.onnx.reader", raising=False)
    monkeypatch.delattr(importers, "onnx", raising=False)
    with pytest.raises(MissingExtraError, match=r"reading \.onnx files needs onnx: pip install 'rfgraph\[onnx\]'"):
        rfgraph.load(path)
