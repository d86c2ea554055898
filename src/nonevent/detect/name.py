"""The app's name."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from nonevent.detect.found import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nonevent.detect.found import Note
    from nonevent.detect.project import Project


def name(project: Project) -> Iterator[Finding | Note]:
    """The project's name where it has one, else its folder's."""
    table = project.pyproject.get("project")
    tool = project.pyproject.get("tool")
    poetry = tool.get("poetry") if isinstance(tool, dict) else None
    for where, raw in (("project.name", table), ("tool.poetry.name", poetry)):
        if isinstance(raw, dict) and isinstance(raw.get("name"), str):
            yield Finding(key=("app",), value=normalised(raw["name"]), why=where)
            return
    folder = project.folder.resolve().name
    yield Finding(key=("app",), value=normalised(folder), why="the folder's name")


def normalised(name: str) -> str:
    """The nearest name that an app may have."""
    dashed = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    named = dashed if dashed[:1].isalpha() else f"app-{dashed}"
    return named[:32].rstrip("-")
