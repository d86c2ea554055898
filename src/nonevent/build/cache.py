"""The build's cache: folders by key, each made once, whole or not at all."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

KEPT_FOR = 30 * 86400.0
"""Seconds that a layer stays in the cache after its last use."""


@contextmanager
def scratch(cache: Path) -> Iterator[Path]:
    """A new folder on the cache's file system, removed at the end however that comes."""
    parent = cache / "scratch"
    with locked(cache / "scratch.lock"):
        parent.mkdir(exist_ok=True)
        _sweep(parent)
        folder = Path(tempfile.mkdtemp(dir=parent))
        owner = os.open(folder, os.O_RDONLY)
        fcntl.flock(owner, fcntl.LOCK_EX)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(owner)


def _sweep(parent: Path) -> None:
    """Remove what builds left that were killed: nobody holds the lock on their folders."""
    for folder in parent.iterdir():
        try:
            handle = os.open(folder, os.O_RDONLY)
        except FileNotFoundError:
            continue  # Its build has just ended.
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        except BlockingIOError:
            pass  # A build is at work in it.
        finally:
            os.close(handle)


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """Hold a kernel lock; it ends with the process, so it cannot go stale."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def kept(folder: Path, make: Callable[[Path], None], *, is_whole: Callable[[Path], bool]) -> bool:
    """Have ``make`` fill the folder unless it is there and whole; whether it was.

    ``make`` gets a scratch folder, which is renamed when it is complete. Of two builds that need
    the same at once, the second waits for the first. What nobody used for long is removed.
    """
    if is_whole(folder):
        os.utime(folder)
        return True
    with locked(folder.with_name(folder.name + ".lock")):
        if is_whole(folder):
            return True
        shutil.rmtree(folder, ignore_errors=True)
        _forget(folder.parent)
        with scratch(folder.parents[1]) as work:
            made = work / folder.name
            made.mkdir()
            make(made)
            os.sync()
            made.rename(folder)
    return False


def _forget(parent: Path) -> None:
    """Remove what was last used long ago; each holds a whole virtualenv."""
    oldest = time.time() - KEPT_FOR
    for folder in parent.iterdir():
        if folder.is_dir() and folder.stat().st_mtime < oldest:
            shutil.rmtree(folder, ignore_errors=True)


def write_beside(file: Path, content: bytes) -> None:
    """Write a file so that a reader sees the old one or the new one, also after a crash."""
    with tempfile.NamedTemporaryFile(dir=file.parent, prefix=".", delete=False) as out:
        beside = file.parent / out.name
        try:
            out.write(content)
            out.flush()
            publish(beside, file)
        except BaseException:
            beside.unlink(missing_ok=True)
            raise


def publish(beside: Path, file: Path) -> None:
    """Give a written file its name, and make both durable."""
    descriptor = os.open(beside, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    beside.replace(file)
    folder = os.open(file.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
