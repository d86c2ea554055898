"""The command line: commands, errors, exit codes."""

from __future__ import annotations

import os
import signal
import sys
import traceback

import click

from nonevent import __version__
from nonevent.cli.build import build, check, init, verify
from nonevent.cli.demo import demo
from nonevent.cli.deploy import deploy, prune, rollback, start, stop
from nonevent.cli.look import logs, plan, releases
from nonevent.cli.output import Output
from nonevent.cli.run import lock, run, shell, unlock
from nonevent.cli.setup import setup
from nonevent.cli.status import status
from nonevent.errors import Interrupted, NoneventError, UsageError


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 96})
@click.version_option(__version__, prog_name="nonevent")
def nonevent() -> None:
    """Deploy Python applications so that a deployment is a non-event.

    Start with `nonevent init` in a project, then `nonevent deploy local`.
    """


for _command in (
    init, check, setup, build, verify, plan, deploy, rollback, status, releases, logs, run, shell,
    start, stop, lock, unlock, prune, demo,
):  # fmt: skip
    nonevent.add_command(_command)


def main() -> int:
    """Run a command; returns the exit code, see docs/reference/exit-codes.md."""
    output = Output(as_json="--json" in _own_words(sys.argv[1:]))
    for number in (signal.SIGTERM, signal.SIGHUP):
        # Whoever ends us otherwise than by Ctrl-C gets the same way out.
        signal.signal(number, signal.default_int_handler)
    try:
        nonevent.main(prog_name="nonevent", standalone_mode=False)
    except click.exceptions.Exit as ended:
        return ended.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return error.exit_code
    except BrokenPipeError:
        # Whoever read our output has had enough, e.g. `head`; nothing more can be said to it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return NoneventError.exit_status
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001  (nobody is to see a traceback)
        ours = _ours(error)
        output.error(ours)
        return ours.exit_status
    return 0


def _own_words(words: list[str]) -> list[str]:
    """The words before ``--``: what follows belongs to the command that `run` runs."""
    return words[: words.index("--")] if "--" in words else words


def _ours(error: BaseException) -> NoneventError:
    """An error of ours for whatever a command ended with."""
    match error:
        case NoneventError():
            return error
        case click.ClickException():
            return _usage(error)
        case click.Abort() | KeyboardInterrupt():
            return Interrupted("interrupted; nothing was changed")
        case OSError(filename=str() | bytes()):
            return NoneventError(
                f"the system refused {os.fsdecode(error.filename)}: {error.strerror}"
            )
        case OSError():
            return NoneventError(f"this machine refused: {error}")
        case _:
            lines = traceback.format_exception(error)
            return NoneventError(
                f"nonevent has a bug: {type(error).__name__}: {error}",
                context=tuple(f"| {line}" for line in "".join(lines).splitlines()[-30:]),
                hint="please report it with the lines above; `nonevent status` says what runs",
            )


def _usage(error: click.ClickException) -> UsageError:
    """A mistake in the command that was typed."""
    text = error.format_message().rstrip(".")
    context = getattr(error, "ctx", None)
    return UsageError(
        text[:1].lower() + text[1:],
        context=(context.get_usage(),) if context else (),
        hint=f"{context.command_path} --help" if context else "",
    )


if __name__ == "__main__":
    sys.exit(main())
