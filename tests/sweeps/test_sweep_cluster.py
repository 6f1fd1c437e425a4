"""Sweeps that run in many processes, are killed, stored, stopped and resumed give what one undisturbed run gives."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import rfgraph
from rfgraph.errors import AttributeValueError, MissingExtraError, SweepError
from rfgraph.sweeps import chunks, results, stream, sweep
from rfgraph.sweeps.columns import COLUMNS

#: Kernels of SAME padding with a stride have no tables where no size is given, so that every design takes a while.
SLOW = {"each": {"conv*.kernel": [1, 2, 3, 5]}, "chunk": 16}


def slow_network():
    net = rfgraph.Network("slow", axes=1)
    x = net.input("x", channels=2)
    for layer in range(4):
        x = net.conv(f"conv{layer}", x, kernel=3, stride=2, padding="same", channels=2)
    return net.graph


def fast_network(layers=10):
    net = rfgraph.Network("fast", axes=2)
    x = net.input("image", channels=3)
    for layer in range(layers):
        y = net.conv(f"conv{layer}", x, kernel=3, padding="same", channels=16)
        x = net.add(f"add{layer}", y, x) if layer % 3 == 1 else y
    return net.graph


def check_same(one, two):
    """Assert that two sweeps found the same, exactly."""
    for name in COLUMNS:
        assert one[name].dtype == two[name].dtype, name
        assert np.array_equal(one[name], two[name]), name
    assert one.counts == two.counts


def wait_for(what, seconds=60):
    """Return what ``what`` returns once it is true."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := what():
            return found
        time.sleep(0.01)
    raise AssertionError("it never happened")


# Processes and clusters


def test_jobs_and_threads_find_what_one_process_finds():
    joblib = pytest.importorskip("joblib")
    alone = sweep(slow_network(), **SLOW)
    check_same(sweep(slow_network(), **SLOW, jobs=2), alone)
    with joblib.parallel_config(backend="threading", n_jobs=3):
        check_same(sweep(slow_network(), **SLOW), alone)
    best = {"where": "r >= 30", "best": ("-r", 7)}
    check_same(sweep(slow_network(), **SLOW, **best, jobs=2), sweep(slow_network(), **SLOW, **best))


def test_backends_without_generators_get_waves_of_chunks(monkeypatch):
    pytest.importorskip("joblib")
    from joblib._parallel_backends import ThreadingBackend

    monkeypatch.setattr(ThreadingBackend, "supports_return_generator", False)
    import joblib

    with joblib.parallel_config(backend="threading", n_jobs=2):
        check_same(sweep(slow_network(), **SLOW), sweep(slow_network(), **SLOW, jobs=1))


def test_a_killed_process_of_a_pool_loses_nothing(tmp_path):
    joblib = pytest.importorskip("joblib")
    pool = joblib.Parallel(n_jobs=2)(joblib.delayed(os.getpid)() for _ in range(8))  # it is kept for the next to come
    killed = []

    def kill():
        wait_for(lambda: len(list(tmp_path.glob("run/chunk-*"))) >= 2)
        os.kill(pool[0], signal.SIGKILL)
        killed.append(pool[0])

    killer = threading.Thread(target=kill)
    killer.start()
    found = sweep(slow_network(), **SLOW, jobs=2, to=tmp_path / "run")
    killer.join()
    assert killed
    check_same(found, sweep(slow_network(), **SLOW, jobs=1))


def test_pools_that_are_killed_again_and_again_are_given_up(monkeypatch):
    from concurrent.futures.process import BrokenProcessPool

    def broken(search, size, numbers):
        raise BrokenProcessPool("killed")
        yield

    monkeypatch.setattr(chunks, "_parallel", lambda jobs: broken)
    with pytest.raises(SweepError, match=r"worker processes were killed 3 times.*use fewer jobs or smaller chunks"):
        sweep(slow_network(), **SLOW)


