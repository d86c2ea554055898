"""What /proc shows: connections of a Unix socket, processes and their environment."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from nonevent.agent import kernel
from nonevent.testing.process import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SLEEPER = "import signal; signal.pause()"


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[socket.socket]:
    """A Unix socket that accepts nothing by itself."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "web-1.sock"))
        server.listen(8)
        yield server


def _connected(path: Path) -> socket.socket:
    client = socket.socket(socket.AF_UNIX)
    client.connect(str(path))
    return client


def test_a_listener_alone_has_no_connection(listener: socket.socket) -> None:
    """The listening socket itself does not count, else a drain would never end."""
    assert kernel.connections(listener.getsockname()) == 0


def test_queued_and_accepted_connections_count(listener: socket.socket, tmp_path: Path) -> None:
    """A connection counts from connect(2) until the server closes it, accepted or not."""
    name = listener.getsockname()
    with _connected(tmp_path / "web-1.sock"):
        assert kernel.connections(name) == 1
        accepted, _ = listener.accept()
        with accepted, _connected(tmp_path / "web-1.sock"):
            assert kernel.connections(name) == 2


def test_connections_through_the_link_count_for_the_instance(
    listener: socket.socket, tmp_path: Path
) -> None:
    """Whoever connected through ``web.sock`` is found under the name of the instance's socket."""
    (tmp_path / "web.sock").symlink_to("web-1.sock")
    with _connected(tmp_path / "web.sock"):
        assert kernel.connections(listener.getsockname()) == 1
        assert kernel.connections(str(tmp_path / "web.sock")) == 0


def test_a_connection_that_ended_does_not_count(listener: socket.socket, tmp_path: Path) -> None:
    """A drain ends when the server has closed what it accepted."""
    with _connected(tmp_path / "web-1.sock"):
        accepted, _ = listener.accept()
        accepted.close()
        assert kernel.connections(listener.getsockname()) == 0


def test_a_name_with_spaces_is_found(tmp_path: Path) -> None:
    """The folder of a project may have spaces in its name."""
    path = tmp_path / "my  shop.sock"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        with _connected(path):
            assert kernel.connections(str(path)) == 1


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """A process with a child of its own, and a variable that names it."""
    parent = (
        "import signal, subprocess, sys\n"
        f"child = subprocess.Popen([sys.executable, '-c', {SLEEPER!r}])\n"
        "signal.signal(signal.SIGTERM, lambda *_: (child.kill(), child.wait(), sys.exit()))\n"
        "print(child.pid, flush=True)\n"
        "signal.pause()\n"
    )
    with subprocess.Popen(
        (sys.executable, "-c", parent),
        stdout=subprocess.PIPE,
        env={**os.environ, "WHO": "a=b"},
    ) as process:
        yield process
        process.terminate()


def test_descendants_are_a_process_and_all_below_it(sleeper: subprocess.Popen[bytes]) -> None:
    """The tree begins with the process itself and holds its children."""
    assert sleeper.stdout
    child = int(sleeper.stdout.readline())
    found = kernel.descendants(sleeper.pid, kernel.processes())
    assert [each.pid for each in found] == [sleeper.pid, child]


def test_the_environment_of_a_process_is_read(sleeper: subprocess.Popen[bytes]) -> None:
    """A value may hold an equals sign."""
    assert sleeper.stdout
    sleeper.stdout.readline()
    assert kernel.environment(sleeper.pid)["WHO"] == "a=b"


def test_a_process_is_described(sleeper: subprocess.Popen[bytes]) -> None:
    """Parent, program, folder and arguments are the kernel's own."""
    assert sleeper.stdout
    sleeper.stdout.readline()
    found = kernel.process(sleeper.pid)
    assert found
    assert found.parent == os.getpid()
    assert kernel.executable(sleeper.pid) == os.path.realpath(sys.executable)
    assert kernel.working_folder(sleeper.pid) == os.getcwd()  # noqa: PTH109
    assert kernel.arguments(sleeper.pid)[1] == "-c"


def test_what_is_gone_is_nothing() -> None:
    """Asking about a process that has ended is no error: it may end at any moment."""
    with subprocess.Popen((sys.executable, "-c", SLEEPER)) as process:
        process.send_signal(signal.SIGKILL)
    assert kernel.process(process.pid) is None
    assert kernel.environment(process.pid) == {}
    assert kernel.executable(process.pid) == ""
    assert kernel.mapped_files(process.pid) == ()
    assert kernel.arguments(process.pid) == ()


def test_the_dead_that_nobody_waited_for_are_left_out() -> None:
    """A zombie holds nothing any more: it does not keep a stop waiting."""
    process = subprocess.Popen((sys.executable, "-c", ""))
    try:
        until(lambda: (found := kernel.process(process.pid)) and found.state == "Z")
        assert kernel.descendants(process.pid, kernel.processes()) == ()
    finally:
        process.wait()
