"""Layers of the cache: packed beside what uses their trees, stored whole or not at all."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from nonevent.build.cache import BEGUN, kept
from nonevent.build.stored import Filled, Making, Stored, making
from nonevent.errors import BuildFailed, CommandFailed

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

MODULES = Path("lib/python3.11/site-packages/till")
MANY = 300


def fill(tree: Path) -> Filled:
    """A tree with a package of some files, a link and a mark."""
    (tree / MODULES).mkdir(parents=True)
    for number in range(MANY):
        (tree / MODULES / f"part_{number}.py").write_text(f"NUMBER = {number}\n" * 100)
    (tree / MODULES / "linked.py").symlink_to("part_1.py")
    (tree / "mark").touch()
    return Filled(packages=(("till", "1"),))


def layer(folder: Path, filled: Callable[[Path], Filled] = fill) -> AbstractContextManager[Making]:
    """That layer in a folder of a cache."""
    return making("deps", folder, filled, mark="mark")


def contents(made: Stored) -> tuple[bytes, ...]:
    """All that an artifact gets of a layer."""
    return made.packed.encoded, *(frame.file.read_bytes() for frame in made.packed.frames)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the layer is kept."""
    return tmp_path / "cache" / "deps" / "key"


@pytest.fixture
def whole(tmp_path: Path) -> tuple[bytes, ...]:
    """What the layer has where nobody uses its tree meanwhile."""
    with layer(tmp_path / "other" / "deps" / "key") as made:
        return contents(made.stored())


def test_the_tree_stays_where_it_is(folder: Path, whole: tuple[bytes, ...]) -> None:
    """The first build and the next see it in one place: commands may write that into files."""
    with layer(folder) as first:
        assert (first.tree, first.reused) == (folder / "tree", False)
        assert contents(first.stored()) == whole
    with layer(folder) as again:
        assert (again.tree, again.reused) == (folder / "tree", True)
        assert (again.packages, contents(again.stored())) == ((("till", "1"),), whole)


def write(tree: Path) -> None:
    """A parser that keeps its tables beside its code."""
    (tree / MODULES / "tables.py").write_text("TABLES = ()\n")


def change(tree: Path) -> None:
    """A file of the same size, in its place and with its time."""
    last = tree / MODULES / f"part_{MANY - 1}.py"
    status = last.stat()
    last.write_bytes(last.read_bytes().swapcase())
    os.utime(last, ns=(status.st_atime_ns, status.st_mtime_ns))


def remove(tree: Path) -> None:
    """A command that tidies up."""
    shutil.rmtree(tree / MODULES)


def point(tree: Path) -> None:
    """A link to another module."""
    (tree / MODULES / "linked.py").unlink()
    (tree / MODULES / "linked.py").symlink_to("part_2.py")


@pytest.mark.parametrize("use", [write, change, remove, point])
def test_what_commands_write_is_not_in_the_layer(
    use: Callable[[Path], None], folder: Path, whole: tuple[bytes, ...]
) -> None:
    """Whenever it is written, the layer has the bytes that it has where nothing is."""
    with layer(folder) as made:
        use(made.tree)
        assert contents(made.stored()) == whole
    with layer(folder) as again:
        assert contents(again.stored()) == whole


def test_a_command_that_fails_does_not_cost_the_layer(
    folder: Path, whole: tuple[bytes, ...]
) -> None:
    """The layer is packed to its end and stored, and the error is the command's."""
    with pytest.raises(CommandFailed), layer(folder):
        raise CommandFailed("`false` ended with exit code 1")
    with layer(folder) as again:
        assert again.reused
        assert contents(again.stored()) == whole


def spoiled(tree: Path) -> Filled:
    """A tree that cannot be packed: the folder for that cannot be made."""
    (tree.parent / "frames").touch()
    return fill(tree)


def test_what_cannot_be_packed_is_not_kept(folder: Path) -> None:
    """The error comes when the layer is asked for, and nothing of it is left."""
    with layer(folder, spoiled) as made, pytest.raises(FileExistsError):
        made.stored()
    assert not folder.exists()
    with layer(folder) as again:
        assert not again.stored().reused


def test_an_error_of_packing_goes_before_a_command_s(folder: Path) -> None:
    """A full disk fails both, and says more than what a command makes of it."""
    with pytest.raises(FileExistsError), layer(folder, spoiled):
        raise CommandFailed("`cp` ended with exit code 1")
    assert not folder.exists()


def test_an_interrupt_leaves_a_whole_layer_or_none(folder: Path, whole: tuple[bytes, ...]) -> None:
    """Ctrl-C while commands run ends the packing; what is there in the end is whole."""
    with pytest.raises(KeyboardInterrupt), layer(folder):
        raise KeyboardInterrupt
    assert folder.exists() == (folder / "about.json").exists()
    with layer(folder) as again:
        assert contents(again.stored()) == whole


def test_nobody_waits_for_the_commands_of_another(folder: Path) -> None:
    """When the layer is packed a second build has it, though the first still runs commands."""
    with layer(folder) as first:
        first.packing.result()
        with layer(folder) as second:
            assert second.stored().packed == first.stored().packed


def test_what_a_layer_cannot_hold_is_told_before_the_commands(folder: Path) -> None:
    """A pipe in the tree is refused, and nothing is left."""

    def with_a_pipe(tree: Path) -> Filled:
        filled = fill(tree)
        os.mkfifo(tree / "pipe")
        return filled

    with pytest.raises(BuildFailed, match="cannot hold 1 file"), layer(folder, with_a_pipe):
        pytest.fail("the block was run")
    assert not folder.exists()


def test_what_a_killed_build_began_is_removed(folder: Path) -> None:
    """The tree of a layer that was never packed goes when another layer is made."""
    left = folder.with_name("left")
    (left / "tree").mkdir(parents=True)
    (left / BEGUN).touch()
    with layer(folder) as made:
        made.stored()
    assert [path.name for path in folder.parent.iterdir() if path.is_dir()] == ["key"]


def test_what_another_build_begins_stays(folder: Path) -> None:
    """A layer that is being packed is not whole either, and nobody else removes it."""
    other = folder.with_name("other")

    def begin(work: Path) -> bool:
        (work / "tree").mkdir()
        return True

    with kept(other, begin, is_whole=lambda folder: (folder / "about.json").exists()):
        with layer(folder) as made:
            made.stored()
        assert (other / "tree").is_dir()
    assert not other.exists()
