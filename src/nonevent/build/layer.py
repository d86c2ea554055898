"""A folder as a layer: hashed, listed and packed in one pass, apart from what is known of it."""

from __future__ import annotations

import hashlib
import io
import itertools
import os
import re
import stat
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING

from nonevent.build.event import counted
from nonevent.build.zstd import compressing
from nonevent.errors import BuildFailed
from nonevent.model import tar
from nonevent.model.manifest import Entry, File, Layer, Link, is_inside, link_is_inside

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from threading import Event
    from typing import IO

    from nonevent.build.elf import Needs

CHUNK = 1 << 20
_PACKAGE = re.compile(r"lib/python3[^/]*/site-packages/[^/]+/")


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """A zstd frame with the members of some entries that follow each other in a layer."""

    listed: str
    """The digest of the list of these entries, as if they were the whole layer."""
    digest: str
    """SHA-256 of the frame itself."""
    file: Path

    @property
    def is_right(self) -> bool:
        """Whether the file still has what was written into it."""
        try:
            with self.file.open("rb") as content:
                return hashlib.file_digest(content, "sha256").hexdigest() == self.digest
        except OSError:
            return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What need not be read again: entries by path, and the frames of some that belong together."""

    entries: Mapping[str, Entry] = field(default_factory=dict)
    frames: Mapping[str, Frame] = field(default_factory=dict)
    """By the digest of their list."""
    binaries: Mapping[str, Needs] = field(default_factory=dict)
    """What those of the entries need that are such."""


NOTHING = Known()


class Changed(Exception):
    """A file is another than it was when it was listed, now or in an earlier layer."""


Listing = dict[str, os.DirEntry[str]]


def pack(
    name: str, tree: Path, folder: Path, known: Known = NOTHING
) -> tuple[Layer, tuple[Frame, ...]]:
    """The layer that a folder makes, and its members, packed into frames in a new folder.

    Raises:
        BuildFailed: see :func:`listing`; or somebody writes into the folder.
    """
    try:
        return pack_listed(name, listing(name, tree, known), folder, known)
    except Changed as error:
        raise BuildFailed(str(error)) from error


def listing(name: str, tree: Path, known: Known = NOTHING) -> Listing:
    """What a folder holds, in order, each with what the system says of it now.

    Raises:
        BuildFailed: for what a layer cannot hold: devices, sockets, links that lead outside,
            names that are not UTF-8. All of them are named.
    """
    found = dict(sorted(entries(tree), key=itemgetter(0)))
    fresh = {path: entry for path, entry in found.items() if path not in known.entries}
    _refuse(name, fresh)
    _size(fresh)  # An entry remembers what it was told.
    return found


def pack_listed(
    name: str,
    found: Listing,
    folder: Path,
    known: Known = NOTHING,
    *,
    stop: Event | None = None,
) -> tuple[Layer, tuple[Frame, ...]]:
    """The layer of what was listed, packed into frames in a new folder.

    Each package has a frame of its own. That of one that is known is linked, if its file is right.

    Raises:
        Changed: a file was written to since, or what is known does not hold.
        BuildFailed: it is to ``stop``.
    """
    folder.mkdir()
    packed: list[Entry] = []
    frames: list[Frame] = []
    for _, grouped in itertools.groupby(found.items(), _package):
        group = dict(grouped)
        if group.keys() <= known.entries.keys():
            listed = Layer(name=name, entries=tuple(known.entries[path] for path in group))
            if frame := _linked(known.frames.get(listed.ref.digest), folder):
                packed += listed.entries
                frames.append(frame)
                continue
        made, frame = _pack(name, group, folder, stop)
        if any(known.entries.get(entry.path, entry) != entry for entry in made):
            raise Changed("a file of an earlier layer is damaged")
        packed += made
        frames.append(frame)
    if not frames:
        frames.append(_pack(name, {}, folder)[1])
    return Layer(name=name, entries=tuple(packed)), tuple(frames)


def _package(item: tuple[str, object]) -> str:
    """The folder of a package that a path is in, or nothing."""
    found = _PACKAGE.match(item[0])
    return found[0] if found else ""


def _linked(frame: Frame | None, folder: Path) -> Frame | None:
    """The same frame in another folder; None where it is damaged."""
    if not frame or not frame.is_right:
        return None
    linked = replace(frame, file=folder / frame.listed)
    try:
        linked.file.hardlink_to(frame.file)
    except OSError:
        return None  # Another build removed it meanwhile.
    return linked


def _pack(
    name: str, group: Listing, folder: Path, stop: Event | None = None
) -> tuple[tuple[Entry, ...], Frame]:
    """Entries that follow each other, hashed, listed and packed in one pass."""
    packed: list[Entry] = []
    file = folder / "frame"
    with (
        file.open("wb") as out,
        compressing(out, _size(group)) as frame,
        io.BufferedWriter(frame, CHUNK) as members,
    ):
        for path, entry in group.items():
            if stop and stop.is_set():
                raise BuildFailed("packing was stopped")
            packed.append(_pack_entry(entry, path, f"{name}/{path}", members))
    listed = Layer(name=name, entries=tuple(packed)).ref.digest
    with file.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
    made = Frame(listed=listed, digest=digest, file=folder / listed)
    return tuple(packed), replace(made, file=file.rename(made.file))


def _size(group: Listing) -> int:
    return sum(entry.stat(follow_symlinks=False).st_size for entry in group.values())


def are_right(frames: Sequence[Frame]) -> bool:
    """Whether all frames still have what was written into them; all processors read."""
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        return all(pool.map(lambda frame: frame.is_right, frames))


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


def _pack_entry(entry: os.DirEntry[str], path: str, where: str, members: IO[bytes]) -> Entry:
    if not entry.is_symlink():
        return _pack_file(entry, path, where, members)
    link = Link(path=path, target=_target(entry))
    members.write(tar.header(where, link=link.target))
    _refuse_changed(path, entry, os.lstat(entry.path))
    return link


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
            raise _changed(path)
        _refuse_changed(path, entry, os.fstat(source.fileno()))
    members.write(tar.padding(size))
    return File(path=path, mode=mode, size=size, digest=digest.hexdigest())


def _refuse_changed(path: str, entry: os.DirEntry[str], status: os.stat_result) -> None:
    """Refuse what was written to, or replaced, since it was listed."""
    was = entry.stat(follow_symlinks=False)
    if (was.st_ino, was.st_size, was.st_mtime_ns, was.st_ctime_ns) != (
        status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns,
    ):  # fmt: skip
        raise _changed(path)


def _changed(path: str) -> Changed:
    return Changed(f"{path} changed while it was read")


def _refuse(name: str, found: Listing) -> None:
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
