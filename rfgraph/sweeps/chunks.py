"""Running a sweep: chunk after chunk here, or many at once wherever joblib sends them.

joblib is not imported unless jobs are asked for, or the program has imported it itself and so may have set a backend
with ``joblib.parallel_config``: its processes, or a Dask, Ray or Spark cluster.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any

from rfgraph.errors import Needed, SweepError
from rfgraph.sweeps.columns import Columns
from rfgraph.sweeps.designs import Blocks
from rfgraph.sweeps.search import Counts, Search

Found = tuple[int, Columns, Counts]

#: How often a pool of processes is started anew when one of them is killed.
ATTEMPTS = 3


def _work(search: Search, size: int, chunk: int) -> Found:
    """Do one chunk; this is what travels to workers."""
    columns, counts = search.run(Blocks(search.designs, size), chunk)
    return chunk, columns, counts


def run(search: Search, size: int, chunks: Sequence[int], jobs: int | None) -> Iterator[Found]:
    """Yield what is found chunk by chunk, each as soon as it is there, in any order.

    Parameters
    ----------
    size
        Most designs in a chunk.
    chunks
        Numbers of the chunks to do.
    jobs
        How many to do at once, as joblib's ``n_jobs``; ``None`` for what the program set, else one.
    """
    parallel = _parallel(jobs)
    if parallel is None:
        for chunk in chunks:
            yield _work(search, size, chunk)
        return
    left = dict.fromkeys(chunks)
    for attempt in range(ATTEMPTS):
        try:
            for counts in parallel(search, size, list(left)):
                left.pop(counts[0], None)
                yield counts
            return
        except BrokenProcessPool as error:
            if attempt == ATTEMPTS - 1:
                raise SweepError(
                    f"worker processes were killed {ATTEMPTS} times, perhaps for want of memory ({error}); "
                    "use fewer jobs or smaller chunks"
                ) from error


def _parallel(jobs: int | None) -> Callable[[Search, int, list[int]], Iterator[Found]] | None:
    """Return what does chunks in parallel, ``None`` if nobody asked for that."""
    if jobs is None and "joblib" not in sys.modules:
        return None
    if jobs == 1:
        return None
    with Needed("joblib", "jobs=", "'rfgraph[sweep]'"):
        import joblib
        from joblib.parallel import get_active_backend
    backend, _ = get_active_backend()
    several = joblib.Parallel(n_jobs=jobs)
    workers = several._effective_n_jobs()
    if workers == 1 and jobs is None and not _is_cluster(backend):
        return None

    def stream(search: Search, size: int, chunks: list[int]) -> Iterator[Found]:
        task = joblib.delayed(_work)
        if getattr(backend, "supports_return_generator", False):
            run_all = joblib.Parallel(n_jobs=jobs, return_as="generator_unordered", batch_size=1)
            yield from run_all(task(search, size, chunk) for chunk in chunks)
            return
        wave = max(workers, 1)  # of what is under way, no more is lost than one chunk a worker
        for low in range(0, len(chunks), wave):
            yield from joblib.Parallel(n_jobs=jobs, batch_size=1)(
                task(search, size, chunk) for chunk in chunks[low : low + wave]
            )

    return stream


def _is_cluster(backend: Any) -> bool:
    return type(backend).__module__.partition(".")[0] != "joblib" or "dask" in type(backend).__name__.lower()


@contextmanager
def progress(total: int, wanted: bool | None) -> Iterator[Callable[[int], object]]:
    """Return what is told how many more designs are done, and shows it on a terminal.

    Parameters
    ----------
    total
        How many designs there are.
    wanted
        Whether to show it; ``None``: if standard error is a terminal.
    """
    if not (sys.stderr.isatty() if wanted is None else wanted):
        yield lambda done: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("designs"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("designs", total=total)
        yield lambda done: bar.advance(task, done)
