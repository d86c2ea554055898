"""What a lock says of each package alone, so that two locks can be compared, and one be cut."""

from __future__ import annotations

import re
import tomllib
from dataclasses import replace
from typing import TYPE_CHECKING

from packaging.utils import canonicalize_name

if TYPE_CHECKING:
    from collections.abc import Container, Iterator

    from nonevent.build.lock.base import Locked

_NAME = re.compile(r"[A-Za-z0-9][\w.-]*")
_TABLE = re.compile(r"^(?=\[\[packages\]\]$)", re.MULTILINE)
COMMON = ""
"""The name of what is said of no package, but may decide something for all."""


def parts(locked: Locked) -> dict[str, str]:
    """What is said of each package, by its normal name; nothing where that cannot be told."""
    found: dict[str, str] = {}
    for name, text in _pieces(locked):
        # What stands between two says nothing, and the last one may have no end of line.
        found[name] = f"{found.get(name, '')}{text.strip()}\n"
    return found


def only(locked: Locked, names: Container[str]) -> Locked:
    """The lock with no other packages than those."""
    return replace(
        locked,
        text="".join(text for name, text in _pieces(locked) if name == COMMON or name in names),
    )


def _pieces(locked: Locked) -> tuple[tuple[str, str], ...]:
    """The text cut into pieces, in order, each with the name of its package."""
    cut = _tables if locked.file.endswith(".toml") else _lines
    try:
        return tuple(cut(locked.text))
    except (LookupError, TypeError, ValueError):
        return ()


def _lines(text: str) -> Iterator[tuple[str, str]]:
    """Of requirements, each a line: see :func:`nonevent.build.lock.requirements.flatten`."""
    for line in text.splitlines(keepends=True):
        name = _NAME.match(line)
        yield canonicalize_name(name[0]) if name else COMMON, line


def _tables(text: str) -> Iterator[tuple[str, str]]:
    """Of a pylock, each a table with the tables below it."""
    head, *tables = _TABLE.split(text)
    yield COMMON, head
    for table in tables:
        raw = tomllib.loads(table)
        (package,) = raw.pop("packages")
        if raw:
            raise ValueError(raw)  # The table is followed by another than a package's.
        yield canonicalize_name(package["name"]), table
