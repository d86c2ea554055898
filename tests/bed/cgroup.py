"""Cgroups of the bed: what a host uses, and the surest way to end all of it.

``cgroups(7)``. With ``--keep-unit`` all hosts would share the caller's cgroup, so that each gets
one of its own, beforehand, in every hierarchy that is mounted: version 1, 2 or both.
"""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from functools import partial
from pathlib import Path

from .wait import until


def homes() -> tuple[Path, ...]:
    """The folders, one per hierarchy, below which this process may make cgroups.

    In version 1 that is its own cgroup, so that limits set on it hold for the hosts too. In
    version 2 a cgroup with processes cannot hand controllers on, hence the top.
    """
    own = {}
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        number, controllers, path = line.split(":", 2)
        own[controllers if number != "0" else "2"] = path.lstrip("/")
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields, _, kind = line.partition(" - ")
        mount = Path(fields.split()[4])
        if kind.startswith("cgroup2 "):
            found.append(mount)
        elif kind.startswith("cgroup "):
            options = set(kind.split()[2].split(","))
            path = next((p for c, p in own.items() if set(c.split(",")) <= options), "")
            found.append(mount / path if (mount / path).is_dir() else mount)
    return tuple(found)


def make(folder: Path) -> None:
    """Make one cgroup; a cpuset takes no process before it has processors and memory."""
    folder.mkdir(exist_ok=True)
    for name in ("cpuset.cpus", "cpuset.mems"):
        file = folder / name
        if file.exists() and not (folder / "cgroup.controllers").exists():
            file.write_text((folder.parent / name).read_text())
    control = folder.parent / "cgroup.subtree_control"
    if control.exists():
        for controller in ("+cpu", "+memory", "+pids"):
            with suppress(OSError):
                control.write_text(controller)


def processes(folders: tuple[Path, ...]) -> set[int]:
    """Every process in these cgroups and those below them."""
    found = set()
    for folder in folders:
        for each, _, _ in os.walk(folder):  # Unlike rglob, it bears folders that go meanwhile.
            with suppress(OSError):
                words = Path(each, "cgroup.procs").read_text().split()
                found |= {int(word) for word in words}
    return found


def kill(folders: tuple[Path, ...]) -> None:
    """End every process in these cgroups at once and wait until none is left."""

    def gone() -> bool:
        left = processes(folders)
        for pid in sorted(left):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return not left

    until(gone, seconds=20, what="the processes of a host to end")


def remove(folders: tuple[Path, ...]) -> None:
    """Remove empty cgroups, the lowest first."""
    for folder in folders:
        for each, _, _ in os.walk(folder, topdown=False):
            until(partial(_removed, Path(each)), seconds=10, what=f"{each} to be removed")


def cpu_seconds(folders: tuple[Path, ...]) -> float:
    """Seconds of processor time that these cgroups have used."""
    for folder in folders:
        if (folder / "cpuacct.usage").exists():
            return int((folder / "cpuacct.usage").read_text()) / 1e9
    for folder in folders:
        for line in _read(folder / "cpu.stat").splitlines():
            if line.startswith("usage_usec "):
                return int(line.split()[1]) / 1e6
    raise LookupError("no hierarchy counts processor time")


def memory_peak(folders: tuple[Path, ...]) -> int:
    """Bytes that these cgroups held at most, page cache included."""
    for folder in folders:
        for name in ("memory.max_usage_in_bytes", "memory.peak"):
            if text := _read(folder / name):
                return int(text)
    raise LookupError("no hierarchy counts memory")


def _removed(folder: Path) -> bool:
    with suppress(FileNotFoundError):
        try:
            folder.rmdir()
        except OSError:
            return False
    return True


def _read(file: Path) -> str:
    try:
        return file.read_text()
    except FileNotFoundError:
        return ""
