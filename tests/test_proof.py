"""The proof from /proc: what runs is the release, and no other."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from nonevent.agent import proof
from nonevent.testing.process import until

if TYPE_CHECKING:
    from collections.abc import Iterator

PAUSE = "import signal; signal.pause()"
MAPPED = """
import mmap, signal, sys
file = open(sys.argv[1], "rb")
held = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
signal.pause()
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root with two releases and their layers."""
    for name in ("releases/1/app", "releases/2/app", "layers/deps-1", "layers/deps-2", "data"):
        (tmp_path / name).mkdir(parents=True)
    return tmp_path


def wanted(root: Path, interpreter: str = sys.executable) -> proof.Expected:
    """What the processes of release 2 must be."""
    own = (root / "releases/2", root / "layers/deps-2", root / "data")
    return proof.Expected(
        release="2",
        root=str(root),
        folder=str(root / "releases/2/app"),
        interpreter=os.path.realpath(interpreter),
        own=tuple(str(folder) for folder in own),
    )


@contextmanager
def running(
    folder: Path, *argv: str, release: str = "2", python: str = sys.executable
) -> Iterator[int]:
    """A Python process that works in a folder for a release; its pid, once it is on its way."""
    environment = {**os.environ, "NONEVENT_RELEASE": release}
    with subprocess.Popen((python, "-c", *argv), cwd=folder, env=environment) as process:
        try:
            until(lambda: b"python" in Path(f"/proc/{process.pid}/cmdline").read_bytes())
            yield process.pid
        finally:
            process.kill()


def test_the_right_process_is_believed(root: Path) -> None:
    """Release, interpreter, folder and files are the release's own."""
    with running(root / "releases/2/app", PAUSE) as pid:
        assert proof.complaints(pid, proof.sights(pid), wanted(root)) == ()


def test_another_folder_is_seen(root: Path) -> None:
    """A process that still works in the other release is named."""
    with running(root / "releases/1/app", PAUSE) as pid:
        (said,) = proof.complaints(pid, proof.sights(pid), wanted(root))
    assert "releases/1/app" in said


def test_another_interpreter_is_seen(root: Path) -> None:
    """A process of another Python is named."""
    with running(root / "releases/2/app", PAUSE) as pid:
        (said,) = proof.complaints(
            pid, proof.sights(pid), wanted(root, interpreter="/usr/bin/python-other")
        )
    assert os.path.realpath(sys.executable) in said


def test_another_release_is_seen(root: Path) -> None:
    """A process that was started for another release is named."""
    with running(root / "releases/2/app", PAUSE, release="1") as pid:
        (said,) = proof.complaints(pid, proof.sights(pid), wanted(root))
    assert "started for release 1" in said


@pytest.mark.parametrize(("layer", "count"), [("deps-1", 1), ("deps-2", 0)])
def test_an_extension_of_another_release_is_seen(root: Path, layer: str, count: int) -> None:
    """A file that is mapped from another release's layer is named, one's own is not."""
    library = root / "layers" / layer / "speed.so"
    library.write_bytes(b"\x7fELF" * 2000)
    with running(root / "releases/2/app", MAPPED, str(library)) as pid:
        until(lambda: str(library) in Path(f"/proc/{pid}/maps").read_text())
        said = proof.complaints(pid, proof.sights(pid), wanted(root))
    assert len(said) == count
    assert all(str(library) in text for text in said)


def test_a_layer_whose_name_begins_alike_is_another(root: Path) -> None:
    """``deps-22`` is not ``deps-2``."""
    other = root / "layers" / "deps-22"
    other.mkdir()
    (other / "speed.so").write_bytes(b"\x7fELF" * 2000)
    with running(root / "releases/2/app", MAPPED, str(other / "speed.so")) as pid:
        until(lambda: "speed.so" in Path(f"/proc/{pid}/maps").read_text())
        assert len(proof.complaints(pid, proof.sights(pid), wanted(root))) == 1


def test_a_child_in_the_other_release_is_seen(root: Path) -> None:
    """The whole tree is looked at: a forked worker of the old release is named."""
    spawn = f"import subprocess, sys; subprocess.run((sys.executable, '-c', {PAUSE!r}), cwd={str(root / 'releases/1/app')!r})"  # noqa: E501
    with running(root / "releases/2/app", spawn) as pid:
        until(lambda: proof.complaints(pid, proof.sights(pid), wanted(root)))
        (said,) = proof.complaints(pid, proof.sights(pid), wanted(root))
        child = int(said.split()[1])
        assert child != pid
        os.kill(child, 9)
    assert "releases/1/app" in said


def test_a_child_may_work_elsewhere(root: Path) -> None:
    """An app may start other programs in other places: only other releases are refused."""
    spawn = "import subprocess; subprocess.run(('sleep', '60'), cwd='/')"
    with running(root / "releases/2/app", spawn) as pid:
        children = Path(f"/proc/{pid}/task/{pid}/children")
        until(children.read_text)
        assert proof.complaints(pid, proof.sights(pid), wanted(root)) == ()
        os.kill(int(children.read_text()), 9)


def test_a_program_that_was_replaced_is_seen(root: Path) -> None:
    """A process whose program was deleted below it runs something that is not on the disk."""
    program = root / "releases/2/app/sleep"
    shutil.copy(shutil.which("sleep") or "/bin/sleep", program)
    with subprocess.Popen((str(program), "60"), cwd=program.parent) as process:
        until(lambda: os.readlink(f"/proc/{process.pid}/exe") == str(program))
        program.unlink()
        (said,) = proof.complaints(process.pid, proof.sights(process.pid), wanted(root))
        process.kill()
    assert "deleted" in said


def test_a_process_that_is_gone_is_no_proof(root: Path) -> None:
    """Nothing is proven by a process that has ended."""
    with running(root / "releases/2/app", PAUSE) as pid:
        pass
    assert proof.complaints(pid, proof.sights(pid), wanted(root)) == (f"process {pid} is gone",)
