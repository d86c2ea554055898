"""The packages of a project, from its lock file and from what it declares."""

from __future__ import annotations

import json
import posixpath
import re
from typing import TYPE_CHECKING, cast

from packaging.utils import canonicalize_name

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nonevent.detect.project import Project

LOCKS = ("uv.lock", "pylock.toml", "poetry.lock", "pdm.lock", "Pipfile.lock", "requirements.txt")
"""Lock files that the build can read, the most telling first."""

_REQUIREMENT = re.compile(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)\s*(?:\[[^\]]*\])?\s*([^;#\\]*)")


def lock_files(project: Project) -> tuple[str, ...]:
    """The lock files that there are."""
    return tuple(name for name in LOCKS if project.has(name))


def dependencies(project: Project) -> dict[str, str]:
    """Packages by normalised name with the locked version, or an empty one if only declared."""
    found: dict[str, str] = {}
    for lock in lock_files(project):
        found = {**dict(_locked(project, lock)), **found}
    for name in declared(project):
        found.setdefault(name, "")
    return found


def declared(project: Project) -> set[str]:
    """The packages that the project itself asks for, in its main dependencies."""
    found = set()
    table = _table(project.pyproject, "project")
    for requirement in _texts(table.get("dependencies")):
        found |= set(_requirement(requirement))
    poetry = _table(project.pyproject, "tool", "poetry", "dependencies")
    found |= {canonicalize_name(name) for name in poetry if name != "python"}
    found |= {canonicalize_name(name) for name in _table(project.toml("Pipfile"), "packages")}
    for file in ("requirements.in", "requirements.txt"):
        for line in _lines(project, file):
            found |= set(_requirement(line))
    return found


def optional(project: Project, name: str) -> tuple[str, str] | None:
    """Where a package is declared if not among the main ones: ("extras" or "groups", which)."""
    if name in declared(project):
        return None
    for key, table in (
        ("extras", _table(project.pyproject, "project", "optional-dependencies")),
        ("groups", _table(project.pyproject, "dependency-groups")),
    ):
        for which, requirements in table.items():
            if any(name in _requirement(each) for each in _texts(requirements)):
                return key, which
    groups = _table(project.pyproject, "tool", "poetry", "group")
    for which in groups:
        if name in {canonicalize_name(each) for each in _table(groups, which, "dependencies")}:
            return "groups", which
    return None


def unpinned(requirements: str) -> tuple[str, ...]:
    """The requirements in the text of a ``requirements.txt`` that do not name one version."""
    joined = requirements.replace("\\\n", " ")
    found = []
    for line in joined.splitlines():
        requirement = line.split(" #")[0].strip()
        if not requirement or requirement.startswith(("#", "-")):
            continue
        if "==" not in requirement and " @ " not in requirement:
            found.append(requirement)
    return tuple(found)


def _locked(project: Project, lock: str) -> Iterator[tuple[str, str]]:
    if lock == "requirements.txt":
        for line in _lines(project, lock):
            for name, version in _requirement(line).items():
                yield name, version
    elif lock == "Pipfile.lock":
        try:
            raw = json.loads(project.text(lock))
        except ValueError:
            return
        for name, entry in _table(raw, "default").items():
            pinned = entry.get("version") if isinstance(entry, dict) else None
            yield canonicalize_name(name), str(pinned or "").removeprefix("==")
    else:
        document = project.toml(lock)
        packages = document.get("packages" if lock == "pylock.toml" else "package")
        for package in packages if isinstance(packages, list) else ():
            if isinstance(package, dict) and "name" in package:
                yield canonicalize_name(str(package["name"])), str(package.get("version", ""))


def _lines(project: Project, file: str, *, depth: int = 0) -> Iterator[str]:
    """The lines of a requirements file, with those of the files that it includes."""
    for line in project.text(file).splitlines():
        included = re.match(r"(?:-r|--requirement)[ =]*(\S+)", line)
        if included and depth < 8:
            path = posixpath.normpath(posixpath.join(posixpath.dirname(file), included[1]))
            if not path.startswith(("/", "..")):
                yield from _lines(project, path, depth=depth + 1)
        else:
            yield line


def _requirement(line: str) -> dict[str, str]:
    match = None if line.lstrip().startswith(("#", "-")) else _REQUIREMENT.match(line)
    if match is None:
        return {}
    specifier = match[2].strip()
    version = specifier.removeprefix("==") if specifier.startswith("==") else ""
    return {canonicalize_name(match[1]): version.split(" ")[0].strip()}


def _table(raw: object, *keys: str) -> dict[str, object]:
    for key in keys:
        raw = cast("dict[str, object]", raw).get(key) if isinstance(raw, dict) else None
    return raw if isinstance(raw, dict) else {}


def _texts(raw: object) -> tuple[str, ...]:
    return tuple(each for each in raw if isinstance(each, str)) if isinstance(raw, list) else ()
