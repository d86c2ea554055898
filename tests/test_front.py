"""The embedded front: what it carries, between a plain client and a real server."""

from __future__ import annotations

import hashlib
import http.client
import random
import socket
import time
from typing import TYPE_CHECKING

import h11
import pytest

from nonevent.embedded.headers import for_app
from nonevent.testing.process import WITHIN, app, front
from nonevent.testing.scripted import all_of, answers, ask, client, head_of, scripted

if TYPE_CHECKING:
    from pathlib import Path

GET = b"GET / HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def test_headers_that_the_app_gets(tmp_path: Path) -> None:
    """Host stays, the forwarded ones are set, hop-by-hop ones and what they name are dropped."""
    seen: list[bytes] = []

    def act(connection: socket.socket) -> None:
        seen.append(head_of(connection))
        connection.sendall(
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close, X-Hop\r\n"
            b"X-Hop: 1\r\nKeep-Alive: timeout=5\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n\r\nok"
        )

    with scripted(tmp_path, act) as port:
        answer = ask(
            port,
            b"GET /a?b=c HTTP/1.1\r\nHost: shop.example\r\nX-Forwarded-For: 10.1.1.1\r\n"
            b"Connection: X-Private, close\r\nX-Private: 1\r\nTE: trailers\r\nCookie: c=1\r\n\r\n",
        )
    head = seen[0].decode().lower().split("\r\n")
    assert head[0] == "get /a?b=c http/1.1"
    assert "host: shop.example" in head
    assert "x-forwarded-for: 10.1.1.1, 127.0.0.1" in head
    assert "x-forwarded-proto: http" in head
    assert "x-forwarded-host: shop.example" in head
    assert "connection: close" in head
    assert "cookie: c=1" in head
    assert not [line for line in head if line.startswith(("x-private", "te:"))]
    assert b"Set-Cookie: a=1\r\nSet-Cookie: b=2\r\n" in answer
    assert b"X-Hop" not in answer
    assert b"Keep-Alive" not in answer
    assert answer.endswith(b"\r\n\r\nok")


CLAIMS = h11.Request(
    method="GET", target="/",
    headers=[("Host", "shop"), ("X-Forwarded-Proto", "https"), ("X-Forwarded-Host", "bank")],
)  # fmt: skip


@pytest.mark.parametrize(
    ("peer", "proto", "host"),
    [
        (b"127.0.0.1", b"https", b"bank"),
        (b"::1", b"https", b"bank"),
        (b"::ffff:127.0.0.1", b"https", b"bank"),
        (b"10.0.0.7", b"http", b"shop"),
        (b"::ffff:10.0.0.7", b"http", b"shop"),
    ],
)
def test_only_a_proxy_on_this_machine_is_believed(peer: bytes, proto: bytes, host: bytes) -> None:
    """A visitor from elsewhere cannot claim a scheme or a host by X-Forwarded-*."""
    headers = dict(for_app(CLAIMS, peer=peer, local=b"shop:8000"))
    assert headers[b"X-Forwarded-Proto"] == proto
    assert headers[b"X-Forwarded-Host"] == host


def test_a_large_upload_arrives_whole_in_both_framings(tmp_path: Path) -> None:
    """An upload of 20 MB has the same digest at the app, with a length and in chunks."""
    body = random.Random(1).randbytes(20_000_000)
    expected = hashlib.sha256(body).hexdigest().encode()
    path = tmp_path / "web.sock"
    with app(path, "1"), front(path) as (_, port):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=WITHIN)
        for sent in (
            body,
            (body[start : start + 70_001] for start in range(0, 20_000_000, 70_001)),
        ):
            connection.request("POST", "/echo", body=sent)
            answer = connection.getresponse().read()
            assert expected in answer
        connection.close()


def resident(pid: int) -> int:
    """Memory of a process in KB."""
    with open(f"/proc/{pid}/status") as lines:  # noqa: PTH123
        return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


def test_a_download_nobody_reads_is_not_held_in_memory(tmp_path: Path) -> None:
    """A client that stops reading 500 MB stops the app, and the front stays small."""
    path = tmp_path / "web.sock"
    with app(path, "1"), front(path) as (process, port):
        before = resident(process.pid)
        with client(port) as connection:
            connection.sendall(b"GET /large?size=500000000 HTTP/1.1\r\nHost: a\r\n\r\n")
            head_of(connection)
            sizes = [resident(process.pid)]
            while len(sizes) < 50 or sizes[-1] > sizes[-25]:
                sizes.append(resident(process.pid))
                assert sizes[-1] - before < 8_000


