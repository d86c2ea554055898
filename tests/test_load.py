"""The load generator: that it sees every kind of loss, and counts what it must."""

from __future__ import annotations

import contextlib
import hashlib
import json
import socket
import struct
import subprocess
import sys
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from nonevent.testing.load import Load, main, traffic_from
from nonevent.testing.process import WITHIN, app, front
from nonevent.testing.report import CAUSES, Latency, Loss, Tally, report_from, spread
from nonevent.testing.traffic import Traffic

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@contextlib.contextmanager
def server(act: Callable[[socket.socket], None]) -> Iterator[str]:
    """The URL of a server whose each connection runs ``act`` in a thread of its own."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=64)
    threads: list[threading.Thread] = []

    def one(connection: socket.socket) -> None:
        connection.settimeout(WITHIN)
        with connection, contextlib.suppress(OSError):
            act(connection)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                thread = threading.Thread(target=one, args=(listener.accept()[0],))
                thread.start()
                threads.append(thread)

    accepting = threading.Thread(target=accept)
    accepting.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        accepting.join(WITHIN)
        listener.close()
        for thread in threads:
            thread.join(WITHIN)


def received(connection: socket.socket) -> bytes:
    """A request with its body."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = connection.recv(65536)
        if not more:
            return b""
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    length = 0
    for line in head.split(b"\r\n"):
        if line.lower().startswith(b"content-length:"):
            length = int(line.split(b":")[1])
    while len(body) < length:
        body += connection.recv(65536)
    return head + b"\r\n\r\n" + body


def says(answer: bytes) -> Callable[[socket.socket], None]:
    """Answer each request so, and close."""

    def act(connection: socket.socket) -> None:
        received(connection)
        connection.sendall(answer)

    return act


def resets(connection: socket.socket) -> None:
    """Take the request and reset the connection."""
    received(connection)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def hangs(connection: socket.socket) -> None:
    """Never answer."""
    while connection.recv(65536):
        pass


def echoes_wrong(connection: socket.socket) -> None:
    """Answer as if one more byte had come."""
    _, _, body = received(connection).partition(b"\r\n\r\n")
    body += b"!"
    answer = {"sha256": hashlib.sha256(body).hexdigest(), "length": len(body)}
    data = json.dumps(answer).encode()
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(data), data))


