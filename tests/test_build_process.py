"""Child processes of a build."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING

import pytest

from nonevent.build.process import clean_environment, run

if TYPE_CHECKING:
    from pathlib import Path

ENV = clean_environment(os.environ)


def is_alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        with open(f"/proc/{pid}/stat") as stat:  # noqa: PTH123
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_little_of_the_environment_is_passed() -> None:
    """Settings of this machine that could change a build are not; proxies and indexes are."""
    env = clean_environment({
        "PATH": "/bin", "PIP_INDEX_URL": "x", "PYTHONPATH": "x", "VIRTUAL_ENV": "x", "CC": "x",
        "UV_PYTHON": "x", "UV_CONFIG_FILE": "x", "SECRET_KEY": "x", "GIT_DIR": "x", "CFLAGS": "x",
        "HTTPS_PROXY": "p", "UV_INDEX_MINE_PASSWORD": "s", "UV_DEFAULT_INDEX": "i", "TZ": "Mars",
    })  # fmt: skip
    assert not {name for name, value in env.items() if value == "x"}
    assert (env["HTTPS_PROXY"], env["UV_INDEX_MINE_PASSWORD"], env["TZ"]) == ("p", "s", "UTC")


def test_a_command_that_never_ends_is_killed_with_its_children(tmp_path: Path) -> None:
    """At its limit a command and what it started are gone, and what it wrote is kept."""
    script = "import os, time\npid = os.fork()\nif pid: print(pid, flush=True)\ntime.sleep(600)\n"
    begun = time.monotonic()
    ended = run((sys.executable, "-c", script), cwd=tmp_path, env=ENV, limit=1.0)
    assert ended.status is None
    assert ended.ending == "did not end in time"
    assert time.monotonic() - begun < 10
    deadline = time.monotonic() + 10
    while is_alive(int(ended.text)):
        assert time.monotonic() < deadline


def test_a_child_in_the_background_is_not_waited_for(tmp_path: Path) -> None:
    """A daemon that holds the output open neither blocks the build nor outlives the command."""
    ended = run(("sh", "-c", "sleep 600 & echo $!"), cwd=tmp_path, env=ENV, limit=20.0, merge=True)
    assert ended.status == 0
    deadline = time.monotonic() + 10
    while is_alive(int(ended.text)):
        assert time.monotonic() < deadline


def test_an_interrupt_kills_the_command(tmp_path: Path) -> None:
    """Ctrl-C while a command runs leaves no process of it."""
    code = f"""
import os, signal, sys, threading
from pathlib import Path
from nonevent.build.process import run
there = Path({str(tmp_path / "pid")!r})
def interrupt():
    while not there.exists() or not there.read_text().strip():
        pass
    os.kill(os.getpid(), signal.SIGINT)
threading.Thread(target=interrupt).start()
try:
    run(("sh", "-c", "echo $$ > pid; sleep 600"), cwd=there.parent, env=os.environ, limit=30.0)
except KeyboardInterrupt:
    sys.exit(7)
"""
    ended = run((sys.executable, "-c", code), cwd=tmp_path, env=ENV, limit=30.0)
    assert ended.status == 7, ended.stderr
    assert not is_alive(int((tmp_path / "pid").read_text()))


def test_a_program_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    """The caller hears of it as OSError, before anything runs."""
    with pytest.raises(FileNotFoundError):
        run(("no-such-program",), cwd=tmp_path, env=ENV, limit=1.0)
