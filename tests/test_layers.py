"""Imports point one way: cli, deploy, what deploy uses, agent, model, errors."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "nonevent"
STDLIB = frozenset(sys.stdlib_module_names)

_BUILD_TIME = {"build", "transport", "detect", "config", "packaging"}
MAY_IMPORT: dict[str, set[str]] = {
    "dataclass": set(),
    "errors": set(),
    "model": {"errors"},
    "agent": {"model", "errors"},
    "embedded": {"agent", "model", "errors"},
    "config": {"model", "errors"},
    "detect": {"config", "model", "errors"},
    "build": {"config", "agent", "model", "errors"},
    "transport": {"agent", "embedded", "model", "errors"},
    "setup": {"config", "agent", "model", "errors"},
    "deploy": {*_BUILD_TIME, "setup", "agent", "model", "errors"},
    "demo": {"testing", "model", "errors"},
    "cli": {"demo", "deploy", *_BUILD_TIME, "agent", "model", "errors"},
    "testing": {"embedded", "agent", "model", "errors"},
}
"""What each part of the package may import of the others."""
FOREIGN: dict[str, set[str]] = {
    "dataclass": set(),
    "errors": set(),
    "model": set(),
    "agent": set(),
    "embedded": {"h11", "cronsim", "supervisor"},
}
"""What runs on hosts may import beside the standard library; the rest is free."""


def imports(source: str) -> frozenset[str]:
    """The dotted names of all modules that a module imports, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                found |= {each.name for each in names}
            case ast.ImportFrom(module=str(module), names=names, level=0):
                found |= {f"{module}.{each.name}" for each in names}
            case ast.ImportFrom():
                found.add("a relative import")
            case _:
                pass
    return frozenset(found)


def part_of(name: str) -> str:
    """``agent`` of ``nonevent.agent.plan``; nothing for the package itself."""
    parts = name.split(".")
    found = parts[1] if parts[0] == "nonevent" and len(parts) > 1 else ""
    return "" if found == "__version__" else found


def offences(part: str, names: frozenset[str]) -> set[str]:
    """The imports that a module of a part must not have."""
    own = {name for name in names if name.split(".")[0] == "nonevent"}
    may = {"", "dataclass", part, *MAY_IMPORT[part]}
    wrong = {name for name in own if part_of(name) not in may}
    if part in FOREIGN:
        free = STDLIB | FOREIGN[part]
        wrong |= {name for name in names - own if name.split(".")[0] not in free}
    return wrong


MODULES = tuple(
    path for path in sorted(SOURCE.rglob("*.py")) if "project" not in path.relative_to(SOURCE).parts
)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_point_one_way(path: Path) -> None:
    """No module imports what lies above it, and the agent is free of anything foreign."""
    inside = path.relative_to(SOURCE)
    part = inside.parts[0].removesuffix(".py")
    names = imports(path.read_text(encoding="utf-8"))
    assert "a relative import" not in names
    if part in MAY_IMPORT:
        assert offences(part, names) == set()
    elif part not in {"__init__", "__main__"}:
        pytest.fail(f"{part} has no place among the layers")


def test_a_wrong_import_is_seen() -> None:
    """The rule finds an import upwards and a foreign one, also within a function."""
    source = "def f():\n    import h11\n    from nonevent.agent import plan\n    import json\n"
    assert offences("model", imports(source)) == {"h11", "nonevent.agent.plan"}
    assert offences("embedded", imports(source)) == set()
