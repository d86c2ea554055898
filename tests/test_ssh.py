"""The folder of ssh's master connections."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path
from select import select
from typing import TYPE_CHECKING

import pytest

from nonevent.errors import HostUnfit, TransportFailed
from nonevent.testing.process import until
from nonevent.transport import ssh, zipapp
from nonevent.transport.ssh import Ssh, control_folder

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def loose() -> Iterator[None]:
    """New files and folders are writable for the group."""
    before = os.umask(0o002)
    yield
    os.umask(before)


def over(controls: Path) -> Ssh:
    """A host whose ssh fails at once."""
    return Ssh("nowhere", controls, ("false",), controls)


@pytest.mark.usefixtures("loose")
def test_the_folder_is_private_whatever_the_umask(tmp_path: Path) -> None:
    """Each level is made for this user alone, and is good enough the next time."""
    controls = tmp_path / "nonevent-0" / "nonevent-ssh"
    for _ in range(2):
        with pytest.raises(TransportFailed):
            over(controls).connect("eve")
    modes = {path.stat().st_mode & 0o7777 for path in (controls, controls.parent)}
    assert modes == {0o700}


@pytest.mark.parametrize("level", ["nonevent-0", "nonevent-0/nonevent-ssh"])
@pytest.mark.parametrize("hostile", ["open", "link", "file"])
def test_a_folder_that_others_made_is_refused(tmp_path: Path, level: str, hostile: str) -> None:
    """Whoever can write there could put a socket in ssh's way."""
    place = tmp_path / level
    place.parent.mkdir(mode=0o700, exist_ok=True)
    if hostile == "open":
        place.mkdir()
        place.chmod(0o777)
    elif hostile == "link":
        (tmp_path / "theirs").mkdir()
        place.symlink_to(tmp_path / "theirs")
    else:
        place.touch()
    with pytest.raises(HostUnfit, match="not a folder of this user alone"):
        over(tmp_path / "nonevent-0" / "nonevent-ssh").connect("eve")


def test_the_runtime_folder_is_used_where_it_is_ours(tmp_path: Path) -> None:
    """One that is not there, or not ours, is passed over for one in /tmp."""
    assert control_folder({"XDG_RUNTIME_DIR": str(tmp_path)}) == tmp_path / "nonevent-ssh"
    for other in ("", str(tmp_path / "gone"), "/tmp"):
        assert str(control_folder({"XDG_RUNTIME_DIR": other})).startswith("/tmp/nonevent-")


def test_a_door_of_another_version_is_said(tmp_path: Path) -> None:
    """Whoever has a restricted key, and another version of nonevent, is told what mends it."""
    program = ("sh", "-c", "echo nonevent: other", "ssh")
    host = Ssh("web1", Path("/srv/shop"), program, tmp_path / "a" / "b", environment="production")
    with pytest.raises(HostUnfit, match="set up by another version") as caught:
        host.connect("eve")
    assert caught.value.hint == "with a key of your own: nonevent setup production"


def test_an_agent_that_is_there_knows_its_python(tmp_path: Path) -> None:
    """No interpreter is looked for twice, and one that has gone is looked for again."""
    few = tmp_path / "few"
    few.mkdir()
    for name in ("sh", "readlink", "touch"):
        (few / name).symlink_to(shutil.which(name) or name)

    def host(path: str) -> Ssh:
        run = f'for last; do :; done; PATH={path} exec /bin/sh -c "$last"'
        return Ssh("web1", tmp_path / "srv", ("sh", "-c", run, "ssh"), tmp_path / "a" / "b")

    for path in (os.environ["PATH"], str(few)):
        with host(path).connect("eve") as connection:
            assert connection.request({"request": "history"}) == {"lines": []}
    (link,) = (tmp_path / "srv" / "tools").glob("agent-*/python")
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\nexit 127\n")
    broken.chmod(0o755)
    for other in (tmp_path / "gone", broken):
        link.unlink()
        link.symlink_to(other)
        with pytest.raises(HostUnfit, match=r"has no Python 3\.11"):
            host(str(few)).connect("eve")
        with host(os.environ["PATH"]).connect("eve") as connection:
            assert connection.request({"request": "history"}) == {"lines": []}


