"""``nonevent setup``: making a host ready, once, with the rights that need root."""

from __future__ import annotations

import platform
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nonevent.cli.command import Command, common
from nonevent.errors import HostUnfit, NoneventError, UsageError

if TYPE_CHECKING:
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
    from nonevent.deploy.setup import carry_out, decided, emit, look, refuse_unsuited, surveyor

    project = command.project()
    task = command.task(project, environment)
    refuse_unsuited(task)
    transport = project.transport(task.app.app, task.environment)
    host: Ssh = transport  # type: ignore[assignment]  # an environment with hosts
    seer = surveyor(host, as_user)
    command.output.doing("looking at", host.host)
    wanted = decided(task, host, look(seer, task, host.root))
    command.output.quiet()
    if into:
        for path in emit(wanted, into):
            command.output.event("written", path=str(path))
            command.output.data(str(path))
        return
    status = carry_out(seer, task, wanted, check=check, as_json=command.output.as_json)
    host.leave()
    if not status and not check:
        command.output.line("next", f"nonevent deploy {environment}")
    sys.exit(status)


def check_host(command: Command, environment: str, as_user: str) -> None:
    """Look at the host of an environment, and show a line for each thing.

    Raises:
        HostUnfit: something is not as a deploy needs it.
    """
    from nonevent.deploy.check import findings
    from nonevent.deploy.setup import decided, look, surveyor

    project = command.project()
    task = command.task(project, environment)
    if not task.environment.hosts:
        raise UsageError(f"`{environment}` is this machine, and has no host to look at")
    transport = project.transport(task.app.app, task.environment)
    host: Ssh = transport  # type: ignore[assignment]  # an environment with hosts
    command.output.doing("looking at", host.host)
    began = time.time()
    seen = look(surveyor(host, as_user), task, host.root)
    # The host looked at its clock at some moment in between.
    offset = min((seen.clock - began, seen.clock - time.time()), key=abs)
    offset = 0.0 if began <= seen.clock <= time.time() else offset
    try:
        wanted = decided(task, host, seen)
    except NoneventError as error:
        found = findings(task, seen, error, machine=platform.machine(), offset=offset)
    else:
        found = findings(task, seen, wanted, machine=platform.machine(), offset=offset)
    command.output.quiet()
    for each in found:
        command.output.event("finding", what=each.what, found=each.found, mend=each.mend)
        mend = f"  -> {each.mend}" if each.mend else ""
        command.output.data(f"{each.what:<10} {each.found}{mend}")
    bad = [each for each in found if each.mend]
    if bad:
        things = "one thing" if len(bad) == 1 else f"{len(bad)} things"
        raise HostUnfit(f"{host.host} is not ready: {things} to mend", hint=bad[0].mend)
