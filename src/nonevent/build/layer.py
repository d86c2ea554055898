"""A folder as a layer: hashed, listed and packed in one pass."""

from __future__ import annotations

import hashlib
import os
import stat
from typing import TYPE_CHECKING

from nonevent.build.event import counted
from nonevent.build.zstd import compressing
from nonevent.errors import BuildFailed
from nonevent.model import tar
from nonevent.model.manifest import Entry, File, Layer, Link, is_inside, link_is_inside

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from nonevent.build.zstd import Zstd

CHUNK = 1 << 20


def pack(name: str, tree: Path, part: Path) -> Layer:
    """The layer that a folder makes; its members are written to ``part`` as a zstd frame.

    Raises:
        BuildFailed: for what a layer cannot hold: devices, sockets, links that lead outside,
            names that are not UTF-8. All of them are named.
    """
    found = tuple(sorted(paths(tree)))
    _refuse(name, tree, found)
    entries: list[Entry] = []
    with part.open("wb") as out, compressing(out) as packed:
        for path in found:
            where = f"{name}/{path}"
            if (tree / path).is_symlink():
                link = Link(path=path, target=_target(tree, path))
                packed.write(tar.header(where, link=link.target))
                entries.append(link)
            else:
                entries.append(_pack_file(tree, path, where, packed))
        packed.flush()
    return Layer(name=name, entries=tuple(entries))


def paths(tree: Path) -> Iterator[str]:
    """Everything below a folder that is not a folder, relative, links not followed."""
    folders = [""]
    while folders:
        folder = folders.pop()
        with os.scandir(tree / folder) as entries:
            for entry in entries:
                path = folder + entry.name
                if entry.is_dir(follow_symlinks=False):
                    folders.append(path + "/")
                else:
                    yield path


def file_mode(mode: int) -> int:
    """The only thing a layer keeps of a mode: whether the owner may execute the file."""
    return 0o755 if mode & stat.S_IXUSR else 0o644


def _pack_file(tree: Path, path: str, where: str, packed: Zstd) -> File:
    digest = hashlib.sha256()
    with (tree / path).open("rb") as source:
        status = os.fstat(source.fileno())
        size, mode = status.st_size, file_mode(status.st_mode)
        packed.write(tar.header(where, mode=mode, size=size))
        left = size
        while left and (chunk := source.read(min(CHUNK, left))):
            digest.update(chunk)
            packed.write(chunk)
            left -= len(chunk)
        if left or source.read(1):
            raise BuildFailed(f"{path} changed while it was read")
    packed.write(tar.padding(size))
    return File(path=path, mode=mode, size=size, digest=digest.hexdigest())


def _refuse(name: str, tree: Path, found: tuple[str, ...]) -> None:
    problems = tuple(
        f"{os.fsencode(path).decode(errors='backslashreplace')}: {problem}"
        for path in found
        if (problem := _problem(tree, path))
    )
    if problems:
        raise BuildFailed(
            f"the {name} layer cannot hold {counted(len(problems), 'file')}",
            context=problems[:30],
            hint="remove them, or name them under `exclude` in `[build]`",
        )


def _problem(tree: Path, path: str) -> str:
    """Why a layer cannot hold a file, or nothing."""
    if not is_inside(path):
        return "its name is not UTF-8, has control characters, or is too long"
    status = (tree / path).lstat()
    if stat.S_ISLNK(status.st_mode):
        target = _target(tree, path)
        return "" if link_is_inside(path, target) else f"links to {target!r}, outside the layer"
    if not stat.S_ISREG(status.st_mode):
        return "it is a socket, device or named pipe"
    if status.st_size > tar.LARGEST:
        return "it is larger than 8 GiB"
    return ""


def _target(tree: Path, path: str) -> str:
    """Where a link leads, in its plainest spelling: without ``.`` and needless ``..``."""
    target = (tree / path).readlink()
    plain = os.path.normpath(target)
    here = (tree / path).parent
    same = os.path.realpath(here / plain) == os.path.realpath(here / target)
    return plain if same else str(target)
