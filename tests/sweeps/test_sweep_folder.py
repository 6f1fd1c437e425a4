"""A folder of results that something happened to: flipped bits, chunks of other places, two processes, a kill."""

from __future__ import annotations

import json
import os
import random
import shutil
import stat
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

import rfgraph
from rfgraph.errors import SweepError
from rfgraph.sweeps import chunks, sweep
from rfgraph.sweeps.folder import Folder
from rfgraph.sweeps.lock import LOCK, held


def network():
    net = rfgraph.Network("small", axes=1)
    x = net.conv("c", net.input("x", channels=1), kernel=3, padding=1, channels=1)
    net.resize("up", x, scale=2)
    return net


CHOICES = {"c.kernel": [2, 3, 5], "up.scale": [1, 2], "c.stride": [1, 2]}
ASKED = {"choices": CHOICES, "nodes": ["c", "up"], "chunk": 4}
NUMBERS = ("position", "r", "S", "P", "parameters")


@pytest.fixture(params=["npz", "parquet"])
def stored(request, tmp_path, monkeypatch):
    """What does a sweep into a folder of each form, and tells which chunks were worked out."""
    if request.param == "parquet":
        pytest.importorskip("pyarrow")
    done = []
    monkeypatch.setattr(chunks, "_work", lambda *task, work=chunks._work: done.append(task[2]) or work(*task))

    def run(folder=tmp_path / "run", **changes):
        done.clear()
        found = sweep(network(), **(ASKED | changes), to=folder, form=request.param)
        return {name: np.asarray(found[name], dtype=object).tolist() for name in NUMBERS}, list(done)

    return run, tmp_path / "run", request.param


def test_a_flipped_bit_is_noticed_or_changes_nothing(stored):
    run, path, form = stored
    right, _ = run()
    folder = Folder(path, json.loads((path / "manifest.json").read_text())["sweep"], {}, form, (2, 1))
    columns, counts = folder.read(1)
    chunk = path / f"chunk-000000001.{form}"
    whole = chunk.read_bytes()
    rng = random.Random(11)
    noticed = 0
    # Where the format says what it holds, bits count most: the ends of the file, and places all over it.
    places = [*range(60), *range(len(whole) - 60, len(whole)), *(rng.randrange(len(whole)) for _ in range(120))]
    for place in places:
        damaged = bytearray(whole)
        damaged[place] ^= 1 << rng.randrange(8)
        chunk.write_bytes(damaged)
        known = folder.stored(1)
        if known is None:
            noticed += 1
            last = damaged
            continue
        assert known[1] == counts
        assert known[0].keys() == columns.keys()
        assert all(np.array_equal(known[0][name], columns[name]) for name in columns)
    assert noticed > len(places) // 2
    chunk.write_bytes(last)
    assert run() == (right, [1])


def test_a_chunk_copied_over_another_is_worked_out_anew(stored, tmp_path):
    run, folder, form = stored
    right, _ = run()
    names = [folder / f"chunk-{number:09d}.{form}" for number in range(3)]
    shutil.copy(names[0], names[2])
    assert run() == (right, [2])
    other = {"c.kernel": [2, 3, 7], "up.scale": [1, 2], "c.stride": [1, 2]}
    run(tmp_path / "other", choices=other)
    shutil.copy(tmp_path / "other" / names[1].name, names[1])  # the same place of another sweep
    assert run() == (right, [1])
    shutil.copy(names[0], names[1])
    found = sweep(network(), **ASKED, to=tmp_path / "third", form=form)
    shutil.copy(tmp_path / "third" / names[0].name, tmp_path / "third" / names[1].name)
    with pytest.raises(SweepError, match="its checksum is another"):  # and it is noticed when it is read later too
        list(found.chunks())


def test_an_old_layout_is_told_from_another_sweep(stored):
    run, folder, _ = stored
    run()
    manifest = folder / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"layout": 2', '"layout": 1'))
    with pytest.raises(SweepError, match="was written by another version of rfgraph; give a new folder"):
        run()


@pytest.mark.skipif(os.name != "posix", reason="locks and modes of POSIX")
def test_modes_are_those_of_the_umask(stored):
    run, folder, _ = stored
    old = os.umask(0o026)
    try:
        run()
    finally:
        os.umask(old)
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o640}
    assert not (folder / LOCK).exists()


def test_what_a_kill_left_is_cleared(stored):
    run, folder, form = stored
    right, _ = run()
    (folder / f".unfinished-123-chunk-000000001.{form}").write_bytes(b"half of")
    (folder / LOCK).write_text("123")
    (folder / f"chunk-000000001.{form}").unlink()
    assert run() == (right, [1])
    assert sorted(path.name for path in folder.iterdir()) == [
        *(f"chunk-{number:09d}.{form}" for number in range(3)),
        "manifest.json",
    ]
    young = folder.with_name("young")  # killed before there was a manifest
    young.mkdir()
    (young / ".unfinished-123-manifest.json").touch()
    (young / LOCK).touch()
    assert run(young) == (right, [0, 1, 2])


@pytest.mark.skipif(os.name != "posix", reason="locks of POSIX")
def test_a_folder_that_another_process_writes_is_refused_by_its_number(stored):
    run, folder, _ = stored
    folder.mkdir()
    code = """
        import sys
        from pathlib import Path
        from rfgraph.sweeps.lock import held
        with held(Path(sys.argv[1])):
            print("held", flush=True)
            sys.stdin.read()
    """
    command = [sys.executable, "-c", textwrap.dedent(code), str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        with pytest.raises(
            SweepError, match=rf"run is being written by another process \({process.pid}\); wait for it"
        ):
            run()
        process.kill()  # the lock goes with the process
        process.wait()
    assert run()[1] == [0, 1, 2]


@pytest.mark.skipif(os.name != "posix", reason="locks of POSIX")
def test_a_lock_that_was_let_go_of_is_taken_anew(tmp_path):
    for _ in range(3):
        with held(tmp_path):
            assert (tmp_path / LOCK).read_text() == str(os.getpid())
            with pytest.raises(SweepError, match="is being written by another process"), held(tmp_path):
                pass
        assert not list(tmp_path.iterdir())


def test_a_file_is_no_folder(stored, tmp_path):
    run, _, _ = stored
    (tmp_path / "file").touch()
    with pytest.raises(SweepError, match="file is no folder; give a new one"):
        run(tmp_path / "file")
    assert Path(tmp_path / "file").is_file()