@pytest.mark.filterwarnings("ignore:.*:DeprecationWarning:distributed.*")
@pytest.mark.filterwarnings("ignore:.*:ResourceWarning")
def test_a_dask_cluster_that_loses_a_worker_finds_the_same(tmp_path):
    distributed = pytest.importorskip("distributed")
    joblib = pytest.importorskip("joblib")
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
    ):
        workers = client.run(os.getpid)
        assert len(workers) == 2

        def kill():
            wait_for(lambda: len(list(tmp_path.glob("run/chunk-*"))) >= 2)
            os.kill(next(iter(workers.values())), signal.SIGKILL)

        killer = threading.Thread(target=kill)
        killer.start()
        with joblib.parallel_config(backend="dask"):
            found = sweep(slow_network(), **SLOW, to=tmp_path / "run")
        killer.join()
        again = wait_for(lambda: len(now := client.run(os.getpid)) == 2 and now)
        assert set(again.values()) != set(workers.values())
    check_same(found, sweep(slow_network(), **SLOW, jobs=1))


def test_jobs_without_joblib_name_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "joblib", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'rfgraph\[sweep\]'"):
        sweep(slow_network(), **SLOW, jobs=2)


# Folders


@pytest.mark.parametrize("form", ["npz", "parquet"])
def test_results_on_disk_are_those_in_memory(tmp_path, form):
    if form == "parquet":
        pytest.importorskip("pyarrow")
    net = rfgraph.Network("up", axes=2)
    x = net.conv("c", net.input("x", channels=1), kernel=3, padding=1, channels=1)
    net.resize("up", x, scale=2)
    choices = {"c.kernel": [2, 3, [3, 5]], "up.scale": [1, 2, 4], "c.stride": [1, 2]}  # strides that are fractions
    one = sweep(net, choices, nodes=["c", "up"], chunk=4)
    two = sweep(net, choices, nodes=["c", "up"], chunk=4, to=tmp_path / "run", form=form)
    assert one["S"].dtype == object
    check_same(one, two)
    assert len(list(two.chunks())) == 6 == len(list((tmp_path / "run").glob(f"chunk-*.{form}")))
    assert not list((tmp_path / "run").glob(".unfinished*"))
    kept = {"where": "r >= 3", "best": ("S[0]", 4)}
    check_same(
        sweep(net, choices, nodes=["up"], **kept),
        sweep(net, choices, nodes=["up"], **kept, to=tmp_path / "b", form=form),
    )


def test_a_sweep_that_is_killed_goes_on_where_it_was(tmp_path):
    code = """
        import sys
        sys.path[:0] = sys.argv[2:]
        from test_sweep_cluster import SLOW, slow_network
        from rfgraph.sweeps import sweep
        sweep(slow_network(), **SLOW, to=sys.argv[1])
    """
    folder = tmp_path / "run"
    arguments = [sys.executable, "-c", textwrap.dedent(code), str(folder), str(Path(__file__).parent)]
    with subprocess.Popen(arguments, stderr=subprocess.PIPE) as process:
        wait_for(lambda: len(list(folder.glob("chunk-*"))) >= 3)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    before = {path: path.stat().st_mtime_ns for path in folder.glob("chunk-*")}
    assert 3 <= len(before) < 16
    found = sweep(slow_network(), **SLOW, to=folder)
    assert {path: path.stat().st_mtime_ns for path in before} == before  # what was done is not done again
    check_same(found, sweep(slow_network(), **SLOW))


def test_only_chunks_that_are_missing_or_damaged_are_done(tmp_path, monkeypatch):
    done = []
    monkeypatch.setattr(chunks, "_work", lambda *task, work=chunks._work: done.append(task[2]) or work(*task))
    first = sweep(slow_network(), **SLOW, to=tmp_path / "run")
    assert done == list(range(16))
    (tmp_path / "run" / "chunk-000000003.npz").unlink()
    damaged = tmp_path / "run" / "chunk-000000007.npz"
    damaged.write_bytes(damaged.read_bytes()[:500])
    done.clear()
    check_same(sweep(slow_network(), **SLOW, to=tmp_path / "run"), first)
    assert done == [3, 7]


def test_chunks_with_objects_in_them_are_never_unpickled(tmp_path):
    class Hostile:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "owned"),))

    found = sweep(slow_network(), **SLOW, to=tmp_path / "run")
    path = tmp_path / "run" / "chunk-000000000.npz"
    np.savez(path, **{name: np.array([Hostile()], dtype=object) for name in (*COLUMNS, "counts")})
    with pytest.raises(SweepError, match="is damaged"):
        next(found.chunks())
    assert not (tmp_path / "owned").exists()
    check_same(sweep(slow_network(), **SLOW, to=tmp_path / "run"), sweep(slow_network(), **SLOW))


