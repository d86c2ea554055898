"""Which environment variables a module cannot do without."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from nonevent.config.env import is_variable
from nonevent.detect.source import called, dotted, text_of

if TYPE_CHECKING:
    from collections.abc import Iterator

_READERS = {"env", "config", "environ"}
"""How django-environ, environs, python-decouple and starlette call their readers."""
_METHODS = {"", "str", "bool", "int", "float", "list", "tuple", "dict", "json", "url", "path",
            "db", "db_url", "cache", "cache_url", "email_url"}  # fmt: skip
_DEFAULT = {"default", "var_default"}
_SET_BY_THE_SYSTEM = {"HOME", "PATH", "USER", "LANG", "TZ", "PWD", "TMPDIR"}
_NAMELESS = {"db": "DATABASE_URL", "db_url": "DATABASE_URL", "cache": "CACHE_URL",
             "email_url": "EMAIL_URL"}  # fmt: skip


def required(tree: ast.Module) -> dict[str, str]:
    """Variables that a module reads without a default and on every path, with a stand-in.

    What stands in a function, an ``if`` or a ``try`` may never be read, so it does not count.
    The stand-in is a value that the reader accepts, e.g. for building without the real one.
    """
    names: dict[str, str] = {}
    for node in _always(tree.body):
        for name, converter in _reads(node):
            if is_variable(name) and name not in _SET_BY_THE_SYSTEM:
                names.setdefault(name, stand_in(name, converter))
    return names


def settings_fields(tree: ast.Module) -> tuple[str, ...]:
    """Variables that the fields without a default of a pydantic ``BaseSettings`` are read from."""
    found: list[str] = []
    for node in tree.body:
        if not isinstance(node, ast.ClassDef):
            continue
        if not any(dotted(base).rpartition(".")[2] == "BaseSettings" for base in node.bases):
            continue
        prefix = _prefix(node)
        for field in node.body:
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
                optional = "None" in ast.unparse(field.annotation) or "Var" in ast.unparse(
                    field.annotation
                )
                name = (prefix + field.target.id).upper()
                if field.value is None and not optional and is_variable(name):
                    found.append(name)
    return tuple(found)


def _prefix(settings: ast.ClassDef) -> str:
    for node in ast.walk(settings):
        if isinstance(node, ast.keyword) and node.arg == "env_prefix":
            return text_of(node.value)
        if isinstance(node, ast.Assign) and dotted(node.targets[0]) == "env_prefix":
            return text_of(node.value)
    return ""


def stand_in(name: str, converter: str) -> str:
    """A value that is good enough where nothing is served."""
    if converter in ("int", "float"):
        return "0"
    if converter == "bool":
        return "false"
    if name == "DATABASE_URL" or converter in ("db", "db_url"):
        return "sqlite:///:memory:"
    if name.endswith("_URL"):
        return "redis://localhost" if "REDIS" in name or "BROKER" in name else "http://localhost"
    return "for the build only"


def _always(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    for node in body:
        if isinstance(node, ast.ClassDef):
            yield from _always(node.body)
        elif not isinstance(
            node, ast.FunctionDef | ast.AsyncFunctionDef | ast.If | ast.Try | ast.While
        ):
            yield node


def _reads(statement: ast.stmt) -> Iterator[tuple[str, str]]:
    pending: list[tuple[ast.AST, str]] = [(statement, "")]
    while pending:
        node, around = pending.pop(0)
        if isinstance(node, ast.Lambda | ast.IfExp | ast.BoolOp):
            continue
        if isinstance(node, ast.Subscript) and dotted(node.value) in ("os.environ", "environ"):
            if isinstance(node.ctx, ast.Load):
                yield text_of(node.slice), around
        elif isinstance(node, ast.Call):
            yield from _reader(node)
            around = called(node)
        pending += [(child, around) for child in ast.iter_child_nodes(node)]


def _reader(call: ast.Call) -> Iterator[tuple[str, str]]:
    """``env("X")``, ``env.int("X")``, ``config("X", cast=int)``: where there is no default."""
    first, _, method = dotted(call.func).partition(".")
    if first not in _READERS or method not in _METHODS or (method and first == "config"):
        return
    if any(keyword.arg in _DEFAULT for keyword in call.keywords) or len(call.args) > 1:
        return
    name = text_of(call.args[0]) if call.args else _NAMELESS.get(method, "")
    cast = next((dotted(each.value) for each in call.keywords if each.arg == "cast"), "")
    if name:
        yield name, method or cast
