"""One request on its way to the app, and its answer on its way back, at the same time."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import h11

from nonevent.dataclass import dataclass
from nonevent.embedded.headers import for_app, for_client
from nonevent.embedded.stream import Stream, tunnel

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much and how long; durations in seconds, sizes in bytes."""

    head: int = 64 * 1024
    """A request's line and headers together; the same for an answer's."""
    idle: float = 75.0
    """Between two requests on one connection."""
    arriving: float = 30.0
    """From the first byte of a request to the end of its headers."""
    stall: float = 60.0
    """Without a byte of a request's body, or with a client that does not read."""
    answer: float = 3600.0
    """Without a byte from the app, or with an app that does not read."""
    connect: float = 2.0
    """Until a socket that is not there, or whose queue is full, has to answer."""
    linger: float = 10.0
    """For the rest of a body that nobody wants, so that the answer is not lost in a reset."""
    last: float = 1.0
    """For the first byte of a request while the front is stopping."""


class AppFailed(Exception):
    """The app did not answer in full; ``status`` is for a client that has no answer yet."""

    def __init__(self, sentence: str, *, status: int = 502) -> None:
        super().__init__(sentence)
        self.status = status


class ClientGone(Exception):
    """The client closed its connection, so nobody waits for the answer."""


@dataclass(slots=True, kw_only=True)
class Client:
    """A client's connection and where it stands in HTTP; addresses are text in bytes."""

    stream: Stream
    http: h11.Connection
    peer: bytes
    local: bytes
    method: bytes = b""
    """Of the request at hand."""


class Exchange:
    """Carries ``request`` from a client to the app and the answer back, with back-pressure.

    A client that closes its half of the connection is taken to be gone, as nginx and Go's
    server do: the app's connection is closed too, so that a release can be drained.
    """

    def __init__(
        self, request: h11.Request, *, client: Client, app: Stream, limits: Limits
    ) -> None:
        self.request = request
        self.client = client
        self.app = app
        self.limits = limits
        self.switched = False
        """Whether the app agreed to leave HTTP."""
        self._http = h11.Connection(h11.CLIENT, limits.head)

    async def run(self, *, stopping: Callable[[], bool]) -> None:
        """Until the answer is complete, or the protocol was switched.

        An answer that begins while ``stopping`` tells the client that it is the last one here.

        Raises:
            AppFailed: where the app did not answer in full.
            ClientGone, OSError: where the client did not wait for the answer.
            TimeoutError, h11.RemoteProtocolError: where its body did not arrive, or is none.
        """
        there = asyncio.create_task(self._request())
        back = asyncio.create_task(self._answer(stopping))
        try:
            await asyncio.wait((there, back), return_when=asyncio.FIRST_COMPLETED)
            if not back.done() and there.exception() is None:
                await asyncio.wait((back,))
            (back if back.done() else there).result()
        finally:
            there.cancel()
            back.cancel()
            await asyncio.gather(there, back, return_exceptions=True)

    async def tunnel(self) -> None:
        """Carry bytes both ways after the switch, first those that came along with it."""
        early, _ = self.client.http.trailing_data
        await self.app.send(early, within=self.limits.answer)
        early, _ = self._http.trailing_data
        await self.client.stream.send(early, within=self.limits.stall)
        await tunnel(self.client.stream, self.app, idle=self.limits.answer)

    async def _request(self) -> None:
        """Send the request; returns when it is sent, or the app does not want more of it."""
        out = [self._encoded_head()]
        source = self.client
        while source.http.their_state is h11.SEND_BODY:
            event = source.http.next_event()
            if isinstance(event, h11.Data):
                out.append(self._http.send(event) or b"")
                continue
            if isinstance(event, h11.EndOfMessage):
                out.append(self._http.send(h11.EndOfMessage()) or b"")
                continue
            if not await self._sent(out):
                return
            out = []
            data = await source.stream.receive(within=self.limits.stall)
            if not data:
                raise ClientGone
            source.http.receive_data(data)
        if await self._sent(out):
            await self._watch()

    async def _watch(self) -> None:
        """Look out for the client's end, as long as the answer takes."""
        while not self.client.http.trailing_data[0]:
            with contextlib.suppress(TimeoutError):
                if await self.client.stream.ended(within=self.limits.answer):
                    raise ClientGone
                return

    async def _sent(self, out: list[bytes]) -> bool:
        """Whether the app took it; where it did not, its answer says why."""
        try:
            await self.app.send(b"".join(out), within=self.limits.answer)
        except OSError:
            return False
        return True

    def _encoded_head(self) -> bytes:
        headers = for_app(self.request, peer=self.client.peer, local=self.client.local)
        head = h11.Request(method=self.request.method, target=self.request.target, headers=headers)
        return self._http.send(head) or b""

    async def _answer(self, stopping: Callable[[], bool]) -> None:
        """Receive the answer and pass it on as it comes."""
        while True:
            data = await self._received()
            out: list[bytes] = []
            done = False
            try:
                self._http.receive_data(data)
                while not done and (event := self._http.next_event()) is not h11.NEED_DATA:
                    done = self._pass_on(event, out, last=stopping())
            except h11.ProtocolError as error:
                raise AppFailed(_broken(error, ended=not data)) from error
            if out:
                await self.client.stream.send(b"".join(out), within=self.limits.stall)
            if done:
                return

    async def _received(self) -> bytes:
        try:
            return await self.app.receive(within=self.limits.answer)
        except TimeoutError as error:
            raise AppFailed("no answer in time", status=504) from error
        except OSError as error:
            raise AppFailed("the connection broke before the answer was complete") from error

    def _pass_on(self, event: object, out: list[bytes], *, last: bool) -> bool:
        """Append what the client gets for an event; whether it was the last one."""
        to = self.client.http
        match event:
            case h11.InformationalResponse():
                if event.status_code == 101:
                    self.switched = True
                if to.their_http_version != b"1.0":
                    out.append(to.send(_informational(event)) or b"")
            case h11.Response():
                last = last or to.client_is_waiting_for_100_continue
                out.append(to.send(_response(event, last=last)) or b"")
            case h11.Data():
                out.append(to.send(event) or b"")
            case h11.EndOfMessage():
                out.append(to.send(h11.EndOfMessage()) or b"")
                return True
            case _:
                raise AppFailed("the connection was closed before the answer was complete")
        return self.switched


def _informational(event: h11.InformationalResponse) -> h11.InformationalResponse:
    return h11.InformationalResponse(
        status_code=event.status_code,
        headers=for_client(event, close=False),
        reason=event.reason,
    )


def _response(event: h11.Response, *, last: bool) -> h11.Response:
    return h11.Response(
        status_code=event.status_code,
        headers=for_client(event, close=last),
        reason=event.reason,
    )


def _broken(error: h11.ProtocolError, *, ended: bool) -> str:
    if ended:
        return "the connection was closed before the answer was complete"
    return f"the answer is not HTTP: {error}"
