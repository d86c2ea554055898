"""Locks of all kinds: what they decide, and how one that does not decide is refused."""

from __future__ import annotations

import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from repository import environ

from nonevent.build.lock.base import Locked, Project
from nonevent.build.lock.kinds import KINDS, find_lock, how_to_lock, read_lock
from nonevent.build.process import clean_environment
from nonevent.build.python import Interpreter
from nonevent.errors import LockInvalid, LockMissing, LockStale, NoneventError

if TYPE_CHECKING:
    from collections.abc import Callable

CASES = Path(__file__).parent / "cases" / "lock"
TOOLS = Path(__file__).parent / "cases" / "locked"
PYTHON = Interpreter(
    path=Path(sys.executable),
    version=".".join(map(str, sys.version_info[:3])),
    abi="cp311",
    platform="linux-x86_64",
    tag="cpython-311",
)


def project_in(
    folder: Path, tmp_path: Path, groups: tuple[str, ...] = (), extras: tuple[str, ...] = ()
) -> Project:
    """The project in a folder that is an exported tree."""
    env = clean_environment(environ())
    return Project(folder=folder, root=folder, groups=groups, extras=extras, python=PYTHON,
                   env=env, cache=tmp_path / "cache")  # fmt: skip


def spelled(locked: Locked, root: Path) -> str:
    """What a lock decides, as a case has it."""
    local = [str(path.relative_to(root)) for path in locked.local]
    hashed = "with hashes" if locked.hashed else "without hashes"
    return f"{locked.text}\n{locked.file} {hashed}, local: {', '.join(local) or 'nothing'}\n"


def refused(error: NoneventError) -> str:
    """An error, as a case has it."""
    return "\n".join((f"{error.code}: {error.message}", *error.context, error.hint)) + "\n"


@pytest.mark.parametrize("case", sorted(path.name for path in CASES.iterdir()))
def test_requirements(case: str, tmp_path: Path, expect: Callable[[Path, str], None]) -> None:
    """A requirements file is flattened where it pins everything, and refused in words if not."""
    root = tmp_path / "root"
    shutil.copytree(CASES / case, root, ignore=shutil.ignore_patterns("expected"))
    try:
        said = spelled(read_lock(project_in(root, tmp_path), root / "requirements.txt"), root)
    except NoneventError as error:
        said = refused(error)
    assert str(tmp_path) not in said
    expect(CASES / case / "expected", said)


def names(locked: Locked) -> set[str]:
    """The packages of a flattened lock, by name and version."""
    lines = (line.split(" ")[0].rstrip(";") for line in locked.text.splitlines())
    return {line for line in lines if line and not line.startswith("-")}


@pytest.fixture
def copied(tmp_path: Path) -> Callable[[str], Path]:
    """A copy of a project with a lock of some tool."""

    def copy(tool: str) -> Path:
        return shutil.copytree(TOOLS / tool, tmp_path / "root")

    return copy


@pytest.mark.parametrize("tool", ["poetry.lock", "pdm.lock", "Pipfile.lock"])
def test_a_tool_reads_its_own_lock(
    tool: str, copied: Callable[[str], Path], tmp_path: Path
) -> None:
    """Groups are added where asked for, local folders set apart, and a stale lock is refused.

    One test, since starting each tool takes seconds.
    """
    root = copied(tool.partition(".")[0].lower())
    project = project_in(root, tmp_path, groups=("prod",))
    locked = read_lock(project, root / tool)
    assert names(locked) == {"h11==0.16.0", "docopt==0.6.2"}
    assert [path.name for path in locked.local] == ["shared"]
    # PDM cannot hash a local folder, and then hashes nothing.
    assert locked.hashed == (tool != "pdm.lock")

    # The second time no tool is started: with none in reach, the answer is there.
    offline = project_in(root, tmp_path, groups=("prod",))
    offline.env.update(PATH="/nowhere", UV_CACHE_DIR=str(tmp_path / "empty"), UV_OFFLINE="1")
    assert read_lock(offline, root / tool) == locked

    declared = root / ("Pipfile" if tool == "Pipfile.lock" else "pyproject.toml")
    declared.write_text(re.sub(r"(h11.*)>=0.1\d", r"\1>=0.12", declared.read_text()))
    with pytest.raises(LockStale) as caught:
        read_lock(project, root / tool)
    assert "lock" in caught.value.hint


