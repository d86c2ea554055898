"""What every detector is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nonevent.detect.found import Finding, Note
    from nonevent.detect.project import Project


class Detector(Protocol):
    """Says what one part of a project means for the configuration."""

    def __call__(self, project: Project) -> Iterator[Finding | Note]:
        """What it finds; nothing where that part is not there."""
        ...
