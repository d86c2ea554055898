"""Finding the interpreter on this host that a release was built for."""

from __future__ import annotations

import functools
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from nonevent.agent.tools import is_brought
from nonevent.agent.tools import python as own_python
from nonevent.errors import HostUnfit

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nonevent.model.manifest import Python

ASK_LIMIT = 10.0
_ASK = (
    "import sys, sysconfig; print(*sys.version_info[:3], sep='.');"
    "print(sys.implementation.cache_tag); print(sys.executable)"
)


def find(wanted: Python) -> Path:
    """The interpreter that a release gets: see :func:`chosen`.

    Raises:
        HostUnfit: there is none.
    """
    path = chosen(tried(wanted), wanted)
    if path is None:
        raise HostUnfit(f"this host has no Python {wanted.minor}")
    return Path(path)


def chosen(pythons: tuple[tuple[str, str], ...], wanted: Python) -> str | None:
    """Of interpreters and their versions the same patch release, or else the same minor one.

    Wheels and byte code belong to a minor version.
    """
    fitting = [path for path, version in pythons if version.rpartition(".")[0] == wanted.minor]
    same = [path for path, version in pythons if version == wanted.version]
    return next(iter(same + fitting), None)


def tried(wanted: Python) -> tuple[tuple[str, str], ...]:
    """Interpreters that may do and their versions, up to the first that fits exactly.

    A candidate is run before it is believed: a shim may exist and fail.
    """
    found: list[tuple[str, str]] = []
    for candidate in _candidates(wanted.minor):
        found.append((str(candidate), _version(str(candidate))))
        if found[-1][1] == wanted.version:
            break
    return tuple(found)


def _candidates(minor: str) -> Iterator[Path]:
    """Absolute paths, free of links, of what is called like that version; each once."""
    name = f"python{minor}"
    home = Path.home()
    folders = [
        *(Path(part) for part in os.environ.get("PATH", os.defpath).split(os.pathsep) if part),
        Path("/usr/bin"),
        Path("/usr/local/bin"),
        *sorted(home.glob(f".local/share/uv/python/*-{minor}.*/bin")),
        *sorted(home.glob(f".pyenv/versions/{minor}.*/bin")),
    ]
    seen: set[Path] = set()
    # One that was brought for the agent alone goes when the agent needs it no more.
    own = () if is_brought() else (Path(own_python()),)
    for path in (*own, *(folder / name for folder in folders)):
        try:
            real = path.resolve(strict=True)
        except OSError:
            continue
        # A shim is a script whose real path is its own; running it tells.
        if real not in seen and os.access(real, os.X_OK):
            seen.add(real)
            yield real


@functools.cache
def _version(path: str) -> str:
    """The full version of an interpreter, or nothing where it does not run or is not CPython."""
    if path == own_python() and sys.implementation.name == "cpython":
        return ".".join(map(str, sys.version_info[:3]))
    # A service starts through here, and is not asked this.
    import subprocess

    try:
        answer = subprocess.run(
            (path, "-I", "-S", "-c", _ASK),
            capture_output=True,
            text=True,
            timeout=ASK_LIMIT,
            check=True,
            env={"LANG": "C.UTF-8"},
        ).stdout.split()
    except (OSError, subprocess.SubprocessError):
        return ""
    return answer[0] if len(answer) > 1 and answer[1].startswith("cpython-") else ""