def test_pdm_says_that_a_group_is_unknown(copied: Callable[[str], Path], tmp_path: Path) -> None:
    """PDM itself ignores a group it does not know; a build does not."""
    root = copied("pdm")
    with pytest.raises(LockInvalid) as caught:
        read_lock(project_in(root, tmp_path, groups=("nope",)), root / "pdm.lock")
    assert "nope" in "".join(caught.value.context)


def test_an_empty_pdm_lock_is_refused(copied: Callable[[str], Path], tmp_path: Path) -> None:
    """PDM exports nothing with exit code 0 from a lock that failed; that is no empty project."""
    root = copied("pdm")
    lock = (root / "pdm.lock").read_text()
    head = lock.partition("[[package]]")[0].replace('"prod"', "").replace(", ]", "]")
    (root / "pdm.lock").write_text(head)
    with pytest.raises(LockInvalid, match="no packages"):
        read_lock(project_in(root, tmp_path), root / "pdm.lock")


def test_uv_reads_its_own_lock(copied: Callable[[str], Path], tmp_path: Path) -> None:
    """uv.lock gives groups, extras and members; stale ones and unknown extras are refused."""
    root = copied("uv")
    locked = read_lock(project_in(root, tmp_path), root / "uv.lock")
    assert (locked.file, locked.hashed) == ("pylock.toml", True)
    assert {str(path.relative_to(root)) for path in locked.local} == {".", "libs/shared"}
    assert 'name = "h11"' in locked.text
    assert "docopt" not in locked.text
    assert "shared" not in locked.text
    for wanted in ({"groups": ("prod",)}, {"extras": ("cli",)}):
        assert "docopt" in read_lock(project_in(root, tmp_path, **wanted), root / "uv.lock").text
    with pytest.raises(LockInvalid) as invalid:
        read_lock(project_in(root, tmp_path, extras=("nope",)), root / "uv.lock")
    assert "nope" in "".join(invalid.value.context)
    # The index of the sample is nowhere; to see that the lock is stale uv must ask a real one.
    declared = (root / "pyproject.toml").read_text().partition("[[tool.uv.index]]")[0]
    (root / "pyproject.toml").write_text(declared.replace("h11>=0.14", "h11>=0.15"))
    with pytest.raises(LockStale) as stale:
        read_lock(project_in(root, tmp_path), root / "uv.lock")
    assert stale.value.hint.startswith("uv lock")


def test_a_member_of_a_workspace_is_a_project(
    copied: Callable[[str], Path], tmp_path: Path
) -> None:
    """A member is built with its own dependencies alone, from the lock of the whole."""
    root = copied("uv")
    project = replace(project_in(root, tmp_path), folder=root / "libs" / "shared")
    locked = read_lock(project, root / "uv.lock")
    assert [str(path.relative_to(root)) for path in locked.local] == ["libs/shared"]
    assert "h11" not in locked.text


def test_a_project_that_is_no_package_is_not_installed(
    copied: Callable[[str], Path], tmp_path: Path
) -> None:
    """Without a build system, the project's own folder is not among the local ones."""
    root = copied("uv")
    declared = (root / "pyproject.toml").read_text()
    (root / "pyproject.toml").write_text(declared + "\n[tool.uv]\npackage = false\n")
    lock = (root / "uv.lock").read_text()
    (root / "uv.lock").write_text(lock.replace('{ editable = "." }', '{ virtual = "." }'))
    locked = read_lock(project_in(root, tmp_path), root / "uv.lock")
    assert [path.name for path in locked.local] == ["shared"]


