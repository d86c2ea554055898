"""Release commands: run once, before the switch, by the new release's interpreter."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import time
from collections import deque
from typing import TYPE_CHECKING

from nonevent.agent import kernel, launch, ledger, logs
from nonevent.agent.logs import EVIDENCE
from nonevent.agent.tools import agent_command
from nonevent.dataclass import dataclass
from nonevent.errors import CommandFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from nonevent.agent.host import Host
    from nonevent.model.layout import Layout
    from nonevent.model.plan import RunCommand

LIMIT = 3600.0
"""Seconds a release command may take."""
STOP_LIMIT = 10.0
NAME = "release"
"""What release commands are found by in /proc."""


def run_command(host: Host, step: RunCommand) -> str:
    """Run a release command; each line of its output is an event, and stands in the log.

    Raises:
        CommandFailed: it ended with an error, or took too long.
        Interrupted: the operator wanted out; the command was told to stop.
    """

    def told(text: str) -> None:
        host.emit({"event": "output", "command": step.command, "text": text})

    words = launch.words(host.layout, step.command, step.release)
    ended = run_as_app(host, step.release, words, told=told)
    if ended.status:
        raise CommandFailed(
            f"`{step.command}` ended with status {ended.status}", context=ended.tail
        )
    return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a command of a release ended, and the last lines it wrote."""

    status: int
    tail: tuple[str, ...]


def run_as_app(
    host: Host,
    number: int,
    words: tuple[str, ...],
    *,
    service: str = "",
    limit: float = LIMIT,
    told: Callable[[str], None] = lambda _: None,
) -> Ended:
    """Run a command in a release's environment, or in that of one of its services, to its end.

    Raises:
        CommandFailed: it took too long.
        Interrupted: the operator wanted out; the command was told to stop.
    """
    layout = host.layout
    secrets = ledger.history(layout).secrets_for(number)
    argv = (
        *agent_command(),
        "exec",
        *("--root", str(layout.root), "--release", str(number), "--name", NAME),
        *("--secrets", str(secrets), "--service", service),
        "--",
        *words,
    )
    logs.make(layout)
    tail: deque[str] = deque(maxlen=EVIDENCE)
    with logs.private(layout.log(f"release-{number}"), "ab") as log:
        child = subprocess.Popen(
            host.manager.as_app(argv),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            for line in _lines(host, child, limit):
                log.write(line + b"\n")
                text = line.decode(errors="replace")
                tail.append(f"| {text}")
                told(text)
            status = child.wait(timeout=STOP_LIMIT)
        except BaseException:
            # Also a full disk: the way back must not meet a migration that still goes on.
            if host.manager.as_app(argv) != argv:
                # They are another user's, to whom no signal of ours gets through.
                end_left_behind(host)
            _end(child)
            raise
    return Ended(status=status, tail=tuple(tail))


def _lines(host: Host, child: subprocess.Popen[bytes], limit: float) -> Iterator[bytes]:
    """The lines of a child's output until it ends; what it left running is not waited for."""
    assert child.stdout  # noqa: S101  (it was started with a pipe)
    descriptor = child.stdout.fileno()
    deadline = time.monotonic() + limit
    rest = b""
    while True:
        host.check()
        if time.monotonic() > deadline:
            raise CommandFailed(f"a command of the release took longer than {limit:g} s")
        ended = child.poll() is not None
        ready, _, _ = select.select([descriptor], [], [], 0.05)
        data = os.read(descriptor, 65536) if ready else b""
        *lines, rest = (rest + data).split(b"\n")
        yield from lines
        if not data and (ended or ready):
            break
    if rest:
        yield rest


def _end(child: subprocess.Popen[bytes]) -> None:
    """Ask the command and all it started to end, and then make sure."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(timeout=STOP_LIMIT)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait(timeout=STOP_LIMIT)


def end_left_behind(host: Host) -> None:
    """End release commands whose agent was killed, as the user they run as.

    Raises:
        CommandFailed: one does not end.
    """
    argv = (*agent_command(), "end-commands", "--root", str(host.layout.root))
    as_app = host.manager.as_app(argv)
    if as_app == argv:
        end_commands(host.layout)
        return
    try:
        subprocess.run(as_app, check=True, capture_output=True, text=True, timeout=3 * STOP_LIMIT)
    except (OSError, subprocess.SubprocessError) as error:
        said = str(getattr(error, "stderr", "") or error)
        raise CommandFailed("a release command does not end", context=(f"| {said}",)) from error


def end_commands(layout: Layout) -> None:
    """End release commands whose agent was killed. The caller holds the lock, so no other runs.

    The next deploy must not run a migration beside one that still goes on.
    """
    deadline = time.monotonic() + STOP_LIMIT
    asked: set[int] = set()
    while left := _left_behind(layout):
        late = time.monotonic() > deadline
        for pid in left if late else left - asked:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL if late else signal.SIGTERM)
        asked |= left
        if late and time.monotonic() > deadline + STOP_LIMIT:
            raise CommandFailed(f"a release command does not end: process {min(left)}")
        time.sleep(0.05)


def _left_behind(layout: Layout) -> set[int]:
    mark = {"NONEVENT_ROOT": str(layout.root), "NONEVENT_INSTANCE": NAME}.items()
    return {
        each.pid
        for each in kernel.processes()
        if each.state != "Z" and mark <= kernel.environment(each.pid).items()
    }
