"""``pyproject.toml``, read as far as a build looks into it.

https://packaging.python.org/en/latest/specifications/pyproject-toml/
"""

from __future__ import annotations

import re
import tomllib
from typing import Any

from nonevent.errors import UsageError


def read_pyproject(text: str) -> dict[str, Any]:
    """The tables in the text; ``project`` and ``tool`` are tables where they are there.

    Raises:
        UsageError: where it is not TOML, or one of these is something else.
    """
    data = _toml("pyproject.toml", text)
    tables = {"": data, "tool": data.get("tool", {})}
    for above, name in (("", "project"), ("", "tool"), ("tool", "poetry"), ("tool", "pdm"),
                        ("tool", "uv")):  # fmt: skip
        if not isinstance(tables[above], dict) or not isinstance(tables[above].get(name, {}), dict):
            raise UsageError(f"pyproject.toml: `{name}` is not a table")
    return data


def required_python(pyproject: str, pipfile: str) -> tuple[str, str]:
    """Which Python a project declares, as PEP 440 has it, and where; empty where nowhere."""
    data = read_pyproject(pyproject)
    requires = data.get("project", {}).get("requires-python")
    if isinstance(requires, str):
        return requires, "`requires-python`"
    poetry = data.get("tool", {}).get("poetry", {}).get("dependencies", {})
    if isinstance(poetry, dict) and isinstance(poetry.get("python"), str):
        return _from_poetry(poetry["python"]), "`python` of Poetry's dependencies"
    pipenv = _toml("Pipfile", pipfile).get("requires", {})
    if isinstance(pipenv, dict):
        for key, form in (("python_full_version", "=={}"), ("python_version", "=={}.*")):
            if isinstance(pipenv.get(key), str):
                return form.format(pipenv[key]), f"`{key}` in the Pipfile"
    return "", ""


def _from_poetry(text: str) -> str:
    """Poetry's ``^3.11`` is any 3 from 3.11 on, ``~3.11`` is any 3.11; the rest is PEP 440."""
    parts = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*([~^])\s*(3)\.(\d+)([.\d]*)\s*", part)
        if match is None:
            parts.append(part.strip())
        elif match[1] == "^":
            parts.append(f">=3.{match[3]}{match[4]},<4")
        else:
            parts.append(f">=3.{match[3]}{match[4]},<3.{int(match[3]) + 1}")
    return ",".join(parts)


def _toml(name: str, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{name} cannot be read: {error}") from error
