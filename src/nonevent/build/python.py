"""Which interpreter an artifact is built for and with."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import Version

from nonevent.build.process import run
from nonevent.build.pyproject import required_python
from nonevent.build.uv import uv
from nonevent.config.app import Python
from nonevent.errors import PythonMissing

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MINORS = tuple(range(20, 8, -1))
PROBE_LIMIT = 10.0
_OF_THE_HOSTS = Python()
_PROBE = """
import json, os, platform, sys, sysconfig
print(json.dumps({
    "version": platform.python_version(),
    "name": sys.implementation.name,
    "abi": "cp%d%d%s" % (*sys.version_info[:2], "t" if sysconfig.get_config_var("Py_GIL_DISABLED") else ""),
    "platform": sysconfig.get_platform(),
    "tag": sys.implementation.cache_tag,
    "path": os.path.realpath(sys.executable),
    "prefix": sys.base_prefix,
}))
"""  # noqa: E501


@dataclass(frozen=True, slots=True, kw_only=True)
class Interpreter:
    """A Python that was run and answered."""

    path: Path
    version: str
    abi: str
    platform: str
    """Operating system and machine, e.g. ``linux-x86_64``."""
    tag: str
    """What it puts into the names of byte code (PEP 3147), e.g. ``cpython-311``."""
    prefix: Path = Path("/usr")
    """The folder it is installed in, which may be copied to bundle it."""

    @property
    def minor(self) -> str:
        """``3.11`` of ``3.11.7``."""
        return ".".join(self.version.split(".")[:2])


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """The versions a project accepts, and where it says so."""

    versions: SpecifierSet
    said_by: str


def wanted(configured: str, *, pinned: str = "", pyproject: str = "", pipfile: str = "") -> Wanted:
    """What the configuration, ``.python-version`` or the project's metadata ask for, in this order.

    Raises:
        UsageError: where a text cannot be read.
    """
    if configured:
        return Wanted(versions=_specifiers(configured), said_by="`python` in the configuration")
    # The file may name several, or an implementation; the first plain version counts.
    plain = next((line.strip() for line in pinned.splitlines() if line[:1].isdigit()), "")
    if plain:
        return Wanted(versions=_specifiers(plain), said_by=".python-version")
    declared, where = required_python(pyproject, pipfile)
    if declared:
        return Wanted(versions=_specifiers(declared), said_by=where)
    return Wanted(versions=SpecifierSet(">=3.9"), said_by="nobody")


def _specifiers(text: str) -> SpecifierSet:
    """``3.11`` is any 3.11, ``3.11.7`` is exactly that one, anything else is as PEP 440 says."""
    try:
        if text[0].isdigit():
            return SpecifierSet(f"=={text}" if text.count(".") > 1 else f"=={text}.*")
        return SpecifierSet(text)
    except InvalidSpecifier as error:
        raise PythonMissing(f"{text!r} is not a Python version") from error


def find_python(
    want: Wanted, *, env: Mapping[str, str], scratch: Path, python: Python = _OF_THE_HOSTS
) -> Interpreter:
    """The first interpreter that satisfies, those in /usr/bin before all others.

    Hosts have their distribution's Python, so that is what an artifact should be built for.
    One that is to be bundled is the one that ``python`` names, or one that uv installed. Each
    candidate is run: a pyenv shim is there and then fails.

    Raises:
        PythonMissing: with all that were tried.
    """
    tried: list[str] = []
    hint = "install it on this machine, e.g. apt install python3, or uv python install"
    candidates = _candidates(want.versions, env, scratch)
    if python.prefix:
        names = ("python3", *_names(want.versions))
        candidates = (Path(python.prefix, "bin", name) for name in names)
        hint = "correct `bundled`: it names the folder with bin/python3"
    elif python.bundled:
        candidates = _managed(env, scratch)
        hint = 'uv python install, or name a folder: python = { bundled = "/opt/python-3.12" }'
    for path in candidates:
        found = _probe(path, env)
        if isinstance(found, str):
            tried.append(f"{path}: {found}")
        elif not want.versions.contains(Version(found.version), prereleases=True):
            tried.append(f"{path}: is {found.version}")
        else:
            return found
    raise PythonMissing(
        f"no Python that satisfies {want.versions} was found, as {want.said_by} asks for",
        context=tuple(tried) or ("no interpreter was found at all",),
        hint=hint,
    )


def _candidates(versions: SpecifierSet, env: Mapping[str, str], scratch: Path) -> Iterator[Path]:
    names = _names(versions)
    folders = dict.fromkeys(["/usr/bin", *env["PATH"].split(os.pathsep)])
    for folder in folders:
        for name in ("python3", *names) if folder == "/usr/bin" else (*names, "python3"):
            path = Path(folder, name)
            if folder and path.is_absolute() and os.access(path, os.X_OK):
                yield path
    yield from _managed(env, scratch)


def _names(versions: SpecifierSet) -> list[str]:
    return [f"python3.{minor}" for minor in MINORS if _may_be(versions, minor)]


def _managed(env: Mapping[str, str], scratch: Path) -> Iterator[Path]:
    """What ``uv python install`` has installed."""
    listed = uv(
        "python",
        "list",
        "--only-installed",
        "--managed-python",
        "--output-format",
        "json",
        cwd=scratch,
        env=env,
        limit=30.0,
    )
    if listed.status == 0:
        yield from (Path(each["path"]) for each in json.loads(listed.stdout))


def _may_be(versions: SpecifierSet, minor: int) -> bool:
    """Whether some 3.minor can satisfy: tried with a few of its releases."""
    return any(versions.contains(f"3.{minor}.{micro}", prereleases=True) for micro in range(40))


def _probe(path: Path, env: Mapping[str, str]) -> Interpreter | str:
    """What an interpreter says of itself, or why it does not."""
    try:
        answer = run((path, "-I", "-S", "-c", _PROBE), cwd=Path("/"), env=env, limit=PROBE_LIMIT)
        said = json.loads(answer.stdout) if answer.status == 0 else None
    except (OSError, ValueError) as error:
        return str(error)
    if said is None:
        return " ".join(answer.tail(1)) or answer.ending
    if said["name"] != "cpython":
        return f"is {said['name']}, not CPython"
    return Interpreter(
        path=Path(said["path"]),
        version=said["version"],
        abi=said["abi"],
        platform=said["platform"],
        tag=said["tag"],
        prefix=Path(said["prefix"]),
    )
