"""The artifact: one file that ordinary tools open, and that nothing in it is believed of.

A tar in zstd: ``manifest.json``, the file list of each layer, then the files in the order of the
lists. Each part is zstd frames of its own, with an empty one behind them, and each package has its
own frame: what is the same as in an earlier layer is copied, not packed anew.
"""

from __future__ import annotations

import hashlib
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nonevent.build.cache import publish
from nonevent.build.stream import Stream
from nonevent.build.zstd import EMPTY, compressing, decompressing, parts_of
from nonevent.errors import ArtifactInvalid, BuildFailed, FormatInvalid
from nonevent.model import tar
from nonevent.model.manifest import (
    LARGEST_LIST,
    LAYERS,
    Entry,
    File,
    Layer,
    LayerRef,
    Link,
    Manifest,
    read_layer,
    read_manifest,
)

if TYPE_CHECKING:
    from collections.abc import Container, Iterator
    from io import BufferedReader
    from pathlib import Path
    from typing import IO

    from nonevent.build.layer import Frame
    from nonevent.build.zstd import Zstd

LARGEST_MANIFEST = 4 << 20
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """A layer ready to be written: its encoded file list, and the frames with its members."""

    name: str
    encoded: bytes
    frames: tuple[Frame, ...]


def write(folder: Path, manifest: Manifest, layers: tuple[Packed, ...]) -> Path:
    """Write an artifact into a folder, whole or not at all; its path.

    ``layers`` are those of the manifest, in its order.

    Raises:
        BuildFailed: what was packed is damaged by now.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / manifest.filename
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".", suffix=".part", delete=False) as out:
        beside = folder / out.name
        try:
            with compressing(out) as head:
                _write_member(head, "manifest.json", manifest.encoded())
                for layer in layers:
                    _write_member(head, f"layers/{layer.name}.json", layer.encoded)
            out.write(EMPTY)
            for layer in layers:
                for frame in layer.frames:
                    _copy(frame, out)
                out.write(EMPTY)
            with compressing(out) as end:
                end.write(tar.END)
            out.flush()
            beside.chmod(0o644)
            publish(beside, file)
        except BaseException:
            beside.unlink(missing_ok=True)
            raise
    return file


def _write_member(out: Zstd, path: str, content: bytes) -> None:
    out.write(tar.header(path, size=len(content)) + content + tar.padding(len(content)))


def _copy(frame: Frame, out: IO[bytes]) -> None:
    seen = hashlib.sha256()
    with frame.file.open("rb") as packed:
        while data := packed.read(_CHUNK):
            seen.update(data)
            out.write(data)
    if seen.hexdigest() != frame.digest:
        raise BuildFailed(
            f"{frame.file} was damaged during the build", hint="build again: it is packed anew"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """What an artifact says of itself; its lists and files are read when they are asked for."""

    path: Path
    manifest: Manifest
    lists: tuple[bytes, ...]
    """The file list of each layer of the manifest, which names them by digest; not yet read."""

    @classmethod
    def open(cls, path: Path) -> Artifact:
        """Read the manifest, and the bytes of the file lists.

        Raises:
            ArtifactInvalid: where they are damaged or do not belong together.
        """
        with _reading(path) as stream:
            return _read_head(path, stream)

    @property
    def layers(self) -> tuple[Layer, ...]:
        """All file lists.

        Raises:
            ArtifactInvalid: where one leads outside, or is not what the manifest says of it.
        """
        return tuple(self._layer(number) for number in range(len(self.lists)))

    def layer(self, name: str) -> Layer | None:
        """The file list of a layer, or None.

        Raises:
            ArtifactInvalid: as for :attr:`layers`.
        """
        for number, ref in enumerate(self.manifest.layers):
            if ref.name == name:
                return self._layer(number)
        return None

    def text(self, name: str) -> bytes:
        """The file list of a layer, not yet read."""
        return self.lists[self._number(name)]

    @property
    def framed(self) -> bool:
        """Whether each layer is a part of its own, as far as their number tells."""
        return self._place("app") is not None

    def packed(self, name: str) -> Iterator[bytes] | None:
        """The members of a layer as they lie in the file; None where they are no part there.

        Whoever unpacks them sees whether they are what the list says.
        """
        place = self._place(name)
        return self._part(*place) if place else None

    def _part(self, begin: int, left: int) -> Iterator[bytes]:
        with self.path.open("rb") as file:
            file.seek(begin)
            while left and (data := file.read(min(left, _CHUNK))):
                yield data
                left -= len(data)

    def members(self, name: str, numbers: Container[int] | None = None) -> Iterator[bytes]:
        """The members of a layer as they stand in the tar: all, or the entries of those numbers.

        Nothing is compared: whoever gets them sees whether they are what the list says.

        Raises:
            ArtifactInvalid: as for :attr:`layers`, or the file is damaged or ends too early.
        """
        layer = self._layer(self._number(name))
        place = self._place(name)
        if place is None:
            yield from self._sought(layer, numbers)
            return
        with self.path.open("rb") as file:
            file.seek(place[0])
            with decompressing(file) as source:
                yield from _chosen(layer, Stream(source, self.path.name), numbers)

    def _sought(self, layer: Layer, numbers: Container[int] | None) -> Iterator[bytes]:
        """The members of a layer in a file that was packed anew, read from its beginning."""
        with _reading(self.path) as stream:
            _read_head(self.path, stream)
            for before in self.layers[: self._number(layer.name)]:
                stream.skip(sum(_member_size(before.name, entry) for entry in before.entries))
            yield from _chosen(layer, stream, numbers)

    def _place(self, name: str) -> tuple[int, int] | None:
        """Where a layer's part begins in the file, and its size; None where it is none."""
        parts = parts_of(self.path)
        # In front of the layers there is one with the manifest and the lists, and one behind.
        return parts[self._number(name) + 1] if len(parts) == len(self.lists) + 2 else None

    def _number(self, name: str) -> int:
        return [ref.name for ref in self.manifest.layers].index(name)

    def _layer(self, number: int) -> Layer:
        ref = self.manifest.layers[number]
        try:
            layer = read_layer(self.lists[number])
        except FormatInvalid as error:
            raise _invalid(self.path, error) from error
        if layer.ref != ref:
            raise ArtifactInvalid(
                f"{self.path.name}: the manifest lies about the {ref.name} layer",
                context=(f"it says {ref}", f"the list has {layer.ref}"),
            )
        return layer

    def contents(self, names: tuple[str, ...]) -> Iterator[tuple[str, File, BufferedReader]]:
        """Each regular file of some layers, in order, as layer name, entry and its bytes.

        The bytes can be read until the next file is asked for. What follows the last wanted
        layer is not read.

        Raises:
            ArtifactInvalid: as soon as something is not what the list says.
        """
        wanted = {ref.name for ref in self.manifest.layers if ref.name in names}
        with _reading(self.path) as stream:
            if _read_head(self.path, stream) != self:
                raise ArtifactInvalid(f"{self.path.name} changed while it was read")
            for number, ref in enumerate(self.manifest.layers):
                if not wanted:
                    return
                for file, body in _members(self._layer(number), stream):
                    if ref.name in wanted:
                        yield ref.name, file, body
                wanted.discard(ref.name)