def test_a_pylock_is_taken_as_it_is(copied: Callable[[str], Path], tmp_path: Path) -> None:
    """pylock.toml is handed to uv unchanged, once it is valid and holds what is declared."""
    root = copied("pylock")
    lock = root / "pylock.toml"
    assert read_lock(project_in(root, tmp_path), lock).text == lock.read_text()
    lock.rename(root / "pylock.web.toml")
    assert read_lock(project_in(root, tmp_path), root / "pylock.web.toml").file == "pylock.toml"
    (root / "pyproject.toml").write_text('[project]\nname = "a"\ndependencies = ["h11>=1"]\n')
    with pytest.raises(LockStale):
        read_lock(project_in(root, tmp_path), root / "pylock.web.toml")
    for broken in ("lock-version", "lock-version = '9'", "created-by = 'x'"):
        lock.write_text(broken)
        with pytest.raises(LockInvalid):
            read_lock(project_in(root, tmp_path), lock)


def test_only_one_lock_is_used(tmp_path: Path) -> None:
    """Several locks are an error that names them, unless the configuration chooses one."""
    for name in ("poetry.lock", "requirements.txt"):
        (tmp_path / name).touch()
    with pytest.raises(LockInvalid) as caught:
        find_lock(tmp_path, tmp_path, configured="", working=tmp_path)
    assert caught.value.message.endswith("poetry.lock, requirements.txt")
    assert '[build] lock = "poetry.lock"' in caught.value.hint
    chosen = find_lock(tmp_path, tmp_path, configured="requirements.txt", working=tmp_path)
    assert chosen.name == "requirements.txt"
    with pytest.raises(LockMissing):
        find_lock(tmp_path, tmp_path, configured="uv.lock", working=tmp_path)


def test_a_workspace_has_its_lock_above(tmp_path: Path) -> None:
    """A uv workspace's lock is found from a member, but never outside of the exported tree."""
    member = tmp_path / "root" / "apps" / "shop"
    member.mkdir(parents=True)
    (tmp_path / "root" / "uv.lock").touch()
    root = tmp_path / "root"
    assert find_lock(member, root, configured="", working=member) == root / "uv.lock"
    with pytest.raises(LockMissing):
        find_lock(member, root / "apps", configured="", working=member)


@pytest.mark.parametrize(
    ("files", "command"),
    [
        ({"pyproject.toml": "[tool.poetry]"}, "poetry lock"),
        ({"pyproject.toml": "[tool.pdm]"}, "pdm lock"),
        ({"pyproject.toml": "[project]\nname='a'"}, "uv lock"),
        ({"Pipfile": ""}, "pipenv lock"),
        ({"requirements.in": ""}, "uv pip compile requirements.in"),
        ({"setup.py": ""}, "uv pip freeze"),
    ],
)
def test_without_a_lock_the_error_says_how_to_make_one(
    files: dict[str, str], command: str, tmp_path: Path
) -> None:
    """The hint is the command of the tool that the project uses."""
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    assert how_to_lock(tmp_path).startswith(command)
    with pytest.raises(LockMissing) as caught:
        find_lock(tmp_path, tmp_path, configured="", working=tmp_path)
    assert command in caught.value.hint


@pytest.mark.parametrize("name", KINDS)
def test_a_lock_that_is_not_committed_is_named(name: str, tmp_path: Path) -> None:
    """A lock that is only in the working tree is told from none at all."""
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / name).touch()
    (tmp_path / "export").mkdir()
    with pytest.raises(LockMissing) as caught:
        find_lock(tmp_path / "export", tmp_path, configured="", working=tmp_path / "work")
    assert f"git add -f {name}" in caught.value.hint


def test_another_file_is_no_lock(tmp_path: Path) -> None:
    """A configured lock of an unknown kind is refused with the kinds that are known."""
    (tmp_path / "conda.yml").touch()
    with pytest.raises(LockInvalid) as caught:
        read_lock(project_in(tmp_path, tmp_path), tmp_path / "conda.yml")
    assert "uv.lock" in caught.value.hint
