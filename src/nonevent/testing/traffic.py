"""Requests at a constant rate, whatever the app does with them."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from nonevent.testing.report import Loss, Tally
from nonevent.testing.strict import Connection, Lost, Request, connect

if TYPE_CHECKING:
    from nonevent.testing.report import Report

MODES = ("new", "keepalive", "mixed")
KINDS = ("fast", "slow", "upload")


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """What is sent to ``http://host:port``. Durations are in seconds."""

    url: str
    rate: float = 50.0
    """Requests per second."""
    mode: str = "mixed"
    """A connection per request, connections that are kept, or every second request each."""
    mix: tuple[tuple[str, int], ...] = (("fast", 80), ("slow", 10), ("upload", 10))
    """Kinds of request with their weights."""
    duration: float | None = None
    """None is until a signal."""
    fast: str = "/"
    slow: str = "/slow?s=1.5"
    upload: str = "/echo"
    connections: int = 16
    """How many are kept alive; a request waits for a free one."""
    timeout: float = 30.0
    """After which a request counts as lost."""
    largest: int = 2_000_000
    """Bytes of the largest upload; sizes are spread evenly over the orders of magnitude."""
    seed: int = 1

    def argv(self) -> tuple[str, ...]:
        """The arguments that the command line turns into this value."""
        mix = ",".join(f"{kind}={weight}" for kind, weight in self.mix)
        options = [f"--{name}={getattr(self, name)}" for name in
                   ("rate", "mode", "fast", "slow", "upload", "connections", "timeout", "largest",
                    "seed")]  # fmt: skip
        if self.duration is not None:
            options.append(f"--duration={self.duration}")
        return (self.url, f"--mix={mix}", *options)


class Generator:
    """Sends the traffic and counts what becomes of it."""

    def __init__(self, traffic: Traffic) -> None:
        self.tally = Tally()
        self._traffic = traffic
        self._random = random.Random(traffic.seed)  # noqa: S311
        self._noise = self._random.randbytes(2 * traffic.largest)
        split = urlsplit(traffic.url)
        self._host, self._port = split.hostname or "127.0.0.1", split.port or 80
        self._free: asyncio.Queue[Connection | None] = asyncio.Queue()
        for _ in range(traffic.connections):
            self._free.put_nowait(None)
        self._began = time.monotonic()

    async def run(self, stop: asyncio.Event) -> Report:
        """Send until told to stop, or the duration is over, and wait for the last answers.

        A task that fails for a reason of its own fails the run: nothing goes uncounted.
        """
        self._began = time.monotonic()
        tasks: set[asyncio.Task[None]] = set()
        number = 0
        while await self._reached(number, stop):
            request = self._drawn()
            due = self._began + number / self._traffic.rate
            kept = self._traffic.mode == "keepalive" or (
                self._traffic.mode == "mixed" and number % 2 == 0
            )
            task = asyncio.create_task(self._one(request, due=due, kept=kept))
            tasks.add(task)
            task.add_done_callback(partial(_forget, tasks))
            number += 1
        await asyncio.gather(*tasks)
        seconds = time.monotonic() - self._began
        while not self._free.empty():
            connection = self._free.get_nowait()
            if connection is not None:
                connection.close()
        return self.tally.report(seconds=seconds)

    async def _reached(self, number: int, stop: asyncio.Event) -> bool:
        """Wait until the request of that number is due; false where the end comes first."""
        after = number / self._traffic.rate
        if self._traffic.duration is not None and after >= self._traffic.duration:
            return False
        wait = self._began + after - time.monotonic()
        self.tally.behind = max(self.tally.behind, -wait)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), max(0.0, wait))
        return not stop.is_set()

    def _drawn(self) -> Request:
        kinds = [kind for kind, _ in self._traffic.mix]
        weights = [weight for _, weight in self._traffic.mix]
        kind = self._random.choices(kinds, weights)[0]
        if kind != "upload":
            return Request(kind=kind, target=getattr(self._traffic, kind))
        size = int(self._traffic.largest ** self._random.random())
        start = self._random.randrange(self._traffic.largest)
        return Request(
            kind=kind, target=self._traffic.upload, body=self._noise[start : start + size]
        )

    async def _one(self, request: Request, *, due: float, kept: bool) -> None:
        self.tally.sent += 1
        try:
            async with asyncio.timeout(due + self._traffic.timeout - time.monotonic()):
                ask = self._on_kept if kept else self._on_new
                release = await ask(request)
        except (Lost, TimeoutError) as error:
            lost = error if isinstance(error, Lost) else Lost("timeout", "no whole answer in time")
            now = datetime.now(UTC).isoformat(timespec="milliseconds")
            self.tally.lose(
                Loss(time=now, after=round(time.monotonic() - self._began, 3), kind=request.kind,
                     cause=lost.cause, detail=lost.detail, kept=kept)
            )  # fmt: skip
        else:
            latency = time.monotonic() - due
            self.tally.answer(request.kind, latency=latency, release=release)

    async def _on_new(self, request: Request) -> str:
        connection = await self._connected()
        try:
            return await connection.ask(request, within=self._traffic.timeout)
        finally:
            connection.close()

    async def _on_kept(self, request: Request) -> str:
        connection = await self._free.get()
        try:
            if connection is not None and connection.ended():
                self.tally.reconnected += 1
                connection.close()
                connection = None
            if connection is None:
                connection = await self._connected()
            return await connection.ask(request, within=self._traffic.timeout)
        finally:
            if connection is not None and not connection.reusable:
                connection.close()
                connection = None
            self._free.put_nowait(connection)

    async def _connected(self) -> Connection:
        return await connect(self._host, self._port, within=self._traffic.timeout)


def _forget(tasks: set[asyncio.Task[None]], done: asyncio.Task[None]) -> None:
    """Forget a task that ended well; the others are found by whoever waits for all."""
    if not done.cancelled() and done.exception() is None:
        tasks.discard(done)
