"""The framed protocol: whole messages or one clear error."""

from __future__ import annotations

import io
import os
import struct
import threading
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nonevent.errors import ProtocolBroken
from nonevent.model.protocol import MOST_BODY, MOST_HEADER, Channel, Frame

values = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=9)
headers = st.dictionaries(st.text(max_size=9).filter(lambda key: key != "body"), values, max_size=4)
frames = st.builds(Frame, headers, st.binary(max_size=99))


def encoded(*sent: Frame) -> bytes:
    """Messages as they travel."""
    stream = io.BytesIO()
    channel = Channel(io.BytesIO(), stream)
    for frame in sent:
        channel.send(frame.header, frame.body)
    return stream.getvalue()


def channel(data: bytes) -> Channel:
    """A channel on which these bytes arrive."""
    return Channel(io.BytesIO(data), io.BytesIO())


@given(st.lists(frames, max_size=4))
def test_messages_survive_the_way(sent: list[Frame]) -> None:
    """Each message arrives whole and apart from the next, and then the stream ends."""
    arriving = channel(encoded(*sent))
    for frame in sent:
        assert arriving.receive() == frame
    assert arriving.receive() is None


@given(frames, st.data())
def test_a_message_that_breaks_off_is_an_error(sent: Frame, data: st.DataObject) -> None:
    """Cut off anywhere, a message is never taken for a whole one."""
    whole = encoded(sent)
    cut = data.draw(st.integers(1, len(whole) - 1))
    with pytest.raises(ProtocolBroken, match="ended within"):
        channel(whole[:cut]).receive()


@given(st.binary(min_size=1, max_size=200))
def test_garbage_is_an_error_of_ours(data: bytes) -> None:
    """Whatever arrives, nothing but an error of ours is raised."""
    arriving = channel(data)
    try:
        while arriving.receive():
            pass
    except ProtocolBroken:
        pass


def raw(header: bytes, body: bytes = b"") -> bytes:
    """A message with any bytes as its header."""
    return struct.pack(">I", len(header)) + header + body


def compressed(header: bytes) -> bytes:
    """A message with any bytes as its compressed header."""
    packed = zlib.compress(header)
    return struct.pack(">I", len(packed) | 1 << 31) + packed


def test_a_long_header_travels_compressed() -> None:
    """A list of packages takes a fraction of its length, and arrives as it was sent."""
    sent = Frame({"packages": {f"package-{number}": "1.0" for number in range(200)}}, b"body")
    data = encoded(sent)
    assert len(data) < len(str(sent.header)) / 4
    assert channel(data).receive() == sent


def test_what_was_said_before_costs_little() -> None:
    """A manifest that travels twice costs a few bytes the second time."""
    sent = Frame({"packages": {f"package-{number}": "1.0" for number in range(200)}})
    assert len(encoded(sent, sent)) < len(encoded(sent)) + 100


def test_what_may_wait_goes_out_with_the_next() -> None:
    """A message that another one follows at once is written together with it."""
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    with os.fdopen(reading, "rb") as reader, os.fdopen(writing, "wb") as writer:
        sender = Channel(reader, writer)
        sender.send({"event": "done"}, more=True)
        assert reader.read() is None
        sender.send({"event": "begun"})
        arriving = channel(reader.read())
    assert [arriving.receive() for _ in range(2)] == [
        Frame({"event": "done"}),
        Frame({"event": "begun"}),
    ]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (compressed(b'"' + b"x" * MOST_HEADER + b'"'), "longer than it may be"),
        (struct.pack(">I", 4 | 1 << 31) + b"nope", "cannot be decompressed"),
        (compressed(b"{"), "not JSON"),
        (b"Welcome to Debian\n", "does not speak the protocol"),
        (struct.pack(">I", MOST_HEADER + 1), "does not speak the protocol"),
        (raw(b"[]"), "not a JSON object"),
        (raw(b"{"), "not JSON"),
        (raw(b"[" * 200_000), "not JSON"),
        (raw(b"\xff"), "not JSON"),
        (raw(b'{"body": -1}'), "announces a body"),
        (raw(b'{"body": "7"}'), "announces a body"),
        (raw(b'{"body": true}', b"x"), "announces a body"),
        (raw(b'{"body": %d}' % (MOST_BODY + 1)), "announces a body"),
    ],
)
def test_what_is_no_message_is_refused(data: bytes, words: str) -> None:
    """A greeting of a shell, another protocol or a lying size is refused before it is read."""
    with pytest.raises(ProtocolBroken, match=words):
        channel(data).receive()


def test_an_other_side_that_is_gone_is_an_error_of_ours() -> None:
    """A closed pipe is told as what it means."""
    reading, writing = os.pipe()
    os.close(reading)
    with (
        os.fdopen(writing, "wb", 0) as writer,
        pytest.raises(ProtocolBroken, match="closed the connection"),
    ):
        Channel(io.BytesIO(), writer).send({"request": "hello"})


def test_several_threads_may_send() -> None:
    """Messages of two threads do not run into each other."""
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as reader, os.fdopen(writing, "wb") as writer:
        both = Channel(reader, writer)
        senders = [
            threading.Thread(target=lambda n=n: [both.send({"n": n}, b"x" * 99) for _ in range(99)])
            for n in (1, 2)
        ]
        for sender in senders:
            sender.start()
        got: list[Any] = [both.receive() for _ in range(198)]
        for sender in senders:
            sender.join(10)
    assert sorted(each.header["n"] for each in got) == [1] * 99 + [2] * 99
    assert {each.body for each in got} == {b"x" * 99}
