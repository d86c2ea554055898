"""Deciding: the steps that lead from what is to what is wanted.

Everything here is a pure function. Deploy, rollback, start after a reboot and going back after
a failure are one function, :func:`converge`, with different releases to converge to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from nonevent.agent import reload
from nonevent.agent.modules import candidates
from nonevent.dataclass import dataclass
from nonevent.errors import HostUnfit, ReleaseUnknown, UsageError, WantStale
from nonevent.model.instance import InstanceId, RunState
from nonevent.model.ledger import State
from nonevent.model.plan import (
    Boot,
    Confirm,
    Dismiss,
    Drain,
    Halt,
    HoldPort,
    Import,
    Keep,
    NoteStopped,
    Plan,
    Probe,
    Remove,
    Retire,
    RunCommand,
    Stage,
    Steady,
    Step,
    Switch,
    Watch,
)
from nonevent.model.service import Kind
from nonevent.model.want import Deploy, Goal, Prune, Rollback, Start, Stop, Want

if TYPE_CHECKING:
    from nonevent.model.facts import Facts
    from nonevent.model.instance import Instance
    from nonevent.model.ledger import History, Release
    from nonevent.model.manifest import Manifest


def plan(want: Want, facts: Facts) -> Plan:
    """The steps that fulfil a want.

    Raises:
        WantStale: the ledger moved since the want was made.
        ReleaseUnknown: there is no release to go to.
        HostUnfit: the release's files are gone.
    """
    history = facts.history
    if want.ledger is not None and want.ledger != history.lines:
        raise WantStale(
            "another deploy or rollback came first",
            context=(f"the ledger has {history.lines} lines, the plan was made at {want.ledger}",),
            hint=f"nonevent releases {want.environment}",
        )
    match want.goal:
        case Deploy() as goal:
            return _deploy(want, goal, facts)
        case Rollback(release=number):
            release = _rollback_target(want, history, number)
            return _to_existing(want, facts, release.number)
        case Start():
            if history.current is None:
                raise _never_deployed(want)
            return _to_existing(want, facts, history.current)
        case Stop():
            if want.site:
                raise UsageError(
                    f"the site of `{want.environment}` keeps its services running itself",
                    hint="stop them with what runs them",
                )
            return Plan(release=None, steps=_stop(facts))
        case Prune():
            return Plan(release=history.current, steps=prune(want, facts, history.current))
        case _:
            assert_never(want.goal)


def _never_deployed(want: Want) -> ReleaseUnknown:
    return ReleaseUnknown(
        f"{want.app} has never been deployed to {want.environment}",
        hint=f"nonevent deploy {want.environment}",
    )


def _deploy(want: Want, goal: Deploy, facts: Facts) -> Plan:
    serving = facts.history.release(facts.history.current or 0)
    manifest = goal.manifest.only(want.services)
    if serving and not goal.number and _is_same(goal, manifest, serving, facts):
        return _to_existing(want, facts, serving.number)
    number = max(goal.number, facts.history.next_number)
    commands = tuple(
        RunCommand(number, place, command) for place, command in enumerate(manifest.release)
    )
    steps = (
        Stage(number),
        *(_import(number, manifest, facts) if want.site is None else (Import(number),)),
        *(commands if goal.commands else ()),
        *_towards(want, number, manifest, facts),
        *prune(want, facts, number),
    )
    return Plan(release=number, steps=steps)


def _import(number: int, manifest: Manifest, facts: Facts) -> tuple[Import, ...]:
    """Importing takes as long as booting, which proves as much of what is new in the app itself.

    So it is done once for each set of dependencies: until a release with them has served here.
    """
    there = (
        facts.manifest(each.number)
        for each in facts.history.releases
        if each.state not in {State.STAGED, State.FAILED}
    )
    known = {(each.layer("deps"), each.layer("python")) for each in there if each}
    named = any(candidates(service) for service in manifest.services)
    proven = (manifest.layer("deps"), manifest.layer("python")) in known
    return (Import(number),) if named and not proven else ()


def _is_same(goal: Deploy, manifest: Manifest, serving: Release, facts: Facts) -> bool:
    """Whether what is to be deployed serves already, with the services that run here.

    Files that are gone come back by being deployed again.
    """
    there = facts.manifest(serving.number)
    wanted = (goal.manifest.digest, goal.config, goal.secrets)
    return (
        there is not None
        and wanted == (serving.artifact, serving.config, serving.secrets)
        and there.services == manifest.services
    )


def _to_existing(want: Want, facts: Facts, number: int) -> Plan:
    manifest = facts.manifest(number)
    if manifest is None:
        raise HostUnfit(
            f"the files of release {number} are gone from this host",
            hint=f"nonevent deploy {want.environment}",
        )
    steps = _towards(want, number, manifest, facts)
    if want.site and steps:
        steps = (Import(number), *steps)
    return Plan(release=number, steps=(*steps, *prune(want, facts, number)))


def _towards(want: Want, number: int, manifest: Manifest, facts: Facts) -> tuple[Step, ...]:
    """From a release that is staged, and on a site can be imported: nothing else shows there."""
    if want.site:
        again = isinstance(want.goal, Start)
        confirm = _confirm(number, facts, standby=0)
        return reload.towards(number, facts, want.site, confirm, again=again)
    return converge(
        number,
        manifest,
        facts,
        address=want.address,
        port=want.port,
        standby=0 if _rotates(want.goal, facts.history) else want.standby,
    )


def _rotates(goal: Goal, history: History) -> bool:
    """Whether other secrets come: what stands by has those of its start, and would bring them back.

    A release that served once is started with the newest, and so brings none.
    """
    serving = history.current
    return bool(
        serving and isinstance(goal, Deploy) and goal.secrets > history.secrets_for(serving)
    )


def _rollback_target(want: Want, history: History, number: int | None) -> Release:
    hint = f"nonevent releases {want.environment}"
    if history.current is None:
        raise _never_deployed(want)
    if number is None:
        target, skipped = history.rollback_target()
        if target is None:
            lines = tuple(f"release {each.number}: {each.state}" for each in skipped)
            raise ReleaseUnknown("there is no good release to go back to", context=lines, hint=hint)
        return target
    release = history.release(number)
    if release is None or not release.on_disk:
        known = ", ".join(str(each.number) for each in history.releases if each.on_disk)
        raise ReleaseUnknown(
            f"release {number} is not on this host",
            context=(f"on this host: {known or 'none'}",),
            hint=hint,
        )
    if release.state in {State.STAGED, State.FAILED}:
        raise UsageError(
            f"release {number} never served: {release.reason or 'it was not finished'}",
            hint=f"nonevent deploy {want.environment} {release.commit[:7]}",
        )
    return release


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cast:
    """Who is to run for a release: instances to keep or start, by kind, and who is to leave."""

    stay: dict[str, InstanceId]
    new: frozenset[InstanceId]
    leave: tuple[tuple[Kind, Instance], ...]


def converge(
    number: int,
    manifest: Manifest,
    facts: Facts,
    *,
    address: str = "",
    port: int | None = None,
    standby: int = 0,
) -> tuple[Step, ...]:
    """The steps after which a release that is staged runs and serves.

    It is the only one then, but for the web of one that stands by. Order matters: whatever can
    fail comes before the switch. Workers move before it, since the new release's web queues tasks
    that old workers do not know; singletons never overlap; the old web is touched only when the
    new release is in the ledger.
    """
    cast = _cast(number, manifest, facts)
    left = _left_webs(number, facts, cast, standby=standby)
    webs = _ids(manifest, Kind.WEB, cast)
    workers = _ids(manifest, Kind.WORKER, cast)
    singletons = _ids(manifest, Kind.SINGLETON, cast)
    switch = _switch(number, webs, facts)
    confirm = _confirm(number, facts, standby=standby if left.kept else 0)
    hold = _hold(manifest, facts, address=address, port=port)
    return (
        # A port that moves is let go of only when the new release is good.
        *(hold if facts.front is None else ()),
        *(() if facts.keeper else (Keep(),)),
        # First, so that the webs of two releases at most take memory at once.
        *(Drain(each) for each in left.over),
        *(Boot(each) for each in webs if each in cast.new),
        *(Probe(each) for each in webs if each in cast.new or switch),
        # Only now: the workers of a release whose web does not even boot must take no task.
        *(Boot(each) for each in workers if each in cast.new),
        *(Steady(each) for each in workers if each in cast.new),
        *(
            Retire(each.id)
            for kind, each in cast.leave
            if kind is Kind.WORKER and each.state is not RunState.STOPPING
        ),
        # Not one wait for both: what a new singleton queues, old workers must not take, and those
        # go only when the new ones are up.
        *(Halt(each.id) for kind, each in cast.leave if kind is Kind.SINGLETON),
        *(Boot(each) for each in singletons if each in cast.new),
        *(Steady(each) for each in singletons if each in cast.new),
        *switch,
        *((Watch((*webs, *workers, *singletons)),) if switch or confirm else ()),
        *confirm,
        *(hold if facts.front is not None else ()),
        *(Drain(each) for each in left.rest),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _LeftWebs:
    """The web instances of other releases."""

    over: tuple[InstanceId, ...]
    """They stood by, and another deploy has come."""
    kept: tuple[InstanceId, ...]
    """They stand by from now on, or still do."""
    rest: tuple[InstanceId, ...]


def _left_webs(number: int, facts: Facts, cast: _Cast, *, standby: int) -> _LeftWebs:
    """Only what serves until now comes to stand by, and not where a rollback leaves it."""
    history = facts.history
    moves = history.current != number
    keeps = facts.standby
    if moves:
        keeps = history.current if standby and not _leaves(number, history) else None
    webs = [each for kind, each in cast.leave if kind is Kind.WEB]
    kept = tuple(each.id for each in webs if each.id.release == keeps and each.usable)
    over = tuple(each.id for each in webs if moves and each.id.release == facts.standby)
    rest = tuple(each.id for each in webs if each.id not in (*kept, *over))
    return _LeftWebs(over=over, kept=kept, rest=rest)


def _hold(
    manifest: Manifest, facts: Facts, *, address: str, port: int | None
) -> tuple[HoldPort, ...]:
    """An app without a web service needs no port."""
    if port is None or manifest.public is None or facts.front == (address, port):
        return ()
    return (HoldPort(address, port),)


def _cast(number: int, manifest: Manifest, facts: Facts) -> _Cast:
    stay: dict[str, InstanceId] = {}
    new: set[InstanceId] = set()
    for service in manifest.services:
        if service.kind is Kind.TIMER:
            continue
        mine = [
            each
            for each in facts.instances
            if (each.id.service, each.id.release) == (service.name, number)
        ]
        usable = [each.id for each in mine if each.usable]
        linked = facts.link(service.name)
        if usable:
            stay[service.name] = linked if linked in usable else max(usable)
        else:
            # A name whose process has not ended is not used again.
            taken = {each.id.turn for each in mine if each.alive}
            turn = next(n for n in range(1, len(taken) + 2) if n not in taken)
            stay[service.name] = InstanceId(service.name, number, turn)
            new.add(stay[service.name])
    kept = set(stay.values()) - new
    leave = tuple(
        (_kind(each.id, facts, manifest), each)
        for each in facts.instances
        if each.id not in kept and each.alive
    )
    return _Cast(stay=stay, new=frozenset(new), leave=leave)


def _kind(instance: InstanceId, facts: Facts, coming: Manifest) -> Kind:
    """The kind by which an instance leaves.

    One whose release is gone is treated as a worker: gently. A worker whose name is to be a
    singleton's has to end before that one starts.
    """
    manifest = facts.manifest(instance.release)
    service = manifest.service(instance.service) if manifest else None
    if service:
        kind = service.kind
    else:
        kind = Kind.WEB if facts.link(instance.service) == instance else Kind.WORKER
    namesake = coming.service(instance.service)
    if kind is Kind.WORKER and namesake and namesake.kind is Kind.SINGLETON:
        return Kind.SINGLETON
    return kind


def _ids(manifest: Manifest, kind: Kind, cast: _Cast) -> tuple[InstanceId, ...]:
    return tuple(cast.stay[service.name] for service in manifest.of_kind(kind))


def _switch(number: int, webs: tuple[InstanceId, ...], facts: Facts) -> tuple[Switch, ...]:
    links = {each.service: each for each in webs}
    if links == dict(facts.links) and facts.current_link == number:
        return ()
    return (Switch(number, webs),)


def _confirm(number: int, facts: Facts, *, standby: int) -> tuple[Confirm, ...]:
    history = facts.history
    if history.current == number and history.running:
        return ()
    return (Confirm(number, _leaves(number, history), standby or None),)


def _leaves(number: int, history: History) -> int | None:
    """A step back leaves the newer release, so that the next step back passes it over."""
    return history.current if history.current and history.current > number else None


def back(
    facts: Facts, *, switched: bool = True, address: str = "", port: int | None = None
) -> tuple[Step, ...]:
    """The steps that undo whatever was begun: to the release that the ledger names.

    Where none was ever confirmed, or a person stopped the app, nothing is to run. Where nothing
    was ``switched``, only probes ever reached what was begun, and it need not be drained.
    """
    current = facts.history.current
    manifest = facts.manifest(current) if current and facts.history.running else None
    if current is None or manifest is None:
        links = (Switch(None, ()),) if facts.links or facts.current_link else ()
        leave = tuple(Halt(each.id) for each in facts.instances if each.alive)
        return (*links, *leave, *((Dismiss(),) if facts.keeper or facts.front else ()))
    steps = converge(current, manifest, facts, address=address, port=port)
    booted = {step.instance for step in steps if isinstance(step, Boot)}
    return tuple(
        Halt(step.instance) if isinstance(step, Drain) and not switched else step
        for step in steps
        if not _is_exam(step, booted)
    )


def _is_exam(step: Step, booted: set[InstanceId]) -> bool:
    """What served until now is gone back to without an exam: it may fail for the same reason."""
    match step:
        case Watch():
            return True
        case Probe(instance=instance):
            return instance not in booted
        case _:
            return False


def _stop(facts: Facts) -> tuple[Step, ...]:
    webs = {instance for _, instance in facts.links}
    # Whatever serves goes last, so that what it queued can still be worked off.
    order = sorted(
        (each.id for each in facts.instances if each.alive), key=lambda each: each in webs
    )
    noted = (NoteStopped(),) if facts.history.current and facts.history.running else ()
    return (*noted, *(Halt(each) for each in order), Dismiss())


def prune(want: Want, facts: Facts, current: int | None) -> tuple[Remove, ...]:
    """What may go: by outcome, never what runs, serves, or is one step back.

    Good releases are kept in a number of ``want.keep``, failed and left ones in a smaller one.
    """
    running = {each.id.release for each in facts.instances if each.alive}
    needed = running | facts.in_use | {current, facts.history.current, facts.history.previous}
    on_disk = [each for each in reversed(facts.history.releases) if each.on_disk]
    beside = [each for each in on_disk if each.number != current]
    good = [each.number for each in beside if each.state in {State.GOOD, State.CURRENT}]
    rest = [each.number for each in beside if each.number not in good]
    gone = [
        number for number in (*good[want.keep :], *rest[want.keep_failed :]) if number not in needed
    ]
    if not gone and not _orphans(want, facts):
        return ()
    return (Remove(tuple(sorted(gone))),)


def _orphans(want: Want, facts: Facts) -> set[str]:
    """What nothing refers to, beside the layers that a deploy is about to use."""
    coming = want.goal.manifest.layers if isinstance(want.goal, Deploy) else ()
    return set(facts.orphans) - {f"layers/{ref.id}" for ref in coming}
