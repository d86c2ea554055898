"""Celery and its scheduler."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nonevent.detect.queue.service import service
from nonevent.detect.source import assigned, called

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nonevent.detect.found import Finding
    from nonevent.detect.project import Project

_SCHEDULES = ("beat_schedule", "CELERY_BEAT_SCHEDULE", "CELERYBEAT_SCHEDULE", "add_periodic_task")
_DATABASE = "django_celery_beat"


def celery(project: Project) -> Iterator[Finding]:
    """A worker, and one beat where there is a schedule."""
    place = _app(project) if "celery" in project.dependencies else None
    if place is None:
        return
    path, app = place
    # Two releases run side by side for a while, so each worker is called after its release.
    yield from service(
        "worker",
        "worker",
        command=f"celery -A {app} worker --loglevel INFO --hostname {{release}}@%h",
        why=f"the Celery app in {path}",
        stop_limit="1h",
    )
    schedule = next(project.mentions(*_SCHEDULES), None)
    if "django-celery-beat" in project.dependencies and next(project.mentions(_DATABASE), None):
        options, why = "--scheduler django_celery_beat.schedulers:DatabaseScheduler", _DATABASE
    elif schedule:
        options, why = "--schedule {data}/celerybeat-schedule", f"the schedule in {schedule}"
    else:
        return
    command = f"celery -A {app} beat --loglevel INFO {options}"
    yield from service("beat", "singleton", command=command, why=why)


def _app(project: Project) -> tuple[str, str] | None:
    """The file that makes the Celery app, and how ``celery -A`` is told of it."""
    for path in project.mentions("Celery("):
        for name, value in assigned(project.tree(path)):
            if called(value) == "Celery":
                module = project.module(path)
                if module.endswith(".celery"):
                    return path, module.removesuffix(".celery")
                return path, module if name in ("app", "celery") else f"{module}:{name}"
    return None
