"""A client that forgives nothing: no retry, and every deviation is a loss with its cause."""

from __future__ import annotations

import asyncio
import hashlib
import json
import socket
from dataclasses import dataclass

import h11

from nonevent.embedded.stream import Stream

RELEASE = b"x-nonevent-release"


class Lost(Exception):
    """A request that was not answered as it must be; ``cause`` as in a report."""

    def __init__(self, cause: str, detail: str) -> None:
        super().__init__(detail)
        self.cause = cause
        self.detail = detail


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A GET, or an upload where there is a body, whose answer must echo length and digest."""

    kind: str
    target: str
    body: bytes | None = None


class Connection:
    """A connection to the app's front, for one request after the other."""

    def __init__(self, stream: Stream, host: str) -> None:
        self._stream = stream
        self._host = host
        self._http = h11.Connection(h11.CLIENT)

    @property
    def reusable(self) -> bool:
        """Whether another request may follow."""
        return self._http.our_state is h11.IDLE

    def ended(self) -> bool:
        """Whether the other side has closed the connection while it was idle.

        Raises:
            Lost: where it sent bytes that nobody asked for.
        """
        try:
            data = self._stream.take()
        except OSError:
            return True
        if data:
            self._http.send_failed()
            raise Lost("protocol", f"{data[:40]!r} arrived without a request")
        return data is not None

    async def ask(self, request: Request, *, within: float) -> str:
        """The release that answered, empty where the answer does not say.

        Raises:
            Lost: where the answer is not complete, not 2xx, or not the right one.
        """
        try:
            await self._stream.send(self._encoded(request), within=within)
            answer, body = await self._answer(within)
        except TimeoutError as error:
            raise Lost("timeout", f"nothing for {within:g} s") from error
        except OSError as error:
            raise Lost("reset", error.strerror or str(error)) from error
        if self._http.trailing_data[0]:
            raise Lost("protocol", f"{self._http.trailing_data[0][:40]!r} after the answer")
        if not 200 <= answer.status_code < 300:
            text = body[:200].decode("utf-8", "replace").strip()
            raise Lost("status", f"{answer.status_code} {text}")
        if request.body is not None:
            check_echo(request.body, body)
        if self._http.our_state is h11.DONE and self._http.their_state is h11.DONE:
            self._http.start_next_cycle()
        names = (value.decode("latin-1") for name, value in answer.headers if name == RELEASE)
        return next(names, "")

    def close(self) -> None:
        """Close the connection."""
        self._stream.close()

    def _encoded(self, request: Request) -> bytes:
        headers = [("Host", self._host), ("User-Agent", "nonevent-load"), ("Accept", "*/*")]
        if request.body is not None:
            headers.append(("Content-Type", "application/octet-stream"))
            headers.append(("Content-Length", str(len(request.body))))
        head = h11.Request(
            method="GET" if request.body is None else "POST", target=request.target, headers=headers
        )
        out = [self._http.send(head) or b""]
        if request.body is not None:
            out.append(self._http.send(h11.Data(data=request.body)) or b"")
        out.append(self._http.send(h11.EndOfMessage()) or b"")
        return b"".join(out)

    async def _answer(self, within: float) -> tuple[h11.Response, bytes]:
        answer: h11.Response | None = None
        body: list[bytes] = []
        while True:
            data: bytes | None = None
            try:
                event = self._http.next_event()
                if event is h11.NEED_DATA:
                    data = await self._stream.receive(within=within)
                    if not data and answer is None:
                        raise Lost("closed", "closed before the answer")
                    self._http.receive_data(data)
            except h11.RemoteProtocolError as error:
                cause = "short" if self._http.trailing_data[1] else "protocol"
                raise Lost(cause, str(error)) from error
            if isinstance(event, h11.Response):
                answer = event
            elif isinstance(event, h11.Data):
                body.append(event.data)
            elif isinstance(event, h11.EndOfMessage) and answer is not None:
                return answer, b"".join(body)


async def connect(host: str, port: int, *, within: float) -> Connection:
    """A new connection.

    Raises:
        Lost: where there is none.
    """
    new = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    new.setblocking(False)
    try:
        new.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        async with asyncio.timeout(within):
            await asyncio.get_running_loop().sock_connect(new, (host, port))
    except OSError as error:
        new.close()
        raise Lost("connect", error.strerror or "no connection in time") from error
    except BaseException:
        new.close()
        raise
    shown = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return Connection(Stream(new), shown)


def check_echo(sent: bytes, answer: bytes) -> None:
    """Hold an answer ``{"sha256": …, "length": …}`` against what was sent.

    Raises:
        Lost: where it is not what it must be.
    """
    expected = {"sha256": hashlib.sha256(sent).hexdigest(), "length": len(sent)}
    try:
        found = json.loads(answer)
    except ValueError:
        raise Lost("echo", f"{answer[:80]!r} is not JSON") from None
    if not isinstance(found, dict) or {key: found.get(key) for key in expected} != expected:
        raise Lost("echo", f"sent {len(sent)} bytes, answered {str(found)[:120]}")
