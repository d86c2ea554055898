"""Layers that are built once and kept in the cache, ready to be copied into artifacts."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from nonevent.build.artifact import Packed
from nonevent.build.cache import kept
from nonevent.build.elf import Needs, needs_from
from nonevent.build.layer import NOTHING, Changed, Frame, Known, are_right, pack
from nonevent.build.zstd import VERSION
from nonevent.model.manifest import LayerRef
from nonevent.model.parse import canonical

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from nonevent.build.installed import Packages


@dataclass(frozen=True, slots=True, kw_only=True)
class Filled:
    """What is known of a tree that was made."""

    needs: Needs
    packages: Packages = ()
    known: Known = NOTHING
    """What an earlier layer has of it."""
    notes: Mapping[str, object] = field(default_factory=dict)
    """Whatever helps to make the next one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """A built layer: what it holds, and where its files and its packed members lie."""

    ref: LayerRef
    packed: Packed
    tree: Path
    needs: Needs
    packages: Packages
    reused: bool


def stored(
    name: str,
    folder: Path,
    fill: Callable[[Path], Filled],
    *,
    mark: str,
    anew: Callable[[Path], Filled] | None = None,
) -> Stored:
    """The layer that is kept in a folder of the cache, or else made.

    ``fill`` makes the tree and says what it needs and holds, and ``anew`` does so where what it
    took from an earlier layer was damaged; ``mark`` is a path without which the tree is not whole.
    """

    def make(work: Path) -> None:
        tree, frames_folder = work / "tree", work / "frames"
        filled = fill(tree)
        try:
            layer, frames = pack(name, tree, frames_folder, filled.known)
        except Changed:
            if anew is None:
                raise
            shutil.rmtree(tree)
            shutil.rmtree(frames_folder)
            filled = anew(tree)
            layer, frames = pack(name, tree, frames_folder, filled.known)
        about = {
            "ref": asdict(layer.ref),
            "needs": asdict(filled.needs),
            "packages": filled.packages,
            "frames": [[each.listed, each.digest] for each in frames],
            "zstd": VERSION,
            "notes": filled.notes,
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
            frames=frames_in(folder, about),
        ),
        tree=folder / "tree",
        needs=needs_from(about["needs"]),
        packages=tuple((name, version) for name, version in about["packages"]),
        reused=reused,
    )


def frames_in(folder: Path, about: dict[str, Any]) -> tuple[Frame, ...]:
    """The frames of a stored layer, whatever has become of them."""
    return tuple(
        Frame(listed=listed, digest=digest, file=folder / "frames" / listed)
        for listed, digest in about["frames"]
    )


def _is_whole(folder: Path, mark: str) -> bool:
    """Whether a kept layer still has all that an artifact takes of it, and its tree."""
    try:
        about = json.loads((folder / "about.json").read_bytes())
        encoded = (folder / "layer.json").read_bytes()
        right = hashlib.sha256(encoded).hexdigest() == about["ref"]["digest"]
        frames = frames_in(folder, about)
    except (OSError, ValueError, LookupError, TypeError):
        return False
    return right and (folder / "tree" / mark).is_file() and are_right(frames)
