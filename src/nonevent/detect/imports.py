"""Where imports start, for a project whose modules are not at its top."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nonevent.detect.dependencies import lock_files
from nonevent.detect.found import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nonevent.detect.found import Note
    from nonevent.detect.project import Project

_INSTALLING = ("uv.lock", "poetry.lock", "pdm.lock")
"""Locks of tools that install the project itself beside its dependencies."""
_SWITCHES = (("uv", "package"), ("poetry", "package-mode"), ("pdm", "distribution"))


def imports(project: Project) -> Iterator[Finding | Note]:
    """PYTHONPATH, unless the modules are found without it because the project is installed."""
    root = project.import_root
    if not root:
        return
    if project.has(f"{root}/manage.py"):
        yield Finding(key=("env", "PYTHONPATH"), value=root, why=f"{root}/manage.py")
    elif not is_installed(project):
        why = f"modules are below {root}/, and the project itself is not installed"
        yield Finding(key=("env", "PYTHONPATH"), value=root, why=why)


def is_installed(project: Project) -> bool:
    """Whether the project is a package that its tool installs."""
    tool = project.pyproject.get("tool")
    for name, key in _SWITCHES:
        table = tool.get(name) if isinstance(tool, dict) else None
        said = table.get(key) if isinstance(table, dict) else None
        if isinstance(said, bool):
            return said
    locks = lock_files(project)
    return "build-system" in project.pyproject and (not locks or locks[0] in _INSTALLING)
