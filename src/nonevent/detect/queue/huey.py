"""huey."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nonevent.detect.queue.service import service
from nonevent.detect.source import assigned, bound, called

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nonevent.detect.found import Finding
    from nonevent.detect.project import Project


def huey(project: Project) -> Iterator[Finding]:
    """A consumer. Two at once would run periodic tasks twice, so then it is a singleton.

    TERM interrupts its tasks and INT lets them finish: huey's documentation, "Consumer".
    """
    if "huey" not in project.dependencies:
        return
    django = next(project.mentions("huey.contrib.djhuey"), None)
    place = _instance(project)
    if django and project.has("manage.py"):
        command, why = "python manage.py run_huey", f"huey.contrib.djhuey in {django}"
    elif place:
        command = f"python -m huey.bin.huey_consumer {place[1]}"
        why = f"the huey instance in {place[0]}"
    else:
        return
    periodic = next(project.mentions("periodic_task("), None)
    yield from service(
        "worker",
        "singleton" if periodic else "worker",
        command=command,
        why=why + (f", periodic tasks in {periodic}" if periodic else ""),
        stop_signal="INT",
        stop_limit="1h",
    )


def _instance(project: Project) -> tuple[str, str] | None:
    """Where the instance is made, and how the consumer is told of it.

    A module that has the tasks imports the instance, and importing it registers them.
    """
    for path in project.mentions("Huey("):
        for name, value in assigned(project.tree(path)):
            if called(value).endswith("Huey"):
                tasks = [
                    other for other in project.mentions(f"@{name}.")
                    if name in bound(project.tree(other))
                ]  # fmt: skip
                home = tasks[0] if tasks and path not in tasks else path
                return path, f"{project.module(home)}.{name}"
    return None
