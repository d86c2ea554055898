"""``nonevent setup``: making a host ready, once, with the rights that need root."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nonevent.cli.command import Command, common

if TYPE_CHECKING:
    from nonevent.transport.ssh import Ssh


@click.command()
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
