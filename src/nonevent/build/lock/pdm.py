"""pdm.lock, read by PDM."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nonevent.build.lock.declared import pyproject
from nonevent.build.lock.exporter import Exporter, read_with
from nonevent.errors import LockInvalid

if TYPE_CHECKING:
    from pathlib import Path

    from nonevent.build.lock.base import Locked, Project


def read(project: Project, lock: Path) -> Locked:
    """The main dependencies with the configured groups and extras.

    PDM counts dependency groups as development's: `--prod` excludes them, and naming one
    excludes the others.
    """
    chosen = tuple(f"--group={name}" for name in (*project.extras, *project.groups))
    exporter = Exporter(
        # Its `locked` extra pins what it depends on; without it a newer hishel breaks it.
        packages=("pdm[locked]==2.29.3",),
        check=("lock", "--check"),
        export=(
            "export",
            "--format=requirements",
            *chosen,
            *(() if project.groups else ("--prod",)),
        ),
        stale="doesn't satisfy the project requirements",
        unknown="non-existing groups",
        relock="pdm lock",
        env=(
            ("PDM_CHECK_UPDATE", "0"),
            ("PDM_IGNORE_SAVED_PYTHON", "1"),
            ("PDM_USE_VENV", "0"),
        ),
    )
    locked = read_with(exporter, project, lock)
    declared = pyproject(project.folder).get("project", {}).get("dependencies", [])
    # A lock that failed half-way exports nothing, with exit code 0.
    if declared and not locked.text and not locked.local:
        raise LockInvalid(
            "pdm.lock holds no packages, though pyproject.toml declares some", hint="pdm lock"
        )
    return locked
