"""The findings that make up one service."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nonevent.detect.found import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator


def service(
    name: str, kind: str, *, command: str, why: str, stop_limit: str = "", stop_signal: str = ""
) -> Iterator[Finding]:
    """A service of that name; what is empty is left out."""
    given = {
        "kind": kind,
        "command": command,
        "stop_signal": stop_signal,
        "stop_limit": stop_limit,
    }
    for key, value in given.items():
        if value:
            yield Finding(key=("services", name, key), value=value, why=why)
