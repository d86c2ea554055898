"""A command in a terminal of its own, in which somebody answers what it asks."""

from __future__ import annotations

import contextlib
import os
import pty
import select
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

LIMIT = 60.0


def typed(
    argv: tuple[str, ...],
    *,
    folder: Path,
    env: Mapping[str, str],
    answers: tuple[tuple[str, str], ...],
) -> tuple[int, str]:
    """Run a command and type each answer once it is asked for; its exit status, and all it wrote.

    Raises:
        TimeoutError: a question did not come, or the command did not end.
    """
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(folder)
        os.execvpe(argv[0], argv, dict(env))
    seen, left, begin = "", list(answers), 0
    deadline = time.monotonic() + LIMIT
    with contextlib.suppress(OSError):  # EIO: the other side of the terminal is closed
        while select.select([terminal], [], [], max(0.0, deadline - time.monotonic()))[0]:
            data = os.read(terminal, 65536)
            if not data:
                break
            seen += data.decode(errors="replace")
            if left and left[0][0] in seen[begin:]:
                begin = len(seen)
                os.write(terminal, left.pop(0)[1].encode() + b"\n")
        else:
            os.kill(pid, 9)
            os.waitpid(pid, 0)
            raise TimeoutError(f"after {LIMIT:g} s: {seen[-2000:]}")
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), seen
