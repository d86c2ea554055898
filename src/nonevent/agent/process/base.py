"""What a process manager does for the agent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from nonevent.dataclass import dataclass

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from nonevent.agent.logs import Asked, Entry
    from nonevent.agent.proof import Sight
    from nonevent.model.instance import RunState
    from nonevent.model.layout import Layout
    from nonevent.model.manifest import Manifest


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
    restarts: int = 0
    """How often it was started again by itself, where that is known."""


class ProcessManager(Protocol):
    """Keeps programs running after the agent has ended, and starts again those that die."""

    def fit(self, manifest: Manifest) -> None:
        """Refuse a release whose services it cannot run.

        Raises:
            HostUnfit: with what to do about it.
        """

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

    def look(self, layout: Layout, name: str, pid: int) -> tuple[Sight, ...]:
        """What /proc shows of a program's processes, the main one first; none where it is gone."""

    def last_lines(self, layout: Layout, name: str) -> tuple[str, ...]:
        """The end of what a program said, as evidence in an error."""

    def logs(
        self, layout: Layout, asked: Asked, *, ended: Callable[[], bool] | None
    ) -> Iterator[Entry]:
        """The last lines; then those to come.

        None come where ``ended`` is None.
        """

    def as_app(self, argv: tuple[str, ...]) -> tuple[str, ...]:
        """What runs a command as the user whom the app's services run as."""
