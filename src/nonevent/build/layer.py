"""A folder as a layer: hashed, listed and packed in one pass."""

from __future__ import annotations

import hashlib
import io
import os
import stat
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING

from nonevent.build.event import counted
from nonevent.build.zstd import compressing
from nonevent.errors import BuildFailed
from nonevent.model import tar
from nonevent.model.manifest import Entry, File, Layer, Link, is_inside, link_is_inside

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import IO

CHUNK = 1 << 20


def pack(name: str, tree: Path, part: Path) -> Layer:
    """The layer that a folder makes; its members are written to ``part`` as a zstd frame.

    Raises:
        BuildFailed: for what a layer cannot hold: devices, sockets, links that lead outside,
            names that are not UTF-8. All of them are named.
    """
    found = dict(sorted(entries(tree), key=itemgetter(0)))
    _refuse(name, found)
    packed: list[Entry] = []
    with (
        part.open("wb") as out,
        compressing(out) as frame,
        io.BufferedWriter(frame, CHUNK) as members,
    ):
        for path, entry in found.items():
            where = f"{name}/{path}"
            if entry.is_symlink():
                link = Link(path=path, target=_target(entry))
                members.write(tar.header(where, link=link.target))
                packed.append(link)
            else:
                packed.append(_pack_file(entry, path, where, members))
    return Layer(name=name, entries=tuple(packed))


def paths(tree: Path) -> Iterator[str]:
    """Everything below a folder that is not a folder, relative, links not followed."""
    return (path for path, _entry in entries(tree))


def entries(tree: Path) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """The same, each with what the system said of it."""
    folders = [""]
    while folders:
        folder = folders.pop()
        with os.scandir(tree / folder) as found:
            for entry in found:
                path = folder + entry.name
                if entry.is_dir(follow_symlinks=False):
                    folders.append(path + "/")
                else:
                    yield path, entry


def file_mode(mode: int) -> int:
    """The only thing a layer keeps of a mode: whether the owner may execute the file."""
    return 0o755 if mode & stat.S_IXUSR else 0o644


def _pack_file(entry: os.DirEntry[str], path: str, where: str, members: IO[bytes]) -> File:
    digest = hashlib.sha256()
    with io.FileIO(entry.path) as source:
        status = os.fstat(source.fileno())
        size, mode = status.st_size, file_mode(status.st_mode)
        members.write(tar.header(where, mode=mode, size=size))
        left = size
        while left and (chunk := source.read(min(CHUNK, left))):
            digest.update(chunk)
            members.write(chunk)
            left -= len(chunk)
        if left or source.read(1):
            raise BuildFailed(f"{path} changed while it was read")
    members.write(tar.padding(size))
    return File(path=path, mode=mode, size=size, digest=digest.hexdigest())


def _refuse(name: str, found: dict[str, os.DirEntry[str]]) -> None:
    problems = tuple(
        f"{os.fsencode(path).decode(errors='backslashreplace')}: {problem}"
        for path, entry in found.items()
        if (problem := _problem(path, entry))
    )
    if problems:
        raise BuildFailed(
            f"the {name} layer cannot hold {counted(len(problems), 'file')}",
            context=problems[:30],
            hint="remove them, or name them under `exclude` in `[build]`",
        )


def _problem(path: str, entry: os.DirEntry[str]) -> str:
    """Why a layer cannot hold a file, or nothing."""
    if not is_inside(path):
        return "its name is not UTF-8, has control characters, or is too long"
    if entry.is_symlink():
        target = _target(entry)
        return "" if link_is_inside(path, target) else f"links to {target!r}, outside the layer"
    if not entry.is_file(follow_symlinks=False):
        return "it is a socket, device or named pipe"
    if entry.stat(follow_symlinks=False).st_size > tar.LARGEST:
        return "it is larger than 8 GiB"
    return ""


def _target(link: os.DirEntry[str]) -> str:
    """Where a link leads, in its plainest spelling: without ``.`` and needless ``..``."""
    target = Path(link).readlink()
    plain = os.path.normpath(target)
    here = Path(link).parent
    same = os.path.realpath(here / plain) == os.path.realpath(here / target)
    return plain if same else str(target)
