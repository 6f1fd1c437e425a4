"""Damaged files of every format end with a graph or with one clear error, within bounds on time and memory.

Each format has a process of its own, so that a crash or a hang has a number: ``python tests/damage.py FORMAT N N+1``
reads that one again. The mutants are the same in every run; ``RFGRAPH_MUTANTS=20000`` reads that many of each format,
and so does the profile ``long`` of the property tests.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from unittest.mock import patch

import damage
import pytest

import rfgraph
from rfgraph import importers
from rfgraph.errors import ModelFileError
from rfgraph.importers import archive

#: How many mutants of a format are read.
MUTANTS = int(os.environ.get("RFGRAPH_MUTANTS") or (20_000 if os.environ.get("HYPOTHESIS_PROFILE") == "long" else 400))

#: Formats of which one file takes long, to damage or to read: fewer of theirs.
SLOW = {"pbtxt": 2, "saved_model": 2}

NEEDS = {"onnx": "onnx", "pb": "google.protobuf", "pbtxt": "google.protobuf", "saved_model": "google.protobuf",
         "tfjs": "google.protobuf"}  # fmt: skip


@pytest.mark.parametrize("kind", damage.FILES)
def test_damaged_files_are_read_or_refused(kind):
    pytest.importorskip(NEEDS.get(kind, "tflite" if kind == "tflite" else "json"))
    mutants = MUTANTS // SLOW.get(kind, 1)
    command = [sys.executable, damage.__file__, kind, "0", str(mutants)]
    path = os.pathsep.join((str(Path(rfgraph.__file__).parents[1]), os.environ.get("PYTHONPATH", "")))
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path})
    assert done.returncode == 0, done.stderr[-2000:]
    *troubles, last = map(json.loads, done.stdout.splitlines())
    assert not troubles, "\n".join(f"mutant {one['number']}: {one['trouble']}" for one in troubles[:5])
    ended = last["ended"]
    assert sum(ended.values()) == mutants
    assert ended["read"] > mutants // 40, ended  # what is refused at the door shows nothing of the rooms behind it
    assert ended["ModelFileError"] > mutants // 10, ended


def test_every_format_is_damaged():
    other_names = {".hdf5": ".h5"}
    read = set(importers.FORMATS) - set(other_names)
    assert {f".{kind}" for kind in damage.FILES} - {".saved_model", ".tfjs"} == read
    assert all(importers.FORMATS[one] is importers.FORMATS[other] for one, other in other_names.items())


def test_a_mutant_is_its_number():
    ways = damage.mutators("json")
    made = [[damage.mutant("json", number, ways) for number in range(50)] for _ in range(2)]
    assert made[0] == made[1]
    assert len(set(made[0])) > 40


def trouble_of(monkeypatch, read):
    """Return what the harness says of a reader."""
    monkeypatch.setattr(damage, "read", read)
    return damage.trouble(Path("x"), None, {})


def test_the_harness_sees_what_goes_wrong(monkeypatch):
    def slow(path, rng):
        end = time.process_time() + 5
        while time.process_time() < end:
            pass

    def broken(path, rng):
        raise AttributeError("no such thing")

    old = signal.signal(signal.SIGPROF, damage._too_long)
    try:
        monkeypatch.setattr(damage, "SECONDS", 0.2)
        assert "more than 0.2 s" in trouble_of(monkeypatch, slow)
        assert "AttributeError: no such thing" in trouble_of(monkeypatch, broken)
        monkeypatch.setattr(damage, "SECONDS", 20)
        assert trouble_of(monkeypatch, lambda path, rng: "ModelFileError") == ""
    finally:
        signal.signal(signal.SIGPROF, old)
    code = (
        "import damage; from pathlib import Path; damage.read = lambda path, rng: bytearray(b'x') * (500 << 20) and '';"
    )
    code += "damage.signal.signal(damage.signal.SIGPROF, damage._too_long); print(damage.trouble(Path('x'), None, {}))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(damage.__file__).parent
    )
    assert "the process grew by" in done.stdout, done.stderr


# Archives that are bombs.

GRAPHS = {".pt2": "a/models/model.json", ".keras": "config.json"}


@pytest.mark.parametrize("suffix", GRAPHS)
def test_a_zip_bomb_is_refused_unpacked(suffix, tmp_path):
    path = tmp_path / f"bomb{suffix}"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr(GRAPHS[suffix], b" " * (archive.MAX_BYTES + 1))
    with pytest.raises(ModelFileError, match=f"more than {archive.MAX_BYTES}"):
        rfgraph.load(path)


@pytest.mark.parametrize("suffix", GRAPHS)
def test_an_archive_that_lies_about_sizes_is_refused(suffix, tmp_path):
    path = tmp_path / f"lie{suffix}"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr(GRAPHS[suffix], b"{" + b" " * 100_000)
    data = bytearray(path.read_bytes())
    at = data.rindex(b"PK\x01\x02") + 24  # the size in the central directory
    data[at : at + 4] = (10).to_bytes(4, "little")
    path.write_bytes(data)
    with pytest.raises(ModelFileError, match="or a damaged one"):
        rfgraph.load(path)


@pytest.mark.parametrize("suffix", GRAPHS)
def test_an_archive_of_many_members_is_refused(suffix, tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "MAX_MEMBERS", 1)
    with zipfile.ZipFile(tmp_path / f"many{suffix}", "w") as packed:
        packed.writestr(GRAPHS[suffix], "{}")
        packed.writestr("other", "")
    with pytest.raises(ModelFileError, match="2 members, more than 1"):
        rfgraph.load(tmp_path / f"many{suffix}")


@pytest.mark.parametrize("suffix", GRAPHS)
@pytest.mark.parametrize("part", ["[]", '{"a":0}', '"a"', "7"])
def test_a_graph_of_too_many_parts_is_refused_before_they_are_made(suffix, part, tmp_path, monkeypatch):
    parts = json.dumps([0] * 10_000).replace("0", part)
    path = tmp_path / f"parts{suffix}"
    with zipfile.ZipFile(path, "w") as packed:
        packed.writestr(GRAPHS[suffix], parts)
    limit = sys.getsizeof([0] * 10_000) + 10_000 * sys.getsizeof(json.loads(part)) * (part[0] in "[{") + len(parts)
    monkeypatch.setattr(archive, "MOST_PARSED", limit)  # what is made takes more
    with pytest.raises(ModelFileError, match="its graph has too many parts, which would take up to"):
        rfgraph.load(path)
    monkeypatch.setattr(archive, "MOST_PARSED", 10 * limit)
    with pytest.raises(ModelFileError, match=r"or a damaged one|is not"):
        rfgraph.load(path)


@pytest.mark.parametrize("letter", ["a", "\u00e9", "\u4e00", "\U0001f600", "\\\\u4e00"])
def test_the_memory_of_text_is_not_underrated(letter):
    """A letter takes four bytes in all of a text where one of them needs as many."""
    text = '"' + "a" * 100_000 + letter + '"'
    taken = sys.getsizeof(text) + sys.getsizeof(json.loads(text))
    with patch.object(archive, "MOST_PARSED", taken - 200), pytest.raises(ModelFileError, match="too many parts"):
        archive.parsed("net.json", text)


@pytest.mark.parametrize("suffix", [".json", ".h5"])
def test_files_of_json_are_bounded_as_archives_are(suffix, tmp_path, monkeypatch):
    path = tmp_path / f"net{suffix}"
    seed = damage.FILES[suffix[1:]][0]
    path.write_bytes(seed.read_bytes())
    monkeypatch.setattr(archive, "MOST_PARSED", 1000)
    with pytest.raises(ModelFileError, match=f"^{re.escape(str(path))}: its graph has too many parts"):
        rfgraph.load(path)


@pytest.mark.parametrize("suffix", [*GRAPHS, ".json"])
def test_json_nested_without_end_is_refused(suffix, tmp_path):
    path, text = tmp_path / f"deep{suffix}", "[" * 200_000
    if suffix == ".json":
        path.write_text(text)
    else:
        with zipfile.ZipFile(path, "w") as packed:
            packed.writestr(GRAPHS[suffix], text)
    with pytest.raises(ModelFileError, match=r"nested too deep|RecursionError"):
        rfgraph.load(path)


@pytest.mark.parametrize("suffix", GRAPHS)
def test_a_graph_that_is_mostly_air_is_refused_before_it_is_unpacked(suffix, tmp_path):
    path = tmp_path / f"air{suffix}"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr(GRAPHS[suffix], b" " * archive.MAX_BYTES)
    code = (
        "import damage, rfgraph, sys\n"
        "from rfgraph.errors import ModelFileError\n"
        "try:\n"
        "    rfgraph.load(sys.argv[1])\n"
        "except ModelFileError as error:\n"
        "    print(damage._peak() >> 20, error)\n"
    )
    folder = Path(damage.__file__).parent
    root = os.pathsep.join((str(Path(rfgraph.__file__).parents[1]), str(folder)))
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": root}
    )
    megabytes, said = done.stdout.split(" ", 1)
    assert int(megabytes) < 200, done.stderr
    assert f"unpacks to more than {archive.MAX_RATIO} times" in said
