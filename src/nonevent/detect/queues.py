"""The services of task queues, but for those that a Procfile has."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from nonevent.detect import procfile
from nonevent.detect.queue import QUEUES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nonevent.detect.found import Finding, Note
    from nonevent.detect.project import Project


def queues(project: Project) -> Iterator[Finding | Note]:
    """The services of every queue; a second `worker` is called after its queue."""
    taken: set[str] = set()
    by_hand = " ".join(procfile.commands(project).values())
    for name, queue in QUEUES.items():
        if name in by_hand:
            continue
        services: set[str] = set()
        for finding in queue(project):
            service = finding.key[1]
            services.add(service)
            renamed = f"{name}-{service}" if service in taken else service
            yield replace(finding, key=(finding.key[0], renamed, *finding.key[2:]))
        taken |= services
