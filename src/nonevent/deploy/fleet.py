"""The hosts of an environment while a command talks to them.

Every host prepares itself; what must happen on all or on none they do together, see
:mod:`nonevent.deploy.meeting`. One host alone is a fleet too, and needs no meeting.
"""

from __future__ import annotations

import re
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

from nonevent.deploy.meeting import Meeting
from nonevent.deploy.parallel import Results, side_by_side
from nonevent.deploy.session import Session
from nonevent.errors import Interrupted, NeedsPerson, NoneventError, TransportFailed, from_dict
from nonevent.model.service import Kind
from nonevent.transport.ssh import HANDSHAKES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from nonevent.config.app import App, Environment
    from nonevent.deploy.deploy import Task
    from nonevent.deploy.project import Project
    from nonevent.model.plan import Gate
    from nonevent.model.want import Want
    from nonevent.transport.base import Connection

T = TypeVar("T")


class Listener(Protocol):
    """What is told how it goes."""

    def agent(self, raw: dict[str, object], *, label: str = "") -> None:
        """An event of the agent on a host; without a label where there is only one."""

    def skipped(self, label: str, error: NoneventError) -> None:
        """A host is left out."""


@dataclass(frozen=True, slots=True)
class Member:
    """One host, and the conversation with its agent."""

    host: str
    """As ssh takes it; empty for this machine."""
    label: str
    """What it is called on the screen: short, and no other is called so."""
    session: Session


@dataclass(frozen=True, slots=True)
class Fleet:
    """All hosts that were reached, in the order of the configuration."""

    members: tuple[Member, ...]
    canary: str
    """The host that switches first: one with a web service, where there is one."""
    listener: Listener

    @property
    def first(self) -> Member:
        """Where release commands run, and what is asked where one answer is enough."""
        return self.members[0]

    @property
    def alone(self) -> bool:
        """Whether there is only one host."""
        return len(self.members) == 1

    def everywhere(self, work: Callable[[Member], T]) -> dict[str, T]:
        """The same on every host, side by side; what came of it by label, in order.

        Raises:
            NoneventError: it failed on a host, with what failed elsewhere.
        """
        if self.alone:
            return {self.first.label: work(self.first)}
        return self._settled(self._run(work, tell=self.cancel))

    def apply(self, want_of: Callable[[Member], Want]) -> dict[str, tuple[int | None, bool]]:
        """Make wants true everywhere: on all hosts, or on none.

        Raises:
            NoneventError: with what serves now on each.
        """
        if self.alone:
            return {self.first.label: self.first.session.apply(want_of(self.first))}
        labels = tuple(each.label for each in self.members)
        meeting = Meeting(labels, self.canary)

        def end() -> None:
            meeting.end()
            self.cancel()

        def work(member: Member) -> tuple[int | None, bool]:
            def arrive(gate: Gate) -> bool:
                return meeting.arrive(member.label, gate)

            try:
                result = member.session.apply(want_of(member), arrive=arrive)
            except BaseException:
                end()
                raise
            meeting.leave(member.label)
            return result

        return self._settled(self._run(work, tell=end))

    def cancel(self) -> None:
        """Tell every agent to stop where it is, and to go back unless its release counts."""
        for each in self.members:
            each.session.connection.cancel()

    def _run(self, work: Callable[[Member], T], *, tell: Callable[[], None]) -> Results[T]:
        def told() -> None:
            self.listener.agent({"event": "interrupted"})
            tell()

        def leave() -> None:
            for each in self.members:
                each.session.connection.abandoned = True

        works = {each.label: (lambda each=each: work(each)) for each in self.members}
        return side_by_side(works, tell=told, leave=leave)

    def _settled(self, results: Results[T]) -> dict[str, T]:
        if results.failed:
            raise merged(results.failed, tuple(each.label for each in self.members))
        return {each.label: results.done[each.label] for each in self.members}


def merged(failed: Mapping[str, NoneventError], labels: tuple[str, ...]) -> NoneventError:
    """One error for what failed on several hosts, in the order in which it did.

    The first that failed of itself is the cause; those that were only told to stop say what serves.
    """
    own = {each: error for each, error in failed.items() if not isinstance(error, Interrupted)}
    cause = next(iter(own), next(iter(failed)))
    told = failed[cause]
    others = tuple(
        f"{label}: {error.message}"
        for label, error in own.items()
        if label != cause and error.message != told.message
    )
    worst = next((each for each in own.values() if isinstance(each, NeedsPerson)), told)
    message = told.message if isinstance(told, Interrupted) else _named(cause, told)
    return from_dict(
        {
            "code": worst.code,
            "message": message,
            "context": [*told.context, *others],
            "hint": told.hint,
            "serves": "\n".join(_serves(failed, labels)),
        }
    )


