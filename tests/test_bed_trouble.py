"""What goes wrong on a host with systemd, and that the release which served still does."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from bed.visit import get
from bed.wait import until
from sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bed import Bed, Host

PRODUCTION = """
[environments.production]
hosts = ["app1"]
domains = ["{address}"]
"""
# It answers as often as it is probed, and not when it is watched.
BRIEF = """
import os
asked = []
def answer(path):
    asked.append(path)
    if len(asked) > 2:
        os._exit(3)
    return 200, "for a moment"
"""
SETUP = ("setup", "production", "--as", "root")


@pytest.fixture(scope="module")
def app1(bed: Bed) -> Host:
    """A fresh host."""
    host = bed.host("app1")
    host.reset()
    return host


@pytest.fixture(scope="module")
def shop(bed: Bed, app1: Host, cache: Path) -> Iterator[Sandbox]:
    """A project whose environment `production` is that host, set up, with a release that serves."""
    sandbox = Sandbox(cache)
    sandbox.environ["NONEVENT_SSH"] = f"ssh -F {bed.ssh_config}"
    config = sandbox.config(after=PRODUCTION.format(address=app1.address), timeout="4s")
    sandbox.commit(config, "Add production")
    sandbox.says("well")
    sandbox.type(*SETUP).must(0)
    sandbox.type("deploy", "production").must(0)
    yield sandbox
    sandbox.end()


def units(host: Host) -> list[str]:
    """The units of releases that systemd has in memory, whatever state they are in."""
    argv = ("systemctl", "list-units", "--all", "--plain", "--no-legend", "shop.web@*")
    return [line.split()[0] for line in host.run(argv).stdout.splitlines()]


@pytest.mark.parametrize(
    ("source", "status", "said"),
    [
        ("import os\nos._exit(3)", 1, "web of release {new} exited with status 3"),
        (BRIEF, 3, "web of release {new}"),
        ("import time\ntime.sleep(600)", 1, "web of release {new} was not healthy within 4 s"),
        ("def answer(path):\n    return 500, 'broken'", 1, "answered 500"),
    ],
    ids=("starts and dies", "dies while it is watched", "never answers", "answers errors"),
)
def test_a_release_that_does_not_stay_up(
    bed: Bed, app1: Host, shop: Sandbox, source: str, status: int, said: str
) -> None:
    """However a new instance fails, it is gone, the error says how, and the old one serves."""
    (before,) = units(app1)
    shop.shop(f"{source}\n")
    refused = shop.type("deploy", "production").must(status)
    new = refused.stderr.partition("web-")[2].partition(" ")[0]
    assert said.format(new=new) in refused.stderr, refused.stderr
    assert "still serves" in refused.stderr or "serves again" in refused.stderr
    assert get(bed, app1) == r"b'well\n'"
    until(lambda: units(app1) == [before], seconds=20, what="the new instance to be gone")


def test_a_right_that_was_taken_away_is_named(bed: Bed, app1: Host, shop: Sandbox) -> None:
    """Without its rule for sudo a deploy changes nothing, and says what mends it."""
    rule = "/etc/sudoers.d/nonevent-shop"
    app1.run(("rm", rule))
    shop.says("better")
    refused = shop.type("deploy", "production").must(1)
    assert "nonevent setup production" in refused.stderr
    assert "still serves" in refused.stderr
    assert get(bed, app1) == r"b'well\n'"
    assert rule in shop.type(*SETUP).must(0).stdout
    shop.type("deploy", "production").must(0)
    assert get(bed, app1) == r"b'better\n'"


def test_a_place_that_is_taken_is_no_obstacle_for_the_old_one(
    bed: Bed, app1: Host, shop: Sandbox
) -> None:
    """Where a folder stands at the name of the next socket, the deploy fails and says so."""
    shop.says("worse")
    newest = max(map(int, app1.run(("ls", "/srv/shop/releases")).stdout.split()))
    taken = [f"/srv/shop/run/web-{newest + more}.sock" for more in (1, 2, 3)]
    app1.run(("mkdir", *taken))
    refused = shop.type("deploy", "production").must(1)
    assert "still serves" in refused.stderr
    assert ".sock is in the way" in refused.stderr
    assert get(bed, app1) == r"b'better\n'"
    app1.run(("rmdir", *taken))


def test_a_host_that_cannot_be_reached_is_told_from_a_strange_one(
    app1: Host, shop: Sandbox, bed: Bed
) -> None:
    """A refused connection and a changed host key are different errors with different advice."""
    config = shop.base / "ssh_config"
    known = shop.base / "known_hosts"
    key = bed.known_hosts.read_text().split()[2]
    other = key[:-4] + ("AAAA" if key[-4:] != "AAAA" else "BBBB")
    known.write_text(bed.known_hosts.read_text().replace(key, other))
    config.write_text(bed.ssh_config.read_text().replace(str(bed.known_hosts), str(known)))
    runtime = shop.base / "runtime"
    runtime.mkdir(mode=0o700)
    strange = {"NONEVENT_SSH": f"ssh -F {config}", "XDG_RUNTIME_DIR": str(runtime)}
    refused = shop.type("status", "production", env=strange).must(1)
    assert "hint: compare the host's key" in refused.stderr
    app1.run(("systemctl", "stop", "ssh"))
    fresh = shop.base / "fresh"
    fresh.mkdir(mode=0o700)
    refused = shop.type("status", "production", env={"XDG_RUNTIME_DIR": str(fresh)}).must(1)
    app1.run(("systemctl", "start", "ssh"))
    assert "app1 cannot be reached over ssh" in refused.stderr
    assert "hint: " in refused.stderr


@pytest.mark.parametrize("moment", ["stage", "probe", "confirm", "drain"])
def test_a_power_cut_at_any_moment(bed: Bed, app1: Host, shop: Sandbox, moment: str) -> None:
    """Whatever a power cut interrupts, after it one release serves: the one the ledger names."""
    before = get(bed, app1)
    shop.says(f"after {moment}")
    with shop.start("deploy", "production", "--json") as child:
        assert child.stdout
        for line in child.stdout:
            event = json.loads(line)
            if event.get("event") == "begun" and event["step"]["do"] == moment:
                break
        else:
            pytest.fail(f"no step {moment}")
        app1.power_cut()
        child.wait(timeout=90)
    app1.boot()
    after = rf"b'after {moment}\n'"
    until(lambda: get(bed, app1) in {before, after}, seconds=60, what="an answer")
    until(lambda: len(units(app1)) == 1, seconds=60, what="one release to be left")
    assert "runs its release" in shop.type("status", "production").must(0).stdout
    answer = get(bed, app1)
    assert answer == before if moment in {"stage", "probe"} else answer in {before, after}
