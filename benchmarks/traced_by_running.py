"""Tables and loading times of timm's models, traced by one run and by ``torch.export``.

    python -m benchmarks.traced_by_running --count 100

One variant of each module of timm is read; the table of both must be the same, node for node.
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from collections.abc import Iterator

import torch

from benchmarks import frameworks
from rfgraph.importers.torch import live

timm = frameworks.timm()


def variants() -> Iterator[str]:
    """Yield the shortest-named variant of each module of timm."""
    for module in timm.list_modules():
        names = timm.list_models(module=module)
        small = [
            name for name in names if any(word in name for word in ("tiny", "nano", "pico", "femto", "atto", "18"))
        ]
        if names:
            yield min(small or names, key=lambda name: (len(name), name))


def table(module: torch.nn.Module, shape: tuple[int, ...], trace: live.Trace) -> tuple[object, float]:
    """Return the network that a trace makes, and how many seconds the trace alone takes."""
    begin = time.perf_counter()
    live.read(module, shape, trace)
    seconds = time.perf_counter() - begin
    graph = live.graph_of(module, shape, trace=trace)
    nodes = [
        (name, {key: value for key, value in attributes.items() if key != "location"})
        for name, attributes in graph.nodes(data=True)
    ]
    return (nodes, sorted(graph.edges(data="slot"), key=str)), seconds


def main() -> None:
    """Print one line per model, and the figures of all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100, help="how many models")
    parser.add_argument("--seconds", type=float, default=3600, help="when to stop")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    for name, function in vars(torch.nn.init).items():  # weights need no values
        if name.endswith("_") and not name.startswith("_"):
            setattr(torch.nn.init, name, lambda tensor, *_, _of=function, **__: tensor)
    ratios, same, refused = [], 0, 0
    began = time.perf_counter()
    for name in list(variants())[: options.count]:
        if time.perf_counter() - began > options.seconds:
            break
        try:
            module = timm.create_model(name).eval()
            shape = (1, *module.default_cfg["input_size"])
            ran, fast = table(module, shape, "run")
        except Exception as error:  # some need packages that are not there
            print(f"{name}: {type(error).__name__}: {str(error)[:120]}", flush=True)
            continue
        try:
            exported, slow = table(module, shape, "export")
        except Exception as error:
            refused += 1
            print(f"{name}: run {fast:.2f} s, export {type(error).__name__}: {str(error)[:100]}", flush=True)
            continue
        ratios.append(fast / slow)
        same += ran == exported
        print(f"{name}: run {fast:.2f} s, export {slow:.2f} s, {'same' if ran == exported else 'OTHER'}", flush=True)
    print(f"{same} of {len(ratios)} tables are the same; {refused} models run that torch.export refuses")
    if ratios:
        ranked = sorted(ratios)
        print(f"run / export: median {statistics.median(ranked):.3f}, worst {ranked[-1]:.3f}")


if __name__ == "__main__":
    main()
