"""Pipfile.lock, read by Pipenv."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nonevent.build.lock.exporter import Exporter, read_with
from nonevent.errors import LockInvalid

if TYPE_CHECKING:
    from pathlib import Path

    from nonevent.build.lock.base import Locked, Project


def read(project: Project, lock: Path) -> Locked:
    """The main packages with the configured groups, which Pipenv calls categories."""
    if project.extras:
        raise LockInvalid("Pipfile.lock has no extras", hint="remove `extras` from `[build]`")
    categories = " ".join(("packages", *project.groups))
    exporter = Exporter(
        packages=("pipenv==2026.10.3",),
        check=("verify",),
        export=("requirements", "--hash", f"--categories={categories}"),
        stale="out-of-date",
        unknown="",
        relock="pipenv lock",
        env=(("PIPENV_IGNORE_VIRTUALENVS", "1"), ("PIPENV_NOSPIN", "1")),
    )
    return read_with(exporter, project, lock)
