"""The reference page of the commands, made from the commands themselves."""

from __future__ import annotations

import inspect

import click

from nonevent.cli.__main__ import commands

_INTRODUCTION = """\
# Commands

<!-- Made from src/nonevent/cli: `python -m nonevent.cli.reference`. -->

ENVIRONMENT is `local`, which always exists: this machine, without root. A command finds its project
in the folder it is called in, or in one above. Options of every command:

| option | what it does |
|---|---|
| `--json` | One JSON event a line on stdout: [all of them](#events-of---json). |
| `-C, --project DIRECTORY` | The project's folder (default: the current one). Not of `demo`. |
| `-h, --help` | Show how the command is used. |

`nonevent --version` shows the version. What a command answers goes to standard output; how it goes,
to standard error. How a command ends says its [exit code](exit-codes.md); what an error means is in
[errors](errors.md).
"""

_COMMON = {"--json", "--project", "--help"}
_GROUPS = (
    ("A project and its artifacts", ("init", "check", "build", "verify")),
    ("Looking", ("plan", "status", "releases", "logs")),
    ("Changing what runs", ("deploy", "rollback", "start", "stop", "prune", "lock", "unlock")),
    ("A host, once", ("setup",)),
    ("Within a release", ("run", "shell")),
    ("To try it", ("demo",)),
)

_EVENTS_INTRODUCTION = """
## Events of `--json`

With `--json` every line on standard output is one JSON object with the key `event`, and nothing is
narrated. An event may get more keys in later versions; names and keys do not change their meaning.
Sizes are in bytes, durations in seconds, times in UTC as ISO 8601. What comes
from one of several hosts has its name under `host`. `run` and `shell` say what their command
says.

| event | keys | what it says |
|---|---|---|
"""

EVENTS: dict[str, tuple[str, str]] = {
    "written": ("path", "`init` wrote the configuration"),
    "found": ("key value why", "`init` found this in the project, and where"),
    "note": ("text hint", "something worth reading; nothing is wrong. Not every note has a hint"),
    "checked": ("app services", "`check` found no mistake"),
    "build-begun": ("phase detail", "a phase of a build began"),
    "build-done": ("phase detail seconds", "it ended"),
    "built": (
        "path digest commit dirty reused bytes",
        "`build` made this artifact, or had it already (`reused`)",
    ),
    "verified": ("digest manifest", "`verify` found every file as the manifest says"),
    "file": ("layer path", "a file of an artifact, with `verify --list`"),
    "commit": ("sign text", "`plan`: a commit that would come (`+`) or go (`-`)"),
    "package": (
        "package before after",
        "`plan`: a package whose version would change; null where it is new or goes away",
    ),
    "would-send": ("layer bytes", "`plan`: a layer that the host does not have"),
    "would": ("step", "`plan`: a step that would be taken"),
    "sent": (
        "layer bytes seconds",
        "a layer was brought to the host; the bytes that went out for it",
    ),
    "plan": ("release steps", "what the host is going to do"),
    "begun": ("step back", "a step began; `back` is true on the way back after a failure"),
    "done": (
        "step back seconds after detail",
        "it ended well, so many seconds after the beginning of the plan",
    ),
    "output": ("command text", "a line that a release command wrote"),
    "interrupted": ("", "an interrupt was seen, and the host was told of it"),
    "serving": (
        "release commit changed url seconds",
        "the last event of `deploy`, `rollback` and `start`: what serves now",
    ),
    "stopped": ("", "the last event of `stop`"),
    "pruned": ("changed", "the last event of `prune`"),
    "status": (
        (
            "root release running previous front proxies instances timers busy locked interrupted "
            "disk load processors"
        ),
        "all that `status` shows",
    ),
    "drift": ("", "`status`: hosts do not run the same; a key for each, with what it serves"),
    "skipped": ("code message context hint serves", "a host that was not reached is left out"),
    "waiting": ("gate", "a host waits for the others; these events stay between host and client"),
    "release": (
        "number state commit subject artifact by since config reason on_disk",
        "a line of `releases`: state is staged, current, good, left (rolled back from) or failed",
    ),
    "log": (
        "log text time",
        "a line of `logs`, and the instance that wrote it; Unix seconds, or 0",
    ),
    "locked": ("reason", "`lock` locked the environment"),
    "unlocked": ("by reason since", "`unlock` unlocked it; no keys where it was not locked"),
    "finding": ("what found mend", "`check` of a host: one thing, and what mends it"),
    "state": ("state diff", "`setup`: something that was not so, and is now, or would be"),
    "set-up": ("changed check", "the last event of `setup`"),
    "error": (
        "code message context hint serves exit_status",
        "the last event of a command that failed; `code` is stable, see [errors](errors.md)",
    ),
    "typed": ("text", "`demo` types a command; its events follow"),
    "failed": ("status", "`demo`: that command ended with this exit code"),
    "counted": ("answered lost promise", "`demo`: requests so far, and what the page says"),
    "outcome": ("lost answered tasks printed releases", "`demo`: the table at its end"),
}
"""Name, keys, meaning. A test compares the names with what the code emits."""


def reference() -> str:
    """The page, as Markdown."""
    page, known = [_INTRODUCTION], commands()
    for title, names in _GROUPS:
        page.append(f"\n## {title}\n")
        page.extend(_command(known[name]) for name in names)
    page.append(_EVENTS_INTRODUCTION)
    for name, (keys, meaning) in EVENTS.items():
        named = " ".join(f"`{key}`" for key in keys.split())
        page.append(f"| `{name}` | {named} | {meaning} |\n")
    return "".join(page)


def _command(command: click.Command) -> str:
    context = click.Context(command, info_name=f"nonevent {command.name}")
    usage = " ".join(command.get_usage(context).removeprefix("Usage: ").split())
    lines = [
        f"\n### {command.name}\n\n```\n{usage}\n```\n\n{inspect.cleandoc(command.help or '')}\n"
    ]
    rows = [
        f"| `{record[0]}` | {option.help}{' Required.' if option.required else ''} |\n"
        for option in command.params
        if isinstance(option, click.Option) and not _COMMON & {*option.opts}
        if (record := option.get_help_record(context))
    ]
    if rows:
        lines += ["\n| option | what it does |\n|---|---|\n", *rows]
    return "".join(lines)


if __name__ == "__main__":
    print(reference(), end="")  # noqa: T201
