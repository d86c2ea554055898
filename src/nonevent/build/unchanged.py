"""Packages that are as in an earlier layer: found by the lock, and linked, not installed.

A package is the same where the lock says the same of it, and all else that decides its bytes is
the same too: then installing it anew gives the files that the earlier layer lists. Only what can
be told for certain is taken. A package that shares a file with another, or brings byte code, is
installed; and where a file of the earlier layer belongs to no package, all of them are.
"""

from __future__ import annotations

import csv
import errno
import io
import os
import posixpath
import re
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

from packaging.utils import canonicalize_name

from nonevent.build.earlier import read
from nonevent.build.layer import file_mode, paths
from nonevent.model.manifest import File

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from nonevent.build.earlier import Earlier, Made
    from nonevent.model.manifest import Entry

_OF_NO_PACKAGE = ("lib64", "pyvenv.cfg")
_CACHED = "/__pycache__"
# Whatever lies deeper was copied into a package, and is its own.
_RECORD = re.compile(r"(lib/python3[^/]*/site-packages)/([^/]+)-[^/-]+\.dist-info/RECORD")


@dataclass(frozen=True, slots=True, kw_only=True)
class Unchanged:
    """Packages of an earlier layer, their files, and the byte code of folders that are theirs."""

    earlier: Earlier
    names: frozenset[str]
    files: frozenset[str]
    code: dict[str, list[str]]
    """By folder of modules, all of which belong to these packages."""

    def link(self, tree: Path) -> Linked | None:
        """Put the files into a tree with the other packages; None where that cannot be done.

        It cannot where the others have a file of the same name, or a file was damaged or written
        to. Byte code follows from all modules of a folder, so that of a folder which others share
        is left out.
        """
        shared = {path.rpartition("/")[0] for path in paths(tree) if path.endswith(".py")}
        code = {folder: found for folder, found in self.code.items() if folder not in shared}
        wanted = [*self.files, *(path for found in code.values() for path in found)]
        entries = {path: self.earlier.entries[path] for path in wanted}
        try:
            for folder in {path.rpartition("/")[0] for path in wanted}:
                (tree / folder).mkdir(parents=True, exist_ok=True)
            for path, entry in entries.items():
                source = f"{self.earlier.tree}/{path}"
                self._see(source, entry)
                folder, _, name = path.rpartition("/")
                if isinstance(entry, File) and name.endswith(".py") and folder not in code:
                    # It is about to be compiled, so it must be what is listed.
                    _copy(source, tree / path, entry)
                else:
                    os.link(source, f"{tree}/{path}", follow_symlinks=False)
        except (OSError, ValueError):
            return None
        return Linked(entries=entries, folders=frozenset(code))

    def _see(self, path: str, entry: Entry) -> None:
        """Raise OSError where a file is not as it was listed, or was written to since."""
        status = os.lstat(path)
        if isinstance(entry, File):
            right = stat.S_ISREG(status.st_mode) and status.st_size == entry.size
            right = right and file_mode(status.st_mode) == entry.mode
        else:
            right = stat.S_ISLNK(status.st_mode)
        if not right or status.st_mtime_ns > self.earlier.since:
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), path)


@dataclass(frozen=True, slots=True, kw_only=True)
class Linked:
    """What was linked: entries by path, and the folders whose byte code was."""

    entries: dict[str, Entry]
    folders: frozenset[str]


NOTHING = Linked(entries={}, folders=frozenset())


def _copy(source: str, target: Path, entry: File) -> None:
    content = read(source, entry.digest)
    with target.open("xb") as file:
        file.write(content)
    target.chmod(entry.mode)


def unchanged_since(earlier: Earlier, made: Made) -> Unchanged | None:
    """The packages of an earlier layer that one made from that has too; None where none are."""
    mixes, _ = made.near(earlier.made)
    owners = _owners(earlier) if mixes else None
    if owners is None or not earlier.made.lock.keys() >= owners.packages:
        return None
    same = {name for name, told in made.lock.items() if earlier.made.lock.get(name) == told}
    names = same & (owners.packages - owners.unclear)
    files = frozenset(path for path, name in owners.files.items() if name in names)
    others = {
        path.rpartition("/")[0]
        for path in earlier.entries
        if path.endswith(".py") and path not in files
    }
    code = {folder: found for folder, found in owners.code.items() if folder not in others}
    if not names:
        return None
    return Unchanged(earlier=earlier, names=frozenset(names), files=files, code=code)


@dataclass(slots=True)
class _Owners:
    """Whose the files of a layer are."""

    packages: set[str]
    unclear: set[str]
    """Those that share a file, or bring byte code."""
    files: dict[str, str]
    code: dict[str, list[str]]
    """The byte code that was compiled, by folder of its modules."""


def _owners(earlier: Earlier) -> _Owners | None:
    """Whose each file is, as the packages' own lists say; None where there is one of nobody."""
    found, brought = _Owners(set(), set(), {}, {}), set[str]()
    try:
        for name, path in _records(earlier):
            found.packages.add(name)
            other = found.files.setdefault(path, name)
            if other != name:
                found.unclear |= {other, name}
            elif _CACHED in path:
                found.unclear.add(name)
                brought.add(path.rpartition(_CACHED)[0])
    except (OSError, ValueError, LookupError, csv.Error):
        return None
    for path in earlier.entries:
        if path in found.files or path in _OF_NO_PACKAGE:
            continue
        folder, _, name = path.rpartition("/")
        module = f"{folder.removesuffix(_CACHED)}/{name.rsplit('.', 2)[0]}.py"
        if not folder.endswith(_CACHED) or module not in earlier.entries:
            return None
        found.code.setdefault(folder.removesuffix(_CACHED), []).append(path)
    found.files = {path: name for path, name in found.files.items() if path in earlier.entries}
    # What a package brings may lie in another's folder, and is compiled over.
    found.code = {folder: code for folder, code in found.code.items() if folder not in brought}
    return found


def _records(earlier: Earlier) -> Iterator[tuple[str, str]]:
    """Each file that a package says it has, after the package's normal name."""
    names = set[str]()
    for path, entry in earlier.entries.items():
        match = _RECORD.fullmatch(path)
        if not match or not isinstance(entry, File):
            continue
        site, name = match[1], canonicalize_name(match[2])
        if name in names:
            raise ValueError(name)
        names.add(name)
        record = read(f"{earlier.tree}/{path}", entry.digest).decode()
        for row in csv.reader(io.StringIO(record, newline="")):
            where = f"{site}/{row[0]}"
            yield name, posixpath.normpath(where) if "./" in where or "//" in where else where
