"""Sweeps on a Dask cluster of this machine: first results, designs a second and core, two workers, one that is killed.

Results go into a folder, so that what is kept in memory does not grow with the designs. Times are those of the clock:
workers are processes of their own, and that they wait is a cost here. So they say little on a machine that does other
things meanwhile; designs a second of CPU say the same at any time. A cluster of one worker is none to joblib, which
does the work in the process that asks. Dask has its workers give memory back to the system at once, which costs more
here than the sweep itself; the environment in which they are started tells them to keep it, but in the last line.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import signal
import tempfile
import threading
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from resource import RUSAGE_SELF, getrusage
from time import perf_counter, sleep

from benchmarks.lines import Line
from benchmarks.sweeps import KERNELS, network
from rfgraph.sweeps import sweep

#: Convolutions that each choose one of four kernels: there are four to this power of designs.
CONVOLUTIONS = 12
#: Designs that a worker goes through at a time.
CHUNK = 1 << 19
#: Dask has its workers give memory back at once, and ask for it anew for each array; with this they keep some.
KEEPING = {"OMP_NUM_THREADS": "1", "MALLOC_TRIM_THRESHOLD_": f"{1 << 28}", "MALLOC_MMAP_THRESHOLD_": f"{1 << 28}"}
WHERE, BEST, INPUT_SIZE = "r >= 60 and aligned", "macs", 64


@dataclass(frozen=True)
class Run:
    """One sweep on a cluster: seconds by the clock, and of CPU of all workers and this process."""

    seconds: float
    first: float
    cpu: float
    designs: int
    #: Most bytes that one worker and this process held.
    worker_bytes: int
    own_bytes: int


def measure(convolutions: int = CONVOLUTIONS) -> list[Line]:
    """Return the lines of the table."""
    missing = [package for package in ("distributed", "joblib") if importlib.util.find_spec(package) is None]
    if missing:
        return [Line("sweep on a Dask cluster", "", said=f"{' and '.join(missing)} not installed")]
    warnings.simplefilter("ignore")
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    one, two = _run(convolutions, 1), _run(convolutions, 2)
    killed, trimmed = _run(convolutions, 2, kill=True), _run(convolutions, 2, environment=None)
    on = f"{one.designs:,} designs of {len(network(convolutions))} nodes, where and best"
    return [
        _line("sweep, 1 worker", on, one, None, f"first results after {one.first:.1f} s, {one.own_bytes >> 20} MiB"),
        _line(
            "sweep, 2 workers of Dask", on, two, one,
            f"efficiency {one.seconds / two.seconds / 2:.2f}, of CPU {one.cpu / two.cpu:.2f}; "
            f"first results after {two.first:.1f} s, {two.worker_bytes >> 20} MiB a worker",
        ),
        _line("sweep, 1 of 2 workers killed", on, killed, two, f"{killed.seconds - two.seconds:+.1f} s"),
        _line("sweep, 2 workers of Dask as it comes", on, trimmed, two, f"of CPU {two.cpu / trimmed.cpu:.2f}"),
    ]  # fmt: skip


def _line(what: str, on: str, run: Run, base: Run | None, said: str) -> Line:
    each = f"{run.designs / run.cpu / 1e6:,.2f} M designs/s of CPU" if run.cpu else ""
    ratios = () if base is None else (run.seconds / base.seconds,)
    return Line(what, on, (run.seconds,), each, ratios, "" if base is None else "1 or 2 workers", said)


def _run(convolutions: int, workers: int, kill: bool = False, environment: Mapping[str, str] | None = KEEPING) -> Run:
    """Sweep on a cluster of its own, whose workers have an environment; kill one once there are results, if asked."""
    import dask
    import distributed
    import joblib

    graph = network(convolutions)
    each = {(f"conv{i}.kernel", f"conv{i}.padding"): KERNELS for i in range(convolutions)}
    settings = {} if environment is None else {"distributed.nanny.pre-spawn-environ": dict(environment)}
    with (
        dask.config.set(settings),
        tempfile.TemporaryDirectory() as folder,
        distributed.LocalCluster(
            n_workers=workers, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs=50
        ) as cluster,
        distributed.Client(cluster) as client,
        joblib.parallel_config(backend="dask"),
    ):
        processes = list(client.run(os.getpid).values())
        _sweep(graph, dict(list(each.items())[:2]), Path(folder, "warm"))  # imports are no part of a long sweep
        before = _cpu() + sum(client.run(_cpu).values())
        to, times = Path(folder, "run"), list[float]()
        start = perf_counter()
        watching = threading.Thread(target=_when, args=(lambda: any(to.glob("chunk-*")), start, times))
        watching.start()
        if kill:
            victim = threading.Thread(target=_kill, args=(to, processes[0]))
            victim.start()
        designs = _sweep(graph, each, to)
        seconds = perf_counter() - start
        watching.join()
        cpu = 0.0 if kill else _cpu() + sum(client.run(_cpu).values()) - before
        most = max(client.run(_peak).values())
    return Run(seconds, times[0], cpu, designs, most, _peak())


def _sweep(graph: object, each: dict, to: Path) -> int:
    asked = {"where": WHERE, "best": BEST, "input_size": INPUT_SIZE, "chunk": CHUNK}
    return sweep(graph, each=each, to=to, progress=False, **asked).counts.seen


def _when(there: Callable[[], bool], start: float, times: list[float]) -> None:
    while not there():
        sleep(0.01)
    times.append(perf_counter() - start)


def _kill(to: Path, process: int) -> None:
    while len(list(to.glob("chunk-*"))) < 2:
        sleep(0.01)
    os.kill(process, signal.SIGKILL)


def _cpu() -> float:
    used = getrusage(RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _peak() -> int:
    return getrusage(RUSAGE_SELF).ru_maxrss << 10
