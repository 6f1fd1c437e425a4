"""How much of timm is followed: unknown nodes over one variant of each of its modules.

The command: ``python -m benchmarks.timm_unknown [--cache FOLDER] [--modules swin_transformer,xcit] [--ops]``.

It needs ``pip install timm==1.0.31 torch``; no weights are loaded. Of each module the variant with the fewest
parameters is taken, at its own input size. Choosing takes long, so the choice is kept in the folder ``--cache``.
"""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import frameworks
from rfgraph.errors import RFGraphError
from rfgraph.importers.torch.reader import lowered


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was read of one variant: its nodes, and the op and reason of each that is unknown."""

    module: str
    variant: str
    nodes: int
    unknown: tuple[tuple[str, str], ...]
    refused: str = ""

    @property
    def share(self) -> float:
        """Unknown nodes over all nodes; a model that is refused is unknown as a whole."""
        return len(self.unknown) / self.nodes if self.nodes else 1.0


def smallest(module: str, cache: Path) -> str:
    """Return the variant of a timm module that has the fewest parameters."""
    import torch

    timm = frameworks.timm()

    file = cache / "variants.json"
    known: dict[str, str] = json.loads(file.read_text()) if file.exists() else {}
    if module not in known:
        counts: dict[str, int] = {}
        for name in timm.list_models(module=module):
            try:
                with torch.device("meta"):
                    built = timm.create_model(name)
            except (RuntimeError, NotImplementedError):  # it computes with numbers while it is built
                built = timm.create_model(name)
            counts[name] = sum(parameter.numel() for parameter in built.parameters())
        known[module] = min(counts, key=lambda name: (counts[name], name))
        file.write_text(json.dumps(known, indent=1, sort_keys=True))
    return known[module]


def traced(variant: str) -> Any:
    """Return the exported graph of a variant."""
    from rfgraph.importers.torch import live

    model = frameworks.timm().create_model(variant).eval()
    graph, _ = live.read(model, (1, *model.pretrained_cfg.get("input_size", (3, 224, 224))))
    return graph


def outcomes(modules: Iterable[str], cache: Path) -> Iterator[Outcome]:
    """Yield what is read of one variant of each module."""
    for module in modules:
        variant = smallest(module, cache)
        try:
            graph = lowered(traced(variant))
        except RFGraphError as error:
            yield Outcome(module, variant, 0, (), str(error))
            continue
        unknown = [data for _, data in graph.nodes(data=True) if data["op"] == "unknown"]
        reasons = tuple((str(data.get("of", "")), str(data.get("why", ""))) for data in unknown)
        yield Outcome(module, variant, graph.number_of_nodes(), reasons)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the share of unknown nodes, the worst modules, and the ops that are unknown."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.timm_unknown", description=__doc__)
    parser.add_argument("--cache", type=Path, default=Path("timm-cache"), help="folder of choices (%(default)s)")
    parser.add_argument("--modules", default="", help="modules of timm, with commas; all of them if left out")
    parser.add_argument("--ops", action="store_true", help="tell each op and reason of the modules")
    options = parser.parse_args(arguments)
    timm = frameworks.timm()
    warnings.simplefilter("ignore")
    options.cache.mkdir(parents=True, exist_ok=True)
    modules = options.modules.split(",") if options.modules else timm.list_modules()
    found = []
    for outcome in outcomes(modules, options.cache):
        found.append(outcome)
        print(f"{outcome.module} {outcome.share:.1%}", file=sys.stderr, flush=True)
    for outcome in sorted(found, key=lambda one: (-one.share, one.module)):
        if outcome.unknown or outcome.refused:
            told = outcome.refused or f"{len(outcome.unknown):,} of {outcome.nodes:,}"
            print(f"{outcome.share:7.1%}  {outcome.module} ({outcome.variant}): {told}")
        if options.ops:
            for (op, why), count in Counter(outcome.unknown).most_common():
                print(f"         {count:5}  {op}: {why}")
    nodes, unknown = sum(one.nodes for one in found), sum(len(one.unknown) for one in found)
    refused = sum(bool(one.refused) for one in found)
    print(
        f"timm {timm.__version__}: {len(found)} modules, {unknown:,} of {nodes:,} nodes unknown "
        f"({unknown / max(nodes, 1):.2%}), {refused} modules refused"
    )


if __name__ == "__main__":
    main()
