"""What the detector of a task queue is given."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nonevent.detect.found import Finding
    from nonevent.detect.project import Project


class Queue(Protocol):
    """Finds the services of one task queue; nothing where the project does not use it."""

    def __call__(self, project: Project) -> Iterator[Finding]:
        """Its services."""
        ...
