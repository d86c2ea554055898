"""A bundled interpreter: the same bytes from any place, and at home in any."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from nonevent.build.artifact import Artifact
from nonevent.build.bundle import build_bundle, packed_in_gzip
from nonevent.build.process import clean_environment
from nonevent.build.python import Interpreter, find_python, wanted
from nonevent.config.app import Python
from nonevent.errors import BuildFailed, HostUnfit, PythonMissing
from nonevent.transport.ssh import Brought, Ssh

if TYPE_CHECKING:
    from sandbox import Sandbox

PREFIX = Path(sys.base_prefix)
NAME = "python{}.{}".format(*sys.version_info[:2])
ENV = clean_environment(os.environ)


def found(prefix: Path, scratch: Path, version: str = "") -> Interpreter:
    """The interpreter that is installed in a folder, as a build finds it."""
    python = Python(version=version, bundled=True, prefix=str(prefix))
    return find_python(wanted(version), env=ENV, scratch=scratch, python=python)


def install(place: Path) -> Path:
    """A copy of this interpreter that knows where it is installed, as installers leave it."""
    leave = shutil.ignore_patterns("test", "tests", "site-packages", "__pycache__", "config-*")
    (place / "bin").mkdir(parents=True)
    shutil.copy2(PREFIX / "bin" / NAME, place / "bin" / "python3")
    shutil.copytree(PREFIX / "lib" / NAME, place / "lib" / NAME, ignore=leave)
    for library in (PREFIX / "lib").glob("libpython3.*.so.*"):
        shutil.copy2(library, place / "lib")
    for file in (place / "lib" / NAME).glob("_sysconfigdata*.py"):
        file.write_text(file.read_text() + f"\nPLACE = {str(place)!r}\n")
    return place


def said(python: Path, code: str) -> str:
    """What an interpreter prints, that knows nothing of any environment."""
    ended = subprocess.run(
        (python, "-I", "-c", code), capture_output=True, text=True, env={}, cwd="/", timeout=60,
        check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.strip()


def test_the_place_of_installation_is_not_in_the_bytes(tmp_path: Path) -> None:
    """Installed in two folders, an interpreter makes one layer that names neither."""
    digests = set()
    for name in ("one", "another"):
        place = install(tmp_path / name)
        made = build_bundle(found(place, tmp_path), cache=tmp_path / f"cache-{name}", env=ENV)
        digests.add(made.ref.digest)
        files = [path for path in made.tree.rglob("*") if path.is_file()]
        assert not [path for path in files if str(place).encode() in path.read_bytes()]
    assert len(digests) == 1


def test_a_bundled_interpreter_works_where_it_is_put(tmp_path: Path) -> None:
    """Moved to another folder it finds its standard library there, and maps nothing of the old."""
    made = build_bundle(found(PREFIX, tmp_path), cache=tmp_path / "cache", env=ENV)
    again = build_bundle(found(PREFIX, tmp_path), cache=tmp_path / "cache", env=ENV)
    assert (made.reused, again.reused) == (False, True)
    moved = tmp_path / "elsewhere"
    shutil.copytree(made.tree, moved, symlinks=True)
    code = "import sys, json, asyncio; print(sys.prefix, json.__cached__); "
    code += "print(open('/proc/self/maps').read())"
    answer, *maps = said(moved / "bin" / "python3", code).splitlines()
    prefix, cached = answer.split()
    assert Path(prefix).resolve() == moved.resolve()
    assert Path(cached).is_file()
    if Path("/usr") != PREFIX:
        assert not [line for line in maps if str(PREFIX) in line]


def test_what_works_only_where_it_is_installed_is_refused(tmp_path: Path) -> None:
    """A program that goes elsewhere for its standard library is not put into an artifact."""
    place = install(tmp_path / "one")
    python = found(place, tmp_path)
    (place / "bin" / NAME).write_text(f'#!/bin/sh\nexec {PREFIX}/bin/{NAME} "$@"\n')
    (place / "bin" / NAME).chmod(0o755)
    shell = Interpreter(
        path=place / "bin" / NAME, version=python.version, abi=python.abi,
        platform=python.platform, tag=python.tag, prefix=place,
    )  # fmt: skip
    with pytest.raises(BuildFailed, match="only where it is installed"):
        build_bundle(shell, cache=tmp_path / "cache", env=ENV)


def test_a_folder_without_an_interpreter_is_named(tmp_path: Path) -> None:
    """A prefix that is wrong, or of another version, is refused with what was tried."""
    with pytest.raises(PythonMissing) as error:
        found(tmp_path, tmp_path)
    assert "bin/python3" in error.value.hint
    with pytest.raises(PythonMissing) as error:
        found(PREFIX, tmp_path, version="3.8")
    assert "is 3." in error.value.context[0]


def test_a_release_brings_its_interpreter(sandbox: Sandbox) -> None:
    """Its processes run the layer's interpreter, and the whole folder works in another place."""
    config = (sandbox.path / "nonevent.toml").read_text()
    line = f"python = {{ bundled = '{PREFIX}' }}\n"
    sandbox.commit({"nonevent.toml": line + config}, "Bring the interpreter")
    sandbox.type("deploy", "local", limit=300.0).must(0)
    folder = sandbox.root / "releases" / "1"
    (layer,) = (sandbox.root.resolve() / "layers").glob("python-*/")
    assert (folder / "venv" / "bin" / "python").readlink().parts[:2] == ("..", "..")
    (seen,) = sandbox.type("status", "local", "--json").must(0).events()
    pids = [each["pid"] for each in seen["instances"] if each["service"] == "web"]
    assert [Path(f"/proc/{pid}/exe").readlink().parent for pid in pids] == [layer / "bin"]
    # A second release with the same interpreter sends and makes nothing of it again.
    sandbox.says("again")
    sent = [each for each in sandbox.type("deploy", "local", "--json").must(0).events()
            if each["event"] == "sent"]  # fmt: skip
    assert [each["layer"] for each in sent] == ["app"]
    moved = sandbox.base / "moved"
    shutil.copytree(sandbox.root, moved, symlinks=True, ignore=shutil.ignore_patterns("run"))
    folder, layers = moved / "releases" / "2", moved / "layers"
    (deps,) = layers.glob("deps-*/")
    code = "import json, sys, tiny; "
    code += "print(json.dumps([tiny.__file__, json.__file__, sys.executable]))"
    for python in (folder / "venv" / "bin" / "python", deps / "bin" / "python"):
        files = [Path(name).resolve() for name in json.loads(said(python, code))]
        assert all(file.is_relative_to(moved.resolve()) for file in files), files


