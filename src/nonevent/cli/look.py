"""Commands that look and change nothing: plan, status, releases, logs."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import click

from nonevent.build.event import counted
from nonevent.cli.command import Command, common
from nonevent.cli.deploy import artifact_of
from nonevent.cli.narrate import words
from nonevent.cli.output import size
from nonevent.model.plan import step_as_dict
from nonevent.model.want import Deploy

if TYPE_CHECKING:
    from nonevent.deploy.fleet import Member
    from nonevent.deploy.project import Project
    from nonevent.model.ledger import History, Release
    from nonevent.model.manifest import Manifest
    from nonevent.model.plan import Step
    from nonevent.transport.base import Connection

GIT_LIMIT = 30.0
SHOWN_COMMITS = 20


@click.command(short_help="Say what `deploy` would do, and change nothing.")
@click.argument("environment")
@click.argument("what", metavar="[REF|ARTIFACT]", default="HEAD")
@click.option("--dirty", is_flag=True, help="Take uncommitted changes along, and mark it so.")
@common
def plan(command: Command, environment: str, what: str, dirty: bool) -> None:
    """Say what `deploy` would do: commits, dependencies, services. Changes nothing there."""
    project = command.project()
    task = command.reach(project, environment)
    from nonevent.deploy.deploy import refuse_other_app, variables, want

    artifact = artifact_of(command, project, what, dirty=dirty)
    manifest = artifact.manifest
    refuse_other_app(task, manifest)
    values = variables(project.folder, task, manifest)

    def look(member: Member) -> tuple[tuple[str, ...], tuple[Step, ...], Manifest | None]:
        session = member.session
        missing = session.fit(manifest)
        config, secrets = session.configure(values.settings, values.secrets, check=True)
        first = member is fleet.first
        goal = Deploy(manifest=manifest, config=config, secrets=secrets, commands=first)
        steps = session.plan(want(task, goal, member=member)).steps
        current = session.history().current
        return missing, steps, session.manifest(current) if current else None

    with command.fleet(project, task) as fleet:
        found = fleet.everywhere(look)
    before = found[fleet.first.label][2]
    _commits(command, project, before, manifest)
    _packages(command, before, manifest)
    for label, (missing, steps, _) in found.items():
        _steps(command, "" if fleet.alone else label, manifest, missing, steps)


def _steps(
    command: Command,
    label: str,
    manifest: Manifest,
    missing: tuple[str, ...],
    steps: tuple[Step, ...],
) -> None:
    """What would be done on a host; the label is empty where there is only one."""
    out, host = command.output, {"host": label} if label else {}
    named = f"{label:<{out.several}}  " if label else ""
    for name in missing:
        ref = manifest.layer(name)
        out.event("would-send", **host, layer=name, bytes=ref.size if ref else 0)
        out.data(f"{named}send     layer {name}, {size(ref.size if ref else 0)}")
    for step in steps:
        out.event("would", **host, step=step_as_dict(step))
        subject, text = words(step)
        out.data(f"{named}step     {subject}: {text}")
    if not steps:
        out.data(f"{named}nothing to do: this artifact already serves")


def _commits(command: Command, project: Project, before: Manifest | None, after: Manifest) -> None:
    if before is None:
        command.output.data(f"commit   {after.short} {after.subject} (the first release)")
        return
    for sign, span in (
        ("+", f"{before.commit}..{after.commit}"),
        ("-", f"{after.commit}..{before.commit}"),
    ):
        argv = ("git", "-C", str(project.folder), "log", "--format=%h %s", span)
        answer = subprocess.run(
            argv, capture_output=True, text=True, check=False, timeout=GIT_LIMIT
        )
        lines = answer.stdout.splitlines()
        for line in lines[:SHOWN_COMMITS]:
            command.output.event("commit", sign=sign, text=line)
            command.output.data(f"commit   {sign} {line}")
        if len(lines) > SHOWN_COMMITS:
            command.output.data(f"commit   {sign} and {len(lines) - SHOWN_COMMITS} more")


def _packages(command: Command, before: Manifest | None, after: Manifest) -> None:
    old, new = dict(before.packages) if before else {}, dict(after.packages)
    if before is None:
        command.output.data(
            f"package  {counted(len(new), 'package')}, Python {after.python.version}"
        )
        return
    for name in sorted(old.keys() | new.keys()):
        if old.get(name) != new.get(name):
            text = f"{name} {old.get(name, '(new)')} -> {new.get(name, '(removed)')}"
            command.output.event("package", package=name, before=old.get(name), after=new.get(name))
            command.output.data(f"package  {text}")


@click.command(short_help="List the releases, and what became of each.")
@click.argument("environment")
@common
def releases(command: Command, environment: str) -> None:
    """List the releases of an environment, the newest first, and what became of each."""
    project = command.project()
    task = command.reach(project, environment)
    with command.fleet(project, task) as fleet:
        found = fleet.everywhere(lambda each: each.session.history())
    every = [(host, each) for host in found for each in reversed(found[host].releases)]
    for label, each in every:
        host = {} if fleet.alone else {"host": label}
        command.output.event(
            "release", **host, number=each.number, state=each.state.value, commit=each.commit,
            subject=each.subject, artifact=each.artifact, by=each.by, since=each.since,
            config=each.config, reason=each.reason, on_disk=each.on_disk,
        )  # fmt: skip
    if not command.output.as_json:
        _show_releases(found)


def _show_releases(found: dict[str, History]) -> None:
    """A line for each release; where hosts differ in what became of it, that of each."""
    from rich import print as show
    from rich.table import Table as Grid

    by_number: dict[int, dict[str, Release]] = {}
    for label, history in found.items():
        for release in history.releases:
            by_number.setdefault(release.number, {})[label] = release

    grid = Grid(box=None, pad_edge=False, header_style="dim")
    for name in ("release", "state", "commit", "deployed", "by", "subject"):
        grid.add_column(name, no_wrap=name != "subject")
    for number in sorted(by_number, reverse=True):
        there = by_number[number]
        told = [release for release in there.values() if release.reason != "interrupted"]
        # Where one host failed, the others were only told to stop.
        each = next(iter(told or there.values()))
        states = {label: _state(release) for label, release in there.items()}
        alike = len(set(states.values())) == 1 and len(states) == len(found)
        state = _state(each) if alike else ", ".join(f"{a}: {b}" for a, b in states.items())
        subject = f"{each.subject} ({each.reason})" if each.reason else each.subject
        grid.add_row(str(each.number), state, each.commit[:7], each.staged, each.by, subject)
    show(grid)


def _state(release: Release) -> str:
    return release.state.value if release.on_disk else f"{release.state.value}, removed"


@click.command(short_help="Show what services wrote.")
@click.argument("environment")
@click.option("-s", "--service", default="", help="Only this service; also `front`, `keeper`.")
@click.option("-r", "--release", type=int, help="Only this release.")
@click.option(
    "-n",
    "--lines",
    type=click.IntRange(min=0),
    default=100,
    metavar="COUNT",
    help="The last lines of each log (default: 100).",
)
@click.option("-f", "--follow", is_flag=True, help="Go on until Ctrl-C.")
@common
def logs(
    command: Command, environment: str, service: str, release: int | None, lines: int, follow: bool
) -> None:
    """Show what services wrote, with the instance in front of each line.

    Of several hosts in order of time, with the host in front. Where a connection breaks while
    following, it goes on when the host is back.
    """
    project = command.project()
    task = command.reach(project, environment)
    from nonevent.agent.logs import Asked
    from nonevent.deploy.follow import logs as show_logs

    with command.fleet(project, task) as fleet:

        def again(host: str) -> Connection:
            return project.transport(task.app.app, task.environment, host).connect(task.by)

        asked = Asked(service=service, release=release, lines=lines)
        try:
            show_logs(fleet, asked, follow=follow, again=again)
        except KeyboardInterrupt:
            return
