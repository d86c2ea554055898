"""A project as detection sees it: text files, never anything that runs."""

from __future__ import annotations

import ast
import os
import re
import tomllib
from functools import cached_property
from typing import TYPE_CHECKING

from nonevent.detect.dependencies import dependencies

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_PASSED_OVER = {"node_modules", "__pycache__", "venv", "env", "site-packages", "build", "dist",
                "tests", "test", "docs", "migrations"}  # fmt: skip
_MOST_FILES = 4000
_LARGEST = 1_000_000


class Project:
    """The files of a project's folder, each read at most once.

    What cannot be read is reported as missing or empty: a guess is all that is made from it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._texts: dict[str, str] = {}
        self._trees: dict[str, ast.Module] = {}

    @cached_property
    def files(self) -> tuple[str, ...]:
        """Python files, shallow ones first, then by name; relative, with ``/``."""
        return tuple(sorted(self._walk(), key=lambda path: (path.count("/"), path)))

    def _walk(self) -> Iterator[str]:
        count = 0
        for folder, below, names in os.walk(self.folder):
            below[:] = sorted(
                name for name in below if name not in _PASSED_OVER and not name.startswith(".")
            )
            for name in names:
                is_test = name.startswith("test_") or name in ("conftest.py", "setup.py")
                if name.endswith(".py") and not is_test:
                    yield os.path.relpath(os.path.join(folder, name), self.folder)  # noqa: PTH118
                    count += 1
                    if count >= _MOST_FILES:
                        return

    def has(self, path: str) -> bool:
        """Whether there is a file at that path."""
        return (self.folder / path).is_file()

    def text(self, path: str) -> str:
        """The text of a file; empty where there is none, or none worth reading."""
        if path not in self._texts:
            try:
                file = self.folder / path
                small = file.stat().st_size <= _LARGEST or file.suffix in (".lock", ".toml")
                self._texts[path] = file.read_text("utf-8", "replace") if small else ""
            except OSError:
                self._texts[path] = ""
        return self._texts[path]

    def tree(self, path: str) -> ast.Module:
        """The syntax tree of a Python file; an empty one where it has errors."""
        if path not in self._trees:
            try:
                self._trees[path] = ast.parse(self.text(path))
            except (SyntaxError, ValueError, RecursionError):
                self._trees[path] = ast.Module(body=[], type_ignores=[])
        return self._trees[path]

    def mentions(self, *words: str) -> Iterator[str]:
        """The Python files whose text has one of the words."""
        pattern = re.compile("|".join(re.escape(word) for word in words))
        return (path for path in self.files if pattern.search(self.text(path)))

    def toml(self, path: str) -> dict[str, object]:
        """The tables of a TOML file; none where it cannot be read."""
        try:
            return tomllib.loads(self.text(path))
        except tomllib.TOMLDecodeError:
            return {}

    @cached_property
    def pyproject(self) -> dict[str, object]:
        """The tables of ``pyproject.toml``."""
        return self.toml("pyproject.toml")

    @cached_property
    def dependencies(self) -> dict[str, str]:
        """The project's packages by normalised name, with their version where it is known."""
        return dependencies(self)

    @cached_property
    def import_root(self) -> str:
        """The folder that imports start at: that of ``manage.py``, or ``src``; else empty."""
        if not self.has("manage.py"):
            for path in self.files:
                if path.endswith("/manage.py"):
                    return path.removesuffix("/manage.py")
        inside = any(path.startswith("src/") for path in self.files)
        return "src" if inside and not self.has("src/__init__.py") else ""

    def module(self, path: str) -> str:
        """The dotted name under which a Python file is imported."""
        root = self.import_root
        if root and path.startswith(root + "/"):
            path = path.removeprefix(root + "/")
        return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")

    def path_of(self, module: str) -> str | None:
        """The file of a dotted module, or None."""
        for root in (self.import_root, ""):
            base = "/".join(part for part in (root, module.replace(".", "/")) if part)
            for path in (f"{base}.py", f"{base}/__init__.py"):
                if self.has(path):
                    return path
        return None
