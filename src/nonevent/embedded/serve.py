"""Accept connections until told to stop, then finish those that are open."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import signal
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Coroutine

    Answer = Callable[[socket.socket], Coroutine[None, None, None]]

BACKLOG = 2048
"""Connections that may wait to be accepted; the kernel caps it at ``net.core.somaxconn``."""
AT_ONCE = 64
"""Connections accepted before the open ones get their turn."""
PAUSE = 0.1
"""Seconds without accepting after the system ran out of file descriptors or memory."""


async def serve(
    listener: socket.socket,
    answer: Answer,
    *,
    stopping: Callable[[], None],
    limit: float,
    greeting: str,
) -> None:
    """Answer each connection in a task of its own until SIGTERM or SIGINT.

    The greeting is said once signals are heeded: whoever waits for it may stop us in good order.
    Then ``stopping`` is called, connections that the kernel has already taken are still answered,
    and what is open has ``limit`` seconds to finish before it is cut.
    """
    loop = asyncio.get_running_loop()
    told = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.set)
    door = _Door(listener, answer)
    door.open()
    say(greeting)
    await told.wait()
    door.close()
    stopping()
    if door.tasks:
        await asyncio.wait(door.tasks, timeout=limit)
    rest = tuple(door.tasks)
    for task in rest:
        task.cancel()
    await asyncio.gather(*rest, return_exceptions=True)


class _Door:
    """Begins a task for each connection while it is open."""

    def __init__(self, listener: socket.socket, answer: Answer) -> None:
        listener.setblocking(False)
        self.tasks: set[asyncio.Task[None]] = set()
        self._listener = listener
        self._answer = answer
        self._loop = asyncio.get_running_loop()
        self._closed = False

    def open(self) -> None:
        if not self._closed:
            self._loop.add_reader(self._listener, self._accept)

    def close(self) -> None:
        """Begin what is queued, and take no more."""
        self._closed = True
        self._loop.remove_reader(self._listener)
        with contextlib.suppress(OSError):
            while True:
                self._begin()
        self._listener.close()

    def _begin(self) -> None:
        connection, _ = self._listener.accept()
        task = self._loop.create_task(self._answer(connection))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def _accept(self) -> None:
        try:
            for _ in range(AT_ONCE):
                self._begin()
        except (BlockingIOError, ConnectionAbortedError):
            pass
        except OSError as error:
            say(f"cannot accept a connection: {error.strerror}")
            self._loop.remove_reader(self._listener)
            self._loop.call_later(PAUSE, self.open)


def raise_file_limit() -> None:
    """Let this process open as many files as it may: each request takes two."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def say(sentence: str) -> None:
    """A line on stderr, with the time in UTC."""
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    print(f"{stamp} {sentence}", file=sys.stderr, flush=True)  # noqa: T201
