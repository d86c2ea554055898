"""The ledger: everything that happened to the releases of an app on a host.

One JSON object a line, only ever appended to. What is true now is a fold over the lines, and
the line ``current`` is the moment at which a release counts as serving: whatever crashes,
before or after, the host converges to what the ledger says.
"""

from __future__ import annotations

import json
from enum import StrEnum
from typing import TYPE_CHECKING

from nonevent.dataclass import dataclass, fields, replace
from nonevent.model.parse import parse_json

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nonevent.model.parse import Table

FORMAT = 1


class Event(StrEnum):
    """What can happen to a release."""

    STAGED = "staged"
    """It exists on the host, with a number of its own."""
    CURRENT = "current"
    """It serves, and was seen to."""
    FAILED = "failed"
    """It was tried and is not good."""
    LEFT = "left"
    """It served and was rolled back from: the default rollback skips it from now on."""
    STOPPED = "stopped"
    """The app was stopped by a person; the release stays the current one."""
    REMOVED = "removed"
    """Its files are gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of the ledger. ``time`` is in UTC, ISO 8601 with seconds."""

    number: int = 0
    """1, 2, 3 …: the ledger's own count, set when the line is appended."""
    time: str = ""
    """Set when the line is appended, where it is not given."""
    event: Event
    release: int
    by: str = ""
    """Who did it, as ``user@machine``."""
    reason: str = ""
    artifact: str = ""
    commit: str = ""
    subject: str = ""
    ref: str = ""
    config: int = 0
    secrets: int = 0
    seconds: float = 0.0
    """How long the plan had taken when the line was written."""
    standby: int = 0
    """Until when the web of the release before stays up, in Unix seconds; 0 where it does not."""

    def encoded(self) -> str:
        """The line as it stands in the file, without the line break; empty values are left out."""
        raw: dict[str, object] = {"format": FORMAT}
        for each in fields(self):
            value = getattr(self, each.name)
            if value not in ("", 0, 0.0):
                raw[each.name] = value
        return json.dumps(raw, ensure_ascii=False)


def read_line(text: str) -> Line:
    """One line of the ledger.

    Raises:
        FormatInvalid: where it is not one.
    """
    return parse_json("a line of the ledger", text, _line)


def _line(table: Table) -> Line:
    table.number("format", most=FORMAT)
    line = Line(
        number=table.number("number", least=1),
        time=table.text("time"),
        event=Event(table.choice("event", tuple(Event))),
        release=table.number("release", 0),
        by=table.text("by", ""),
        reason=table.text("reason", ""),
        artifact=table.text("artifact", ""),
        commit=table.text("commit", ""),
        subject=table.text("subject", ""),
        ref=table.text("ref", ""),
        config=table.number("config", 0),
        secrets=table.number("secrets", 0),
        seconds=table.real("seconds", 0.0),
        standby=table.number("standby", 0),
    )
    table.done()
    return line


class State(StrEnum):
    """What became of a release."""

    STAGED = "staged"
    CURRENT = "current"
    GOOD = "good"
    """It served, and another release followed it."""
    LEFT = "left"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """A release as the ledger knows it."""

    number: int
    artifact: str
    commit: str
    subject: str
    ref: str
    config: int
    secrets: int
    by: str
    staged: str
    """When it came to be, as in :attr:`Line.time`."""
    state: State = State.STAGED
    since: str = ""
    """When it came into its state."""
    reason: str = ""
    """Why it failed, or was left."""
    on_disk: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Standby:
    """A release that served before, and whose web stays up so that going back is one rename."""

    release: int
    until: int
    """In Unix seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """What the ledger's lines amount to."""

    releases: tuple[Release, ...] = ()
    """In the order of their numbers."""
    current: int | None = None
    served: tuple[int, ...] = ()
    """The releases that were current, oldest first, the current one last."""
    running: bool = True
    """Whether the current release is meant to run, or was stopped by a person."""
    standby: Standby | None = None
    """What stands by, or stood by until its time was over."""
    lines: int = 0

    def release(self, number: int) -> Release | None:
        """The release of that number, or None."""
        return next((each for each in self.releases if each.number == number), None)

    @property
    def next_number(self) -> int:
        """The number that the next release gets; numbers are never used twice."""
        return 1 + max((each.number for each in self.releases), default=0)

    @property
    def previous(self) -> int | None:
        """The release that served before the current one."""
        return next((n for n in reversed(self.served) if n != self.current), None)

    def secrets_for(self, number: int) -> int:
        """The version of the secrets that a release runs with.

        It is the newest that ever served, or that came with the release: a rollback does not
        bring rotated secrets back, and those of a failed release do not count.
        """
        good = {State.CURRENT, State.GOOD, State.LEFT}
        return max(
            (each.secrets for each in self.releases if each.state in good or each.number == number),
            default=0,
        )

    def rollback_target(self) -> tuple[Release | None, tuple[Release, ...]]:
        """Where one step back leads, and the newer releases that are passed over, and why not.

        It is the newest release that served before the current one came, was not left by a
        rollback, did not fail, and is still on disk.
        """
        if self.current is None:
            return None, ()
        skipped: list[Release] = []
        for release in reversed(self.releases):
            if release.number >= self.current:
                continue
            if release.state is State.GOOD and release.on_disk:
                return release, tuple(skipped)
            skipped.append(release)
        return None, tuple(skipped)


def fold(lines: Iterable[Line]) -> History:
    """The history that lines amount to."""
    history = History()
    for line in lines:
        history = _after(history, line)
    return history


def _after(history: History, line: Line) -> History:
    history = replace(history, lines=line.number)
    match line.event:
        case Event.STAGED:
            return replace(history, releases=(*history.releases, _staged(line)))
        case Event.CURRENT:
            if history.current not in (None, line.release):
                history = _changed(history, history.current or 0, State.GOOD, line, {State.CURRENT})
            history = _changed(history, line.release, State.CURRENT, line)
            before = history.current or 0
            standby = Standby(release=before, until=line.standby) if line.standby else None
            served = (*(n for n in history.served if n != line.release), line.release)
            return replace(
                history, current=line.release, served=served, running=True, standby=standby
            )
        case Event.FAILED:
            return _changed(history, line.release, State.FAILED, line)
        case Event.LEFT:
            return _changed(history, line.release, State.LEFT, line)
        case Event.STOPPED:
            return replace(history, running=False, standby=None)
        case Event.REMOVED:
            releases = tuple(
                replace(each, on_disk=False) if each.number == line.release else each
                for each in history.releases
            )
            return replace(history, releases=releases)


def _staged(line: Line) -> Release:
    return Release(
        number=line.release,
        artifact=line.artifact,
        commit=line.commit,
        subject=line.subject,
        ref=line.ref,
        config=line.config,
        secrets=line.secrets,
        by=line.by,
        staged=line.time,
        since=line.time,
    )


def _changed(
    history: History, number: int, state: State, line: Line, only: set[State] | None = None
) -> History:
    releases = tuple(
        replace(each, state=state, since=line.time, reason=line.reason)
        if each.number == number and (only is None or each.state in only)
        else each
        for each in history.releases
    )
    return replace(history, releases=releases)
