"""Writing so that a crash leaves the old or the new."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from nonevent.agent import durable

if TYPE_CHECKING:
    from pathlib import Path


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    """Who has the old file open reads on in it; the name leads to the new one."""
    path = tmp_path / "file"
    durable.write(path, b"old", mode=0o600)
    with path.open("rb") as old:
        durable.write(path, b"new", mode=0o640)
        assert old.read() == b"old"
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o7777 == 0o640
    assert os.listdir(tmp_path) == ["file"]


def test_the_mode_does_not_depend_on_the_umask(tmp_path: Path) -> None:
    """A secret stays private and a setting readable, whatever the caller's umask is."""
    before = os.umask(0o777)
    try:
        durable.write(tmp_path / "file", b"x", mode=0o640)
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o7777 == 0o640


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    """Where the new file cannot take the name, the old one keeps it."""
    path = tmp_path / "folder"
    path.mkdir()
    (path / "inside").touch()
    with pytest.raises(OSError, match="directory"):
        durable.write(path, b"x")
    assert os.listdir(tmp_path) == ["folder"]


def test_a_link_is_moved_in_one_rename(tmp_path: Path) -> None:
    """The link names a target before and after, also where a crash left one beside it."""
    link = tmp_path / "web.sock"
    (tmp_path / f".web.sock.{os.getpid()}").symlink_to("left by a crash")
    durable.point(link, "web-1.sock")
    durable.point(link, "web-2.sock")
    assert os.readlink(link) == "web-2.sock"
    assert os.listdir(tmp_path) == ["web.sock"]


def test_lines_are_appended_after_the_last_whole_one(tmp_path: Path) -> None:
    """What a crash left torn is cut off first."""
    path = tmp_path / "lines"
    path.write_bytes(b"one\ntw")
    durable.append(path, "three\n")
    assert path.read_bytes() == b"one\nthree\n"
    assert durable.whole_lines(path) == ("one", "three")


def test_no_file_has_no_lines(tmp_path: Path) -> None:
    """Before anything was written there is nothing to read."""
    assert durable.whole_lines(tmp_path / "lines") == ()


APPEND = """
import resource, signal, sys
from pathlib import Path
from nonevent.agent import durable
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (12, 12))
try:
    durable.append(Path(sys.argv[1]), "three four five\\n")
except OSError as error:
    sys.exit(error.errno)
"""


def test_half_a_line_is_taken_back(tmp_path: Path) -> None:
    """Where the file can take only a part of a line, the error is raised and the part is gone."""
    path = tmp_path / "lines"
    path.write_bytes(b"one\ntwo\n")
    done = subprocess.run((sys.executable, "-c", APPEND, str(path)), timeout=20, check=False)
    assert done.returncode == errno.EFBIG
    assert path.read_bytes() == b"one\ntwo\n"
