"""Deploying an artifact to an environment, and the other wants."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from nonevent.config.variables import require, settings
from nonevent.errors import ReleaseUnknown, UsageError
from nonevent.model.want import Deploy, Goal, Rollback, Start, Want

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from nonevent.build.artifact import Artifact
    from nonevent.config.app import App, Environment
    from nonevent.deploy.fleet import Fleet, Member
    from nonevent.model.ledger import History
    from nonevent.model.manifest import Manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What every command of an environment needs to know."""

    app: App
    environment: Environment
    by: str
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a want led to; ``seconds`` is how long that took on the host."""

    release: int | None
    changed: bool
    seconds: float


def want(
    task: Task,
    goal: Goal,
    *,
    ledger: int | None = None,
    member: Member | None = None,
    together: bool = False,
) -> Want:
    """The want for a goal on a host of this environment."""
    environment = task.environment
    return Want(
        app=task.app.app,
        environment=environment.name,
        goal=goal,
        ledger=ledger,
        address=environment.address,
        port=environment.front_port,
        by=task.by,
        reason=task.reason,
        manager=environment.manager,
        keep=environment.keep,
        keep_failed=environment.keep_failed,
        services=member.session.services if member else None,
        together=together,
        confirm_within=environment.confirm_within,
        site=environment.reload,
        standby=environment.standby,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Variables:
    """The variables of an environment, checked against what the app requires."""

    settings: dict[str, str]
    secrets: dict[str, str]


def variables(folder: Path, task: Task, manifest: Manifest) -> Variables:
    """Read the variables of the environment.

    Raises:
        VariableMissing: one that the release requires has no value.
    """
    plain, secrets = settings(folder, task.environment)
    require(manifest, task.environment, {*dict(manifest.env), *plain, *secrets})
    return Variables(
        settings=plain, secrets={name: secret.reveal() for name, secret in secrets.items()}
    )


def refuse_other_app(task: Task, manifest: Manifest) -> None:
    """Refuse an artifact of another app.

    Raises:
        UsageError: naming both.
    """
    if manifest.app != task.app.app:
        raise UsageError(
            f"the artifact is of the app `{manifest.app}`, this project is `{task.app.app}`"
        )


def deploy(
    fleet: Fleet,
    task: Task,
    artifact: Artifact,
    *,
    values: Variables,
    ref: str,
) -> Outcome:
    """Bring an artifact to all hosts and make it the one that serves.

    Every host is prepared before any boots the release, see :class:`nonevent.model.plan.Gate`.

    Raises:
        NoneventError: with what serves now.
    """
    manifest = artifact.manifest
    refuse_other_app(task, manifest)
    ledgers = _begin(fleet, task, f"deploy {manifest.short}")
    missing = fleet.everywhere(lambda each: each.session.fit(manifest))

    def bring(member: Member) -> Deploy:
        for name in missing[member.label]:
            began = time.monotonic()
            size = member.session.send(artifact, name)
            seconds = round(time.monotonic() - began, 3)
            member.session.on_event(
                {"event": "sent", "layer": name, "bytes": size, "seconds": seconds}
            )
        config, secrets = member.session.configure(values.settings, values.secrets)
        first = member is fleet.first
        return Deploy(manifest=manifest, config=config, secrets=secrets, ref=ref, commands=first)

    goals = fleet.everywhere(bring)
    number = 0 if fleet.alone else _number(fleet, task, goals)
    goals = {label: replace(goal, number=number) for label, goal in goals.items()}
    return _apply(fleet, task, goals, ledgers)


def _number(fleet: Fleet, task: Task, goals: Mapping[str, Deploy]) -> int:
    """The number that the release gets everywhere; 0 where all hosts serve it already."""

    def look(member: Member) -> tuple[int | None, int | None, int]:
        planned = member.session.plan(want(task, goals[member.label], member=member))
        history = member.session.history()
        return planned.release, history.current, history.next_number

    seen = fleet.everywhere(look).values()
    releases = {release for release, _, _ in seen}
    if len(releases) == 1 and all(release == current for release, current, _ in seen):
        return 0
    return max(number for _, _, number in seen)


def roll_back(fleet: Fleet, task: Task, release: int | None) -> Outcome:
    """Go back on all hosts: to a release, or one step from the newest that serves on any.

    Raises:
        ReleaseUnknown: a host does not have it.
        NoneventError: with what serves now.
    """
    ledgers = _begin(fleet, task, "rollback")
    if release is None and not fleet.alone:
        release = target(fleet.everywhere(lambda each: each.session.history()))
    return _apply(fleet, task, Rollback(release=release), ledgers)


def target(histories: Mapping[str, History]) -> int | None:
    """Where one step back leads for several hosts; None where none has served more than one.

    Raises:
        ReleaseUnknown: hosts do not have that release, or another under its number.
    """
    newest = max(histories.values(), key=lambda history: history.current or 0)
    found = newest.rollback_target()[0]
    if found is None:
        return None
    has = {label: history.release(found.number) for label, history in histories.items()}
    lacking = [
        label
        for label, each in has.items()
        if each is None or not each.on_disk or each.artifact != found.artifact
    ]
    if lacking:
        raise ReleaseUnknown(
            f"release {found.number} ({found.commit[:7]}) is not on {', '.join(lacking)}",
            hint="deploy the commit to go back to; that makes all hosts alike",
        )
    return found.number


def carry_out(fleet: Fleet, task: Task, goal: Goal, *, what: str) -> Outcome:
    """Make a want true that brings nothing along, each host for itself: start, stop, prune.

    Raises:
        NoneventError: with what serves now.
    """
    ledgers = _begin(fleet, task, what, through=isinstance(goal, Start))
    began = time.monotonic()
    results = fleet.everywhere(
        lambda each: each.session.apply(want(task, goal, ledger=ledgers[each.label], member=each))
    )
    return _outcome(results.values(), time.monotonic() - began)


def _begin(fleet: Fleet, task: Task, what: str, *, through: bool = False) -> dict[str, int]:
    """Take the lock on every host; returns what each ledger counts."""
    name = task.environment.name
    return fleet.everywhere(lambda each: each.session.begin(name, what, through_lock=through))


def _apply(
    fleet: Fleet, task: Task, goals: Goal | Mapping[str, Goal], ledgers: Mapping[str, int]
) -> Outcome:
    def want_of(member: Member) -> Want:
        goal = goals[member.label] if isinstance(goals, Mapping) else goals
        ledger = ledgers[member.label]
        return want(task, goal, ledger=ledger, member=member, together=not fleet.alone)

    began = time.monotonic()
    results = fleet.apply(want_of)
    return _outcome(results.values(), time.monotonic() - began)


def _outcome(results: Iterable[tuple[int | None, bool]], seconds: float) -> Outcome:
    found = tuple(results)
    return Outcome(release=found[0][0], changed=any(each for _, each in found), seconds=seconds)
