"""A full disk: one clear error, the old release serves on, and room is all that the next needs."""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sandbox import Sandbox, mount, must_deploy, must_have_lost_nothing, relative, unmount

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Expect = Callable[[Path, str], None]

CASES = Path(__file__).parent / "cases" / "transcripts" / "disk"
SIZE = 160
"""Megabytes of the disk."""

FILL = """\
import os, pathlib
ballast = pathlib.Path(os.environ["NONEVENT_DATA"]) / "ballast"
with ballast.open("wb", buffering=0) as file:
    for size in (2**20, 2**12):
        try:
            while file.write(bytes(size)) == size:
                pass
        except OSError:
            pass
"""


@pytest.fixture
def small(sandbox: Sandbox) -> Iterator[Sandbox]:
    """A project that has a small disk for all that nonevent keeps, and serves."""
    place = sandbox.path / ".nonevent"
    place.mkdir()
    if os.getuid():
        pytest.skip("only root may mount a small disk")
    mount("-t", "tmpfs", "-o", f"size={SIZE}m", "tmpfs", str(place))
    try:
        yield sandbox.deployed("before")
    finally:
        sandbox.kill()
        unmount(str(place))


@contextmanager
def filled(sandbox: Sandbox, *, left: int) -> Iterator[None]:
    """The disk has only that many bytes left."""
    ballast = sandbox.path / ".nonevent" / "ballast"
    room = os.statvfs(ballast.parent)
    with ballast.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, room.f_bavail * room.f_frsize - left)
    try:
        yield
    finally:
        ballast.unlink()


@pytest.mark.parametrize(("name", "left"), [("artifact", 0), ("layer", 20_000_000)])
def test_a_disk_that_is_full(small: Sandbox, expect: Expect, name: str, left: int) -> None:
    """Without room for the artifact, or for a layer, nothing is begun."""
    before, number = small.remains(), small.number()
    small.says("never")
    with small.load() as load, filled(small, left=left):
        load.wait(answered=5)
        ran = small.type("deploy", "local").must(1)
    must_have_lost_nothing(load.report, number)
    assert small.remains() == before
    expect(CASES / f"{name}.txt", relative(small.told(ran), number))
    must_deploy(small, "with room")


def test_a_disk_that_fills_up_meanwhile(small: Sandbox, expect: Expect) -> None:
    """A disk that fills up within a deploy keeps the host from nothing that leads back."""
    before, number = small.remains(), small.number()
    config = small.config()
    small.commit({**small.config(before='release = ["python fill.py"]\n'), "fill.py": FILL})
    with small.load() as load:
        load.wait(answered=5)
        ran = small.type("deploy", "local")
    assert small.get() == "before"
    must_have_lost_nothing(load.report, number)
    expect(CASES / "meanwhile.txt", relative(small.told(ran), number))
    ran.must(1)
    assert small.remains() == before
    (small.root / "data" / "ballast").unlink()
    small.commit(config)
    must_deploy(small, "with room again")
