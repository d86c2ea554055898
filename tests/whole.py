"""What lies in an app's folder, whatever has happened there: whole layers, and nothing else.

What is expected is worked out here anew, from the ledger and from the files themselves.
"""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING

from nonevent.agent import ledger, release
from nonevent.model.manifest import Link, read_layer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from nonevent.model.layout import Layout
    from nonevent.model.manifest import Entry

OWN = {"bin/python", "bin/python3"}
"""What a host puts into a virtualenv."""
Found = tuple[int, str]
"""Mode and digest of a file; 0 and the target of a link."""


def must_be_whole(layout: Layout) -> None:
    """Each layer has the files that its list says, byte for byte, and each release its layer's."""
    for name in _names(layout.layers):
        if name.startswith(".") or name.endswith(".json"):
            continue
        listed = read_layer(layout.layer_list(name).read_bytes())
        assert listed.ref.id == name
        found = {path: what for path, what in _tree(layout.layer(name)) if path not in OWN}
        assert found == {each.path: _expected(each) for each in listed.entries}, name
    for number in release.numbers(layout):
        staged = release.read(layout, number)
        app = staged.manifest.layer("app") if staged else None
        assert app, f"release {number} has no description"
        there = dict(_tree(layout.release(number)))
        assert set(_tree(layout.layer(app.id))) <= set(there.items()), f"release {number}"


def must_be_tidy(layout: Layout) -> None:
    """Nothing is half made, and nothing is kept that no release needs; settings may be newer."""
    kept = [each for each in ledger.history(layout).releases if each.on_disk]
    assert _names(layout.releases) == {str(each.number) for each in kept}
    staged = [release.read(layout, each.number) for each in kept]
    ids = {ref.id for each in staged if each for ref in each.manifest.layers}
    assert _names(layout.layers) == ids | {f"{name}.json" for name in ids}
    for folder, used in (
        (layout.configs, {each.config for each in kept}),
        (layout.secrets, {each.secrets for each in kept}),
    ):
        numbers = {int(name) for name in _names(folder)}
        assert numbers <= used | {max(numbers, default=0)}
    logs = {name.removesuffix(".log").rpartition("-")[2] for name in _names(layout.logs)}
    assert {name for name in logs if name.isdigit()} <= {str(each.number) for each in kept}
    assert len(_names(layout.tools)) == 1
    assert not [name for name in _names(layout.root) if name.startswith(".")]


def inodes(layout: Layout) -> set[int]:
    """The files of an app, its processes' sockets and the like aside."""
    folders = (layout.layers, layout.releases, layout.configs, layout.secrets, layout.tools)
    return {
        os.lstat(os.path.join(place, name)).st_ino  # noqa: PTH118
        for folder in folders
        for place, _, names in os.walk(folder)
        for name in names
    }


def _names(folder: Path) -> set[str]:
    return set(os.listdir(folder)) if folder.exists() else set()


def _tree(folder: Path) -> Iterator[tuple[str, Found]]:
    for place, folders, names in os.walk(folder):
        for name in (*folders, *names):
            path = os.path.join(place, name)  # noqa: PTH118
            where = os.path.relpath(path, folder)
            if os.path.islink(path):  # noqa: PTH114
                yield where, (0, os.readlink(path))
            elif name in names:
                with open(path, "rb") as file:  # noqa: PTH123
                    digest = hashlib.file_digest(file, "sha256").hexdigest()
                yield where, (os.stat(path).st_mode & 0o7777, digest)  # noqa: PTH116


def _expected(entry: Entry) -> Found:
    if isinstance(entry, Link):
        return 0, entry.target
    return entry.mode & ~0o222, entry.digest
