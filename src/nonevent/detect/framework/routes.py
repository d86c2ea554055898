"""Apps and factories that are made by calling a class, and the routes on them."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nonevent.detect.source import (
    assigned,
    bound,
    called,
    dotted,
    functions,
    needs_no_arguments,
    text_of,
)  # fmt: skip

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nonevent.detect.project import Project

_ENTRIES = ("wsgi", "asgi", "app", "main", "application", "server", "api", "web", "__init__")
_NAMES = ("application", "app", "api")
_METHODS = {"route", "get", "api_route"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where an app is made: a module-level name, or a factory."""

    file: str
    name: str
    is_factory: bool


def find_app(project: Project, package: str, classes: tuple[str, ...]) -> Place | None:
    """Where an instance of one of the classes of a package is made.

    An entry module (``wsgi.py`` …) that only passes an app on is preferred, then a
    module-level app, then a factory that needs no arguments.
    """
    makers = list(_makers(project, package, classes))
    if not makers:
        return None
    apps = [place for place in makers if not place.is_factory]
    for path in _entry_modules(project):
        if any(place.file == path for place in apps):
            continue
        passed_on = _passed_on(project, path, {place.name for place in makers})
        if passed_on:
            return Place(file=path, name=passed_on, is_factory=False)
    return min(makers, key=_rank)


def _makers(project: Project, package: str, classes: tuple[str, ...]) -> Iterator[Place]:
    for path in project.mentions(package):
        tree = project.tree(path)
        if not any(_imports(node, package) for node in ast.walk(tree)):
            continue
        for name, value in assigned(tree):
            if called(value) in classes:
                yield Place(file=path, name=name, is_factory=False)
        for function in functions(tree):
            makes = any(called(node) in classes for node in ast.walk(function))
            if makes and needs_no_arguments(function) and not function.name.startswith("_"):
                yield Place(file=path, name=function.name, is_factory=True)


def _imports(node: ast.AST, package: str) -> bool:
    if isinstance(node, ast.Import):
        return any(each.name.split(".")[0] == package for each in node.names)
    return isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == package


def _entry_modules(project: Project) -> Iterator[str]:
    names = ("wsgi.py", "asgi.py", "main.py", "app.py")
    return (path for name in names for path in project.files if path.rpartition("/")[2] == name)


def _passed_on(project: Project, path: str, names: set[str]) -> str:
    """The name under which an entry module offers an app that is made elsewhere."""
    tree = project.tree(path)
    offered = bound(tree)
    factories = {name for name, value in assigned(tree) if called(value) in names}
    for name in _NAMES:
        if name in factories:
            return name
        if name in names and name in offered and path.endswith(("wsgi.py", "asgi.py")):
            return name
    return ""


def _rank(place: Place) -> tuple[bool, int, int, int, str]:
    stem = place.file.removesuffix(".py").rpartition("/")[2]
    return (
        place.is_factory,
        place.file.count("/"),
        _ENTRIES.index(stem) if stem in _ENTRIES else len(_ENTRIES),
        _NAMES.index(place.name) if place.name in _NAMES else len(_NAMES),
        place.file,
    )


def routes(project: Project, place: Place) -> dict[str, str]:
    """The fixed paths that decorators put straight on an app, with their file.

    A path on a router or blueprint is not among them, since its prefix is not known.
    """
    found: dict[str, str] = {}
    for path in project.files:
        tree = project.tree(path) if f"@{place.name}" in project.text(path) else None
        if path == place.file and place.is_factory:
            tree = project.tree(path)
        for node in ast.walk(tree) if tree else ():
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                for decorator in node.decorator_list:
                    if route := _route(decorator, place):
                        found.setdefault(route, path)
    return found


def _route(decorator: ast.expr, place: Place) -> str:
    if not isinstance(decorator, ast.Call) or not decorator.args:
        return ""
    name, _, method = dotted(decorator.func).rpartition(".")
    on_app = name == place.name or (place.is_factory and name in _NAMES)
    if not on_app or method not in _METHODS or _is_post(decorator):
        return ""
    route = text_of(decorator.args[0])
    return "" if "{" in route or "<" in route else route


def _is_post(decorator: ast.Call) -> bool:
    for keyword in decorator.keywords:
        if keyword.arg == "methods" and isinstance(keyword.value, ast.List | ast.Tuple):
            return "GET" not in {text_of(each) for each in keyword.value.elts}
    return False