WITHOUT_PYTHON = ("sh", "mkdir", "head", "sha256sum", "tar", "gzip", "rm", "mv")


def bare_host(sandbox: Sandbox, folder: Path) -> Ssh:
    """A host with a shell, tar and gzip, and no Python."""
    for program in WITHOUT_PYTHON:
        (folder / "bin").mkdir(exist_ok=True)
        (folder / "bin" / program).symlink_to(shutil.which(program) or program)
    ssh = folder / "ssh"
    ssh.write_text(
        f'#!/bin/sh\nfor last; do :; done\nexec env -i PATH={folder}/bin sh -c "$last"\n'
    )
    ssh.chmod(0o755)
    return Ssh("bare", sandbox.base / "host", (str(ssh),), sandbox.base / "controls")


def built(sandbox: Sandbox) -> Artifact:
    """An artifact that brings this interpreter."""
    line = f"python = {{ bundled = '{PREFIX}' }}\n"
    sandbox.commit(sandbox.config(before=line), "Bring the interpreter")
    path = sandbox.type("build", limit=300.0).must(0).stdout.split()[0]
    return Artifact.open(Path(path))


def test_an_agent_runs_on_the_interpreter_that_is_brought(sandbox: Sandbox, tmp_path: Path) -> None:
    """A host with a shell, tar and gzip gets an interpreter first, once, and it is checked."""
    bare = bare_host(sandbox, tmp_path)
    with pytest.raises(HostUnfit, match=r"bare has no Python 3\.11") as refused:
        bare.connect("eve")
    assert "bundled" in refused.value.hint
    packed = packed_in_gzip(built(sandbox))
    damaged = replace(bare, interpreter=Brought(name="python-x", packed=lambda: packed[:-9]))
    with pytest.raises(HostUnfit, match="cannot use"):
        damaged.connect("eve")
    times: list[int] = []

    def pack() -> bytes:
        times.append(1)
        return packed

    brought = replace(bare, interpreter=Brought(name="python-x", packed=pack))
    root = bare.root
    for _ in range(2):
        with brought.connect("eve") as connection:
            survey = connection.request({"request": "survey", "app": "shop", "root": str(root)})
    assert survey["python"] == str(root.resolve() / "tools" / "python-x" / "bin" / "python3")
    assert times == [1]
    assert sorted(path.name.partition("-")[0] for path in (root / "tools").iterdir()) == [
        "agent", "python",
    ]  # fmt: skip


def test_an_interpreter_that_an_agent_runs_on_is_not_replaced(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    """Of two clients that bring one at once, the slower leaves the faster one's in its place."""
    bare, packed = bare_host(sandbox, tmp_path), packed_in_gzip(built(sandbox))
    asked, connected = threading.Event(), threading.Event()

    def pack_fast() -> bytes:
        assert asked.wait(60)
        return packed

    def pack_slowly() -> bytes:
        asked.set()
        assert connected.wait(60)
        return packed

    faster, slower = (
        replace(bare, interpreter=Brought(name="python-x", packed=pack))
        for pack in (pack_fast, pack_slowly)
    )
    with ThreadPoolExecutor(1) as pool:
        second = pool.submit(slower.connect, "ada")
        with faster.connect("eve") as connection:
            before = (bare.root / "tools" / "python-x").stat().st_ino
            connected.set()
            second.result(60).close()
            assert (bare.root / "tools" / "python-x").stat().st_ino == before
            connection.request({"request": "survey", "app": "shop", "root": str(bare.root)})
    assert sorted(path.name.partition("-")[0] for path in (bare.root / "tools").iterdir()) == [
        "agent", "python",
    ]  # fmt: skip
