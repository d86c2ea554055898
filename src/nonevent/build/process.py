"""Child processes: each with a clean environment, a time limit, and nothing left behind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

PASSED = (
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "TMPDIR",
    "NETRC",
    "SSH_AUTH_SOCK",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "UV_DEFAULT_INDEX",
    "UV_INDEX",
    "UV_INDEX_URL",
    "UV_EXTRA_INDEX_URL",
    "UV_FIND_LINKS",
    "UV_CACHE_DIR",
    "UV_KEYRING_PROVIDER",
    "UV_OFFLINE",
    "UV_SYSTEM_CERTS",
    "UV_NATIVE_TLS",
)
"""What a build may see of the environment it is started in: where to find things, how to get
through a proxy, how to log in. None of it may change a byte of the outcome."""

EPOCH = "315532800"
"""1980-01-01, the earliest time a wheel can hold. The commit's own time would give every commit
new dependencies."""

FIXED = {
    "LANG": "C.UTF-8",
    "LC_ALL": "C.UTF-8",
    "TZ": "UTC",
    "SOURCE_DATE_EPOCH": EPOCH,
    "PYTHONHASHSEED": "0",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONNOUSERSITE": "1",
    "UV_LINK_MODE": "copy",
    "UV_NO_INSTALLER_METADATA": "1",
    "UV_NO_PROGRESS": "1",
    "UV_PYTHON_DOWNLOADS": "never",
    "UV_PREVIEW_FEATURES": "pylock",
    "CFLAGS": "-g0",
    "LDFLAGS": "-Wl,--build-id=none -s",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_TERMINAL_PROMPT": "0",
}


def clean_environment(given: Mapping[str, str]) -> dict[str, str]:
    """What is left of an environment for a build, plus what makes two builds equal."""
    passed = {
        name: value
        for name, value in given.items()
        if name in PASSED or name.startswith("UV_INDEX_")
    }
    passed.setdefault("PATH", os.defpath)
    return passed | FIXED


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a command ended; ``status`` is negative for a signal and None for a timeout."""

    status: int | None
    stdout: bytes
    stderr: str

    @property
    def text(self) -> str:
        """Standard output as text; what is not UTF-8 is shown, not refused."""
        return self.stdout.decode(errors="replace")

    @property
    def ending(self) -> str:
        """How it ended, in words."""
        if self.status is None:
            return "did not end in time"
        if self.status < 0:
            return f"was killed by signal {-self.status}"
        return f"ended with exit code {self.status}"

    def tail(self, lines: int = 30) -> tuple[str, ...]:
        """The last lines of what it wrote, output before errors."""
        written = (self.text + "\n" + self.stderr).splitlines()
        return tuple(line.rstrip() for line in written if line.strip())[-lines:]

    def quoted(self, lines: int = 30) -> tuple[str, ...]:
        """The same, marked as what another program said."""
        return tuple(f"| {line}" for line in self.tail(lines))


def run(
    argv: tuple[str | Path, ...],
    *,
    cwd: Path,
    env: Mapping[str, str],
    limit: float,
    merge: bool = False,
) -> Outcome:
    """Run a command to its end, or to ``limit`` seconds; ``merge`` puts errors into the output.

    It has a session of its own, all of which is killed at the end, so neither a timeout nor an
    interrupt leaves a grandchild behind. Output goes to files: a grandchild that holds a pipe
    open would be waited for.

    Raises:
        OSError: when the program cannot be started.
    """
    child: subprocess.Popen[bytes] | None = None
    status: int | None = None
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        try:
            with _interrupt_held():
                child = subprocess.Popen(
                    argv,
                    cwd=cwd,
                    env=dict(env),
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=subprocess.STDOUT if merge else err,
                    start_new_session=True,
                    umask=0o022,
                )
            status = _ended(child, limit)
        finally:
            if child:
                _kill_session(child)
        out.seek(0)
        err.seek(0)
        return Outcome(status=status, stdout=out.read(), stderr=err.read().decode(errors="replace"))


def _ended(child: subprocess.Popen[bytes], limit: float) -> int | None:
    """The child's status, or None where it was killed at the limit.

    ``wait`` with a timeout looks from time to time, and sees an end up to 50 ms late.
    """
    late = threading.Event()

    def end() -> None:
        late.set()
        child.kill()

    clock = threading.Timer(limit, end)
    clock.daemon = True
    clock.start()
    try:
        status = child.wait()
    finally:
        clock.cancel()
    return None if late.is_set() else status


@contextlib.contextmanager
def _interrupt_held() -> Iterator[None]:
    """Have Ctrl-C wait until the block ends: between fork and assignment a child would be lost."""
    if threading.current_thread() is not threading.main_thread():
        yield  # Python delivers signals to the main thread alone.
        return
    came: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _frame: came.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if came:
        signal.raise_signal(signal.SIGINT)


def _kill_session(child: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):  # Nobody is left, which is the usual end.
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()
