"""The process managers, by the names they have in the configuration; only one is imported."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nonevent.model.site import MANAGER

if TYPE_CHECKING:
    from collections.abc import Callable

    from nonevent.agent.process.base import ProcessManager


def _embedded(app: str, environment: str, user: str) -> ProcessManager:  # noqa: ARG001
    from nonevent.agent.process import supervisor

    return supervisor


def _systemd(app: str, environment: str, user: str) -> ProcessManager:  # noqa: ARG001
    from nonevent.agent.process.systemd import Systemd

    return Systemd(app, environment)


def _site(app: str, environment: str, user: str) -> ProcessManager:  # noqa: ARG001
    from nonevent.agent.process.site import Site

    return Site(user)


KINDS: dict[str, Callable[[str, str, str], ProcessManager]] = {
    "embedded": _embedded,
    "systemd": _systemd,
    MANAGER: _site,
}
"""What each name stands for, given the app, its environment, and whom a site's processes run as."""
