"""One `nonevent` command as a process of its own, heard through its events."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NONEVENT = (sys.executable, "-P", "-m", "nonevent.cli.__main__")
LIMIT = 600.0
"""Seconds until a command is killed; a first build may have to download its packages."""
UNDO_LIMIT = 90.0
"""Seconds that an interrupted command gets to put everything back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a command ended, and how many seconds it took from its start."""

    status: int
    seconds: float


def run(folder: Path, *words: str, hear: Callable[[dict[str, object]], None]) -> Ended:
    """Run ``nonevent WORDS`` in a folder; ``hear`` is called with each of its events.

    An exception, Ctrl-C too, interrupts the command once and waits until it has put
    everything back.
    """
    began = time.monotonic()
    # In a session of its own, so that the terminal's Ctrl-C reaches it once, and from here.
    with subprocess.Popen(
        (*NONEVENT, *words, "--json"),
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as child:
        limit = threading.Timer(LIMIT, child.kill)
        limit.start()
        try:
            for line in child.stdout or ():
                hear(json.loads(line))
            status = child.wait()
        except BaseException:
            _interrupt(child)
            raise
        finally:
            limit.cancel()
    return Ended(status=status, seconds=time.monotonic() - began)


def show(folder: Path, *words: str) -> None:
    """Run ``nonevent WORDS``, which changes nothing, and let it say what it says."""
    argv = (*NONEVENT, *words)
    subprocess.run(argv, cwd=folder, stdin=subprocess.DEVNULL, timeout=UNDO_LIMIT, check=True)


def _interrupt(child: subprocess.Popen[str]) -> None:
    child.send_signal(signal.SIGINT)
    try:
        child.communicate(timeout=UNDO_LIMIT)
    except subprocess.TimeoutExpired:
        child.kill()
