"""Instances: the running services of one release."""

from __future__ import annotations

import re
from enum import StrEnum

from nonevent.dataclass import dataclass

_NAME = re.compile(r"(?P<service>[a-z][a-z0-9-]*)-(?P<release>\d+)(?:\.(?P<turn>\d+))?")


@dataclass(frozen=True, slots=True)
class InstanceId:
    """One start of a service by a release.

    ``turn`` is above 1 only where an earlier instance of the same release has not ended yet,
    e.g. a worker that still finishes its tasks while a rollback brings its release back.
    """

    service: str
    release: int
    turn: int = 1

    def __lt__(self, other: InstanceId) -> bool:
        """Instances are sorted by service, release and turn."""
        return (self.service, self.release, self.turn) < (other.service, other.release, other.turn)

    def __str__(self) -> str:
        """``web-42``, or ``web-42.2`` for the second turn: the name in files and output."""
        turn = f".{self.turn}" if self.turn > 1 else ""
        return f"{self.service}-{self.release}{turn}"


def read_instance_id(name: str) -> InstanceId | None:
    """The instance of that name, or None where it is no instance's name."""
    match = _NAME.fullmatch(name)
    if not match:
        return None
    return InstanceId(match["service"], int(match["release"]), int(match["turn"] or 1))


class RunState(StrEnum):
    """What the process manager, or the kernel, says of an instance."""

    STARTING = "starting"
    RUNNING = "running"
    FAILING = "failing"
    """It ended by itself and is about to be started again."""
    STOPPING = "stopping"
    """It was told to stop and finishes what it has."""
    ENDED = "ended"
    LOST = "lost"
    """Its processes run, but the process manager does not know them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """An instance as it was observed."""

    id: InstanceId
    state: RunState
    pid: int = 0
    """Its main process, or 0."""
    started: float = 0.0
    """Unix time in seconds, or 0."""
    detail: str = ""
    """What the process manager says of it, e.g. ``ended with status 3``."""
    restarts: int = 0
    """How often it was started again because it had ended, where that is known."""

    @property
    def usable(self) -> bool:
        """Whether it serves, or will: it runs and nobody told it to stop."""
        return self.state in {RunState.STARTING, RunState.RUNNING}

    @property
    def alive(self) -> bool:
        """Whether it may still have a process."""
        return self.state is not RunState.ENDED
