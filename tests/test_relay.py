"""The relay from a Unix socket to a port, as its own process."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import stat
import threading
from typing import TYPE_CHECKING

import pytest

from nonevent.embedded.relay import listen
from nonevent.testing.load import Load
from nonevent.testing.process import WITHIN, accepts, end, front, relay, started, until
from nonevent.testing.traffic import Traffic

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextlib.contextmanager
def listening() -> Iterator[socket.socket]:
    """A listening TCP socket on a free port."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        listener.settimeout(WITHIN)
        yield listener


def accepted(listener: socket.socket) -> socket.socket:
    """The next connection."""
    connection, _ = listener.accept()
    connection.settimeout(WITHIN)
    return connection


def near(path: Path) -> socket.socket:
    """A connection to the relay."""
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(WITHIN)
    connection.connect(str(path))
    return connection


def all_of(connection: socket.socket) -> bytes:
    """All until the end."""
    data = b""
    while more := connection.recv(65536):
        data += more
    return data


def test_bytes_pass_both_ways_and_each_end_apart(tmp_path: Path) -> None:
    """Five megabytes arrive, the end of one direction is passed on, and the other stays open."""
    path = tmp_path / "web-1.sock"
    body = os.urandom(5_000_000)
    seen: list[bytes] = []

    def answer(listener: socket.socket) -> None:
        with accepted(listener) as server:
            seen.append(all_of(server))
            server.sendall(body[::-1])

    with listening() as listener, relay(path, listener.getsockname()[1]), near(path) as client:
        server = threading.Thread(target=answer, args=(listener,))
        server.start()
        client.sendall(body)
        client.shutdown(socket.SHUT_WR)
        assert all_of(client) == body[::-1]
        server.join(WITHIN)
    assert seen == [body]


def test_a_client_that_is_gone_frees_the_app(tmp_path: Path) -> None:
    """What was sent arrives, and then the app sees the end, though it has not answered."""
    path = tmp_path / "web-1.sock"
    with listening() as listener, relay(path, listener.getsockname()[1]) as process:
        with near(path) as client:
            client.sendall(b"goodbye")
        with accepted(listener) as server:
            assert all_of(server) == b"goodbye"
            assert end(process) == 0


def test_a_port_that_refuses_closes_the_client_at_once(tmp_path: Path) -> None:
    """Nobody waits for an app that does not listen."""
    with listening() as listener:
        port = listener.getsockname()[1]
    path = tmp_path / "web-1.sock"
    with relay(path, port), near(path) as client:
        assert client.recv(1) == b""


def test_the_socket_is_for_owner_and_group(tmp_path: Path) -> None:
    """The mode is 660 from the first moment, whatever the umask is."""
    path = tmp_path / "web-1.sock"
    before = os.umask(0)
    try:
        listen(str(path)).close()
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o660


def test_a_dead_socket_is_replaced_and_a_live_one_is_not(tmp_path: Path) -> None:
    """What a crash left is removed; a socket that somebody listens on, or a file, never is."""
    path = tmp_path / "web-1.sock"
    listen(str(path)).close()
    with listen(str(path)), pytest.raises(FileExistsError, match="another process listens"):
        listen(str(path))
    file = tmp_path / "notes.txt"
    file.write_text("mine")
    with pytest.raises(FileExistsError, match="is not a socket"):
        listen(str(file))
    assert file.read_text() == "mine"


def test_a_socket_in_use_has_its_own_status(tmp_path: Path) -> None:
    """A second relay on the same socket ends with 98, and the first goes on."""
    path = tmp_path / "web-1.sock"
    with listening() as listener, relay(path, listener.getsockname()[1]):
        with started(
            "nonevent.embedded.relay", "--listen", str(path), "--to", "127.0.0.1:1"
        ) as two:
            assert two.wait(WITHIN) == 98
            assert two.stderr is not None
            assert b"another process listens on" in two.stderr.read()
        assert accepts(path)


def test_term_finishes_open_connections(tmp_path: Path) -> None:
    """After SIGTERM the socket is gone, the open connection is carried to its end, status 0."""
    path = tmp_path / "web-1.sock"
    with listening() as listener, relay(path, listener.getsockname()[1]) as process:
        with near(path) as client:
            client.sendall(b"question")
            with accepted(listener) as server:
                process.send_signal(signal.SIGTERM)
                until(lambda: not path.exists())
                assert server.recv(100) == b"question"
                server.sendall(b"answer")
            assert all_of(client) == b"answer"
        assert process.wait(WITHIN) == 0


def test_a_socket_of_another_process_is_left(tmp_path: Path) -> None:
    """A relay whose socket was replaced does not remove the new one."""
    path = tmp_path / "web-1.sock"
    with listening() as listener, relay(path, listener.getsockname()[1]) as process:
        path.unlink()
        with listen(str(path)):
            assert end(process) == 0
            assert path.exists()


def test_an_app_on_a_port_loses_nothing_behind_front_and_relay(tmp_path: Path) -> None:
    """Front, relay and an app on a port answer a mixed load in full."""
    path = tmp_path / "web-1.sock"
    with listening() as listener:
        port = listener.getsockname()[1]
    with (
        started("nonevent.testing.app", "--port", str(port), "--release", "7"),
        relay(path, port),
        front(path) as (_, public),
    ):
        until(lambda: answers(port))
        traffic = Traffic(url=f"http://127.0.0.1:{public}", rate=150, slow="/slow?s=0.2")
        with Load(traffic) as load:
            load.wait(answered=200)
    assert load.report.lost == {}, str(load.report)
    assert load.report.releases == {"7": load.report.sent}


def answers(port: int) -> bool:
    """Whether a process listens on the port."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
