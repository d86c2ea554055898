"""Building on another machine: here it is this one, behind an ssh that runs a shell."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from typing import TYPE_CHECKING

import pytest
from repository import NONEVENT, Repository, environ

from nonevent.build.build import Request, build
from nonevent.deploy.elsewhere import SCRIPT, build_on
from nonevent.errors import BuildFailed, UsageError
from nonevent.testing.process import until
from nonevent.transport.ssh import Ssh

if TYPE_CHECKING:
    from pathlib import Path

    from nonevent.build.event import Event

FILES = {
    "services/shop/nonevent.toml": NONEVENT,
    "services/shop/requirements.txt": "h11==0.16.0\n",
    "services/shop/shop.py": "",
}


def quiet(_event: Event) -> None:
    """Listen to nothing."""


@pytest.fixture
def machine(tmp_path: Path) -> Ssh:
    """A machine with a folder for temporary files, on which every start says something."""
    there = tmp_path / "there"
    there.mkdir()
    program = tmp_path / "ssh"
    program.write_text(
        "#!/bin/sh\nfor last; do :; done\necho welcome\n"
        f'export TMPDIR={there}; unset PYTHONPATH VIRTUAL_ENV\nexec sh -c "$last"\n'
    )
    program.chmod(0o755)
    return Ssh("builder", tmp_path, (str(program),), tmp_path / "controls" / "ssh")


def wanted(shop: Repository, output: Path, **more: object) -> Request:
    """A request for the last commit but one, which the branch has left behind."""
    given = {
        "project": shop.path / "services" / "shop", "output": output, "ref": "HEAD~1",
        "cache": output.parent / "cache", "environ": environ(),
    } | more  # fmt: skip
    return Request(**given)  # type: ignore[arg-type]


@pytest.fixture
def shop(tmp_path: Path) -> Repository:
    """A project in a folder of a repository with several commits."""
    made = Repository(tmp_path / "shop", FILES)
    made.commit({"services/shop/shop.py": "x = 1"}, "Second")
    made.commit({"services/shop/shop.py": "x = 2"}, "Third")
    return made


def test_it_gives_the_same_bytes_and_leaves_nothing(
    shop: Repository, machine: Ssh, tmp_path: Path
) -> None:
    """What comes back is what a build here gives, and the other machine is as it was."""
    (tmp_path / "controls").mkdir(mode=0o700)
    brought = build_on(machine, wanted(shop, tmp_path / "out"))
    here = build(wanted(shop, tmp_path / "here"), quiet)
    assert brought.path.read_bytes()
    assert (brought.path.name, brought.manifest) == (here.path.name, here.manifest)
    assert brought.manifest.subject == "Second"
    assert list((tmp_path / "there").iterdir()) == []
    assert [path.name for path in (tmp_path / "out").iterdir()] == [brought.path.name]


def test_a_build_that_fails_leaves_nothing(
    shop: Repository, machine: Ssh, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Its words come through, nothing is brought, and the folder is gone all the same."""
    (tmp_path / "controls").mkdir(mode=0o700)
    shop.commit({"services/shop/requirements.txt": "h11\n"}, "Pin nothing")
    with pytest.raises(BuildFailed, match="builder failed, with exit code 2"):
        build_on(machine, wanted(shop, tmp_path / "out", ref="HEAD"))
    assert "does not pin" in capfd.readouterr().err
    assert list((tmp_path / "there").iterdir()) == []
    assert not (tmp_path / "out").exists()


def test_what_only_this_machine_has_is_refused(
    shop: Repository, machine: Ssh, tmp_path: Path
) -> None:
    """Uncommitted changes are not sent, and a platform is that of the other machine."""
    for more in ({"dirty": True}, {"platform": "linux-aarch64"}):
        with pytest.raises(UsageError, match="--on builds a commit"):
            build_on(machine, wanted(shop, tmp_path / "out", **more))


def test_a_client_that_goes_away_takes_its_build_along(tmp_path: Path) -> None:
    """When the connection ends, the other machine ends the build and removes its folder."""
    nothing = io.BytesIO()
    tarfile.open(fileobj=nothing, mode="w:gz").close()
    script = SCRIPT.format(
        size=len(nothing.getvalue()), build=f"'touch {tmp_path}/begun; sleep 600'"
    )
    child = subprocess.Popen(
        ("sh", "-c", script),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, "TMPDIR": str(tmp_path)},
    )  # fmt: skip
    assert child.stdin
    child.stdin.write(nothing.getvalue())
    child.stdin.flush()
    until((tmp_path / "begun").exists)
    assert len(list(tmp_path.glob("nonevent-*"))) == 1
    child.communicate(timeout=60)
    assert child.returncode == 143
    assert list(tmp_path.glob("nonevent-*")) == []
