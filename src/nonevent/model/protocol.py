"""The framed protocol between client and agent, over any pair of byte streams.

A frame is four bytes, big-endian: the length of a JSON header; the header; and as many bytes
of body as the header's ``body`` says. Where the length's first bit is set, the header is compressed
by zlib, RFC 1950: all of one direction are one stream, so that what was said before, a manifest or
the words of an event, costs a few bytes. One side asks, the other answers with any number of events
and one last frame that holds ``result`` or ``error``.
"""

from __future__ import annotations

import json
import struct
import threading
import zlib
from typing import TYPE_CHECKING

from nonevent.dataclass import dataclass, field
from nonevent.errors import ProtocolBroken

if TYPE_CHECKING:
    from typing import IO

VERSION = 1
"""Client and agent are of one digest, so that this changes only with what `hello` says."""
MOST_HEADER = 4 * 2**20
"""Bytes; a longer header is not ours."""
MOST_BODY = 64 * 2**20
"""Bytes; more travels in several frames."""
CHUNK = 2**18
"""Bytes of a body where much is sent: what is on its way is held in memory at both ends."""
_LENGTH = struct.Struct(">I")
_COMPRESSED = 1 << 31
_SHORT = 64
"""Bytes below which a header is sent as it is."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One message."""

    header: dict[str, object]
    body: bytes = b""


@dataclass(slots=True)
class Channel:
    """Both directions of a connection. Sending is safe from several threads."""

    reader: IO[bytes]
    writer: IO[bytes]
    sent: int = 0
    """Bytes that were sent so far."""
    _sending: threading.Lock = field(default_factory=threading.Lock)
    _deflater: zlib._Compress = field(default_factory=zlib.compressobj)
    _inflater: zlib._Decompress = field(default_factory=zlib.decompressobj)

    def send(
        self, header: dict[str, object], body: bytes | memoryview = b"", *, more: bool = False
    ) -> None:
        """Send one frame; with ``more`` it may wait for the next one, and go out with it.

        After one that failed nothing more can be sent: the stream of headers has a gap.

        Raises:
            ProtocolBroken: the other side is gone.
        """
        if body:
            header = {**header, "body": len(body)}
        text = json.dumps(header, ensure_ascii=False).encode()
        try:
            with self._sending:
                encoded, length = self._packed(text)
                self.writer.write(_LENGTH.pack(length) + encoded)
                if body:
                    self.writer.write(body)
                if not more:
                    self.writer.flush()
                self.sent += _LENGTH.size + len(encoded) + len(body)
        except (OSError, ValueError) as error:
            raise ProtocolBroken("the other side closed the connection") from error

    def receive(self) -> Frame | None:
        """The next frame, or None at the end of the stream.

        Raises:
            ProtocolBroken: the stream ends within a frame, or holds something else.
        """
        start = self.reader.read(_LENGTH.size)
        if not start:
            return None
        if len(start) < _LENGTH.size:
            raise ProtocolBroken("the connection ended within a message")
        (length,) = _LENGTH.unpack(start)
        compressed, length = length & _COMPRESSED, length & ~_COMPRESSED
        if length > MOST_HEADER:
            raise ProtocolBroken(
                "the other side does not speak the protocol of nonevent",
                context=(f"it began with {start!r}",),
            )
        try:
            text = self._exactly(length)
            header = json.loads(self._unpacked(text) if compressed else text)
        except (ValueError, RecursionError) as error:
            raise ProtocolBroken(f"a message is not JSON: {error}") from error
        if not isinstance(header, dict):
            raise ProtocolBroken("a message is not a JSON object")
        size = header.pop("body", 0)
        if type(size) is not int or not 0 <= size <= MOST_BODY:
            raise ProtocolBroken(f"a message announces a body of {size!r} bytes")
        return Frame(header, self._exactly(size))

    def _exactly(self, count: int) -> bytes:
        data = self.reader.read(count) if count else b""
        if len(data) < count:
            raise ProtocolBroken("the connection ended within a message")
        return data

    def _packed(self, encoded: bytes) -> tuple[bytes, int]:
        """A header as it travels, and the length that announces it."""
        if len(encoded) < _SHORT:
            return encoded, len(encoded)
        packed = self._deflater.compress(encoded) + self._deflater.flush(zlib.Z_SYNC_FLUSH)
        return packed, len(packed) | _COMPRESSED

    def _unpacked(self, packed: bytes) -> bytes:
        """The header in what travelled.

        Raises:
            ProtocolBroken: it is none, or longer than a header may be.
        """
        try:
            text = self._inflater.decompress(packed, MOST_HEADER)
        except zlib.error as error:
            raise ProtocolBroken(f"a message cannot be decompressed: {error}") from error
        if self._inflater.unconsumed_tail:
            raise ProtocolBroken("a message is longer than it may be")
        return text
