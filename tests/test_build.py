"""Building, whole: same input, same bytes; and what a build says when it cannot."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
from repository import NONEVENT, Repository, environ

from nonevent.build.artifact import Artifact, verify
from nonevent.build.build import Built, Request, build
from nonevent.build.event import Began, Ended, Event, Noticed
from nonevent.errors import (
    BuildFailed,
    CommandFailed,
    ConfigInvalid,
    ConfigMissing,
    ConfigNotCommitted,
    LockMissing,
    LockStale,
    NoneventError,
    PythonMissing,
)
from nonevent.model.manifest import File, Link

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

# One with a binary, one without a wheel, one plain.
REQUIREMENTS = "markupsafe==3.0.2\ndocopt==0.6.2\nh11==0.16.0\n"
FILES = {
    "nonevent.toml": NONEVENT,
    "requirements.txt": REQUIREMENTS,
    "shop/__init__.py": "import markupsafe\n",
    "manage.py": "print('hello')\n",
}
PACKAGE = """\
[project]
name = "shop"
version = "1.0"

[project.scripts]
shop-manage = "shop:main"

[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
"""


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A build cache that all tests of a worker share."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def shop(tmp_path: Path) -> Repository:
    """A repository with a project that needs no packages, which is quick to build."""
    return Repository(tmp_path / "shop", FILES | {"requirements.txt": ""})


@pytest.fixture
def request_for(tmp_path: Path, cache: Path) -> Callable[..., Request]:
    """A request to build a repository into this test's folder."""

    def make(shop: Repository, **other: object) -> Request:
        given = {"project": shop.path, "output": tmp_path / "out", "cache": cache,
                 "environ": environ()} | other  # fmt: skip
        return Request(**given)  # type: ignore[arg-type]

    return make


def quiet(_event: Event) -> None:
    """Listen to nothing."""


def paths_of(built: Built, layer: str) -> set[str]:
    """The paths in a layer of what was built."""
    found = Artifact.open(built.path).layer(layer)
    assert found is not None
    return {entry.path for entry in found.entries}


def text_of(built: Built, layer: str, path: str) -> str:
    """The text of one file of what was built."""
    for _name, file, body in Artifact.open(built.path).contents((layer,)):
        if file.path == path:
            return body.read().decode()
    raise AssertionError(f"no {path}")


CHILD = """
import os, sys
from pathlib import Path
from nonevent.build.build import Request, build
os.umask(int(sys.argv[4], 8))
made = build(Request(project=Path(sys.argv[1]), output=Path(sys.argv[2]), cache=Path(sys.argv[3]),
                     environ=os.environ), lambda event: None)
print(made.path.name)
"""


def test_same_input_same_bytes(tmp_path: Path) -> None:
    """Another folder, umask, time zone, home, language and empty caches give the same digest."""
    files = FILES | {"pyproject.toml": PACKAGE, "requirements.txt": REQUIREMENTS + "-e .\n"}
    artifacts = []
    for name, umask, zone in (("a", "022", "UTC"), ("some/where/else", "077", "Asia/Tokyo")):
        base = tmp_path / name
        shop = Repository(base / "shop", files)
        env = {name: value for name, value in os.environ.items() if not name.startswith("UV_")}
        env |= {"TZ": zone, "HOME": str(base), "LANG": "C", "PYTHONHASHSEED": str(len(name))}
        env |= {"PIP_NO_COMPILE": "1", "PYTHONDONTWRITEBYTECODE": "", "CFLAGS": "-O0"}
        subprocess.run(
            (sys.executable, "-c", CHILD, shop.path, base / "out", base / "cache", umask),
            env=env, check=True, timeout=300,
        )  # fmt: skip
        artifacts.append(next((base / "out").iterdir()))
    one, two = (verify(file) for file in artifacts)
    assert one.layers == two.layers
    assert one.manifest == two.manifest
    assert artifacts[0].name == artifacts[1].name
    assert artifacts[0].read_bytes() == artifacts[1].read_bytes()


def test_what_an_artifact_holds(
    tmp_path: Path, request_for: Callable[..., Request], cache: Path
) -> None:
    """The commit's files, byte code, a virtualenv without an interpreter, and no path of here."""
    shop = Repository(tmp_path / "shop", FILES | {
        "pyproject.toml": PACKAGE,
        "shop/__init__.py": "def main():\n    print(__file__)\n",
        "requirements.txt": REQUIREMENTS + "-e .\n",
    })  # fmt: skip
    built = build(request_for(shop), quiet)
    app, deps = paths_of(built, "app"), paths_of(built, "deps")
    minor = built.manifest.python.minor
    tag = "cpython-" + minor.replace(".", "")
    assert {
        "app/manage.py",
        f"app/__pycache__/manage.{tag}.pyc",
        "lib/shop/__init__.py",
        f"lib/shop/__pycache__/__init__.{tag}.pyc",
        "lib/bin/shop-manage",
    } <= app
    assert not any("egg-info" in path or path.startswith("app/build") for path in app)
    site = f"lib/python{minor}/site-packages"
    assert {
        "pyvenv.cfg",
        "lib64",
        f"{site}/docopt.py",
        f"{site}/__pycache__/docopt.{tag}.pyc",
    } <= deps
    assert not {path for path in deps if path.startswith("bin/")}
    assert not {
        path for path in deps if path.rpartition("/")[2].startswith(("activate", ".", "CACHE"))
    }
    assert "home" not in text_of(built, "deps", "pyvenv.cfg")
    assert text_of(built, "app", "lib/bin/shop-manage").startswith("#!/usr/bin/env python\n")
    assert dict(built.manifest.packages) == {
        "MarkupSafe": "3.0.2", "docopt": "0.6.2", "h11": "0.16.0", "shop": "1.0",
    }  # fmt: skip
    assert built.manifest.glibc
    for _layer, file, body in Artifact.open(built.path).contents(("app", "deps")):
        content = body.read()
        for here in (str(tmp_path), str(cache)):
            assert here.encode() not in content, file.path


def test_an_unpacked_artifact_runs(tmp_path: Path, request_for: Callable[..., Request]) -> None:
    """Unpacked anywhere, with only ``bin/python`` pointed, packages and scripts work."""
    shop = Repository(tmp_path / "shop", FILES | {
        "pyproject.toml": PACKAGE,
        "shop/__init__.py": "def main():\n    import markupsafe\n    print(markupsafe.__file__)\n",
        "requirements.txt": "markupsafe==3.0.2\nMako==1.3.8\n.\n",
    })  # fmt: skip
    built = build(request_for(shop), quiet)
    place = tmp_path / "host"
    place.mkdir()
    subprocess.run(("tar", "--zstd", "-xf", built.path, "-C", place), check=True, timeout=300)
    interpreter = f"/usr/bin/python{built.manifest.python.minor}"
    for name in ("python", "python3"):
        (place / "deps" / "bin" / name).symlink_to(interpreter)
    env = {"PATH": f"{place}/deps/bin:{place}/app/lib/bin:/usr/bin:/bin",
           "PYTHONPATH": str(place / "app" / "lib")}  # fmt: skip
    for command, said in (("shop-manage", f"{place}/deps/lib"), ("mako-render", "usage")):
        ran = subprocess.run(
            (command, "--help"), env=env, check=True, capture_output=True, text=True, timeout=30
        )
        assert said in ran.stdout


def test_nothing_is_built_twice(shop: Repository, request_for: Callable[..., Request]) -> None:
    """The same commit gives the artifact that is there, at once; one lost or cut is remade."""
    first = build(request_for(shop), quiet)
    assert not first.reused
    took = []
    for _attempt in range(3):  # One may be slow on a machine that has other things to do.
        begun = time.monotonic()
        again = build(request_for(shop), quiet)
        took.append(time.monotonic() - begun)
        assert again.reused
        assert (again.path, again.manifest) == (first.path, first.manifest)
    assert min(took) < 0.5
    first.path.write_bytes(first.path.read_bytes()[:-1])
    assert not build(request_for(shop), quiet).reused
    first.path.unlink()
    assert build(request_for(shop), quiet).path == first.path
    verify(first.path)


def test_a_code_change_leaves_the_dependencies(
    tmp_path: Path, request_for: Callable[..., Request]
) -> None:
    """A commit that changes code keeps the digest of the deps layer, and does not build it."""
    shop = Repository(tmp_path / "shop", FILES)
    first = build(request_for(shop), quiet)
    shop.commit({"manage.py": "print('bye')\n"})
    events: list[Event] = []
    second = build(request_for(shop), events.append)
    assert second.manifest.layer("deps") == first.manifest.layer("deps")
    assert second.manifest.layer("app") != first.manifest.layer("app")
    assert "3 packages, unchanged" in [each.detail for each in events if isinstance(each, Ended)]


def test_phases_begin_and_end(shop: Repository, request_for: Callable[..., Request]) -> None:
    """Every phase that begins also ends, with its seconds, and in order."""
    shop.commit({"nonevent.toml": NONEVENT + '[build]\ncommands = ["true"]\n'})
    events: list[Event] = []
    build(request_for(shop), events.append)
    began = [each.phase for each in events if isinstance(each, Began)]
    ended = [each.phase for each in events if isinstance(each, Ended)]
    assert began == ended == ["source", "lock", "dependencies", "command", "app", "artifact"]
    assert all(each.seconds >= 0 for each in events if isinstance(each, Ended))


def test_a_dirty_tree_is_said_and_not_built(
    shop: Repository, request_for: Callable[..., Request]
) -> None:
    """Without being asked, a build takes the commit and says how many files it leaves."""
    first = build(request_for(shop), quiet)
    shop.write({"manage.py": "changed", "new.py": ""})
    notices: list[Event] = []
    again = build(request_for(shop), notices.append)
    assert again.manifest == first.manifest
    notice = next(each for each in notices if isinstance(each, Noticed))
    assert "without 2 changed files" in notice.message
    dirty = build(request_for(shop, dirty=True), quiet)
    assert dirty.manifest.dirty
    assert "-dirty-" in dirty.path.name
    assert "app/new.py" in paths_of(dirty, "app")
    shop.write({"manage.py": "changed again"})
    assert build(request_for(shop, dirty=True), quiet).manifest != dirty.manifest


def test_a_module_that_cannot_be_compiled_is_said(
    shop: Repository, request_for: Callable[..., Request]
) -> None:
    """Python 2 left in a repository does not stop a build, and is named."""
    shop.commit({"old/two.py": "print 'two'\n"})
    events: list[Event] = []
    built = build(request_for(shop), events.append)
    assert "app/old/two.py" in paths_of(built, "app")
    notice = next(each for each in events if isinstance(each, Noticed))
    assert notice.message.endswith(": app/old/two.py")
    assert notice.message.startswith("1 file of the app cannot be compiled")


def test_services_of_the_commit_are_in_the_manifest(
    shop: Repository, request_for: Callable[..., Request]
) -> None:
    """The configuration is that of the commit, whatever the working tree says."""
    shop.commit({"nonevent.toml": NONEVENT + '[env]\nA = "1"\n'})
    shop.write({"nonevent.toml": "broken ["})
    built = build(request_for(shop), quiet)
    assert built.manifest.env == (("A", "1"),)
    assert built.manifest.services[0].command == "python -m http.server {port}"


def test_asset_commands_make_static_files(
    shop: Repository, request_for: Callable[..., Request]
) -> None:
    """Commands see the commit, the project's packages and variables; static names their outcome."""
    shop.commit({
        "nonevent.toml": NONEVENT + """
[env]
SHARED = "one"
[build]
commands = ["python collect.py 'a b'", "sh -c 'mkdir -p node_modules/x; touch node_modules/x/y'"]
static = "public"
exclude = ["docs", "notes.txt"]
env = { ONLY_BUILD = "two" }
""",
        "collect.py": """
import os, sys, pathlib
pathlib.Path("public").mkdir()
pathlib.Path("public/said").write_text(" ".join([sys.argv[1], os.environ["SHARED"],
    os.environ["ONLY_BUILD"], os.environ["TZ"], str("SECRET_OF_MINE" in os.environ),
    str(os.path.basename(sys.prefix))]))
""",
        "docs/index.md": "",
        "notes.txt": "",
    })  # fmt: skip
    request = request_for(shop, environ=environ() | {"SECRET_OF_MINE": "x"})
    built = build(request, quiet)
    assert text_of(built, "app", "app/public/said") == "a b one two UTC False venv"
    found = Artifact.open(built.path).layer("app")
    assert found is not None
    assert Link(path="static", target="app/public") in found.entries
    named = {entry.path for entry in found.entries if isinstance(entry, File)}
    assert not {path for path in named if "node_modules" in path or "docs" in path}
    assert "app/notes.txt" not in named


@pytest.mark.parametrize(
    ("files", "kind", "said"),
    [
        ({"requirements.txt": None}, LockMissing, "no lock file"),
        ({"nonevent.toml": None}, ConfigMissing, "nonevent init"),
        ({"nonevent.toml": NONEVENT + "[build]\nstatics = 'x'\n"}, ConfigInvalid, "static"),
        ({"nonevent.toml": 'python = "3.99"\n' + NONEVENT}, PythonMissing, "3.99"),
        ({"pyproject.toml": "[project]\nname='a'\ndependencies=['h11']\n"}, LockStale, "h11"),
        ({"requirements.txt": "no-such-package-of-nonevent==1.0\n"}, BuildFailed, "no-such"),
        ({"requirements.txt": "alembic==1.14.0\n"}, NoneventError, "not installed"),
        ({"nonevent.toml": NONEVENT + '[build]\nstatic = "none"\n'}, BuildFailed, "none"),
        ({"nonevent.toml": NONEVENT + "[build]\ncommands = [\"sh -c 'echo wrong; exit 7'\"]\n"},
         CommandFailed, "ended with exit code 7"),
        ({"nonevent.toml": NONEVENT + '[build]\ncommands = ["no-such-program x"]\n'},
         CommandFailed, "no program 'no-such-program'"),
        ({"nonevent.toml": NONEVENT + "[build]\ncommands = [\"sh -c 'kill -9 $$'\"]\n"},
         CommandFailed, "killed by signal 9"),
        ({"nonevent.toml": NONEVENT + '[build]\ncommands = ["mkfifo pipe"]\n'},
         BuildFailed, "pipe"),
        ({"nonevent.toml": NONEVENT + '[build]\ncommands = ["ln -s /etc/passwd out"]\n'},
         BuildFailed, "out"),
        ({"requirements.txt": ".\n", "pyproject.toml": PACKAGE.replace("hatchling", "no-such-x")},
         BuildFailed, "could not be built"),
    ],
)  # fmt: skip
def test_what_cannot_be_built_leaves_nothing(
    files: dict[str, str | None],
    kind: type[NoneventError],
    said: str,
    shop: Repository,
    request_for: Callable[..., Request],
    cache: Path,
) -> None:
    """Each failure is one error in words, with no artifact and no scratch folder behind it."""
    for name, content in files.items():
        if content is None:
            (shop.path / name).unlink()
        else:
            shop.write({name: content})
    shop.commit()
    request = request_for(shop)
    with pytest.raises(kind) as caught:
        build(request, quiet)
    error = caught.value
    assert said in " ".join((error.message, *error.context, error.hint))
    assert not request.output.exists()
    assert not any((cache / "scratch").iterdir())


def test_a_full_disk_is_an_error_in_words(tmp_path: Path) -> None:
    """Where a file cannot be written to its end, the build says so and leaves no artifact."""
    shop = Repository(tmp_path / "shop", FILES | {"requirements.txt": "", "big": "x" * 300_000})
    limited = f"import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (100_000,) * 2)\n{CHILD}"
    ran = subprocess.run(
        (sys.executable, "-c", limited, shop.path, tmp_path / "out", tmp_path / "cache", "022"),
        env=environ(), check=False, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert ran.stderr.splitlines()[-1].startswith("nonevent.errors.BuildFailed: ")
    assert not any(tmp_path.glob("out/*"))
    assert not any((tmp_path / "cache" / "scratch").iterdir())


def test_an_output_that_is_no_folder_is_an_error_in_words(
    shop: Repository, request_for: Callable[..., Request], tmp_path: Path
) -> None:
    """An output path that is a file is named in the error."""
    (tmp_path / "file").touch()
    with pytest.raises(BuildFailed, match="file"):
        build(request_for(shop, output=tmp_path / "file"), quiet)


def test_the_end_of_a_command_s_output_is_shown(
    shop: Repository, request_for: Callable[..., Request]
) -> None:
    """A failing command shows its last thirty lines, what it wrote to both streams in order."""
    script = """
import sys
for n in range(99):
    print(n, file=[sys.stdout, sys.stderr][n % 2], flush=True)
"""
    shop.commit({
        "fail.py": script + "sys.exit(3)\n",
        "nonevent.toml": NONEVENT + '[build]\ncommands = ["python fail.py"]\n',
    })  # fmt: skip
    with pytest.raises(CommandFailed) as caught:
        build(request_for(shop), quiet)
    assert caught.value.context == tuple(f"| {number}" for number in range(69, 99))


def test_an_uncommitted_configuration_says_what_to_type(
    tmp_path: Path, request_for: Callable[..., Request]
) -> None:
    """Right after ``init``, with nothing committed, the error has the command to type."""
    shop = Repository(tmp_path / "shop", {"requirements.txt": ""})
    shop.write({"nonevent.toml": NONEVENT})
    with pytest.raises(ConfigNotCommitted) as caught:
        build(request_for(shop), quiet)
    assert caught.value.hint.startswith("git add nonevent.toml && git commit")
    assert build(request_for(shop, dirty=True), quiet).manifest.dirty


def test_two_builds_at_once_make_one_layer(tmp_path: Path) -> None:
    """Two builds of the same with an empty cache both succeed and share one deps layer."""
    shop = Repository(tmp_path / "shop", FILES)
    builds = [
        subprocess.Popen(
            (sys.executable, "-c", CHILD, shop.path, tmp_path / "out", tmp_path / "cache", "022"),
            env=environ(), stdout=subprocess.PIPE, text=True,
        )
        for _number in range(2)
    ]  # fmt: skip
    names = {child.communicate(timeout=300)[0] for child in builds}
    assert [child.returncode for child in builds] == [0, 0]
    assert len(names) == 1
    assert len([path for path in (tmp_path / "cache" / "deps").iterdir() if path.is_dir()]) == 1
    verify(next((tmp_path / "out").iterdir()))


def test_an_interrupt_leaves_nothing(
    shop: Repository, request_for: Callable[..., Request], cache: Path
) -> None:
    """Ctrl-C in a phase removes the scratch folder, and the next build works."""

    def interrupt(event: Event) -> None:
        if isinstance(event, Began) and event.phase == "app":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(request_for(shop), interrupt)
    assert not any((cache / "scratch").iterdir())
    assert not build(request_for(shop), quiet).reused


def test_what_a_killed_build_left_is_swept(
    shop: Repository, request_for: Callable[..., Request], cache: Path
) -> None:
    """A scratch folder that no living build holds is removed, one that is held stays."""
    dead, alive = cache / "scratch" / "dead", cache / "scratch" / "alive"
    for folder in (dead, alive):
        folder.mkdir(parents=True)
    handle = os.open(alive, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        build(request_for(shop), quiet)
        assert (dead.exists(), alive.exists()) == (False, True)
    finally:
        os.close(handle)
        alive.rmdir()
