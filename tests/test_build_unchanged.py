"""Packages that are as in an earlier layer: linked, and yet all is as if it were installed anew."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import sysconfig
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from repository import environ

from nonevent.build.deps import making_deps
from nonevent.build.lock.base import Locked
from nonevent.build.platform import Target
from nonevent.build.process import clean_environment
from nonevent.build.python import Interpreter, find_python, wanted

if TYPE_CHECKING:
    from collections.abc import Callable

    from nonevent.build.stored import Stored

ENV = clean_environment(environ())
SITE = Path("lib/python3.11/site-packages")
MODULE = "def answer():\n    return {number}\n"
SCRIPT = "[console_scripts]\n{name} = {name}:answer\n"


def wheel(index: Path, name: str, version: str, files: dict[str, str | bytes]) -> None:
    """Put a wheel into a folder; it has a script too."""
    info = f"{name}-{version}.dist-info"
    whole: dict[str, str | bytes] = files | {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: hand 1\nRoot-Is-Purelib: true\n"
        "Tag: py3-none-any\n",
        f"{info}/entry_points.txt": SCRIPT.format(name=name),
    }
    rows = [f"{info}/RECORD,,"]
    index.mkdir(exist_ok=True)
    file = f"{name.replace('-', '_')}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(index / file, "w") as out:
        for path, given in whole.items():
            content = given.encode() if isinstance(given, str) else given
            digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=")
            rows.append(f"{path},sha256={digest.decode()},{len(content)}")
            out.writestr(path, content)
        out.writestr(f"{info}/RECORD", "\n".join((*rows, "")))


def package(name: str, number: int, **more: str | bytes) -> dict[str, str | bytes]:
    """The files of a small package: modules in two folders, data, and something empty."""
    text = MODULE.format(number=number)
    return {
        f"{name}/__init__.py": text,
        f"{name}/inner/__init__.py": "",
        f"{name}/inner/same.py": MODULE.format(number=0),
        f"{name}/data.txt": f"{name} {number}\n" * 100,
        f"{name}.pth": "relative/folder\n",
    } | {path.replace("__", "/", 1): content for path, content in more.items()}


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Interpreter:
    """The interpreter of this machine."""
    return find_python(wanted("3.11"), env=ENV, scratch=tmp_path_factory.mktemp("python"))


@pytest.fixture
def index(tmp_path: Path) -> Path:
    """A folder with wheels."""
    made = tmp_path / "index"
    broken = {"template.py": "def {{ name }}():\n"}
    wheel(made, "till", "1", package("till", 1))
    wheel(made, "till", "2", package("till", 2))
    wheel(made, "till", "3", package("till", 2) | {"till/more/new.py": "x = 1\n"})
    wheel(made, "stock", "1", package("stock", 1) | {f"stock/{k}": v for k, v in broken.items()})
    wheel(made, "post", "1", package("post", 1))
    for name in ("left", "right"):
        for version in ("1", "2"):
            modules = {f"common/{name}.py": MODULE.format(number=int(version))}
            wheel(made, name, version, {f"common/{name}_data/x.txt": name} | modules)
    wheel(made, "bold", "1", {"till/__init__.py": "bold = 1\n", "bold.py": ""})
    cached = "coded/__pycache__/__init__.cpython-311.pyc"
    wheel(made, "coded", "1", package("coded", 1) | {cached: b"of the package"})
    lib = Path(sysconfig.get_path("stdlib"), "lib-dynload")
    binary = next(iter(sorted(lib.glob("_ctypes.*.so")) or sorted(lib.glob("*.so")))).read_bytes()
    wheel(made, "native", "1", package("native", 1) | {"native/fast.so": binary})
    return made


class Builder:
    """Builds layers of locks, in a cache of its own or in one that has others."""

    def __init__(self, work: Path, python: Interpreter, index: Path) -> None:
        self.work, self.python = work, python
        self.env = ENV | {"UV_FIND_LINKS": str(index)}

    def __call__(
        self, *requirements: str, cache: str = "cache", use: Callable[[Path], None] | None = None
    ) -> Stored:
        """The layer of some requirements, of which ``use`` gets the folder before it is packed."""
        text = "".join(f"{line}\n" for line in ("--no-index", *requirements))
        return self.lock(text, file="requirements.txt", cache=cache, use=use)

    def lock(
        self,
        text: str,
        *,
        file: str,
        cache: str = "cache",
        use: Callable[[Path], None] | None = None,
    ) -> Stored:
        """The layer of a lock."""
        folder = self.work / cache
        folder.mkdir(exist_ok=True)
        with making_deps(
            Locked(file=file, text=text, hashed=False),
            Target(python=self.python, platform=self.python.platform),
            bundle="", cache=folder, config=self.work, env=self.env,
        ) as layer:  # fmt: skip
            if use:
                use(layer.tree.parent)
            return layer.stored()


@pytest.fixture
def build(tmp_path: Path, python: Interpreter, index: Path) -> Builder:
    """What builds from those wheels."""
    return Builder(tmp_path, python, index)


def bytes_of(made: Stored) -> dict[str, object]:
    """All that a layer gives to an artifact, and its tree."""
    tree = {
        str(path.relative_to(made.tree)): (
            str(path.readlink()) if path.is_symlink() else path.read_bytes(),
            path.lstat().st_mode & 0o100,
        )
        for path in made.tree.rglob("*")
        if path.is_symlink() or path.is_file()
    }
    return {
        "list": made.packed.encoded,
        "frames": [frame.file.read_bytes() for frame in made.packed.frames],
        "needs": made.needs,
        "packages": made.packages,
        "tree": tree,
    }


def is_linked(made: Stored, path: str) -> bool:
    """Whether a file of the packages is that of another layer."""
    return (made.tree / SITE / path).stat().st_nlink > 1


BEFORE = ("till==1", "stock==1", "left==1", "right==1", "native==1")


@pytest.mark.parametrize(
    "after",
    [
        ("till==2", "stock==1", "left==1", "right==1", "native==1"),
        ("till==3", "stock==1", "left==1", "right==1", "native==1"),
        ("till==1", "stock==1", "left==1", "right==1", "native==1", "post==1"),
        ("stock==1", "left==1", "right==1", "native==1"),
        ("till==1", "stock==1", "left==2", "right==1", "native==1"),
        ("till==1", "stock==1", "right==1", "native==1"),
        ("till==2", "stock==1", "left==2", "native==1", "post==1"),
    ],
    ids=["changed", "other-files", "added", "removed", "shared-folder", "no-more-shared", "all"],
)
def test_a_changed_lock_gives_what_a_fresh_build_gives(
    build: Builder, after: tuple[str, ...]
) -> None:
    """Whichever packages change, the layer is byte for byte that of an empty cache."""
    first = build(*BEFORE)
    whole = bytes_of(first)
    made = build(*after)
    assert not made.reused
    assert is_linked(made, "stock/data.txt")
    assert is_linked(made, "stock/inner/__pycache__/same.cpython-311.pyc")
    assert bytes_of(made) == bytes_of(build(*after, cache="fresh"))
    assert bytes_of(first) == whole, "the earlier layer is as it was"
    assert bytes_of(build(*BEFORE)) == whole


def test_only_what_changed_is_packed(build: Builder) -> None:
    """Packed members of what is the same are the earlier layer's file; of a change they are new."""
    before = {frame.listed: frame.digest for frame in build(*BEFORE).packed.frames}
    frames = build("till==2", *BEFORE[1:]).packed.frames
    linked = [frame for frame in frames if frame.file.stat().st_nlink > 1]
    assert {frame.listed: frame.digest for frame in linked}.items() <= before.items()
    # Of four packages the folder and the metadata, without what stands beside them in a folder.
    assert len(linked) >= 2 * 3 + 1


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (("till==1", "stock==1"), ("till==1", "stock==1", "bold==1")),
        (("coded==1", "till==1"), ("coded==1", "till==1", "post==1")),
    ],
    ids=["same-file", "byte-code"],
)
def test_what_is_unclear_is_installed(
    build: Builder, first: tuple[str, ...], second: tuple[str, ...]
) -> None:
    """Two packages with one file, byte code that a package brings: not linked."""
    build(*first)
    made = build(*second)
    name = first[0].partition("=")[0]
    assert not is_linked(made, f"{name}/data.txt")
    if "bold==1" not in second:  # Which of two is installed last is uv's choice.
        assert bytes_of(made) == bytes_of(build(*second, cache="fresh"))


