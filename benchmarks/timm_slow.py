"""Where rfgraph takes long: its own time over one variant of each module of timm, as a ratio of ``torch.export``'s.

The command: ``python -m benchmarks.timm_slow [--cache FOLDER] [--modules csatv2,hrnet] [--worst 10]``.

It needs ``pip install timm==1.0.31 torch``. Of each module the variant with the fewest parameters is taken, at its own
input size. Own time is that of everything but the tracing: the tensor program, its lowering, the passes, all findings
and the paths to the outputs. The times of ``torch.export`` are kept in the folder ``--cache``. Times are
CPU time of one run each: what is looked for is a cliff, not a per cent.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rfgraph
from benchmarks import frameworks
from benchmarks.timm_unknown import smallest, traced
from rfgraph.errors import RFGraphError
from rfgraph.importers.torch.reader import lowered


@dataclass(frozen=True, slots=True)
class Timed:
    """Seconds of CPU time that one variant takes, step by step."""

    module: str
    variant: str
    steps: dict[str, float]
    export: float

    @property
    def own(self) -> float:
        """Time of all steps."""
        return sum(self.steps.values())

    @property
    def ratio(self) -> float:
        """Own time over that of ``torch.export``."""
        return self.own / self.export

    def __str__(self) -> str:
        slowest = max(self.steps, key=lambda step: self.steps[step])
        seconds = f"{self.own:8.3f} s of {self.export:7.2f} s"
        return f"{self.ratio:6.3f} {seconds}  {self.module} ({self.variant}): {slowest} {self.steps[slowest]:.3f} s"


def clocked(run: Callable[[], Any]) -> tuple[Any, float]:
    """Return what ``run`` returns, and its CPU time in seconds."""
    begin = time.process_time()
    result = run()
    return result, time.process_time() - begin


def exported(variant: str, cache: Path) -> float:
    """Return the CPU time of ``torch.export`` of a variant, from the cache if it is there."""
    file = cache / "export.json"
    known: dict[str, float] = json.loads(file.read_text()) if file.exists() else {}
    if variant not in known:
        import torch

        timm = frameworks.timm()

        model = timm.create_model(variant).eval()
        shape = (1, *model.pretrained_cfg.get("input_size", (3, 224, 224)))
        _, known[variant] = clocked(lambda: torch.export.export(model, (torch.zeros(shape),)))
        file.write_text(json.dumps(known, indent=1, sort_keys=True))
    return known[variant]


def steps_of(trace: Any) -> dict[str, float]:
    """Return the time of each step of an analysis of a trace."""
    graph, lowering = clocked(lambda: lowered(trace))
    report, analyze = clocked(lambda: rfgraph.analyze(graph))
    _, findings = clocked(lambda: report.findings)
    _, rows = clocked(lambda: [report[node] for node in report])
    _, paths = clocked(lambda: [report.paths(node) for node in report.outputs])
    return {"lowering": lowering, "analyze": analyze, "findings": findings, "rows": rows, "paths": paths}


def timed(modules: Iterable[str], cache: Path) -> Iterator[Timed]:
    """Yield the times of one variant of each module; those that are refused are named on stderr."""
    for module in modules:
        variant = smallest(module, cache)
        try:
            yield Timed(module, variant, steps_of(traced(variant)), exported(variant, cache))
        except RFGraphError as error:
            print(f"{module} ({variant}) is refused: {error}", file=sys.stderr)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the modules with the largest ratios, the worst first."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.timm_slow", description=__doc__)
    parser.add_argument(
        "--cache", type=Path, default=Path("timm-cache"), help="folder of choices and times (%(default)s)"
    )
    parser.add_argument("--modules", default="", help="modules of timm, with commas; all of them if left out")
    parser.add_argument("--worst", type=int, default=10, help="how many are listed (%(default)s)")
    options = parser.parse_args(arguments)
    timm = frameworks.timm()
    warnings.simplefilter("ignore")
    options.cache.mkdir(parents=True, exist_ok=True)
    modules = options.modules.split(",") if options.modules else timm.list_modules()
    results = []
    for one in timed(modules, options.cache):
        results.append(one)
        print(one, file=sys.stderr, flush=True)
    for one in sorted(results, key=lambda one: -one.ratio)[: options.worst]:
        print(one)
    print(f"timm {timm.__version__}: {len(results)} modules, {sum(one.ratio > 0.2 for one in results)} above 0.2")


if __name__ == "__main__":
    main()
