"""Network graphs as node-link JSON files, as networkx writes them."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Hashable, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import networkx as nx

from rfgraph.errors import ModelFileError
from rfgraph.graph.network import as_node_link
from rfgraph.importers import archive

#: Files of more bytes than this are refused: a network of 100,000 layers has some 20 million.
MAX_BYTES = 1 << 27
#: Numbers of more digits take long to be read; Python itself reads no longer ones.
MAX_DIGITS = 4300
#: Lists in lists in objects; attributes have two or three levels.
MAX_NESTING = 32


def read(path: str | os.PathLike[str]) -> nx.DiGraph[Any]:
    """Return the graph of a node-link JSON file; its edges stand under ``edges``, or ``links`` as networkx once wrote.

    Raises
    ------
    ModelFileError
        If the file is not JSON, or not node-link.
    """
    return graph_of(parsed(path), os.fspath(path))


def parsed(path: str | os.PathLike[str]) -> Any:
    """Return what a JSON file holds.

    Raises
    ------
    ModelFileError
        If the file is not JSON, or larger than any graph.
    """
    name = os.fspath(path)
    try:
        with open(path, "rb") as file:
            content = file.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise ModelFileError(f"{name}: it has more than {MAX_BYTES} bytes, too many for a graph")
        if re.search(rb"\d{%d}" % (MAX_DIGITS + 1), content):
            raise ModelFileError(f"{name}: it holds a number of more than {MAX_DIGITS} digits")
        text = archive.decoded(content)
        del content  # of two copies of a large file one is enough
        return archive.parsed(name, text)
    except OSError as error:
        raise ModelFileError(f"{name}: it cannot be read ({error.strerror or error})") from error
    except RecursionError as error:
        raise ModelFileError(f"{name}: its JSON is nested too deep for a graph") from error
    except ValueError as error:  # bad JSON, or bytes that are no text
        raise ModelFileError(f"{name}: not JSON, or truncated ({error})") from error


def save(graph: nx.DiGraph[Any], path: str | os.PathLike[str]) -> None:
    """Write a graph as a node-link JSON file.

    Raises
    ------
    ModelFileError
        If an attribute has no JSON form, or the file cannot be written.
    """
    text = written(graph, os.fspath(path))
    try:
        Path(path).write_text(text, encoding="utf-8")
    except OSError as error:
        raise ModelFileError(f"{os.fspath(path)}: it cannot be written ({error.strerror or error})") from error


def written(graph: nx.DiGraph[Any], name: str) -> str:
    """Return a graph as the text of a node-link JSON file, which errors call ``name``.

    Raises
    ------
    ModelFileError
        If an attribute has no JSON form.
    """
    try:
        return json.dumps(as_node_link(graph), indent=1, ensure_ascii=False, default=_plain) + "\n"
    except (TypeError, ValueError) as error:
        raise ModelFileError(f"{name}: the graph cannot be written as JSON ({error})") from error


def _too_deep(data: Any) -> bool:
    """Return whether lists and objects stand in each other deeper than in any graph."""
    waiting, depth = [data], 0
    while waiting:
        depth += 1
        inner = [
            values for one in waiting if isinstance(one, (list, dict))
            for values in [list(one.values()) if isinstance(one, dict) else one]
        ]  # fmt: skip
        waiting = [value for values in inner for value in values if isinstance(value, (list, dict))]
        if depth > MAX_NESTING:
            return True
    return False


def _plain(value: Any) -> Any:
    if isinstance(value, Fraction):
        return str(value)
    if hasattr(value, "tolist"):  # numbers and arrays of numpy
        return value.tolist()
    raise TypeError(f"{value!r} has no JSON form")


def graph_of(data: Any, name: str) -> nx.DiGraph[Any]:
    """Return the graph that the JSON of a file holds.

    Raises
    ------
    ModelFileError
        If it is not node-link.
    """
    if _too_deep(data):
        raise ModelFileError(f"{name}: its JSON is nested too deep for a graph")
    nodes = data.get("nodes") if isinstance(data, dict) else None
    edges = data.get("edges", data.get("links")) if isinstance(data, dict) else None
    if not isinstance(nodes, list) or not isinstance(edges, list):
        raise ModelFileError(
            f"{name}: JSON, but not a node-link graph: "
            'it needs an object with "nodes" and "edges" (or "links"), both of them lists'
        )
    attributes = data.get("graph", {})
    if not isinstance(attributes, Mapping):
        raise ModelFileError(f'{name}: "graph" is not an object but {_short(attributes)}')
    directed = data.get("directed", True) is not False
    several = data.get("multigraph", False) is True
    kind = {(1, 1): nx.MultiDiGraph, (1, 0): nx.DiGraph, (0, 1): nx.MultiGraph, (0, 0): nx.Graph}[directed, several]
    graph: Any = kind()
    graph.graph.update(attributes)
    if "outputs" in attributes:
        graph.graph["outputs"] = _returned(attributes["outputs"], name)
    _add_nodes(graph, nodes, name)
    _add_edges(graph, edges, several, name)
    return graph


def _add_nodes(graph: Any, nodes: list[Any], name: str) -> None:
    for i, node in enumerate(nodes):
        if not isinstance(node, Mapping) or "id" not in node:
            raise ModelFileError(f'{name}: node {i} is not an object with an "id" but {_short(node)}')
        identity = _hashable(node["id"], f"{name}: node {i}")
        if identity is None:
            raise ModelFileError(f"{name}: node {i}: null is no name of a node; write a text or a number")
        if identity in graph:
            raise ModelFileError(f"{name}: two nodes are called {identity!r}; ids are unique")
        graph.add_node(identity)
        graph.nodes[identity].update((key, value) for key, value in node.items() if key != "id")


def _add_edges(graph: Any, edges: list[Any], several: bool, name: str) -> None:
    for i, edge in enumerate(edges):
        if not isinstance(edge, Mapping) or "source" not in edge or "target" not in edge:
            raise ModelFileError(f'{name}: edge {i} is not an object with "source" and "target" but {_short(edge)}')
        tail, head = (_hashable(edge[end], f"{name}: edge {i}") for end in ("source", "target"))
        for end in (tail, head):
            if end not in graph:
                raise ModelFileError(f"{name}: edge {i} joins {end!r}, which is not among the nodes")
        key = graph.add_edge(tail, head, **({"key": _hashable(edge.get("key"), name)} if several else {}))
        place = graph.edges[(tail, head, key) if several else (tail, head)]
        place.update((k, v) for k, v in edge.items() if k not in ("source", "target", "key"))


def _returned(outputs: Any, name: str) -> Any:
    """Return the graph attribute ``outputs`` as it was written: names of nodes that were tuples are tuples again."""
    where = f'{name}: "outputs" of "graph"'
    if isinstance(outputs, list):
        return [_hashable(node, where) for node in outputs]
    if isinstance(outputs, Mapping):
        return {title: _hashable(node, where) for title, node in outputs.items()}
    return outputs


def _hashable(value: Any, where: str) -> Hashable:
    """Return an id as networkx has it: lists were tuples."""
    try:
        key = tuple(_hashable(part, where) for part in value) if isinstance(value, list) else value
        hash(key)
    except (TypeError, RecursionError):
        raise ModelFileError(f"{where}: {_short(value)} is no name of a node; write a text or a number") from None
    return key


def _short(value: Any) -> str:
    try:
        text = repr(value)
    except RecursionError:
        text = "a value nested too deep to show"
    return text if len(text) <= 40 else f"{text[:37]}..."
