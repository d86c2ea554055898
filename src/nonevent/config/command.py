"""What may stand in a command: words for a program, and placeholders in braces."""

from __future__ import annotations

import shlex
from string import Formatter

from nonevent.model.parse import plain

LISTENING = ("socket", "port")
"""Placeholders of web services: where to listen."""
ANYWHERE = ("data", "release")
"""Placeholders of every command that runs from a release."""


def words_fault(command: str) -> str | None:
    """Why a command is not a list of words as a shell would read them; None where it is."""
    try:
        words = shlex.split(command)
    except ValueError as error:
        return f"{str(error).lower()} in {command!r}"
    return None if words else "an empty command"


def placeholder_fault(command: str, allowed: tuple[str, ...]) -> str | None:
    """What is wrong with the placeholders of a command; None where nothing is."""
    try:
        parts = list(Formatter().parse(command))
    except ValueError:
        return "a single brace (write {{ or }} for a brace that is meant)"
    for _, name, spec, conversion in parts:
        if name is None:
            continue
        if name not in allowed:
            return f"the placeholder {{{plain(name)}}}"
        if spec or conversion:
            return f"a format in the placeholder {{{plain(name)}}}"
    return None


def listens(command: str) -> bool:
    """Whether a command says where to listen, by placeholder or by variable."""
    if "NONEVENT_SOCKET" in command or "NONEVENT_PORT" in command:
        return True
    return any(name in LISTENING for _, name, _, _ in Formatter().parse(command))
