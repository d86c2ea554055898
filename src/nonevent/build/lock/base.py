"""What every kind of lock file is turned into."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from pathlib import Path

    from nonevent.build.python import Interpreter


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """A project whose lock is read: its exported files, and what is wanted of the lock."""

    folder: Path
    """The project's folder in the exported tree."""
    root: Path
    """The top of the exported tree; paths that lead out of it are refused."""
    groups: tuple[str, ...]
    extras: tuple[str, ...]
    python: Interpreter
    env: dict[str, str]
    cache: Path
    """Where the outcome of slow exporters is kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Locked:
    """Everything to install, each pinned: the text of a file that uv reads.

    ``file`` is the name it must have: ``requirements.txt`` or ``pylock.toml``. ``local`` are
    projects of the same repository, which are built with the app, not with its dependencies.
    """

    file: str
    text: str
    hashed: bool
    local: tuple[Path, ...] = ()


class Reader(Protocol):
    """Reads one kind of lock file."""

    def __call__(self, project: Project, lock: Path) -> Locked:
        """What the lock decides.

        Raises:
            LockStale: where it does not belong to the declared dependencies.
            LockInvalid: where it cannot be read, or does not pin everything.
        """
