"""The embedded front as a process: its end, its limits, its start."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from nonevent.embedded.exchange import Limits
from nonevent.embedded.front import listen
from nonevent.embedded.proxy import Proxy
from nonevent.testing.process import WITHIN, app, connections, end, front, until
from nonevent.testing.scripted import Scripted, all_of, client, head_of, scripted

if TYPE_CHECKING:
    from pathlib import Path


def test_a_client_that_leaves_frees_the_app(tmp_path: Path) -> None:
    """The app sees the end of its connection when the client is gone before the answer."""
    ends: list[bytes] = []
    reached = threading.Event()

    def act(connection: socket.socket) -> None:
        head_of(connection)
        reached.set()
        ends.append(connection.recv(1))

    with scripted(tmp_path, act) as port:
        with client(port) as connection:
            connection.sendall(b"GET /poll HTTP/1.1\r\nHost: a\r\n\r\n")
            assert reached.wait(WITHIN)
        until(lambda: ends)
    assert ends == [b""]


def test_term_finishes_what_is_in_flight(tmp_path: Path) -> None:
    """After SIGTERM a slow request is answered, idle connections end, and the status is 0."""
    path = tmp_path / "web.sock"
    patient = front(path, "--finish-within", "60")
    with app(path, "1"), patient as (process, port), client(port) as idle, client(port) as slow:
        idle.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        head_of(idle)
        assert idle.recv(10) == b"release 1\n"
        slow.sendall(b"GET /slow?s=0.7 HTTP/1.1\r\nHost: a\r\n\r\n")
        until(lambda: connections(path) == 1)
        process.send_signal(signal.SIGTERM)
        assert idle.recv(1) == b""
        with pytest.raises(ConnectionRefusedError):
            client(port)
        answer = all_of(slow)
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert b"Connection: close" in answer
        assert process.wait(WITHIN) == 0


def test_connections_that_wait_when_term_comes_are_answered(tmp_path: Path) -> None:
    """What the kernel accepted for a front that was too busy to look is not reset."""
    path = tmp_path / "web.sock"
    with app(path, "1"), front(path) as (process, port), contextlib.ExitStack() as open_ones:
        process.send_signal(signal.SIGSTOP)
        waiting = [open_ones.enter_context(client(port)) for _ in range(400)]
        for connection in waiting:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGCONT)
        for connection in waiting:
            assert all_of(connection).endswith(b"release 1\n")
        assert process.wait(WITHIN) == 0


def test_term_cuts_what_does_not_finish(tmp_path: Path) -> None:
    """A request that goes on past the limit is cut, and the status is still 0."""
    path = tmp_path / "web.sock"
    reached = threading.Event()
    ends: list[bytes] = []

    def act(connection: socket.socket) -> None:
        head_of(connection)
        reached.set()
        ends.append(connection.recv(1))

    server = Scripted(path, act)
    with front(path, "--finish-within", "0.2") as (process, port), client(port) as slow:
        slow.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert reached.wait(WITHIN)
        assert end(process) == 0
        assert slow.recv(1) == b""
    server.close()
    assert ends == [b""]


def answered(limits: Limits, to: Path, sent: bytes) -> bytes:
    """What a client gets that sends this and then only waits, within the front's limits."""
    with listen("127.0.0.1", 0) as listener, client(listener.getsockname()[1]) as connection:
        connection.sendall(sent)
        proxy = Proxy(str(to), limits=limits)
        asyncio.run(asyncio.wait_for(proxy.answer(listener.accept()[0]), WITHIN))
        return all_of(connection)


def test_a_client_without_a_request_is_closed(tmp_path: Path) -> None:
    """A connection that is idle too long ends without a word, new or kept."""
    path = tmp_path / "web.sock"
    assert answered(Limits(idle=0.05), path, b"") == b""
    with app(path, "1"):
        kept = answered(Limits(idle=0.05), path, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert kept.startswith(b"HTTP/1.1 200 ")


def test_a_request_that_does_not_arrive_is_408(tmp_path: Path) -> None:
    """Headers or a body that stop half way are answered and the connection closed."""
    path = tmp_path / "web.sock"
    half = b"GET / HTTP/1.1\r\nHost: a\r\n"
    assert answered(Limits(arriving=0.05, linger=0.05), path, half).startswith(b"HTTP/1.1 408 ")
    with app(path, "1"):
        half = b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf"
        assert answered(Limits(stall=0.05, linger=0.05), path, half).startswith(b"HTTP/1.1 408 ")


def test_an_app_that_does_not_answer_is_504(tmp_path: Path) -> None:
    """An app that is silent for longer than the limit is given up."""
    path = tmp_path / "web.sock"
    with app(path, "1"):
        slow = b"GET /slow?s=0.5 HTTP/1.1\r\nHost: a\r\n\r\n"
        assert answered(Limits(answer=0.05, linger=0.05), path, slow).startswith(b"HTTP/1.1 504 ")


def test_a_client_that_does_not_read_is_cut(tmp_path: Path) -> None:
    """A download that stands still for longer than the limit is broken off."""
    path = tmp_path / "web.sock"
    with app(path, "1"), pytest.raises(ConnectionResetError):
        answered(Limits(stall=0.1), path, b"GET /large?size=50000000 HTTP/1.1\r\nHost: a\r\n\r\n")


def test_a_port_in_use_has_its_own_status(tmp_path: Path) -> None:
    """Where the port is taken the front ends with 98 and one line that names it."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        argv = (sys.executable, "-m", "nonevent.embedded.front", "--port", port, "--to", tmp_path)
        done = subprocess.run(argv, stderr=subprocess.PIPE, timeout=WITHIN, check=False)
    assert done.returncode == 98
    assert done.stderr.count(b"\n") == 1
    assert f"127.0.0.1 port {port}: Address already in use".encode() in done.stderr


def test_front_and_relay_need_little(tmp_path: Path) -> None:
    """They run from a folder with only their own packages and h11 beside the standard library."""
    import h11

    import nonevent

    package = os.path.dirname(nonevent.__file__)  # noqa: PTH120
    (tmp_path / "nonevent").mkdir()
    for name in ("__init__.py", "dataclass.py", "errors.py", "model", "embedded"):
        (tmp_path / "nonevent" / name).symlink_to(os.path.join(package, name))  # noqa: PTH118
    (tmp_path / "h11").symlink_to(os.path.dirname(h11.__file__))  # noqa: PTH120
    for module in ("front", "relay"):
        program = (
            f"import runpy, sys; sys.path.insert(0, {str(tmp_path)!r}); sys.argv[1:] = ['--help']; "
            f"runpy.run_module('nonevent.embedded.{module}', run_name='__main__')"
        )
        argv = (sys.executable, "-I", "-S", "-c", program)
        done = subprocess.run(argv, capture_output=True, timeout=WITHIN, check=False)
        assert done.returncode == 0, done.stderr
