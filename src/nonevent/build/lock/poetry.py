"""poetry.lock, read by Poetry and its export plug-in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nonevent.build.lock.exporter import Exporter, read_with

if TYPE_CHECKING:
    from pathlib import Path

    from nonevent.build.lock.base import Locked, Project


def read(project: Project, lock: Path) -> Locked:
    """The main dependencies with the configured groups and extras."""
    groups = tuple(f"--with={name}" for name in project.groups)
    extras = tuple(f"--extras={name}" for name in project.extras)
    exporter = Exporter(
        packages=("poetry==2.5.1", "poetry-plugin-export==1.10.1"),
        check=(),
        export=("export", "--no-interaction", "--format=requirements.txt", *groups, *extras),
        stale="changed significantly since poetry.lock was last generated",
        unknown="",
        relock="poetry lock",
    )
    return read_with(exporter, project, lock)
