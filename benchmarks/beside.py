"""What else is asked of a live model, beside what would be used for it: a summary, the effective field, a tiling.

The effective field is one backward pass of torch; a halo is found by one for each output of a period, on the same
network with layers and pools that take means, so that no gradient is 0 by chance.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from io import StringIO
from time import process_time
from typing import Any

import numpy as np

import rfgraph
from benchmarks.lines import Line
from benchmarks.peers import titled

#: Side of the image.
IMAGE = 128
#: How often the network of the tiling halves its maps.
LEVELS = 3


def measure(runs: int) -> list[Line]:
    """Return the lines of the table."""
    if importlib.util.find_spec("torch") is None:
        return [Line("questions", "", said="torch is not installed")]
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(0)
    network = unet(torch)
    image = torch.ones(1, 1, IMAGE, IMAGE)
    on = f"a U-Net of {LEVELS} levels, {IMAGE} pixels"
    return [*_summaries(network, image, on, runs), *_effective(network, image, on, runs), *_tiling(network, on, runs)]


def unet(torch: Any) -> Any:
    """Return a small U-Net whose gradients tell what it reads: no weight is 0, and no activation cuts one off."""
    nn = torch.nn

    class UNet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.down = nn.ModuleList([nn.Conv2d(1, 1, 3, padding=1) for _ in range(LEVELS)])
            self.middle = nn.Conv2d(1, 1, 3, padding=1)
            self.up = nn.ModuleList([nn.Conv2d(2, 1, 3, padding=1) for _ in range(LEVELS)])

        def forward(self, x: Any) -> Any:
            skips = []
            for layer in self.down:
                x = layer(x)
                skips.append(x)
                x = nn.functional.avg_pool2d(x, 2)
            x = self.middle(x)
            for layer in self.up:
                x = layer(torch.cat([skips.pop(), nn.functional.interpolate(x, scale_factor=2)], 1))
            return x

    network = UNet().eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(1 / 9)  # each layer takes the mean of a window of each map, as uniform weights do
    return network


def _summaries(network: Any, image: Any, on: str, runs: int) -> list[Line]:
    """Return the summary of every layer, and those of other tools, which tell no receptive field or another one."""
    own = _timed(lambda: str(rfgraph.analyze(network, example=image).summary()), runs)
    lines = [Line("summary, rfgraph", on, own)]
    for tool, shape in (("torchinfo", {"input_size": tuple(image.shape), "verbose": 0}), ("torchscan", {})):
        if importlib.util.find_spec(tool) is None:
            lines.append(Line(f"summary, {tool}", on, said="not installed"))
            continue
        summary = importlib.import_module(tool).summary
        given = () if shape else (tuple(image.shape[1:]),)
        with redirect_stdout(StringIO()):  # it is printed, not returned
            its = _timed(lambda ask=summary, given=given, shape=shape: str(ask(network, *given, **shape)), runs)
        lines.append(Line(f"summary, {titled(tool)}", on, its, "", _ratios(its, own), "rfgraph"))
    return lines


def _effective(network: Any, image: Any, on: str, runs: int) -> list[Line]:
    """Return the effective field of the middle of the last map, and one backward pass."""
    report = rfgraph.analyze(network, example=image)
    end, at = report.outputs[0], (IMAGE // 2, IMAGE // 2)
    passed = _timed(lambda: _gradient(network, image, at), runs)
    own = _timed(lambda: rfgraph.analyze(network, example=image).effective_field(end, at, "uniform").map, runs)
    asked = _timed(lambda: report.effective_field(end, at, "uniform").map, runs)
    field, gradient = report.effective_field(end, at, "uniform"), _gradient(network, image, at).numpy()
    wide = np.zeros_like(gradient, dtype=float)
    wide[tuple(slice(a, a + n) for a, n in zip(field.first, field.map.shape, strict=True))] = field.map
    apart = float(abs(wide / wide.sum() - gradient / gradient.sum()).max())
    return [
        Line("effective field, one backward pass of torch", on, passed),
        Line(
            "effective field, rfgraph, report at hand", on, asked, "", _ratios(asked, passed), "backward pass",
            f"shares differ by {apart:.0e} at most",
        ),
        Line("effective field, rfgraph, from the live model", on, own, "", _ratios(own, passed), "backward pass"),
    ]  # fmt: skip


def _gradient(network: Any, image: Any, at: Sequence[int]) -> Any:
    image = image.clone().requires_grad_()
    network(image)[0, 0, at[0], at[1]].backward()
    return image.grad[0, 0]


def _tiling(network: Any, on: str, runs: int) -> list[Line]:
    """Return the halo of a tile, and what gradients tell of it."""
    import torch

    image = torch.ones(1, 1, IMAGE, IMAGE)
    found: list[Any] = []

    def probe() -> None:
        reads = []
        for y in range(IMAGE // 2, IMAGE // 2 + (1 << LEVELS)):
            rows = _gradient(network, image, (y, IMAGE // 2)).abs().sum(1).nonzero().flatten()
            reads.append((int(rows[0]), int(rows[-1])))
        start = IMAGE // 2
        found[:] = [start - min(first for first, _ in reads), max(last for _, last in reads) - start + 1 - len(reads)]

    probed = _timed(probe, runs)
    plan = rfgraph.analyze(network, example=image).tiling()
    own = _timed(lambda: rfgraph.analyze(network, example=image).tiling(), runs)
    halo = tuple(plan.axes[0].halo)
    agrees = "the same" if halo == tuple(found) else f"not {tuple(found)}"
    return [
        Line("halo of tiles, by gradients of a period", on, probed, said=f"halo {found[0]}, {found[1]}"),
        Line(
            "halo of tiles, rfgraph, from the live model", on, own, "", _ratios(own, probed), "gradients",
            f"halo {halo[0]}, {halo[1]}: {agrees}",
        ),
    ]  # fmt: skip


def _timed(run: Callable[[], object], runs: int) -> tuple[float, ...]:
    run()
    seconds = []
    for _ in range(runs):
        start = process_time()
        run()
        seconds.append(process_time() - start)
    return tuple(seconds)


def _ratios(taken: Sequence[float], base: Sequence[float]) -> tuple[float, ...]:
    return tuple(a / b for a, b in zip(taken, base, strict=True))
