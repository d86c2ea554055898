"""One bed's number, and the end of beds that nobody holds any more.

Everything a bed makes on the machine is named after its number or written down in its record
before it is made. Whoever uses a bed holds a kernel lock on the number: a record without a holder
is what a killed process left behind, and the next bed clears it away. No process is looked for by
name or by a number that may have been given to another since: a host's processes are those in its
cgroup.
"""

from __future__ import annotations

import fcntl
import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from . import cgroup
from .mount import mounts_below, unmount
from .network import Network
from .root import cache

RUN = Path("/run/nonevent-bed")
"""Gone after a reboot of the machine, as are the beds."""
MOST = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """The right to everything that bears one number."""

    index: int
    disk: Path
    cgroups: tuple[Path, ...]
    lock: IO[str] = field(repr=False)

    @property
    def folder(self) -> Path:
        """Small files of this bed: record, keys, configuration of ssh, logs."""
        return RUN / str(self.index)

    @property
    def network(self) -> Network:
        """The namespace of the bed."""
        return Network(index=self.index)

    def keep(self) -> None:
        """Let the bed outlive this process, until it is taken down by number."""
        (self.folder / "kept").touch()
        self.lock.close()

    def clear(self) -> None:
        """End and remove everything, in whatever state it is; the number is free afterwards."""
        cgroup.kill(self.cgroups)
        for mount in mounts_below(self.disk):
            unmount(mount)
        self.network.down()
        cgroup.remove(self.cgroups)
        if not mounts_below(self.disk):
            shutil.rmtree(self.disk, ignore_errors=True)
        shutil.rmtree(self.folder)
        self.lock.close()


def claim() -> Claim:
    """Take the first free number, after clearing away what nobody holds."""
    RUN.mkdir(mode=0o700, exist_ok=True)
    for index in range(MOST):
        if (left := take(index)) is not None:
            left.clear()
    for index in range(MOST):
        lock = _lock(index)
        if lock is None:
            continue
        if (RUN / str(index)).exists():
            lock.close()
            continue
        return _begin(index, lock)
    raise LookupError(f"all {MOST} beds of this machine are in use")


def take(index: int, *, kept: bool = False) -> Claim | None:
    """Take over a number that has a record but no holder; a kept bed only when asked for."""
    record = RUN / str(index) / "record.json"
    if not record.exists() or (record.with_name("kept").exists() and not kept):
        return None
    if (lock := _lock(index)) is None:
        return None
    if not record.exists():
        lock.close()
        return None
    known = json.loads(record.read_text())
    return Claim(
        index=index,
        disk=Path(known["disk"]),
        cgroups=tuple(map(Path, known["cgroups"])),
        lock=lock,
    )


def kept() -> tuple[int, ...]:
    """The numbers of beds that were left for a person."""
    return tuple(sorted(int(file.parent.name) for file in RUN.glob("*/kept")))


def _begin(index: int, lock: IO[str]) -> Claim:
    """Write the record, then make what it names."""
    name = f"nonevent-bed-{index}"
    begun = Claim(
        index=index,
        disk=cache() / "hosts" / str(index),
        cgroups=tuple(home / name for home in cgroup.homes()),
        lock=lock,
    )
    partial = RUN / f"{index}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(mode=0o700)
    record = {"disk": str(begun.disk), "cgroups": [str(path) for path in begun.cgroups]}
    (partial / "record.json").write_text(json.dumps(record))
    partial.rename(begun.folder)
    # A restart of the machine takes records away, and leaves disks.
    shutil.rmtree(begun.disk, ignore_errors=True)
    begun.disk.mkdir(parents=True)
    for each in begun.cgroups:
        cgroup.make(each)
    begun.network.up()
    return begun


def _lock(index: int) -> IO[str] | None:
    """A lock that ends with the process; children do not inherit it."""
    file = (RUN / f"{index}.lock").open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file
