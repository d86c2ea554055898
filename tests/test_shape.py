"""The house rules on size, over everything that is written in Python here."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LONGEST_FUNCTION = 60
LONGEST_MODULE = 500
MOST_PARAMETERS = 6
_NOT_OURS = {"projects", "cases", "project"}

FILES = tuple(
    path
    for folder in ("src", "tests", "bench")
    for path in sorted((ROOT / folder).rglob("*.py"))
    if not _NOT_OURS & set(path.relative_to(ROOT / folder).parent.parts)
)


def offences(source: str) -> tuple[str, ...]:
    """What in a module is larger than the rules allow."""
    found = []
    lines = source.count("\n")
    if lines > LONGEST_MODULE:
        found.append(f"the module has {lines} lines")
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        length = (node.end_lineno or node.lineno) - node.lineno + 1
        if length > LONGEST_FUNCTION:
            found.append(f"{node.name} has {length} lines")
        parts = node.args
        names = [each.arg for each in (*parts.posonlyargs, *parts.args, *parts.kwonlyargs)]
        count = len([name for name in names if name not in {"self", "cls"}])
        if count > MOST_PARAMETERS:
            found.append(f"{node.name} has {count} parameters")
    return tuple(found)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_modules_and_functions_stay_small(path: Path) -> None:
    """No module, function or parameter list is longer than a reader can hold."""
    assert offences(path.read_text(encoding="utf-8")) == ()


def test_the_rules_can_be_broken() -> None:
    """The rule sees a long module, a long function and a long parameter list."""
    body = "    pass\n" * LONGEST_MODULE
    source = f"def f(a, b, c, d, e, f, *, g):\n{body}"
    assert len(offences(source)) == 3
