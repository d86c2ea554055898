"""Projects in odd places, processes that die, and real servers."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest
from sandbox import Sandbox, must_deploy

from nonevent.testing.process import until

if TYPE_CHECKING:
    from pathlib import Path


PLACES = {
    "deep": "/".join(["a-folder-with-a-long-name"] * 6),
    "odd": 'my shop\'s "100%" {new} $HOME; café',
}


@pytest.mark.parametrize("name", PLACES)
def test_a_project_may_lie_anywhere(cache: Path, name: str) -> None:
    """Spaces, quotes, percent signs and a path too long for a socket's name do not matter."""
    sandbox = Sandbox(cache, inside=PLACES[name])
    try:
        sandbox.deployed("one")
        must_deploy(sandbox, "two")
        assert "runs its release" in sandbox.type("status", "local").must(0).stdout
        ran = sandbox.type("run", "local", "--", "python", "-c", "import os; print(os.getcwd())")
        assert ran.must(0).stdout == f"{sandbox.root.resolve()}/releases/2/app\n"
        sandbox.type("rollback", "local").must(0)
        assert sandbox.get() == "one"
        sandbox.type("stop", "local").must(0)
        assert not sandbox.processes()
    finally:
        sandbox.end()


def test_the_project_is_found_from_within(sandbox: Sandbox) -> None:
    """A command works in a folder below the project's, and from elsewhere with ``-C``."""
    sandbox.deployed("one")
    (sandbox.path / "static" / "css").mkdir(parents=True)
    # Supervisor calls starting what has not run for a second.
    below = ("status", "local", "-C", "static/css")
    until(lambda: "running (serves)" in sandbox.type(*below).must(0).stdout)


def test_a_service_that_is_killed_is_started_again(sandbox: Sandbox) -> None:
    """A web process that is killed after its deploy comes back by itself, as does all else."""
    sandbox.deployed("one")
    for word in ("serve.py", " front ", " keeper "):
        (pid,) = (pid for pid, words in sandbox.processes().items() if word in words)
        os.kill(pid, signal.SIGKILL)
        until(
            lambda word=word, pid=pid: any(
                word in words and each != pid for each, words in sandbox.processes().items()
            )
        )
    until(lambda: sandbox.get() == "one")
    must_deploy(sandbox, "two")


def test_a_process_manager_that_is_killed(sandbox: Sandbox) -> None:
    """Where all that keeps the app running is killed, `start` brings it back, a deploy does too."""
    sandbox.deployed("one")
    sandbox.kill()
    assert sandbox.get() == ""
    sandbox.type("start", "local").must(0)
    assert sandbox.get() == "one"
    sandbox.kill()
    must_deploy(sandbox, "two")
