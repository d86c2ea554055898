"""The keeper: a second pair of eyes.

Where there is no systemd it runs timers from the release that serves. Under systemd it brings up,
at boot, the release that the ledger names. Everywhere it forgets instances that have finished, and
brings a plan to an end whose agent was killed. It is itself kept running by the process manager.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from nonevent.agent import facts, journal, kernel, ledger, lock, running, switch
from nonevent.agent.apply import apply, recover
from nonevent.agent.host import Host
from nonevent.agent.process.kinds import KINDS
from nonevent.dataclass import dataclass, field, replace
from nonevent.embedded.timers import Timers
from nonevent.errors import Busy, NoneventError
from nonevent.model.layout import Layout
from nonevent.model.service import Kind
from nonevent.model.want import Start, Want

if TYPE_CHECKING:
    from nonevent.model.instance import InstanceId

AGAIN = 5.0
"""Seconds until what could not be started is tried again."""
EVERY = 1.0
"""Seconds between two rounds."""
TIDY_EVERY = 5.0
LONGEST_PAUSE = 300.0


def main(arguments: list[str]) -> int:
    """Run until SIGTERM; returns the exit status."""
    parser = argparse.ArgumentParser(prog="nonevent-keeper", description=__doc__)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--manager", choices=tuple(KINDS), default="embedded")
    parser.add_argument("--app", default="app")
    parser.add_argument("--environment", default="environment")
    chosen = parser.parse_args(arguments)
    layout = Layout(chosen.root.resolve())
    ending = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ending.set())
    manager = KINDS[chosen.manager](chosen.app, chosen.environment, "")
    if chosen.manager == "embedded":
        keep(Host(layout=layout, manager=manager, inside=True), ending, Timers(layout))
    else:
        want = Want(app=chosen.app, environment=chosen.environment, goal=Start(), by="the keeper")
        bring_up(Host(layout=layout, manager=manager), want, ending)
        keep(Host(layout=layout, manager=manager), ending)
    return 0


def bring_up(host: Host, want: Want, ending: threading.Event) -> None:
    """Start what the ledger names, as after a boot; what fails is said, and tried again."""
    note = lock.Note(by=want.by, reason="starting what is to run", since=ledger.now())
    while not ending.is_set():
        history = ledger.history(host.layout)
        if not (history.current and history.running) and not journal.interrupted(host.layout):
            return
        try:
            with lock.held(host.layout, note, patience=0):
                recover(replace(host))
                if ledger.history(host.layout).running:
                    apply(replace(host), want)
        except Busy:
            # Somebody is at it, and does as much.
            pass
        except (NoneventError, OSError) as error:
            _say(error)
        else:
            return
        ending.wait(AGAIN)


def keep(host: Host, ending: threading.Event, timers: Timers | None = None) -> None:
    """Do rounds until ``ending`` is set; what goes wrong in one is said, and tried again.

    A keeper whose process manager was killed ends: the next one has a keeper of its own.
    """
    house = House(host)
    parent = os.getppid()
    while not ending.is_set() and os.getppid() == parent:
        try:
            if timers:
                timers.round(time.time())
            house.round(time.monotonic())
        except (NoneventError, OSError) as error:
            _say(error)
        ending.wait(EVERY)
    if timers:
        timers.end()


def _say(error: Exception) -> None:
    print(f"{ledger.now()} {error}", file=sys.stderr, flush=True)  # noqa: T201


@dataclass(slots=True)
class House:
    """Recovering and tidying; times are those of the monotonic clock, in seconds."""

    known: Host
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
        cut_off = journal.interrupted(self.known.layout) is not None and now >= self.due
        if not cut_off and not self.waiting and now - self.tidied < TIDY_EVERY:
            return
        self.tidied = now
        note = lock.Note(by="the keeper", reason="tidying up", since=ledger.now())
        # A fresh value: one remembers how far its plan got.
        host = replace(self.known)
        try:
            with lock.held(host.layout, note, patience=0):
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
        """Tell web instances to stop that a deploy left to us, when nobody talks to them.

        What stands by is left alone until its time is over.
        """
        linked = {instance for _, instance in switch.links(host.layout)}
        standby = facts.standby(ledger.history(host.layout))
        left = {
            each.id: running.service_of(host.layout, each.id)
            for each in facts.instances(host.layout, host.manager)
            if each.usable and each.id not in linked and each.id.release != standby
        }
        webs = {each: service for each, service in left.items() if service.kind is Kind.WEB}
        self.waiting = {each: self.waiting.get(each, now) for each in webs}
        for each, service in webs.items():
            waited = now - self.waiting[each]
            idle = kernel.connections(str(host.layout.socket(str(each)))) == 0
            if (idle and waited >= EVERY) or waited >= service.drain_limit:
                running.retire(host, each)
