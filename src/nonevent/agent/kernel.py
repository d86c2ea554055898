"""What the kernel shows: processes in /proc, and Unix sockets in /proc/net/unix (proc(5))."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

from nonevent.dataclass import dataclass

PROC = Path("/proc")
TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
_CONNECTIONS = frozenset({"02", "03"})
"""States in /proc/net/unix: SS_CONNECTING is queued, not accepted yet; SS_CONNECTED is accepted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """A process as /proc shows it."""

    pid: int
    parent: int
    state: str
    """One letter: R, S, D, Z …"""
    started: float
    """Unix time in seconds."""
    memory: int
    """Resident, in bytes."""
    name: str


def process(pid: int) -> Process | None:
    """The process of that id, or None where it is gone or not ours to see."""
    try:
        text = (PROC / str(pid) / "stat").read_text()
    except OSError:
        return None
    # The name stands in brackets and may hold anything, also brackets.
    name, _, rest = text.partition("(")[2].rpartition(") ")
    fields = rest.split()
    return Process(
        pid=pid,
        parent=int(fields[1]),
        state=fields[0],
        started=_booted() + int(fields[19]) / TICKS,
        memory=int(fields[21]) * PAGE,
        name=name,
    )


def lives(pid: int) -> bool:
    """Whether a process runs; one that has ended and that nobody waited for does not."""
    found = process(pid)
    return found is not None and found.state != "Z"


@cache
def _booted() -> float:
    """When the machine was started, in Unix seconds; asked once: setting the clock moves it."""
    for line in (PROC / "stat").read_text().splitlines():
        if line.startswith("btime "):
            return float(line.split()[1])
    return 0.0


def processes() -> tuple[Process, ...]:
    """All processes that can be seen."""
    found = (process(int(name)) for name in os.listdir(PROC) if name.isdigit())
    return tuple(each for each in found if each)


def descendants(pid: int, everything: tuple[Process, ...]) -> tuple[Process, ...]:
    """A process and all below it, it first; dead ones that nobody waited for are left out."""
    children: dict[int, list[Process]] = {}
    for each in everything:
        children.setdefault(each.parent, []).append(each)
    found: list[Process] = [each for each in everything if each.pid == pid]
    for each in found:
        found.extend(child for child in children.get(each.pid, ()) if child not in found)
    return tuple(each for each in found if each.state != "Z")


def environment(pid: int) -> dict[str, str]:
    """The environment that a process was started with; empty where it cannot be read."""
    try:
        raw = (PROC / str(pid) / "environ").read_bytes()
    except OSError:
        return {}
    pairs = (os.fsdecode(part).partition("=") for part in raw.split(b"\0") if part)
    return {name: value for name, _, value in pairs}


def executable(pid: int) -> str:
    """The program a process runs; empty where it cannot be read."""
    return _link(pid, "exe")


def working_folder(pid: int) -> str:
    """The folder a process works in; empty where it cannot be read."""
    return _link(pid, "cwd")


def _link(pid: int, name: str) -> str:
    try:
        return os.readlink(PROC / str(pid) / name)
    except OSError:
        return ""


def mapped_files(pid: int) -> tuple[str, ...]:
    """The files that a process has mapped into memory, e.g. extension modules."""
    try:
        text = (PROC / str(pid) / "maps").read_text(errors="surrogateescape")
    except OSError:
        return ()
    names = {line.split(maxsplit=5)[5] for line in text.splitlines() if line.count("/")}
    return tuple(sorted(name for name in names if name.startswith("/")))


def connections(socket: str) -> int:
    """How many connections a Unix socket has, accepted or still queued, by its name."""
    count = 0
    with (PROC / "net" / "unix").open(errors="surrogateescape") as table:
        for line in table:
            fields = line.rstrip("\n").split(maxsplit=7)
            if len(fields) == 8 and fields[7] == socket and fields[5] in _CONNECTIONS:
                count += 1
    return count


def arguments(pid: int) -> tuple[str, ...]:
    """The command line of a process; empty where it cannot be read."""
    try:
        raw = (PROC / str(pid) / "cmdline").read_bytes()
    except OSError:
        return ()
    return tuple(os.fsdecode(word) for word in raw.rstrip(b"\0").split(b"\0"))
