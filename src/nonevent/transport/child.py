"""The agent, or what leads to it, as a child process of the client."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import tempfile
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

from nonevent.model.protocol import Channel
from nonevent.transport.base import Connection

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

END_LIMIT = 120.0
"""Seconds an agent may take to go back or finish after its client has closed the connection."""


@dataclass(frozen=True, slots=True)
class Started:
    """A child that may lead to an agent, and to which nobody has spoken yet."""

    child: subprocess.Popen[bytes]
    connection: Connection

    def end(self) -> None:
        """Wait for nothing that it may still do."""
        self.child.kill()
        self.connection.close()


def start(argv: tuple[str, ...], env: Mapping[str, str] | None = None) -> Started:
    """Start a child in a session of its own, which a Ctrl-C in this terminal does not reach."""
    said = tempfile.TemporaryFile()  # noqa: SIM115  (closed with the connection)
    try:
        child = subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=said,
            env=env,
            start_new_session=True,
        )
    except BaseException:
        said.close()
        raise
    assert child.stdin  # noqa: S101  (both are pipes)
    assert child.stdout  # noqa: S101
    connection = Connection(
        Channel(child.stdout, child.stdin),
        close=lambda: _close(child, said),
        abandon=child.stdin.close,
    )
    return Started(child, connection)


def converse(
    argv: tuple[str, ...], by: str, *, prepare: Callable[[Started], None] | None = None
) -> Connection:
    """Start a child and greet the agent that it leads to.

    ``prepare`` may talk to whatever stands in front of the agent, before the agent is greeted.

    Raises:
        TransportFailed: nobody answers who speaks the protocol.
    """
    return greeted(start(argv), by, prepare=prepare)


def greeted(
    started: Started, by: str, *, prepare: Callable[[Started], None] | None = None
) -> Connection:
    """See that the agent is there; see :func:`converse`."""
    connection = started.connection
    try:
        if prepare:
            prepare(started)
        connection.greet(by)
    except BaseException:
        started.end()
        raise
    return connection


def attach(argv: tuple[str, ...]) -> int:
    """Run a child in this terminal; its exit status, 128 and the number for a signal.

    A Ctrl-C reaches the child by itself, and it alone decides what that means, e.g. a shell.
    """
    before = signal.signal(signal.SIGINT, lambda *_: None)
    child = subprocess.Popen(argv)

    def pass_on(number: int, _: object) -> None:
        child.send_signal(number)

    polite = {each: signal.signal(each, pass_on) for each in (signal.SIGTERM, signal.SIGHUP)}
    try:
        status = child.wait()
    finally:
        for number, handler in {signal.SIGINT: before, **polite}.items():
            signal.signal(number, handler)
    return 128 - status if status < 0 else status


def _hang_up(child: subprocess.Popen[bytes]) -> None:
    """End the conversation, and let the agent come to its own end."""
    for stream in (child.stdin, child.stdout):
        if stream:
            # What was not sent before the agent went away is of no use to anybody.
            with contextlib.suppress(OSError):
                stream.close()


def _close(child: subprocess.Popen[bytes], said: IO[bytes]) -> str:
    """End the conversation and wait for the agent, which may have to go back first."""
    if said.closed:
        return ""
    _hang_up(child)
    try:
        child.wait(timeout=END_LIMIT)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
    said.seek(0)
    text = said.read().decode(errors="replace")
    said.close()
    return text
