"""The embedded process manager: supervisor, which needs neither root nor systemd.

Every instance is a program of its own with ``autostart=false``: after a crash or a reboot
nothing runs until the agent has looked at the ledger. The agent talks XML-RPC over a Unix
socket; see supervisor's documentation, "XML-RPC API Documentation".
"""

from __future__ import annotations

import configparser
import contextlib
import http.client
import io
import os
import re
import signal
import socket
import subprocess
import time
import xmlrpc.client
from typing import TYPE_CHECKING, Any

from nonevent.agent import durable, kernel, proof, switch
from nonevent.agent import logs as files
from nonevent.agent.process.base import Observed, Program
from nonevent.agent.tools import agent_command
from nonevent.errors import BootFailed
from nonevent.model.instance import RunState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from nonevent.model.layout import Layout
    from nonevent.model.manifest import Manifest

START_LIMIT = 20.0
CALL_LIMIT = 10.0
DISMISS_LIMIT = 60.0
"""Seconds beyond the longest stop limit of a program."""
_STOP_LIMIT = re.compile(r"(?m)^stopwaitsecs = (\d+)$")
LOG_BYTES = 10 * 2**20
LOGS_KEPT = 3
_SHUTTING_DOWN = 6
_BAD_NAME = 10
_ALREADY_STARTED = 60
_NOT_RUNNING = 70
_ALREADY_ADDED = 90
_STILL_RUNNING = 91

_STATES = {
    "STARTING": RunState.STARTING,
    "RUNNING": RunState.RUNNING,
    "BACKOFF": RunState.FAILING,
    "STOPPING": RunState.STOPPING,
    "STOPPED": RunState.ENDED,
    "EXITED": RunState.ENDED,
    "FATAL": RunState.ENDED,
    "UNKNOWN": RunState.ENDED,
}


class _Connection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=CALL_LIMIT)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(CALL_LIMIT)
        self.sock.connect(self._path)


class _Transport(xmlrpc.client.Transport):
    def __init__(self, path: str) -> None:
        super().__init__()
        self._path = path

    def make_connection(self, host: object) -> _Connection:  # noqa: ARG002
        return _Connection(self._path)


def _call(layout: Layout, method: str, *arguments: object) -> Any:  # noqa: ANN401
    switch.check_run(layout)
    path = str(_socket(layout))
    with xmlrpc.client.ServerProxy("http://localhost", transport=_Transport(path)) as proxy:
        return getattr(proxy.supervisor, method)(*arguments)


def _socket(layout: Layout) -> Path:
    return layout.run / "supervisor.sock"


def _answers(layout: Layout) -> bool:
    try:
        return bool(_call(layout, "getState")["statename"] == "RUNNING")
    except (OSError, http.client.HTTPException, xmlrpc.client.Error):
        return False


def fit(manifest: Manifest) -> None:
    """It runs whatever a release has: nothing is to be set up before."""


def _is_up(layout: Layout) -> bool:
    """Whether supervisor answers. One that lives and does not is waited for until it has ended.

    Raises:
        BootFailed: it does neither; a second one beside it would start everything twice.
    """
    deadline = time.monotonic() + DISMISS_LIMIT
    while not _answers(layout):
        pid = pid_of(layout)
        if not pid:
            return False
        if time.monotonic() > deadline:
            raise BootFailed(
                f"the embedded process manager, process {pid}, does not answer and has not ended",
                hint=f"it may wait for a program that it stops; else `kill -9 {pid}`",
            )
        time.sleep(0.05)
    return True


def pid_of(layout: Layout) -> int:
    """The supervisor that was started with our configuration, 0 where none lives."""
    config = str(_config(layout))
    found = (each.pid for each in kernel.processes() if each.state != "Z")
    return next((pid for pid in found if config in kernel.arguments(pid)), 0)


def _config(layout: Layout) -> Path:
    return layout.programs / "supervisord.ini"


def _shutdown_limit(layout: Layout) -> float:
    """Seconds until supervisor must have ended once it is told to: it waits for its programs."""
    limits = (
        int(found[1])
        for path in layout.programs.glob("*.conf")
        if (found := _STOP_LIMIT.search(path.read_text()))
    )
    return DISMISS_LIMIT + max(limits, default=0)


