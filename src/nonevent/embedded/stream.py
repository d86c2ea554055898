"""Connected sockets, read and written one ready moment at a time.

Plain sockets rather than asyncio's transports, for two reasons. A wait that is cut short here
has not taken bytes from the kernel, so no request is lost with it. And a failed write leaves
what the other side said before it closed readable: an early answer to a large upload.
"""

from __future__ import annotations

import asyncio
import contextlib
import select
import socket
import struct
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

CHUNK = 64 * 1024
"""Bytes read at once, and so also held per direction of a connection."""


class Stream:
    """A connected socket. One task may receive and another send; durations are in seconds."""

    __slots__ = ("_file", "_loop", "_receiving", "_socket")

    def __init__(self, connected: socket.socket) -> None:
        connected.setblocking(False)
        self._socket = connected
        self._file = connected.fileno()
        self._loop = asyncio.get_running_loop()
        self._receiving: asyncio.Future[None] | None = None

    def take(self) -> bytes | None:
        """What has arrived: some bytes, none at the end, or None where nothing has.

        Raises:
            OSError: where the connection broke.
        """
        try:
            return self._socket.recv(CHUNK)
        except BlockingIOError:
            return None

    async def receive(self, *, within: float) -> bytes:
        """The next bytes, none at the end.

        Raises:
            TimeoutError: where nothing arrived within that time.
            OSError: where the connection broke.
        """
        while (data := self.take()) is None:
            await self.readable(within=within)
        return data

    async def readable(self, *, within: float) -> None:
        """Wait until there is something to receive, or :meth:`interrupt` is called.

        Raises:
            TimeoutError: where nothing arrived within that time.
        """
        waiter = self._receiving = self._loop.create_future()
        try:
            await self._until(waiter, self._loop.add_reader, self._loop.remove_reader, within)
        finally:
            self._receiving = None

    async def ended(self, *, within: float) -> bool:
        """Whether the next thing to happen is the end of the stream; takes no bytes."""
        await self.readable(within=within)
        with contextlib.suppress(BlockingIOError):
            return not self._socket.recv(1, socket.MSG_PEEK)
        return False

    async def send(self, data: bytes, *, within: float) -> None:
        """Send all of it; the time is that without any progress.

        Raises:
            TimeoutError: where the other side stopped reading.
            OSError: where the connection broke.
        """
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[self._socket.send(rest) :]
            except BlockingIOError:
                waiter = self._loop.create_future()
                await self._until(waiter, self._loop.add_writer, self._loop.remove_writer, within)

    def interrupt(self) -> None:
        """End a wait for bytes with a TimeoutError, as if its time were over."""
        if self._receiving is not None:
            _expire(self._receiving)

    def hung_up(self) -> bool:
        """Whether the other side can neither send nor receive any more, as the kernel knows it.

        It does for Unix sockets; a TCP peer that has closed shows only the end of its sending.
        """
        poll = select.poll()
        poll.register(self._file, 0)
        return any(event & select.POLLHUP for _, event in poll.poll(0))

    def end(self) -> None:
        """Say that nothing more will be sent; what the other side sends is still received."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Close the socket; no task may be waiting on it."""
        self._socket.close()

    def abort(self) -> None:
        """Close the socket so that a TCP client sees a reset and not an orderly end."""
        with contextlib.suppress(OSError):
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()

    async def _until(
        self,
        waiter: asyncio.Future[None],
        add: Callable[..., Any],
        remove: Callable[[int], bool],
        within: float,
    ) -> None:
        expiry = self._loop.call_later(within, _expire, waiter)
        add(self._file, _wake, waiter)
        try:
            await waiter
        finally:
            expiry.cancel()
            remove(self._file)


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


def _expire(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_exception(TimeoutError("timed out"))


async def tunnel(one: Stream, other: Stream, *, idle: float) -> None:
    """Carry bytes both ways until both sides have ended, or one is gone or silent too long.

    The end of one side is passed on while the other direction stays open.
    """
    there = asyncio.create_task(_pump(one, other, idle))
    back = asyncio.create_task(_pump(other, one, idle))
    try:
        await asyncio.wait((there, back), return_when=asyncio.FIRST_EXCEPTION)
    finally:
        there.cancel()
        back.cancel()
        await asyncio.gather(there, back, return_exceptions=True)


async def _pump(source: Stream, sink: Stream, idle: float) -> None:
    while data := await source.receive(within=idle):
        await sink.send(data, within=idle)
    if source.hung_up():
        raise ConnectionResetError
    sink.end()
