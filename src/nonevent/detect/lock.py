"""The lock file, and the commands of the tool that it belongs to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nonevent.detect.dependencies import lock_files, unpinned
from nonevent.detect.found import Finding, Note

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nonevent.detect.project import Project

_REQUIREMENTS = "requirements.txt"
_SOURCE = "requirements.in"
_COMPILE = f"uv pip compile --generate-hashes --output-file {_REQUIREMENTS} {_SOURCE}"
_ADD = {
    "uv.lock": "uv add {name}",
    "poetry.lock": "poetry add {name}",
    "pdm.lock": "pdm add {name}",
    "Pipfile.lock": "pipenv install {name}",
    "pylock.toml": "add {name} to the dependencies and lock them again: "
    "uv pip compile --output-file pylock.toml pyproject.toml",
}


def lock(project: Project) -> Iterator[Finding | Note]:
    """The lock file that the build uses; written down only where there are several."""
    files = lock_files(project)
    if not files:
        yield Note(text="there is no lock file, so the dependencies are not decided",
                   hint=to_lock(project))  # fmt: skip
        return
    why = "the only lock file" if len(files) == 1 else f"chosen from {', '.join(files)}"
    yield Finding(key=("build", "lock"), value=files[0], why=why, written=len(files) > 1)
    if files[0] == "requirements.txt":
        loose = unpinned(project.text("requirements.txt"))
        if loose:
            shown = ", ".join(loose[:3]) + (" …" if len(loose) > 3 else "")
            yield Note(text=f"requirements.txt does not pin {shown}", hint=to_lock(project))


def to_lock(project: Project) -> str:
    """The command that makes the lock file."""
    tool = project.pyproject.get("tool")
    tools = tool if isinstance(tool, dict) else {}
    for name in ("poetry", "pdm"):
        if name in tools:
            return f"{name} lock"
    if project.has("Pipfile"):
        return "pipenv lock"
    if "project" in project.pyproject:
        return "uv lock"
    if project.has(_SOURCE):
        return _COMPILE
    if project.has(_REQUIREMENTS):
        return f"mv {_REQUIREMENTS} {_SOURCE} && {_COMPILE}"
    return "uv init --bare && uv add the packages that the app needs"


def to_add(project: Project, name: str) -> str:
    """The command that adds a package to the project, once it has a lock file."""
    files = lock_files(project)
    if files and files[0] in _ADD:
        return _ADD[files[0]].format(name=name)
    if not files and "project" in project.pyproject:
        return _ADD["uv.lock"].format(name=name)
    text = project.text(_REQUIREMENTS)
    # Where it is not pinned, the note on the lock file has said to move it already.
    move = text and not project.has(_SOURCE) and not unpinned(text)
    before = f"mv {_REQUIREMENTS} {_SOURCE} && " if move else ""
    return f"{before}echo {name} >> {_SOURCE} && {_COMPILE}"
