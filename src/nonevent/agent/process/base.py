"""What a process manager does for the agent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from pathlib import Path

    from nonevent.model.instance import RunState
    from nonevent.model.layout import Layout


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """Something to keep running. ``stop_limit`` in seconds."""

    name: str
    argv: tuple[str, ...]
    log: Path
    stop_signal: str = "TERM"
    stop_limit: float = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """A program as its manager sees it. ``started`` in Unix seconds, 0 where it never was."""

    name: str
    state: RunState
    pid: int
    started: float
    detail: str = ""


class ProcessManager(Protocol):
    """Keeps programs running after the agent has ended, and starts again those that die."""

    def observe(self, layout: Layout) -> tuple[Observed, ...]:
        """All programs it knows; none where it does not run. Changes nothing."""

    def start(self, layout: Layout, program: Program) -> None:
        """Start a program, and the manager itself where it does not run; does not wait."""

    def stop(self, layout: Layout, name: str) -> None:
        """Tell a program to stop, and kill it after its limit; does not wait."""

    def forget(self, layout: Layout, names: tuple[str, ...]) -> None:
        """Drop what it knows of programs that have ended."""

    def dismiss(self, layout: Layout) -> None:
        """End the manager itself, and whatever it still runs; waits for that."""
