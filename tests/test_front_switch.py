"""Releases that follow each other behind the front, under load."""

from __future__ import annotations

import http.client
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
from uv import find_uv_bin

from nonevent.testing.load import Load
from nonevent.testing.process import WITHIN, accepts, app, connections, end, front, relink, until
from nonevent.testing.traffic import Traffic

if TYPE_CHECKING:
    from pathlib import Path

WSGI = """
import hashlib, json, os, time
def app(environ, start_response):
    path, query = environ["PATH_INFO"], environ["QUERY_STRING"]
    if path == "/slow":
        time.sleep(float(query.partition("=")[2]))
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    answer = json.dumps({"sha256": hashlib.sha256(body).hexdigest(), "length": len(body)}).encode()
    headers = [("Content-Length", str(len(answer))), ("X-Nonevent-Release", os.environ["RELEASE"])]
    start_response("200 OK", headers)
    return [answer]
"""
ASGI = """
import asyncio, hashlib, json, os
async def app(scope, receive, send):
    if scope["type"] != "http":
        raise RuntimeError("only http")
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    if scope["path"] == "/slow":
        await asyncio.sleep(float(scope["query_string"].partition(b"=")[2]))
    answer = json.dumps({"sha256": hashlib.sha256(body).hexdigest(), "length": len(body)}).encode()
    headers = [(b"x-nonevent-release", os.environ["RELEASE"].encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": answer})
"""


def test_a_kept_connection_outlives_thirty_switches_without_a_lost_request(tmp_path: Path) -> None:
    """Thirty renames of the link under mixed load lose nothing, and both releases answer."""
    link = tmp_path / "web.sock"
    with app(tmp_path / "web-1.sock", "1"), app(tmp_path / "web-2.sock", "2"):
        link.symlink_to("web-1.sock")
        with front(link) as (_, port):
            traffic = Traffic(
                url=f"http://127.0.0.1:{port}", rate=100, slow="/slow?s=0.3", connections=24
            )
            with Load(traffic) as load:
                for turn in range(30):
                    answered = load.progress.answered
                    relink(link, f"web-{2 - turn % 2}.sock")
                    load.wait(answered=answered + 10)
            report = load.report
    assert report.lost == {}, str(report)
    assert report.sent == report.answered > 300
    assert report.reconnected == 0
    assert set(report.releases) == {"1", "2"}


def test_the_next_request_on_a_kept_connection_goes_to_the_new_release(tmp_path: Path) -> None:
    """One client connection sees release 1, then, after the rename, release 2."""
    link = tmp_path / "web.sock"
    with app(tmp_path / "web-1.sock", "1"), app(tmp_path / "web-2.sock", "2"):
        link.symlink_to("web-1.sock")
        with front(link) as (_, port):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=WITHIN)
            seen = []
            for name in ("web-1.sock", "web-2.sock", "web-1.sock"):
                relink(link, name)
                connection.request("GET", "/")
                answer = connection.getresponse()
                answer.read()
                seen.append((answer.getheader("X-Nonevent-Release"), connection.sock))
            connection.close()
    assert [release for release, _ in seen] == ["1", "2", "1"]
    assert len({id(used) for _, used in seen}) == 1


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment with real app servers and two small apps."""
    folder = tmp_path_factory.mktemp("servers")
    uv = find_uv_bin()
    subprocess.run(
        (uv, "venv", "-q", "--python", sys.executable, folder / "venv"), check=True, timeout=60
    )
    python = folder / "venv" / "bin" / "python"
    packages = ("gunicorn==27.0.1", "uvicorn==0.54.0")
    subprocess.run(
        (uv, "pip", "install", "-q", "--python", python, *packages), check=True, timeout=120
    )
    (folder / "wsgi.py").write_text(WSGI)
    (folder / "asgi.py").write_text(ASGI)
    return python


def serving(python: Path, path: Path, release: int) -> subprocess.Popen[bytes]:
    """A release on its own socket, by gunicorn and uvicorn in turns, ready to answer."""
    argv: tuple[str | Path, ...]
    if release % 2:
        argv = ("gunicorn", "wsgi:app", "--threads=32", "--no-control-socket",
                "--log-level=warning", f"--bind=unix:{path}")  # fmt: skip
    else:
        argv = ("uvicorn", "asgi:app", "--log-level=warning", "--timeout-graceful-shutdown=10",
                f"--uds={path}")  # fmt: skip
    environment = {"RELEASE": str(release), "PATH": os.defpath}
    folder = python.parent.parent.parent
    process = subprocess.Popen((python, "-m", *argv), cwd=folder, env=environment)
    until(lambda: process.poll() is not None or (path.exists() and accepts(path)))
    assert process.poll() is None
    return process


def test_real_servers_follow_each_other_without_a_loss(tmp_path: Path, servers: Path) -> None:
    """Five releases on gunicorn and uvicorn, each stopped once it is drained, lose nothing."""
    link = tmp_path / "web.sock"
    paths = [tmp_path / f"web-{number}.sock" for number in range(6)]
    old = serving(servers, paths[1], 1)
    try:
        link.symlink_to(paths[1].name)
        with front(link) as (_, port):
            traffic = Traffic(url=f"http://127.0.0.1:{port}", rate=60, slow="/slow?s=0.4")
            with Load(traffic) as load:
                for release in range(2, 6):
                    new = serving(servers, paths[release], release)
                    load.wait(answered=load.progress.answered + 20)
                    relink(link, paths[release].name)
                    quiet = time.monotonic()
                    while time.monotonic() < quiet + 0.3:
                        if connections(paths[release - 1]):
                            quiet = time.monotonic()
                    end(old)
                    old = new
                load.wait(answered=load.progress.answered + 20)
    finally:
        end(old)
    assert load.report.lost == {}, str(load.report)
    assert set(load.report.releases) == {"1", "2", "3", "4", "5"}
