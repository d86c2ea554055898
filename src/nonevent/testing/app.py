"""A small app to deploy, switch and load in tests: each answer names its release.

``python -m nonevent.testing.app --socket PATH --release 7`` answers ``GET /``,
``GET /slow?s=0.5``, ``GET /large?size=1000`` and ``POST /echo``, and stops in good order on
SIGTERM.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import sys
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import h11

from nonevent.embedded import front, relay
from nonevent.embedded.serve import serve
from nonevent.embedded.stream import CHUNK, Stream

if TYPE_CHECKING:
    import socket

LIMIT = 60.0
"""Seconds that a client may be silent."""


class App:
    """Answers as the release of that name."""

    def __init__(self, release: str) -> None:
        self._release = release

    async def answer(self, connection: socket.socket) -> None:
        """Answer one request, then close."""
        stream = Stream(connection)
        try:
            await self._one(stream)
        except (OSError, h11.RemoteProtocolError):
            pass
        finally:
            stream.close()

    async def _one(self, stream: Stream) -> None:
        http = h11.Connection(h11.SERVER)
        digest, length, request = hashlib.sha256(), 0, None
        while not isinstance(event := http.next_event(), h11.EndOfMessage):
            if event is h11.NEED_DATA:
                if http.they_are_waiting_for_100_continue:
                    go_on = http.send(h11.InformationalResponse(status_code=100, headers=[]))
                    await stream.send(go_on or b"", within=LIMIT)
                http.receive_data(await stream.receive(within=LIMIT))
            elif isinstance(event, h11.Data):
                digest.update(event.data)
                length += len(event.data)
            elif isinstance(event, h11.Request):
                request = event
            else:
                return
        target = urlsplit((request.target if request else b"/").decode())
        headers = [("X-Nonevent-Release", self._release), ("Connection", "close")]
        query = {name: values[0] for name, values in parse_qs(target.query).items()}
        await asyncio.sleep(float(query.get("s", "0")))
        body = f"release {self._release}\n".encode()
        if target.path == "/echo":
            body = json.dumps({"sha256": digest.hexdigest(), "length": length}).encode()
        rest = int(query.get("size", "0"))
        headers.append(("Content-Length", str(rest or len(body))))
        head = http.send(h11.Response(status_code=200, headers=headers)) or b""
        await stream.send(head + (b"" if rest else body), within=LIMIT)
        while rest > 0:
            await stream.send(bytes(min(rest, CHUNK)), within=LIMIT)
            rest -= CHUNK


def main(argv: tuple[str, ...]) -> int:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(prog="nonevent.testing.app", description=__doc__)
    place = parser.add_mutually_exclusive_group(required=True)
    place.add_argument("--socket", help="the Unix socket to listen on")
    place.add_argument("--port", type=int, help="the TCP port to listen on")
    parser.add_argument("--release", default="1")
    options = parser.parse_args(argv)
    if options.socket is not None:
        listener = relay.listen(options.socket)
    else:
        listener = front.listen("127.0.0.1", options.port)
    app = App(options.release)
    greeting = f"release {options.release} is listening"
    asyncio.run(serve(listener, app.answer, stopping=lambda: None, limit=LIMIT, greeting=greeting))
    return 0


if __name__ == "__main__":
    sys.exit(main(tuple(sys.argv[1:])))
