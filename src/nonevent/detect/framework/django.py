"""Django."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from nonevent.detect.environ import required
from nonevent.detect.found import Finding, Note
from nonevent.detect.framework.base import WebApp
from nonevent.detect.framework.health import probed, urlpatterns
from nonevent.detect.framework.settings import Settings, read_settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nonevent.detect.project import Project

_SETTINGS = re.compile(r"""["']DJANGO_SETTINGS_MODULE["']\s*(?:,|\]\s*=)\s*["']([\w.]+)["']""")
_ENTRIES = {"wsgi": "get_wsgi_application", "asgi": "get_asgi_application"}


def django(project: Project) -> WebApp | None:
    """The WSGI and ASGI applications beside a ``manage.py``."""
    manage = next(
        (path for path in ("manage.py", *project.files)
         if path.rpartition("/")[2] == "manage.py" and _SETTINGS.search(project.text(path))),
        None,
    )  # fmt: skip
    if manage is None:
        return None
    entries = {kind: _entry(project, kind) for kind in _ENTRIES}
    module, origin = _settings_module(project, manage, tuple(entries.values()))
    settings = read_settings(project, module)
    wsgi, asgi = (_target(project, entries[kind]) for kind in ("wsgi", "asgi"))
    health, health_why = _health(project, settings)
    return WebApp(
        framework="Django",
        wsgi=wsgi,
        asgi=asgi,
        prefers_asgi=bool(asgi) and "channels" in project.dependencies,
        why=" and ".join(path for path in (manage, entries["wsgi"] or entries["asgi"]) if path),
        health=health,
        health_why=health_why,
        host=settings.host,
        parts=tuple(_parts(project, settings, manage=manage, origin=origin)),
    )


def _entry(project: Project, kind: str) -> str:
    for path in project.files:
        if path.endswith(f"{kind}.py") and _ENTRIES[kind] in project.text(path):
            return path
    return ""


def _target(project: Project, path: str) -> str:
    return f"{project.module(path)}:application" if path else ""


def _settings_module(project: Project, manage: str, entries: tuple[str, ...]) -> tuple[str, str]:
    """The settings module and the file that names it: what serves goes before manage.py."""
    for path in (*entries, manage):
        match = _SETTINGS.search(project.text(path)) if path else None
        if match:
            return match[1], path
    return "", ""


def _health(project: Project, settings: Settings) -> tuple[str, str]:
    path = project.path_of(settings.root_urls) if settings.root_urls else None
    paths = dict.fromkeys(urlpatterns(project.text(path)), path) if path else {}
    health = probed({route: str(file) for route, file in paths.items()})
    return (health, f"its path in {path}") if health else ("/", "")


def _parts(
    project: Project, settings: Settings, *, manage: str, origin: str
) -> Iterator[Finding | Note]:
    if settings.module:
        yield Finding(key=("env", "DJANGO_SETTINGS_MODULE"), value=settings.module, why=origin)
    yield Finding(
        key=("release",),
        value=(f"python {manage} migrate --noinput",),
        why="Django's migrations, once, before the switch",
    )
    if settings.collects_static and settings.static_root:
        yield Finding(
            key=("build", "commands"),
            value=(f"python {manage} collectstatic --noinput",),
            why=f"django.contrib.staticfiles and STATIC_ROOT in {settings.static_root_file}",
        )
        yield Finding(
            key=("build", "static"),
            value=settings.static_root,
            why=f"STATIC_ROOT in {settings.static_root_file}",
        )
    elif settings.collects_static:
        yield Note(
            text="no STATIC_ROOT within the project was found, so static files are not collected",
            hint='set STATIC_ROOT = BASE_DIR / "staticfiles", and under [build] write commands = '
            f'["python {manage} collectstatic --noinput"] and static = "staticfiles"',
        )
    yield from _variables(project, settings)
    yield from _notes(settings)


def _variables(project: Project, settings: Settings) -> Iterator[Finding]:
    for file in settings.files:
        names = required(project.tree(file))
        if names:
            yield Finding(key=("require",), value=tuple(names), why=f"no default in {file}")
        for name, stand_in in names.items() if settings.static_root else ():
            yield Finding(key=("build", "env", name), value=stand_in, why="for collectstatic only")


def _notes(settings: Settings) -> Iterator[Note]:
    if settings.debug_file:
        yield Note(
            text=f"DEBUG = True in {settings.debug_file}",
            hint=f"it is what {settings.module} uses; before others see the app, choose "
            "production settings under [env]",
        )
    if settings.hides_hosts:
        yield Note(
            text="ALLOWED_HOSTS is not written out, and new releases are probed as `localhost`",
            hint="allow localhost, or name one of the hosts: "
            'health = { path = "/", host = "shop.example.com" } under [services.web]',
        )
    for what, path in settings.kept_inside:
        yield Note(
            text=f"{what} is {path} within the project, and does not outlive a release",
            hint=f'write Path(os.environ.get("NONEVENT_DATA", BASE_DIR)) / "{path}" in the '
            "settings: that folder survives releases",
        )
