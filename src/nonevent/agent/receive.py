"""Receiving a layer: only what this host has not seen, and nothing that was not verified.

What arrives is hostile until its hash was seen to be right. Paths were checked when the file list
was parsed; here a file is made only in a fresh folder, never through a link, and counts only when
its size and digest are what the list says. What a layer of this host has already is linked:
it was verified when it came, and nobody may write into it since.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
import zlib
from typing import TYPE_CHECKING

from nonevent.agent import durable, layers
from nonevent.agent.fit import ROOM
from nonevent.dataclass import dataclass, field, replace
from nonevent.errors import ArtifactInvalid, ProtocolBroken
from nonevent.model import pieces, tar
from nonevent.model.manifest import LARGEST_LIST, File, Layer, LayerRef, Link, read_layer

if TYPE_CHECKING:
    from pathlib import Path

    from nonevent.model.layout import Layout
    from nonevent.model.manifest import Entry

BASES = 3
"""Layers of the same name, the newest, that a new one is compared with."""
WHOLE = 0.9
"""The share of a layer that must be new for it to travel as it lies in the artifact."""
Key = tuple[str, int, int]
"""What two files must share to be one file: digest, size and mode."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """A layer that a client wants to send, by the pieces of its file list."""

    layout: Layout
    ref: LayerRef
    rows: int
    names: tuple[bytes, ...]
    known: dict[bytes, bytes]
    """The pieces that lists on this host have, by name."""

    @property
    def lacking(self) -> tuple[int, ...]:
        """The numbers of the pieces that no list on this host has."""
        return tuple(n for n, name in enumerate(self.names) if name not in self.known)


def offered(layout: Layout, ref: LayerRef, names: bytes, rows: int) -> Offer:
    """Compare an offer with the newest layers of that name."""
    size = pieces.NAME
    wanted = tuple(names[begin : begin + size] for begin in range(0, len(names), size))
    known: dict[bytes, bytes] = {}
    missing = set(wanted)
    for layer_id in _bases(layout, ref.name):
        for piece in pieces.cut(layout.layer_list(layer_id).read_bytes(), rows):
            if (name := pieces.name(piece)) in missing:
                known[name] = piece
        missing -= known.keys()
    return Offer(layout=layout, ref=ref, rows=rows, names=wanted, known=known)


def _bases(layout: Layout, name: str) -> tuple[str, ...]:
    """The ids of the newest layers of that name whose list is here, the newest first."""
    found = []
    for layer_id in layers.present(layout):
        if layer_id.startswith(f"{name}-"):
            with contextlib.suppress(FileNotFoundError):
                found.append((layout.layer_list(layer_id).stat().st_mtime_ns, layer_id))
    return tuple(layer_id for _, layer_id in sorted(found, reverse=True)[:BASES])


def least(layout: Layout, refs: tuple[LayerRef, ...]) -> tuple[LayerRef, ...]:
    """Layers with the room that they need in any case: one that has a base may need next to none.

    What it does need is known, and asked for, when its list is here.
    """
    return tuple(replace(ref, size=0, files=0) if _bases(layout, ref.name) else ref for ref in refs)


def listed(offer: Offer, packed: bytes) -> tuple[bytes, Layer]:
    """The file list of an offer, from its lacking pieces; its text, and what it says.

    Raises:
        ArtifactInvalid: it is not the list that the reference names.
    """
    unpacking = zlib.decompressobj()
    try:
        text = unpacking.decompress(packed, LARGEST_LIST)
    except zlib.error as error:
        raise ArtifactInvalid(f"the file list of {offer.ref.id} is damaged: {error}") from error
    lacking = offer.lacking
    came = pieces.cut(text, offer.rows) if lacking else ()
    known = offer.known | {offer.names[n]: piece for n, piece in zip(lacking, came, strict=False)}
    total = sum(len(known.get(name, b"")) for name in offer.names)
    if not unpacking.eof or len(came) != len(lacking) or total > LARGEST_LIST:
        raise ProtocolBroken(
            f"the file list of {offer.ref.id} has other pieces than were asked for"
        )
    text = pieces.join(tuple(known[name] for name in offer.names))
    if hashlib.sha256(text).hexdigest() != offer.ref.digest:
        raise ArtifactInvalid(
            f"the file list of {offer.ref.id} is not the one that its digest names"
        )
    layer = read_layer(text)
    size = sum(entry.size for entry in layer.entries if isinstance(entry, File))
    if (layer.name, len(layer.entries), size) != (offer.ref.name, offer.ref.files, offer.ref.size):
        raise ArtifactInvalid(f"the file list of {offer.ref.id} has other files than announced")
    return text, layer


@dataclass(slots=True)
class Incoming:
    """A layer on its way: what comes, as tar members one after the other, and what is here."""

    layout: Layout
    ref: LayerRef
    text: bytes
    layer: Layer
    folder: Path
    held: dict[Key, str]
    """Where this host has a file of the layer."""
    done: set[str]
    """The paths that are in the folder, verified."""
    wanted: tuple[int, ...]
    """The numbers of the entries that are to come."""
    size: int
    """How many bytes they have."""
    whole: bool = False
    """Whether all entries come, links and empty files too."""
    _place: int = 0
    _skip: int = 0
    _left: int = 0
    _file: File | None = None
    _descriptor: int = -1
    _hash: hashlib._Hash = field(default_factory=hashlib.sha256)
    _folders: set[str] = field(default_factory=set)

    def write(self, data: bytes) -> None:
        """Take the next bytes; they may end and begin files.

        Headers are passed over: what a file is, its list says.

        Raises:
            ArtifactInvalid: a file is not what the list says.
            DiskFull: there is no room for it.
        """
        view = memoryview(data)
        with layers.full_disk_named(self.layout.root):
            while view:
                if self._skip:
                    count = min(self._skip, len(view))
                    self._skip -= count
                elif self._left:
                    count = min(self._left, len(view))
                    _write_all(self._descriptor, view[:count])
                    self._hash.update(view[:count])
                    self._left -= count
                else:
                    count = 0
                    self._next()
                view = view[count:]
                if self._file and not self._skip and not self._left:
                    self._end_file(self._file)

    def _next(self) -> None:
        """Turn to the next member."""
        if self._place >= len(self.wanted):
            raise ArtifactInvalid(f"{self.ref.id} brings more bytes than its file list says")
        entry = self.layer.entries[self.wanted[self._place]]
        self._place += 1
        where = f"{self.ref.name}/{entry.path}"
        if isinstance(entry, Link):
            self._skip = tar.header_size(where, link=entry.target)
            return
        self._skip = tar.header_size(where)
        if entry.size:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
            self._descriptor = os.open(self._room_for(entry.path), flags, 0o600)
            self._file, self._left, self._hash = entry, entry.size, hashlib.sha256()

    def _end_file(self, file: File) -> None:
        if self._hash.hexdigest() != file.digest:
            raise ArtifactInvalid(
                f"{self.ref.name}/{file.path} is not what its file list says",
                context=(f"expected SHA-256 {file.digest}", f"found {self._hash.hexdigest()}"),
            )
        # Immutable: nobody, not the app either, writes into a layer. Set, not asked for when it is
        # made: a default ACL of the folder above would have its say then.
        os.fchmod(self._descriptor, _mode(file))
        os.close(self._descriptor)
        self._descriptor, self._file = -1, None
        self._skip = -file.size % tar.BLOCK
        self.done.add(file.path)
        self.held[_key(file)] = f"{self.folder}/{file.path}"

    def _room_for(self, path: str) -> str:
        """The place of an entry, in a folder that is there."""
        self._have_folder(path.rpartition("/")[0])
        return f"{self.folder}/{path}"

    def _have_folder(self, path: str) -> None:
        """A folder of the layer is there, with those above it."""
        if path not in self._folders:
            self._folders.add(path)
            if path:
                self._have_folder(path.rpartition("/")[0])
                # An attempt that was cut off may have made it.
                with contextlib.suppress(FileExistsError):
                    os.mkdir(f"{self.folder}/{path}")  # noqa: PTH102

    def finish(self) -> None:
        """The layer is complete, synced, and in its place.

        Raises:
            ArtifactInvalid: files are missing.
        """
        if self._place < len(self.wanted) or self._skip or self._left:
            at = self.wanted[self._place - 1 if self._skip or self._left else self._place]
            raise ArtifactInvalid(f"{self.ref.id} ends too early, at {self.layer.entries[at].path}")
        with layers.full_disk_named(self.layout.root):
            for entry in self.layer.entries:
                # What is there already, an earlier attempt may have brought, with its folder.
                self._have_folder(entry.path.rpartition("/")[0])
                if entry.path not in self.done:
                    self._make(entry)
            self._have_folder("")
            for path in self._folders:
                os.chmod(f"{self.folder}/{path}", 0o555)  # noqa: PTH101, S103
            if self.layout.layer(self.ref.id).is_dir():
                # It was sent although it is here: it has the same bytes.
                self.abandon()
                return
            durable.sync_filesystem(self.folder)
            durable.write(self.layout.layer_list(self.ref.id), self.text)
            self.folder.rename(self.layout.layer(self.ref.id))
            durable.sync_folder(self.layout.layers)

    def _make(self, entry: Entry) -> None:
        """Have an entry that need not travel: a link, an empty file, one that is here already."""
        place = f"{self.folder}/{entry.path}"
        match entry:
            case Link(target=target):
                os.symlink(target, place)  # noqa: PTH211
            case File(size=0):
                if entry.digest != _EMPTY:
                    raise ArtifactInvalid(
                        f"{self.ref.name}/{entry.path} is not what its file list says"
                    )
                os.close(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _mode(entry)))
            case File():
                layers.link_file(self.held[_key(entry)], place)

    def pause(self) -> None:
        """Leave what has come for the next attempt, which looks at all of it again."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def abandon(self) -> None:
        """Leave nothing behind."""
        self.pause()
        layers.remove_tree(self.folder)


