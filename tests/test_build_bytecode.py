"""Byte code: what an earlier layer has is taken, and is what compiling gives."""

from __future__ import annotations

import json
import os
import shutil
import sysconfig
from dataclasses import asdict, replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from repository import environ

from nonevent.build.bytecode import compile_tree, compiled_by
from nonevent.build.deps import making_deps
from nonevent.build.earlier import Earlier, Made, earlier_of
from nonevent.build.elf import Needs
from nonevent.build.lock.base import Locked
from nonevent.build.platform import Target
from nonevent.build.process import clean_environment
from nonevent.build.python import Interpreter, find_python, wanted
from nonevent.build.stored import Filled, Stored, making

if TYPE_CHECKING:
    from collections.abc import Callable

ENV = clean_environment(environ())
STANDARD = Path(sysconfig.get_path("stdlib"))
FOLDERS = ("asyncio", "email", "email/mime", "json", "unittest")


def of(**lock: str) -> Made:
    """What a layer of these packages was made from."""
    return Made(terms="the same", settings="", lock=lock)


SHOP = of(shop="1", till="1")
JSON = Path("lib/json/__pycache__")


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Interpreter:
    """An interpreter of this machine."""
    return find_python(wanted(""), env=ENV, scratch=tmp_path_factory.mktemp("python"))


def sources(tree: Path) -> Path:
    """A tree with real modules."""
    for folder in FOLDERS:
        (tree / "lib" / folder).mkdir(parents=True)
        for file in (STANDARD / folder).glob("*.py"):
            shutil.copy(file, tree / "lib" / folder)
    (tree / "lib" / "invalid").mkdir()
    (tree / "lib" / "invalid" / "template.py").write_text("def {{ name }}():\n")
    return tree


def byte_code(tree: Path) -> dict[str, bytes]:
    """All byte code of a tree."""
    return {str(file.relative_to(tree)): file.read_bytes() for file in tree.rglob("*.pyc")}


def keep(folder: Path, tree: Path, made: Made = SHOP) -> Stored:
    """A stored layer with the files of a tree."""

    def fill(work: Path) -> Filled:
        shutil.copytree(tree, work)
        return Filled(needs=Needs(), notes=asdict(made))

    with making("deps", folder, fill, mark="lib/json/decoder.py") as layer:
        return layer.stored()


@pytest.fixture
def earlier(tmp_path: Path, python: Interpreter) -> Earlier:
    """A stored layer of those modules, compiled."""
    tree = sources(tmp_path / "first")
    compile_tree(tree, ("lib",), python=python, env=ENV)
    keep(tmp_path / "deps" / "one", tree)
    found = earlier_of((tmp_path / "deps").glob("*/"), SHOP)
    assert found
    return found


def test_what_stands_beside_a_folder_does_not_count(tmp_path: Path, python: Interpreter) -> None:
    """Byte code of a folder is the same whether others are compiled with it or not."""
    many, one = sources(tmp_path / "many"), sources(tmp_path / "one")
    assert compile_tree(many, ("lib",), python=python, env=ENV) == ("lib/invalid/template.py",)
    for folder in FOLDERS:
        compile_tree(one, (f"lib/{folder}",), python=python, env=ENV)
    assert byte_code(many) == byte_code(one)
    assert len(byte_code(many)) > 50


def test_byte_code_that_is_there_is_not_compiled(
    tmp_path: Path, python: Interpreter, earlier: Earlier
) -> None:
    """With equal modules nothing is started, and the bytes are the same."""
    tree = sources(tmp_path / "second")
    shutil.rmtree(tree / "lib" / "invalid")
    nobody = replace(python, path=tmp_path / "nobody")
    compile_tree(tree, ("lib",), python=nobody, env=ENV, earlier=earlier)
    assert byte_code(tree) == byte_code(tmp_path / "first")
    assert not byte_code(tree).keys() - byte_code(earlier.tree).keys()


def changed(tree: Path) -> None:
    """A module is another."""
    with (tree / "lib" / "json" / "decoder.py").open("a") as file:
        file.write("LATER = 1\n")


def added(tree: Path) -> None:
    """A folder has one more module."""
    (tree / "lib" / "json" / "added.py").write_text("decoder = 'decoder'\n")


def removed(tree: Path) -> None:
    """A folder has one less, and a package is gone."""
    (tree / "lib" / "json" / "encoder.py").unlink()
    shutil.rmtree(tree / "lib" / "email")


def shipped(tree: Path) -> None:
    """A package brings byte code of its own, some of it for another Python."""
    (tree / JSON).mkdir()
    for name in ("decoder.cpython-38.pyc", "decoder.cpython-311.pyc"):
        (tree / JSON / name).write_bytes(b"of the package")


def linked(tree: Path) -> None:
    """A module leads nowhere."""
    (tree / "lib" / "json" / "tool.py").unlink()
    (tree / "lib" / "json" / "tool.py").symlink_to("nowhere.py")


