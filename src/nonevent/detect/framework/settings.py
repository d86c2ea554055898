"""Django's settings, read without running them."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from nonevent.detect.source import assigned, path_of, text_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nonevent.detect.project import Project


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the settings say, as far as their text shows it."""

    module: str
    files: tuple[str, ...] = ()
    """The settings module's file and those that it imports everything from, itself last."""
    collects_static: bool = False
    static_root: str = ""
    """Relative to the project; empty if there is none within it."""
    static_root_file: str = ""
    root_urls: str = ""
    host: str = ""
    """The first host of ALLOWED_HOSTS, where they are written out and `localhost` is not one."""
    hides_hosts: bool = False
    """Whether ALLOWED_HOSTS is set to something that the text does not show."""
    debug_file: str = ""
    """Where DEBUG is switched on for good; empty if it is not."""
    kept_inside: tuple[tuple[str, str], ...] = ()
    """What the app writes to, and where within the project that would be."""


def read_settings(project: Project, module: str) -> Settings:
    """The settings of a module."""
    files = tuple(dict.fromkeys(_chain(project, module, depth=0)))
    values: dict[str, tuple[str, ast.expr]] = {}
    paths: dict[str, PurePosixPath] = {}
    for file in files:
        for name, value in assigned(project.tree(file)):
            values[name] = (file, value)
            path = path_of(value, file, paths)
            if path is not None:
                paths[name] = path
    static_root = _inside(paths.get("STATIC_ROOT"))
    return Settings(
        module=module,
        files=files,
        collects_static=any("django.contrib.staticfiles" in project.text(file) for file in files),
        static_root=static_root,
        static_root_file=values["STATIC_ROOT"][0] if static_root else "",
        root_urls=text_of(values["ROOT_URLCONF"][1]) if "ROOT_URLCONF" in values else "",
        host=_host(values),
        hides_hosts="ALLOWED_HOSTS" in values
        and not isinstance(values["ALLOWED_HOSTS"][1], ast.List | ast.Tuple),
        debug_file=_debug(values),
        kept_inside=tuple(_kept_inside(values, paths)),
    )


def _chain(project: Project, module: str, *, depth: int) -> Iterator[str]:
    path = project.path_of(module) if module and depth < 8 else None
    if path is None:
        return
    package = module if path.endswith("/__init__.py") else module.rpartition(".")[0]
    for node in ast.walk(project.tree(path)):
        if isinstance(node, ast.ImportFrom) and any(each.name == "*" for each in node.names):
            parts = package.split(".")
            base = ".".join(parts[: len(parts) - node.level + 1]) if node.level else ""
            name = ".".join(part for part in (base, node.module or "") if part)
            yield from _chain(project, name, depth=depth + 1)
    yield path


def _inside(path: PurePosixPath | None) -> str:
    if path is None or path.is_absolute() or ".." in path.parts or path == PurePosixPath():
        return ""
    return str(path)


def _host(values: dict[str, tuple[str, ast.expr]]) -> str:
    node = values["ALLOWED_HOSTS"][1] if "ALLOWED_HOSTS" in values else None
    if not isinstance(node, ast.List | ast.Tuple):
        return ""
    hosts = [text_of(each) for each in node.elts]
    if not hosts or "" in hosts or {"*", "localhost", ".localhost"} & set(hosts):
        return ""
    return hosts[0].removeprefix(".")


def _debug(values: dict[str, tuple[str, ast.expr]]) -> str:
    file, node = values.get("DEBUG", ("", None))
    return file if isinstance(node, ast.Constant) and node.value is True else ""


def _kept_inside(
    values: dict[str, tuple[str, ast.expr]], paths: dict[str, PurePosixPath]
) -> Iterator[tuple[str, str]]:
    media = _inside(paths.get("MEDIA_ROOT"))
    if media:
        yield "MEDIA_ROOT", media
    if "DATABASES" not in values:
        return
    file, databases = values["DATABASES"]
    for node in ast.walk(databases):
        if not isinstance(node, ast.Dict):
            continue
        entries = {text_of(key): value for key, value in zip(node.keys, node.values, strict=True)}
        if "sqlite3" in text_of(entries.get("ENGINE")) and "NAME" in entries:
            name = _inside(path_of(entries["NAME"], file, paths))
            if name and name != ":memory:":
                yield "the SQLite database", name
