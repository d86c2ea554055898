"""RQ and django-rq."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from nonevent.detect.queue.service import service
from nonevent.detect.source import called, text_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nonevent.detect.found import Finding
    from nonevent.detect.project import Project


def rq(project: Project) -> Iterator[Finding]:
    """A worker for the queues that the code names."""
    if "django-rq" in project.dependencies and project.has("manage.py"):
        path = next(project.mentions("RQ_QUEUES"), None)
        command, why = "python manage.py rqworker", f"RQ_QUEUES in {path}" if path else "django-rq"
    elif "rq" in project.dependencies:
        path = next(project.mentions("from rq", "import rq"), None)
        if path is None:
            return
        names = " ".join(_queues(project))
        command, why = f"rq worker {names}".strip(), f"rq in {path}"
    else:
        return
    yield from service("worker", "worker", command=command, why=why, stop_limit="1h")


def _queues(project: Project) -> tuple[str, ...]:
    names: dict[str, None] = {}
    for path in project.mentions("from rq", "import rq"):
        for node in ast.walk(project.tree(path)):
            if isinstance(node, ast.Call) and called(node) == "Queue" and node.args:
                names[text_of(node.args[0])] = None
    return tuple(name for name in names if name)
