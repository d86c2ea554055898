"""The socket link: where new connections go, changed in one rename(2).

Whoever connects to ``web.sock`` lets the kernel follow the link at that moment, so there is
nothing to reload and no instant without an answer.
"""

from __future__ import annotations

import contextlib
import os
import stat
from typing import TYPE_CHECKING

from nonevent.agent import durable
from nonevent.errors import HostUnfit
from nonevent.model.instance import InstanceId, read_instance_id

if TYPE_CHECKING:
    from nonevent.model.layout import Layout


def make_run(layout: Layout) -> None:
    """The folder of the sockets is there, and nobody else's.

    Where it lies in /tmp, another user may have been there first. In a root that `setup` has made,
    the app's user may write to it as well: there it belongs to their group.

    Raises:
        HostUnfit: it belongs to somebody else, or others may write to it.
    """
    for folder in (layout.run.parent, layout.run):
        if folder == layout.root:
            continue
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
        if folder.parent == layout.root and found.st_mode & stat.S_ISGID:
            continue
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
            raise HostUnfit(
                f"{folder} is not a folder of this user alone, so no socket can lie there",
                hint=f"remove {folder}, or deploy from a folder with a shorter name",
            )


def links(layout: Layout) -> tuple[tuple[str, InstanceId], ...]:
    """Per web service, the instance that its link names; the door is no service's."""
    found: list[tuple[str, InstanceId]] = []
    with contextlib.suppress(FileNotFoundError):
        for path in sorted(layout.run.iterdir()):
            if path.suffix == ".sock" and path.is_symlink() and path != layout.door:
                target = os.readlink(path).removesuffix(".sock")
                instance = read_instance_id(target)
                if instance:
                    found.append((path.stem, instance))
    return tuple(found)


def point_links(
    layout: Layout, instances: tuple[InstanceId, ...], public: InstanceId | None
) -> None:
    """Each web service's link names its instance, the door the public one; no other is left.

    The door is moved by the same kind of rename, so that a port leads on without a gap also where
    another service becomes the public one.
    """
    make_run(layout)
    for instance in instances:
        durable.point(layout.link(instance.service), f"{instance}.sock")
    if public:
        durable.point(layout.door, f"{public}.sock")
    else:
        layout.door.unlink(missing_ok=True)
    wanted = {instance.service for instance in instances}
    for service, _ in links(layout):
        if service not in wanted:
            layout.link(service).unlink()


def point_current(layout: Layout, release: int | None) -> None:
    """``current`` names the release, and ``previous`` the one it named before."""
    if release is None:
        layout.current.unlink(missing_ok=True)
        return
    target = f"releases/{release}"
    with contextlib.suppress(FileNotFoundError):
        before = os.readlink(layout.current)
        if before != target:
            durable.point(layout.previous, before)
    durable.point(layout.current, target)
