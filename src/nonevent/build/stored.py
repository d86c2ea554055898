"""Layers that are built once and kept in the cache, ready to be copied into artifacts."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from nonevent.build.artifact import Packed
from nonevent.build.cache import kept
from nonevent.build.elf import Needs, needs_from
from nonevent.build.layer import pack
from nonevent.model.manifest import LayerRef
from nonevent.model.parse import canonical

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from nonevent.build.installed import Packages


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """A built layer: what it holds, and where its files and its packed part lie."""

    ref: LayerRef
    packed: Packed
    tree: Path
    needs: Needs
    packages: Packages
    reused: bool


def stored(
    name: str, folder: Path, fill: Callable[[Path], tuple[Needs, Packages]], *, mark: str
) -> Stored:
    """The layer that is kept in a folder of the cache, or else made.

    ``fill`` makes the tree and says what it needs and holds; ``mark`` is a path without which
    the tree is not whole.
    """

    def make(work: Path) -> None:
        needs, packages = fill(work / "tree")
        layer = pack(name, work / "tree", work / "part.tar.zst")
        about = {
            "ref": asdict(layer.ref),
            "needs": asdict(needs),
            "packages": packages,
            "part": (work / "part.tar.zst").stat().st_size,
        }
        (work / "layer.json").write_bytes(layer.encoded())
        (work / "about.json").write_bytes(canonical(about))

    reused = kept(folder, make, is_whole=lambda folder: _is_whole(folder, mark))
    about = json.loads((folder / "about.json").read_bytes())
    return Stored(
        ref=LayerRef(**about["ref"]),
        packed=Packed(
            name=name,
            encoded=(folder / "layer.json").read_bytes(),
            part=folder / "part.tar.zst",
        ),
        tree=folder / "tree",
        needs=needs_from(about["needs"]),
        packages=tuple((name, version) for name, version in about["packages"]),
        reused=reused,
    )


def _is_whole(folder: Path, mark: str) -> bool:
    """Whether a kept layer still has all that an artifact takes of it, and its tree."""
    try:
        about = json.loads((folder / "about.json").read_bytes())
        encoded = (folder / "layer.json").read_bytes()
        return (
            hashlib.sha256(encoded).hexdigest() == about["ref"]["digest"]
            and (folder / "part.tar.zst").stat().st_size == about["part"]
            and (folder / "tree" / mark).is_file()
        )
    except (OSError, ValueError, KeyError):
        return False
