"""One change at a time: a kernel lock, and a note of who holds it.

flock(2) ends with the process that holds it, so it cannot go stale; the note only explains.
The lock that a person sets lies in a file of its own and lasts until it is taken away.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from contextlib import contextmanager, suppress
from typing import IO, TYPE_CHECKING

from nonevent.agent import durable
from nonevent.dataclass import dataclass, replace
from nonevent.errors import Busy, FormatInvalid
from nonevent.model.parse import parse_json

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nonevent.model.layout import Layout
    from nonevent.model.parse import Table

RESERVE = 2**20
"""Bytes: enough for the ledger and the journal of a way back."""
ROOM = 16 * RESERVE
"""Bytes that must be free for the reserve to be laid aside."""
NOTE_LIMIT = 2**20
"""Bytes of a note that are read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """Who, why and since when."""

    by: str
    reason: str
    since: str

    def encoded(self) -> bytes:
        """The note as JSON."""
        raw = {"format": 1, "by": self.by, "reason": self.reason, "since": self.since}
        return json.dumps(raw, ensure_ascii=False).encode()


def _note(table: Table) -> Note:
    table.number("format", most=1)
    note = Note(by=table.text("by"), reason=table.text("reason"), since=table.text("since"))
    table.done()
    return note


def holder(layout: Layout) -> Note | None:
    """Who holds the kernel lock now, or None where nobody does."""
    try:
        descriptor = os.open(layout.lock, os.O_RDONLY)
    except FileNotFoundError:
        return None
    with os.fdopen(descriptor, "rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return _read_note(file.read())
    return None


def _read_note(text: bytes) -> Note:
    """The note; between taking the lock and writing it there is a moment without one."""
    try:
        return parse_json("the lock", text, _note)
    except FormatInvalid:
        # It only explains: whoever waits for the lock is to hear that it is taken, not this.
        return Note(by="somebody", reason="no reason is given", since="")


@contextmanager
def held(layout: Layout, note: Note, *, patience: float = 2.0) -> Iterator[None]:
    """Hold the kernel lock for the length of a block.

    It is tried for ``patience`` seconds: the keeper holds it for moments. On a full disk the
    reserve is given up, so that going back, stopping and pruning can be written down.

    Raises:
        Busy: another process holds it.
    """
    deadline = time.monotonic() + patience
    descriptor = os.open(layout.lock, os.O_RDWR | os.O_CREAT, 0o600)
    # Whoever may read the file may lock it, flock(2).
    os.fchmod(descriptor, 0o600)
    with os.fdopen(descriptor, "rb+") as file:
        while not _taken(file):
            if time.monotonic() >= deadline:
                raise _busy(_read_note(os.pread(file.fileno(), NOTE_LIMIT, 0)))
            time.sleep(0.05)
        if not _written(file, note) or _free(layout) < RESERVE:
            layout.reserve.unlink(missing_ok=True)
        try:
            yield
        finally:
            os.ftruncate(file.fileno(), 0)


def renote(layout: Layout, more: str) -> None:
    """Say more of what the holder of the lock does; the caller is the holder."""
    with layout.lock.open("r+b") as file:
        note = _read_note(file.read())
        _written(file, replace(note, reason=f"{note.reason}; {more}"))


def _written(file: IO[bytes], note: Note) -> bool:
    """Whether there was room for the note; it only explains, so that all goes on without it."""
    try:
        os.ftruncate(file.fileno(), 0)
        os.pwrite(file.fileno(), note.encoded(), 0)
    except OSError:
        return False
    return True


def _free(layout: Layout) -> int:
    room = os.statvfs(layout.root)
    return room.f_bavail * room.f_frsize


def lay_aside(layout: Layout) -> None:
    """Lay the reserve aside where it is not there and there is room."""
    if not layout.reserve.exists() and _free(layout) >= ROOM:
        with suppress(OSError):
            # No zeros: some filesystems keep nothing for them.
            durable.write(layout.reserve, os.urandom(RESERVE), mode=0o600)


def _taken(file: IO[bytes]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _busy(other: Note) -> Busy:
    return Busy(
        f"{other.by} is busy here: {other.reason}",
        context=(f"since {other.since}",) if other.since else (),
        hint="wait for it to end; the lock goes away with the process that holds it",
    )


def person(layout: Layout) -> Note | None:
    """Who locked the environment by hand, or None."""
    try:
        return parse_json("locked.json", layout.locked.read_bytes(), _note)
    except FileNotFoundError:
        return None


def refuse_if_locked(layout: Layout, environment: str) -> None:
    """Refuse to change anything while a person has locked the environment.

    Raises:
        Busy: with who, why and since when.
    """
    note = person(layout)
    if note:
        raise Busy(
            f"{environment} is locked by {note.by}: {note.reason}",
            context=(f"since {note.since}",),
            hint=f"nonevent unlock {environment}",
        )


def set_person(layout: Layout, note: Note) -> None:
    """Lock the environment until :func:`clear_person`.

    Raises:
        FileExistsError: somebody was faster.
    """
    beside = layout.locked.with_name(f".{layout.locked.name}.{os.getpid()}")
    durable.write(beside, note.encoded())
    try:
        # Unlike rename(2), link(2) replaces nothing.
        os.link(beside, layout.locked)
    finally:
        beside.unlink()
    durable.sync_folder(layout.root)


def clear_person(layout: Layout) -> Note | None:
    """Unlock; returns the note that was there."""
    note = person(layout)
    if note:
        layout.locked.unlink()
        durable.sync_folder(layout.root)
    return note
