"""Other tools on the same published networks: from the live module to the receptive field of its last map.

Each tool runs in a process of its own, as ``python -m benchmarks.peers TOOL RUNS NETWORK...``, which prints one line of
JSON a network. None of them is needed: what cannot run is a line of the table that says why. Whether an answer is right
is told by rfgraph's, which its tests hold against gradients.
"""

from __future__ import annotations

import collections
import collections.abc
import copy
import importlib.util
import json
import math
import re
import subprocess
import sys
import warnings
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from time import process_time
from typing import Any

from benchmarks import frameworks
from benchmarks.lines import Line

NETWORKS = ("resnet18", "resnet50", "vgg16", "googlenet", "mobilenet_v2")

#: Side of the image that the networks are traced on; their fields do not depend on it.
IMAGE = 224

#: Seconds that one tool may take for all networks.
PATIENCE = 900


def of_rfgraph(module: Any, name: str) -> tuple[int, ...]:
    """Return the field of the last map."""
    import rfgraph

    report = rfgraph.analyze(module, example=(1, 3, IMAGE, IMAGE))
    return report[report.outputs[0]].size


def of_rfa_toolbox(module: Any, name: str) -> tuple[int, ...]:
    """Return the largest field that is not infinite: that of the last map."""
    from rfa_toolbox.encodings.pytorch.ingest_architecture import create_graph_from_model

    graph = create_graph_from_model(module, input_res=(1, 3, IMAGE, IMAGE))
    ends = [layer.receptive_field_max for layer in graph.all_layers]
    sizes = [tuple(end) if hasattr(end, "__len__") else (end, end) for end in ends]
    y, x = max(size for size in sizes if all(map(math.isfinite, size)))
    return int(y), int(x)


def of_rfa_toolbox_mended(module: Any, name: str) -> tuple[int, ...]:
    """Return what rfa-toolbox answers with the name that Python 3.10 took away and its code still imports."""
    collections.Sequence = collections.abc.Sequence  # type: ignore[attr-defined]
    return of_rfa_toolbox(module, name)


def of_torchscan(module: Any, name: str) -> tuple[int, ...]:
    """Return what it calls the receptive field, of the last layer that it gives one that is not 1."""
    import torchscan

    layers = torchscan.crawl_module(module, (3, IMAGE, IMAGE))["layers"]
    fields = [layer["metrics"]["receptive_field"]["value"] for layer in layers if _windowed(layer)]
    return (int(fields[-1]), int(fields[-1]))


def _windowed(layer: Any) -> bool:
    found = layer["metrics"].get("receptive_field")
    return found is not None and found["value"] not in (None, 1.0) and "Adaptive" not in layer["type"]


def of_receptivefield(module: Any, name: str) -> tuple[int, ...]:
    """Return the extent of the gradient of one feature of the last map, on an image that holds the field.

    It asks for linear networks: modules that cut gradients off are replaced first.
    """
    from receptivefield.pytorch import PytorchReceptiveField
    from torch import nn

    network = copy.deepcopy(module)
    for parent in list(network.modules()):
        for child, layer in list(parent.named_children()):
            if isinstance(layer, (nn.ReLU, nn.ReLU6)):
                setattr(parent, child, nn.Identity())
            elif isinstance(layer, nn.MaxPool2d):
                shape = (layer.kernel_size, layer.stride, layer.padding, layer.ceil_mode)
                setattr(parent, child, nn.AvgPool2d(*shape))

    class Features(nn.Module):
        """The network, which keeps its last map."""

        def __init__(self) -> None:
            super().__init__()
            self.network = network
            getattr(network, LAST[name]).register_forward_hook(self._keep)

        def _keep(self, layer: Any, inputs: Any, output: Any) -> None:
            self.feature_maps = [output]

        def forward(self, image: Any) -> Any:
            return self.network(image)

    side = 608
    field = PytorchReceptiveField(Features).compute((side, side, 3))[0].rf.size
    return int(field.h), int(field.w)


#: The module whose output is the last map.
LAST = {
    "resnet18": "layer4", "resnet50": "layer4", "vgg16": "features", "googlenet": "inception5b",
    "mobilenet_v2": "features",
}  # fmt: skip

