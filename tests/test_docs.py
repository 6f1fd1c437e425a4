"""What lies in ``docs/``: the notebook shows what its cells say, and the pictures what a report says."""

from __future__ import annotations

import importlib.util
import json
import re
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from rfgraph import analyze, plot

DOCS = Path(__file__).parents[1] / "docs"

#: The signature of a function, and what stands below "Parameters" in its docstring, with how far that is indented.
SECTION = re.compile(
    r'^ *def \w+(\((?:(?!\n *(?:class|def) )[^"])*?:)\n +r?"""(?:(?!""").)*?'
    r'\n( +)Parameters\n +-+\n((?:(?! *""") +[^\n]*\n)+)',
    re.M | re.S,
)


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


def held(name: str) -> Any:
    """Return the numbers that a picture carries."""
    image = pytest.importorskip("PIL.Image")
    with image.open(DOCS / f"{name}.png") as opened:
        return json.loads(opened.text["Description"])


@pytest.mark.usefixtures("quiet")
def test_the_pictures_show_what_reports_say() -> None:
    for name, draw in script("make_pictures").PICTURES.items():
        _, numbers = draw()
        assert held(name) == json.loads(json.dumps(numbers)), "run `python docs/make_pictures.py`"
        assert (DOCS / f"{name}.png").stat().st_size < 100_000
        pages = [DOCS.parent / "README.md", *DOCS.rglob("*.md")]
        assert any(f"{name}.png)" in page.read_text(encoding="utf-8") for page in pages)


@pytest.mark.usefixtures("quiet")
def test_the_picture_of_a_merge_shows_its_finding() -> None:
    (finding,) = analyze("zoo:xception", input_size=299).findings
    figure, numbers = script("make_pictures").misaligned()
    assert (finding.offset, str(finding.merge)) == (-4, "add_1") == (Fraction(numbers["offset"]), numbers["merge"])
    bars = figure.axes[1]
    for side, branch in (("reference", finding.reference), ("branch", finding.branch)):
        drawn = bars.findobj(lambda artist, side=side: artist.get_gid() == side)
        ends = [branch.field.interval(y) for y in range(3)]
        assert [(bar.get_x() + 0.5, bar.get_width()) for bar in drawn] == [(a, b - a + 1) for a, b in ends]
    said = " ".join(text.get_text() for text in figure.findobj(lambda artist: hasattr(artist, "get_text")))
    assert finding.advice in said
    assert "centres 4 pixels apart" in said
    assert "299 pixels" in said


@pytest.mark.usefixtures("quiet")
def test_the_picture_of_the_guide_has_its_centres() -> None:
    _, numbers = script("make_pictures").guide()
    assert numbers == {"conv1": [0.5, 2.5, 4.5], "conv2": [0.5, 4.5]}


@pytest.mark.usefixtures("quiet")
def test_the_plots_of_the_page_are_there_and_its_example_runs() -> None:
    readme = (DOCS / "pictures.md").read_text(encoding="utf-8")
    named = set(re.findall(r"\bplot\.(\w+)\(", readme))
    assert named == set(plot.__all__)
    (code,) = re.findall(r"```python\n(import rfgraph\nfrom rfgraph import plot.*?)```", readme, re.DOTALL)
    exec(code, {})
    pyplot = pytest.importorskip("matplotlib.pyplot")
    (dots,) = pyplot.gca().findobj(lambda artist: artist.get_gid() == "centres")
    assert len(dots.get_offsets()) == 4


def test_docstrings_call_parameters_as_their_functions_do() -> None:
    wrong, compared = [], 0
    for module in (DOCS.parent / "rfgraph").rglob("*.py"):
        for signature, indent, section in SECTION.findall(module.read_text(encoding="utf-8")):
            names = [
                name.strip(" *") for line in re.findall(rf"^{indent}(\S.*)$", section, re.M) for name in line.split(",")
            ]
            compared += len(names)
            wrong += [f"{module}: {name}" for name in names if not re.search(rf"\b{re.escape(name)}\b", signature)]
    assert not wrong
    assert compared > 400
