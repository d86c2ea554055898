"""What really runs: the process manager, the kernel and the ledger, side by side."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from nonevent.agent import facts, journal, kernel, lock, pooling, proof, proxies, release, site
from nonevent.agent.process.site import Site

if TYPE_CHECKING:
    from nonevent.agent.process.base import ProcessManager
    from nonevent.model.facts import Facts
    from nonevent.model.instance import Instance
    from nonevent.model.layout import Layout


def status(layout: Layout, manager: ProcessManager) -> dict[str, object]:
    """Everything that ``nonevent status`` shows of this host; sizes in bytes, times in seconds."""
    found = facts.gather(layout, manager)
    history = found.history
    serving = history.release(history.current or 0)
    story = journal.interrupted(layout)
    holder, person = lock.holder(layout), lock.person(layout)
    return {
        "root": str(layout.root),
        "release": _release(serving) if serving else None,
        "running": history.running,
        "previous": history.previous,
        "front": list(found.front) if found.front else None,
        "proxies": _proxies(layout),
        "instances": _instances(layout, manager, found),
        "timers": _timers(found),
        "busy": f"{holder.by}: {holder.reason}" if holder else None,
        "locked": (
            {"by": person.by, "reason": person.reason, "since": person.since} if person else None
        ),
        "interrupted": f"{story.goal} by {story.by} at {story.time}"
        if story and not holder
        else None,
        "disk": _disk(layout),
        "load": round(os.getloadavg()[0], 2),
        "processors": len(os.sched_getaffinity(0)),
    }


def _release(serving: object) -> dict[str, object]:
    names = ("number", "commit", "subject", "ref", "artifact", "by", "since", "config", "secrets")
    return {name: getattr(serving, name) for name in names}


def _proxies(layout: Layout) -> list[dict[str, str]]:
    """What leads visitors here, as far as this user may read its configuration."""
    return [
        {
            "name": name,
            "version": proxies.version(name),
            # Its service starts with the first visitor: what must be up is the socket.
            "state": proxies.state(
                path.with_suffix(".socket").name if name == "socket-proxyd" else name
            ),
            "file": str(path),
        }
        for name, path, _ in pooling.sites(layout)
    ]


def _instances(layout: Layout, manager: ProcessManager, found: Facts) -> list[dict[str, object]]:
    if isinstance(manager, Site):
        return site.shown(layout, manager, found.history.current)
    return [_instance(layout, manager, each, found) for each in found.instances]


def _instance(
    layout: Layout, manager: ProcessManager, instance: Instance, found: Facts
) -> dict[str, object]:
    tree = kernel.descendants(instance.pid, kernel.processes()) if instance.pid else ()
    manifest = found.manifest(instance.id.release)
    service = manifest.service(instance.id.service) if manifest else None
    staged = release.read(layout, instance.id.release)
    complaints: tuple[str, ...] = ()
    if tree and staged:
        seen = manager.look(layout, str(instance.id), instance.pid)
        complaints = proof.complaints(instance.pid, seen, proof.expected(layout, staged))
    return {
        "instance": str(instance.id),
        "service": instance.id.service,
        "release": instance.id.release,
        "kind": service.kind.value if service else "",
        "state": instance.state.value,
        "detail": instance.detail,
        "restarts": instance.restarts,
        "pid": instance.pid,
        "processes": len(tree),
        "memory": sum(each.memory for each in tree),
        "seconds": round(time.time() - instance.started) if tree and instance.started else 0,
        "serves": found.link(instance.id.service) == instance.id,
        "standby": _standby(instance, found),
        "connections": kernel.connections(str(layout.socket(str(instance.id)))),
        "complaints": list(complaints),
    }


def _standby(instance: Instance, found: Facts) -> int:
    """Seconds for which an instance still stands by, 0 where it does not."""
    noted = found.history.standby
    stands_by = noted and found.standby == instance.id.release and instance.usable
    return max(1, round(noted.until - time.time())) if noted and stands_by else 0


def _timers(found: Facts) -> list[dict[str, object]]:
    manifest = found.manifest(found.history.current or 0)
    timers = [each for each in manifest.services if each.schedule] if manifest else []
    return [{"service": each.name, "schedule": each.schedule} for each in timers]


def _disk(layout: Layout) -> dict[str, int]:
    """What the app uses, each file once however often it is linked; in bytes.

    ``layers`` and ``data`` are parts of ``used``; ``shared`` is what there would be without links.
    """
    seen: set[tuple[int, int]] = set()
    parts = {"layers": 0, "data": 0}
    used = shared = 0
    for folder, _, names in os.walk(layout.root):
        part = os.path.relpath(folder, layout.root).partition("/")[0]
        for name in names:
            try:
                stat = os.lstat(os.path.join(folder, name))  # noqa: PTH118
            except FileNotFoundError:
                continue
            size = stat.st_blocks * 512
            if (stat.st_dev, stat.st_ino) in seen:
                shared += size
                continue
            seen.add((stat.st_dev, stat.st_ino))
            used += size
            # What a release has is linked from its layer.
            part = "layers" if part == "releases" else part
            if part in parts:
                parts[part] += size
    room = os.statvfs(layout.root)
    free = room.f_bavail * room.f_frsize
    return {"used": used, **parts, "shared": shared, "free": free}