#: Distribution, and how it is run if not as it is -> what asks it.
TOOLS: dict[str, Callable[[Any, str], tuple[int, ...]]] = {
    "rfgraph": of_rfgraph,
    "rfa-toolbox": of_rfa_toolbox,
    "rfa-toolbox, mended": of_rfa_toolbox_mended,
    "torchscan": of_torchscan,
    "receptivefield": of_receptivefield,
}


def measure(runs: int, networks: Sequence[str] = NETWORKS, tools: Sequence[str] = tuple(TOOLS)) -> list[Line]:
    """Return the lines of the table: rfgraph first, then its peers."""
    if any(importlib.util.find_spec(package) is None for package in ("torch", "torchvision")):
        return [Line("peers", "", said="torch and torchvision are not installed")]
    found = {tool: _asked(tool, runs, networks) for tool in ("rfgraph", *(t for t in tools if t != "rfgraph"))}
    right = {name: answer.get("size") for name, answer in found["rfgraph"].items()}
    base = {name: answer.get("seconds", []) for name, answer in found["rfgraph"].items()}
    lines = []
    for tool, answers in found.items():
        whys = {answer.get("why", "") for answer in answers.values()}
        if len(whys) == 1 and "" not in whys:  # one reason for all
            lines.append(Line(titled(tool), "all networks", said=f"cannot run: {whys.pop()}"))
            continue
        for name, answer in answers.items():
            if "why" in answer:
                lines.append(Line(titled(tool), name, said=f"fails: {answer['why']}"))
                continue
            seconds = tuple(answer["seconds"])
            ratios = tuple(taken / before for taken, before in zip(seconds, base[name], strict=True))
            said = "x".join(map(str, answer["size"]))
            if tool != "rfgraph":
                agrees = answer["size"] == right[name]
                said += ", right" if agrees else f", wrong: it is {'x'.join(map(str, right[name] or ['?']))}"
            lines.append(Line(titled(tool), name, seconds, "", ratios, "rfgraph", f"r = {said}"))
    return lines


def titled(tool: str) -> str:
    """Return a tool with its version, if it is installed."""
    name, comma, how = tool.partition(",")
    try:
        return f"{name} {version(name)}{comma}{how}"
    except PackageNotFoundError:
        return tool


def _asked(tool: str, runs: int, networks: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return what a tool answers of each network, or ``why`` it does not."""
    command = [sys.executable, "-m", "benchmarks.peers", tool, str(runs), *networks]
    try:
        root = Path(__file__).parents[1]
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=PATIENCE, check=False)
        output, last = done.stdout, done.stderr.strip().rpartition("\n")[2]
    except subprocess.TimeoutExpired as error:
        output, last = (error.stdout or b"").decode(), f"not done after {PATIENCE} s"
    lines = (json.loads(line) for line in output.splitlines() if line.startswith('{"network"'))
    answers = {line["network"]: line for line in lines}
    return {name: answers.get(name, {"why": last or "it ends without an answer"}) for name in networks}


def main(tool: str, runs: str, *networks: str) -> None:
    """Ask one tool, and print what it answers."""
    warnings.simplefilter("ignore")
    torch, torchvision = frameworks.torchvision()
    torch.set_num_threads(1)
    ask = TOOLS[tool]
    for i, name in enumerate(networks):
        answer: dict[str, Any] = {"network": name}
        extra = {"init_weights": True} if name == "googlenet" else {}
        torch.manual_seed(0)
        module = torchvision.models.get_model(name, weights=None, **extra).eval()
        try:
            if i == 0:
                ask(module, name)  # what is imported and made ready once does not count
            seconds = []
            for _ in range(int(runs)):
                start = process_time()
                size = ask(module, name)
                seconds.append(process_time() - start)
            answer |= {"size": size, "seconds": seconds}
        except Exception as error:  # whatever goes wrong is what there is to tell
            answer["why"] = f"{type(error).__name__}: {_without_paths(str(error))}"
        print(json.dumps(answer), flush=True)


def _without_paths(text: str) -> str:
    return " ".join(re.sub(r"\s*\(/[^)]*\)", "", text).split())[:120]


if __name__ == "__main__":
    main(*sys.argv[1:])