def test_a_large_download_arrives_whole(tmp_path: Path) -> None:
    """A download of 50 MB has the length that the app announced."""
    path = tmp_path / "web.sock"
    with app(path, "1"), front(path) as (_, port):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=WITHIN)
        connection.request("GET", "/large?size=50000000")
        assert len(connection.getresponse().read()) == 50_000_000
        connection.close()


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (CHUNKED + b"2\r\nab\r\n1\r\nc\r\n0\r\n\r\n", b"abc"),
        (b"HTTP/1.1 200 OK\r\n\r\nuntil the end", b"until the end"),
        (b"HTTP/1.0 200 OK\r\n\r\nold", b"old"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
        (b"HTTP/1.1 304 Not Modified\r\nETag: x\r\nContent-Length: 7\r\n\r\n", b""),
        (b"HTTP/1.1 500 Oops\r\nContent-Length: 3\r\n\r\nbad", b"bad"),
    ],
)  # fmt: skip
def test_every_framing_of_an_answer_keeps_the_connection(
    tmp_path: Path, answer: bytes, body: bytes
) -> None:
    """Two requests on one client connection get the body, however the app ends it."""
    with scripted(tmp_path, answers(answer)) as port:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=WITHIN)
        used = []
        for _ in range(2):
            connection.request("GET", "/")
            assert connection.getresponse().read() == body
            used.append(connection.sock)
        connection.close()
    assert used[0] is used[1] is not None


