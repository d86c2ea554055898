"""The command line: commands, errors, exit codes."""

from __future__ import annotations

import os
import signal
import sys
from importlib import import_module

import click

from nonevent import __version__
from nonevent.cli.output import Output
from nonevent.errors import Interrupted, NoneventError, UsageError

_MODULES = {
    "build": ("init", "check", "build", "verify"),
    "setup": ("setup",),
    "look": ("plan", "releases", "logs"),
    "status": ("status",),
    "deploy": ("deploy", "rollback", "start", "stop", "prune"),
    "run": ("run", "shell", "lock", "unlock"),
    "demo": ("demo",),
}
"""Which module has which commands."""


class _Commands(click.Group):
    """Commands whose module is imported when they are asked for: most of a start is imports."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """The names of all, in the order of the alphabet."""
        return sorted(name for names in _MODULES.values() for name in names)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """The command of that name, or None."""
        for module, names in _MODULES.items():
            if cmd_name in names:
                self.add_command(getattr(import_module(f"nonevent.cli.{module}"), cmd_name))
                return self.commands[cmd_name]
        # For click, which goes on to say what may have been meant.
        self.commands = commands()
        return None


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 96},
)
@click.version_option(__version__, prog_name="nonevent")
def nonevent() -> None:
    """Deploy Python applications so that a deployment is a non-event.

    Start with `nonevent init` in a project, then `nonevent deploy local`.
    """


def commands() -> dict[str, click.Command]:
    """All commands by name."""
    context = click.Context(nonevent)
    names = nonevent.list_commands(context)
    return {name: found for name in names if (found := nonevent.get_command(context, name))}


def main() -> int:
    """Run a command; returns the exit code, see docs/reference/exit-codes.md."""
    status = _run()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # Said is said: one more Ctrl-C while Python comes to its end must not change the exit code.
        signal.signal(number, signal.SIG_IGN)
    return status


def _run() -> int:
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
            import traceback

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
