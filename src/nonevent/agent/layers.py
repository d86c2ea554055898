"""Layers on the host: which are there, and letting go of them."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from typing import TYPE_CHECKING

from nonevent.agent import durable
from nonevent.errors import DiskFull

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from nonevent.model.layout import Layout
    from nonevent.model.manifest import LayerRef

_FULL = {errno.ENOSPC, errno.EDQUOT}


def missing(layout: Layout, refs: tuple[LayerRef, ...]) -> tuple[LayerRef, ...]:
    """The layers that are not on this host."""
    return tuple(ref for ref in refs if not layout.layer(ref.id).is_dir())


def present(layout: Layout) -> frozenset[str]:
    """The ids of the layers that are complete on this host."""
    return frozenset(name for name in _names(layout) if "." not in name)


def unfinished(layout: Layout) -> tuple[str, ...]:
    """The names of what transfers left that were cut off, and of lists without a layer."""
    names = _names(layout)
    hidden = {name for name in names if name.startswith(".")}
    lists = {name for name in names - hidden if name.endswith(".json")}
    alone = {name for name in lists if name.removesuffix(".json") not in names}
    return tuple(sorted(alone | hidden))


def _names(layout: Layout) -> set[str]:
    with contextlib.suppress(FileNotFoundError):
        return set(os.listdir(layout.layers))
    return set()


@contextlib.contextmanager
def full_disk_named(folder: Path) -> Iterator[None]:
    """Within the block a full disk is an error of ours.

    Raises:
        DiskFull: there is no room.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise disk_full(folder) from error


def disk_full(folder: Path) -> DiskFull:
    """The error for a full disk, with how much is free."""
    room = os.statvfs(folder)
    free = room.f_bavail * room.f_frsize
    return DiskFull(
        f"the disk that holds {folder} is full",
        context=(f"{free / 2**20:.0f} MB and {room.f_favail} inodes are free",),
        hint="make room, or `nonevent prune`, and deploy again",
    )


def incoming(layout: Layout, ref: LayerRef) -> Path:
    """The folder in which a layer lies until it is complete."""
    return layout.layers / f".incoming-{ref.id}"


def remove(layout: Layout, name: str) -> None:
    """Remove a layer with its list, or one of :func:`unfinished`."""
    remove_tree(layout.layers / name)
    for file in (layout.layers / name, layout.layer_list(name)):
        file.unlink(missing_ok=True)


def link_file(source: str, target: str) -> None:
    """Have the same file at another place: a hard link, or a copy where it has too many links.

    ext4 allows 65,000 to one inode. Empty files are not for this: all of them may be one.
    """
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError as error:
        if error.errno != errno.EMLINK:
            raise
        shutil.copy2(source, target, follow_symlinks=False)


def remove_tree(folder: Path) -> None:
    """Remove a folder whose folders may not be written to."""
    for place, _, _ in os.walk(folder):
        with contextlib.suppress(OSError):
            os.chmod(place, 0o700)  # noqa: PTH101
    shutil.rmtree(folder, ignore_errors=True)


def point_python(layout: Layout, ref: LayerRef, interpreter: str) -> None:
    """Make a virtualenv layer start with an interpreter of this host.

    ``bin/python`` is the one thing in a layer that belongs to the host.
    """
    folder = layout.layer(ref.id)
    binaries = folder / "bin"
    if not binaries.is_dir():
        with _writable(folder):
            binaries.mkdir()
    with _writable(binaries):
        for name, target in (("python", interpreter), ("python3", "python")):
            link = binaries / name
            if not link.is_symlink() or os.readlink(link) != target:
                durable.point(link, target)


@contextlib.contextmanager
def _writable(folder: Path) -> Iterator[None]:
    """Let a folder of a layer be written for a moment; at all other times nobody may."""
    folder.chmod(0o755)
    try:
        yield
    finally:
        folder.chmod(0o555)