_EMPTY = hashlib.sha256().hexdigest()


def _key(file: File) -> Key:
    return file.digest, file.size, file.mode


def _mode(file: File) -> int:
    return file.mode & ~0o222


def _write_all(descriptor: int, data: memoryview) -> None:
    while len(data):
        data = data[os.write(descriptor, data) :]


def begin(layout: Layout, ref: LayerRef, text: bytes, layer: Layer) -> Incoming:
    """Begin to receive a layer, or go on with it. The caller holds the lock.

    Raises:
        DiskFull: there is no room for it.
    """
    layout.layers.mkdir(parents=True, exist_ok=True)
    folder = layers.incoming(layout, ref)
    for other in layout.layers.glob(f".incoming-{ref.name}-*"):
        if other != folder:
            layers.remove_tree(other)
    with layers.full_disk_named(layout.root):
        folder.mkdir(exist_ok=True)
        files = {entry.path: entry for entry in layer.entries if isinstance(entry, File)}
        done = _verified(folder, files)
    held = {_key(files[path]): f"{folder}/{path}" for path in done}
    needed = {_key(file): file for file in files.values() if file.size}
    for layer_id in _bases(layout, ref.name):
        _look(layout, layer_id, needed, held)
    wanted, size = _wanted(layer, held)
    incoming = Incoming(layout, ref, text, layer, folder, held, done, wanted, size)
    if wanted and size >= WHOLE * ref.size:
        layers.remove_tree(folder)
        folder.mkdir()
        incoming.done.clear()
        incoming.wanted, incoming.whole = tuple(range(len(layer.entries))), True
    room = os.statvfs(folder)
    nodes = len(wanted) + sum(not (isinstance(e, File) and e.size) for e in layer.entries)
    if room.f_bavail * room.f_frsize < size + ROOM or 0 < room.f_favail < nodes * 2:
        incoming.abandon()
        raise layers.disk_full(layout.root)
    return incoming


