"""Mutants of a module, and whether its tests notice: a look at the tests, to be run now and then.

    python tests/mutation.py rfgraph/algebra/window.py tests/algebra --mutants 60

Each mutant is the module with one small change: a comparison, an operator, a number, a condition, ``min`` for ``max``,
``any`` for ``all``. It is laid into a copy of the project, in which the tests run until the first of them fails. What
survives is printed with its line: it changes no answer, which is to be said then, or a test is missing.
"""

from __future__ import annotations

import argparse
import ast
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]

COMPARISONS = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
}  # fmt: skip
OPERATORS = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add, ast.FloorDiv: ast.Mult, ast.Mod: ast.FloorDiv,
    ast.Div: ast.Mult, ast.BitOr: ast.BitAnd, ast.BitAnd: ast.BitOr,
}  # fmt: skip
NAMES = {"min": "max", "max": "min", "any": "all", "all": "any", "lcm": "gcd", "gcd": "lcm"}


def mutants(source: str) -> Iterator[tuple[int, str, str]]:
    """Yield line, what is changed, and the module's new text, for every change there is."""
    count = sum(1 for _ in _changes(ast.parse(source)))
    for k in range(count):
        tree = ast.parse(source)
        node, told, change = next(one for i, one in enumerate(_changes(tree)) if i == k)
        change()
        yield node.lineno, told, ast.unparse(ast.fix_missing_locations(tree))


def _changes(tree: ast.AST) -> Iterator[tuple[ast.expr | ast.stmt, str, Callable[[], object]]]:
    for node in _code(tree):
        if isinstance(node, ast.Compare) and type(node.ops[0]) in COMPARISONS:
            other = COMPARISONS[type(node.ops[0])]
            yield node, f"{ast.unparse(node)}: {other.__name__}", lambda n=node, o=other: n.ops.__setitem__(0, o())
        elif isinstance(node, ast.BinOp) and type(node.op) in OPERATORS and not _is_type(node):
            other = OPERATORS[type(node.op)]
            yield node, f"{ast.unparse(node)}: {other.__name__}", lambda n=node, o=other: setattr(n, "op", o())
        elif isinstance(node, ast.BoolOp):
            other = ast.Or if isinstance(node.op, ast.And) else ast.And
            yield node, f"{ast.unparse(node)}: {other.__name__}", lambda n=node, o=other: setattr(n, "op", o())
            for i in range(len(node.values)):
                told = f"{ast.unparse(node)}: without {ast.unparse(node.values[i])}"
                yield node, told, lambda n=node, i=i: n.values.pop(i)
        elif isinstance(node, ast.Constant) and type(node.value) in (int, bool):
            value = not node.value if isinstance(node.value, bool) else node.value + 1
            yield node, f"{node.value}: {value}", lambda n=node, v=value: setattr(n, "value", v)
        elif isinstance(node, ast.Name) and node.id in NAMES and isinstance(node.ctx, ast.Load):
            yield node, f"{node.id}: {NAMES[node.id]}", lambda n=node: setattr(n, "id", NAMES[n.id])
        elif isinstance(node, ast.If | ast.IfExp | ast.While):
            told = f"not ({ast.unparse(node.test)})"
            yield node, told, lambda n=node: setattr(n, "test", ast.UnaryOp(ast.Not(), n.test))


def _code(tree: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes that run: no annotations, and no messages of errors."""
    stack = [tree]
    while stack:
        node = stack.pop()
        yield node
        for name, value in ast.iter_fields(node):
            if name in ("annotation", "returns", "decorator_list") or isinstance(node, ast.Raise):
                continue
            stack += [child for child in (value if isinstance(value, list) else [value]) if isinstance(child, ast.AST)]


def _is_type(node: ast.BinOp) -> bool:
    """Return whether ``a | b`` is a union of types."""
    sides = {type(side) for side in (node.left, node.right)}
    named = [side.id for side in (node.left, node.right) if isinstance(side, ast.Name)]
    return isinstance(node.op, ast.BitOr) and (ast.Constant in sides or any(name[0].isupper() for name in named))


def run(folder: Path, tests: list[str], seconds: float) -> bool:
    """Return whether the tests pass; a mutant that runs for ever does not."""
    environment = {**os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "-p", "no:randomly", *tests]
    try:
        ended = subprocess.run(
            command, cwd=folder, env=environment, timeout=seconds, capture_output=True, text=True, check=False
        )
    except subprocess.TimeoutExpired:
        return False
    if ended.returncode not in (0, 1, 2, 3):
        raise SystemExit(ended.stdout[-2000:] + ended.stderr[-2000:])
    return ended.returncode == 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("module", type=Path, help="the module, from the project's folder")
    parser.add_argument("tests", nargs="+", help="what pytest runs")
    parser.add_argument("--mutants", type=int, default=60, help="how many are drawn (default: 60)")
    parser.add_argument("--seed", type=int, default=0, help="which are drawn (default: 0)")
    parser.add_argument("--seconds", type=float, default=300, help="longest run of the tests (default: 300)")
    options = parser.parse_args()
    source = (ROOT / options.module).read_text(encoding="utf-8")
    every = list(mutants(source))
    drawn = random.Random(options.seed).sample(every, min(options.mutants, len(every)))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part in ("rfgraph", "models", "tests", "benchmarks"):
            shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
        for part in ("pyproject.toml", "README.md"):
            shutil.copy(ROOT / part, folder / part)
        if not run(folder, options.tests, options.seconds):
            raise SystemExit("the tests fail without any mutant; mend that first")
        survivors = []
        for line, told, text in sorted(drawn):
            (folder / options.module).write_text(text, encoding="utf-8")
            if run(folder, options.tests, options.seconds):
                survivors.append((line, told))
                print(f"survived  {options.module}:{line}  {told}", flush=True)
    print(f"{options.module}: {len(drawn) - len(survivors)} of {len(drawn)} killed ({len(every)} there are)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
