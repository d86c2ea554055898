"""What `check` says of a host: a line for each thing that a deploy needs there."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nonevent.errors import NoneventError
from nonevent.model.setup import File

if TYPE_CHECKING:
    from nonevent.deploy.deploy import Task
    from nonevent.deploy.setup import Survey
    from nonevent.model.setup import Setup

LATE = 5.0
"""Seconds that a host's clock may be away from ours."""
LITTLE = 500_000_000
"""Bytes below which the disk counts as nearly full."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing about a host; ``mend`` says what to do where it is not as it must be."""

    what: str
    found: str
    mend: str = ""


def findings(
    task: Task, seen: Survey, wanted: Setup | NoneventError, *, machine: str, offset: float
) -> tuple[Finding, ...]:
    """What a survey amounts to.

    ``wanted`` is what the host is to be set up as, or why it cannot be; ``machine`` is what
    artifacts are built for here, ``offset`` by how many seconds the host's clock is ahead.
    """
    other = "" if seen.machine == machine else f"build on a {seen.machine} machine"
    full = "free some room on its disk" if seen.free < LITTLE else ""
    clock = "set its clock, e.g. `timedatectl set-ntp true`" if abs(offset) > LATE else ""
    found = [
        Finding(what="reachable", found=f"as {seen.user}"),
        Finding(what="system", found=seen.system),
        Finding(what="machine", found=seen.machine, mend=other),
        Finding(what="python", found=f"{seen.version}, {seen.python}"),
        Finding(what="disk", found=f"{seen.free / 1e9:.1f} GB free", mend=full),
        Finding(what="clock", found=f"{offset:+.1f} s", mend=clock),
    ]
    if task.environment.manager == "systemd":
        found += _managed(task, seen, wanted)
    return tuple(found)


def _managed(task: Task, seen: Survey, wanted: Setup | NoneventError) -> list[Finding]:
    """What only a host with systemd needs."""
    found = [
        Finding(what="systemd", found=seen.systemd or "none"),
        Finding(
            what="sudo",
            found="there" if seen.sudo else "none",
            mend="" if seen.sudo else "on the host, as root: apt install sudo",
        ),
    ]
    proxy, version = task.environment.proxy, seen.proxy.version
    if proxy != "none":
        mend = "" if version else f"on the host, as root: apt install {proxy}"
        found.append(Finding(what=proxy, found=version or "none", mend=mend))
    for pool in seen.pools:
        place = f"{pool.file}:{pool.line} keeps connections open"
        found.append(Finding(what="pooling", found=place, mend=f"write `{pool.mend}`"))
    if isinstance(wanted, NoneventError):
        return [*found, Finding(what="set up", found=wanted.message, mend=wanted.hint)]
    command = f"nonevent setup {task.environment.name}"
    if not seen.digest:
        return [*found, Finding(what="set up", found="no", mend=command)]
    if seen.digest != digest_of(wanted):
        found.append(Finding(what="set up", found="for something else", mend=f"{command} --check"))
    else:
        found.append(Finding(what="set up", found="yes"))
    return found


def digest_of(wanted: Setup) -> str:
    """The digest that the host's record has once this was set up."""
    record = wanted.states[-1]
    return str(json.loads(record.text)["digest"]) if isinstance(record, File) else ""