def _wanted(layer: Layer, held: dict[Key, str]) -> tuple[tuple[int, ...], int]:
    """The entries that must come, each content once, and how many bytes they have."""
    known = set(held)
    wanted, size = [], 0
    for number, entry in enumerate(layer.entries):
        if isinstance(entry, File) and entry.size and _key(entry) not in known:
            known.add(_key(entry))
            wanted.append(number)
            size += entry.size
    return tuple(wanted), size


def _look(layout: Layout, layer_id: str, needed: dict[Key, File], held: dict[Key, str]) -> None:
    """Add the files that another layer has, as far as they are needed and as they should be."""

    def look(row: dict[str, object]) -> None:
        key = row.get("sha256"), row.get("size"), row.get("mode")
        file = needed.get(key)  # type: ignore[arg-type]
        if file and key not in held:
            place = f"{layout.layer(layer_id)}/{row['path']}"
            if _looks_right(place, file):
                held[_key(file)] = place

    # No row is kept: of the list of a large layer that would be most of what an agent holds.
    json.loads(layout.layer_list(layer_id).read_bytes(), object_hook=look)


def _looks_right(place: str, file: File) -> bool:
    """Whether a file is of the kind, size and mode that its list says; its bytes are not read."""
    try:
        found = os.lstat(place)
    except FileNotFoundError:
        return False
    kind = stat.S_ISREG(found.st_mode)
    return kind and found.st_size == file.size and stat.S_IMODE(found.st_mode) == _mode(file)


def _verified(folder: Path, files: dict[str, File]) -> set[str]:
    """The files that an attempt which was cut off left whole; everything else it left is removed.

    They are read again: without a sync a power cut may have taken bytes of any of them.
    """
    found = set()
    for place, folders, names in os.walk(folder):
        os.chmod(place, 0o755)  # noqa: PTH101, S103
        for name in (*folders, *names):
            whole = f"{place}/{name}"
            if name in folders and not os.path.islink(whole):  # noqa: PTH114
                continue
            path = os.path.relpath(whole, folder)
            file = files.get(path)
            if file and file.size and _looks_right(whole, file) and _digest(whole) == file.digest:
                found.add(path)
            else:
                os.unlink(whole)  # noqa: PTH108
    return found


def _digest(place: str) -> str:
    with open(place, "rb") as file:  # noqa: PTH123
        return hashlib.file_digest(file, "sha256").hexdigest()
