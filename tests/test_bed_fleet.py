"""Several hosts of one environment: they change together, or not at all."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest
from bed.visit import get, load
from bed.wait import until
from sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bed import Bed, Host

NAMES = ("web1", "web2", "jobs")
ROOT = "/srv/shop"
SERVICES = """
[services.worker]
command = "python work.py {data}"
stop_limit = "20s"

[services.beat]
kind = "singleton"
command = "python work.py {data}"
"""
PRODUCTION = """
[environments.production]
hosts = { web1 = ["web"], web2 = ["web"], jobs = ["worker", "beat"] }
address = "0.0.0.0"
port = 8000
confirm_within = "20s"
"""
WORK = """
import signal, sys, threading
done = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: done.set())
done.wait()
"""
# A release command that says where it ran.
MIGRATE = 'import pathlib, sys; open(pathlib.Path(sys.argv[1]) / "migrated", "a").write("once ")'


@pytest.fixture(scope="module")
def hosts(bed: Bed) -> tuple[Host, ...]:
    """Three fresh hosts on which `deploy` may write to the app's folder."""
    found = bed.hosts(*NAMES)
    for host in found:
        host.reset()
        host.run(("install", "-d", "-o", "deploy", ROOT))
    return found


@pytest.fixture(scope="module")
def shop(bed: Bed, hosts: tuple[Host, ...], cache: Path) -> Iterator[Sandbox]:  # noqa: ARG001
    """A project whose environment `production` is these hosts."""
    sandbox = Sandbox(cache)
    sandbox.environ["NONEVENT_SSH"] = f"ssh -F {bed.ssh_config}"
    config = sandbox.config(
        before='release = ["python migrate.py {data}"]\n', after=SERVICES + PRODUCTION
    )
    sandbox.commit({**config, "work.py": WORK, "migrate.py": MIGRATE}, "Add production")
    sandbox.says("version one")
    sandbox.type("deploy", "production").must(0)
    yield sandbox
    sandbox.end()


def current(host: Host) -> int:
    """The release that a host's link names."""
    return int(host.run(("readlink", f"{ROOT}/current")).stdout.strip().rpartition("/")[2])


def test_each_host_runs_its_services_and_commands_run_once(
    hosts: tuple[Host, ...], shop: Sandbox
) -> None:
    """Services run where the table says, and release commands on one host."""
    events = shop.type("status", "production", "--json").must(0).events()
    runs = {
        event["host"]: {each["service"] for each in event["instances"] if each["processes"]}
        for event in events
    }
    assert runs == {"web1": {"web"}, "web2": {"web"}, "jobs": {"worker", "beat"}}
    ran = [
        host.name
        for host in hosts
        if host.run(("test", "-e", f"{ROOT}/data/migrated"), check=False).returncode == 0
    ]
    assert ran == ["web1"]


def test_a_deploy_and_a_rollback_reach_all_and_lose_nothing(
    bed: Bed, hosts: tuple[Host, ...], shop: Sandbox
) -> None:
    """Both web hosts switch without a lost request, under one number, and go back to one."""
    web1, web2, _ = hosts
    before = current(web1)
    with (
        load(bed, web1, mix="fast=1", port=8000) as one,
        load(bed, web2, mix="fast=1", port=8000) as two,
    ):
        shop.says("version two")
        deployed = shop.type("deploy", "production").must(0)
        assert {get(bed, host, port=8000) for host in (web1, web2)} == {r"b'version two\n'"}
        assert {current(host) for host in hosts} == {before + 1}
        shop.type("rollback", "production").must(0)
        assert {current(host) for host in hosts} == {before}
    assert one["lost"] == two["lost"] == {}
    assert "of 3 hosts" in deployed.stderr
    assert {get(bed, host, port=8000) for host in (web1, web2)} == {r"b'version one\n'"}


def test_a_release_that_fails_on_one_host_is_switched_on_none(
    bed: Bed, hosts: tuple[Host, ...], shop: Sandbox
) -> None:
    """Where one host cannot boot it, all keep the old release, and the error names that host."""
    web1, web2, _ = hosts
    before = {host.name: current(host) for host in hosts}
    broken = "import os\nif os.uname().nodename == 'web2': import nowhere\n"
    shop.shop(f"{broken}def answer(path):\n    return 200, 'version three'\n")
    with load(bed, web1, mix="fast=1", port=8000) as report:
        refused = shop.type("deploy", "production").must(1)
    assert refused.stderr.count("error:") == 1
    assert "web2" in refused.stderr.partition("error:")[2].splitlines()[0]
    assert "No module named 'nowhere'" in refused.stderr
    assert "still serves on all 3 hosts" in refused.stderr
    assert {host.name: current(host) for host in hosts} == before
    assert report["lost"] == {}
    assert get(bed, web2, port=8000) == r"b'version one\n'"
    shop.says("version one")
    shop.type("deploy", "production").must(0)


def test_a_host_that_is_down_changes_nothing_or_is_skipped(
    hosts: tuple[Host, ...], shop: Sandbox
) -> None:
    """A dead host refuses the deploy everywhere, unless it is to be skipped."""
    web1, web2, jobs = hosts
    web2.power_cut()
    before = current(web1)
    shop.says("version four")
    refused = shop.type("deploy", "production").must(1)
    assert "web2 cannot be reached" in refused.stderr
    assert current(web1) == before
    skipping = shop.config(after='unreachable = "skip"\n')
    shop.commit(skipping, "Skip the dead")
    assert "web2 is skipped" in shop.type("deploy", "production").must(0).stderr
    assert current(web1) == current(jobs) == before + 1
    web2.boot()
    shop.type("start", "production").must(0)
    assert "the hosts differ" in shop.type("status", "production").must(0).stderr
    shop.type("deploy", "production").must(0)
    assert {current(host) for host in hosts} == {before + 2}
    assert "differ" not in shop.type("status", "production").must(0).stderr


def test_a_client_that_dies_between_switch_and_confirmation_leaves_the_old_release(
    bed: Bed, hosts: tuple[Host, ...], shop: Sandbox
) -> None:
    """Killed while hosts wait for each other, all of them go back by themselves."""
    web1, web2, _ = hosts
    before = current(web1)
    # The second host answers late, so that the first one waits in front of the confirmation.
    slow = "import os, time\nif os.uname().nodename == 'web2': time.sleep(8)\n"
    shop.shop(f"{slow}def answer(path):\n    return 200, 'version five'\n")
    words = ("deploy", "production", "--json")
    with load(bed, web1, mix="fast=1", port=8000) as report, shop.start(*words) as child:
        assert child.stdout
        for line in child.stdout:
            if '"event": "done"' in line and '"do": "probe"' in line:
                break
        os.kill(child.pid, signal.SIGKILL)
    until(
        lambda: running(shop) == {before},
        seconds=60,
        what="all hosts to go back",
    )
    assert report["lost"] == {}
    assert get(bed, web2, port=8000) == r"b'version four\n'"


def running(shop: Sandbox) -> set[int]:
    """The releases that any process on any host runs."""
    events = shop.type("status", "production", "--json").events()
    return {
        each["release"]
        for event in events
        for each in event.get("instances", ())
        if each["processes"]
    }
