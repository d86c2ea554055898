"""Layers that are built once and kept in the cache, ready to be copied into artifacts."""

from __future__ import annotations

import hashlib
import json
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from threading import Event
from typing import TYPE_CHECKING, Any

from nonevent.build.artifact import Packed
from nonevent.build.cache import kept, write_beside
from nonevent.build.elf import Needs, binaries_in, needs_from, together
from nonevent.build.layer import (
    NOTHING,
    Changed,
    Frame,
    Known,
    Listing,
    are_right,
    listing,
    pack_listed,
)
from nonevent.build.zstd import VERSION
from nonevent.errors import BuildFailed
from nonevent.model.manifest import LayerRef
from nonevent.model.parse import canonical

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from concurrent.futures import Future
    from pathlib import Path

    from nonevent.build.installed import Packages


@dataclass(frozen=True, slots=True, kw_only=True)
class Filled:
    """What is known of a tree that was made."""

    needs: Needs | None = None
    """What a host must have, where that is not what all its binaries need."""
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Making:
    """A layer whose tree can be used already, while its files are packed, or the frames compared.

    What is written into the tree meanwhile does not get into the layer.
    """

    tree: Path
    packages: Packages
    reused: bool
    packing: Future[None]
    again: Callable[[], None]

    def stored(self) -> Stored:
        """The layer when it is whole; whoever used the tree must have ended.

        Raises:
            BuildFailed: it cannot be packed.
        """
        reused = self.reused
        try:
            self.packing.result()
        except Changed:
            self.again()
            reused = False
        return _stored(self.tree.parent, reused=reused)


@contextmanager
def making(
    name: str,
    folder: Path,
    fill: Callable[[Path], Filled],
    *,
    mark: str,
    anew: Callable[[Path], Filled] | None = None,
) -> Iterator[Making]:
    """The layer that is kept in a folder of the cache, or else made; packed beside the block.

    ``fill`` makes the tree and says what it needs and holds, and ``anew`` does so where what it
    took from an earlier layer was damaged; ``mark`` is a path without which the tree is not whole.
    Where the block fails the layer is kept all the same, unless an interrupt comes before it is
    whole.
    """
    stop = Event()
    with ExitStack() as held:
        filled = held.enter_context(
            kept(
                folder,
                lambda work: fill(work / "tree"),
                is_whole=lambda folder: _is_whole(folder, mark),
            )
        )

        def again() -> None:
            held.close()
            _make_again(name, folder, anew or fill, mark)

        if filled:
            packages, job = filled.packages, _packing(name, folder, filled, stop)
        else:
            packages = _packages(about_of(folder))
            job = partial(_refuse_damaged, folder)
        with ThreadPoolExecutor(max_workers=1) as beside, _stopping(stop):
            packing = beside.submit(job)
            # Whoever waits for the layer need not wait for the block: its lock goes when it is
            # whole. What could not be packed keeps it until it is made again, or the block ends.
            packing.add_done_callback(lambda done: None if done.exception() else held.close())
            try:
                yield Making(
                    tree=folder / "tree",
                    packages=packages,
                    reused=filled is None,
                    packing=packing,
                    again=again,
                )
            except Exception:
                with suppress(Changed):
                    packing.result()  # A full disk, say, may be why the block failed.
                raise


@contextmanager
def _stopping(stop: Event) -> Iterator[None]:
    """Say so where the block is interrupted."""
    try:
        yield
    except BaseException as error:
        if not isinstance(error, Exception):
            stop.set()
        raise


def _packing(name: str, folder: Path, filled: Filled, stop: Event) -> Callable[[], None]:
    """What packs a tree as it is now."""
    # Before anybody uses the tree: what is written to later differs from this.
    os.utime(folder)
    since = folder.stat().st_mtime_ns
    found = listing(name, folder / "tree", filled.known)
    return lambda: _pack(name, folder, filled, found, since, stop)


def _pack(name: str, folder: Path, filled: Filled, found: Listing, since: int, stop: Event) -> None:
    known = filled.known
    binaries: dict[str, Needs] = {}
    try:
        if filled.needs is None:
            binaries = binaries_in(found.items(), known=known.entries, were=known.binaries)
        # What was written to since it was listed was perhaps read above, and is refused here.
        layer, frames = pack_listed(name, found, folder / "frames", known, stop=stop)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise Changed(f"{error.filename} was there when it was listed") from error
    about = {
        "ref": asdict(layer.ref),
        "needs": asdict(filled.needs or together(binaries)),
        "packages": filled.packages,
        "frames": [[each.listed, each.digest] for each in frames],
        "zstd": VERSION,
        "since": since,
        "binaries": {path: asdict(each) for path, each in binaries.items()},
        "notes": filled.notes,
    }
    (folder / "layer.json").write_bytes(layer.encoded())
    os.sync()
    # With this file the layer is whole.
    write_beside(folder / "about.json", canonical(about))


def _make_again(name: str, folder: Path, fill: Callable[[Path], Filled], mark: str) -> None:
    """Make a layer that was damaged, or whose tree was written to while it was packed."""

    def is_right(folder: Path) -> bool:
        return _is_whole(folder, mark) and _is_right(folder)

    with kept(folder, lambda work: fill(work / "tree"), is_whole=is_right) as filled:
        if filled:
            try:
                _packing(name, folder, filled, Event())()
            except Changed as error:
                raise BuildFailed(str(error), hint="what else writes into the cache?") from error


def _stored(folder: Path, *, reused: bool) -> Stored:
    about = about_of(folder)
    return Stored(
        ref=LayerRef(**about["ref"]),
        packed=Packed(
            name=about["ref"]["name"],
            encoded=(folder / "layer.json").read_bytes(),
            frames=frames_in(folder, about),
        ),
        tree=folder / "tree",
        needs=needs_from(about["needs"]),
        packages=_packages(about),
        reused=reused,
    )


def about_of(folder: Path) -> dict[str, Any]:
    """What a stored layer says of itself."""
    about: dict[str, Any] = json.loads((folder / "about.json").read_bytes())
    return about


def _packages(about: dict[str, Any]) -> Packages:
    return tuple((name, version) for name, version in about["packages"])


def frames_in(folder: Path, about: dict[str, Any]) -> tuple[Frame, ...]:
    """The frames of a stored layer, whatever has become of them."""
    return tuple(
        Frame(listed=listed, digest=digest, file=folder / "frames" / listed)
        for listed, digest in about["frames"]
    )


def _is_whole(folder: Path, mark: str) -> bool:
    """Whether a kept layer has a tree, and says what an artifact takes of it."""
    try:
        about = about_of(folder)
        encoded = (folder / "layer.json").read_bytes()
        right = hashlib.sha256(encoded).hexdigest() == about["ref"]["digest"]
        frames_in(folder, about)
    except (OSError, ValueError, LookupError, TypeError):
        return False
    return right and (folder / "tree" / mark).is_file()


def _refuse_damaged(folder: Path) -> None:
    if not _is_right(folder):
        raise Changed(f"the layer in {folder} is damaged")


def _is_right(folder: Path) -> bool:
    """Whether the frames of a kept layer still have what was written into them."""
    return are_right(frames_in(folder, about_of(folder)))
