"""The web service: which framework's app, served by which app server."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nonevent.detect.dependencies import optional
from nonevent.detect.found import Finding, Note
from nonevent.detect.framework import FRAMEWORKS
from nonevent.detect.lock import to_add
from nonevent.detect.server import FOR_ASGI, FOR_WSGI, SERVERS, Served, version_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nonevent.detect.framework.base import WebApp
    from nonevent.detect.project import Project

WEB = ("services", "web")


def web(project: Project) -> Iterator[Finding | Note]:
    """The first framework that is found, and the first app server that can serve it."""
    found = next((app for framework in FRAMEWORKS if (app := framework(project))), None)
    if found is None:
        return
    yield Finding(key=("framework",), value=found.framework, why=found.why, written=False)
    yield from found.parts
    yield from _served(project, found)
    if found.host:
        yield Finding(key=(*WEB, "health", "path"), value=found.health, why=found.health_why)
        yield Finding(key=(*WEB, "health", "host"), value=found.host, why="ALLOWED_HOSTS")
    elif found.health != "/":
        yield Finding(key=(*WEB, "health"), value=found.health, why=found.health_why)


def _served(project: Project, app: WebApp) -> Iterator[Finding | Note]:
    asgi = [(name, app.asgi, True) for name in FOR_ASGI if app.asgi]
    wsgi = [(name, app.wsgi, False) for name in FOR_WSGI if app.wsgi]
    choices = asgi + wsgi if app.prefers_asgi else wsgi + asgi
    for name, target, is_asgi in choices:
        if name not in project.dependencies:
            continue
        version = version_of(project.dependencies[name])
        command = SERVERS[name](Served(target=target, is_asgi=is_asgi, version=version))
        if command is None:
            continue
        server = f"{name} {version}" if version else name
        yield Finding(key=(*WEB, "command"), value=command, why=f"{app.why}, served by {server}")
        where = optional(project, name)
        if where and where[1] not in ("dev", "test"):
            why = f"{name} is among the {where[0]} of `{where[1]}`"
            yield Finding(key=("build", where[0]), value=(where[1],), why=why)
        return
    name, target, is_asgi = choices[0]
    served = Served(target=target, is_asgi=is_asgi, version=None)
    yield Finding(
        key=(*WEB, "command"),
        value=SERVERS[name](served) or "",
        why=f"{app.why}, served by {name}, which is still to be added",
    )
    yield Note(text="no app server is among the dependencies", hint=to_add(project, name))
