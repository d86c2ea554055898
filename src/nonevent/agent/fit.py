"""Whether a release can run on a host at all; asked before anything is sent.

A pure function of what the manifest says and what was seen of the host, see
:mod:`nonevent.agent.machine`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nonevent.agent.interpreter import chosen
from nonevent.dataclass import dataclass
from nonevent.errors import DiskFull, HostUnfit
from nonevent.model.manifest import CPUS, PLATFORMS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nonevent.agent.machine import Machine
    from nonevent.model.manifest import LayerRef, Manifest

ROOM = 64 * 2**20
"""Bytes that must stay free beyond what the layers need."""
INODES = 1000
"""The same in inodes: what a release's own folders and links take."""
LATE = 300.0
"""Seconds between the clocks of host and client from which on certificates and tokens fail."""
LEVELS = ("", "x86-64", *CPUS)
"""Of processors, each with all that the one before it can do; see the x86-64 psABI."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Misfit:
    """One reason why the release cannot run here, and the one thing to do about it."""

    problem: str
    mend: str
    evidence: tuple[str, ...] = ()
    error: type[HostUnfit] = HostUnfit


def misfits(
    manifest: Manifest, machine: Machine, missing: tuple[LayerRef, ...]
) -> tuple[Misfit, ...]:
    """All reasons at once; ``missing`` are the layers that would have to be sent.

    Where the platform is another, another artifact is needed, whose binaries need other things:
    those are not spoken of.
    """
    here = (
        *(_binaries(manifest, machine) if manifest.platform == machine.platform else ()),
        *_python(manifest, machine),
        *_room(missing, machine),
        *_place(machine),
    )
    if manifest.platform == machine.platform:
        return here
    build = f"`nonevent build --platform {machine.platform}`, and deploy the file that it makes"
    other = Misfit(
        problem=f"the artifact is for {manifest.platform}, this host is {machine.platform}",
        mend=build
        if machine.platform in PLATFORMS
        else "`nonevent build --on` a machine like it, and deploy the file that it makes",
    )
    return (other, *here)


def refuse(found: tuple[Misfit, ...]) -> None:
    """Refuse the release where there is a reason.

    Raises:
        HostUnfit: with each reason and what to do about it.
        DiskFull: where room is all that is missing.
    """
    match found:
        case ():
            return
        case (only,):
            raise only.error(only.problem, context=only.evidence, hint=only.mend)
        case _:
            raise HostUnfit(
                f"the release does not fit this host, for {len(found)} reasons",
                context=tuple(f"{each.problem}: {each.mend}" for each in found),
            )


def _binaries(manifest: Manifest, machine: Machine) -> Iterator[Misfit]:
    """What compiled code needs; an artifact without any needs nothing."""
    if manifest.glibc and not machine.glibc:
        yield Misfit(
            problem=f"the artifact needs glibc {manifest.glibc}, this host has another C library",
            mend="use a host with glibc: Alpine has musl, Debian and Red Hat have glibc",
        )
        return
    if _numbers(manifest.glibc) > _numbers(machine.glibc):
        yield Misfit(
            problem=f"the artifact needs glibc {manifest.glibc}, this host has {machine.glibc}",
            mend="`nonevent build --on` a machine with an older glibc, or upgrade the host",
        )
    if machine.libraries is not None and (
        lacking := sorted(set(manifest.libraries) - machine.libraries)
    ):
        yield Misfit(
            problem=f"this host lacks shared libraries: {', '.join(lacking)}",
            mend="install the packages that hold them, e.g. `apt-file search` names them",
        )
    if LEVELS.index(manifest.cpu) > LEVELS.index(machine.cpu):
        yield Misfit(
            problem=f"the artifact needs a processor of level {manifest.cpu}, this host's is "
            f"{machine.cpu or 'of an unknown kind'}",
            mend="use a newer machine, or a build of the package for older processors",
        )


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())


def _python(manifest: Manifest, machine: Machine) -> Iterator[Misfit]:
    if not manifest.layer("python") and chosen(machine.pythons, manifest.python) is None:
        minor = manifest.python.minor
        tried = (f"{path}: {version or 'does not run'}" for path, version in machine.pythons)
        yield Misfit(
            problem=f"this host has no Python {minor}",
            evidence=tuple(tried) or ("nothing was found on PATH",),
            mend=f"install python{minor}, or build for a version that is here",
        )


def _room(missing: tuple[LayerRef, ...], machine: Machine) -> Iterator[Misfit]:
    """Half as many folders as files is more than any package has."""
    size = sum(ref.size for ref in missing)
    files = sum(ref.files for ref in missing)
    if missing and machine.free < size + ROOM:
        yield Misfit(
            problem=f"the release needs {_megabytes(size + ROOM)}, the disk that holds "
            f"{machine.root} has {_megabytes(machine.free)} free",
            mend="make room, or `nonevent prune`, and deploy again",
            error=DiskFull,
        )
    inodes = files + files // 2 + INODES
    if missing and machine.inodes is not None and machine.inodes < inodes:
        yield Misfit(
            problem=f"the release needs {inodes} inodes, the disk that holds {machine.root} has "
            f"{machine.inodes} free",
            mend="remove small files, e.g. old sessions or caches; `df -i` shows where they are",
            error=DiskFull,
        )


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.0f} MB"


def _place(machine: Machine) -> Iterator[Misfit]:
    if machine.closed:
        yield Misfit(
            problem=f"{machine.user} may not write to {', '.join(machine.closed)}",
            mend=f"chown {machine.user} {' '.join(machine.closed)}, or mount the disk writable",
        )
    if abs(machine.ahead) > LATE:
        side = "ahead of" if machine.ahead > 0 else "behind"
        yield Misfit(
            problem=f"this host's clock is {abs(machine.ahead):.0f} s {side} the deploying one",
            mend="set the one that is wrong, e.g. `timedatectl set-ntp true`",
        )
