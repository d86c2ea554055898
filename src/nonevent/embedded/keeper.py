"""The embedded keeper: what systemd does elsewhere, and a second pair of eyes.

It runs timers from the release that serves, forgets instances that have finished, and brings a
plan to an end whose agent was killed. It is itself kept running by the process manager.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from nonevent.agent import facts, journal, kernel, ledger, lock, running, switch
from nonevent.agent.apply import recover
from nonevent.agent.host import Host
from nonevent.agent.process import supervisor
from nonevent.embedded.timers import Timers
from nonevent.errors import Busy, NoneventError
from nonevent.model.layout import Layout
from nonevent.model.service import Kind

if TYPE_CHECKING:
    from nonevent.model.instance import InstanceId

EVERY = 1.0
"""Seconds between two rounds."""
TIDY_EVERY = 5.0
LONGEST_PAUSE = 300.0


def main(arguments: list[str]) -> int:
    """Run until SIGTERM; returns the exit status."""
    parser = argparse.ArgumentParser(prog="nonevent-keeper", description=__doc__)
    parser.add_argument("--root", type=Path, required=True)
    layout = Layout(parser.parse_args(arguments).root.resolve())
    ending = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ending.set())
    keep(layout, ending)
    return 0


def keep(layout: Layout, ending: threading.Event) -> None:
    """Do rounds until ``ending`` is set; what goes wrong in one is said, and tried again.

    A keeper whose process manager was killed ends: the next one has a keeper of its own.
    """
    timers = Timers(layout)
    house = _House(layout)
    parent = os.getppid()
    while not ending.is_set() and os.getppid() == parent:
        try:
            timers.round(time.time())
            house.round(time.monotonic())
        except (NoneventError, OSError) as error:
            print(f"{ledger.now()} {error}", file=sys.stderr, flush=True)  # noqa: T201
        ending.wait(EVERY)
    timers.end()


@dataclass(slots=True)
class _House:
    """Recovering and tidying; times are those of the monotonic clock, in seconds."""

    layout: Layout
    tidied: float = -TIDY_EVERY
    failures: int = 0
    """How often a recovery has failed: each further one is tried later."""
    due: float = 0.0
    waiting: dict[InstanceId, float] = field(default_factory=dict)
    """Web instances that nobody is led to any more, and since when."""

    def round(self, now: float) -> None:
        """Do what is due, unless somebody holds the lock: then it is theirs to do.

        Raises:
            NoneventError: a recovery failed.
        """
        cut_off = journal.interrupted(self.layout) is not None and now >= self.due
        if not cut_off and not self.waiting and now - self.tidied < TIDY_EVERY:
            return
        self.tidied = now
        note = lock.Note(by="the keeper", reason="tidying up", since=ledger.now())
        host = Host(layout=self.layout, manager=supervisor, inside=True)
        try:
            with lock.held(self.layout, note, patience=0):
                if cut_off:
                    self._recover(host, now)
                running.tidy(host)
                self._drain(host, now)
        except Busy:
            return

    def _recover(self, host: Host, now: float) -> None:
        self.failures += 1
        self.due = now + min(EVERY * 2**self.failures, LONGEST_PAUSE)
        recover(host)
        self.failures = 0

    def _drain(self, host: Host, now: float) -> None:
        """Tell web instances to stop that a deploy left to us, when nobody talks to them."""
        linked = {instance for _, instance in switch.links(self.layout)}
        left = {
            each.id: running.service_of(self.layout, each.id)
            for each in facts.instances(self.layout, supervisor)
            if each.usable and each.id not in linked
        }
        webs = {each: service for each, service in left.items() if service.kind is Kind.WEB}
        self.waiting = {each: self.waiting.get(each, now) for each in webs}
        for each, service in webs.items():
            waited = now - self.waiting[each]
            idle = kernel.connections(str(self.layout.socket(str(each)))) == 0
            if (idle and waited >= EVERY) or waited >= service.drain_limit:
                running.retire(host, each)