def verify(path: Path) -> Artifact:
    """Read an artifact to its end and hash every file.

    Raises:
        ArtifactInvalid: for the first thing that is not as its lists say.
    """
    with _reading(path) as stream:
        artifact = _read_head(path, stream)
        for layer in artifact.layers:
            for file, body in _members(layer, stream):
                found = hashlib.file_digest(body, "sha256").hexdigest()
                if found != file.digest:
                    raise ArtifactInvalid(
                        f"{path.name}: {layer.name}/{file.path} is not what its file list says",
                        context=(f"expected SHA-256 {file.digest}", f"found {found}"),
                        hint="build or fetch the artifact again",
                    )
        stream.end()
    return artifact


@contextmanager
def _reading(path: Path) -> Iterator[Stream]:
    try:
        file = path.open("rb")
    except OSError as error:
        raise ArtifactInvalid(f"{path} cannot be read: {error.strerror}") from error
    with file, decompressing(file) as source:
        yield Stream(source, path.name)


def _read_head(path: Path, stream: Stream) -> Artifact:
    raw = stream.member("manifest.json", LARGEST_MANIFEST)
    try:
        manifest = read_manifest(raw)
    except FormatInvalid as error:
        raise _invalid(path, error) from error
    if manifest.encoded() != raw:
        raise ArtifactInvalid(f"{path.name} has a manifest in another spelling than its own")
    order = tuple(ref.name for ref in manifest.layers)
    if order != tuple(name for name in LAYERS if name in order):
        raise ArtifactInvalid(f"{path.name} has its layers in another order than {LAYERS}")
    lists = tuple(_read_list(path, stream, ref) for ref in manifest.layers)
    return Artifact(path=path, manifest=manifest, lists=lists)


def _read_list(path: Path, stream: Stream, ref: LayerRef) -> bytes:
    """A layer's file list, which must be the one that the manifest names by digest."""
    raw = stream.member(f"layers/{ref.name}.json", LARGEST_LIST)
    if hashlib.sha256(raw).hexdigest() != ref.digest:
        raise ArtifactInvalid(
            f"{path.name} has another file list of the {ref.name} layer than its manifest names"
        )
    return raw


def _invalid(path: Path, error: FormatInvalid) -> ArtifactInvalid:
    return ArtifactInvalid(f"{path.name}: {error.message}", context=error.context[:30])


def _member_size(layer: str, entry: Entry) -> int:
    where = f"{layer}/{entry.path}"
    match entry:
        case Link(target=target):
            return tar.header_size(where, link=target)
        case File(size=size):
            return tar.header_size(where) + size + len(tar.padding(size))


def _chosen(layer: Layer, stream: Stream, numbers: Container[int] | None) -> Iterator[bytes]:
    """The members of a layer, which comes next in the stream: all, or those of the numbers."""
    unseen = 0
    for number, entry in enumerate(layer.entries):
        size = _member_size(layer.name, entry)
        if numbers is None or number in numbers:
            stream.skip(unseen)
            unseen = 0
            yield from stream.pieces(size)
        else:
            unseen += size


def _members(layer: Layer, stream: Stream) -> Iterator[tuple[File, BufferedReader]]:
    """The files of a layer as they stand in the stream; links are compared and passed over."""
    for entry in layer.entries:
        where = f"{layer.name}/{entry.path}"
        match entry:
            case Link(target=target):
                stream.expect(where, tar.header(where, link=target))
            case File(mode=mode, size=size):
                stream.expect(where, tar.header(where, mode=mode, size=size))
                with stream.body(size) as body:
                    yield entry, body