@pytest.mark.parametrize("refused", [False, True])
def test_a_host_is_approached_without_asking_anybody(tmp_path: Path, *, refused: bool) -> None:
    """The agent is there already; only where ssh would have had to ask it is started again."""
    log = tmp_path / "log"
    silent = 'echo "Permission denied (publickey)" >&2; exit 255' if refused else ":"
    run = (
        "for last; do :; done; batch=asks; "
        'case "$*" in *BatchMode=yes*) batch=silent;; esac; '
        f'echo "$batch $(echo "$last" | head -1)" >> {log}; '
        f"[ $batch = silent ] && {{ {silent}; }}; "
        f'PATH={os.environ["PATH"]} exec /bin/sh -c "$last"'
    )
    host = Ssh("web1", tmp_path / "srv", ("sh", "-c", run, "ssh"), tmp_path / "a" / "b")
    with replace(host, approached=host.approach()).connect("eve") as connection:
        assert connection.request({"request": "history"}) == {"lines": []}
    agent = f": nonevent agent-{zipapp.digest()} serve"
    again = ["asks true", f"asks {agent}"] if refused else []
    assert log.read_text().splitlines() == [f"silent {agent}", *again]


@pytest.mark.parametrize("word", ["ready", "first"])
def test_an_agent_that_went_away_meanwhile_is_started_again(tmp_path: Path, word: str) -> None:
    """It was asked for nothing yet, so that nothing can have been done."""
    run = (
        'for last; do :; done; case "$*" in *BatchMode=yes*) '
        f'echo "nonevent: {word}"; exec 0<&-; exit 74;; esac; '
        f'PATH={os.environ["PATH"]} exec /bin/sh -c "$last"'
    )
    host = Ssh("web1", tmp_path / "srv", ("sh", "-c", run, "ssh"), tmp_path / "a" / "b")
    approached = host.approach()
    assert approached
    approached.started.child.wait(timeout=30)
    with replace(host, approached=approached).connect("eve") as connection:
        assert connection.request({"request": "history"}) == {"lines": []}


def test_an_agent_that_is_there_may_wait(tmp_path: Path) -> None:
    """A long build does not start it again."""
    log = tmp_path / "log"
    run = (
        f'for last; do :; done; echo "$last" | head -1 >> {log}; '
        f'PATH={os.environ["PATH"]} exec /bin/sh -c "$last"'
    )
    host = Ssh("web1", tmp_path / "srv", ("sh", "-c", run, "ssh"), tmp_path / "a" / "b")
    with replace(host, approached=host.approach()).connect("eve"):
        approached = host.approach()
        assert approached
        until(lambda: select([approached.started.child.stdout], [], [], 0)[0])
        approached = replace(approached, began=approached.began - 3600)
        with replace(host, approached=approached).connect("eve") as connection:
            assert connection.request({"request": "history"}) == {"lines": []}
    assert len(log.read_text().splitlines()) == 2


def test_a_host_that_says_nothing_is_not_waited_for_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as one whose start-up files hang."""
    monkeypatch.setattr(ssh, "REACH_LIMIT", 0.5)
    silent = ("sh", "-c", "echo welcome; exec sleep 60", "ssh")
    host = Ssh("web1", tmp_path / "srv", silent, tmp_path / "a" / "b")
    with pytest.raises(TransportFailed, match="cannot be reached"):
        replace(host, approached=host.approach()).connect("eve")


@pytest.mark.parametrize("age", [0.0, 3600.0])
def test_a_host_that_is_down_is_tried_once(tmp_path: Path, age: float) -> None:
    """What asking somebody would not mend is said at once, unless that was long ago."""
    log = tmp_path / "log"
    run = f'echo "$@" >> {log}; echo "connect to host web1: Connection refused" >&2; exit 255'
    host = Ssh("web1", tmp_path / "srv", ("sh", "-c", run, "ssh"), tmp_path / "a" / "b")
    approached = host.approach()
    assert approached
    host = replace(host, approached=replace(approached, began=approached.began - age))
    with pytest.raises(TransportFailed, match="cannot be reached") as caught:
        host.connect("eve")
    assert caught.value.hint == "is sshd running on the host, and on that port?"
    tried = log.read_text()
    assert tried.count("ServerAliveInterval") == 1 or age
    assert tried.endswith(" web1 true\n") == bool(age)
