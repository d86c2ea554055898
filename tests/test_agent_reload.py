"""A real process of a site, reloaded by the agent: there, back, and cut off at every step."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from tiny import BY, HEALTH, Parcel, TinyHost, parcel

from nonevent.agent import journal
from nonevent.errors import Interrupted, NeedsPerson, NoneventError, ProtocolBroken, WentBack
from nonevent.model.service import Kind, Service
from nonevent.model.site import Site
from nonevent.model.want import Rollback
from nonevent.testing.process import until
from nonevent.transport.child import converse
from nonevent.transport.local import Local

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from nonevent.model.want import Goal, Want
    from nonevent.transport.base import Connection

SERVER = """
import http.server, os, signal, sys
root, port = sys.argv[1:]
def again(*_):
    # A signal that comes too early would end the new program.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    os.execv(sys.executable, [sys.executable, *sys.argv])
signal.signal(signal.SIGHUP, again)
signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})
os.chdir(f"{root}/current/app")
mark = open("mark.txt").read()
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(500 if mark == "broken" else 200)
        self.end_headers()
        self.wfile.write(mark.encode())
    def log_message(self, *_):
        pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(port)), Answer).serve_forever()
"""
SHOP = {"shop.py": "import os\n"}
WEB = Service(name="web", kind=Kind.WEB, command="gunicorn shop --bind {socket}", health=HEALTH)
A, B, BROKEN = (parcel(mark, services=(WEB,), files=SHOP) for mark in ("a", "b", "broken"))
STEPS = ("import", "switch", "reload", "prove", "confirm")


@dataclass(slots=True)
class Veteran(TinyHost):
    """A host whose one process is started by somebody else, and told to start anew by HUP."""

    site: Site | None = None
    pid: int = 0

    def connect(self) -> Connection:
        """A conversation with an agent that manages nothing."""
        (agent,) = (self.root / "tools").glob("agent-*")
        words = ("serve", "--root", str(self.root), "--manager", "site")
        return converse((sys.executable, "-I", "-S", str(agent), *words), BY)

    def want(self, goal: Goal, **changes: object) -> Want:
        """The want for a goal of this site."""
        return TinyHost.want(self, goal, manager="site", site=self.site, port=None, **changes)

    def answers(self) -> str:
        """What the site says; empty where it does not."""
        with suppress(OSError, urllib.error.HTTPError):
            url = f"http://127.0.0.1:{self.port}/"
            return str(urllib.request.urlopen(url, timeout=5).read().decode())
        return ""


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Veteran]:
    """A site that runs what somebody has put there by hand."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    by_hand = tmp_path / "releases" / "by-hand" / "app"
    by_hand.mkdir(parents=True)
    (by_hand / "mark.txt").write_text("by hand")
    (tmp_path / "current").symlink_to("releases/by-hand")
    (tmp_path / "server.py").write_text(SERVER)
    with Local(tmp_path).connect(BY):
        pass
    argv = (sys.executable, str(tmp_path / "server.py"), str(tmp_path), str(port))
    with subprocess.Popen(argv, start_new_session=True) as process:
        hup = f"{sys.executable} -c 'import os; os.kill({process.pid}, 1)'"
        probe = f"127.0.0.1:{port}"
        site = Site(commands=(hup,), probe=probe, timeout=8.0)
        made = Veteran(tmp_path, port=port, site=site, pid=process.pid)
        try:
            until(lambda: made.answers() == "by hand")
            yield made
        finally:
            process.kill()


def test_there_and_back(host: Veteran) -> None:
    """The same process runs each release in turn, and the ledger says which."""
    for artifact, mark in ((A, "a"), (B, "b")):
        host.deploy(artifact)
        assert host.answers() == mark
    host.carry_out(Rollback())
    assert (host.answers(), host.current) == ("a", 1)
    assert os.readlink(f"/proc/{host.pid}/cwd") == str(host.layout.release(1) / "app")


def test_what_answers_badly_is_gone_back_from(host: Veteran) -> None:
    """A release that only fails when it runs is reloaded away; also the first one ever."""
    with pytest.raises(WentBack, match="answered 500"):
        host.deploy(BROKEN)
    assert host.answers() == "by hand"
    host.deploy(A)
    with pytest.raises(WentBack, match="answered 500") as caught:
        host.deploy(BROKEN)
    assert host.answers() == "a"
    assert "release 2" in caught.value.serves


def test_what_cannot_be_imported_reaches_no_process(host: Veteran) -> None:
    """The site's process is not even told."""
    host.deploy(A)
    with pytest.raises(NoneventError, match="cannot be imported") as caught:
        host.deploy(parcel("c", services=(WEB,), files={"shop.py": "import nowhere\n"}))
    assert not isinstance(caught.value, WentBack)
    assert any("No module named 'nowhere'" in line for line in caught.value.context)
    assert host.answers() == "a"


def test_a_trigger_that_does_nothing_is_found(host: Veteran) -> None:
    """Where nothing is started anew the old release runs on, and the deploy says so."""
    host.deploy(A)
    assert host.site
    host.site = Site(commands=("true",), timeout=1.0)
    with pytest.raises(WentBack) as caught:
        host.deploy(B)
    assert any(f"process {host.pid} (" in line for line in caught.value.context)
    assert any("works in" in line for line in caught.value.context)
    assert os.readlink(host.layout.current) == "releases/1"


def test_a_site_that_cannot_go_back_needs_a_person(host: Veteran) -> None:
    """Where the old release cannot be brought back either, exit status 4 says so."""
    host.deploy(A)
    dies = f"{sys.executable} -c 'import os; os.kill({host.pid}, 9)'"
    host.site = Site(commands=(dies,), timeout=1.0)
    with pytest.raises(NeedsPerson, match="going back failed") as caught:
        host.deploy(B)
    assert "no process runs release 1" in caught.value.context
    assert caught.value.serves.endswith(") should serve"), caught.value.serves


def cut(host: Veteran, artifact: Parcel, moment: str) -> None:
    """A deploy whose agent is killed when it begins a step."""
    with host.connect() as connection:
        pid = connection.request({"request": "hello", "version": 1, "by": BY})["pid"]
        assert isinstance(pid, int)

        def on_event(event: dict[str, object]) -> None:
            step = event.get("step")
            if event.get("event") == "begun" and isinstance(step, dict) and step["do"] == moment:
                os.kill(pid, signal.SIGKILL)

        with suppress(ProtocolBroken, Interrupted):
            host.deploy(artifact, on_event, connection)


def test_a_killed_agent_leaves_what_the_next_command_tidies_up(host: Veteran) -> None:
    """Whatever step it was killed in, the next command makes the site run what the ledger says."""
    host.deploy(A)
    for moment in STEPS:
        cut(host, B, moment)
        assert journal.interrupted(host.layout)
        with host.connect() as connection:
            host.begin(connection)
        assert journal.interrupted(host.layout) is None
        assert host.current
        assert os.readlink(host.layout.current) == f"releases/{host.current}"
        if moment != "confirm":
            assert host.current == 1
        assert host.answers() == ("a" if host.current == 1 else "b")
