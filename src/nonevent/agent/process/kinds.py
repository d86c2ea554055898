"""The process managers, by the names they have in the configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nonevent.agent.process import supervisor
from nonevent.agent.process.systemd import Systemd

if TYPE_CHECKING:
    from collections.abc import Callable

    from nonevent.agent.process.base import ProcessManager


def _embedded(app: str, environment: str) -> ProcessManager:  # noqa: ARG001
    return supervisor


KINDS: dict[str, Callable[[str, str], ProcessManager]] = {
    "embedded": _embedded,
    "systemd": Systemd,
}
"""What each name stands for, given the app and its environment."""
