"""uv, which comes with Nonevent."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING

from uv import find_uv_bin

from nonevent.build.process import Outcome, run

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

LIMIT = 1800.0
"""Seconds that one uv command may take; building a large sdist takes minutes."""


def uv(*arguments: str | Path, cwd: Path, env: Mapping[str, str], limit: float = LIMIT) -> Outcome:
    """Run uv to its end."""
    return run((find_uv_bin(), *arguments), cwd=cwd, env=env, limit=limit)


def uv_version() -> str:
    """The version that a layer's key holds: another uv may install other bytes."""
    return version("uv")