def spoil_tree(folder: Path) -> None:
    """Something wrote into a package, and the size is the same."""
    file = folder / "tree" / SITE / "stock/data.txt"
    file.write_bytes(file.read_bytes().replace(b"stock", b"STOCK"))


def rot_tree(folder: Path) -> None:
    """Files have other bytes, and their size and time: a disk may do that."""
    for name in (SITE / "stock/data.txt", SITE / "stock.pth", Path("bin/stock")):
        file = folder / "tree" / name
        status = file.stat()
        file.write_bytes(file.read_bytes()[:-2] + b"?\n")
        os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))


def cut_tree(folder: Path) -> None:
    """A file was cut, and has its time."""
    file = folder / "tree" / SITE / "stock/data.txt"
    status = file.stat()
    file.write_bytes(b"")
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))


def empty_tree(folder: Path) -> None:
    """A cleaner was here."""
    shutil.rmtree(folder / "tree" / SITE / "stock")


def spoil_record(folder: Path) -> None:
    """A package says that it has other files."""
    file = folder / "tree" / SITE / "stock-1.dist-info/RECORD"
    file.write_bytes(file.read_bytes() + b"other.py,,\n")


def spoil_frame(folder: Path) -> None:
    """Each frame has another byte."""
    for file in (folder / "frames").iterdir():
        file.write_bytes(file.read_bytes()[:-1] + b"?")


