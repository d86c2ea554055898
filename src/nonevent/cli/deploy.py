"""Commands that change what runs: deploy, rollback, start, stop, prune."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from nonevent.cli.command import Command, common

if TYPE_CHECKING:
    from nonevent.build.artifact import Artifact
    from nonevent.config.app import Environment
    from nonevent.deploy.deploy import Outcome, Task
    from nonevent.deploy.project import Project
    from nonevent.model.want import Goal

reason_option = click.option("--reason", default="", help="Why; it goes into the ledger.")


def artifact_of(command: Command, project: Project, what: str, *, dirty: bool) -> Artifact:
    """The artifact that is named by its file, or built from a ref."""
    from nonevent.build.artifact import Artifact, verify

    path = Path(what)
    if what.endswith(".tar.zst") or path.is_file():
        artifact = Artifact.open(path)
        # Somebody cut it off or packed it anew: nothing of it goes out before all of it is seen.
        return artifact if artifact.framed else verify(path)
    built = command.build(project, what, dirty=dirty)
    if built.reused:
        command.output.scope = "build"
        command.output.row("unchanged", built.path.name)
    return Artifact.open(built.path)


@click.command(short_help="Build a commit, and make it the release that serves.")
@click.argument("environment")
@click.argument("what", metavar="[REF|ARTIFACT]", default="HEAD")
@click.option("--dirty", is_flag=True, help="Take uncommitted changes along, and mark it so.")
@reason_option
@common
def deploy(command: Command, environment: str, what: str, dirty: bool, reason: str) -> None:
    """Build what is not built yet, and make it the release that serves.

    REF is a commit, branch or tag (default: HEAD); ARTIFACT is a file that `build` made. The
    new release starts beside the old one, is probed, and takes over; where anything goes
    wrong, the old one keeps serving.
    """
    project = command.project()
    task = command.reach(project, environment, reason)
    from nonevent.config.variables import settings
    from nonevent.deploy.deploy import deploy as bring
    from nonevent.deploy.deploy import refuse_other_app, variables

    # Read before the build too: nobody should wait for one to learn of a mistake here.
    settings(project.folder, task.environment)
    artifact = artifact_of(command, project, what, dirty=dirty)
    refuse_other_app(task, artifact.manifest)
    project = project.bringing(artifact)
    values = variables(project.folder, task, artifact.manifest)
    with command.fleet(project, task) as fleet:
        outcome = bring(fleet, task, artifact, values=values, ref=what)
    _conclude(command, task, outcome, artifact.manifest.short)


@click.command(short_help="Go back to the previous good release, or another.")
@click.argument("environment")
@click.argument("release", type=int, required=False)
@reason_option
@common
def rollback(command: Command, environment: str, release: int | None, reason: str) -> None:
    """Go back to an earlier release: the previous good one, or RELEASE.

    Needs no build, no network and no migrator. Releases that failed, or were rolled back from,
    are passed over.
    """
    project = command.project()
    task = command.reach(project, environment, reason)
    with command.fleet(project, task) as fleet:
        from nonevent.deploy.deploy import roll_back

        before = fleet.first.session.history()
        if release is None:
            _name_skipped(command, before.rollback_target()[1])
        outcome = roll_back(fleet, task, release)
    serving = before.release(outcome.release or 0)
    _conclude(command, task, outcome, serving.commit[:7] if serving else "")


def _name_skipped(command: Command, skipped: tuple[object, ...]) -> None:
    from nonevent.model.ledger import Release

    for each in skipped:
        if isinstance(each, Release):
            why = each.reason or "it was rolled back from"
            if not each.on_disk:
                why = "its files are gone"
            command.output.line("note", f"release {each.number} is passed over: {why}")


@click.command(short_help="Start the current release where it does not run.")
@click.argument("environment")
@common
def start(command: Command, environment: str) -> None:
    """Start the current release where it does not run, e.g. after a reboot or a `stop`."""
    from nonevent.model.want import Start

    task, outcome = _simple(command, environment, Start(), "start")
    _conclude(command, task, outcome, "")


@click.command()
@click.argument("environment")
@reason_option
@common
def stop(command: Command, environment: str, reason: str) -> None:
    """Stop everything of the app. `start` brings the current release back."""
    project = command.project()
    task = command.reach(project, environment, reason)
    with command.fleet(project, task) as fleet:
        from nonevent.deploy.deploy import carry_out
        from nonevent.model.want import Stop

        carry_out(fleet, task, Stop(), what="stop")
    command.output.event("stopped")
    command.output.line("", f"{task.app.app} is stopped")
    command.output.line("next", f"nonevent start {environment}")


@click.command(short_help="Remove releases that are no longer needed.")
@click.argument("environment")
@common
def prune(command: Command, environment: str) -> None:
    """Remove releases that are no longer needed, and layers that only they used.

    A release that any process runs, or that is one step back, always stays.
    """
    from nonevent.model.want import Prune

    outcome = _simple(command, environment, Prune(), "prune")[1]
    command.output.event("pruned", changed=outcome.changed)
    if not outcome.changed:
        command.output.line("", "nothing to remove")


def _simple(command: Command, environment: str, goal: Goal, what: str) -> tuple[Task, Outcome]:
    project = command.project()
    task = command.reach(project, environment)
    with command.fleet(project, task) as fleet:
        from nonevent.deploy.deploy import carry_out

        return task, carry_out(fleet, task, goal, what=what)


def _conclude(command: Command, task: Task, outcome: Outcome, commit: str) -> None:
    """The last line: what serves, and where."""
    out = command.output
    out.quiet()
    url = _url(task.environment)
    out.event(
        "serving", release=outcome.release, commit=commit, changed=outcome.changed, url=url,
        seconds=round(outcome.seconds, 3),
    )  # fmt: skip
    named = f"release {outcome.release}" + (f" ({commit})" if commit else "")
    if not outcome.changed:
        out.line("", f"nothing to do: {named} already serves {url}".rstrip())
        return
    out.line("", f"{named} serves {url}".rstrip())


def _url(environment: Environment) -> str:
    """Where the release is reached; on a host elsewhere, loopback is that host's own."""
    many = f" on {len(environment.hosts)} hosts" if len(environment.hosts) > 1 else ""
    if environment.port is None and environment.url:
        return f"{environment.url}{many}"
    if environment.port is None:
        return (many.strip() or f"on {environment.hosts[0]}") if environment.hosts else ""
    if many:
        return f"on port {environment.port} of {len(environment.hosts)} hosts"
    return f"{environment.url} on {environment.hosts[0]}" if environment.hosts else environment.url
