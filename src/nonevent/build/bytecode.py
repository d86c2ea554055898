"""Byte code, compiled at build time so that a host never does.

Unchecked (PEP 552): a host unpacks files with new times, and a release is immutable. One
process, in sorted order: several in parallel do not write the same bytes every time.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from nonevent.build.process import run

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nonevent.build.python import Interpreter

LIMIT = 1800.0


def compile_tree(
    tree: Path, folders: tuple[str, ...], *, python: Interpreter, env: Mapping[str, str]
) -> tuple[str, ...]:
    """Compile all modules below folders of a tree; the files that cannot be.

    The tree's own path is not in the outcome. Python puts the true path in at import.
    """
    there = tuple(str(tree / folder) for folder in folders if (tree / folder).is_dir())
    if not there:
        return ()
    made = run(
        (
            python.path,
            "-s",
            "-m",
            "compileall",
            "-q",
            "-f",
            "--invalidation-mode",
            "unchecked-hash",
            "-s",
            str(tree),
            *there,
        ),
        cwd=Path("/"),
        env=env,
        limit=LIMIT,
    )
    return tuple(line for line in made.text.splitlines() if line.startswith("*** "))
