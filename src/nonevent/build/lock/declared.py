"""What a project declares in ``pyproject.toml``, for comparing with what its lock pins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from packaging.markers import default_environment
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from nonevent.build.pyproject import read_pyproject
from nonevent.errors import LockStale, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from nonevent.build.lock.base import Project


def pyproject(folder: Path) -> dict[str, Any]:
    """The project's ``pyproject.toml``; empty where it has none.

    Raises:
        UsageError: where it cannot be read.
    """
    file = folder / "pyproject.toml"
    return read_pyproject(file.read_text("utf-8", "replace")) if file.is_file() else {}


def is_package(folder: Path) -> bool:
    """Whether the project is one that is built and installed, by what its tools say of it."""
    data = pyproject(folder)
    tool = data.get("tool", {})
    return (
        "build-system" in data
        and tool.get("uv", {}).get("package", True) is not False
        and tool.get("poetry", {}).get("package-mode", True) is not False
        and tool.get("pdm", {}).get("distribution", True) is not False
    )


def check_declared(project: Project, pinned: Mapping[str, str], *, lock: str, hint: str) -> None:
    """Refuse a lock that lacks a declared dependency, or pins a version it does not allow.

    ``pinned`` holds versions by canonical name, an empty one where only a URL is known.

    Raises:
        LockStale: naming all of them.
    """
    problems = []
    for requirement in _requirements(project):
        name = canonicalize_name(requirement.name)
        if name not in pinned:
            problems.append(f"{requirement.name} is declared, and not in {lock}")
        elif pinned[name] and not requirement.specifier.contains(pinned[name], prereleases=True):
            problems.append(f"{requirement} is declared, {lock} has {pinned[name]}")
    if problems:
        raise LockStale(
            f"{lock} does not belong to pyproject.toml", context=tuple(problems), hint=hint
        )


def _requirements(project: Project) -> list[Requirement]:
    """The declared dependencies that apply to the interpreter, with those of the extras."""
    data = pyproject(project.folder).get("project", {})
    texts = list(data.get("dependencies", []))
    for extra in project.extras:
        texts += data.get("optional-dependencies", {}).get(extra, [])
    environment: dict[str, str] = {
        **default_environment(),  # type: ignore[dict-item]
        "python_full_version": project.python.version,
        "python_version": ".".join(project.python.version.split(".")[:2]),
    }
    try:
        found = [Requirement(text) for text in texts]
    except InvalidRequirement as error:
        raise UsageError(f"pyproject.toml has a dependency that cannot be read: {error}") from error
    return [each for each in found if not each.marker or each.marker.evaluate(environment)]
