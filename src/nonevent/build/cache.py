"""The build's cache: folders by key, each made once, whole or not at all."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Value = TypeVar("Value")

BEGUN = "begun"
"""A file in a folder that may not be whole yet."""
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


@contextmanager
def kept(
    folder: Path, begin: Callable[[Path], Value], *, is_whole: Callable[[Path], bool]
) -> Iterator[Value | None]:
    """What ``begin`` makes of the folder; None, and it is not called, where it is there and whole.

    It gets a scratch folder, which is then renamed: what is in it has its place for good. The
    block makes the folder whole, or else it is removed. Of two builds that need the same at once,
    the second waits for the first. What nobody used for long is removed.
    """
    if is_whole(folder):
        os.utime(folder)
        yield None
        return
    with locked(_lock_of(folder)):
        if is_whole(folder):
            yield None
            return
        _remove(folder)
        _forget(folder.parent, is_whole)
        with scratch(folder.parents[1]) as work:
            made = work / folder.name
            made.mkdir()
            (made / BEGUN).touch()
            begun = begin(made)
            made.rename(folder)
        try:
            yield begun
        finally:
            if is_whole(folder):
                (folder / BEGUN).unlink(missing_ok=True)
            else:
                _remove(folder)


def _remove(folder: Path) -> None:
    """Take a folder out of the cache at once, so that no half of it can be left."""
    with scratch(folder.parents[1]) as work, suppress(FileNotFoundError):
        folder.rename(work / folder.name)


def _lock_of(folder: Path) -> Path:
    return folder.with_name(folder.name + ".lock")


def _forget(parent: Path, is_whole: Callable[[Path], bool]) -> None:
    """Remove what was last used long ago, or begun by a build that was killed."""
    oldest = time.time() - KEPT_FOR
    for folder in parent.iterdir():
        if not folder.is_dir():
            continue
        if folder.stat().st_mtime < oldest:
            _remove(folder)
        elif (folder / BEGUN).exists():
            _remove_unless_held(folder, is_whole)


def _remove_unless_held(folder: Path, is_whole: Callable[[Path], bool]) -> None:
    with _lock_of(folder).open("a") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return  # A build is at work in it.
        if not is_whole(folder):
            _remove(folder)


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