@pytest.mark.parametrize(
    "other",
    [
        {"each": {"conv*.kernel": [1, 2, 3, 7]}},
        {"each": {"conv*.kernel": [1, 2, 3, 5], "conv0.dilation": [1]}},
        {"chunk": 8},
        {"where": "r >= 3"},
        {"best": "parameters"},
        {"input_size": 32},
        {"alignment": "center"},
        {"sample": 10},
        {"nodes": ["conv0"]},
        {"form": "parquet"},
    ],
    ids=str,
)
def test_a_folder_of_another_sweep_is_refused(tmp_path, other):
    if other.get("form"):
        pytest.importorskip("pyarrow")
    quick = {"each": SLOW["each"], "input_size": 64, "chunk": 16}
    sweep(slow_network(), **quick, to=tmp_path)
    with pytest.raises(SweepError, match="holds another sweep: its graph, choices, conditions or format differ"):
        sweep(slow_network(), **(quick | other), to=tmp_path)


def test_a_folder_of_another_network_is_refused(tmp_path):
    quick = {"each": SLOW["each"], "input_size": 64}
    sweep(slow_network(), **quick, to=tmp_path)
    changed = slow_network()
    changed.nodes["conv2"]["dilation"] = 2
    with pytest.raises(SweepError, match="holds another sweep"):
        sweep(changed, **quick, to=tmp_path)


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(SweepError, match="has files in it that are of no sweep"):
        sweep(slow_network(), **SLOW, to=tmp_path)
    (tmp_path / "manifest.json").write_text("[" * 100_000)
    with pytest.raises(SweepError, match="is no manifest of a sweep"):
        sweep(slow_network(), **SLOW, to=tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_the_manifest_tells_people_what_it_is_of(tmp_path):
    sweep(fast_network(3), {"conv*.kernel": [3, 5]}, where="r > 3", best=3, input_size=32, to=tmp_path)
    said = json.loads((tmp_path / "manifest.json").read_text())
    assert said["network"] == "fast"
    assert said["choices"] == [["conv*.kernel"]]
    assert (said["designs"], said["where"], said["best"]) == (2, "r > 3", ["macs", 3])


def test_forms_that_are_none_and_chunks_without_bounds_are_refused(tmp_path):
    with pytest.raises(SweepError, match="cannot be written as 'csv'; write npz or parquet"):
        sweep(slow_network(), **SLOW, to=tmp_path / "a", form="csv")
    with pytest.raises(AttributeValueError, match="chunk 0 is not a number of designs"):
        list(stream(slow_network(), chunk=0))


def test_parquet_without_pyarrow_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'rfgraph\[parquet\]'"):
        sweep(slow_network(), **SLOW, to=tmp_path, form="parquet")


# Memory


def test_results_that_do_not_fit_into_memory_are_refused(monkeypatch):
    monkeypatch.setattr(results, "MOST_MEMORY", 100_000)
    choices = {f"conv{layer}.kernel": [3, 5, 7] for layer in range(8)}
    with pytest.raises(SweepError, match="take more than 0 MiB of memory; pass best= or where="):
        sweep(fast_network(), choices, chunk=512)
    assert len(sweep(fast_network(), choices, chunk=512, where="r >= 53")["r"]) == 1
    assert sum(len(part["r"]) for part in stream(fast_network(), choices, chunk=512)) == 3**8


#: Bytes that a sweep may take beyond what the process has before, however many designs there are.
BOUND = 192 << 20

_MEASURED = """
    import resource, sys
    sys.path[:0] = sys.argv[1:]
    from test_sweep_cluster import fast_network
    from rfgraph.sweeps import sweep
    choices = {f"conv{i}.kernel": [1, 3, 5, 7, 9] for i in range(10)}  # 9,765,625 designs
    sweep(fast_network(), choices, sample=100, where="r >= 60 and aligned", best="parameters", input_size=64)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = sweep(fast_network(), choices, where="r >= 60 and aligned", best="parameters", input_size=64)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(found.counts.seen, found.counts.kept, len(found["r"]), (after - before) * 1024)
"""


def test_ten_million_designs_take_bounded_memory():
    arguments = [sys.executable, "-c", textwrap.dedent(_MEASURED), str(Path(__file__).parent)]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True)
    seen, kept, rows, taken = map(int, done.stdout.split())
    assert (seen, rows) == (5**10, 10)
    assert 100_000 < kept < seen
    assert taken < BOUND
