"""The agent, or what leads to it, as a child process of the client."""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
from typing import IO, TYPE_CHECKING

from nonevent.model.protocol import Channel
from nonevent.transport.base import Connection

if TYPE_CHECKING:
    from collections.abc import Callable

END_LIMIT = 120.0
"""Seconds an agent may take to go back or finish after its client has closed the connection."""


def converse(
    argv: tuple[str, ...], by: str, *, prepare: Callable[[Connection], None] | None = None
) -> Connection:
    """Start a child in a session of its own, which a Ctrl-C in this terminal does not reach.

    ``prepare`` may talk to whatever stands in front of the agent, before the agent is greeted.

    Raises:
        TransportFailed: nobody answers who speaks the protocol.
    """
    said = tempfile.TemporaryFile()  # noqa: SIM115  (closed with the connection)
    child = subprocess.Popen(
        argv,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=said,
        start_new_session=True,
    )
    assert child.stdin  # noqa: S101  (both are pipes)
    assert child.stdout  # noqa: S101
    connection = Connection(
        Channel(child.stdout, child.stdin),
        close=lambda: _close(child, said),
        abandon=lambda: _abandon(child),
    )
    try:
        if prepare:
            prepare(connection)
        connection.greet(by)
    except BaseException:
        connection.close()
        raise
    return connection


def _abandon(child: subprocess.Popen[bytes]) -> None:
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
    _abandon(child)
    try:
        child.wait(timeout=END_LIMIT)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
    said.seek(0)
    text = said.read().decode(errors="replace")
    said.close()
    return text
