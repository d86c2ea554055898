"""pylock.toml, the lock file that is a standard: PEP 751."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING, Any

from packaging.pylock import Pylock, PylockValidationError
from packaging.utils import canonicalize_name

from nonevent.build.lock.base import Locked
from nonevent.build.lock.declared import check_declared
from nonevent.errors import LockInvalid

if TYPE_CHECKING:
    from pathlib import Path

    from nonevent.build.lock.base import Project


def read(project: Project, lock: Path) -> Locked:
    """The lock as it is; uv chooses what applies."""
    name = lock.name
    try:
        text = lock.read_text(encoding="utf-8")
        raw = tomllib.loads(text)
        Pylock.from_dict(raw)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, PylockValidationError) as error:
        raise LockInvalid(
            f"{name} cannot be read: {error}",
            hint="uv pip compile, or uv export, -o pylock.toml writes it anew",
        ) from error
    packages = raw.get("packages", [])
    pinned = {str(canonicalize_name(each["name"])): each.get("version", "") for each in packages}
    check_declared(project, pinned, lock=name, hint=f"uv pip compile pyproject.toml -o {name}")
    local = local_projects(raw, project, lock.parent)
    if local:
        raise LockInvalid(
            f"{name} names folders of this repository",
            context=tuple(str(path.relative_to(project.root.resolve())) for path in local),
            hint=f"uv export --no-emit-local --format pylock.toml -o {name}",
        )
    return Locked(file="pylock.toml", text=text, hashed=is_hashed(raw))


def is_hashed(raw: dict[str, Any]) -> bool:
    """Whether uv can insist on hashes; a commit of a repository has none."""
    return not any("vcs" in package for package in raw.get("packages", []))


def local_projects(raw: dict[str, Any], project: Project, base: Path) -> tuple[Path, ...]:
    """The folders and files of the repository that a pylock names, relative to ``base``."""
    root = project.root.resolve()
    found = []
    for package in raw.get("packages", []):
        place = package.get("directory") or package.get("archive") or {}
        if "path" in place:
            path = (base / place["path"]).resolve()
            if not path.is_relative_to(root) or not path.exists():
                raise LockInvalid(
                    f"{package['name']} is at {place['path']}, which is not in the repository"
                )
            found.append(path)
    return tuple(found)
