"""Servers that do what a test says, and plain sockets to talk to a front."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING

from nonevent.testing.process import WITHIN, front

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


class Scripted:
    """A server on a Unix socket whose each connection runs a function of the test."""

    def __init__(self, path: Path, act: Callable[[socket.socket], None]) -> None:
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        self.listener.listen(16)
        self.act = act
        self.errors: list[Exception] = []
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            connection.settimeout(WITHIN)
            with connection:
                try:
                    self.act(connection)
                except (OSError, EOFError, AssertionError) as error:
                    self.errors.append(error)

    def close(self) -> None:
        """Stop, and fail where a connection did not go as the test says."""
        self.listener.shutdown(socket.SHUT_RDWR)
        self.thread.join(WITHIN)
        self.listener.close()
        if self.errors:
            raise self.errors[0]


@contextlib.contextmanager
def scripted(tmp_path: Path, act: Callable[[socket.socket], None]) -> Iterator[int]:
    """The port of a front before a server that does what the test says."""
    path = tmp_path / "web.sock"
    server = Scripted(path, act)
    try:
        with front(path) as (_, port):
            yield port
    finally:
        server.close()


def head_of(connection: socket.socket) -> bytes:
    """All up to the empty line, and nothing after it."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = connection.recv(1)
        if not more:
            raise EOFError(data)
        data += more
    return data


def all_of(connection: socket.socket) -> bytes:
    """All until the end."""
    data = b""
    while more := connection.recv(65536):
        data += more
    return data


def client(port: int) -> socket.socket:
    """A connection to the front."""
    return socket.create_connection(("127.0.0.1", port), WITHIN)


def ask(port: int, request: bytes) -> bytes:
    """All that comes back until the front closes."""
    with client(port) as connection:
        connection.sendall(request)
        return all_of(connection)


def answers(data: bytes) -> Callable[[socket.socket], None]:
    """Read a request's head and answer it so."""

    def act(connection: socket.socket) -> None:
        head_of(connection)
        connection.sendall(data)

    return act
