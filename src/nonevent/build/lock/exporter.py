"""Locks that only their own tool can read: it is run, pinned, in a folder of its own.

Its answer is kept by the digest of all that it was given, since starting it takes seconds.
"""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nonevent.build.cache import scratch, write_beside
from nonevent.build.lock.declared import is_package
from nonevent.build.lock.requirements import flatten
from nonevent.build.uv import uv
from nonevent.errors import LockInvalid, LockStale
from nonevent.model.parse import canonical

if TYPE_CHECKING:
    from pathlib import Path

    from nonevent.build.lock.base import Locked, Project
    from nonevent.build.process import Outcome

FORMAT = 1
"""Counts up when the same question gets another answer."""
LIMIT = 300.0
_ROOT = "file:///nonevent-root"
_INPUTS = ("pyproject.toml", "Pipfile", "poetry.toml", "pdm.toml")


@dataclass(frozen=True, slots=True, kw_only=True)
class Exporter:
    """A tool and how it is asked.

    ``check`` fails where the lock is stale, and is empty where ``export`` fails itself;
    ``stale`` is what it writes then. ``unknown`` is what it writes of a group it ignores.
    """

    packages: tuple[str, ...]
    """The tool first, then what it is to have beside it."""
    check: tuple[str, ...]
    export: tuple[str, ...]
    stale: str
    unknown: str
    relock: str
    env: tuple[tuple[str, str], ...] = ()

    @property
    def program(self) -> str:
        """The tool's command."""
        return self.packages[0].partition("[")[0].partition("=")[0]


def read_with(exporter: Exporter, project: Project, lock: Path) -> Locked:
    """What a lock decides, by its own tool; local projects with the project itself.

    Raises:
        LockStale: where the tool says so.
        LockInvalid: in the tool's own words.
    """
    text = _exported(exporter, project, lock)
    locked = flatten(project, lock, text.replace(_ROOT, project.root.as_uri()))
    if not is_package(project.folder) or project.folder in locked.local:
        return locked
    return type(locked)(
        file=locked.file,
        text=locked.text,
        hashed=locked.hashed,
        local=(*locked.local, project.folder),
    )


def _exported(exporter: Exporter, project: Project, lock: Path) -> str:
    inputs = [
        (name, (lock.parent / name).read_bytes().hex())
        for name in (lock.name, *_INPUTS)
        if (lock.parent / name).is_file()
    ]
    place = str(lock.parent.relative_to(project.root))
    asked = [FORMAT, exporter.packages, exporter.check, exporter.export, inputs, place]
    kept = project.cache / "locks" / hashlib.sha256(canonical(asked)).hexdigest()[:32]
    if kept.is_file():
        return kept.read_text()
    with scratch(project.cache) as work:
        # All of it: the tools look at the folders that a lock names.
        copy = work / "copy"
        shutil.copytree(project.root, copy, symlinks=True)
        text = _ask(exporter, project, copy / place, lock.name)
        text = text.replace(copy.as_uri(), _ROOT).replace(str(copy), _ROOT)
    kept.parent.mkdir(exist_ok=True)
    write_beside(kept, text.encode())
    return text


def _ask(exporter: Exporter, project: Project, folder: Path, lock: str) -> str:
    if exporter.check:
        checked = _run(exporter, exporter.check, project, folder)
        if checked.status != 0:
            raise _refused(exporter, checked, lock)
    exported = _run(exporter, exporter.export, project, folder)
    # pdm cannot hash a folder and then refuses to hash anything.
    if exported.status != 0 and "--no-hashes" in exported.stderr:
        exported = _run(exporter, (*exporter.export, "--no-hashes"), project, folder)
    unknown = bool(exporter.unknown) and exporter.unknown in exported.stderr
    if exported.status != 0 or unknown:
        raise _refused(exporter, exported, lock)
    return exported.text


def _refused(exporter: Exporter, answer: Outcome, lock: str) -> LockStale | LockInvalid:
    said = answer.text + answer.stderr
    if exporter.stale in said:
        return LockStale(
            f"{lock} does not belong to the declared dependencies",
            context=answer.quoted(5),
            hint=f"{exporter.relock} && git commit -m 'Update the lock' {lock}",
        )
    return LockInvalid(f"{exporter.program} could not read {lock}", context=answer.quoted(15))


def _run(exporter: Exporter, words: tuple[str, ...], project: Project, folder: Path) -> Outcome:
    tool, *beside = exporter.packages
    extra = [word for package in beside for word in ("--with", package)]
    env = project.env | dict(exporter.env)
    return uv(
        "tool",
        "run",
        "--quiet",
        "--from",
        tool,
        *extra,
        exporter.program,
        *words,
        cwd=folder,
        env=env,
        limit=LIMIT,
    )
