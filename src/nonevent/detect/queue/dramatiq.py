"""Dramatiq and django-dramatiq."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from nonevent.detect.queue.service import service

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nonevent.detect.found import Finding
    from nonevent.detect.project import Project

_ACTOR = re.compile(r"^\s*@(dramatiq\.)?actor\b", re.MULTILINE)
_STOP_LIMIT = "11m"
"""Dramatiq itself gives its workers ten minutes."""


def dramatiq(project: Project) -> Iterator[Finding]:
    """A worker; the module that sets the broker is imported first."""
    if "dramatiq" not in project.dependencies:
        return
    if "django-dramatiq" in project.dependencies and project.has("manage.py"):
        command, why = "python manage.py rundramatiq", "django-dramatiq"
    else:
        brokers = list(project.mentions("set_broker("))
        actors = [path for path in project.mentions("dramatiq")
                  if _ACTOR.search(project.text(path))]  # fmt: skip
        if not actors:
            return
        modules = dict.fromkeys(project.module(path) for path in (*brokers, *actors))
        command, why = f"dramatiq {' '.join(modules)}", f"the actors in {', '.join(actors)}"
    yield from service("worker", "worker", command=command, why=why, stop_limit=_STOP_LIMIT)
