"""Turning into a service: the release's environment, its folder, its interpreter, execve(2).

Whatever runs a command of a release comes through here: the process manager, timers, release
commands, ``nonevent run``. Secrets are read here, at the last moment.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import shlex
import signal
from typing import TYPE_CHECKING, NoReturn

from nonevent.agent import release, variables
from nonevent.agent.tools import agent_command
from nonevent.dataclass import dataclass, replace
from nonevent.errors import ReleaseUnknown, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from nonevent.agent.release import Staged
    from nonevent.model.layout import Layout

_PASSED_ON = (
    *("TERM", "COLUMNS", "LINES", "TZ"),
    # Set where a unit has a WatchdogSec=, sd_watchdog_enabled(3).
    *("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"),
)
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_PYTHON = re.compile(r"python(3(\.\d+)?)?")
_SCRIPT = re.compile(rb"#!.*(?:python|/bin/sh)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """What is to run, and as what."""

    release: int
    name: str
    """The instance, the timer, or the purpose: what logs and processes are found by."""
    service: str = ""
    secrets: int = 0
    port: int = 0
    argv: tuple[str, ...] = ()
    """Instead of the service's command."""


def environment(
    layout: Layout, staged: Staged, launch: Launch, *, base: Mapping[str, str]
) -> dict[str, str]:
    """The whole environment of a process of a release, from nothing.

    Later wins: the artifact's own variables, the configuration version, secrets, the service's.
    What Nonevent says of itself cannot be overridden. Of ``base`` only a terminal's variables, the
    time zone and where systemd's watchdog listens get through.
    """
    folder = layout.release(staged.number)
    manifest = staged.manifest
    service = manifest.service(launch.service)
    paths = [str(folder / "venv" / "bin"), str(folder / "lib" / "bin"), SYSTEM_PATH]
    values = {
        "PATH": ":".join(paths),
        **_account(os.getuid()),
        "LANG": "C.UTF-8",
        "PYTHONUNBUFFERED": "1",
        **{name: base[name] for name in _PASSED_ON if name in base},
        **dict(manifest.env),
        **variables.config(layout, staged.config),
        **variables.secrets(layout, launch.secrets),
        **(dict(service.env) if service else {}),
        "VIRTUAL_ENV": str(folder / "venv"),
        # A release is immutable, and its byte code is inside already.
        "PYTHONDONTWRITEBYTECODE": "1",
        "NONEVENT_APP": manifest.app,
        "NONEVENT_ENVIRONMENT": staged.environment,
        "NONEVENT_RELEASE": str(staged.number),
        "NONEVENT_COMMIT": manifest.commit,
        "NONEVENT_ARTIFACT": manifest.digest,
        "NONEVENT_ROOT": str(layout.root),
        "NONEVENT_DATA": str(layout.data),
        "NONEVENT_INSTANCE": launch.name,
    }
    if (folder / "lib").is_dir():
        own = (str(folder / "lib"), values.get("PYTHONPATH", ""))
        values["PYTHONPATH"] = ":".join(part for part in own if part)
    if launch.service:
        values["NONEVENT_SERVICE"] = launch.service
        values["NONEVENT_SOCKET"] = str(layout.socket(launch.name))
    if launch.port:
        values["NONEVENT_PORT"] = str(launch.port)
    return values


def _account(uid: int) -> dict[str, str]:
    try:
        own = pwd.getpwuid(uid)
    except KeyError:
        # Containers run under ids that have no account.
        return {"HOME": "/"}
    return {"HOME": own.pw_dir, "USER": own.pw_name, "LOGNAME": own.pw_name}


def command(layout: Layout, staged: Staged, launch: Launch) -> tuple[str, ...]:
    """The words to execute, with placeholders filled and the release's own programs in place.

    Raises:
        UsageError: the release has no such service.
    """
    if launch.argv:
        return resolved(layout.release(staged.number), launch.argv)
    service = staged.manifest.service(launch.service)
    if service is None:
        raise UsageError(f"release {staged.number} has no service {launch.service}")
    socket = layout.socket(launch.name)
    argv = words(layout, service.command, staged.number, socket=str(socket), port=launch.port)
    return resolved(layout.release(staged.number), argv)


def words(
    layout: Layout, command: str, release: int, *, socket: str = "", port: int = 0
) -> tuple[str, ...]:
    """The words of a command with its placeholders filled; a value with spaces stays one word."""
    values = {"socket": socket, "port": port, "data": layout.data, "release": release}
    return tuple(word.format(**values) for word in shlex.split(command))


def resolved(folder: Path, argv: tuple[str, ...]) -> tuple[str, ...]:
    """A command with a program of the virtualenv started through the release's interpreter.

    A console script is handed to the interpreter itself, by its real name: its own first line
    would go through a shell, and through whatever PATH then says.
    """
    program, *rest = argv
    python = str(folder / "venv" / "bin" / "python")
    if _PYTHON.fullmatch(program):
        return (python, *rest)
    if "/" in program:
        return argv
    for binaries in (folder / "venv" / "bin", folder / "lib" / "bin"):
        script = binaries / program
        if script.is_file():
            with script.open("rb") as file:
                is_script = _SCRIPT.match(file.readline(512))
            return (python, str(script), *rest) if is_script else (str(script), *rest)
    return argv


def free_port() -> int:
    """A port of this machine on which nobody listens."""
    import socket

    with socket.socket() as attempt:
        attempt.bind(("127.0.0.1", 0))
        return int(attempt.getsockname()[1])


def _relay_beside(layout: Layout, launch: Launch) -> None:
    """Start what passes connections on from the socket to the port, in the same unit of systemd.

    It ends with the process that this one becomes, by KillMode=, and ends it where it fails.
    """
    import subprocess

    argv = (*agent_command(), "relay", "--listen", str(layout.socket(launch.name)),
            "--to", f"127.0.0.1:{launch.port}")  # fmt: skip
    main = os.getpid()
    # Twice, so that it is no child of the server's, which knows its own.
    if os.fork():
        os.wait()
    elif os.fork():
        os._exit(0)
    else:
        with contextlib.suppress(OSError):
            subprocess.run(argv, env={}, check=False)
        os.kill(main, signal.SIGKILL)
        os._exit(1)


def _clear(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise UsageError(f"{path} is in the way: {error.strerror}", hint=f"rm -r {path}") from error


def execute(layout: Layout, launch: Launch) -> NoReturn:
    """Become the process.

    Raises:
        ReleaseUnknown: the release is not on this host.
        UsageError: the program does not exist.
    """
    staged = release.read(layout, launch.release)
    if staged is None:
        raise ReleaseUnknown(f"release {launch.release} is not on this host")
    service = staged.manifest.service(launch.service)
    # Another command in a service's environment is not what listens.
    is_service = bool(launch.service) and not launch.argv
    if service and is_service and service.listens_on_port and not launch.port:
        launch = replace(launch, port=free_port())
        _relay_beside(layout, launch)
    argv = command(layout, staged, launch)
    values = environment(layout, staged, launch, base=os.environ)
    os.chdir(layout.release(staged.number) / "app")
    if is_service and not launch.port:
        # What a predecessor left that was killed: not every server takes it away.
        _clear(layout.socket(launch.name))
    try:
        os.execvpe(argv[0], argv, values)  # noqa: S606
    except OSError as error:
        raise UsageError(
            f"cannot run `{argv[0]}`: {error.strerror}",
            hint="is it among the project's dependencies, and in the lock file?",
        ) from error
