"""How an app server is told which object to serve."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nonevent.detect.framework.routes import Place
    from nonevent.detect.project import Project


def target(project: Project, place: Place) -> str:
    """``module:name``, or ``module:name()`` for a factory."""
    return f"{project.module(place.file)}:{place.name}{'()' if place.is_factory else ''}"