def traffic(url: str, **changes: object) -> Traffic:
    """A short load of simple requests."""
    values: dict[str, object] = {"rate": 100.0, "duration": 0.1, "mix": (("fast", 1),),
                                 "timeout": 0.3, "largest": 5000}  # fmt: skip
    return Traffic(url=url, **(values | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize("mode", ["new", "keepalive"])
@pytest.mark.parametrize(
    ("act", "mix", "cause", "detail"),
    [
        (resets, "fast", "reset", "Connection reset by peer"),
        (says(b""), "fast", "closed", "closed before the answer"),
        (says(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel"), "fast", "short", "closed"),
        (says(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"), "fast", "short", "closed"),
        (says(b"HTTP/1.1 500 Oops\r\nContent-Length: 3\r\n\r\nbad"), "fast", "status", "500 bad"),
        (says(b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n"), "fast", "status", "302"),
        (says(b"nonsense\r\n\r\n"), "fast", "protocol", ""),
        (says(OK), "upload", "echo", "is not JSON"),
        (echoes_wrong, "upload", "echo", "sent "),
        (hangs, "fast", "timeout", ""),
    ],
)
def test_a_loss_is_seen(
    act: Callable[[socket.socket], None], mix: str, cause: str, detail: str, mode: str
) -> None:
    """Each way of failing a request is counted under its cause, for every request sent."""
    with server(act) as url, Load(traffic(url, mode=mode, mix=((mix, 1),))) as load:
        load.wait_for_end(within=WITHIN)
    report = load.report
    assert report.sent == 10
    assert report.lost == {cause: 10}, str(report)
    assert report.answered == 0
    assert cause in CAUSES
    assert detail in report.losses[0].detail
    assert report.losses[0].kept is (mode == "keepalive")
    assert len(report.losses) == 10


def test_a_refused_connection_is_a_loss() -> None:
    """Nobody listening is `connect`, and the command's exit status is 1."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with Load(traffic(f"http://127.0.0.1:{port}")) as load:
        load.wait_for_end(within=WITHIN)
    assert load.report.lost == {"connect": 10}
    assert load.exit_status == 1


def test_a_connection_closed_while_idle_is_counted_apart() -> None:
    """An end that was there before a request was written loses nothing, and is not hidden."""

    def act(connection: socket.socket) -> None:
        received(connection)
        connection.sendall(OK)

    short = traffic("", mode="keepalive", connections=1, rate=20, duration=0.5)
    with server(act) as url, Load(replace(short, url=url)) as load:
        load.wait_for_end(within=WITHIN)
    assert load.report.lost == {}
    assert (load.report.sent, load.report.answered, load.report.reconnected) == (10, 10, 9)


def test_a_connection_closed_under_a_request_is_a_loss() -> None:
    """A server that takes a second request on a connection and closes has lost it: no retry."""
    requests: list[bytes] = []

    def act(connection: socket.socket) -> None:
        requests.append(received(connection))
        connection.sendall(OK)
        requests.append(received(connection))

    short = traffic("", mode="keepalive", connections=1, rate=20, duration=0.5)
    with server(act) as url, Load(replace(short, url=url)) as load:
        load.wait_for_end(within=WITHIN)
    assert load.report.lost == {"closed": 5}
    assert (load.report.answered, load.report.reconnected) == (5, 0)
    assert len([each for each in requests if each]) == 10


def test_bytes_without_a_request_are_a_loss() -> None:
    """A second answer to one request does not pass as the answer to the next."""

    def act(connection: socket.socket) -> None:
        received(connection)
        connection.sendall(OK)
        connection.sendall(OK)
        received(connection)

    short = traffic("", mode="keepalive", connections=1, rate=20, duration=0.1)
    with server(act) as url, Load(replace(short, url=url)) as load:
        load.wait_for_end(within=WITHIN)
    assert set(load.report.lost) == {"protocol"}


def test_a_stall_is_latency_and_not_fewer_requests() -> None:
    """A server that stops answering for half a second still gets every request that is due."""
    first: list[float] = []

    def act(connection: socket.socket) -> None:
        while received(connection):
            first.append(time.monotonic())
            time.sleep(max(0.0, first[0] + 0.5 - time.monotonic()))
            connection.sendall(OK)

    with server(act) as url, Load(traffic(url, duration=1.5, rate=40, timeout=5)) as load:
        load.wait_for_end(within=WITHIN)
    assert (load.report.sent, load.report.lost) == (60, {})
    assert load.report.latency["fast"].longest > 0.4
    assert load.report.latency["fast"].median < 0.2


def test_a_good_app_gets_a_clean_report(tmp_path: Path) -> None:
    """All kinds are answered, releases are counted, and stopping waits for the last answers."""
    path = tmp_path / "web.sock"
    with app(path, "7"), front(path) as (_, port):
        mixed = Traffic(url=f"http://127.0.0.1:{port}", rate=100, slow="/slow?s=0.3")
        with Load(mixed) as load:
            load.wait(answered=150)
    report = load.report
    assert report.lost == {}, str(report)
    assert report.sent == report.answered == report.releases["7"] >= 150
    assert set(report.latency) == {"fast", "slow", "upload"}
    assert report.latency["slow"].median > 0.3
    assert load.exit_status == 0


def test_a_load_ends_when_nobody_reads_it() -> None:
    """A load whose parent is gone stops by itself, though it has no end of its own."""
    with server(hangs) as url:
        argv = (sys.executable, "-m", "nonevent.testing.load", *Traffic(url=url).argv(), "--json")
        process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(WITHIN) == 1
        assert process.stderr.read() == b""
        process.stderr.close()


def test_a_report_survives_json() -> None:
    """What is counted reads back the same from JSON."""
    tally = Tally()
    tally.sent = 3
    tally.answer("fast", latency=0.5, release="7")
    tally.answer("fast", latency=1.5, release="")
    loss = Loss(time="2026-01-01T00:00:00.000+00:00", after=1.0, kind="fast", cause="reset",
                detail="x", kept=True)  # fmt: skip
    tally.lose(loss)
    report = tally.report(seconds=2.0)
    assert report_from(json.loads(json.dumps(report.as_dict()))) == report
    assert report.lost_count == 1
    assert report.releases == {"7": 1}
    assert "lost by reset: 1" in str(report)


def test_latencies_are_by_nearest_rank() -> None:
    """Median, 95th percentile and longest of a hundred known values."""
    assert spread([float(each) for each in range(100, 0, -1)]) == Latency(
        median=50.0, p95=95.0, longest=100.0
    )
    assert spread([]) == Latency()


def test_the_command_line_says_the_same_as_the_value() -> None:
    """A traffic's arguments read back as the same traffic."""
    one = Traffic(url="http://a:1", rate=7.5, mode="new", mix=(("slow", 2),), duration=3.0, seed=9)
    assert traffic_from((*one.argv(), "--json")) == (one, True)
    assert traffic_from(("http://a:1",)) == (Traffic(url="http://a:1"), False)


def test_an_unknown_kind_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    """A mix of kinds that do not exist is refused before anything is sent."""
    with pytest.raises(SystemExit) as stopped:
        main(("http://127.0.0.1:1", "--mix", "quick=1"))
    assert stopped.value.code == 2
    assert "quick=1" in capsys.readouterr().err


def test_the_text_report_is_for_people(tmp_path: Path) -> None:
    """Without `--json` the command ends with a few lines and status 0."""
    path = tmp_path / "web.sock"
    with app(path, "7"), front(path) as (_, port):
        argv = (sys.executable, "-m", "nonevent.testing.load", f"http://127.0.0.1:{port}",
                "--duration", "0.2", "--mix", "fast=1,upload=1")  # fmt: skip
        done = subprocess.run(argv, capture_output=True, text=True, timeout=WITHIN, check=False)
    assert done.returncode == 0
    assert "10 answered, 0 lost" in done.stdout
    assert "release 7: 10" in done.stdout