def cut_frame(folder: Path) -> None:
    """Each frame was cut."""
    for file in (folder / "frames").iterdir():
        os.truncate(file, file.stat().st_size // 2)


def empty_frame(folder: Path) -> None:
    """The frames are gone."""
    shutil.rmtree(folder / "frames")


def spoil_list(folder: Path) -> None:
    """The list says something else."""
    file = folder / "layer.json"
    file.write_bytes(file.read_bytes().replace(b'"size":', b'"size":1', 1))


def spoil_about(folder: Path) -> None:
    """What is known of the layer was cut."""
    file = folder / "about.json"
    file.write_bytes(file.read_bytes()[:-20])


DAMAGES = (spoil_tree, rot_tree, cut_tree, empty_tree, spoil_record, spoil_frame, cut_frame,
           empty_frame, spoil_list, spoil_about)  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_damage_does_not_spread(build: Builder, damage: object) -> None:
    """Whatever happened to the earlier layer, the next is that of an empty cache."""
    first = build(*BEFORE)
    assert callable(damage)
    damage(first.tree.parent)
    made = build("till==2", *BEFORE[1:])
    assert bytes_of(made) == bytes_of(build("till==2", *BEFORE[1:], cache="fresh"))


def test_a_damaged_module_is_not_compiled(build: Builder) -> None:
    """Byte code that is made anew beside a package's module comes of what that module should be."""
    module = build(*BEFORE).tree / SITE / "common/right.py"
    status = module.stat()
    module.write_bytes(module.read_bytes().replace(b"1", b"7"))
    os.utime(module, ns=(status.st_atime_ns, status.st_mtime_ns))
    after = tuple(each.replace("left==1", "left==2") for each in BEFORE)
    assert bytes_of(build(*after)) == bytes_of(build(*after, cache="fresh"))


def take_away(folder: Path) -> None:
    """A command removed what an earlier layer has too, beside what it has not."""
    (folder / "tree" / SITE / "common/right.py").unlink()


def test_a_linked_file_that_a_command_removes_is_in_the_layer(build: Builder) -> None:
    """Whenever it is removed, the layer is that of an empty cache."""
    build(*BEFORE)
    after = tuple(each.replace("left==1", "left==2") for each in BEFORE)
    made = build(*after, use=take_away)
    assert bytes_of(made) == bytes_of(build(*after, cache="fresh"))


def test_what_a_command_wrote_into_a_tree_does_not_spread(build: Builder) -> None:
    """Though that was before the layer was whole, the next is that of an empty cache."""
    build(*BEFORE)
    second = ("till==2", *BEFORE[1:])
    assert is_linked(build(*second, use=spoil_tree), "stock/data.txt")
    made = build(*second[:-1])
    assert bytes_of(made) == bytes_of(build(*second[:-1], cache="fresh"))


@pytest.mark.parametrize("damage", DAMAGES[5:], ids=lambda damage: damage.__name__)
def test_a_damaged_layer_is_made_anew(build: Builder, damage: object) -> None:
    """What would go into an artifact is held against its digest each time, and mended."""
    first = build(*BEFORE)
    whole = bytes_of(first)
    assert build(*BEFORE).reused
    assert callable(damage)
    damage(first.tree.parent)
    again = build(*BEFORE)
    assert not again.reused
    assert bytes_of(again) == whole


def test_frames_of_another_zstd_are_not_taken(build: Builder) -> None:
    """Another zstd may make other bytes of the same, so its frames are packed anew."""
    about = build(*BEFORE).tree.parent / "about.json"
    about.write_text(json.dumps(json.loads(about.read_bytes()) | {"zstd": "0.1"}))
    made = build("till==2", *BEFORE[1:])
    assert {frame.file.stat().st_nlink for frame in made.packed.frames} == {1}


def pylock(index: Path, *requirements: str) -> str:
    """A lock with wheels of a folder."""
    text = 'lock-version = "1.0"\ncreated-by = "hand"\n'
    for requirement in requirements:
        name, _, version = requirement.partition("==")
        file = index / f"{name}-{version}-py3-none-any.whl"
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        text += (
            f'\n[[packages]]\nname = "{name}"\nversion = "{version}"\n'
            f'wheels = [{{ url = "{file.as_uri()}", hashes = {{ sha256 = "{digest}" }} }}]\n'
        )
    return text


@pytest.mark.parametrize(
    "after",
    [("stock==1",), ("stock==1", "till==1"), ("till==2", "stock==1"), ("till==1", "stock==1")],
    ids=["removed", "another-order", "changed", "comment"],
)
def test_a_changed_pylock_gives_what_a_fresh_build_gives(
    build: Builder, index: Path, after: tuple[str, ...]
) -> None:
    """Also where all that is left is there already."""
    build.lock(pylock(index, "till==1", "stock==1"), file="pylock.toml")
    text = "# Another.\n" + pylock(index, *after)
    made = build.lock(text, file="pylock.toml")
    assert bytes_of(made) == bytes_of(build.lock(text, file="pylock.toml", cache="fresh"))


def test_other_settings_of_uv_may_mean_another_package(build: Builder, index: Path) -> None:
    """What an unhashed lock names may be found elsewhere now."""
    build(*BEFORE)
    other = index.parent / "other"
    shutil.copytree(index, other)
    wheel(other, "stock", "1", package("stock", 7))
    build.env["UV_FIND_LINKS"] = str(other)
    assert not is_linked(build(*BEFORE, "post==1"), "stock/data.txt")


def test_a_package_may_have_a_dash_in_its_folder(build: Builder, index: Path) -> None:
    """As wheels made by hand have it: its files are not those of the package before the dash."""
    wheel(index, "stock-more", "1", {"stock_more.py": "x = 1\n"})
    build("stock==1", "till==1", "stock-more==1")
    made = build("stock==1", "till==1")
    assert bytes_of(made) == bytes_of(build("stock==1", "till==1", cache="fresh"))


def test_byte_code_in_the_folder_of_another_is_compiled_over(build: Builder, index: Path) -> None:
    """As in a fresh build, whoever brought it."""
    cached = "stock/inner/__pycache__/same.cpython-311.pyc"
    wheel(index, "pycer", "1", {"pycer.py": "x = 1\n", cached: b"of the package"})
    build("stock==1", "till==1", "pycer==1")
    after = ("stock==1", "till==2", "pycer==1")
    assert bytes_of(build(*after)) == bytes_of(build(*after, cache="fresh"))


def test_another_index_is_another_package(build: Builder) -> None:
    """What a lock says of all packages may decide what each of them is."""
    build(*BEFORE)
    assert not is_linked(build(*BEFORE, "post==1", "--pre"), "stock/data.txt")
