"""One change at a time, and a person's lock."""

from __future__ import annotations

import signal
import subprocess
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import pytest
from test_agent_receive import small_disk

from nonevent.agent import durable, lock
from nonevent.errors import Busy
from nonevent.model.layout import Layout

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NOTE = lock.Note(by="eve@laptop", reason="deploy 9d1e7c2", since="2026-01-01T00:00:00Z")
MINE = lock.Note(by="ada@desk", reason="rollback", since="2026-01-01T00:00:01Z")
HOLD = """
import signal, sys
from pathlib import Path
from nonevent.agent import lock
from nonevent.model.layout import Layout
note = lock.Note(by="eve@laptop", reason="deploy 9d1e7c2", since="2026-01-01T00:00:00Z")
with lock.held(Layout(Path(sys.argv[1])), note):
    print("held", flush=True)
    signal.pause()
"""


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """An empty host."""
    return Layout(tmp_path)


@contextmanager
def another(layout: Layout) -> Iterator[subprocess.Popen[bytes]]:
    """Another process that holds the lock."""
    command = (sys.executable, "-c", HOLD, str(layout.root))
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == b"held\n"
        try:
            yield process
        finally:
            process.kill()


def test_a_second_holder_is_told_who_and_why(layout: Layout) -> None:
    """Whoever comes second hears the first one's name, reason and time."""
    with another(layout):
        assert lock.holder(layout) == NOTE
        with (
            pytest.raises(Busy, match="eve@laptop is busy here: deploy 9d1e7c2") as busy,
            lock.held(layout, MINE, patience=0.1),
        ):
            pytest.fail("two hold the lock")
    assert busy.value.context == ("since 2026-01-01T00:00:00Z",)


def test_the_lock_goes_away_with_its_holder(layout: Layout) -> None:
    """After SIGKILL the lock is free at once, and the next holder's note replaces the old one."""
    with another(layout) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert lock.holder(layout) is None
        with lock.held(layout, MINE, patience=0):
            assert lock.holder(layout) == MINE
    assert lock.holder(layout) is None


def test_the_lock_is_waited_for_a_moment(layout: Layout) -> None:
    """A lock that is let go of within the patience is taken."""
    with another(layout) as process:
        process.kill()
        with lock.held(layout, MINE, patience=10):
            assert lock.holder(layout) == MINE


def test_a_child_does_not_inherit_the_lock(layout: Layout) -> None:
    """What a deploy starts lives on without holding the lock."""
    with lock.held(layout, NOTE):
        child = subprocess.Popen(("sleep", "60"))
    try:
        with lock.held(layout, MINE, patience=0):
            pass
    finally:
        child.kill()
        child.wait()


@pytest.mark.parametrize("text", [b"", b"{", b"\xff" * 5000], ids=["empty", "torn", "garbage"])
def test_a_lock_without_a_note_is_a_lock(layout: Layout, text: bytes) -> None:
    """The note only explains: where it cannot be read, the environment is busy all the same."""
    with lock.held(layout, NOTE):
        layout.lock.write_bytes(text)
        with (
            pytest.raises(Busy, match="somebody is busy"),
            lock.held(layout, MINE, patience=0),
        ):
            pytest.fail("two hold the lock")


def test_a_long_reason_is_shown(layout: Layout) -> None:
    """A note of any length is read whole."""
    long = lock.Note(by="eve", reason="tea " * 5000, since="")
    with (
        lock.held(layout, long),
        pytest.raises(Busy, match="tea tea"),
        lock.held(layout, MINE, patience=0),
    ):
        pytest.fail("two hold the lock")


def test_the_lock_is_for_this_user_alone(layout: Layout) -> None:
    """Whoever can read a file can lock it; one of an older version is closed too."""
    layout.lock.touch(0o644)
    with lock.held(layout, NOTE):
        assert layout.lock.stat().st_mode & 0o7777 == 0o600


def test_a_full_disk_does_not_keep_the_lock_from_anybody(tmp_path: Path) -> None:
    """On a full disk the lock is held, and the reserve makes room for the ledger's line."""
    with small_disk(tmp_path / "disk", "40m") as disk:
        layout = Layout(disk)
        layout.lock.touch()
        lock.lay_aside(layout)
        assert layout.reserve.stat().st_size == lock.RESERVE
        with suppress(OSError), (disk / "other").open("wb", 0) as other:
            while other.write(bytes(4096)):
                pass
        with pytest.raises(OSError, match="No space"):
            durable.append(layout.ledger, "a line\n")
        with lock.held(layout, NOTE):
            durable.append(layout.ledger, "a line\n" * 1000)
            lock.lay_aside(layout)
            assert not layout.reserve.exists(), "there is no room for it now"
        (disk / "other").unlink()
        lock.lay_aside(layout)
        assert layout.reserve.exists()


def test_of_two_persons_who_lock_one_wins(layout: Layout) -> None:
    """The second cannot replace the first one's lock, however close they come."""
    lock.set_person(layout, NOTE)
    with pytest.raises(FileExistsError):
        lock.set_person(layout, MINE)
    assert lock.person(layout) == NOTE
    assert [path.name for path in layout.root.iterdir()] == ["locked.json"]


def test_a_persons_lock_lasts_until_it_is_taken_away(layout: Layout) -> None:
    """It refuses every change, by name and reason, and outlives the process that set it."""
    lock.refuse_if_locked(layout, "production")
    lock.set_person(layout, NOTE)
    with pytest.raises(Busy, match="production is locked by eve@laptop: deploy 9d1e7c2") as busy:
        lock.refuse_if_locked(layout, "production")
    assert busy.value.hint == "nonevent unlock production"
    assert lock.clear_person(layout) == NOTE
    lock.refuse_if_locked(layout, "production")
    assert lock.clear_person(layout) is None
