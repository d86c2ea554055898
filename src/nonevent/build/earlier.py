"""An earlier layer, whose byte code is taken for modules that are the same again.

Nothing is believed of what lies there but the list of its files, which has the digest that the
layer was given when it was made: a tree may be damaged, or removed meanwhile by another build.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from nonevent.build.installed import Packages


@dataclass(frozen=True, slots=True)
class Earlier:
    """The tree, and the SHA-256 of all files that it had: by folder and name."""

    tree: Path
    folders: dict[str, dict[str, str]]

    def take(self, tree: Path, folder: str, names: Sequence[str], *, tag: str) -> bool:
        """Put the byte code of a folder's modules into a tree where it is known; whether it was.

        All modules of the folder must be what they were, see :mod:`nonevent.build.bytecode`.
        """
        were = self.folders.get(folder, {})
        if set(names) != {name for name in were if name.endswith(".py")}:
            return False
        cached = f"{folder}/__pycache__"
        digests = self.folders.get(cached, {})
        wanted = [f"{name.removesuffix('.py')}.{tag}.pyc" for name in names]
        try:
            for name in names:
                _read(f"{tree}/{folder}/{name}", were[name])
            found = [_read(f"{self.tree}/{cached}/{name}", digests[name]) for name in wanted]
        except (OSError, LookupError, ValueError):
            return False
        Path(tree, cached).mkdir(exist_ok=True)
        for name, content in zip(wanted, found, strict=True):
            Path(f"{tree}/{cached}/{name}").write_bytes(content)
        return True


def earlier_of(folders: Iterable[Path], packages: Packages) -> Earlier | None:
    """Of stored layers, the one that has most packages in common with these."""
    shared = {folder: _shared(folder, packages) for folder in folders}
    nearest = max(shared, key=lambda folder: shared[folder], default=None)
    return _earlier(nearest) if nearest and shared[nearest] else None


def _shared(folder: Path, packages: Packages) -> int:
    try:
        about = json.loads((folder / "about.json").read_bytes())
        return len({*packages} & {(name, version) for name, version in about["packages"]})
    except (OSError, LookupError, ValueError, TypeError):
        return 0


def _earlier(folder: Path) -> Earlier | None:
    try:
        about = json.loads((folder / "about.json").read_bytes())
        listed = json.loads(_read(str(folder / "layer.json"), about["ref"]["digest"]))
    except (OSError, LookupError, ValueError):
        return None
    folders: dict[str, dict[str, str]] = {}
    for entry in listed["files"]:
        if "sha256" in entry:
            where, _, name = entry["path"].rpartition("/")
            folders.setdefault(where, {})[name] = entry["sha256"]
    return Earlier(folder / "tree", folders)


def _read(path: str, digest: str) -> bytes:
    """A file's content; ValueError where it is another than the one with that digest."""
    with FileIO(path) as file:
        content = file.read()
    if hashlib.sha256(content).hexdigest() != digest:
        raise ValueError(path)
    return content
