"""Flask."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nonevent.detect.framework.base import WebApp
from nonevent.detect.framework.health import probed
from nonevent.detect.framework.routes import find_app, routes
from nonevent.detect.framework.target import target

if TYPE_CHECKING:
    from nonevent.detect.project import Project


def flask(project: Project) -> WebApp | None:
    """The app object, or the factory, that calls ``Flask``."""
    place = find_app(project, "flask", ("Flask", "APIFlask", "OpenAPI"))
    if place is None:
        return None
    paths = routes(project, place)
    health = probed(paths)
    made = "the factory" if place.is_factory else "the app"
    return WebApp(
        framework="Flask",
        wsgi=target(project, place),
        why=f"{made} `{place.name}` in {place.file}",
        health=health or "/",
        health_why=f"its route in {paths[health]}" if health else "",
    )
