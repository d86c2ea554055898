"""Static assets that a JavaScript tool builds."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from nonevent.detect.found import Finding, Note

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nonevent.detect.project import Project

_TOOLS = {
    "package-lock.json": ("npm ci", "npm run build"),
    "npm-shrinkwrap.json": ("npm ci", "npm run build"),
    "pnpm-lock.yaml": ("pnpm install --frozen-lockfile", "pnpm run build"),
    "yarn.lock": ("yarn install --frozen-lockfile", "yarn run build"),
}


def assets(project: Project) -> Iterator[Finding | Note]:
    """The build script of a ``package.json``, with the tool whose lock file is there."""
    try:
        raw = json.loads(project.text("package.json") or "{}")
    except ValueError:
        return
    scripts = raw.get("scripts") if isinstance(raw, dict) else None
    if not isinstance(scripts, dict) or "build" not in scripts:
        return
    lock = next((name for name in _TOOLS if project.has(name)), None)
    why = f"the build script in package.json, and {lock or 'no lock file'}"
    commands = _TOOLS[lock] if lock else ("npm install", "npm run build")
    if lock == "yarn.lock" and project.has(".yarnrc.yml"):
        commands = ("yarn install --immutable", commands[1])
    if lock is None:
        yield Note(text="package.json has no lock file, so two builds may differ",
                   hint="npm install --package-lock-only")  # fmt: skip
    yield Finding(key=("build", "commands"), value=commands, why=why)
    yield Finding(key=("build", "exclude"), value=("node_modules",), why="only the build needs it")
