"""What lies in ``docs/``: the notebook shows what its cells say, and the pictures what a report says."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

DOCS = Path(__file__).parents[1] / "docs"


def script(name: str) -> ModuleType:
    """Return a script of the folder as a module."""
    spec = importlib.util.spec_from_file_location(f"docs_{name}", DOCS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def texts(notebook: dict[str, Any]) -> list[list[tuple[str, list[str] | bool]]]:
    """Return what each cell shows: text as it is, and that there is a picture where there is one."""
    shown = []
    for cell in notebook["cells"]:
        of_cell: list[tuple[str, list[str] | bool]] = []
        for output in cell.get("outputs", ()):
            of_cell += [("stdout", output["text"])] if "text" in output else []
            of_cell += [(kind, kind == "image/png" or held) for kind, held in sorted(output.get("data", {}).items())]
        shown.append(of_cell)
    return shown


@pytest.fixture
def quiet() -> Any:
    """Draw on no screen, and close what was drawn."""
    pyplot = pytest.importorskip("matplotlib.pyplot")
    pyplot.switch_backend("Agg")
    yield
    pyplot.close("all")


@pytest.mark.usefixtures("quiet")
def test_the_notebook_shows_what_its_cells_say() -> None:
    notebook = json.loads((DOCS / "rfgraph.ipynb").read_text(encoding="utf-8"))
    anew = script("make_notebook").run(notebook)
    assert texts(anew) == texts(notebook), "run `python docs/make_notebook.py`"
    assert any(("image/png", True) in shown for shown in texts(notebook))
    counts = [cell["execution_count"] for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert counts == list(range(1, len(counts) + 1))