def test_head_has_the_length_and_no_body(tmp_path: Path) -> None:
    """The answer to HEAD keeps its Content-Length, and the next request is answered too."""
    with scripted(tmp_path, answers(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")) as port:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=WITHIN)
        for _ in range(2):
            connection.request("HEAD", "/")
            answer = connection.getresponse()
            assert (answer.getheader("Content-Length"), answer.read()) == ("5", b"")
        connection.close()


def test_early_hints_reach_the_client(tmp_path: Path) -> None:
    """A 103 is passed on before the final answer, but not to an HTTP/1.0 client."""
    hints = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n"
    with scripted(tmp_path, answers(hints + OK)) as port:
        assert ask(port, GET).startswith(b"HTTP/1.1 103 ")
        assert ask(port, b"GET / HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.1 200 ")


def test_expect_100_continue_goes_through(tmp_path: Path) -> None:
    """The client hears 100 from the app itself, and only then sends its body."""
    path = tmp_path / "web.sock"
    with app(path, "1"), front(path) as (_, port), client(port) as connection:
        connection.sendall(
            b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n"
            b"Expect: 100-continue\r\nConnection: close\r\n\r\n"
        )
        assert head_of(connection).startswith(b"HTTP/1.1 100 ")
        connection.sendall(b"body")
        assert hashlib.sha256(b"body").hexdigest().encode() in all_of(connection)


def test_expect_refused_ends_the_connection(tmp_path: Path) -> None:
    """A final answer instead of 100 reaches the client, who is told not to go on here."""
    refusal = b"HTTP/1.1 417 No\r\nContent-Length: 0\r\n\r\n"
    with scripted(tmp_path, answers(refusal)) as port, client(port) as connection:
        connection.sendall(
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n"
        )
        answer = all_of(connection)
    assert answer.startswith(b"HTTP/1.1 417 ")
    assert b"Connection: close" in answer


def test_an_early_answer_is_not_lost_in_a_large_upload(tmp_path: Path) -> None:
    """An app that answers 413 and closes without reading is heard, ten times of ten."""
    refusal = b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig"
    body = bytes(5_000_000)
    with scripted(tmp_path, answers(refusal)) as port:
        for _ in range(10):
            request = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body)
            with client(port) as connection:
                connection.sendall(request + body)
                assert head_of(connection).startswith(b"HTTP/1.1 413 ")
                assert connection.recv(3) == b"big"
                connection.sendall(GET)
                assert head_of(connection).startswith(b"HTTP/1.1 413 ")


def test_an_answer_streams_while_the_request_still_does(tmp_path: Path) -> None:
    """The first byte of an answer arrives before the last byte of the request is sent."""

    def act(connection: socket.socket) -> None:
        head_of(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n")
        data = b""
        while not data.endswith(b"0\r\n\r\n"):
            data += connection.recv(100)
        connection.sendall(b"1\r\nb\r\n0\r\n\r\n")

    with scripted(tmp_path, act) as port, client(port) as connection:
        connection.sendall(
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n"
            b"Connection: close\r\n\r\n3\r\none\r\n"
        )
        head_of(connection)
        assert connection.recv(6) == b"1\r\na\r\n"
        connection.sendall(b"0\r\n\r\n")
        assert all_of(connection) == b"1\r\nb\r\n0\r\n\r\n"


def test_a_websocket_becomes_a_tunnel_with_half_close(tmp_path: Path) -> None:
    """After 101 bytes pass raw both ways, and the end of one side leaves the other open."""
    seen: list[bytes] = []

    def act(connection: socket.socket) -> None:
        seen.append(head_of(connection))
        connection.sendall(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: x\r\n\r\nearly"
        )
        seen.append(all_of(connection))
        connection.sendall(b"after the end")

    with scripted(tmp_path, act) as port, client(port) as connection:
        connection.sendall(
            b"GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nfirst"
        )
        head = head_of(connection).lower()
        assert head.startswith(b"http/1.1 101 ")
        assert b"upgrade: websocket\r\n" in head
        assert b"connection: upgrade\r\n" in head
        assert connection.recv(5) == b"early"
        connection.sendall(b" second")
        connection.shutdown(socket.SHUT_WR)
        assert all_of(connection) == b"after the end"
    assert b"upgrade: websocket\r\n" in seen[0].lower()
    assert seen[1] == b"first second"


def test_http2_in_clear_text_is_not_passed_on(tmp_path: Path) -> None:
    """`Upgrade: h2c` is dropped, and the request is answered as HTTP/1.1."""
    seen: list[bytes] = []

    def act(connection: socket.socket) -> None:
        seen.append(head_of(connection).lower())
        connection.sendall(OK)

    with scripted(tmp_path, act) as port, client(port) as connection:
        connection.sendall(
            b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\n"
            b"Connection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AA\r\n\r\n"
        )
        assert head_of(connection).startswith(b"HTTP/1.1 200 ")
    assert b"upgrade" not in seen[0]
    assert b"http2" not in seen[0]


def test_a_socket_that_is_not_there_yet_is_waited_for(tmp_path: Path) -> None:
    """A request that comes before the socket is answered once it is there."""
    path = tmp_path / "web.sock"
    with front(path) as (_, port), client(port) as connection:
        connection.sendall(GET)
        with app(path, "1"):
            assert all_of(connection).startswith(b"HTTP/1.1 200 ")


def test_a_full_queue_is_waited_for(tmp_path: Path) -> None:
    """A connect that fails with EAGAIN is tried again until the app accepts."""
    path = tmp_path / "web.sock"
    with (
        socket.socket(socket.AF_UNIX) as listener,
        socket.socket(socket.AF_UNIX) as filler,
        socket.socket(socket.AF_UNIX) as probe,
    ):
        listener.bind(str(path))
        listener.listen(0)
        filler.connect(str(path))
        probe.setblocking(False)
        with pytest.raises(BlockingIOError):
            probe.connect(str(path))
        with front(path) as (_, port), client(port) as connection:
            connection.sendall(GET)
            connection.settimeout(0.3)
            with pytest.raises(TimeoutError):
                connection.recv(1)
            connection.settimeout(WITHIN)
            listener.accept()[0].close()
            accepted, _ = listener.accept()
            with accepted:
                answers(OK)(accepted)
            assert all_of(connection).endswith(b"ok")


def test_a_socket_that_does_not_answer_is_502(tmp_path: Path) -> None:
    """Without an app the client gets 502 within about two seconds, and hears of no path."""
    path = tmp_path / "web.sock"
    with front(path) as (_, port):
        began = time.monotonic()
        answer = ask(port, GET)
    assert answer.startswith(b"HTTP/1.1 502 Bad Gateway\r\n")
    assert b"\r\n\r\nthe app does not answer" in answer
    assert str(tmp_path).encode() not in answer
    assert answer.count(b"\n", answer.index(b"\r\n\r\n") + 4) == 1
    assert 1 < time.monotonic() - began < 4


def test_an_app_that_closes_without_an_answer_is_502(tmp_path: Path) -> None:
    """No byte of an answer, and then the end, is 502 and not a silent close."""
    with scripted(tmp_path, answers(b"")) as port:
        assert ask(port, GET).startswith(b"HTTP/1.1 502 ")


def test_an_answer_that_is_not_http_is_502(tmp_path: Path) -> None:
    """What does not parse is never passed on."""
    with scripted(tmp_path, answers(b"hello\r\n\r\n")) as port:
        assert ask(port, GET).startswith(b"HTTP/1.1 502 ")


@pytest.mark.parametrize("request_line", [b"GET / HTTP/1.1", b"GET / HTTP/1.0"])
@pytest.mark.parametrize(
    "part",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
        CHUNKED + b"4\r\nhalf\r\n",
    ],
)
def test_half_an_answer_is_never_completed(
    tmp_path: Path, part: bytes, request_line: bytes
) -> None:
    """Where the app dies within its answer the client sees its connection break."""
    with scripted(tmp_path, answers(part)) as port, client(port) as connection:
        connection.sendall(request_line + b"\r\nHost: a\r\n\r\n")
        with pytest.raises(ConnectionResetError):
            all_of(connection)


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 140_000 + b"\r\n\r\n", 431),
        (b"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n", 405),
    ],
)
def test_a_malformed_request_is_refused(tmp_path: Path, request_bytes: bytes, status: int) -> None:
    """What is not one clear HTTP/1.1 request gets an error status and never a second reading."""

    def act(connection: socket.socket) -> None:
        all_of(connection)

    with scripted(tmp_path, act) as port:
        assert ask(port, request_bytes).startswith(b"HTTP/1.1 %d " % status)


def test_pipelined_requests_are_answered_in_order(tmp_path: Path) -> None:
    """Two requests sent at once get two answers, in their order."""

    def act(connection: socket.socket) -> None:
        target = head_of(connection).split()[1]
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n" + target)

    with scripted(tmp_path, act) as port:
        answer = ask(port, b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\n" + GET.replace(b" / ", b" /2 "))
    assert [part[:2] for part in answer.split(b"\r\n\r\n")[1:]] == [b"/1", b"/2"]
