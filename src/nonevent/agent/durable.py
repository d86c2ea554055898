"""Writing so that a power cut leaves the old state or the new one, never half of either.

rename(2) replaces atomically; fsync(2) of the file and of its folder makes it last.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def write(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Replace a file, or make it: written beside, synced, renamed, and the folder synced."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        beside.rename(path)
    except BaseException:
        with contextlib.suppress(OSError):
            beside.unlink()
        raise
    sync_folder(path.parent)


def point(link: Path, target: str) -> None:
    """Make a symbolic link name a target, in one rename where it already exists."""
    beside = link.with_name(f".{link.name}.{os.getpid()}")
    with contextlib.suppress(FileNotFoundError):
        beside.unlink()
    beside.symlink_to(target)
    beside.rename(link)
    sync_folder(link.parent)


def append(path: Path, text: str) -> None:
    """Append whole lines to a file and sync it, after cutting off a line a crash left torn."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
    with os.fdopen(descriptor, "rb+") as file:
        whole = file.read()
        intact = whole.rfind(b"\n") + 1
        if intact < len(whole):
            os.ftruncate(file.fileno(), intact)
        try:
            left = memoryview(text.encode())
            while left:
                left = left[os.write(file.fileno(), left) :]
            os.fsync(file.fileno())
        except OSError:
            # A full disk may have taken half a line: what was there before is what counts.
            os.ftruncate(file.fileno(), intact)
            raise
    if not whole:
        sync_folder(path.parent)


def whole_lines(path: Path) -> tuple[str, ...]:
    """The lines of a file in UTF-8, none where there is none.

    One that a crash left torn at the end does not count: it was never written.
    """
    try:
        whole, _, _torn = path.read_bytes().rpartition(b"\n")
    except FileNotFoundError:
        return ()
    # Not splitlines(): a text within a line may hold what Unicode calls the end of one.
    return tuple(line for line in whole.decode(errors="replace").split("\n") if line)


def sync_folder(folder: Path) -> None:
    """Make renames and new names within a folder last."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_filesystem(folder: Path) -> None:
    """Make everything on the folder's filesystem last, in one syncfs(2).

    Far cheaper than one fsync a file where there are thousands.
    """
    # Most of what uses this module never comes here, and a service that starts does not.
    import ctypes

    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.syncfs(descriptor) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(folder))
    finally:
        os.close(descriptor)
