"""One probe: what an answer is worth."""

from __future__ import annotations

import socket
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from test_plan import manifest

from nonevent.agent import probe
from nonevent.model.service import Health

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

NAMES = probe.names_of(42, manifest(42))
HEALTH = Health(path="/healthz", host="shop.example")


@contextmanager
def server(path: Path, act: Callable[[socket.socket], object]) -> Iterator[None]:
    """A socket that does one thing with each connection."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        ending = threading.Event()

        def serve() -> None:
            while not ending.is_set():
                client, _ = listener.accept()
                with client:
                    if not ending.is_set():
                        act(client)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield
        finally:
            ending.set()
            with socket.socket(socket.AF_UNIX) as last:
                last.connect(str(path))
            thread.join(10)


def answering(text: bytes) -> Callable[[socket.socket], object]:
    """A server that reads a request and says this."""

    def act(client: socket.socket) -> None:
        client.recv(65536)
        client.sendall(text)

    return act


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", ""),
        (b"HTTP/1.1 204 No Content\r\n\r\n", ""),
        (b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n", ""),
        (b"HTTP/1.1 200 OK\r\nX-Nonevent-Release: 42\r\n\r\n", ""),
        (b"HTTP/1.1 200 OK\r\nX-Nonevent-Release: 41\r\n\r\n", "answered as release 41"),
        (b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n", "answered 500"),
        (b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n", "answered 404"),
        (b"", "closed the connection without"),
        (b"SSH-2.0-OpenSSH\r\n", "broke off"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok", "broke off"),
    ],
)
def test_an_answer_is_judged(tmp_path: Path, text: bytes, words: str) -> None:
    """Good is a whole answer below 400 that does not name another release."""
    with server(tmp_path / "web.sock", answering(text)):
        complaint = probe.probe_socket(tmp_path / "web.sock", HEALTH).complaint(NAMES)
    assert complaint.startswith(words)
    assert bool(complaint) == bool(words)


def test_the_request_is_the_apps_own(tmp_path: Path) -> None:
    """The app sees its own host name, as behind a proxy that speaks HTTPS."""
    seen: list[bytes] = []

    def act(client: socket.socket) -> None:
        seen.append(client.recv(65536))
        client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    with server(tmp_path / "web.sock", act):
        probe.probe_socket(tmp_path / "web.sock", HEALTH)
    lines = seen[0].split(b"\r\n")
    assert lines[0] == b"GET /healthz HTTP/1.1"
    assert b"Host: shop.example" in lines
    assert b"X-Forwarded-Proto: https" in lines


def test_silence_ends_at_the_limit(tmp_path: Path) -> None:
    """A server that accepts and says nothing does not hold up the probe."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "mute.sock"))
        listener.listen()
        answer = probe.probe_socket(tmp_path / "mute.sock", HEALTH, limit=0.2)
    assert answer.complaint(NAMES) == "did not answer in time"


def test_a_trickle_ends_at_the_limit(tmp_path: Path) -> None:
    """An answer whose body never ends does not hold up the probe."""
    ended = threading.Event()

    def act(client: socket.socket) -> None:
        client.recv(65536)
        client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        try:
            while not ended.wait(0.02):
                client.sendall(b".")
        except OSError:
            return

    with server(tmp_path / "web.sock", act):
        answer = probe.probe_socket(tmp_path / "web.sock", HEALTH, limit=0.3)
        ended.set()
    assert answer.complaint(NAMES) == "did not answer in time"


def test_nobody_there_is_said(tmp_path: Path) -> None:
    """No socket yet, and a socket that nobody listens on, are told apart."""
    assert probe.probe_socket(tmp_path / "no.sock", HEALTH).fault == "did not listen"
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(tmp_path / "dead.sock"))
        assert probe.probe_socket(tmp_path / "dead.sock", HEALTH).fault == "refused the connection"


def test_a_release_may_name_itself_in_several_ways() -> None:
    """Number, commit, its short form, artifact and its short form are the release's names."""
    made = manifest(42)
    assert {
        "42", made.commit, made.commit[:7], made.digest, made.digest[:8]
    } == NAMES  # fmt: skip
