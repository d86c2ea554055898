"""Reading the tar stream of an artifact: each member is known beforehand, and compared."""

from __future__ import annotations

import io
from contextlib import contextmanager
from typing import TYPE_CHECKING

from nonevent.build.zstd import ZstdError
from nonevent.errors import ArtifactInvalid
from nonevent.model import tar

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nonevent.build.zstd import Zstd

_CHUNK = 1 << 20
_AGAIN = "build or fetch the artifact again"


class Stream:
    """The decompressed bytes of an artifact; never more of them is read than was announced."""

    def __init__(self, source: Zstd, name: str) -> None:
        self._source = source
        self._name = name
        self.place = "the beginning"

    def read(self, size: int) -> bytes:
        """Up to ``size`` bytes, at least one.

        Raises:
            ArtifactInvalid: for damage and for an early end, with the place.
        """
        try:
            content = self._source.read(size)
        except (EOFError, ZstdError, OSError) as error:
            reason = "ends too early" if isinstance(error, EOFError) else "is damaged"
            if self.place == "manifest.json":
                reason += ", or is no artifact"
            raise ArtifactInvalid(f"{self._name} {reason}, at {self.place}", hint=_AGAIN) from error
        if not content:
            raise ArtifactInvalid(f"{self._name} ends too early, at {self.place}", hint=_AGAIN)
        return content

    def exactly(self, size: int) -> bytes:
        """That many bytes."""
        return b"".join(self.pieces(size))

    def pieces(self, size: int) -> Iterator[bytes]:
        """That many bytes, one piece after the other."""
        while size:
            piece = self.read(min(size, _CHUNK))
            size -= len(piece)
            yield piece

    def skip(self, size: int) -> None:
        """Pass over that many bytes."""
        for _ in self.pieces(size):
            pass

    def expect(self, path: str, header: bytes) -> None:
        """Read a header, which must be this one."""
        self.place = path
        for begin in range(0, len(header), tar.BLOCK):
            block = self.exactly(tar.BLOCK)
            if block != header[begin : begin + tar.BLOCK]:
                raise ArtifactInvalid(
                    f"{self._name} has {tar.described(block)} where {path} must be", hint=_AGAIN
                )

    def member(self, path: str, largest: int) -> bytes:
        """A whole member whose size is not known beforehand."""
        self.place = path
        block = self.exactly(tar.BLOCK)
        size = tar.body_size(block)
        if size is None or block != tar.header(path, size=size):
            raise ArtifactInvalid(
                f"{self._name} is no artifact: it has {tar.described(block)} where {path} must be"
            )
        if size > largest:
            raise ArtifactInvalid(f"{self._name}: {path} claims {size} bytes, which is too much")
        content = self.exactly(size)
        self._pad(size)
        return content

    @contextmanager
    def body(self, size: int) -> Iterator[io.BufferedReader]:
        """The next ``size`` bytes as a file; what was not read of it is passed over."""
        body = _Body(self, size)
        yield io.BufferedReader(body, _CHUNK)
        body.skip()
        self._pad(size)

    def end(self) -> None:
        """Nothing may follow but the end of the archive."""
        self.place = "the end"
        block = self.exactly(len(tar.END))
        if block != tar.END:
            raise ArtifactInvalid(
                f"{self._name} has {tar.described(block[: tar.BLOCK])} that no list names"
            )
        try:
            more = self._source.read(1)
        except (EOFError, ZstdError, OSError) as error:
            raise ArtifactInvalid(f"{self._name} is damaged, at the end", hint=_AGAIN) from error
        if more:
            raise ArtifactInvalid(f"{self._name} goes on after its end")

    def _pad(self, size: int) -> None:
        filler = tar.padding(size)
        if self.exactly(len(filler)) != filler:
            raise ArtifactInvalid(f"{self._name} is damaged, at {self.place}", hint=_AGAIN)


class _Body(io.RawIOBase):
    """A part of a stream."""

    def __init__(self, stream: Stream, size: int) -> None:
        self._stream = stream
        self._left = size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        view = memoryview(buffer).cast("B")
        if not self._left or not len(view):
            return 0
        content = self._stream.read(min(self._left, len(view)))
        view[: len(content)] = content
        self._left -= len(content)
        return len(content)

    def skip(self) -> None:
        """Pass over what is left."""
        self._stream.skip(self._left)
        self._left = 0
