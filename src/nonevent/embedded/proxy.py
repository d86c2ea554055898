"""Requests of keep-alive clients, each carried to the app over a connection of its own.

A pooled connection would go on talking to the release it was made to; a new one for each request
follows the link that names the release which serves now. So the client's connection outlives the
switch, and no request is caught in it.
"""

from __future__ import annotations

import asyncio
import socket
from http import HTTPStatus

import h11

from nonevent.embedded.exchange import AppFailed, Client, ClientGone, Exchange, Limits
from nonevent.embedded.serve import say
from nonevent.embedded.stream import Stream

FIRST_PAUSE, LONGEST_PAUSE = 0.002, 0.05
"""Seconds between two attempts to connect: doubled from the first to the longest."""
UNAVAILABLE = "the app does not answer; its operator finds the cause in the log of the front"
"""All that a visitor is told: paths and causes are for the log."""


class Proxy:
    """Answers client connections from the Unix socket at ``to``, which may be a link."""

    def __init__(self, to: str, *, limits: Limits) -> None:
        self.to = to
        self.limits = limits
        self._stopping = False
        self._idle: set[Stream] = set()

    def stop(self) -> None:
        """Let requests in flight be the last of their connections; close those without one."""
        self._stopping = True
        for stream in tuple(self._idle):
            stream.interrupt()

    async def answer(self, connection: socket.socket) -> None:
        """Answer the requests of one connection until it ends; closes it."""
        stream = Stream(connection)
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            client = Client(
                stream=stream,
                http=h11.Connection(h11.SERVER, self.limits.head),
                peer=connection.getpeername()[0].encode(),
                local=_shown(connection.getsockname()),
            )
            while await self._one(client):
                client.http.start_next_cycle()
        except OSError:
            pass  # The client went away or stopped reading: there is nobody to tell.
        finally:
            stream.close()

    async def _one(self, client: Client) -> bool:
        """Answer the next request; whether another may follow."""
        try:
            request = await self._next_request(client)
            if request is None:
                return False
            client.method = request.method
            if request.method == b"CONNECT":
                await self._refuse(client, 405, "CONNECT is for forward proxies")
                return False
            return await self._carry(client, request)
        except h11.ProtocolError as error:
            status = error.error_status_hint
            await self._refuse(client, status, f"the request is not HTTP/1.1: {error}")
        except TimeoutError:
            await self._refuse(client, 408, "the request did not arrive in time")
        except AppFailed as error:
            say(f"{self.to}: {error}")
            await self._refuse(client, error.status, UNAVAILABLE)
        except ClientGone:
            pass
        return False

    async def _next_request(self, client: Client) -> h11.Request | None:
        """The next request, or None where no more comes.

        Raises:
            h11.RemoteProtocolError: where what comes is not HTTP/1.1, or too large.
            TimeoutError: where it began and did not arrive.
        """
        clock = asyncio.get_running_loop().time
        deadline: float | None = None
        while True:
            event = client.http.next_event()
            if isinstance(event, h11.Request):
                return event
            if event is not h11.NEED_DATA:
                return None
            if client.http.trailing_data[0]:
                deadline = deadline or clock() + self.limits.arriving
                data = await client.stream.receive(within=max(0.0, deadline - clock()))
            else:
                data = await self._first_bytes(client.stream)
            client.http.receive_data(data)

    async def _first_bytes(self, stream: Stream) -> bytes:
        """The start of a request; nothing where none comes while the connection may be idle."""
        self._idle.add(stream)
        try:
            limits = self.limits
            return await stream.receive(within=limits.last if self._stopping else limits.idle)
        except TimeoutError:
            return stream.take() or b""
        finally:
            self._idle.discard(stream)

    async def _carry(self, client: Client, request: h11.Request) -> bool:
        app = await self._connect()
        exchange = Exchange(request, client=client, app=app, limits=self.limits)
        try:
            await exchange.run(stopping=lambda: self._stopping)
            if exchange.switched:
                await exchange.tunnel()
                return False
        finally:
            app.close()
        if client.http.their_state is h11.SEND_BODY:
            await self._discard(client)
        return client.http.our_state is h11.DONE and client.http.their_state is h11.DONE

    async def _connect(self) -> Stream:
        """A new connection to whatever the link names now.

        A queue that is full, a socket that is not there or that nobody listens on is tried again
        for a while: not a byte has been sent. The socket is connected directly, since asyncio
        takes the EAGAIN of a full queue, unix(7), for a connection on its way.

        Raises:
            AppFailed: where the time is over.
        """
        clock = asyncio.get_running_loop().time
        deadline = clock() + self.limits.connect
        pause = FIRST_PAUSE
        while True:
            app = socket.socket(socket.AF_UNIX)
            app.setblocking(False)
            try:
                app.connect(self.to)
            except OSError as error:
                app.close()
                passing = isinstance(
                    error, BlockingIOError | FileNotFoundError | ConnectionRefusedError
                )
                if not passing or clock() + pause > deadline:
                    raise AppFailed(f"does not answer: {error.strerror or error}") from error
            else:
                return Stream(app)
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    async def _refuse(self, client: Client, status: int, sentence: str) -> None:
        """Answer with one line of text and close; where an answer has begun, only cut it off."""
        if client.http.our_state not in {h11.IDLE, h11.SEND_RESPONSE}:
            client.stream.abort()
            return
        body = sentence.encode() + b"\n"
        headers = [
            (b"Content-Type", b"text/plain; charset=utf-8"),
            (b"Content-Length", str(len(body)).encode()),
            (b"Connection", b"close"),
        ]
        phrase = HTTPStatus(status).phrase.encode()
        answer = h11.Response(status_code=status, headers=headers, reason=phrase)
        head = client.http.send(answer) or b""
        data = head if client.method == b"HEAD" else head + body
        await client.stream.send(data, within=self.limits.linger)
        await self._linger(client.stream)

    async def _discard(self, client: Client) -> None:
        """Receive the rest of a body that was answered early, for a while."""
        if client.http.our_state is not h11.DONE:
            await self._linger(client.stream)
            return
        async with asyncio.timeout(self.limits.linger):
            while client.http.their_state is h11.SEND_BODY:
                if client.http.next_event() is h11.NEED_DATA:
                    data = await client.stream.receive(within=self.limits.linger)
                    client.http.receive_data(data)

    async def _linger(self, stream: Stream) -> None:
        """End our side, and take what still comes: closing at once would reset the answer."""
        stream.end()
        async with asyncio.timeout(self.limits.linger):
            while await stream.receive(within=self.limits.linger):
                pass


def _shown(address: tuple[object, ...]) -> bytes:
    """An address and port as a Host header has them."""
    host, port = address[:2]
    return (f"[{host}]:{port}" if ":" in str(host) else f"{host}:{port}").encode()
