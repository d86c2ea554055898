"""Building for a platform that this machine is not."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from repository import NONEVENT, Repository, environ

from nonevent.agent import fit, machine
from nonevent.build.artifact import Artifact
from nonevent.build.build import Built, Request, build
from nonevent.build.platform import Target, tags
from nonevent.build.python import Interpreter
from nonevent.errors import HostUnfit, LockInvalid
from nonevent.model.layout import Layout

if TYPE_CHECKING:
    from nonevent.build.event import Event

OTHER = "linux-x86_64" if platform.machine() == "aarch64" else "linux-aarch64"
MACHINES = {"linux-x86_64": 62, "linux-aarch64": 183}
"""How ELF calls them: EM_X86_64, EM_AARCH64."""
# One with a binary, one plain.
REQUIREMENTS = "markupsafe==3.0.2\nh11==0.16.0\n"
COMMAND = "\n[build]\ncommands = [\"python -c 'import markupsafe._speedups'\"]\n"
PYLOCK = """\
lock-version = "1.0"
created-by = "test"

[[packages]]
name = "compiled"
version = "1.0"
wheels = [
  { url = "https://x.example/compiled-1.0-cp311-cp311-win_amd64.whl", hashes = { sha256 = "00" } },
  { url = "https://x.example/compiled-1.0-cp311-cp311-musllinux_1_2_aarch64.whl", hashes = { sha256 = "00" } },
]

[[packages]]
name = "elsewhere"
version = "1.0"
marker = "platform_machine == 's390x'"
sdist = { url = "https://x.example/elsewhere-1.0.tar.gz", hashes = { sha256 = "00" } }

[[packages]]
name = "source"
version = "2.0"
sdist = { url = "https://x.example/source-2.0.tar.gz", hashes = { sha256 = "00" } }
"""  # noqa: E501


def quiet(_event: Event) -> None:
    """Listen to nothing."""


@pytest.fixture
def shop(tmp_path: Path) -> Repository:
    """A project whose asset command imports what is compiled."""
    files = {"nonevent.toml": NONEVENT + COMMAND, "requirements.txt": REQUIREMENTS, "shop.py": ""}
    return Repository(tmp_path / "shop", files)


def built(shop: Repository, cache: Path, name: str = "cache") -> Built:
    """The artifact for the other platform."""
    request = Request(
        project=shop.path, output=shop.path.parent / name, cache=cache / name, environ=environ(),
        platform=OTHER,
    )  # fmt: skip
    return build(request, quiet)


def test_binaries_are_those_of_the_other_platform(shop: Repository, tmp_path: Path) -> None:
    """Wheels of the other platform are inside, commands ran with this one's, twice the same."""
    one, two = built(shop, tmp_path), built(shop, tmp_path, "again")
    assert one.manifest == two.manifest
    assert one.manifest.platform == OTHER
    artifact = Artifact.open(one.path)
    heads = {
        file.path: body.read(20)
        for _, file, body in artifact.contents(("deps",))
        if file.path.endswith(".so")
    }
    assert heads
    assert {int.from_bytes(head[18:20], "little") for head in heads.values()} == {MACHINES[OTHER]}
    layer = artifact.layer("deps")
    assert layer
    compiled = [each.path for each in layer.entries if each.path.endswith(".pyc")]
    assert any("markupsafe/__pycache__" in path for path in compiled)
    seen = machine.look(Layout(tmp_path), one.manifest, clock=0.0)
    with pytest.raises(HostUnfit) as refused:
        fit.refuse(fit.misfits(one.manifest, seen, ())[:1])
    assert f"the artifact is for {OTHER}" in refused.value.message


@pytest.mark.parametrize(
    ("lock", "named"),
    [
        (
            {"requirements.txt": "uwsgi==2.0.28\nh11==0.16.0\npsycopg2==2.9.10\n"},
            ("psycopg2 2.9.10: ", "uwsgi 2.0.28: source code alone"),
        ),
        (
            {"pylock.toml": PYLOCK},
            ("compiled 1.0: 2 wheels, all for others", "source 2.0: source code alone"),
        ),
    ],
)
def test_packages_without_wheels_are_all_named(
    tmp_path: Path, lock: dict[str, str], named: tuple[str, ...]
) -> None:
    """What has no wheel for the platform is said at once, and what is not needed there is not."""
    shop = Repository(tmp_path / "shop", {"nonevent.toml": NONEVENT, "shop.py": "", **lock})
    with pytest.raises(LockInvalid, match=f"2 packages cannot be installed for {OTHER}") as error:
        built(shop, tmp_path)
    found = error.value.context
    assert len(found) == len(named)
    assert all(line.startswith(start) for line, start in zip(found, named, strict=True))


def test_wheels_of_all_ages_will_do() -> None:
    """The tags reach from the oldest manylinux to the newest glibc that hosts must have."""
    python = Interpreter(
        path=Path("/usr/bin/python3"), version="3.11.2", abi="cp311", platform="linux-x86_64",
        tag="cpython-311",
    )  # fmt: skip
    names = {str(tag) for tag in tags(Target(python=python, platform="linux-aarch64"))}
    assert {
        "cp311-cp311-manylinux_2_17_aarch64", "cp311-cp311-manylinux2014_aarch64",
        "cp39-abi3-manylinux_2_28_aarch64", "py3-none-any", "py3-none-manylinux2014_aarch64",
    } <= names  # fmt: skip
    assert "cp311-cp311-manylinux_2_34_aarch64" not in names
    assert not [name for name in names if "x86_64" in name]
