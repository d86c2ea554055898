"""The host as the steps of a plan act on it."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING

from nonevent.dataclass import dataclass, field
from nonevent.errors import Interrupted

if TYPE_CHECKING:
    from collections.abc import Callable

    from nonevent.agent.images import Identity
    from nonevent.agent.process.base import ProcessManager
    from nonevent.model.layout import Layout
    from nonevent.model.plan import Gate

TICK = 0.05
"""Seconds between two looks at a condition."""


def nothing(event: dict[str, object]) -> None:
    """Where events go that nobody listens to."""


def never() -> bool:
    """No operator is there who could interrupt."""
    return False


def alone(gate: Gate, limit: float) -> None:
    """There is no other host to wait for."""


@dataclass(slots=True)
class Host:
    """What steps need, and how far the plan has got."""

    layout: Layout
    manager: ProcessManager
    emit: Callable[[dict[str, object]], None] = nothing
    interrupted: Callable[[], bool] = never
    wait_for_others: Callable[[Gate, float], None] = alone
    """Waits where several hosts go on together, for so many seconds at most."""
    inside: bool = False
    """Whether this runs under the embedded process manager itself, which it must not end."""
    stale: frozenset[Identity] = frozenset()
    """What a site's processes must not be any more: the images that ran before the switch."""
    lasting: frozenset[str] = frozenset()
    """The commands as which a site's processes had run for long, and are to run again."""
    switched: bool = False
    confirmed: bool = False
    going_back: bool = False
    started: float = field(default_factory=time.monotonic)
    sleep: Callable[[float], None] = time.sleep

    def check(self) -> None:
        """Stop here where the operator wants out, or is gone.

        Raises:
            Interrupted: never after the release counts as serving, nor on the way back.
        """
        if self.interrupted() and not (self.confirmed or self.going_back):
            raise Interrupted("interrupted")

    def pause(self, seconds: float = TICK) -> None:
        """Wait a little, and notice an operator who wants out."""
        self.check()
        self.sleep(seconds)

    def note(self, text: str) -> None:
        """Tell the operator something that is no step."""
        self.emit({"event": "note", "text": text})


def signal_number(name: str) -> int:
    """The number of a signal that is named without SIG, e.g. ``TERM``."""
    return int(getattr(signal, f"SIG{name}"))
