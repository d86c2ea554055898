"""Timers of the embedded process manager: commands on a schedule, from the serving release."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import subprocess
import time
from datetime import UTC, datetime, timedelta, tzinfo
from logging import Formatter, LogRecord
from logging.handlers import RotatingFileHandler
from threading import Thread
from typing import TYPE_CHECKING

from cronsim import CronSim, CronSimError

from nonevent.agent import kernel, ledger, release, running
from nonevent.agent.host import signal_number
from nonevent.agent.process.supervisor import LOG_BYTES, LOGS_KEPT
from nonevent.agent.tools import agent_command
from nonevent.dataclass import dataclass, field
from nonevent.model.parse import duration
from nonevent.model.service import Kind

if TYPE_CHECKING:
    from nonevent.agent.release import Staged
    from nonevent.model.layout import Layout
    from nonevent.model.service import Service

READ_LIMIT = 5.0
"""Seconds for the last output of a command that has ended."""


class _Local(tzinfo):
    """The machine's own time, summer and winter; ``datetime.astimezone()`` knows one offset only.

    With it, cronsim does as Debian's cron does: what is due in the hour that a spring night leaves
    out runs right after it, and what is due in the hour that an autumn night has twice runs once.
    """

    def utcoffset(self, when: datetime | None) -> timedelta | None:
        return when.replace(tzinfo=None).astimezone().utcoffset() if when else None

    def dst(self, when: datetime | None) -> timedelta | None:  # noqa: ARG002
        return None

    def tzname(self, when: datetime | None) -> str:  # noqa: ARG002
        return "local"

    def fromutc(self, when: datetime) -> datetime:
        return datetime.fromtimestamp(when.replace(tzinfo=UTC).timestamp()).replace(tzinfo=self)  # noqa: DTZ006


_LOCAL = _Local()


def next_run(schedule: str, after: float) -> float:
    """When a schedule is due next, in Unix seconds; cron fields are in the machine's own time.

    ``every 10m`` counts from ``after``. A day that never comes, or a schedule that cannot be
    read, is due never: it must not keep the keeper from all else.
    """
    if schedule.startswith("every "):
        return after + (duration(schedule.removeprefix("every ")) or 60.0)
    try:
        found = CronSim(schedule, datetime.fromtimestamp(after, _LOCAL))
        # In the second turn of an hour that comes twice, the next one may be in the first.
        return next(time for each in found if (time := each.timestamp()) > after)
    except (CronSimError, StopIteration):
        return math.inf


@dataclass(slots=True)
class _Running:
    service: Service
    child: subprocess.Popen[bytes]
    reader: Thread


@dataclass(slots=True)
class Timers:
    """The timers of an app, and which of them run now."""

    layout: Layout
    due: dict[tuple[str, str], float] = field(default_factory=dict)
    running: dict[str, _Running] = field(default_factory=dict)

    def round(self, now: float) -> None:
        """Start what is due. A timer that still runs is not started a second time."""
        staged = self._serving()
        services = staged.here.of_kind(Kind.TIMER) if staged else ()
        wanted = {(each.name, each.schedule): each for each in services}
        # The clock may have been set back since: what was due far ahead is due as it now shows.
        self.due = {key: min(self.due.get(key, math.inf), next_run(key[1], now)) for key in wanted}
        for name in [name for name, each in self.running.items() if each.child.poll() is not None]:
            self._finish(name)
        for key, service in wanted.items():
            if self.due[key] <= now:
                self.due[key] = next_run(service.schedule, now)
                if staged and service.name not in self.running and not self._left(service.name):
                    self._start(staged, service)

    def _serving(self) -> Staged | None:
        history = ledger.history(self.layout)
        if history.current is None or not history.running:
            return None
        return release.read(self.layout, history.current)

    def _start(self, staged: Staged, service: Service) -> None:
        secrets = ledger.history(self.layout).secrets_for(staged.number)
        argv = (
            *agent_command(),
            "exec",
            *("--root", str(self.layout.root), "--release", str(staged.number)),
            *("--name", service.name, "--service", service.name),
            *("--secrets", str(secrets)),
        )
        child = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        reader = Thread(target=self._copy, args=(service.name, child), daemon=True)
        reader.start()
        self.running[service.name] = _Running(service, child, reader)

    def _left(self, name: str) -> bool:
        """Whether a timer still runs that a keeper started which was killed."""
        mark = {"NONEVENT_ROOT": str(self.layout.root), "NONEVENT_INSTANCE": name}.items()
        # It leads a session; what it left behind on purpose does not.
        return any(
            each.state != "Z" and mark <= kernel.environment(each.pid).items() and _leads(each.pid)
            for each in kernel.processes()
        )

    def _copy(self, name: str, child: subprocess.Popen[bytes]) -> None:
        """What the command says, into the timer's rotated log."""
        log = RotatingFileHandler(
            self.layout.log(name), maxBytes=LOG_BYTES, backupCount=LOGS_KEPT, encoding="utf-8"
        )
        log.setFormatter(Formatter("%(message)s"))
        assert child.stdout  # noqa: S101  (it was started with a pipe)
        with child.stdout as output:
            for line in output:
                text = line.decode(errors="replace").rstrip("\n")
                log.emit(LogRecord(name, 20, "", 0, "%s", (text,), None))
        status = child.wait()
        if status:
            text = f"{ledger.now()} {name} ended with status {status}"
            log.emit(LogRecord(name, 40, "", 0, "%s", (text,), None))
        log.close()

    def _finish(self, name: str) -> None:
        self.running.pop(name).reader.join(timeout=READ_LIMIT)

    def end(self) -> None:
        """Tell what runs to end in its own way, and make sure of it at its own limit."""
        began = time.monotonic()
        for each in self.running.values():
            each.child.send_signal(signal_number(each.service.stop_signal))
        for name, each in list(self.running.items()):
            limit = began + min(each.service.stop_limit, running.TIMER_LIMIT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                each.child.wait(timeout=max(0.0, limit - time.monotonic()))
            with contextlib.suppress(ProcessLookupError):
                os.killpg(each.child.pid, signal.SIGKILL)
            self._finish(name)


def _leads(pid: int) -> bool:
    """Whether a process leads a session."""
    try:
        return os.getsid(pid) == pid
    except OSError:
        return False
