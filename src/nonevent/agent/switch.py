"""The socket link: where new connections go, changed in one rename(2).

Whoever connects to ``web.sock`` lets the kernel follow the link at that moment, so there is
nothing to reload and no instant without an answer.
"""

from __future__ import annotations

import contextlib
import os
import stat
from typing import TYPE_CHECKING

from nonevent.agent import durable, folder
from nonevent.model.instance import InstanceId, read_instance_id

if TYPE_CHECKING:
    from pathlib import Path

    from nonevent.model.layout import Layout


_OTHERWISE = "deploy from a folder with a shorter name"


def make_run(layout: Layout) -> None:
    """The folder of the sockets is there, and nobody else's.

    Raises:
        HostUnfit: it belongs to somebody else, or others may write to it.
    """
    for each in _run_folders(layout):
        folder.make(each, otherwise=_OTHERWISE)


def check_run(layout: Layout) -> None:
    """The folder of the sockets is nobody else's, so neither is what answers there.

    Raises:
        FileNotFoundError: it is not there.
        HostUnfit: it belongs to somebody else, or others may write to it.
    """
    for each in _run_folders(layout):
        folder.check(each, otherwise=_OTHERWISE)


def _run_folders(layout: Layout) -> tuple[Path, ...]:
    """The folders that must be ours alone.

    In a root that `setup` has made, the app's user may write to `run` as well: it is their group's.
    """
    if layout.run.parent == layout.root and _is_shared(layout.run):
        return ()
    return tuple(each for each in (layout.run.parent, layout.run) if each != layout.root)


def _is_shared(run: Path) -> bool:
    try:
        found = run.lstat()
    except FileNotFoundError:
        return False
    ours = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()
    return bool(ours and found.st_mode & stat.S_ISGID and not found.st_mode & 0o002)


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


def point_before(layout: Layout) -> str:
    """``current`` names what it named before the first release, which is returned; or is gone."""
    try:
        before = os.readlink(layout.previous)
    except FileNotFoundError:
        layout.current.unlink(missing_ok=True)
        return ""
    durable.point(layout.current, before)
    layout.previous.unlink()
    return before


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


def point_kept(layout: Layout, release: int) -> None:
    """One of the links to releases on disk names this one, and no longer the oldest.

    To be done before the switch: the first page of a release may be read before ``current`` names
    it, and its files asked for.
    """
    link = layout.kept(release)
    link.parent.mkdir(exist_ok=True)
    durable.point(link, f"../releases/{release}")
