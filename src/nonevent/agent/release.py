"""Releases on the host: making a folder of layers and a configuration version."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
from typing import TYPE_CHECKING

from nonevent.agent import durable, interpreter, layers, ledger
from nonevent.dataclass import dataclass
from nonevent.model.manifest import Manifest, manifest_from
from nonevent.model.parse import parse_json

if TYPE_CHECKING:
    from pathlib import Path

    from nonevent.model.layout import Layout
    from nonevent.model.parse import Table

FORMAT = 1
_FILE = "release.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Staged:
    """A release as its folder describes it."""

    number: int
    environment: str
    config: int
    manifest: Manifest
    services: tuple[str, ...] | None = None
    """Those that run on this host; None for all."""

    @property
    def here(self) -> Manifest:
        """The manifest with the services that run on this host."""
        return self.manifest.only(self.services)

    def encoded(self) -> bytes:
        """The description as it stands in ``release.json``."""
        raw = {
            "format": FORMAT,
            "number": self.number,
            "environment": self.environment,
            "config": self.config,
            "artifact": self.manifest.digest,
            "manifest": self.manifest.as_dict(),
            "services": None if self.services is None else list(self.services),
        }
        return json.dumps(raw, ensure_ascii=False, indent=1).encode()


def read(layout: Layout, number: int) -> Staged | None:
    """The release of that number, or None where it is not complete on disk.

    Raises:
        FormatInvalid: its description cannot be read.
    """
    try:
        text = (layout.release(number) / _FILE).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return parse_json(f"releases/{number}/{_FILE}", text, _staged)


def _staged(table: Table) -> Staged:
    table.number("format", most=FORMAT)
    staged = Staged(
        number=table.number("number", least=1),
        environment=table.text("environment"),
        config=table.number("config"),
        manifest=manifest_from(table.table("manifest", required=True)),
        services=table.maybe_texts("services"),
    )
    if table.text("artifact") != staged.manifest.digest:
        table.problem("artifact", expected="the digest of the manifest beside it")
    table.done()
    return staged


def numbers(layout: Layout) -> tuple[int, ...]:
    """The releases whose folders are complete."""
    try:
        names = [path.name for path in layout.releases.iterdir()]
    except FileNotFoundError:
        return ()
    return tuple(sorted(int(name) for name in names if name.isdigit()))


def stage(layout: Layout, staged: Staged) -> None:
    """Make a release's folder; its layers are there already.

    The application's files are hard links into their layer, so that two releases of the same
    bytes cost nothing and yet every process works in a folder that names its release.

    Raises:
        HostUnfit: no interpreter fits.
        DiskFull: there is no room.
    """
    manifest = staged.manifest
    app, deps = manifest.layer("app"), manifest.layer("deps")
    assert app and deps  # noqa: S101, PT018  (the manifest's parser refuses any other)
    bundled = manifest.layer("python")
    layers.point_python(layout, deps, _interpreter(manifest))
    layout.data.mkdir(exist_ok=True)
    layout.releases.mkdir(exist_ok=True)
    partial = layout.releases / f".partial-{staged.number}"
    layers.remove_tree(partial)
    try:
        _link_tree(layout.layer(app.id), partial)
        partial.chmod(0o755)
        (partial / "app").mkdir(exist_ok=True)
        (partial / "venv").symlink_to(f"../../layers/{deps.id}")
        if bundled:
            # So called, because Python follows `bin/python` by its letters: from venv/bin it comes
            # to this link, where the kernel comes to the layer.
            (partial / bundled.id).symlink_to(f"../../layers/{bundled.id}")
        if staged.config:
            (partial / "config").symlink_to(f"../../configs/{staged.config}")
        durable.write(partial / _FILE, staged.encoded())
        partial.rename(layout.release(staged.number))
    except OSError as error:
        layers.remove_tree(partial)
        if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EMLINK}:
            raise layers.disk_full(layout.root) from error
        raise
    durable.sync_folder(layout.releases)


def _interpreter(manifest: Manifest) -> str:
    """What ``bin/python`` of the virtualenv leads to: a layer beside it, or this host's own."""
    if bundled := manifest.layer("python"):
        return f"../../{bundled.id}/bin/python{manifest.python.minor}"
    return str(interpreter.find(manifest.python))


def _link_tree(source: Path, target: Path) -> None:
    """A second tree of the same files: hard links, and copies of what must not be linked.

    All empty files of all releases may share one inode, so they are copied. Its folders cannot be
    written to: what an app writes beside its code would be gone with the next release.
    """
    target.mkdir()
    for entry in os.scandir(source):
        place = target / entry.name
        if entry.is_dir(follow_symlinks=False):
            _link_tree(source / entry.name, place)
        elif entry.is_symlink():
            place.symlink_to(os.readlink(entry.path))
        elif entry.stat(follow_symlinks=False).st_size:
            layers.link_file(entry.path, str(place))
        else:
            shutil.copy2(entry.path, place)
    target.chmod(0o555)


def own_files(layout: Layout, number: int) -> tuple[str, ...]:
    """What a release has written into its own folder, which no other release will see."""
    staged = read(layout, number)
    ref = staged.manifest.layer("app") if staged else None
    if ref is None:
        return ()
    folder, layer = layout.release(number) / "app", layout.layer(ref.id) / "app"
    found: list[str] = []
    for place, _, names in os.walk(folder):
        inside = os.path.relpath(place, folder)
        there = layer / inside
        found += [os.path.join(inside, name) for name in names if not os.path.lexists(there / name)]  # noqa: PTH118
    return tuple(sorted(os.path.normpath(name) for name in found))


def clean(layout: Layout) -> None:
    """Remove folders that were half made or half removed. The caller holds the lock."""
    for pattern in (".partial-*", ".gone-*"):
        for folder in layout.releases.glob(pattern):
            layers.remove_tree(folder)
    # Cut off between the ledger's line and the removal.
    for gone in ledger.history(layout).releases:
        if not gone.on_disk:
            layers.remove_tree(layout.release(gone.number))


def current(layout: Layout) -> int | None:
    """The release that the link ``current`` names, or None."""
    with contextlib.suppress(OSError):
        name = os.readlink(layout.current).rpartition("/")[2]
        if name.isdigit():
            return int(name)
    return None
