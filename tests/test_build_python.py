"""Which interpreter is chosen."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from nonevent.build.process import clean_environment
from nonevent.build.python import Interpreter, find_python, wanted
from nonevent.errors import PythonMissing, UsageError

VERSION = ".".join(map(str, sys.version_info[:3]))
MINOR = ".".join(map(str, sys.version_info[:2]))
ANSWER = """#!/bin/sh
echo '{"version": "%s", "name": "%s", "abi": "cp399", "platform": "linux-x86_64", "path": "%s",
"prefix": "/opt", "tag": "cpython-399"}'
"""


def script(file: Path, text: str) -> Path:
    """An executable."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    file.chmod(0o755)
    return file


def found(tmp_path: Path, configured: str, *folders: Path) -> Interpreter:
    """What is found where only these folders are searched, beside /usr/bin."""
    path = os.pathsep.join(map(str, folders))
    env = clean_environment({"PATH": path, "HOME": str(tmp_path)})
    return find_python(wanted(configured), env=env, scratch=tmp_path)


REQUIRES = "[project]\nrequires-python = '>=3.10'"


@pytest.mark.parametrize(
    ("configured", "texts", "versions", "said_by"),
    [
        ("3.12", {"pinned": "3.11", "pyproject": REQUIRES}, "==3.12.*", "`python` in the conf"),
        ("3.12.4", {}, "==3.12.4", "`python` in the conf"),
        ("", {"pinned": "# mine\n3.11\n3.12\n", "pyproject": REQUIRES}, "==3.11.*",
         ".python-version"),
        ("", {"pinned": "pypy3.10\n", "pyproject": REQUIRES}, ">=3.10", "`requires-python`"),
        ("", {"pyproject": "[tool.poetry.dependencies]\npython = '^3.11'"}, "<4,>=3.11",
         "`python` of Poetry"),
        ("", {"pyproject": "[tool.poetry.dependencies]\npython = '~3.11.2, !=3.11.5'"},
         "!=3.11.5,<3.12,>=3.11.2", "`python` of Poetry"),
        ("", {"pipfile": "[requires]\npython_version = '3.11'"}, "==3.11.*", "`python_version`"),
        ("", {"pyproject": "[tool.x]"}, ">=3.9", "nobody"),
        ("", {}, ">=3.9", "nobody"),
    ],
)  # fmt: skip
def test_who_decides_the_version(
    configured: str, texts: dict[str, str], versions: str, said_by: str
) -> None:
    """The configuration comes before .python-version, and that before the project's metadata."""
    want = wanted(configured, **texts)
    assert str(want.versions) == versions
    assert want.said_by.startswith(said_by)


@pytest.mark.parametrize(
    "text", ["[project", "project = 1", "[[tool]]", "tool.poetry = 'x'", "[tool]\nuv = []"]
)
def test_a_strange_pyproject_is_an_error_in_words(text: str) -> None:
    """A pyproject.toml that is broken, or has something else in a table's place, is refused."""
    with pytest.raises(UsageError, match=r"pyproject\.toml"):
        wanted("", pyproject=text)


def test_a_shim_that_fails_is_passed_over(tmp_path: Path) -> None:
    """A pyenv shim is found on PATH and then fails; the next that answers is taken."""
    script(tmp_path / "shims/python3.99", "#!/bin/sh\necho 'pyenv: not installed' >&2\nexit 127\n")
    script(tmp_path / "shims/python3.19", "#!/bin/sh\necho 'pyenv: not installed' >&2\nexit 127\n")
    good = script(tmp_path / "good/python3.19", ANSWER % ("3.19.2", "cpython", "/srv/p"))
    chosen = found(tmp_path, "3.19", tmp_path / "shims", good.parent)
    assert (chosen.version, chosen.path) == ("3.19.2", Path("/srv/p"))


def test_another_implementation_and_version_are_passed_over(tmp_path: Path) -> None:
    """What is tried and does not do is in the error, each with why."""
    script(tmp_path / "a/python3.19", ANSWER % ("3.19.1", "pypy", "/x"))
    script(tmp_path / "b/python3.19", ANSWER % ("3.19.1", "cpython", "/x"))
    script(tmp_path / "c/python3.19", "#!/bin/sh\necho no json\n")
    script(tmp_path / "d/python3.19", "no program")
    with pytest.raises(PythonMissing) as caught:
        found(tmp_path, "3.19.2", *(tmp_path / name for name in "abcd"))
    text = "\n".join(caught.value.context)
    assert "a/python3.19: is pypy" in text
    assert "b/python3.19: is 3.19.1" in text
    assert "c/python3.19: " in text
    assert "d/python3.19: " in text
    assert "==3.19.2" in caught.value.message


def test_the_interpreter_is_described_by_itself(tmp_path: Path) -> None:
    """Version, ABI and platform are what a real interpreter answers."""
    chosen = found(tmp_path, VERSION, Path(sys.executable).parent)
    assert chosen.version == VERSION
    assert chosen.abi == f"cp{sys.version_info[0]}{sys.version_info[1]}"
    assert chosen.platform.startswith("linux-")
    assert chosen.path.is_absolute()


@pytest.mark.skipif(not Path("/usr/bin/python3").exists(), reason="no Python in /usr/bin")
def test_the_distribution_s_python_comes_first(tmp_path: Path) -> None:
    """Hosts have /usr/bin/python3, so it is taken where it satisfies, before all on PATH."""
    script(tmp_path / "a/python3.19", ANSWER % ("3.19.1", "cpython", "/x"))
    assert found(tmp_path, "", tmp_path / "a").path.is_relative_to("/usr/bin")