def observe(layout: Layout) -> tuple[Observed, ...]:
    """All programs that supervisor knows, and those that an earlier one left behind.

    Raises:
        BootFailed: supervisor runs and does not answer.
        HostUnfit: its folder is somebody else's.
    """
    try:
        known = _call(layout, "getAllProcessInfo")
    except TimeoutError as error:
        raise BootFailed(
            f"the embedded process manager does not answer within {CALL_LIMIT:g} s"
        ) from error
    except (OSError, http.client.HTTPException):
        known = ()
    except xmlrpc.client.Fault as fault:
        if fault.faultCode != _SHUTTING_DOWN:
            raise
        known = ()
    found = tuple(_observed(each) for each in known)
    return (*found, *_lost(layout, {each.pid for each in found if each.pid}))


def _lost(layout: Layout, managed: set[int]) -> Iterator[Observed]:
    """Programs of a supervisor that was killed; it had told each its name and its own socket."""
    everything = kernel.processes()
    known = {each.pid for pid in managed for each in kernel.descendants(pid, everything)}
    for each in everything:
        if each.pid in known or each.state == "Z":
            continue
        values = kernel.environment(each.pid)
        if values.get("SUPERVISOR_SERVER_URL") == f"unix://{_socket(layout)}":
            yield Observed(
                name=values.get("SUPERVISOR_PROCESS_NAME", ""),
                state=RunState.LOST,
                pid=each.pid,
                started=each.started,
            )


def _observed(info: dict[str, Any]) -> Observed:
    ended = info["statename"] in {"EXITED", "BACKOFF", "FATAL"}
    status = int(info["exitstatus"])
    detail = ""
    if ended:
        detail = info["spawnerr"] or _exit_in_words(status)
        if detail.startswith("Exited too quickly"):
            # Supervisor does not keep the status of a program that ended within `startsecs`.
            detail = "ended right after its start"
        detail = detail.replace("Bad exit code", "ended with status")
    return Observed(
        name=str(info["name"]),
        state=_STATES[info["statename"]],
        pid=int(info["pid"]),
        started=float(info["start"]),
        detail=str(detail),
    )


def _exit_in_words(status: int) -> str:
    return f"ended with status {status}" if status >= 0 else "was killed by a signal"


def start(layout: Layout, program: Program) -> None:
    """Define a program and start it, and supervisor itself where it does not run.

    Raises:
        BootFailed: supervisor does not come up, or cannot start the program.
    """
    layout.programs.mkdir(exist_ok=True)
    files.make(layout)
    durable.write(layout.programs / f"{program.name}.conf", _definition(program))
    if not _is_up(layout):
        _launch(layout)
    try:
        _call(layout, "reloadConfig")
        # One that has ended under this name would be started as it was defined then.
        with _tolerated(_BAD_NAME, _STILL_RUNNING):
            _call(layout, "removeProcessGroup", program.name)
        with _tolerated(_ALREADY_ADDED):
            _call(layout, "addProcessGroup", program.name)
        with _tolerated(_ALREADY_STARTED):
            _call(layout, "startProcess", program.name, False)
    except xmlrpc.client.Fault as fault:
        raise BootFailed(
            f"supervisor could not start {program.name}: {fault.faultString}",
            context=(" ".join(program.argv),),
        ) from fault


@contextlib.contextmanager
def _tolerated(*codes: int) -> Any:  # noqa: ANN401
    """Let a fault pass that says that the wanted state is there already."""
    try:
        yield
    except xmlrpc.client.Fault as fault:
        if fault.faultCode not in codes:
            raise


def _definition(program: Program) -> bytes:
    """A program in supervisor's format, in which a percent sign is doubled."""
    command = " ".join(_quoted(word) for word in program.argv)
    return _ini(
        {
            f"program:{program.name}": {
                "command": command.replace("%", "%%"),
                "autostart": "false",
                "autorestart": "true",
                "startsecs": "1",
                # The delay before each further try grows by a second; it never gives up.
                "startretries": "1000000",
                "stopsignal": program.stop_signal,
                "stopwaitsecs": str(max(1, round(program.stop_limit))),
                # The main process is asked, and passes it on; the limit ends the whole group.
                "stopasgroup": "false",
                "killasgroup": "true",
                "redirect_stderr": "true",
                # Supervisor fills in this one twice.
                "stdout_logfile": str(program.log).replace("%", "%%%%"),
                "stdout_logfile_maxbytes": str(LOG_BYTES),
                "stdout_logfile_backups": str(LOGS_KEPT),
            }
        }
    )


