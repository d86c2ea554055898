"""Reading Python source for what detection asks: who is called, what is assigned, which path."""

from __future__ import annotations

import ast
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


def dotted(node: ast.AST) -> str:
    """``a.b.c`` for a name or an attribute; empty for anything else."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        before = dotted(node.value)
        return f"{before}.{node.attr}" if before else ""
    return ""


def text_of(node: ast.AST | None) -> str:
    """The value of a literal text; empty for anything else."""
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def assigned(tree: ast.Module) -> Iterator[tuple[str, ast.expr]]:
    """Names and values of the assignments that the module makes unconditionally."""
    for node in tree.body:
        if isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Name):
                    yield target.id, node.value
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value:
            yield node.target.id, node.value


def called(node: ast.AST) -> str:
    """The last name of what an expression calls: ``Flask`` for ``flask.Flask(...)``."""
    match node:
        case ast.Call(func=ast.Attribute(attr=name) | ast.Name(id=name)):
            return name
    return ""


def bound(tree: ast.Module) -> set[str]:
    """Every name that the module's top level defines or imports."""
    names = {name for name, _ in assigned(tree)}
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {each.asname or each.name for each in node.names}
    return names


def functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """The functions of a module's top level."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def needs_no_arguments(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether a function can be called without arguments."""
    arguments = function.args
    positional = [*arguments.posonlyargs, *arguments.args]
    return len(positional) == len(arguments.defaults) and None not in arguments.kw_defaults


def parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """How many positional parameters a function has."""
    return len(function.args.posonlyargs) + len(function.args.args)


def path_of(node: ast.expr, file: str, names: Mapping[str, PurePosixPath]) -> PurePosixPath | None:
    """The path that an expression of a settings file means, relative to the project.

    Understands ``__file__``, names that are given, ``Path(…)``, ``.parent``, ``/``,
    ``os.path.join``, ``os.path.dirname`` and texts; None for anything else.
    """
    found: PurePosixPath | None = None
    match node:
        case ast.Constant(value=str(text)):
            found = PurePosixPath(text)
        case ast.Name(id="__file__"):
            found = PurePosixPath(file)
        case ast.Name(id=name):
            found = names.get(name)
        case ast.BinOp(left=left, op=ast.Div(), right=right):
            found = _joined([path_of(left, file, names), path_of(right, file, names)])
        case ast.Attribute(value=value, attr="parent"):
            found = _above(path_of(value, file, names), 1)
        case ast.Subscript(
            value=ast.Attribute(value=value, attr="parents"), slice=ast.Constant(value=int(count))
        ):
            found = _above(path_of(value, file, names), count + 1)
        case ast.Call():
            found = _path_of_call(node, file, names)
    return found


def _above(path: PurePosixPath | None, count: int) -> PurePosixPath | None:
    """The folder so many steps up; None where that leads out of the project."""
    if path is None or count > len(path.parts):
        return None
    return PurePosixPath(*path.parts[: len(path.parts) - count])


def _path_of_call(
    node: ast.Call, file: str, names: Mapping[str, PurePosixPath]
) -> PurePosixPath | None:
    arguments = [path_of(each, file, names) for each in node.args]
    match called(node):
        case "Path" | "PurePath" | "str" | "abspath" | "realpath" | "normpath" | "fspath":
            return arguments[0] if arguments else None
        case "resolve" | "absolute" if isinstance(node.func, ast.Attribute):
            return path_of(node.func.value, file, names)
        case "dirname":
            return _above(arguments[0], 1) if arguments else None
        case "join" if dotted(node.func).endswith("path.join"):
            return _joined(arguments)
        case "joinpath" if isinstance(node.func, ast.Attribute):
            return _joined([path_of(node.func.value, file, names), *arguments])
    return None


def _joined(parts: list[PurePosixPath | None]) -> PurePosixPath | None:
    joined = PurePosixPath()
    for part in parts:
        if part is None:
            return None
        joined /= part
    return joined
