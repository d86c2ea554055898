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
from dataclasses import replace
from pathlib import Path

from nonevent.agent import journal, ledger, lock, running
from nonevent.agent.apply import apply, recover
from nonevent.agent.host import Host
from nonevent.agent.process.kinds import KINDS
from nonevent.embedded.timers import Timers
from nonevent.errors import Busy, NoneventError
from nonevent.model.layout import Layout
from nonevent.model.want import Start, Want

AGAIN = 5.0
"""Seconds until what could not be started is tried again."""
EVERY = 1.0
"""Seconds between two rounds."""
TIDY_EVERY = 5.0


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
    manager = KINDS[chosen.manager](chosen.app, chosen.environment)
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
                recover(host)
                if host.layout.locked.exists():
                    return
                apply(replace(host), want)
        except Busy:
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
    tidied = 0.0
    parent = os.getppid()
    while not ending.is_set() and os.getppid() == parent:
        try:
            if timers:
                timers.round(time.time())
            if journal.interrupted(host.layout) or time.monotonic() - tidied >= TIDY_EVERY:
                tidied = time.monotonic()
                _tidy(host)
        except (NoneventError, OSError) as error:
            _say(error)
        ending.wait(EVERY)
    if timers:
        timers.end()


def _say(error: Exception) -> None:
    print(f"{ledger.now()} {error}", file=sys.stderr, flush=True)  # noqa: T201


def _tidy(host: Host) -> None:
    """Recover and forget, unless somebody is at it: then it is theirs to do."""
    note = lock.Note(by="the keeper", reason="tidying up", since=ledger.now())
    try:
        with lock.held(host.layout, note, patience=0):
            if journal.interrupted(host.layout):
                # A fresh value: one remembers how far its plan got.
                recover(replace(host))
            running.tidy(host)
    except Busy:
        return
