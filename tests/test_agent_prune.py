"""Removing releases: what nothing needs is gone, what something needs is there."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import pytest
from tiny import SERVICES, TinyHost, parcel

from nonevent.agent import facts, layers, ledger, release
from nonevent.agent.process import supervisor
from nonevent.errors import UsageError
from nonevent.model.layout import Layout
from nonevent.model.want import Prune

if TYPE_CHECKING:
    from pathlib import Path


def test_nothing_changes_without_the_lock(tmp_path: Path) -> None:
    """A client that did not begin cannot bring, set or apply anything; it can still look."""
    host = TinyHost(tmp_path)
    artifact = parcel("a")
    settings: dict[str, object] = {"request": "configure", "settings": {"A": "1"}, "secrets": {}}
    with host.connect() as connection:
        for act in (
            lambda: host.bring(connection, artifact),
            lambda: connection.request(settings),
            lambda: host.apply(connection, host.want(Prune())),
        ):
            with pytest.raises(UsageError, match="`begin` must come first"):
                act()
        assert connection.request({**settings, "check": True})["config"] == 1
    assert sorted(os.listdir(host.layout.root)) == ["tools"]


def test_an_agent_that_was_just_brought_is_kept(tmp_path: Path) -> None:
    """A client that only looks holds no lock, and is about to start the agent that it brought."""
    layout = Layout(tmp_path)
    for name in ("agent-a", "agent-b", ".agent-c.7"):
        (layout.tools / name).mkdir(parents=True)
    long_ago(layout.tools / "agent-a")
    assert facts.gather(layout, supervisor).orphans == ("tools/agent-a",)


def long_ago(path: Path) -> None:
    """Have a folder be two hours old."""
    then = time.time() - 7200
    os.utime(path, (then, then))


def test_an_agent_that_a_definition_names_is_kept(tmp_path: Path) -> None:
    """A service that dies is started again through it, though no process shows its name."""
    layout = Layout(tmp_path)
    for name in ("agent-a", "agent-b"):
        (layout.tools / name).mkdir(parents=True)
        long_ago(layout.tools / name)
    layout.programs.mkdir()
    (layout.programs / "web-1.conf").write_text(f"command = python3 {layout.tools}/agent-a exec\n")
    assert facts.gather(layout, supervisor).orphans == ("tools/agent-b",)


def test_a_definition_that_has_just_gone_is_none(tmp_path: Path) -> None:
    """Whoever looks holds no lock, and a deploy may drop a program between two looks."""
    layout = Layout(tmp_path)
    layout.programs.mkdir()
    (layout.tools / "agent-a").mkdir(parents=True)
    (layout.programs / "web-1.conf").symlink_to("gone")
    assert facts.gather(layout, supervisor).orphans == ()


def test_what_is_pruned_leaves_nothing_behind(tmp_path: Path) -> None:
    """Folder, layer, settings and logs of a removed release are gone, and all else works on."""
    host = TinyHost(tmp_path)
    layout = host.layout
    web = SERVICES[:1]
    try:
        for mark in "abcd":
            host.deploy(parcel(mark, services=web), secrets={"TOKEN": mark})
        for name in ("web-1.log.1", "web-1.2.log", "web-1.relay.log", "web-11.log"):
            (layout.logs / name).touch()
        with host.connect() as connection:
            host.begin(connection)
            host.apply(connection, host.want(Prune(), keep=1))
        assert release.numbers(layout) == (3, 4)
        assert len([name for name in os.listdir(layout.layers) if name.startswith("app-")]) == 4
        assert len(layers.present(layout)) == 3, "each has its list beside it"
        assert not [name for name in os.listdir(layout.logs) if name.startswith("web-1.")]
        assert (layout.logs / "web-11.log").exists()
        on_disk = [each.on_disk for each in ledger.history(layout).releases]
        assert on_disk == [False, False, True, True]
        assert os.listdir(layout.secrets) == ["4"], "an older release would run with the newest"
        assert host.serves() == "4"
    finally:
        host.clean_up()
