"""Deploying an artifact to an environment, and the other wants."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nonevent.config.variables import require, settings
from nonevent.errors import UsageError
from nonevent.model.want import Deploy, Goal, Start, Want

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from nonevent.build.artifact import Artifact
    from nonevent.config.app import App, Environment
    from nonevent.deploy.session import Session
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


def want(task: Task, goal: Goal, *, ledger: int | None = None) -> Want:
    """The want for a goal in this environment."""
    environment = task.environment
    return Want(
        app=task.app.app,
        environment=environment.name,
        goal=goal,
        ledger=ledger,
        address=environment.address,
        port=environment.port,
        by=task.by,
        reason=task.reason,
        manager=environment.manager,
        keep=environment.keep,
        keep_failed=environment.keep_failed,
        site=environment.reload,
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
    session: Session,
    task: Task,
    artifact: Artifact,
    *,
    values: Variables,
    ref: str,
    sent: Callable[[str, int, float], None],
) -> Outcome:
    """Bring an artifact to a host and make it the one that serves.

    ``sent`` is called for each layer that travelled: its name, bytes and seconds.

    Raises:
        NoneventError: with what serves now.
    """
    manifest = artifact.manifest
    refuse_other_app(task, manifest)
    ledger = session.begin(task.environment.name, f"deploy {manifest.short}")
    for name in session.fit(manifest):
        began = time.monotonic()
        size = session.send(artifact, name)
        sent(name, size, time.monotonic() - began)
    config, secrets = session.configure(values.settings, values.secrets)
    goal = Deploy(manifest=manifest, config=config, secrets=secrets, ref=ref)
    return _apply(session, want(task, goal, ledger=ledger))


def carry_out(session: Session, task: Task, goal: Goal, *, what: str) -> Outcome:
    """Make a want true that brings nothing along: rollback, start, stop, prune.

    Raises:
        NoneventError: with what serves now.
    """
    through = isinstance(goal, Start)
    ledger = session.begin(task.environment.name, what, through_lock=through)
    return _apply(session, want(task, goal, ledger=ledger))


def _apply(session: Session, wanted: Want) -> Outcome:
    began = time.monotonic()
    release, changed = session.apply(wanted)
    return Outcome(release=release, changed=changed, seconds=time.monotonic() - began)
