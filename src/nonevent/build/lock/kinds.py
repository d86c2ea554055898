"""Which lock file a project has, and how it is read."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from nonevent.build.lock import pdm, pipenv, poetry, pylock, requirements, uv
from nonevent.build.lock.declared import pyproject
from nonevent.errors import LockInvalid, LockMissing

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from nonevent.build.lock.base import Locked, Project, Reader

KINDS: Mapping[str, Reader] = {
    "uv.lock": uv.read,
    "poetry.lock": poetry.read,
    "pdm.lock": pdm.read,
    "Pipfile.lock": pipenv.read,
    "pylock.toml": pylock.read,
    "requirements.txt": requirements.read,
}
"""By the name of the file."""


def read_lock(project: Project, lock: Path) -> Locked:
    """What a lock file decides.

    Raises:
        LockStale, LockInvalid: see :class:`~nonevent.build.lock.base.Reader`.
    """
    reader = kind_of(lock.name)
    if reader is None:
        raise LockInvalid(
            f"{lock.name} is no kind of lock file that is known here",
            hint="known are " + ", ".join(KINDS) + ", and other requirements files as *.txt",
        )
    return reader(project, lock)


def kind_of(name: str) -> Reader | None:
    """How a file of that name is read, or None."""
    if name in KINDS:
        return KINDS[name]
    if name.startswith("pylock.") and name.endswith(".toml"):
        return pylock.read
    return requirements.read if name.endswith(".txt") else None


def find_lock(folder: Path, root: Path, *, configured: str, working: Path) -> Path:
    """The lock file of a project: the configured one, else the only one.

    A uv workspace has its lock above the project. ``working`` is the project's folder in the
    working tree, to tell a lock that was not committed.

    Raises:
        LockMissing: with how to make one with the tool that the project uses.
        LockInvalid: where there are several.
    """
    if configured:
        if (folder / configured).is_file():
            return folder / configured
        raise LockMissing(
            f"`lock` names {configured}, which the commit does not have",
            hint=f"git add {configured} && git commit, or correct `lock` in `[build]`",
        )
    found = [folder / name for name in KINDS if (folder / name).is_file()]
    if not found:
        above = [each for each in folder.parents if each.is_relative_to(root)]
        found = [each / "uv.lock" for each in above if (each / "uv.lock").is_file()][:1]
    if len(found) > 1:
        names = [file.name for file in found]
        raise LockInvalid(
            "the project has several lock files: " + ", ".join(names),
            hint=f'name the one to use in the configuration: [build] lock = "{names[0]}"',
        )
    if not found:
        raise _missing(folder, working)
    return found[0]


def lock_digest(lock: Path) -> str:
    """SHA-256 of the lock file."""
    return hashlib.sha256(lock.read_bytes()).hexdigest()


def _missing(folder: Path, working: Path) -> LockMissing:
    here = [name for name in KINDS if (working / name).is_file()]
    if here:
        return LockMissing(
            f"{here[0]} is not committed, and a build takes only what is",
            hint=f"git add -f {here[0]} && git commit -m 'Add the lock'",
        )
    return LockMissing(
        "the project has no lock file, so its dependencies are not decided",
        hint=how_to_lock(folder) + ", then commit it",
    )


def how_to_lock(folder: Path) -> str:
    """The command that makes a lock with the tool the project uses."""
    tool = pyproject(folder).get("tool", {})
    if "poetry" in tool:
        return "poetry lock"
    if "pdm" in tool:
        return "pdm lock"
    if (folder / "Pipfile").is_file():
        return "pipenv lock"
    if (folder / "pyproject.toml").is_file():
        return "uv lock"
    if (folder / "requirements.in").is_file():
        return "uv pip compile requirements.in --generate-hashes -o requirements.txt"
    return "uv pip freeze > requirements.txt in the environment where the app runs"
