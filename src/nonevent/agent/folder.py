"""Folders for sockets. Where one lies in /tmp, another user may have been there first."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from nonevent.errors import HostUnfit

if TYPE_CHECKING:
    from pathlib import Path


def make(folder: Path, *, otherwise: str) -> None:
    """The folder is there, and nobody else's, whatever the umask is. Its parent exists.

    Raises:
        HostUnfit: it is no folder, belongs to somebody else, or others may write to it.
    """
    if not os.path.lexists(folder):
        folder.mkdir(mode=0o700, exist_ok=True)
    check(folder, otherwise=otherwise)


def check(folder: Path, *, otherwise: str) -> None:
    """The folder is this user's alone; ``otherwise`` is what helps beside removing it.

    Raises:
        FileNotFoundError: it is not there.
        HostUnfit: it is no folder, belongs to somebody else, or others may write to it.
    """
    if not _is_own(folder.lstat()):
        raise HostUnfit(
            f"{folder} is not a folder of this user alone, so no socket can lie there",
            hint=f"remove {folder}, or {otherwise}",
        )


def is_own(folder: Path) -> bool:
    """Whether the folder is there, and this user's alone."""
    try:
        return _is_own(folder.lstat())
    except OSError:
        return False


def _is_own(found: os.stat_result) -> bool:
    ours = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()
    return ours and not found.st_mode & 0o022
