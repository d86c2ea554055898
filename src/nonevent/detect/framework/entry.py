"""A WSGI or ASGI callable without a framework that is known here."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from nonevent.detect.framework.base import WebApp
from nonevent.detect.source import bound, functions, parameters

if TYPE_CHECKING:
    from nonevent.detect.project import Project

_NAMES = ("application", "app")


def entry(project: Project) -> WebApp | None:
    """A function of the right shape, or what ``wsgi.py`` or ``asgi.py`` calls its app."""
    for path in project.files:
        for function in functions(project.tree(path)):
            if function.name not in _NAMES:
                continue
            where = f"{project.module(path)}:{function.name}"
            why = f"the function `{function.name}` in {path}"
            if isinstance(function, ast.AsyncFunctionDef) and parameters(function) == 3:
                return WebApp(framework="ASGI", asgi=where, why=why)
            if isinstance(function, ast.FunctionDef) and parameters(function) == 2:
                return WebApp(framework="WSGI", wsgi=where, why=why)
    for stem in ("asgi", "wsgi"):
        for path in project.files:
            name = next((each for each in _NAMES if each in bound(project.tree(path))), "")
            if path.rpartition("/")[2] == f"{stem}.py" and name:
                where, why = f"{project.module(path)}:{name}", f"`{name}` in {path}"
                if stem == "asgi":
                    return WebApp(framework="ASGI", asgi=where, why=why)
                return WebApp(framework="WSGI", wsgi=where, why=why)
    return None
