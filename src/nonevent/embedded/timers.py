"""Timers of the embedded process manager: commands on a schedule, from the serving release."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import subprocess
import time
from dataclasses import dataclass, field
from datetime import datetime
from logging import Formatter, LogRecord
from logging.handlers import RotatingFileHandler
from threading import Thread
from typing import TYPE_CHECKING

from cronsim import CronSim, CronSimError

from nonevent.agent import ledger, release
from nonevent.agent.process.supervisor import LOG_BYTES, LOGS_KEPT
from nonevent.agent.tools import agent_command
from nonevent.model.parse import duration
from nonevent.model.service import Kind

if TYPE_CHECKING:
    from nonevent.agent.release import Staged
    from nonevent.model.layout import Layout
    from nonevent.model.service import Service

END_LIMIT = 5.0


def next_run(schedule: str, after: float) -> float:
    """When a schedule is due next, in Unix seconds; cron fields are in the machine's own time.

    ``every 10m`` counts from ``after``. A day that never comes, or a schedule that cannot be
    read, is due never: it must not keep the keeper from all else.
    """
    if schedule.startswith("every "):
        return after + (duration(schedule.removeprefix("every ")) or 60.0)
    local = datetime.fromtimestamp(after).astimezone()
    try:
        return next(CronSim(schedule, local)).timestamp()
    except (CronSimError, StopIteration):
        return math.inf


@dataclass(slots=True)
class _Running:
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
        services = staged.manifest.of_kind(Kind.TIMER) if staged else ()
        wanted = {(each.name, each.schedule): each for each in services}
        self.due = {key: self.due.get(key) or next_run(key[1], now) for key in wanted}
        for name in [name for name, each in self.running.items() if each.child.poll() is not None]:
            self._finish(name)
        for key, service in wanted.items():
            if self.due[key] <= now:
                self.due[key] = next_run(service.schedule, now)
                if staged and service.name not in self.running:
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
        self.running[service.name] = _Running(child, reader)

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

    def _finish(self, name: str, limit: float = END_LIMIT) -> None:
        self.running.pop(name).reader.join(timeout=limit)

    def end(self) -> None:
        """Tell what runs to end, and make sure of it."""
        deadline = time.monotonic() + END_LIMIT
        for each in self.running.values():
            each.child.terminate()
        for name, each in list(self.running.items()):
            self._finish(name, max(0.0, deadline - time.monotonic()))
            with contextlib.suppress(ProcessLookupError):
                os.killpg(each.child.pid, signal.SIGKILL)
