"""The agent as one file that any Python 3.11 can run, named by its content.

It holds the agent, the formats, and what the embedded process manager needs: supervisor, h11
and cronsim, each pure Python and without dependencies.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
import os
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

OWN = ("__init__.py", "dataclass.py", "errors.py", "model", "agent", "embedded")
BROUGHT = ("supervisor", "h11", "cronsim")
_LEFT_OUT = {"__pycache__", "tests", "skel"}
_MAIN = b"""import sys
from nonevent.embedded.__main__ import main
sys.exit(main(sys.argv[1:]))
"""
_EPOCH = (1980, 1, 1, 0, 0, 0)


def _folder(package: str) -> Path:
    spec = importlib.util.find_spec(package)
    assert spec and spec.origin, package  # noqa: S101, PT018  (all are dependencies of ours)
    return Path(spec.origin).parent


@cache
def _files() -> tuple[tuple[str, bytes], ...]:
    """What goes in, by name, sorted."""
    found = [("__main__.py", _MAIN)]
    own = _folder("nonevent")
    sources = [(own, own / name) for name in OWN]
    sources += [(_folder(package), _folder(package)) for package in BROUGHT]
    for package, source in sources:
        cut = len(str(package.parent)) + 1
        found += ((path[cut:], Path(path).read_bytes()) for path in _below(source))
    return tuple(sorted(found))


def _below(source: Path) -> Iterator[str]:
    """The files of a package, or the one that it is."""
    if source.is_file():
        yield str(source)
    for folder, folders, names in os.walk(source):
        folders[:] = [name for name in folders if name not in _LEFT_OUT]
        yield from (
            f"{folder}/{name}" for name in names if not name.startswith(".") and name[-4:] != ".pyc"
        )


@cache
def digest() -> str:
    """Sixteen hex digits that name the content."""
    total = hashlib.sha256()
    for name, data in _files():
        total.update(f"{name}\0{len(data)}\0".encode() + data)
    return total.hexdigest()[:16]


def encoded() -> bytes:
    """The zipapp's bytes."""
    # Only a host that has not got it yet is sent it.
    import zipfile

    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in _files():
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), data, zipfile.ZIP_DEFLATED)
    return file.getvalue()
