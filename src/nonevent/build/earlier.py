"""An earlier layer, of which is taken what is the same again.

Nothing is believed of what lies there but the list of its files, which has the digest that the
layer was given when it was made: a tree may be damaged, or removed meanwhile by another build.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nonevent.build.elf import needs_from
from nonevent.build.lock.parts import COMMON
from nonevent.build.stored import about_of, frames_in
from nonevent.build.zstd import VERSION
from nonevent.errors import FormatInvalid
from nonevent.model.manifest import File, read_layer

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from nonevent.build.elf import Needs
    from nonevent.build.layer import Frame
    from nonevent.model.manifest import Entry


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What a layer of dependencies was made from."""

    terms: str
    """What decides the bytes of a package apart from what the lock says of it."""
    settings: str
    """What else decides which files uv takes: see :func:`nonevent.build.uv.settings_of`."""
    lock: Mapping[str, str]
    """By package, the digest of what the lock says of it: see :mod:`nonevent.build.lock.parts`."""

    def near(self, other: Made) -> tuple[bool, int]:
        """How alike two are: whether packages of one can be in the other, and how many are."""
        own, others = ((each.terms, each.settings, each.lock.get(COMMON)) for each in (self, other))
        return own == others, len(self.lock.items() & other.lock.items())


@dataclass(frozen=True, slots=True, kw_only=True)
class Earlier:
    """The tree, and what it had when it was made."""

    tree: Path
    since: int
    """When nobody but the build had used the tree, as the file system has it, in nanoseconds."""
    made: Made
    entries: Mapping[str, Entry]
    folders: Mapping[str, Mapping[str, str]]
    """The SHA-256 of all files, by folder and name."""
    frames: Mapping[str, Frame]
    """By the digest of their list; none where another zstd made them."""
    binaries: Mapping[str, Needs]
    """What each needs of a host, see :func:`nonevent.build.elf.binaries_in`."""

    def take(self, tree: Path, folder: str, names: Sequence[str], *, tag: str) -> bool:
        """Put the byte code of a folder's modules into a tree where it is known; whether it was.

        All modules of the folder must be what they were, see :mod:`nonevent.build.bytecode`.
        """
        were = self.folders.get(folder, {})
        if set(names) != {name for name in were if name.endswith(".py")}:
            return False
        cached = f"{folder}/__pycache__"
        digests = self.folders.get(cached, {})
        wanted = [f"{name.removesuffix('.py')}.{tag}.pyc" for name in names]
        try:
            for name in names:
                read(f"{tree}/{folder}/{name}", were[name])
            found = [read(f"{self.tree}/{cached}/{name}", digests[name]) for name in wanted]
        except (OSError, LookupError, ValueError):
            return False
        Path(tree, cached).mkdir(exist_ok=True)
        for name, content in zip(wanted, found, strict=True):
            Path(f"{tree}/{cached}/{name}").write_bytes(content)
        return True


def earlier_of(folders: Iterable[Path], made: Made) -> Earlier | None:
    """Of stored layers, the one that was made from what is most like that."""
    near = {folder: _made(folder).near(made) for folder in folders}
    nearest = max(near, key=lambda folder: near[folder], default=None)
    return _earlier(nearest) if nearest and near[nearest][1] else None


def _made(folder: Path) -> Made:
    try:
        return _made_as(about_of(folder)["notes"])
    except (OSError, LookupError, ValueError, TypeError):
        return Made(terms="", settings="", lock={})


def _made_as(notes: Mapping[str, Any]) -> Made:
    return Made(terms=notes["terms"], settings=notes["settings"], lock=dict(notes["lock"]))


def _earlier(folder: Path) -> Earlier | None:
    try:
        about = about_of(folder)
        since = int(about["since"])
        made = _made_as(about["notes"])
        listed = read_layer(read(f"{folder}/layer.json", about["ref"]["digest"]))
        frames = frames_in(folder, about) if about["zstd"] == VERSION else ()
        binaries = {path: needs_from(raw) for path, raw in about["binaries"].items()}
    except (OSError, LookupError, ValueError, TypeError, AttributeError, FormatInvalid):
        return None
    folders: dict[str, dict[str, str]] = {}
    for entry in listed.entries:
        if isinstance(entry, File):
            where, _, name = entry.path.rpartition("/")
            folders.setdefault(where, {})[name] = entry.digest
    return Earlier(
        tree=folder / "tree",
        since=since,
        made=made,
        entries={entry.path: entry for entry in listed.entries},
        folders=folders,
        frames={frame.listed: frame for frame in frames},
        binaries=binaries,
    )


def read(path: str, digest: str) -> bytes:
    """A file's content; ValueError where it is another than the one with that digest."""
    with FileIO(path) as file:
        content = file.read()
    if hashlib.sha256(content).hexdigest() != digest:
        raise ValueError(path)
    return content
