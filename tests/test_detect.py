"""Detection: what is found in a project, why, and the file that it becomes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from nonevent.config.read import load, read_app
from nonevent.detect.detect import detect
from nonevent.detect.init import init
from nonevent.detect.name import normalised
from nonevent.detect.write import write
from nonevent.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from nonevent.detect.found import Found

CASES = Path(__file__).parent / "cases" / "detect"
PROJECTS = Path(__file__).parent / "projects"


def reasons(found: Found) -> str:
    """Every finding with its reason, and every note with its hint, a line each."""
    lines = []
    for each in found.findings:
        value = each.value if isinstance(each.value, str) else ", ".join(each.value)
        shown = "" if each.written else " [shown only]"
        lines.append(f"{'.'.join(each.key)}: {value}{shown}\n  because {each.why}")
    lines += [f"note: {note.text}\n  hint: {note.hint}" for note in found.notes]
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("name", sorted(path.name for path in CASES.iterdir()))
def test_case(name: str, expect: Callable[[Path, str], None]) -> None:
    """A project gives the file and the reasons of its case, and the file can be read."""
    found = detect(CASES / name / "project")
    text = write(found)
    read_app(text, "nonevent.toml")
    expect(CASES / name / "expected.toml", text)
    expect(CASES / name / "expected.txt", reasons(found))


@pytest.mark.parametrize("name", sorted(path.name for path in PROJECTS.iterdir()))
def test_sample_project(name: str, expect: Callable[[Path, str], None]) -> None:
    """The sample projects that are deployed in other tests are recognised."""
    found = detect(PROJECTS / name)
    expect(CASES.parent / "sample" / f"{name}.toml", write(found))


def test_init_writes_one_file(tmp_path: Path) -> None:
    """Init writes a file that can be read, and nothing else."""
    (tmp_path / "app.py").write_text("from flask import Flask\napp = Flask(__name__)\n")
    path, found = init(tmp_path)
    assert path == tmp_path / "nonevent.toml"
    assert load(tmp_path).services[0].command == found.value("services", "web", "command")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["app.py", "nonevent.toml"]


def test_init_never_overwrites(tmp_path: Path) -> None:
    """Init leaves a file that is there as it is, whatever stands in it."""
    (tmp_path / "nonevent.toml").write_text("mine")
    with pytest.raises(UsageError, match="exists already"):
        init(tmp_path)
    assert (tmp_path / "nonevent.toml").read_text() == "mine"


def test_init_follows_no_link(tmp_path: Path) -> None:
    """Init does not write through a link that leads nowhere yet."""
    (tmp_path / "nonevent.toml").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match="exists already"):
        init(tmp_path)
    assert not (tmp_path / "elsewhere").exists()


def test_init_sees_pyproject(tmp_path: Path) -> None:
    """Init adds no second configuration beside [tool.nonevent]."""
    (tmp_path / "pyproject.toml").write_text('[tool.nonevent]\napp = "shop"\n')
    with pytest.raises(UsageError, match=r"has a .tool.nonevent. already"):
        init(tmp_path)
    assert not (tmp_path / "nonevent.toml").exists()


def test_nothing_is_run(tmp_path: Path) -> None:
    """A project whose modules would do something when they are imported is only read."""
    text = "open(__file__ + '.ran', 'w')\nfrom flask import Flask\napp = Flask(__name__)\n"
    for name in ("app.py", "manage.py", "wsgi.py"):
        (tmp_path / name).write_text(text)
    assert detect(tmp_path).value("framework") == "Flask"
    assert not list(tmp_path.glob("*.ran"))


def test_awkward_files(tmp_path: Path) -> None:
    """Files that are no text, links in a circle and folders with a file's name do no harm."""
    (tmp_path / "app.py").write_bytes(b"\xff\xfe\0flask")
    (tmp_path / "wsgi.py").mkdir()
    (tmp_path / "package.json").mkdir()
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "main.py").symlink_to("main.py")
    read_app(write(detect(tmp_path)), "nonevent.toml")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("shop", "shop"), ("My_Shop.App", "my-shop-app"), ("9 lives", "app-9-lives"),
        ("--", "app"), ("Läden", "l-den"), ("x" * 40, "x" * 32), ("a" * 31 + "-b", "a" * 31),
    ],
)  # fmt: skip
def test_normalised(name: str, expected: str) -> None:
    """Any name becomes one that an app may have."""
    assert normalised(name) == expected
    assert read_app(f'app = "{expected}"\nservices.web = "x {{port}}"\n', "nonevent.toml")
