"""Commands that run something within a release: run, shell; and lock, unlock."""

from __future__ import annotations

import sys

import click

from nonevent.cli.command import Command, common
from nonevent.errors import ReleaseUnknown

host_option = click.option(
    "--host", default="", help="On this one of several hosts (default: the first)."
)


def _attach(command: Command, environment: str, host: str, argv: tuple[str, ...], name: str) -> int:
    project = command.project()
    task = command.task(project, environment)
    host = host or next(iter(task.environment.hosts), "")
    with command.fleet(project, task, host=host) as fleet:
        history = fleet.first.session.history()
    current = history.release(history.current or 0)
    if current is None:
        raise ReleaseUnknown(
            f"nothing has been deployed to {environment}", hint=f"nonevent deploy {environment}"
        )
    secrets = history.secrets_for(current.number)
    return project.transport(task.app.app, task.environment, fleet.first.host).attach(
        (
            "exec",
            *("--release", str(current.number), "--secrets", str(secrets)),
            *("--name", name, "--", *argv),
        )
    )


@click.command(
    context_settings={"ignore_unknown_options": True},
    short_help="Run a command in the current release.",
)
@click.argument("environment")
@click.argument("argv", nargs=-1, required=True, type=click.UNPROCESSED, metavar="-- COMMAND…")
@host_option
@common
def run(command: Command, environment: str, host: str, argv: tuple[str, ...]) -> None:
    """Run a command with the current release's code, interpreter and variables.

    Its exit status is the command's own: nonevent run local -- python manage.py migrate
    """
    sys.exit(_attach(command, environment, host, argv, "run"))


@click.command(short_help="Open a shell in the current release.")
@click.argument("environment")
@host_option
@common
def shell(command: Command, environment: str, host: str) -> None:
    """Open a shell in the current release, with its interpreter first on PATH."""
    sys.exit(_attach(command, environment, host, ("/bin/sh", "-i"), "shell"))


@click.command()
@click.argument("environment")
@click.option("--reason", required=True, help="Why; whoever is refused reads it.")
@common
def lock(command: Command, environment: str, reason: str) -> None:
    """Refuse every change to an environment until `unlock`."""
    project = command.project()
    task = command.reach(project, environment)
    with command.fleet(project, task) as fleet:
        fleet.everywhere(lambda each: each.session.lock(environment, reason))
    command.output.event("locked", reason=reason)
    command.output.line("", f"{environment} is locked: {reason}")


@click.command()
@click.argument("environment")
@common
def unlock(command: Command, environment: str) -> None:
    """Allow changes again."""
    project = command.project()
    task = command.reach(project, environment)
    with command.fleet(project, task) as fleet:
        found = fleet.everywhere(lambda each: each.session.unlock())
    before: dict[str, object] = next((each for each in found.values() if each), {})
    command.output.event("unlocked", **before)
    who = (
        f"{environment} was locked by {before['by']}" if before else f"{environment} was not locked"
    )
    command.output.line("", f"{who}; changes are allowed")
