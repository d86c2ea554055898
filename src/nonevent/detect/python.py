"""The Python version."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from nonevent.detect.found import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nonevent.detect.found import Note
    from nonevent.detect.project import Project


def python(project: Project) -> Iterator[Finding | Note]:
    """What the project's own files ask for; written down only where the build reads it nowhere."""
    version = project.text(".python-version").strip().splitlines()[:1]
    if version and version[0]:
        yield Finding(key=("python",), value=version[0], why=".python-version", written=False)
        return
    table = project.pyproject.get("project")
    requires = table.get("requires-python") if isinstance(table, dict) else None
    if isinstance(requires, str):
        yield Finding(key=("python",), value=requires, why="requires-python", written=False)
        return
    runtime = re.fullmatch(r"python-(3\.\d+)(\.\d+)?", project.text("runtime.txt").strip())
    if runtime:
        yield Finding(key=("python",), value=runtime[1], why="runtime.txt")
