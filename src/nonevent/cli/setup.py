"""``nonevent setup``: making a host ready, once, with the rights that need root."""

from __future__ import annotations

import platform
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nonevent.cli.command import Command, common
from nonevent.deploy.check import Finding, findings
from nonevent.deploy.fleet import labels_of
from nonevent.deploy.parallel import side_by_side
from nonevent.deploy.setup import carry_out, decided, emit, look, refuse_unsuited, surveyor
from nonevent.errors import HostUnfit, NoneventError, UsageError
from nonevent.transport.ssh import HANDSHAKES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nonevent.deploy.deploy import Task
    from nonevent.deploy.project import Project
    from nonevent.model.setup import Setup
    from nonevent.transport.ssh import Ssh


@click.command(short_help="Make a host ready for an app.")
@click.argument("environment")
@click.option("--check", is_flag=True, help="Show what would change, and change nothing.")
@click.option(
    "--emit",
    "into",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write the files and a script with the commands into a folder instead.",
)
@click.option("--as", "as_user", default="", help="Log in as this user for it, e.g. root.")
@common
def setup(command: Command, environment: str, check: bool, into: Path | None, as_user: str) -> None:
    """Make a host ready for an app: users, folders, units, rights, the site of the proxy.

    Needed once, and when services, schedules or domains change. It may be repeated: what is so
    already is left alone. Uses sudo on the host, unless it logs in as root.
    """
    project = command.project()
    task = command.task(project, environment)
    refuse_unsuited(task)
    labels = labels_of(task.environment.hosts)
    several = len(labels) > 1
    for host in _transports(project, task):
        seer = surveyor(host, as_user)
        command.output.doing("looking at", host.host)
        seen = look(seer, task, host.root)
        wanted = decided(task, host, seen)
        command.output.quiet()
        if into:
            for path in emit(wanted, into / labels[host.host] if several else into):
                command.output.event("written", path=str(path))
                command.output.data(str(path))
            continue
        if several:
            command.output.data(labels[host.host])
        as_json = command.output.as_json
        status = carry_out(seer, task, wanted, is_root=seen.root, check=check, as_json=as_json)
        host.leave()
        if status:
            sys.exit(status)
    if not check and not into:
        command.output.line("next", f"nonevent deploy {environment}")


def _transports(project: Project, task: Task) -> Iterator[Ssh]:
    for name in task.environment.hosts:
        host: Ssh = project.transport(task.app.app, task.environment, name)  # type: ignore[assignment]  # it has a name
        yield host


def check_hosts(command: Command, environment: str, as_user: str) -> None:
    """Look at the hosts of an environment, side by side, and show a line for each thing.

    Raises:
        HostUnfit: something is not as a deploy needs it.
    """
    project = command.project()
    task = command.task(project, environment)
    if not task.environment.hosts:
        raise UsageError(f"`{environment}` is this machine, and has no host to look at")
    labels = labels_of(task.environment.hosts)
    command.output.doing("looking at", ", ".join(labels.values()))
    works = {
        labels[host.host]: (lambda host=host: _findings(task, host, as_user))
        for host in _transports(project, task)
    }
    results = side_by_side(works, most=HANDSHAKES)
    command.output.quiet()
    found = {each: results.done.get(each, ()) for each in labels.values()}
    for label, error in results.failed.items():
        found[label] = (Finding(what="reachable", found=error.message, mend=error.hint or "?"),)
    if len(labels) == 1 and results.failed:
        raise next(iter(results.failed.values()))
    for label, lines in found.items():
        _show(command, label if len(labels) > 1 else "", lines)
    bad = {label: [each for each in found[label] if each.mend] for label in found}
    count = sum(map(len, bad.values()))
    if count:
        things = "one thing" if count == 1 else f"{count} things"
        names = ", ".join(label for label in bad if bad[label])
        verb = "is" if sum(map(bool, bad.values())) == 1 else "are"
        hint = next(each.mend for label in bad for each in bad[label])
        raise HostUnfit(f"{names} {verb} not ready: {things} to mend", hint=hint)


def _findings(task: Task, host: Ssh, as_user: str) -> tuple[Finding, ...]:
    """What there is to say of one host."""
    began = time.time()
    seen = look(surveyor(host, as_user), task, host.root)
    # The host looked at its clock at some moment in between.
    offset = min((seen.clock - began, seen.clock - time.time()), key=abs)
    offset = 0.0 if began <= seen.clock <= time.time() else offset
    wanted: Setup | NoneventError
    try:
        wanted = decided(task, host, seen)
    except NoneventError as error:
        wanted = error
    return findings(task, seen, wanted, machine=platform.machine(), offset=offset)


def _show(command: Command, label: str, found: tuple[Finding, ...]) -> None:
    """The findings of a host; the label is empty where there is only one."""
    host = {"host": label} if label else {}
    if label:
        command.output.data(f"\n{label}")
    for each in found:
        command.output.event("finding", **host, what=each.what, found=each.found, mend=each.mend)
        mend = f"  -> {each.mend}" if each.mend else ""
        command.output.data(f"{each.what:<10} {each.found}{mend}")
