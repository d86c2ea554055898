"""Every app server that is known, and one that takes only a port, replaced under load."""

from __future__ import annotations

import shutil
import sysconfig
from pathlib import Path

import pytest
from real import Story, change, project, there_and_back, uv

WSGI = '''"""An app without a framework."""

import hashlib
import json
import os
import time

VERSION = "one"


def app(environ, start_response):
    if environ["PATH_INFO"] == "/slow":
        time.sleep(float(environ["QUERY_STRING"].partition("=")[2]))
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    said = {"version": VERSION, "sha256": hashlib.sha256(body).hexdigest(), "length": len(body)}
    answer = json.dumps(said).encode()
    release = os.environ["NONEVENT_RELEASE"]
    headers = [("Content-Length", str(len(answer))), ("X-Nonevent-Release", release)]
    start_response("200 OK", headers)
    return [answer]
'''
ASGI = '''"""An app without a framework."""

import asyncio
import hashlib
import json
import os

VERSION = "one"


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
    said = {"version": VERSION, "sha256": hashlib.sha256(body).hexdigest(), "length": len(body)}
    answer = json.dumps(said).encode()
    headers = [
        (b"content-length", str(len(answer)).encode()),
        (b"x-nonevent-release", os.environ["NONEVENT_RELEASE"].encode()),
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": answer})
'''
BY_HAND = """app = "shop"

[services]
web = "waitress-serve --listen 127.0.0.1:{port} --threads 8 main:app"
"""


def can_compile() -> bool:
    """Whether an extension can be built for the interpreters that releases run on."""
    found = [Path(sysconfig.get_path("include")), *Path("/usr/include").glob("python3.*")]
    return bool(shutil.which("gcc")) and all((each / "Python.h").exists() for each in found)


@pytest.mark.parametrize(
    ("server", "source"),
    [
        ("granian", WSGI),
        ("hypercorn", ASGI),
        ("daphne", ASGI),
        ("waitress", WSGI),
        pytest.param(
            "uwsgi",
            WSGI,
            marks=pytest.mark.skipif(not can_compile(), reason="no gcc, or no Python.h"),
        ),
    ],
    ids=["granian", "hypercorn", "daphne", "waitress", "uwsgi"],
)
def test_server(tmp_path: Path, server: str, source: str) -> None:
    """A release on the server, as init or a person writes it, is replaced without a loss."""
    with project(tmp_path / "shop") as made:
        made.repository.write({"main.py": source, "requirements.in": f"{server}\n"})
        uv(
            made, "pip", "compile", "--quiet", "--generate-hashes", "--python-version", "3.11",
            "--output-file", "requirements.txt", "requirements.in",
        )  # fmt: skip
        if server == "waitress":
            made.repository.write({"nonevent.toml": BY_HAND})
        made.init()
        assert server in (made.folder / "nonevent.toml").read_text()
        story = Story(
            change=lambda: change(made, "main.py", 'VERSION = "one"', 'VERSION = "two"'),
            texts=('"one"', '"two"'),
            back=False,
            traffic={"rate": 10.0, "slow": "/slow?s=0.5"},
        )
        there_and_back(made, story)
