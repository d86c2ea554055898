"""The machine itself: the agent as a child process of its own session."""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

from nonevent.agent import durable
from nonevent.agent.tools import python
from nonevent.errors import TransportFailed
from nonevent.model.layout import Layout
from nonevent.model.protocol import Channel
from nonevent.transport import zipapp
from nonevent.transport.base import Connection

if TYPE_CHECKING:
    from pathlib import Path

UNPACK_LIMIT = 60.0
END_LIMIT = 120.0
"""Seconds an agent may take to go back or finish after its client has closed the connection."""


@dataclass(frozen=True, slots=True)
class Local:
    """The app's folder on this machine."""

    root: Path

    def connect(self, by: str) -> Connection:
        """Start the agent; a Ctrl-C in this terminal does not reach it."""
        said = tempfile.TemporaryFile()  # noqa: SIM115  (closed with the connection)
        child = subprocess.Popen(
            (*self._agent(), "serve", "--root", str(self.root)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=said,
            start_new_session=True,
        )
        assert child.stdin and child.stdout  # noqa: S101, PT018  (both are pipes)
        channel = Channel(child.stdout, child.stdin)
        connection = Connection(
            channel, close=lambda: _close(child, said), abandon=lambda: _abandon(child)
        )
        try:
            connection.greet(by)
        except BaseException:
            connection.close()
            raise
        return connection

    def attach(self, arguments: tuple[str, ...]) -> int:
        """Run one command of the agent in this terminal."""
        words = (*self._agent(), arguments[0], "--root", str(self.root), *arguments[1:])
        return subprocess.run(words, check=False).returncode

    def _agent(self) -> tuple[str, ...]:
        """What starts the agent, unpacked beside the releases, where it outlives this client."""
        tools = Layout(self.root.resolve()).tools
        folder = tools / f"agent-{zipapp.digest()}"
        if not folder.is_dir():
            try:
                tools.mkdir(parents=True, exist_ok=True)
                packed = folder.with_suffix(".pyz")
                durable.write(packed, zipapp.encoded())
                subprocess.run(
                    (python(), "-I", "-S", str(packed), "unpack", str(folder)),
                    check=True,
                    timeout=UNPACK_LIMIT,
                    capture_output=True,
                    text=True,
                )
                packed.unlink()
            except (OSError, subprocess.SubprocessError) as error:
                output = getattr(error, "stderr", "") or ""
                raise TransportFailed(
                    f"the agent cannot be installed into {tools}: {error}",
                    context=tuple(output.splitlines()[-5:]),
                ) from error
        return (python(), "-I", "-S", str(folder))


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
