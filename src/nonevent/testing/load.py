"""Constant load on an app, to see whether a deployment loses a request.

``python -m nonevent.testing.load URL --rate 50`` runs until SIGTERM, SIGINT or ``--duration``,
then prints a report; :class:`Load` runs it beside a test. Requests are due at a constant rate
whatever the app does, so a stall shows as latency and not as fewer requests.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from nonevent.testing.report import report_from
from nonevent.testing.traffic import KINDS, MODES, Generator, Traffic

if TYPE_CHECKING:
    from types import TracebackType

    from nonevent.testing.report import Report

PROGRESS = 0.1
"""Seconds between two lines of progress."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a load has come."""

    sent: int = 0
    answered: int = 0
    lost: int = 0


class Load:
    """A load in a process of its own, from entering the context to leaving it.

    It ends by itself when this process is gone: nobody reads its progress then.
    """

    def __init__(self, traffic: Traffic) -> None:
        self.progress = Progress()
        self.exit_status: int | None = None
        """Once it has ended: 0 where nothing was lost, 1 where something was."""
        self._traffic = traffic
        self._report: Report | None = None
        self._changed = threading.Condition()
        self._process: subprocess.Popen[str] | None = None
        self._reader = threading.Thread(target=self._read, daemon=True)

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            (sys.executable, "-m", "nonevent.testing.load", *self._traffic.argv(), "--json"),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._reader.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def report(self) -> Report:
        """What became of the requests; there after the end of the context.

        Raises:
            RuntimeError: where the load has not ended, or ended without a report.
        """
        if self._report is None:
            raise RuntimeError("the load has no report")
        return self._report

    def stop(self) -> None:
        """Send no further request, and wait for the last answers."""
        process = self._process
        if process is None or self.exit_status is not None:
            return
        process.terminate()
        try:
            self.wait_for_end(within=self._traffic.timeout + 10)
        except TimeoutError:
            process.kill()
            self.wait_for_end(within=10)

    def wait_for_end(self, *, within: float) -> None:
        """Wait until the duration is over and the last answers have come.

        Raises:
            TimeoutError: where that takes longer than that many seconds.
        """
        if self._process is None:
            raise RuntimeError("the load was not started")
        try:
            self.exit_status = self._process.wait(within)
        except subprocess.TimeoutExpired as error:
            raise TimeoutError(f"the load goes on after {within:g} s") from error
        self._reader.join(10)

    def wait(self, *, answered: int, within: float = 30.0) -> Progress:
        """Wait until that many requests have been answered since the start.

        Raises:
            TimeoutError: where they are not within that many seconds.
        """
        deadline = time.monotonic() + within
        with self._changed:
            while self.progress.answered < answered:
                if not self._changed.wait(deadline - time.monotonic()):
                    raise TimeoutError(f"{self.progress} after {within:g} s")
            return self.progress

    def _read(self) -> None:
        if self._process is None or self._process.stdout is None:
            return
        with self._process.stdout as lines:
            for line in lines:
                event = json.loads(line)
                name = event.pop("event")
                with self._changed:
                    if name == "report":
                        self._report = report_from(event)
                    else:
                        self.progress = Progress(**event)
                    self._changed.notify_all()


async def generate(traffic: Traffic, *, as_json: bool) -> Report:
    """Send traffic until a signal or its end, with lines of progress on stdout for a program."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    generator = Generator(traffic)
    running = asyncio.create_task(generator.run(stop))
    while not running.done():
        await asyncio.wait((running,), timeout=PROGRESS)
        tally = generator.tally
        if as_json and not running.done():
            _print({"event": "progress", "sent": tally.sent, "answered": tally.answered,
                    "lost": tally.lost.total()})  # fmt: skip
    return running.result()


def _print(event: dict[str, object]) -> None:
    print(json.dumps(event), flush=True)  # noqa: T201


def mix_from(text: str) -> tuple[tuple[str, int], ...]:
    """The mix in ``fast=80,slow=10``.

    Raises:
        ValueError: where the text is not that.
    """
    pairs = tuple(part.split("=") for part in text.split(","))
    mix = tuple((kind, int(weight)) for kind, weight in pairs)
    if any(kind not in KINDS or weight < 0 for kind, weight in mix):
        raise ValueError(text)
    return mix


def traffic_from(argv: tuple[str, ...]) -> tuple[Traffic, bool]:
    """What a command line asks for, and whether it wants JSON."""
    usual: dict[str, Any] = {
        name: each.default for name, each in Traffic.__dataclass_fields__.items()
    }
    parser = argparse.ArgumentParser(prog="nonevent.testing.load", description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--rate", type=float, help="requests per second")
    parser.add_argument("--mode", choices=MODES)
    parser.add_argument("--mix", type=mix_from, help="kinds and weights: fast=80,slow=10,upload=10")
    parser.add_argument("--duration", type=float, help="seconds; without it until a signal")
    parser.add_argument("--fast", help="path of fast requests")
    parser.add_argument("--slow", help="path of slow requests")
    parser.add_argument("--upload", help="path that answers length and SHA-256 of an upload")
    parser.add_argument("--connections", type=int, help="how many are kept alive")
    parser.add_argument("--timeout", type=float, help="seconds until a request counts as lost")
    parser.add_argument("--largest", type=int, help="bytes of the largest upload")
    parser.add_argument("--seed", type=int)
    parser.add_argument("--json", action="store_true", help="one event per line")
    del usual["url"]
    parser.set_defaults(**usual)
    options = vars(parser.parse_args(argv))
    as_json = bool(options.pop("json"))
    return Traffic(**options), as_json


def main(argv: tuple[str, ...]) -> int:
    """Run the load. Exit status: 0 where nothing was lost, else 1, also where nobody reads it."""
    traffic, as_json = traffic_from(argv)
    try:
        report = asyncio.run(generate(traffic, as_json=as_json))
        if as_json:
            _print({"event": "report", **report.as_dict()})
        else:
            print(report, flush=True)  # noqa: T201
    except BrokenPipeError:
        # Nobody reads any more. Python flushes stdout once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return 1 if report.lost_count else 0


if __name__ == "__main__":
    sys.exit(main(tuple(sys.argv[1:])))
