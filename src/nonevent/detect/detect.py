"""What a project is made of, as its files show it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nonevent.detect.assets import assets
from nonevent.detect.found import Finding, Note, merged
from nonevent.detect.imports import imports
from nonevent.detect.kept import kept
from nonevent.detect.lock import lock
from nonevent.detect.name import name
from nonevent.detect.procfile import procfile
from nonevent.detect.project import Project
from nonevent.detect.python import python
from nonevent.detect.queues import queues
from nonevent.detect.variables import variables
from nonevent.detect.web import web

if TYPE_CHECKING:
    from pathlib import Path

    from nonevent.detect.base import Detector
    from nonevent.detect.found import Found

DETECTORS: tuple[Detector, ...] = (
    name, python, lock, procfile, assets, web, queues, variables, imports, kept,
)  # fmt: skip
"""Where two find a value for one key, the one that stands first has it."""


def detect(folder: Path) -> Found:
    """All that is found in a folder. Files are read; nothing is imported or run."""
    project = Project(folder)
    parts = tuple(part for detector in DETECTORS for part in detector(project))
    if any(isinstance(part, Finding) and part.key[0] == "services" for part in parts):
        return merged(parts)
    nothing = Note(
        text="neither a web app nor a task queue was recognised",
        hint="say under [services.web] of nonevent.toml how the app starts",
    )
    return merged((*parts, nothing))
