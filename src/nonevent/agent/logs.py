"""Logs of instances: the last lines, and those to come."""

from __future__ import annotations

import os
import re
import time
from io import FileIO
from typing import TYPE_CHECKING

from nonevent.dataclass import dataclass
from nonevent.errors import UsageError
from nonevent.model.instance import read_instance_id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from nonevent.model.layout import Layout

LOOK_EVERY = 0.2
"""Seconds between two looks at what was written."""
CHUNK = 2**20
EVIDENCE = 30
"""Lines of a log that an error shows."""
_ERROR = re.compile(r"[\w.]*(Error|Exception)\b(: |$)")
"""The last line of a traceback, e.g. ``ModuleNotFoundError: No module named 'shop'``."""
OWN = ("front", "keeper", "supervisord")
"""Logs that are shown only when they are asked for by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Which lines are wanted."""

    service: str = ""
    """All services where it is empty."""
    release: int | None = None
    lines: int = 100
    since: float = 0.0
    """Only what was written after this moment, where times are known; Unix seconds."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of a log."""

    log: str
    """The instance or program that wrote it."""
    text: str
    time: float = 0.0
    """Unix seconds; 0 where it is not known."""


@dataclass(slots=True)
class _Tail:
    """One log that is followed, also over its rotation."""

    path: Path
    place: int = 0
    inode: int = 0
    rest: bytes = b""

    def new_lines(self) -> Iterator[str]:
        """What was written since the last look."""
        try:
            with self.path.open("rb") as file:
                inode = os.fstat(file.fileno()).st_ino
                if inode != self.inode:
                    self.place, self.inode, self.rest = 0, inode, b""
                file.seek(self.place)
                data = file.read(CHUNK)
                self.place += len(data)
        except FileNotFoundError:
            return
        *lines, self.rest = (self.rest + data).split(b"\n")
        yield from (line.decode(errors="replace") for line in lines)


def make(layout: Layout) -> None:
    """The folder of logs is there, and not for every user of the machine."""
    layout.logs.mkdir(exist_ok=True)
    layout.logs.chmod(0o750)


def private(path: Path, mode: str) -> FileIO:
    """Open a log to write, unbuffered, so that what was said is there after any crash."""
    return FileIO(path, mode, opener=lambda name, flags: os.open(name, flags, 0o640))


def chosen(layout: Layout, asked: Asked) -> tuple[Path, ...]:
    """The logs that the question is about, the oldest first."""
    found: list[tuple[float, Path]] = []
    for path in layout.logs.glob("*.log"):
        name = path.stem.removesuffix(".relay")
        instance = read_instance_id(name)
        if instance is None:
            # A timer, or a program of our own: not of one release.
            wanted = {name} if name in OWN else {name, ""}
            fits = asked.service in wanted and asked.release is None
        else:
            fits = asked.service in {"", instance.service} and asked.release in {
                None,
                instance.release,
            }
        if fits:
            found.append((path.stat().st_mtime, path))
    return tuple(path for _, path in sorted(found))


def names(layout: Layout) -> tuple[str, ...]:
    """The logs that there are, sorted."""
    return tuple(sorted(path.stem for path in layout.logs.glob("*.log")))


def lines(layout: Layout, asked: Asked, *, ended: Callable[[], bool] | None) -> Iterator[Entry]:
    """The last lines of each log; with ``ended`` also each line as it is written, until then.

    Raises:
        UsageError: there is no such log.
    """
    if not chosen(layout, asked):
        known = ", ".join(names(layout))
        raise UsageError("there is no such log", context=(f"logs: {known or 'none'}",))
    return _follow(layout, asked, ended=ended) if ended else _last(layout, asked)


def _last(layout: Layout, asked: Asked) -> Iterator[Entry]:
    for path in chosen(layout, asked):
        data = path.read_bytes()[-CHUNK:]
        found = data.decode(errors="replace").splitlines()
        yield from (Entry(path.stem, line) for line in found[-asked.lines :])


def _follow(layout: Layout, asked: Asked, *, ended: Callable[[], bool]) -> Iterator[Entry]:
    yield from _last(layout, asked)
    tails: dict[Path, _Tail] = {}
    for path in chosen(layout, asked):
        stat = path.stat()
        tails[path] = _Tail(path, stat.st_size, stat.st_ino)
    while not ended():
        for path in chosen(layout, asked):
            tail = tails.setdefault(path, _Tail(path))
            yield from (Entry(path.stem, line) for line in tail.new_lines())
        time.sleep(LOOK_EVERY)


def last_lines(log: Path, count: int = EVIDENCE) -> tuple[str, ...]:
    """The end of a log, as evidence in an error."""
    try:
        with log.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - 64 * 1024))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return ()
    return tuple(f"| {line}" for line in telling(lines, count))


def telling(lines: list[str], count: int = EVIDENCE) -> list[str]:
    """The last lines of a log, after the last error of an app that they do not show.

    gunicorn ends a failed boot with a traceback of its own that is longer than what is shown,
    and the cause stands above that.
    """
    shown = lines[-count:]
    causes = [line for line in lines[:-count] if _ERROR.match(line)]
    hidden = causes and not any(_ERROR.match(line) for line in shown[:-1])
    return [causes[-1], "…", *shown[2:]] if hidden else shown
