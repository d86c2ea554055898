"""Proof from /proc that a process runs the release it says it runs, and no other."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from nonevent.agent import kernel
from nonevent.dataclass import dataclass

if TYPE_CHECKING:
    from nonevent.agent.release import Staged
    from nonevent.model.layout import Layout


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """What /proc shows of one process."""

    pid: int
    release: str
    """The release it was started for."""
    instance: str
    """The instance it was started as."""
    executable: str
    folder: str
    files: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """Where the processes of a release must be."""

    release: str
    root: str
    folder: str
    interpreter: str
    own: tuple[str, ...]
    """Folders below the root that belong to the release."""


def expected(layout: Layout, staged: Staged) -> Expected:
    """Where the processes of this release must be; links are followed, as the kernel does."""
    folder = layout.release(staged.number)
    layers = [str(layout.layer(ref.id)) for ref in staged.manifest.layers]
    return Expected(
        release=str(staged.number),
        root=str(layout.root),
        folder=str(folder / "app"),
        interpreter=str((folder / "venv" / "bin" / "python").resolve()),
        own=(str(folder), *layers, str(layout.data)),
    )


def look(pid: int) -> Sight:
    """What /proc shows of a process now."""
    values = kernel.environment(pid)
    return Sight(
        pid=pid,
        release=values.get("NONEVENT_RELEASE", ""),
        instance=values.get("NONEVENT_INSTANCE", ""),
        executable=kernel.executable(pid),
        folder=kernel.working_folder(pid),
        files=kernel.mapped_files(pid),
    )


def complaint(sight: Sight, wanted: Expected, *, main: bool) -> str:
    """What does not belong to the release, or nothing.

    Only the main process is held to the interpreter and the folder: an app may start other
    programs, and they may go elsewhere. No process may use files of another release.
    """
    if sight.release and sight.release != wanted.release:
        return f"process {sight.pid} was started for release {sight.release}"
    if sight.executable.endswith(" (deleted)"):
        return f"process {sight.pid} runs {sight.executable}"
    if main and _is_python(sight.executable) and sight.executable != wanted.interpreter:
        return f"process {sight.pid} runs {sight.executable}, not {wanted.interpreter}"
    if main and sight.folder != wanted.folder:
        return f"process {sight.pid} works in {sight.folder}, not {wanted.folder}"
    for kept in ("releases", "layers"):
        for name in (sight.folder, sight.executable, *sight.files):
            shared = f"{wanted.root}/{kept}/"
            if name.startswith(shared) and not name.startswith(tuple(f"{o}/" for o in wanted.own)):
                if name in wanted.own:
                    continue
                return f"process {sight.pid} uses {name}"
    return ""


def _is_python(executable: str) -> bool:
    return Path(executable).name.startswith("python")


def sights(pid: int) -> tuple[Sight, ...]:
    """What /proc shows of a process and all below it, it first; none where it is gone."""
    return tuple(look(each.pid) for each in kernel.descendants(pid, kernel.processes()))


def complaints(pid: int, seen: tuple[Sight, ...], wanted: Expected) -> tuple[str, ...]:
    """What does not belong to the release, of a process and all below it."""
    if not seen:
        return (f"process {pid} is gone",)
    found = (complaint(each, wanted, main=each.pid == pid) for each in seen)
    return tuple(text for text in found if text)
