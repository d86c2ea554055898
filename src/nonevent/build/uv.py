"""uv, which comes with Nonevent."""

from __future__ import annotations

import hashlib
import json
import tomllib
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from uv import find_uv_bin

from nonevent.build.process import Outcome, run

if TYPE_CHECKING:
    from collections.abc import Mapping

LIMIT = 1800.0
"""Seconds that one uv command may take; building a large sdist takes minutes."""


def uv(*arguments: str | Path, cwd: Path, env: Mapping[str, str], limit: float = LIMIT) -> Outcome:
    """Run uv to its end."""
    return run((find_uv_bin(), *arguments), cwd=cwd, env=env, limit=limit)


def uv_version() -> str:
    """The version that a layer's key holds: another uv may install other bytes."""
    return version("uv")


def settings_of(folder: Path, env: Mapping[str, str]) -> str:
    """A digest of what may decide which files uv takes in a folder: variables and configuration.

    See https://docs.astral.sh/uv/concepts/configuration-files/.
    """
    told = {name: env[name] for name in env if name.startswith("UV_") and name != "UV_CACHE_DIR"}
    found: list[object] = [told]
    own = Path(env.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "uv"
    for place in (folder, *folder.parents, own, Path("/etc/uv")):
        for name in ("uv.toml", "pyproject.toml"):
            try:
                raw = tomllib.loads((place / name).read_text(encoding="utf-8"))
            except (OSError, ValueError):
                continue
            found.append(raw if name == "uv.toml" else raw.get("tool", {}).get("uv"))
    text = json.dumps(found, default=str, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
