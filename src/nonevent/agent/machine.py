"""What a host is, as far as it decides what can run on it."""

from __future__ import annotations

import getpass
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from nonevent.agent import interpreter
from nonevent.agent.fit import LEVELS
from nonevent.dataclass import dataclass

if TYPE_CHECKING:
    from nonevent.model.layout import Layout
    from nonevent.model.manifest import Manifest

LDCONFIG_LIMIT = 10.0
# /proc/cpuinfo's words for what the x86-64 psABI demands of each level.
_FLAGS = (
    {"lm", "sse2"},
    {"cx16", "lahf_lm", "popcnt", "pni", "sse4_1", "sse4_2", "ssse3"},
    {"abm", "avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "movbe", "xsave"},
    {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"},
)
# On a 64-bit kernel with 32-bit programs, as on many a Raspberry Pi, the kernel tells of itself.
_NARROW = {"aarch64": "armv8l", "x86_64": "i686"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """Facts about a host; sizes in bytes."""

    platform: str
    """Operating system and machine, e.g. ``linux-x86_64``."""
    glibc: str
    """The C library's version, e.g. ``2.36``; empty where it is another one."""
    cpu: str
    """The level of an x86-64 processor, e.g. ``x86-64-v2``; empty for all others."""
    libraries: frozenset[str] | None
    """What the dynamic linker finds; None where nobody can tell."""
    pythons: tuple[tuple[str, str], ...]
    """Interpreters that were tried for a release, and their versions; empty: it does not run."""
    root: str
    """The app's folder."""
    free: int
    """Where the app's folder is."""
    inodes: int | None
    """Free ones; None where the file system makes them as it needs them."""
    closed: tuple[str, ...]
    """Folders of the app that this user must write to and cannot."""
    user: str
    ahead: float
    """Seconds by which its clock is ahead of the client's."""


def look(layout: Layout, manifest: Manifest, *, clock: float) -> Machine:
    """What decides whether a release can run here; ``clock`` is the client's, in Unix seconds."""
    ahead = time.time() - clock
    room = os.statvfs(layout.root)
    places = (layout.root, layout.layers, layout.releases, layout.configs, layout.secrets)
    return Machine(
        platform=own_platform(),
        glibc=_glibc(),
        cpu=level(_cpu_flags()),
        # It takes a process to find out.
        libraries=_libraries() if manifest.libraries else None,
        pythons=() if manifest.layer("python") else interpreter.tried(manifest.python),
        root=str(layout.root),
        free=room.f_bavail * room.f_frsize,
        inodes=room.f_favail if room.f_files else None,
        closed=tuple(
            str(place) for place in places if place.exists() and not os.access(place, os.W_OK)
        ),
        user=getpass.getuser(),
        ahead=ahead,
    )


def own_platform() -> str:
    """Operating system and machine, as a manifest names them."""
    kernel = os.uname()
    machine = kernel.machine
    if sys.maxsize < 2**32:
        machine = _NARROW.get(machine, machine)
    return f"{kernel.sysname.lower()}-{machine}"


def level(flags: frozenset[str]) -> str:
    """The highest level all of whose features a processor has."""
    found = LEVELS[0]
    for name, needed in zip(LEVELS[1:], _FLAGS, strict=True):
        if not needed <= flags:
            break
        found = name
    return found


def _cpu_flags() -> frozenset[str]:
    """What the first processor can do; empty where it is none of Intel's or AMD's."""
    try:
        with Path("/proc/cpuinfo").open() as lines:
            found = (line.partition(":")[2] for line in lines if line.startswith("flags"))
            return frozenset(next(found, "").split())
    except OSError:
        return frozenset()


def _glibc() -> str:
    try:
        name, _, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").partition(" ")
    except (ValueError, OSError):
        return ""
    return version if name == "glibc" else ""


def _libraries() -> frozenset[str] | None:
    """The shared libraries that the dynamic linker finds, by name; see ldconfig(8)."""
    for program in ("ldconfig", "/sbin/ldconfig"):
        try:
            output = subprocess.run(
                (program, "-p"), capture_output=True, text=True, timeout=LDCONFIG_LIMIT, check=True
            ).stdout
        except (OSError, subprocess.SubprocessError):
            continue
        return frozenset(line.split()[0] for line in output.splitlines() if "=>" in line)
    return None
