"""The examples of the documentation run, and print what the pages show.

A page runs in a folder of its own, from top to bottom: ``python`` blocks, ``pycon`` blocks as doctests, and commands of
``console`` blocks. In what a command prints, a line of three dots stands for any lines. Where a block needs a package
that is not installed, a comment above it says so and the block is left out.
"""

from __future__ import annotations

import doctest
import re
import shlex
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import pytest

from rfgraph import cli

DOCS = Path(__file__).parent.parent / "docs"
PAGES = sorted(page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md"))
BLOCK = re.compile(
    r"(?:<!-- needs: (?P<needs>[^>]*) -->\n)?^```(?P<kind>python|pycon|console)\n(?P<text>.*?)^```", re.M | re.S
)


def fits(shown, printed):
    """Return whether what a page shows is what was printed; a line of dots stands for any lines."""
    parts = [re.escape(part) for part in re.split(r"^\.\.\.\n", shown, flags=re.M)]
    return re.fullmatch(r"(?:.*\n)*?".join(parts), printed) is not None


def run_commands(text, capsys):
    """Run the commands of a block, and compare what each prints with what is shown below it."""
    for command, shown in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", text, re.M):
        program, *arguments = shlex.split(command)
        assert program == "rfgraph", command
        capsys.readouterr()
        cli.main(arguments)
        printed = capsys.readouterr().out
        plain = "".join(f"{line.rstrip()}\n" for line in printed.splitlines())
        assert fits(shown, plain), f"{command} prints\n{plain}"


@pytest.mark.parametrize("page", PAGES)
def test_the_examples_of_a_page_run(page, tmp_path, monkeypatch, capsys):
    text = (DOCS / page).read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    names = {"__name__": "__main__"}
    for block in BLOCK.finditer(text):
        needs = [name for name in (block["needs"] or "").replace(",", " ").split() if find_spec(name) is None]
        if needs:
            continue
        if block["kind"] == "python":
            exec(compile(block["text"], page, "exec"), names)
        elif block["kind"] == "pycon":
            test = doctest.DocTestParser().get_doctest(block["text"], names, page, page, 0)
            runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.REPORT_NDIFF)
            told = []
            runner.run(test, out=told.append, clear_globs=False)
            names.update(test.globs)
            assert not runner.failures, "".join(told)
        else:
            run_commands(block["text"], capsys)


def test_links_lead_somewhere():
    for page in PAGES:
        text = (DOCS / page).read_text(encoding="utf-8")
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", text):
            assert (DOCS / page).parent.joinpath(target).exists(), (page, target)


def test_tables_have_a_rule_of_as_many_columns_as_their_head():
    """One that has not is shown as text."""
    for path in [DOCS.parent / "README.md", *(DOCS / page for page in PAGES)]:
        lines = path.read_text(encoding="utf-8").splitlines()
        for head, rule in pairwise(lines):
            if re.fullmatch(r"\|[-:| ]*-[-:| ]*\|", rule):
                assert head.replace("\\|", "").count("|") == rule.count("|"), (path.name, head)


def test_pages_show_examples():
    assert sum(len(BLOCK.findall((DOCS / page).read_text(encoding="utf-8"))) for page in PAGES) > 20
    assert fits("a\n...\nd\n", "a\nb\nc\nd\n")
    assert not fits("a\n...\nd\n", "a\nb\n")
