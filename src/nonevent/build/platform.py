"""Building for another platform than this machine's: from wheels alone.

What is compiled for this machine is of no use there, and uv would compile an sdist for this one.
Byte code belongs to a version of CPython, not to a platform.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from packaging.markers import default_environment
from packaging.pylock import Pylock
from packaging.tags import compatible_tags, cpython_tags
from packaging.utils import parse_wheel_filename

from nonevent.build.elf import is_elf
from nonevent.build.event import counted
from nonevent.build.layer import paths
from nonevent.build.uv import uv
from nonevent.errors import BuildFailed, LockInvalid

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from packaging.pylock import Package
    from packaging.tags import Tag

    from nonevent.build.lock.base import Locked
    from nonevent.build.python import Interpreter

NEWEST = 28
"""The glibc, 2.28, that wheels may need at most: Debian 10, RHEL 8, Ubuntu 18.10."""
_OLDEST = {"x86_64": 5, "aarch64": 17}
"""manylinux1 is glibc 2.5; there was no aarch64 before manylinux2014."""
_NAMES = {5: "manylinux1", 12: "manylinux2010", 17: "manylinux2014"}


def uv_options(platform: str) -> tuple[str, ...]:
    """What has uv install for that platform, and compile nothing."""
    machine = platform.partition("-")[2]
    target = f"{machine}-manylinux_2_{NEWEST}"
    return ("--python-platform", target, "--only-binary", ":all:")


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What is built for: an interpreter's version, and a platform that may be another's."""

    python: Interpreter
    platform: str

    @property
    def is_elsewhere(self) -> bool:
        """Whether this machine cannot run what is built."""
        return self.platform != self.python.platform


def tags(target: Target) -> frozenset[Tag]:
    """The tags of all wheels that will do there."""
    machine = target.platform.partition("-")[2]
    version = tuple(int(part) for part in target.python.minor.split("."))
    names = [f"linux_{machine}"]
    for minor in range(_OLDEST[machine], NEWEST + 1):
        names.append(f"manylinux_2_{minor}_{machine}")
        if minor in _NAMES:
            names.append(f"{_NAMES[minor]}_{machine}")
    abi = target.python.abi
    return frozenset(
        (
            *cpython_tags(version, abis=[abi, "abi3", "none"], platforms=names),
            *compatible_tags(version, interpreter=abi, platforms=names),
        )
    )


def refuse_without_wheels(
    locked: Locked, target: Target, *, work: Path, config: Path, env: Mapping[str, str]
) -> None:
    """Refuse a lock that cannot be installed there from wheels, before anything is downloaded.

    Raises:
        LockInvalid: with every package that has none.
    """
    text = (
        locked.text if locked.file == "pylock.toml" else _asked(locked, target, work, config, env)
    )
    found = tuple(without_wheels(Pylock.from_dict(tomllib.loads(text)), target)) if text else ()
    if found:
        raise LockInvalid(
            f"{counted(len(found), 'package')} cannot be installed for {target.platform}, which "
            "takes wheels alone",
            context=found,
            hint=f"take versions that have wheels, or build on a {target.platform} machine",
        )


def _asked(locked: Locked, target: Target, work: Path, config: Path, env: Mapping[str, str]) -> str:
    """Requirements with the files that the index has of them; nothing where it cannot tell."""
    file = work / "for-another-platform.txt"
    file.write_text(locked.text, encoding="utf-8")
    made = uv(
        *("pip", "compile", "--quiet", "--no-deps", "--universal", "--no-header"),
        *("--format", "pylock.toml", "--python", target.python.path, file),
        cwd=config,
        env=env,
    )
    return made.text if made.status == 0 else ""


def without_wheels(lock: Pylock, target: Target) -> Iterator[str]:
    """The packages of a lock that are needed there and have no wheel, and what they have."""
    there: dict[str, str] = {
        **{name: str(value) for name, value in default_environment().items()},
        "os_name": "posix",
        "sys_platform": "linux",
        "platform_system": "Linux",
        "platform_machine": target.platform.partition("-")[2],
        "python_version": target.python.minor,
        "python_full_version": target.python.version,
    }
    wanted = tags(target)
    for package in lock.packages:
        if package.marker and not package.marker.evaluate(there, context="lock_file"):
            continue
        files = [each.filename for each in package.wheels or ()]
        if not any(parse_wheel_filename(name)[3] & wanted for name in files):
            version = f" {package.version}" if package.version else ""
            yield f"{package.name}{version}: {_what_it_has(package)}"


def _what_it_has(package: Package) -> str:
    if package.wheels:
        return f"{counted(len(package.wheels), 'wheel')}, all for others"
    return "source code alone"


def refuse_compiled(shop: Path, target: Target) -> None:
    """Refuse a project whose own package was compiled, since that was done for this machine.

    Raises:
        BuildFailed: naming the files.
    """
    found = [path for path in paths(shop / "lib") if is_elf(shop / "lib" / path)]
    if found:
        raise BuildFailed(
            f"the project's own package has compiled code, which is not for {target.platform}",
            context=tuple(found[:10]),
            hint=f"build on a {target.platform} machine",
        )
