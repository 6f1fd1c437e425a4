"""The recipe of a domain in CONTRIBUTING, as it is written there."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType

RECIPE = Path(__file__).parents[1] / "CONTRIBUTING.md"


def blocks(title):
    """The indented files of a section."""
    (section,) = re.findall(rf"^### {title}\n(.*?)^###? ", RECIPE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    texts = re.findall(r"(?:^    .*\n|^\n)+", section, re.MULTILINE)
    return [re.sub(r"^    ", "", text, flags=re.MULTILINE).strip("\n") for text in texts if "    " in text]


def test_the_domain_of_the_recipe_passes_the_test_of_the_recipe(monkeypatch):
    module, test = blocks("A domain")
    depths = ModuleType("rfgraph.passes.depths")
    monkeypatch.setitem(sys.modules, depths.__name__, depths)
    exec(module, depths.__dict__)
    assert depths.Depth.start == 0
    names = {}
    exec(test, names)
    names["test_depths_are_those_of_the_longest_path"]()
