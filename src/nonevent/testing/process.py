"""Child processes and conditions, each with a deadline."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

WITHIN = 15.0
"""Seconds that a wait may take."""


def until(condition: Callable[[], object], *, within: float = WITHIN) -> None:
    """Wait until ``condition`` returns something true.

    Raises:
        TimeoutError: where it does not within that many seconds.
    """
    deadline = time.monotonic() + within
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {within:g} s")
        time.sleep(0.005)


def end(process: subprocess.Popen[bytes]) -> int:
    """Stop a process with SIGTERM, unless it has ended, and return its exit status.

    Raises:
        subprocess.TimeoutExpired: where it did not stop; it was killed then.
    """
    if process.poll() is None:
        process.terminate()
    try:
        return process.wait(WITHIN)
    finally:
        process.kill()
        process.wait(WITHIN)


def accepts(path: Path) -> bool:
    """Whether a process listens on the Unix socket."""
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


def connections(path: Path) -> int:
    """Connections to a Unix socket, accepted or queued, as the kernel counts them."""
    with open("/proc/net/unix") as lines:  # noqa: PTH123
        rows = [line.split() for line in lines]
    return sum(row[-1] == str(path) and row[5] in {"02", "03"} for row in rows)


def relink(link: Path, to: str) -> None:
    """Make the link name ``to``, as a switch does: by one rename."""
    beside = link.with_suffix(".new")
    beside.symlink_to(to)
    beside.rename(link)


@contextlib.contextmanager
def started(module: str, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """A module of this package as a process of its own, stopped at the end."""
    process = subprocess.Popen((sys.executable, "-m", module, *arguments), stderr=subprocess.PIPE)
    try:
        yield process
    finally:
        try:
            end(process)
        finally:
            if process.stderr is not None:
                process.stderr.close()


@contextlib.contextmanager
def app(path: Path, release: str) -> Iterator[subprocess.Popen[bytes]]:
    """:mod:`nonevent.testing.app` on a Unix socket, ready to answer."""
    arguments = ("--socket", str(path), "--release", release)
    with started("nonevent.testing.app", *arguments) as process, first_line(process):
        yield process


@contextlib.contextmanager
def front(to: Path, *options: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """:mod:`nonevent.embedded.front` before a socket, and its port."""
    arguments = ("--port", "0", "--to", str(to), *options)
    with started("nonevent.embedded.front", *arguments) as process, first_line(process) as line:
        words = line.split()
        yield process, int(words[words.index(b"port") + 1])


@contextlib.contextmanager
def relay(path: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """:mod:`nonevent.embedded.relay` from a socket to a port, listening."""
    arguments = ("--listen", str(path), "--to", f"127.0.0.1:{port}")
    with started("nonevent.embedded.relay", *arguments) as process, first_line(process):
        yield process


@contextlib.contextmanager
def first_line(process: subprocess.Popen[bytes]) -> Iterator[bytes]:
    """The first line on stderr; the rest is read and dropped, and the process is stopped."""
    if process.stderr is None:
        raise ValueError("stderr is not a pipe")
    line = process.stderr.readline()
    rest = threading.Thread(target=process.stderr.read, daemon=True)
    rest.start()
    try:
        yield line
    finally:
        end(process)
        rest.join(WITHIN)
