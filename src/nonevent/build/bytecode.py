"""Byte code, compiled at build time so that a host never does.

Unchecked (PEP 552): a host unpacks files with new times, and a release is immutable.

What the compiler writes for a file depends on which files the same process compiled before it,
so files are compiled in chunks of a fixed size in sorted order, each by a process of its own.
The chunks can then run side by side on any number of processors.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from nonevent.build.layer import paths
from nonevent.build.process import Outcome, run
from nonevent.errors import BuildFailed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nonevent.build.python import Interpreter

CHUNK = 400
"""Files; another number gives other bytes."""
LIMIT = 600.0
_COMPILE = """
import compileall, sys
from py_compile import PycInvalidationMode
tree = sys.argv[1]
for path in sys.argv[2:]:
    if not compileall.compile_file(tree + "/" + path, force=True, quiet=2, stripdir=tree,
                                   invalidation_mode=PycInvalidationMode.UNCHECKED_HASH):
        print(path)
"""


def compile_tree(
    tree: Path, folders: tuple[str, ...], *, python: Interpreter, env: Mapping[str, str]
) -> tuple[str, ...]:
    """Compile all modules below folders of a tree; the paths of those that are no valid Python.

    The tree's own path is not in the outcome. Python puts the true path in at import.

    Raises:
        BuildFailed: where the interpreter itself fails.
    """
    modules = sorted(
        path
        for folder in folders
        if (tree / folder).is_dir()
        for path in (f"{folder}/{name}" for name in paths(tree / folder))
        if path.endswith(".py")
    )

    def compile_chunk(begin: int) -> Outcome:
        chunk = modules[begin : begin + CHUNK]
        words: tuple[str | Path, ...] = (python.path, "-s", "-c", _COMPILE, str(tree), *chunk)
        return run(words, cwd=Path("/"), env=env, limit=LIMIT)

    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        made = list(pool.map(compile_chunk, range(0, len(modules), CHUNK)))
    for each in made:
        if each.status != 0:
            raise BuildFailed(f"compiling byte code {each.ending}", context=each.quoted())
    return tuple(path for each in made for path in each.text.splitlines())
