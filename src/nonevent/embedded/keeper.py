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
from pathlib import Path

from nonevent.agent import journal, ledger, lock, running
from nonevent.agent.apply import recover
from nonevent.agent.host import Host
from nonevent.agent.process import supervisor
from nonevent.embedded.timers import Timers
from nonevent.errors import Busy, NoneventError
from nonevent.model.layout import Layout

EVERY = 1.0
"""Seconds between two rounds."""
TIDY_EVERY = 5.0


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
    tidied = 0.0
    parent = os.getppid()
    while not ending.is_set() and os.getppid() == parent:
        try:
            timers.round(time.time())
            if journal.interrupted(layout) or time.monotonic() - tidied >= TIDY_EVERY:
                tidied = time.monotonic()
                _tidy(layout)
        except (NoneventError, OSError) as error:
            print(f"{ledger.now()} {error}", file=sys.stderr, flush=True)  # noqa: T201
        ending.wait(EVERY)
    timers.end()


def _tidy(layout: Layout) -> None:
    """Recover and forget, unless somebody is at it: then it is theirs to do."""
    note = lock.Note(by="the keeper", reason="tidying up", since=ledger.now())
    host = Host(layout=layout, manager=supervisor, inside=True)
    try:
        with lock.held(layout, note, patience=0):
            if journal.interrupted(layout):
                recover(host)
            running.tidy(host)
    except Busy:
        return
