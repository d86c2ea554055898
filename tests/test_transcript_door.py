"""The app's port: what it leads to when the port, or the public service, changes."""

from __future__ import annotations

import signal
import socket
from contextlib import closing
from typing import TYPE_CHECKING

from sandbox import free_port, must_have_lost_nothing

from nonevent.testing.process import until

if TYPE_CHECKING:
    from sandbox import Sandbox


def test_a_port_moves_with_a_release_that_is_good(sandbox: Sandbox) -> None:
    """The old port answers until the new release is good, then the new one does."""
    sandbox.deployed()
    before, after = sandbox.port, free_port()
    sandbox.commit(sandbox.config_at(after), "Move")
    sandbox.type("deploy", "local").must(0)
    assert sandbox.get() == "version one"
    sandbox.port = before
    assert sandbox.get() == ""


def test_a_port_stays_with_a_release_that_is_not(sandbox: Sandbox) -> None:
    """A failed release that came with another port leaves the old one to visitors."""
    sandbox.deployed()
    before = sandbox.port
    with sandbox.load() as load:
        sandbox.commit(sandbox.config_at(free_port()), "Move")
        sandbox.shop("import billing\n")
        sandbox.type("deploy", "local").must(1)
        sandbox.port = before
        assert sandbox.get() == "version one"
    must_have_lost_nothing(load.report, 1)


def test_another_service_becomes_the_public_one(sandbox: Sandbox) -> None:
    """The port leads on without a gap where the web service has another name."""
    sandbox.deployed()
    config = sandbox.config()["nonevent.toml"]
    with sandbox.load() as load:
        renamed = config.replace("[services.web]", '[services.site]\nkind = "web"')
        sandbox.commit({"nonevent.toml": renamed}, "Rename web")
        sandbox.type("deploy", "local").must(0)
        sandbox.type("rollback", "local").must(0)
    must_have_lost_nothing(load.report, 1, 2)


def test_an_old_release_with_a_long_connection_is_left_to_the_host(sandbox: Sandbox) -> None:
    """Ctrl-C while the old release drains leaves it up, so that going back is one rename."""
    sandbox.deployed()
    sandbox.says("version two")
    sandbox.type("deploy", "local").must(0)
    old = sandbox.root / "run" / "web-2.sock"
    with closing(socket.socket(socket.AF_UNIX)) as visitor:
        visitor.connect(str(old))
        sandbox.says("version three")
        child = sandbox.start("deploy", "local")
        until(lambda: sandbox.get() == "version three")
        until(lambda: "its release serves already" in (sandbox.root / "lock").read_text())
        child.send_signal(signal.SIGINT)
        ended = sandbox.end_of(child, ("deploy", "local"))
        assert "left to the host" in ended.stderr
        assert old.exists()
        sandbox.type("rollback", "local").must(0)
        assert sandbox.get() == "version two"
    sandbox.type("deploy", "local").must(0)
    until(lambda: not old.exists(), within=30)


def test_a_folder_of_another_environment_is_refused(sandbox: Sandbox) -> None:
    """Two environments do not share a folder: a deploy to the second is refused."""
    sandbox.deployed()
    release = sandbox.root / "releases" / "1" / "release.json"
    text = release.read_text()
    release.chmod(0o644)
    release.write_text(text.replace('"environment": "local"', '"environment": "staging"'))
    refused = sandbox.type("deploy", "local").must(2)
    assert "belongs to `shop` in `staging`" in refused.stderr
    release.write_text(text)