def _quoted(word: str) -> str:
    """A word as supervisor's own shlex reads it back: no shell is involved."""
    if word and all(letter.isalnum() or letter in "-_./=:@+," for letter in word):
        return word
    return '"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _ini(sections: dict[str, dict[str, str]]) -> bytes:
    parser = configparser.RawConfigParser()
    parser.read_dict(sections)
    text = io.StringIO()
    parser.write(text)
    return text.getvalue().encode()


def _launch(layout: Layout) -> None:
    """Start supervisor as a process of its own session, and wait until it answers."""
    switch.make_run(layout)
    with contextlib.suppress(FileNotFoundError):
        _socket(layout).unlink()
    config = _config(layout)
    durable.write(config, _main_config(layout))
    with files.private(layout.logs / "supervisord.out", "wb") as output:
        child = subprocess.Popen(
            (*agent_command(), "supervisord", "--nodaemon", "--configuration", str(config)),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=layout.root,
            env={"PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8"},
            start_new_session=True,
            # For the logs: what an app says is not for every user of the machine.
            umask=0o027,
        )
    deadline = time.monotonic() + START_LIMIT
    while not _answers(layout):
        if child.poll() is not None or time.monotonic() > deadline:
            evidence = (layout.logs / "supervisord.out").read_text(errors="replace")
            raise BootFailed(
                "the embedded process manager does not start",
                context=tuple(evidence.splitlines()[-10:]),
            )
        time.sleep(0.02)


def _main_config(layout: Layout) -> bytes:
    def literal(path: Path) -> str:
        return str(path).replace("%", "%%")

    return _ini(
        {
            "unix_http_server": {"file": literal(_socket(layout)), "chmod": "0700"},
            "supervisord": {
                "logfile": literal(layout.logs / "supervisord.log"),
                "logfile_maxbytes": str(2**20),
                "logfile_backups": "1",
                "pidfile": literal(layout.run / "supervisord.pid"),
                "identifier": "nonevent",
                "silent": "true",
            },
            "rpcinterface:supervisor": {
                "supervisor.rpcinterface_factory": (
                    "supervisor.rpcinterface:make_main_rpcinterface"
                )
            },
            # Beside this file; a whole path would be split at its spaces.
            "include": {"files": "*.conf"},
        }
    )


def stop(layout: Layout, name: str) -> None:
    """Tell a program to stop; what is stopped already stays so."""
    with contextlib.suppress(OSError), _tolerated(_NOT_RUNNING, _BAD_NAME, _SHUTTING_DOWN):
        _call(layout, "stopProcess", name, False)
    _stop_lost(layout, {name})


def _stop_lost(layout: Layout, names: set[str]) -> None:
    for each in observe(layout):
        if each.state is RunState.LOST and each.name in names:
            with contextlib.suppress(ProcessLookupError):
                os.kill(each.pid, signal.SIGTERM)


def forget(layout: Layout, names: tuple[str, ...]) -> None:
    """Drop programs that have ended, so that no restart of supervisor knows them."""
    for name in names:
        with contextlib.suppress(FileNotFoundError):
            (layout.programs / f"{name}.conf").unlink()
    if not names or not _answers(layout):
        return
    with _tolerated(_SHUTTING_DOWN):
        _call(layout, "reloadConfig")
    for name in names:
        with _tolerated(_BAD_NAME, _SHUTTING_DOWN):
            _call(layout, "removeProcessGroup", name)


def dismiss(layout: Layout) -> None:
    """End supervisor and whatever it still runs, or left behind."""
    _stop_lost(layout, {each.name for each in observe(layout)})
    pid = pid_of(layout)
    with contextlib.suppress(OSError, http.client.HTTPException), _tolerated(_SHUTTING_DOWN):
        _call(layout, "shutdown")
    deadline = time.monotonic() + _shutdown_limit(layout)
    while pid and kernel.lives(pid):
        if time.monotonic() > deadline:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)


def look(layout: Layout, name: str, pid: int) -> tuple[proof.Sight, ...]:  # noqa: ARG001
    """What /proc shows of a program's processes: they are this user's own."""
    return proof.sights(pid)


def last_lines(layout: Layout, name: str) -> tuple[str, ...]:
    """The end of a program's log."""
    return files.last_lines(layout.log(name))


def logs(
    layout: Layout, asked: files.Asked, *, ended: Callable[[], bool] | None
) -> Iterator[files.Entry]:
    """Lines of the programs' rotated files."""
    return files.lines(layout, asked, ended=ended)


def as_app(argv: tuple[str, ...]) -> tuple[str, ...]:
    """The app's services run as this very user."""
    return argv
