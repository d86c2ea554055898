"""Logs from the systemd journal, found by app, service and release; see journalctl(1)."""

from __future__ import annotations

import json
import os
import select
import subprocess
from typing import TYPE_CHECKING

from nonevent.agent.logs import EVIDENCE, OWN, Asked, Entry, telling

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LIMIT = 30.0
LOOK_EVERY = 0.2


def last_lines(unit: str) -> tuple[str, ...]:
    """The end of what a unit said and what systemd said of it, as evidence in an error."""
    argv = ("journalctl", "--quiet", "-o", "cat", "-n", "300", "-u", unit)
    return tuple(f"| {line}" for line in telling(_output(argv).splitlines(), EVIDENCE))


def _output(argv: tuple[str, ...]) -> str:
    try:
        return subprocess.run(
            argv, capture_output=True, text=True, errors="replace", timeout=LIMIT, check=False
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return ""


def matches(app: str, asked: Asked) -> tuple[str, ...]:
    """The fields that the units give to all their lines; the same field twice means either."""
    found = [f"NONEVENT_APP={app}"]
    if asked.service:
        found.append(f"NONEVENT_SERVICE={asked.service}")
    if asked.release is not None:
        turns = ("", *(f".{turn}" for turn in range(2, 10)))
        found += [f"NONEVENT_RUN={asked.release}{turn}" for turn in turns]
    return tuple(found)


def lines(app: str, asked: Asked, *, ended: Callable[[], bool] | None) -> Iterator[Entry]:
    """The last lines of the app by time, and those to come until ``ended``, if it is given.

    Those of our own programs are shown only when they are asked for by name.
    """
    found = _lines(app, asked, ended=ended)
    yield from (
        each
        for each in found
        if (each.log not in OWN or each.log == asked.service) and each.time > asked.since
    )


def _lines(app: str, asked: Asked, *, ended: Callable[[], bool] | None) -> Iterator[Entry]:
    argv = (
        *("journalctl", "--quiet", "-o", "json", "-n", str(asked.lines)),
        *((f"--since=@{asked.since:.6f}",) if asked.since else ()),
        *matches(app, asked),
    )
    if ended is None:
        yield from (_entry(line) for line in _output(argv).splitlines())
        return
    child = subprocess.Popen((*argv, "--follow"), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    try:
        yield from (_entry(line) for line in _arriving(child, ended))
    finally:
        child.kill()
        child.wait()


def _arriving(child: subprocess.Popen[bytes], ended: Callable[[], bool]) -> Iterator[str]:
    assert child.stdout  # noqa: S101  (it was started with a pipe)
    descriptor = child.stdout.fileno()
    rest = b""
    while not ended():
        ready, _, _ = select.select([descriptor], [], [], LOOK_EVERY)
        if not ready:
            continue
        data = os.read(descriptor, 65536)
        if not data:
            return
        *whole, rest = (rest + data).split(b"\n")
        yield from (line.decode(errors="replace") for line in whole)


def _entry(line: str) -> Entry:
    """An entry of the journal; a text that is no UTF-8 comes as a list of bytes."""
    entry = json.loads(line)
    run = entry.get("NONEVENT_RUN")
    name = str(entry.get("NONEVENT_SERVICE", ""))
    if run:
        name = f"{name}-{run}"
    text = entry.get("MESSAGE")
    if isinstance(text, list):
        text = bytes(text).decode(errors="replace")
    time = int(entry.get("__REALTIME_TIMESTAMP", 0)) / 1e6
    return Entry(name, str(text or ""), time)
