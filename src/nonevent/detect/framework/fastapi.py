"""FastAPI, Starlette and what is built on them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nonevent.detect.framework.base import WebApp
from nonevent.detect.framework.health import probed
from nonevent.detect.framework.routes import find_app, routes
from nonevent.detect.framework.target import target

if TYPE_CHECKING:
    from nonevent.detect.project import Project

_CLASSES = (("fastapi", "FastAPI"), ("starlette", "Starlette"), ("litestar", "Litestar"),
            ("quart", "Quart"))  # fmt: skip


def fastapi(project: Project) -> WebApp | None:
    """The ASGI app that is made by calling one of the frameworks' classes."""
    for package, name in _CLASSES:
        place = find_app(project, package, (name,))
        if place is None:
            continue
        paths = routes(project, place)
        health, why = probed(paths), "its route in {file}"
        if health is None:
            health = "/" if "/" in paths or package != "fastapi" else "/openapi.json"
            why = "" if health == "/" else "no route / and none for probes was found on the app"
        made = "the factory" if place.is_factory else "the app"
        return WebApp(
            framework=name,
            asgi=target(project, place),
            why=f"{made} `{place.name}` in {place.file}",
            health=health,
            health_why=why.format(file=paths.get(health, "")),
        )
    return None
