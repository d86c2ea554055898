"""Commands that look and change nothing: plan, status, releases, logs."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import click
from rich.table import Table as Grid

from nonevent.build.event import counted
from nonevent.cli.command import Command, common
from nonevent.cli.deploy import artifact_of
from nonevent.cli.narrate import words
from nonevent.cli.output import age, size
from nonevent.model.parse import Table, parse
from nonevent.model.plan import step_as_dict
from nonevent.model.want import Deploy

if TYPE_CHECKING:
    from nonevent.deploy.project import Project
    from nonevent.model.ledger import History
    from nonevent.model.manifest import Manifest

GIT_LIMIT = 30.0
SHOWN_COMMITS = 20


@click.command(short_help="Say what `deploy` would do, and change nothing.")
@click.argument("environment")
@click.argument("what", metavar="[REF|ARTIFACT]", default="HEAD")
@click.option("--dirty", is_flag=True, help="Take uncommitted changes along, and mark it so.")
@common
def plan(command: Command, environment: str, what: str, dirty: bool) -> None:
    """Say what `deploy` would do: commits, dependencies, services. Changes nothing there."""
    from nonevent.deploy.deploy import refuse_other_app, variables, want

    project = command.project()
    task = command.task(project, environment)
    artifact = artifact_of(command, project, what, dirty=dirty)
    manifest = artifact.manifest
    refuse_other_app(task, manifest)
    values = variables(project.folder, task, manifest)
    with command.session(project, task) as session:
        missing = session.fit(manifest)
        config, secrets = session.configure(values.settings, values.secrets, check=True)
        steps = session.plan(want(task, Deploy(manifest=manifest, config=config, secrets=secrets)))
        history = session.history()
        before = session.manifest(history.current) if history.current else None
    _commits(command, project, before, manifest)
    _packages(command, before, manifest)
    for name in missing:
        ref = manifest.layer(name)
        command.output.event("would-send", layer=name, bytes=ref.size if ref else 0)
        command.output.data(f"send     layer {name}, {size(ref.size if ref else 0)}")
    for step in steps:
        command.output.event("would", step=step_as_dict(step))
        subject, text = words(step)
        command.output.data(f"step     {subject}: {text}")
    if not steps:
        command.output.data("nothing to do: this artifact already serves")


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


@click.command()
@click.argument("environment")
@common
def status(command: Command, environment: str) -> None:
    """Show what really runs, from the process manager and the kernel."""
    project = command.project()
    task = command.task(project, environment)
    with command.session(project, task) as session:
        raw = session.status()
    command.output.event("status", **raw)
    if not command.output.as_json:
        parse("the status", raw, lambda table: _show_status(command, environment, table))


def _show_status(command: Command, environment: str, table: Table) -> None:
    say = command.output.data
    if table.take("release") is None:
        say(f"nothing has been deployed to {environment}")
    else:
        release = table.table("release")
        who = f"since {release.text('since')}, by {release.text('by')}"
        say(
            f"release {release.number('number')} ({release.text('commit')[:7]}) "
            f"{release.text('subject')}\n{who}"
        )
    front = table.take("front")
    if isinstance(front, list):
        say(f"listens on http://{front[0]}:{front[1]}")
    _show_instances(list(table.tables("instances")))
    for timer in table.tables("timers"):
        say(f"timer {timer.text('service')}: {timer.text('schedule')}")
    disk = table.table("disk")
    say(f"disk {size(disk.number('used'))} used, {size(disk.number('free'))} free")
    _show_troubles(command, environment, table)


def _show_instances(instances: list[Table]) -> None:
    from rich import print as show

    if not instances:
        return
    grid = Grid(box=None, pad_edge=False, header_style="dim")
    for name in ("service", "release", "state", "pid", "for", "memory", "proof"):
        grid.add_column(name, no_wrap=name != "proof")
    for each in instances:
        complaints = each.texts("complaints")
        alive = each.number("processes") > 0
        serves = " (serves)" if each.flag("serves") else ""
        grid.add_row(
            each.text("service"),
            str(each.number("release")),
            each.text("state") + serves,
            str(each.number("pid") or "-"),
            age(each.number("seconds")) if alive else "-",
            size(each.number("memory")) if alive else "-",
            complaints[0] if complaints else ("runs its release" if alive else each.text("detail")),
        )
    show(grid)


def _show_troubles(command: Command, environment: str, table: Table) -> None:
    out = command.output
    meant_to_run = table.flag("running") and table.take("release") is not None
    if meant_to_run and not any(each.number("processes") for each in table.tables("instances")):
        out.line("note", f"nothing of it runs; `nonevent start {environment}` starts it")
    if not table.flag("running") and table.take("release") is not None:
        out.line("note", f"stopped; `nonevent start {environment}` brings it back")
    if table.take("locked") is not None:
        note = table.table("locked")
        out.line(
            "note",
            f"locked by {note.text('by')} since {note.text('since')}: {note.text('reason')}; "
            f"`nonevent unlock {environment}` allows changes again",
        )
    if table.take("busy") is not None:
        out.line("note", f"busy: {table.text('busy')}")
    if table.take("interrupted") is not None:
        out.line(
            "note",
            f"cut off: {table.text('interrupted')}; it is tidied up within seconds, or by "
            f"`nonevent start {environment}`",
        )


@click.command(short_help="List the releases, and what became of each.")
@click.argument("environment")
@common
def releases(command: Command, environment: str) -> None:
    """List the releases of an environment, the newest first, and what became of each."""
    project = command.project()
    task = command.task(project, environment)
    with command.session(project, task) as session:
        history = session.history()
    for each in reversed(history.releases):
        command.output.event(
            "release", number=each.number, state=each.state.value, commit=each.commit,
            subject=each.subject, artifact=each.artifact, by=each.by, since=each.since,
            config=each.config, reason=each.reason, on_disk=each.on_disk,
        )  # fmt: skip
    if not command.output.as_json:
        _show_releases(history)


def _show_releases(history: History) -> None:
    from rich import print as show

    grid = Grid(box=None, pad_edge=False, header_style="dim")
    for name in ("release", "state", "commit", "deployed", "by", "subject"):
        grid.add_column(name, no_wrap=name != "subject")
    for each in reversed(history.releases):
        state = each.state.value if each.on_disk else f"{each.state.value}, removed"
        subject = f"{each.subject} ({each.reason})" if each.reason else each.subject
        grid.add_row(str(each.number), state, each.commit[:7], each.staged, each.by, subject)
    show(grid)


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
    """Show what services wrote, with the instance in front of each line."""
    project = command.project()
    task = command.task(project, environment)
    with command.session(project, task) as session:
        try:
            session.logs(service=service, release=release, lines=lines, follow=follow)
        except KeyboardInterrupt:
            return
