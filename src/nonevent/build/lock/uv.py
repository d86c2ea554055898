"""uv.lock, read by uv itself."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING

from nonevent.build.lock.base import Locked
from nonevent.build.lock.pylock import is_hashed, local_projects
from nonevent.build.uv import uv
from nonevent.errors import LockInvalid, LockStale

if TYPE_CHECKING:
    from pathlib import Path

    from nonevent.build.lock.base import Project


def read(project: Project, lock: Path) -> Locked:  # noqa: ARG001  (uv finds it itself)
    """The part of uv.lock that this project needs, as pylock.toml: it keeps indexes and URLs."""
    everything = _export(project)
    raw = tomllib.loads(everything)
    local = local_projects(raw, project, project.folder)  # As uv writes them: from where it ran.
    text = _export(project, "--no-emit-local") if local else everything
    return Locked(file="pylock.toml", text=text, hashed=is_hashed(raw), local=local)


def _export(project: Project, *options: str) -> str:
    for group in project.groups:
        options += ("--group", group)
    for extra in project.extras:
        options += ("--extra", extra)
    made = uv(
        "export",
        "--locked",
        "--quiet",
        "--no-header",
        "--no-dev",
        "--format",
        "pylock.toml",
        "--python",
        project.python.path,
        *options,
        cwd=project.folder,
        env=project.env,
    )
    if made.status == 0:
        return made.text
    if "needs to be updated" in made.stderr:
        raise LockStale(
            "uv.lock does not belong to pyproject.toml",
            context=made.quoted(10),
            hint="uv lock && git commit -m 'Update the lock' uv.lock",
        )
    raise LockInvalid("uv.lock cannot be used", context=made.quoted(15))
