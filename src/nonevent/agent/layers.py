"""Layers on the host: receiving them, and letting go of them.

What arrives is hostile until verified. Paths were checked when the file list was parsed; here a
file is made only in a fresh folder, never through a link, and counts only when its size and
digest are what the list says.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from nonevent.agent import durable
from nonevent.agent.fit import ROOM
from nonevent.errors import ArtifactInvalid, DiskFull
from nonevent.model.manifest import File, Layer, LayerRef, Link, read_layer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from nonevent.model.layout import Layout

_FULL = {errno.ENOSPC, errno.EDQUOT}


def missing(layout: Layout, refs: tuple[LayerRef, ...]) -> tuple[LayerRef, ...]:
    """The layers that are not on this host."""
    return tuple(ref for ref in refs if not layout.layer(ref.id).is_dir())


def present(layout: Layout) -> frozenset[str]:
    """The ids of the layers that are complete on this host."""
    return frozenset(_names(layout.layers))


def _names(folder: Path) -> Iterator[str]:
    with contextlib.suppress(FileNotFoundError):
        yield from (path.name for path in folder.iterdir() if not path.name.startswith("."))


@dataclass(slots=True)
class Incoming:
    """A layer on its way: files in the order of the list, one after the other, without gaps."""

    layout: Layout
    ref: LayerRef
    layer: Layer
    folder: Path
    _files: list[File] = field(default_factory=list)
    _place: int = 0
    _left: int = 0
    _descriptor: int = -1
    _hash: hashlib._Hash = field(default_factory=hashlib.sha256)

    def write(self, data: bytes) -> None:
        """Take the next bytes; they may end and begin files.

        Raises:
            ArtifactInvalid: a file is not what the list says.
            DiskFull: there is no room for it.
        """
        view = memoryview(data)
        with _full_disk_named(self.layout.root):
            while view:
                while self._descriptor < 0:
                    self._begin()
                count = min(self._left, len(view))
                _write_all(self._descriptor, view[:count])
                self._hash.update(view[:count])
                self._left -= count
                view = view[count:]
                if not self._left:
                    self._finish_file()

    def _begin(self) -> None:
        """Open the next file; an empty one is finished at once."""
        if self._place >= len(self._files):
            raise ArtifactInvalid(f"{self.ref.id} brings more bytes than its file list says")
        file = self._files[self._place]
        path = self.folder / file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        self._descriptor = os.open(path, flags, 0o600)
        self._left = file.size
        self._hash = hashlib.sha256()
        if not file.size:
            self._finish_file()

    def _finish_file(self) -> None:
        file = self._files[self._place]
        # Immutable: nobody, not the app either, writes into a layer.
        os.fchmod(self._descriptor, file.mode & ~0o222)
        os.close(self._descriptor)
        self._descriptor = -1
        self._place += 1
        if self._hash.hexdigest() != file.digest:
            raise ArtifactInvalid(
                f"{self.ref.name}/{file.path} is not what its file list says",
                context=(f"expected SHA-256 {file.digest}", f"found {self._hash.hexdigest()}"),
            )

    def finish(self) -> None:
        """The layer is complete, synced, and in its place.

        Raises:
            ArtifactInvalid: files are missing.
        """
        with _full_disk_named(self.layout.root):
            while self._place < len(self._files) and not self._files[self._place].size:
                self._begin()
            if self._place < len(self._files):
                raise ArtifactInvalid(
                    f"{self.ref.id} ends too early, at {self._files[self._place].path}"
                )
            for entry in self.layer.entries:
                if isinstance(entry, Link):
                    path = self.folder / entry.path
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.symlink_to(entry.target)
            for place, _, _ in os.walk(self.folder):
                os.chmod(place, 0o555)  # noqa: PTH101, S103
            durable.sync_filesystem(self.folder)
        final = self.layout.layer(self.ref.id)
        if final.is_dir():
            # Another client brought the same layer meanwhile: it has the same bytes.
            self.abandon()
            return
        self.folder.rename(final)
        durable.sync_folder(self.layout.layers)

    def abandon(self) -> None:
        """Leave nothing behind."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
        remove_tree(self.folder)


def _write_all(descriptor: int, data: memoryview) -> None:
    while len(data):
        data = data[os.write(descriptor, data) :]


@contextlib.contextmanager
def _full_disk_named(folder: Path) -> Iterator[None]:
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


def receive(layout: Layout, ref: LayerRef, file_list: bytes) -> Incoming:
    """Begin to receive a layer.

    Raises:
        ArtifactInvalid: the list is not the one that the reference names.
        DiskFull: there is no room for it.
    """
    if hashlib.sha256(file_list).hexdigest() != ref.digest:
        raise ArtifactInvalid(f"the file list of {ref.id} is not the one that its digest names")
    layer = read_layer(file_list)
    if layer.ref != ref:
        raise ArtifactInvalid(f"the file list of {ref.id} has other files than the manifest says")
    layout.layers.mkdir(parents=True, exist_ok=True)
    folder = layout.layers / f".incoming-{ref.id}-{os.getpid()}"
    remove_tree(folder)
    folder.mkdir()
    room = os.statvfs(folder)
    if room.f_bavail * room.f_frsize < ref.size + ROOM or 0 < room.f_favail < ref.files * 2:
        folder.rmdir()
        raise disk_full(layout.root)
    files = [entry for entry in layer.entries if isinstance(entry, File)]
    return Incoming(layout=layout, ref=ref, layer=layer, folder=folder, _files=files)


def clean_incoming(layout: Layout) -> None:
    """Remove what transfers left that were cut off. The caller holds the lock."""
    with contextlib.suppress(FileNotFoundError):
        for path in layout.layers.iterdir():
            if path.name.startswith(".incoming-") and not _is_alive(path.name):
                remove_tree(path)


def remove_tree(folder: Path) -> None:
    """Remove a folder whose folders may not be written to."""
    for place, _, _ in os.walk(folder):
        with contextlib.suppress(OSError):
            os.chmod(place, 0o700)  # noqa: PTH101
    shutil.rmtree(folder, ignore_errors=True)


def _is_alive(name: str) -> bool:
    pid = name.rpartition("-")[2]
    return pid.isdigit() and os.path.exists(f"/proc/{pid}")  # noqa: PTH110


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
