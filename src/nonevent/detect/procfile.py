"""A ``Procfile``, as Heroku, Dokku and honcho read it."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

from nonevent.detect.found import Finding, Note

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nonevent.detect.project import Project

_LINE = re.compile(r"^([A-Za-z0-9_-]+)\s*:\s*(.+)$", re.MULTILINE)
_PORT = re.compile(r"\$\{PORT(?::-\d+)?\}|\$PORT\b")
_SHELL = re.compile(r"[$`|&;<>]")
_BOUND = re.compile(r"(^|\s)(-b|--bind|--uds|--fd|-u|--http|--http-socket|--socket|-c|--config)\b")
_LISTEN = {"gunicorn": "--bind unix:{socket}", "uvicorn": "--uds {socket}",
           "hypercorn": "--bind unix:{socket}", "daphne": "-u {socket}"}  # fmt: skip
_ALONE = re.compile(r"\bbeat\b|\bscheduler\b|\bclock\b|\brqscheduler\b|\bworker\b.*\s(-B|--beat)\b")


def commands(project: Project) -> dict[str, str]:
    """The lines of the Procfile, by name."""
    return {match[1]: match[2].strip() for match in _LINE.finditer(project.text("Procfile"))}


def procfile(project: Project) -> Iterator[Finding | Note]:
    """Its lines as services and release commands; they go before whatever else is found."""
    for name, line in commands(project).items():
        why = f"`{name}` in Procfile"
        if name == "release":
            yield Finding(key=("release",), value=(_translated(line),), why=why)
        elif name == "web":
            yield from _web(line, why)
        else:
            service = _name(name)
            kind = "singleton" if _ALONE.search(f"{name} {line}") else "worker"
            yield Finding(key=("services", service, "kind"), value=kind, why=why)
            key = ("services", service, "command")
            yield Finding(key=key, value=_translated(line), why=why)


def _web(line: str, why: str) -> Iterator[Finding | Note]:
    command = _translated(line)
    if "{port}" not in command:
        program = next((name for name in _LISTEN if re.search(rf"\b{name}\b", line)), None)
        if program is None or _BOUND.search(line) or _SHELL.search(line):
            yield Note(
                text=f"the web command in Procfile does not say where it listens: {line}",
                hint="write it with {socket} or {port} under [services.web]",
            )
            return
        command = f"{command} {_LISTEN[program]}"
    yield Finding(key=("services", "web", "command"), value=command, why=why)


def _translated(line: str) -> str:
    """The command with ``{port}`` for ``$PORT``; through a shell where it needs one."""
    parts = [part.replace("{", "{{").replace("}", "}}") for part in _PORT.split(line)]
    line = "\0".join(parts)
    line = line.replace("0.0.0.0:\0", "127.0.0.1:\0").replace("\0", "{port}")
    line = re.sub(r"(--host[ =])0\.0\.0\.0\b", r"\g<1>127.0.0.1", line)
    bare = line.replace("{port}", "")
    try:
        shlex.split(line)
    except ValueError:
        return f"sh -c {shlex.quote(line)}"
    if not _SHELL.search(bare):
        return line
    return f"sh -c {shlex.quote(line if re.search(r'[|&;]', bare) else 'exec ' + line)}"


def _name(name: str) -> str:
    lower = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    lower = re.sub(r"-(\d+)$", r"\1", lower)
    return (lower if lower[:1].isalpha() else f"p{lower}")[:32]
