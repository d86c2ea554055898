"""Logs of all hosts: in order of time, and through broken connections."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from nonevent.errors import TransportFailed, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from nonevent.agent.logs import Asked
    from nonevent.deploy.fleet import Fleet, Listener, Member
    from nonevent.transport.base import Connection

PATIENCE = 0.3
"""Seconds that a line waits for older ones of other hosts."""
AGAIN = 2.0
"""Seconds between two attempts to reach a host again."""
MANY = 100_000
"""Lines that may have been written meanwhile."""


class InOrder:
    """Lines that wait to be shown. A line whose time is not known counts from its arrival."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._waiting: list[tuple[float, float, str, dict[str, object]]] = []
        self._free = threading.Lock()

    def add(self, label: str, raw: dict[str, object]) -> None:
        """Take a line."""
        now = time.time()
        written = raw.get("time")
        moment = written if isinstance(written, float) and written else now
        with self._free:
            self._waiting.append((moment, now, label, raw))

    def show(self, arrived_before: float) -> None:
        """Show those that have waited long enough, the oldest first."""
        with self._free:
            ready = [each for each in self._waiting if each[1] <= arrived_before]
            self._waiting = [each for each in self._waiting if each[1] > arrived_before]
        for _, _, label, raw in sorted(ready, key=lambda each: each[0]):
            self._listener.agent(raw, label=label)

    @contextmanager
    def shown(self, *, all_along: bool) -> Iterator[None]:
        """Within the block lines are shown as they come; without ``all_along`` all at its end."""
        over = threading.Event()

        def show() -> None:
            while not over.wait(PATIENCE):
                self.show(time.time() - PATIENCE)

        shower = threading.Thread(target=show, daemon=True)
        if all_along:
            shower.start()
        try:
            yield
        finally:
            over.set()
            if all_along:
                shower.join()
            self.show(time.time())


def logs(fleet: Fleet, asked: Asked, *, follow: bool, again: Callable[[str], Connection]) -> None:
    """Show the lines of all hosts; ``again`` reaches a host once more.

    Raises:
        UsageError: no host has such a log.
        TransportFailed: a connection broke, and nothing is followed.
    """
    if fleet.alone:
        member = fleet.first
        _logs(member, asked, member.session.on_event, follow=follow, again=again)
        return
    lines = InOrder(fleet.listener)

    def of(member: Member) -> UsageError | None:
        def on_event(raw: dict[str, object]) -> None:
            lines.add(member.label, raw)

        try:
            _logs(member, asked, on_event, follow=follow, again=again)
        except UsageError as error:
            return error
        return None

    with lines.shown(all_along=follow):
        refused = fleet.everywhere(of)
    errors = [error for error in refused.values() if error]
    if len(errors) == len(refused):
        raise errors[0]


def _logs(
    member: Member,
    asked: Asked,
    on_event: Callable[[dict[str, object]], None],
    *,
    follow: bool,
    again: Callable[[str], Connection],
) -> None:
    """The lines of one host, from where they stopped when its connection broke."""
    newest = asked.since

    def seen(raw: dict[str, object]) -> None:
        nonlocal newest
        written = raw.get("time")
        newest = max(newest, written if isinstance(written, float) else 0.0)
        on_event(raw)

    session = replace(member.session, on_event=seen)
    while True:
        try:
            session.logs(asked, follow=follow)
        except TransportFailed as error:
            if not follow:
                raise
            on_event({"event": "note", "text": f"{error.message}; trying again"})
            if not _reached_again(member, again):
                return
            asked = replace(asked, since=newest, lines=MANY if newest else 0)
        else:
            return


def _reached_again(member: Member, again: Callable[[str], Connection]) -> bool:
    """Try until the host is there; False where nobody wants to wait any more."""
    connection = member.session.connection
    while not connection.cancelled:
        try:
            connection.go_on_as(again(member.host))
        except TransportFailed:
            time.sleep(AGAIN)
        else:
            return True
    return False
