"""The python layer: an interpreter that can stand anywhere.

CPython looks for its standard library from where its own file is (`getpath`_), so a copy works in
another place, once nothing in it names the place where it was installed.

.. _getpath: https://docs.python.org/3/using/cmdline.html#envvar-PYTHONHOME
"""

from __future__ import annotations

import hashlib
import io
import shutil
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

from nonevent.build.bytecode import compile_tree
from nonevent.build.elf import Needs, needed_by, needs_of, repoint
from nonevent.build.layer import paths
from nonevent.build.process import run
from nonevent.build.stored import Filled, Stored, making
from nonevent.errors import BuildFailed
from nonevent.model.manifest import Link
from nonevent.model.parse import canonical

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nonevent.build.artifact import Artifact
    from nonevent.build.python import Interpreter

FORMAT = 2
"""Of the layer's making: counts up when the same input gives other bytes."""
LIMIT = 30.0
PLACE = b"/python"
"""Where the build's own settings say that the interpreter is: nowhere."""

# What serves only who develops, or what is on a screen, or belongs to the machine.
_LEFT_OUT = {
    "__pycache__", "test", "tests", "idlelib", "idle_test", "tkinter", "turtledemo", "ensurepip",
    "site-packages", "dist-packages", "sitecustomize.py", "EXTERNALLY-MANAGED", "turtle.py",
}  # fmt: skip
_LEFT_OUT_LIKE = ("config-*", "_tkinter.*", "_test*.so", "_ctypes_test*", "xxlimited*", "*.a")
_TRY = "import sys, encodings, zlib, hashlib, subprocess, zipfile; print(sys.prefix)"


def bundle_key(python: Interpreter) -> str:
    """What decides the layer's bytes: the files of the interpreter, by size and time."""
    files = []
    for file in (python.path, *_libpython(python), *sorted(_standard(python).rglob("*.py"))):
        status = file.stat()
        files.append([str(file), status.st_size, status.st_mtime_ns])
    return hashlib.sha256(
        canonical([FORMAT, python.version, python.platform, files]),
    ).hexdigest()


def build_bundle(python: Interpreter, *, cache: Path, env: Mapping[str, str]) -> Stored:
    """The layer of an interpreter, from the cache where it is there.

    Raises:
        BuildFailed: where it works only in the place where it is installed.
    """

    def fill(tree: Path) -> Filled:
        _copy(python, tree)
        _forget_place(python, tree)
        compile_tree(tree, ("lib",), python=python, env=env)
        _try(tree, env)
        # An extension of the standard library that the app never imports needs nothing.
        own, every = needs_of(tree / "bin"), needs_of(tree)
        outside = tuple(name for name in own.libraries if not (tree / "lib" / name).exists())
        return Filled(needs=Needs(glibc=every.glibc, cpu=every.cpu, libraries=outside))

    folder = cache / "python" / bundle_key(python)[:32]
    with making("python", folder, fill, mark="bin/python3") as layer:
        return layer.stored()


def _standard(python: Interpreter) -> Path:
    return python.prefix / "lib" / f"python{python.minor}"


def _libpython(python: Interpreter) -> list[Path]:
    """The interpreter's shared library, where its program is not the whole of it."""
    wanted = [name for name in needed_by(python.path) if name.startswith("libpython")]
    found = [python.prefix / "lib" / name for name in wanted]
    missing = [str(path) for path in found if not path.is_file()]
    if missing:
        raise BuildFailed(
            f"{python.path} cannot be bundled: it needs {', '.join(missing)}, which is not there",
            hint="use one that `uv python install` made",
        )
    return found


def _copy(python: Interpreter, tree: Path) -> None:
    name = f"python{python.minor}"
    (tree / "bin").mkdir(parents=True)
    shutil.copyfile(python.path, tree / "bin" / name)
    (tree / "bin" / name).chmod(0o755)
    for link in ("python", "python3"):
        (tree / "bin" / link).symlink_to(name)
    like = shutil.ignore_patterns(*_LEFT_OUT, *_LEFT_OUT_LIKE)
    shutil.copytree(_standard(python), tree / "lib" / name, ignore=like, symlinks=False)
    for library in _libpython(python):
        shutil.copyfile(library, tree / "lib" / library.name)


def _forget_place(python: Interpreter, tree: Path) -> None:
    """Take out of the copy where it was installed: another machine has it elsewhere."""
    repoint(tree / "bin" / f"python{python.minor}", "$ORIGIN/../lib")
    prefix = str(python.prefix).encode()
    for path in paths(tree / "lib"):
        file = tree / "lib" / path
        if file.name.startswith("_sysconfigdata") and prefix != b"/usr":
            file.write_bytes(file.read_bytes().replace(prefix, PLACE))


def _try(tree: Path, env: Mapping[str, str]) -> None:
    """See that the copy works where it is, and uses nothing of the original."""
    program = tree / "bin" / "python3"
    ended = run((program, "-I", "-S", "-B", "-c", _TRY), cwd=Path("/"), env=env, limit=LIMIT)
    said = ended.text.strip()
    if ended.status != 0 or Path(said).resolve() != tree.resolve():
        raise BuildFailed(
            "the interpreter works only where it is installed, so it cannot be bundled",
            context=ended.quoted(10),
            hint="use one that `uv python install` made",
        )


def packed_in_gzip(artifact: Artifact) -> bytes:
    """The python layer as what any host can unpack, with nothing but a shell; closed to writing.

    Raises:
        ArtifactInvalid: as soon as something is not what the list says.
    """
    out = io.BytesIO()
    layer = artifact.layer("python")
    with tarfile.open(fileobj=out, mode="w:gz", compresslevel=3) as packed:
        for _, file, body in artifact.contents(("python",)):
            member = tarfile.TarInfo(file.path)
            member.size, member.mode = file.size, file.mode & ~0o222
            packed.addfile(member, body)
        for entry in layer.entries if layer else ():
            if isinstance(entry, Link):
                member = tarfile.TarInfo(entry.path)
                member.type, member.linkname = tarfile.SYMTYPE, entry.target
                packed.addfile(member)
    return out.getvalue()
