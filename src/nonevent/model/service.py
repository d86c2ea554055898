"""What an app runs: its services, and what it needs to be true of its environment."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from nonevent.dataclass import dataclass, fields

if TYPE_CHECKING:
    from nonevent.model.parse import Table

NAME = r"[a-z][a-z0-9-]{0,31}"
NAME_IN_WORDS = "lower-case letters, digits and dashes, starting with a letter, at most 32"
VARIABLE = r"[A-Za-z_][A-Za-z0-9_]*"
CONFIRM_WITHIN = 600.0
"""Seconds a host waits for the others, unless its environment says otherwise."""
SIGNALS = ("TERM", "INT", "QUIT", "HUP", "USR1", "USR2")


class Kind(StrEnum):
    """How a service behaves when a release follows another."""

    WEB = "web"
    """New beside old, probed, then traffic moves."""
    WORKER = "worker"
    """New starts, then old is told to finish what it holds, and does so in the background."""
    SINGLETON = "singleton"
    """Old stops, then new starts: two never run at once."""
    TIMER = "timer"
    """Runs on a schedule, always from the release that serves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """How a web service is probed. Durations are in seconds."""

    path: str = "/"
    host: str = "localhost"
    """The Host header of the probe."""
    answers: int = 3
    """How many good answers in a row make it healthy."""
    interval: float = 0.02
    timeout: float = 30.0
    """How long it may take from its start until it is healthy."""
    watch: float = 1.0
    """How long it is watched after the switch before the release counts as good."""
    release_header: str = "X-Nonevent-Release"
    """Where an answer has this header, it must name the release that is probed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """One command of an app. Durations are in seconds."""

    name: str
    kind: Kind
    command: str
    """With the placeholders ``{socket}``, ``{port}``, ``{data}`` and ``{release}``."""
    health: Health = Health()
    drain_limit: float = 30.0
    """Web: how long after the switch open connections are waited for."""
    stop_signal: str = "TERM"
    stop_limit: float = 30.0
    """How long after the stop signal a process may go on before it is killed."""
    schedule: str = ""
    """Timer: five cron fields, ``@daily`` and the like, or ``every 10m``."""
    env: tuple[tuple[str, str], ...] = ()
    systemd: tuple[str, ...] = ()
    """Lines of its own for its unit, such as ``MemoryMax=500M``."""

    @property
    def uses_port(self) -> bool:
        """Whether the command can only listen on a port, not on a Unix socket."""
        return "{port}" in self.command or "NONEVENT_PORT" in self.command

    @property
    def listens_on_port(self) -> bool:
        """Whether it is a web service that needs a relay from its socket to its port."""
        return self.uses_port and self.kind is Kind.WEB

    def set_up_as(self) -> str:
        """What a host has to be set up for, in words: what stands in the service's unit."""
        kind = "timer" if self.kind is Kind.TIMER else "service"
        when = f", {self.schedule}" if self.schedule else ""
        stop = f"stopped by {self.stop_signal} within {self.stop_limit:g} s"
        return ", ".join((f"{kind}{when}", stop, *self.systemd))

    def as_dict(self) -> dict[str, object]:
        """The service as JSON carries it; what does not concern its kind is left out."""
        raw: dict[str, object] = {
            "name": self.name,
            "kind": self.kind.value,
            "command": self.command,
            "stop_signal": self.stop_signal,
            "stop_limit": self.stop_limit,
            "env": dict(self.env),
        }
        if self.kind is Kind.WEB:
            raw["drain_limit"] = self.drain_limit
            raw["health"] = {each.name: getattr(self.health, each.name) for each in fields(Health)}
        if self.kind is Kind.TIMER:
            raw["schedule"] = self.schedule
        if self.systemd:
            raw["systemd"] = list(self.systemd)
        return raw


def read_service(table: Table) -> Service:
    """A service from a manifest (the configuration file has its own, friendlier parser)."""
    health = table.table("health")
    standard = Health()
    service = Service(
        name=table.text("name", pattern=NAME, expected=NAME_IN_WORDS),
        kind=Kind(table.choice("kind", tuple(Kind))),
        command=table.text("command"),
        health=Health(
            path=health.text("path", standard.path),
            host=health.text("host", standard.host),
            answers=health.number("answers", standard.answers, least=1),
            interval=health.real("interval", standard.interval),
            timeout=health.real("timeout", standard.timeout),
            watch=health.real("watch", standard.watch),
            release_header=health.text("release_header", standard.release_header),
        ),
        drain_limit=table.real("drain_limit", 30.0),
        stop_signal=table.choice("stop_signal", SIGNALS, "TERM"),
        stop_limit=table.real("stop_limit", 30.0),
        schedule=table.text("schedule", ""),
        env=table.pairs("env"),
        systemd=table.texts("systemd"),
    )
    health.done()
    table.done()
    return service
