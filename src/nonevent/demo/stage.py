"""Where the demo plays: a temporary folder and a port, and nothing left of them afterwards."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from nonevent.demo.command import run
from nonevent.errors import NoneventError, PortTaken
from nonevent.model.layout import Layout

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

END_LIMIT = 20.0
"""Seconds until processes that outlived `nonevent stop` are killed."""


@contextlib.contextmanager
def stage(*, keep: bool) -> Iterator[Path]:
    """A new folder; at the end what runs in it is stopped, and it is removed.

    With ``keep`` it stays as it is, unless the demo is interrupted. Signals that end a program
    become KeyboardInterrupt, so that they clean up as well.
    """
    folder = Path(tempfile.mkdtemp(prefix="nonevent-demo-")).resolve()
    usual = {each: signal.signal(each, _interrupt) for each in (signal.SIGTERM, signal.SIGHUP)}
    kept = keep
    try:
        yield folder
    except KeyboardInterrupt:
        kept = False
        raise
    finally:
        usual[signal.SIGINT] = signal.getsignal(signal.SIGINT)
        for each in usual:
            signal.signal(each, signal.SIG_IGN)
        try:
            if not kept:
                clear(folder)
        finally:
            for each, handler in usual.items():
                signal.signal(each, handler)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def clear(folder: Path) -> None:
    """Stop everything that runs in a folder, and remove it.

    Raises:
        NoneventError: something of it is left.
    """
    project = folder / "shop"
    if (project / ".nonevent" / "local").exists():
        run(project, "stop", "local", hear=lambda _: None)
    deadline = time.monotonic() + END_LIMIT
    while left := processes(folder):
        if time.monotonic() > deadline:
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        if time.monotonic() > 2 * END_LIMIT + deadline:
            raise NoneventError(
                f"processes of the demo do not end: {', '.join(map(str, left))}",
                hint=f"kill -9 {' '.join(map(str, left))} && rm -r {folder}",
            )
        time.sleep(0.02)
    shutil.rmtree(Layout(project / ".nonevent" / "local").run, ignore_errors=True)
    for path, _, _ in os.walk(folder):
        # Releases are read-only, for their owner too.
        Path(path).chmod(0o700)
    shutil.rmtree(folder)


def processes(folder: Path) -> tuple[int, ...]:
    """The processes of an app that was deployed below a folder, with its agents."""
    below = os.fsencode(folder) + b"/"
    found = []
    for pid in (int(name) for name in os.listdir("/proc") if name.isdigit()):
        with contextlib.suppress(OSError):
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
            if any(each.startswith(below) and b"/tools/agent-" in each for each in words) or any(
                each.startswith(b"NONEVENT_ROOT=" + below) for each in variables
            ):
                found.append(pid)
    return tuple(sorted(found))


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def refuse_taken(port: int) -> None:
    """See that nobody listens on the port.

    Raises:
        PortTaken: somebody does.
    """
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError as error:
        raise PortTaken(
            f"port {port} cannot be listened on: {os.strerror(error.errno or 0).lower()}",
            hint="nonevent demo, without --port, takes a free one",
        ) from error
