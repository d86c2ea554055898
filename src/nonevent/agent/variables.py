"""Configuration versions and secrets on the host, numbered and never changed.

A release keeps its configuration version for ever; secrets are started with in their newest
version, so that a rollback does not bring a rotated password back.
"""

from __future__ import annotations

import json
import stat
from typing import TYPE_CHECKING

from nonevent.agent import durable
from nonevent.model.parse import Table, parse_json

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from nonevent.model.layout import Layout

_FILE = "variables.json"


def keep_config(layout: Layout, values: Mapping[str, str], *, check: bool = False) -> int:
    """The number of the configuration version with these values, made where it is new.

    With ``check`` nothing is made, and the number is the one it would get.
    """
    folder = layout.configs
    return _keep(folder, values, mode=0o640, among=numbers(folder), check=check)


def keep_secrets(layout: Layout, values: Mapping[str, str], *, check: bool = False) -> int:
    """The number of the secrets' version with these values, made where they are not the newest.

    A higher number is always newer, also where a password was changed back. Where the app has a
    user of its own, `setup` has given the folder to that user's group.
    """
    folder = layout.secrets
    shared = folder.exists() and folder.stat().st_mode & stat.S_ISGID
    return _keep(
        folder, values, mode=0o640 if shared else 0o600, among=numbers(folder)[-1:], check=check
    )


def config(layout: Layout, number: int) -> dict[str, str]:
    """The values of a configuration version; number 0 has none."""
    return _read(layout.configs, number)


def secrets(layout: Layout, number: int) -> dict[str, str]:
    """The values of a version of the secrets; number 0 has none."""
    return _read(layout.secrets, number)


def numbers(folder: Path) -> list[int]:
    """The versions in a folder, ascending."""
    try:
        return sorted(int(path.name) for path in folder.iterdir() if path.name.isdigit())
    except FileNotFoundError:
        return []


def _keep(
    folder: Path, values: Mapping[str, str], *, mode: int, among: list[int], check: bool
) -> int:
    if not values and not among:
        return 0
    for number in reversed(among):
        if _read(folder, number) == values:
            return number
    number = among[-1] + 1 if among else 1
    if check:
        return number
    partial = folder / f".partial-{number}"
    partial.mkdir(parents=True, exist_ok=True, mode=0o750 if mode & 0o040 else 0o700)
    encoded = json.dumps({"format": 1, "variables": dict(sorted(values.items()))}, indent=2)
    durable.write(partial / _FILE, encoded.encode(), mode=mode)
    # A version without its file, left by a crash, would be in everybody's way.
    partial.rename(folder / str(number))
    durable.sync_folder(folder)
    return number


def _read(folder: Path, number: int) -> dict[str, str]:
    if not number:
        return {}

    def values(table: Table) -> dict[str, str]:
        table.number("format", most=1)
        return dict(table.pairs("variables"))

    text = (folder / str(number) / _FILE).read_bytes()
    return parse_json(f"{folder.name}/{number}", text, values)
