"""Byte code, compiled at build time so that a host never does.

Unchecked (PEP 552): a host unpacks files with new times, and a release is immutable.

What the compiler writes for a file depends on which files the same process compiled before it. So
the modules of each folder are compiled in sorted order by a process that has compiled nothing
else: the fork of one that only forks. Then the interpreter and the modules of a folder alone
decide its byte code, and what an earlier tree has of a folder can be taken where both are the
same.
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
    from collections.abc import Container, Mapping, Sequence

    from nonevent.build.earlier import Earlier
    from nonevent.build.python import Interpreter

FORMAT = 1
"""Counts up when the same modules give other bytes."""
LIMIT = 600.0
_COMPILE = """
import compileall, os, sys
from py_compile import PycInvalidationMode
tree, *folders = sys.argv[1:]
for folder in folders:
    child = os.fork()
    if child:
        status = os.waitpid(child, 0)[1]
        if status:
            sys.exit("status %d in %s" % (status, folder))
        continue
    for name in sorted(os.listdir(tree + "/" + folder)):
        path = folder + "/" + name
        if name.endswith(".py") and not compileall.compile_file(
                tree + "/" + path, force=True, quiet=2, stripdir=tree,
                invalidation_mode=PycInvalidationMode.UNCHECKED_HASH):
            print(path)
    sys.stdout.flush()
    os._exit(0)
"""


def compiled_by(python: Interpreter) -> str:
    """What decides byte code apart from the modules, as a part of a file's name."""
    return f"{FORMAT}-{python.version}-{python.abi}-{python.platform}"


def compile_tree(
    tree: Path,
    folders: tuple[str, ...],
    *,
    python: Interpreter,
    env: Mapping[str, str],
    earlier: Earlier | None = None,
    done: Container[str] = (),
) -> tuple[str, ...]:
    """Compile all modules below folders of a tree; the paths of those that are no valid Python.

    The tree's own path is not in the outcome. Python puts the true path in at import.
    ``earlier`` has byte code of the same interpreter; ``done`` are folders that have theirs.

    Raises:
        BuildFailed: where the interpreter itself fails.
    """
    modules = _modules(tree, folders)

    left = [
        folder
        for folder, names in modules.items()
        if folder not in done
        and not (earlier and earlier.take(tree, folder, names, tag=python.tag))
    ]
    processors = os.cpu_count() or 1
    shares = (left[number::processors] for number in range(min(processors, len(left))))

    def compile_share(share: Sequence[str]) -> Outcome:
        # Without site: what else is installed beside the interpreter has no say.
        words: tuple[str | Path, ...] = (python.path, "-S", "-c", _COMPILE, str(tree), *share)
        return run(words, cwd=Path("/"), env=env, limit=LIMIT)

    with ThreadPoolExecutor(max_workers=processors) as pool:
        made = list(pool.map(compile_share, shares))
    for each in made:
        if each.status != 0:
            raise BuildFailed(f"compiling byte code {each.ending}", context=each.quoted())
    return tuple(sorted(path for each in made for path in each.text.splitlines()))


def _modules(tree: Path, folders: tuple[str, ...]) -> dict[str, list[str]]:
    """The names of the modules in each folder that has any."""
    found: dict[str, list[str]] = {}
    for top in folders:
        for path in paths(tree / top) if (tree / top).is_dir() else ():
            if path.endswith(".py"):
                folder, _, name = f"{top}/{path}".rpartition("/")
                found.setdefault(folder, []).append(name)
    return found
