"""Healthy: instances answer, stay up, and run what they should."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from nonevent.agent import facts, kernel, probe, proof, release, running
from nonevent.errors import BootFailed, ProbeFailed, ProofFailed, ReleaseUnknown
from nonevent.model.instance import Instance, InstanceId, RunState
from nonevent.model.service import Kind

if TYPE_CHECKING:
    from nonevent.agent.host import Host
    from nonevent.agent.release import Staged
    from nonevent.model.service import Service

BOOTING = 0.01
"""Seconds between two probes of an instance that does not answer well yet."""
STEADY_LIMIT = 30.0
"""Seconds within which a worker must be up for good."""
STEADY = 3.0
"""Seconds since its start for which one process must have run: apps load longer than a second."""


def _known(host: Host, instance: InstanceId) -> tuple[Staged, Service]:
    staged = release.read(host.layout, instance.release)
    service = staged.manifest.service(instance.service) if staged else None
    if staged is None or service is None:
        raise ReleaseUnknown(f"release {instance.release} is not on this host")
    return staged, service


def probe_until_healthy(host: Host, instance: InstanceId) -> str:
    """Probe an instance on its own socket until it answers well several times in a row.

    Raises:
        BootFailed: it ended meanwhile.
        ProbeFailed: it did not answer well in time.
        ProofFailed: it answers, and runs something else.
    """
    staged, service = _known(host, instance)
    health = service.health
    names = probe.names_of(staged.number, staged.manifest)
    began = time.monotonic()
    good, complaints, proven = 0, dict[str, int](), 0
    # What stood by is long past its boot: its answers need no time between them.
    alive = _must_live(host, instance)
    age = time.time() - alive.started
    between = 0.0 if age > health.timeout else health.interval
    while good < health.answers:
        left = began + health.timeout - time.monotonic()
        if left <= 0:
            raise _probe_failed(host, instance, service, complaints)
        limit = min(probe.LIMIT, max(left, 0.1))
        answer = probe.probe_socket(host.layout.socket(str(instance)), health, limit=limit)
        complaint = answer.complaint(names)
        good = 0 if complaint else good + 1
        # Asking the manager takes more time than asking the app.
        alive = alive if kernel.lives(alive.pid) else _must_live(host, instance)
        if complaint:
            complaints[complaint] = complaints.get(complaint, 0) + 1
            between, proven = health.interval, 0
        answered = time.monotonic()
        if good and good >= health.answers - 1 and proven != alive.pid:
            # When there is to be some time before the last answer anyway.
            _prove(host, alive, staged)
            proven = alive.pid
        if good < health.answers:
            wait = min(health.interval, BOOTING) if complaint else between
            host.pause(max(0.0, answered + wait - time.monotonic()))
    return f"{health.answers} good answers"


def _probe_failed(
    host: Host, instance: InstanceId, service: Service, complaints: dict[str, int]
) -> ProbeFailed:
    path, limit = service.health.path, service.health.timeout
    answers = tuple(f"GET {path}: {text}, {_times(n)}" for text, n in complaints.items())
    hint = ""
    if "answered 400" in complaints:
        hint = (
            f"Django answers 400 to a host it does not know: `{service.health.host}` must be in "
            f"ALLOWED_HOSTS, or set `health.host` of service {instance.service}"
        )
    return ProbeFailed(
        f"{instance.service} of release {instance.release} was not healthy within {limit:g} s",
        context=(*answers, *host.manager.last_lines(host.layout, str(instance))),
        hint=hint,
    )


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _must_live(host: Host, instance: InstanceId, *, first: int = 0) -> Instance:
    """The instance, which has not ended since it was started, or since it was seen as ``first``.

    Raises:
        BootFailed: it has, with the end of its log.
    """
    found = running.seen(host, instance)
    if found and found.usable and first in (0, found.pid):
        return found
    gone = "ended right after its start" if first else "is not running"
    how = found.detail if found and found.detail else gone
    raise BootFailed(
        f"{instance.service} of release {instance.release} {how}",
        context=host.manager.last_lines(host.layout, str(instance)),
    )


def _prove(host: Host, instance: Instance, staged: Staged) -> None:
    seen = host.manager.look(host.layout, str(instance.id), instance.pid)
    complaints = proof.complaints(instance.pid, seen, proof.expected(host.layout, staged))
    if complaints:
        raise ProofFailed(
            f"{instance.id} does not run release {staged.number} alone", context=complaints
        )


def steady(host: Host, instance: InstanceId) -> str:
    """Wait until an instance that answers nobody counts as up, and prove what it runs.

    Raises:
        BootFailed: it ended, or did not come up.
        ProofFailed: it runs something else.
    """
    staged, _ = _known(host, instance)
    deadline = time.monotonic() + STEADY_LIMIT
    first = 0
    while True:
        found = _must_live(host, instance, first=first)
        first = found.pid
        process = kernel.process(found.pid)
        age = time.time() - process.started if process else 0.0
        if found.state is RunState.RUNNING and age >= STEADY and _is_itself(host, found):
            break
        if time.monotonic() > deadline:
            raise BootFailed(f"{instance} does not come up within {STEADY_LIMIT:g} s")
        host.pause()
    _prove(host, found, staged)
    return ""


def _is_itself(host: Host, instance: Instance) -> bool:
    """Whether the process is the service already, and no longer the agent that becomes it."""
    name = str(instance.id)
    seen = host.manager.look(host.layout, name, instance.pid)
    return bool(seen) and seen[0].instance == name


def watch(host: Host, instances: tuple[InstanceId, ...]) -> str:
    """See that everything stays well for a while after the switch, also through the front door.

    The door is the port that the front holds now; a new port is taken only by a good release.

    Raises:
        BootFailed: an instance ended, or was started again.
        ProbeFailed: a web service does not answer any more.
    """
    known = {each: _known(host, each) for each in instances}
    webs = [each for each in instances if known[each][1].kind is Kind.WEB]
    limit = max((known[each][1].health.watch for each in webs), default=0.0)
    first = {each: _must_live(host, each).pid for each in instances}
    door = facts.front(host.layout, host.manager)
    deadline = time.monotonic() + limit
    while True:
        complaints = [(each, _look(host, each, known[each], door)) for each in webs]
        bad = any(complaint for _, complaint in complaints)
        over = time.monotonic() >= deadline
        # A death comes first: what was answered meanwhile only follows from it.
        if bad:
            host.pause()
        for each in instances:
            # Its manager knows most, but need not be asked while nothing has happened.
            if bad or over or not kernel.lives(first[each]):
                _must_be(host, each, first[each])
        for each, complaint in complaints:
            if complaint:
                raise ProbeFailed(
                    f"{each.service} of release {each.release} {complaint} after the switch",
                    context=host.manager.last_lines(host.layout, str(each)),
                )
        if over:
            return ""
        host.pause(0.1)


def _look(
    host: Host, web: InstanceId, known: tuple[Staged, Service], door: tuple[str, int] | None
) -> str:
    """What is wrong with the answers that visitors get now, or nothing."""
    staged, service = known
    names = probe.names_of(staged.number, staged.manifest)
    answer = probe.probe_socket(host.layout.link(web.service), service.health)
    complaint = answer.complaint(names)
    if not complaint and door and service == staged.manifest.public:
        answer = probe.probe_port(*door, service.health)
        complaint = answer.complaint(names)
    return complaint


def _must_be(host: Host, instance: InstanceId, pid: int) -> None:
    """The instance runs, and was not started again.

    Raises:
        BootFailed: it ended, with the end of its log.
    """
    found = running.seen(host, instance)
    if found is None or not found.usable or found.pid != pid or not kernel.lives(pid):
        raise BootFailed(
            f"{instance.service} of release {instance.release} died after the switch",
            context=host.manager.last_lines(host.layout, str(instance)),
        )
