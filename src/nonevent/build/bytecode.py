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
    compileall.compile_file(tree + "/" + path, force=True, quiet=1, stripdir=tree,
                            invalidation_mode=PycInvalidationMode.UNCHECKED_HASH)
"""


def compile_tree(
    tree: Path, folders: tuple[str, ...], *, python: Interpreter, env: Mapping[str, str]
) -> tuple[str, ...]:
    """Compile all modules below folders of a tree; why some could not be, as Python says it.

    The tree's own path is not in the outcome. Python puts the true path in at import.
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
    return tuple(
        line for each in made for line in each.text.splitlines() if line.startswith("*** ")
    )
