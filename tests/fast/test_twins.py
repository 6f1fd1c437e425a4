"""Every fast twin names what it is a twin of, and a test that holds it to that."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SWEEPS = ("kernels", "tape", "vectorised")
MODULES = [
    *(path for path in (ROOT / "rfgraph/fast").glob("*.py") if path.stem not in ("__init__", "numbers")),
    *(ROOT / f"rfgraph/sweeps/{name}.py" for name in SWEEPS),
]


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.stem)
def test_a_twin_names_its_domain_and_the_test_that_holds_it(module):
    head = ast.get_docstring(ast.parse(module.read_text(encoding="utf-8"))) or ""
    assert re.search(r"(Twin of|Part of the twin) (the domain )?``rfgraph[\w.]+``", head)
    for named in re.findall(r"``(rfgraph[\w.]+)``", head):
        parts = named.split(".")
        assert any((ROOT / "/".join(parts[:n])).with_suffix(".py").exists() for n in range(2, len(parts) + 1)), named
    tests = re.findall(r"``(tests/[\w/]+\.py)(?:::(\w+))?``", head)
    assert tests
    for path, name in tests:
        assert f"def {name}" in (ROOT / path).read_text(encoding="utf-8")