def _named(label: str, error: NoneventError) -> str:
    """The message with the host in front, unless it names it."""
    named = re.search(rf"(?<![\w-]){re.escape(label)}(?![\w-])", error.message)
    return error.message if named else f"{label}: {error.message}"


def _serves(failed: Mapping[str, NoneventError], labels: tuple[str, ...]) -> Iterator[str]:
    """What serves on each host; one line where all are alike."""
    said = {label: failed[label].serves for label in labels if label in failed}
    if not any(said.values()):
        return
    if len(said) == len(labels) and len(set(said.values())) == 1:
        all_of_them = "both" if len(labels) == 2 else f"all {len(labels)}"
        yield f"{next(iter(said.values()))} on {all_of_them} hosts"
        return
    for label in labels:
        fallback = "went on, see `nonevent status`" if label not in said else "cannot be asked"
        yield f"{label}: {said.get(label) or fallback}"


def labels_of(hosts: tuple[str, ...]) -> dict[str, str]:
    """Short names for hosts: the first part of each name, where no two have the same."""
    plain = {host: host.rpartition("@")[2] for host in hosts}
    short = {
        host: name if name.replace(".", "").isdigit() or ":" in name else name.partition(".")[0]
        for host, name in plain.items()
    }
    for names in (short, plain):
        if len(set(names.values())) == len(hosts):
            return names
    return {host: host for host in hosts}


@contextmanager
def reached(
    project: Project, task: Task, listener: Listener, labels: dict[str, str]
) -> Iterator[Fleet]:
    """Conversations with hosts of an environment, until the end of the block.

    ``labels`` has the hosts and what they are called on the screen; empty for this machine.

    Raises:
        TransportFailed, HostUnfit: a host cannot be reached, and is not to be skipped.
    """
    labels = labels or {"": ""}
    with ExitStack() as stack:
        found = _connected(project, task, labels, listener)
        for connection in found.values():
            stack.enter_context(connection)
        members = tuple(
            _member(task, host, found[host], labels, listener) for host in labels if host in found
        )
        yield Fleet(members, _canary(task.app, members), listener)


def _connected(
    project: Project, task: Task, labels: dict[str, str], listener: Listener
) -> dict[str, Connection]:
    """A connection to each host; the first alone, since ssh may have to ask a person."""
    opened: dict[str, Connection] = {}

    def open_to(host: str) -> None:
        transport = project.transport(task.app.app, task.environment, host)
        opened[host] = transport.connect(task.by)

    hosts = tuple(labels)
    if len(hosts) == 1:
        open_to(hosts[0])
        return opened
    failed: dict[str, NoneventError] = {}
    try:
        for some in (hosts[:1], hosts[1:]):
            works = {labels[host]: (lambda host=host: open_to(host)) for host in some}
            results = side_by_side(works, most=HANDSHAKES)
            failed |= results.failed
        _skip_or_raise(task.environment, failed, tuple(labels.values()), listener)
    except BaseException:
        for connection in opened.values():
            with suppress(NoneventError):
                connection.close()
        raise
    return opened


def _skip_or_raise(
    environment: Environment,
    failed: dict[str, NoneventError],
    labels: tuple[str, ...],
    listener: Listener,
) -> None:
    if not failed:
        return
    gone = all(isinstance(error, TransportFailed) for error in failed.values())
    if environment.unreachable == "skip" and gone and len(failed) < len(labels):
        for label, error in failed.items():
            listener.skipped(label, error)
        return
    raise merged(failed, labels)


def _member(
    task: Task, host: str, connection: Connection, labels: dict[str, str], listener: Listener
) -> Member:
    label = labels[host] if len(labels) > 1 else ""

    def on_event(raw: dict[str, object]) -> None:
        listener.agent(raw, label=label)

    services = task.app.runs_on(task.environment, host)
    return Member(host, labels[host], Session(connection, on_event, services))


def _canary(app: App, members: tuple[Member, ...]) -> str:
    webs = {each.name for each in app.services if each.kind is Kind.WEB}

    def serves(session: Session) -> bool:
        return session.services is None or not webs.isdisjoint(session.services)

    return next((each for each in members if serves(each.session)), members[0]).label