@pytest.mark.parametrize("change", [changed, added, removed, shipped, linked])
def test_what_changed_is_compiled(
    tmp_path: Path, python: Interpreter, earlier: Earlier, change: Callable[[Path], None]
) -> None:
    """Whatever differs from the earlier tree, the outcome is that of compiling all of it."""
    fresh, tree = sources(tmp_path / "fresh"), sources(tmp_path / "tree")
    for each in (fresh, tree):
        change(each)
    broken = compile_tree(fresh, ("lib",), python=python, env=ENV)
    assert compile_tree(tree, ("lib",), python=python, env=ENV, earlier=earlier) == broken
    assert byte_code(tree) == byte_code(fresh)
    names = [file.name for file in (tree / "lib" / "json").glob("*.py")]
    assert earlier.take(tree, "lib/json", names, tag=python.tag) == (change is shipped)


def test_what_was_damaged_is_compiled(
    tmp_path: Path, python: Interpreter, earlier: Earlier
) -> None:
    """Byte code in the cache that is not what was written there is not taken."""
    first = next((earlier.tree / JSON).iterdir())
    first.write_bytes(first.read_bytes()[:-1] + b"?")
    next((earlier.tree / "lib/asyncio/__pycache__").iterdir()).unlink()
    shutil.rmtree(earlier.tree / "lib" / "unittest")
    tree = sources(tmp_path / "second")
    compile_tree(tree, ("lib",), python=python, env=ENV, earlier=earlier)
    assert byte_code(tree) == byte_code(tmp_path / "first")


@pytest.mark.parametrize("name", ["layer.json", "about.json"])
@pytest.mark.parametrize("content", [b"", b"{}", b"[]", None])
def test_a_layer_that_is_not_whole_is_not_read(
    tmp_path: Path, earlier: Earlier, name: str, content: bytes | None
) -> None:
    """Where the list of the files is damaged or gone, it is as if there were no layer."""
    file = earlier.tree.parent / name
    if content is None:
        file.unlink()
    else:
        file.write_bytes(content)
    assert earlier_of((tmp_path / "deps").glob("*/"), SHOP) is None


def test_the_nearest_layer_is_taken(tmp_path: Path, earlier: Earlier) -> None:
    """Of several layers it is the one with most packages in common; one with none is no help."""
    keep(tmp_path / "deps" / "two", earlier.tree, of(shop="2", till="1"))
    folders = list((tmp_path / "deps").glob("*/"))

    def nearest(made: Made) -> str:
        found = earlier_of(folders, made)
        return found.tree.parent.name if found else ""

    assert nearest(SHOP) == "one"
    assert nearest(of(shop="2", till="1")) == "two"
    assert nearest(of(shop="3", rest="1")) == ""


def forge(made: Stored) -> bytes:
    """Put a mark into a stored layer's byte code as if it had been made so."""
    file = next(made.tree.glob("lib/*/site-packages/h11/__pycache__/_state.*.pyc"))
    digest = sha256(file.read_bytes()).hexdigest()
    forged = file.read_bytes() + b"forged"
    file.write_bytes(forged)
    listed, about = made.tree.parent / "layer.json", made.tree.parent / "about.json"
    listed.write_text(listed.read_text().replace(digest, sha256(forged).hexdigest()))
    told = json.loads(about.read_bytes())
    told["ref"]["digest"] = sha256(listed.read_bytes()).hexdigest()
    about.write_text(json.dumps(told))
    return forged


def test_layers_share_byte_code_of_one_interpreter(tmp_path: Path, python: Interpreter) -> None:
    """A build takes byte code of a layer of another lock, but not of another interpreter."""

    def deps(*requirements: str) -> Stored:
        with making_deps(
            Locked(file="requirements.txt", text="\n".join(requirements), hashed=False),
            Target(python=python, platform=python.platform),
            bundle="", cache=tmp_path, config=tmp_path, env=ENV,
        ) as layer:  # fmt: skip
            return layer.stored()

    first = deps("h11==0.16.0")
    forged = forge(first)
    second = deps("h11==0.16.0", "idna==3.10")
    assert forged in byte_code(second.tree).values()
    for made in (first, second):
        folder = made.tree.parent
        other = compiled_by(replace(python, version="3.11.99"))
        folder.rename(folder.with_name(folder.name.replace(compiled_by(python), other)))
    third = deps("h11==0.16.0", "idna==3.10")
    assert not third.reused
    assert forged not in byte_code(third.tree).values()
    assert third.ref != second.ref


@pytest.mark.parametrize(
    "other",
    [{"version": "3.11.99"}, {"abi": "cp311t"}, {"platform": "linux-other"}],
    ids=lambda other: next(iter(other)),
)
def test_each_interpreter_has_its_own(python: Interpreter, other: dict[str, str]) -> None:
    """What can change bytes is in the name; where the interpreter lies cannot."""
    assert compiled_by(replace(python, **other)) != compiled_by(python)
    assert compiled_by(replace(python, path=Path("/x"))) == compiled_by(python)
    assert os.sep not in compiled_by(python)
