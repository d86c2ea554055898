"""The machine itself: the agent as a child process of its own session."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nonevent.agent import durable
from nonevent.agent.tools import python
from nonevent.errors import TransportFailed
from nonevent.model.layout import Layout
from nonevent.transport import zipapp
from nonevent.transport.child import attach, converse

if TYPE_CHECKING:
    from pathlib import Path

    from nonevent.transport.base import Connection

UNPACK_LIMIT = 60.0


@dataclass(frozen=True, slots=True)
class Local:
    """The app's folder on this machine."""

    root: Path

    def connect(self, by: str) -> Connection:
        """Start the agent; a Ctrl-C in this terminal does not reach it."""
        connection = converse((*self._agent(), "serve", "--root", str(self.root)), by)
        connection.near = True
        return connection

    def attach(self, arguments: tuple[str, ...]) -> int:
        """Run one command of the agent in this terminal."""
        words = (*self._agent(), arguments[0], "--root", str(self.root), *arguments[1:])
        return attach(words)

    def _agent(self) -> tuple[str, ...]:
        """What starts the agent, unpacked beside the releases, where it outlives this client."""
        tools = Layout(self.root.resolve()).tools
        folder = tools / f"agent-{zipapp.digest()}"
        if not folder.is_dir():
            try:
                tools.mkdir(parents=True, exist_ok=True)
                # Under a name of our own: another client may be about to do the same.
                packed = folder.with_suffix(f".{os.getpid()}.pyz")
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
        # What was used just now is not pruned before it is started.
        os.utime(folder)
        return (python(), "-I", "-S", str(folder))
