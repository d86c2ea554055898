"""Sending a layer: its list by pieces, then the files that the host does not have."""

from __future__ import annotations

import zlib
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nonevent.build.artifact import verify
from nonevent.build.zstd import compressed
from nonevent.errors import ArtifactInvalid, FormatInvalid
from nonevent.model import pieces
from nonevent.model.parse import Table, parse
from nonevent.model.protocol import CHUNK

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from nonevent.build.artifact import Artifact
    from nonevent.model.protocol import Channel
    from nonevent.transport.base import Connection

FAST = 1
"""The level of zlib. On hosts without zstd this side is what takes longest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a host wants of a layer."""

    numbers: frozenset[int] | None
    """Entries by number; None for all."""
    size: int
    """How many bytes they have."""
    zstd: bool
    """Whether the host can unpack zstd."""


def ship(
    connection: Connection,
    artifact: Artifact,
    name: str,
    on_event: Callable[[dict[str, object]], None],
) -> int:
    """Send what the host lacks of a layer; returns the bytes that went out for it.

    Raises:
        ArtifactInvalid: found out here or on the host.
        DiskFull: the host has no room.
    """
    before = connection.channel.sent
    try:
        asked = _agree(connection, artifact, name)
        encoding = "zstd" if asked.zstd else "plain" if connection.near else "zlib"
        connection.channel.send({"request": "files", "encoding": encoding}, more=True)
        # Where the file cannot be read further, the host sees an early end, and keeps nothing.
        with suppress(ArtifactInvalid):
            _send(connection.channel, _encoded(artifact, name, asked, encoding))
        connection.channel.send({"request": "data"})
        connection.answer(on_event=on_event)
    except (ArtifactInvalid, FormatInvalid):
        # Reading all of the file says best what is wrong in it.
        verify(artifact.path)
        raise
    return connection.channel.sent - before


def _send(channel: Channel, encoded: Iterator[bytes]) -> None:
    waiting = bytearray()
    for data in encoded:
        # What is small shares a frame.
        waiting += data
        while len(waiting) >= CHUNK:
            channel.send({"request": "data"}, bytes(waiting[:CHUNK]), more=True)
            del waiting[:CHUNK]
    if waiting:
        channel.send({"request": "data"}, bytes(waiting), more=True)


def _agree(connection: Connection, artifact: Artifact, name: str) -> Asked:
    """Let the host have the layer's list, and hear what it wants."""
    ref, text = artifact.manifest.layer(name), artifact.text(name)
    assert ref  # noqa: S101  (the name comes from the manifest)
    raw = {"name": ref.name, "digest": ref.digest, "files": ref.files, "size": ref.size}
    rows = pieces.rows_in_a_piece(ref.files)
    cut = pieces.cut(text, rows)
    offer: dict[str, object] = {"request": "offer", "layer": raw, "rows": rows}
    result = connection.request(offer, b"".join(map(pieces.name, cut)))
    lacking = parse(
        "the answer to offer", result, lambda table: table.numbers("lacking", below=len(cut))
    )
    packed = zlib.compress(pieces.join(tuple(cut[number] for number in lacking)), FAST)
    result = connection.request({"request": "list"}, packed)

    def asked(table: Table) -> Asked:
        every = table.take("wanted") is None
        return Asked(
            numbers=None if every else frozenset(table.numbers("wanted", below=ref.files)),
            size=table.number("size"),
            zstd=table.flag("zstd"),
        )

    return parse("the answer to list", result, asked)


def _encoded(artifact: Artifact, name: str, asked: Asked, encoding: str) -> Iterator[bytes]:
    """What the host asked for, as it travels."""
    if asked.numbers is None and encoding == "zstd" and (packed := artifact.packed(name)):
        return packed
    members = artifact.members(name, asked.numbers)
    match encoding:
        case "zstd":
            return compressed(members, asked.size)
        case "zlib":
            return _deflated(members)
        case _:
            return members


def _deflated(members: Iterator[bytes]) -> Iterator[bytes]:
    compressor = zlib.compressobj(FAST)
    for data in members:
        yield compressor.compress(data)
    yield compressor.flush()
