"""The command line: commands, errors, exit codes."""

from __future__ import annotations

import sys

import click

from nonevent import __version__
from nonevent.cli.build import build, check, init, verify
from nonevent.cli.demo import demo
from nonevent.cli.deploy import deploy, prune, rollback, start, stop
from nonevent.cli.look import logs, plan, releases, status
from nonevent.cli.output import Output
from nonevent.cli.run import lock, run, shell, unlock
from nonevent.errors import Interrupted, NoneventError


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 96})
@click.version_option(__version__, prog_name="nonevent")
def nonevent() -> None:
    """Deploy Python applications so that a deployment is a non-event.

    Start with `nonevent init` in a project, then `nonevent deploy local`.
    """


for _command in (
    init, check, build, verify, plan, deploy, rollback, status, releases, logs, run, shell,
    start, stop, lock, unlock, prune, demo,
):  # fmt: skip
    nonevent.add_command(_command)


def main() -> int:
    """Run a command; returns the exit code, see docs/reference/exit-codes.md."""
    as_json = "--json" in sys.argv
    try:
        nonevent.main(standalone_mode=False)
    except NoneventError as error:
        Output(as_json=as_json).error(error)
        return error.exit_status
    except click.exceptions.Exit as ended:
        return ended.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        Output(as_json=as_json).error(Interrupted("interrupted; nothing was changed"))
        return Interrupted.exit_status
    return 0


if __name__ == "__main__":
    sys.exit(main())
