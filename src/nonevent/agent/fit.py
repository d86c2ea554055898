"""Whether a release can run on this host at all; asked before anything is sent."""

from __future__ import annotations

import os
import platform
import subprocess
from typing import TYPE_CHECKING

from nonevent.agent import interpreter
from nonevent.errors import HostUnfit

if TYPE_CHECKING:
    from nonevent.model.manifest import Manifest

LDCONFIG_LIMIT = 10.0


def own_platform() -> str:
    """Operating system and machine, as a manifest names them."""
    return f"{platform.system().lower()}-{platform.machine()}"


def check(manifest: Manifest) -> None:
    """Refuse a release that this host cannot run.

    Raises:
        HostUnfit: with the one thing to do about it.
    """
    here = own_platform()
    if manifest.platform != here:
        raise HostUnfit(
            f"the artifact is for {manifest.platform}, this host is {here}",
            hint="build it on a machine like this host",
        )
    glibc = _glibc()
    if _numbers(manifest.glibc) > _numbers(glibc):
        raise HostUnfit(
            f"the artifact needs glibc {manifest.glibc}, this host has {glibc or 'another libc'}",
            hint="build it on a machine with an older glibc, or upgrade the host",
        )
    interpreter.find(manifest.python)
    missing = sorted(set(manifest.libraries) - _libraries()) if manifest.libraries else []
    if missing:
        raise HostUnfit(
            f"this host lacks shared libraries: {', '.join(missing)}",
            hint="install the packages that hold them, e.g. `apt-file search` names them",
        )


def _glibc() -> str:
    """The C library's version, e.g. ``2.36``; empty where it is not glibc."""
    try:
        name, _, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").partition(" ")
    except (ValueError, OSError):
        return ""
    return version if name == "glibc" else ""


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())


def _libraries() -> set[str]:
    """The shared libraries that the dynamic linker finds, by name; see ldconfig(8)."""
    for program in ("ldconfig", "/sbin/ldconfig"):
        try:
            output = subprocess.run(
                (program, "-p"), capture_output=True, text=True, timeout=LDCONFIG_LIMIT, check=True
            ).stdout
        except (OSError, subprocess.SubprocessError):
            continue
        return {line.split()[0] for line in output.splitlines() if "=>" in line}
    return set()
