"""A release that stands by under systemd, on a real host behind nginx."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from bed.visit import get
from bed.wait import until
from sandbox import Sandbox
from test_bed_systemd import PRODUCTION, SERVER, SETUP, instances, load, until_answers

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bed import Bed, Host

ONE, TWO = "shop.web@1.service", "shop.web@2.service"


@pytest.fixture(scope="module")
def app1(bed: Bed) -> Host:
    """A fresh host."""
    host = bed.host("app1")
    host.reset()
    return host


@pytest.fixture(scope="module")
def shop(bed: Bed, app1: Host, cache: Path) -> Iterator[Sandbox]:
    """A project whose environment `production` is that host, with a standby of ten minutes."""
    sandbox = Sandbox(cache)
    sandbox.environ["NONEVENT_SSH"] = f"ssh -F {bed.ssh_config}"
    wanted = PRODUCTION.replace("domains", 'standby = "10m"\ndomains')
    config = sandbox.config(after=wanted.format(address=app1.address))
    sandbox.commit({**config, "serve.py": SERVER}, "Add production")
    sandbox.type(*SETUP).must(0)
    sandbox.says("version one")
    sandbox.type("deploy", "production").must(0)
    yield sandbox
    sandbox.end()


def pid(host: Host, unit: str) -> str:
    """The main process of a unit, ``0`` where it does not run."""
    argv = ("systemctl", "show", "--property=MainPID", "--value", unit)
    return host.run(argv).stdout.strip()


def steps(events: list[dict[str, Any]]) -> list[str]:
    """The steps that were done, in their order."""
    return [each["step"]["do"] for each in events if each["event"] == "done"]


def test_going_back_is_one_rename(bed: Bed, app1: Host, shop: Sandbox) -> None:
    """The units of the release before stay up and take over again; visitors notice nothing."""
    before = pid(app1, ONE)
    with load(bed, app1) as report:
        shop.says("version two")
        shop.type("deploy", "production").must(0)
        assert instances(app1) == [ONE, TWO]
        shown = shop.type("status", "production").must(0).stdout
        assert re.search(r"standby, (9|10) min left", shown)
        events = shop.type("rollback", "production", "--json").must(0).events()
        assert get(bed, app1) == r"b'version one\n'"
    assert steps(events)[:2] == ["probe", "switch"]
    assert report["lost"] == {}
    assert pid(app1, ONE) == before
    assert instances(app1) == [ONE]


def test_the_keeper_ends_it_when_its_time_is_over(bed: Bed, app1: Host, shop: Sandbox) -> None:
    """Some seconds later nothing of the release before runs, and nobody typed anything."""
    config = shop.config()["nonevent.toml"]
    shop.commit({"nonevent.toml": config.replace('standby = "10m"', 'standby = "5s"')}, "Be brief")
    shop.type("deploy", "production").must(0)
    assert len(instances(app1)) == 2
    until(lambda: len(instances(app1)) == 1, seconds=30, what="the standby to be over")
    shop.commit({"nonevent.toml": config}, "Take the time")
    assert get(bed, app1) == r"b'version two\n'"


def test_a_power_cut_ends_it(bed: Bed, app1: Host, shop: Sandbox) -> None:
    """At boot the keeper starts the release that serves alone; a rollback boots the other."""
    shop.says("version three")
    shop.type("deploy", "production").must(0)
    shop.says("version four")
    shop.type("deploy", "production").must(0)
    assert len(instances(app1)) == 2
    app1.power_cut()
    app1.boot()
    until_answers(bed, app1, r"b'version four\n'")
    assert len(instances(app1)) == 1
    assert "standby" not in shop.type("status", "production").must(0).stdout
    events = shop.type("rollback", "production", "--json").must(0).events()
    assert steps(events)[:3] == ["boot", "probe", "switch"]
    assert get(bed, app1) == r"b'version three\n'"
