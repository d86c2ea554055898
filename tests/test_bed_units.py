"""What a host's administrator cares for: limits, the watchdog, the journal, passwords, keys."""

from __future__ import annotations

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
DIRECTIVES = """
[services.web.systemd]
MemoryMax = "500M"
LimitNOFILE = 4321
ReadWritePaths = "/var/spool/shop"
WatchdogSec = "3s"
"""
# It tells the watchdog that it is well, until there is a reason not to.
SHOP = """
import os, pathlib, socket, threading, time

def pat():
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
        while not pathlib.Path(os.environ["NONEVENT_DATA"], "hang").exists():
            told.sendto(b"WATCHDOG=1", os.environ["NOTIFY_SOCKET"])
            time.sleep(0.1)

if "WATCHDOG_USEC" in os.environ:
    threading.Thread(target=pat, daemon=True).start()
print("open", flush=True)

def answer(path):
    return 200, "well"
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
    """A project whose environment `production` is that host, set up and deployed."""
    sandbox = Sandbox(cache)
    sandbox.environ["NONEVENT_SSH"] = f"ssh -F {bed.ssh_config}"
    config = sandbox.config(after=PRODUCTION.format(address=app1.address))
    sandbox.commit({**config, "shop.py": SHOP}, "Add production")
    sandbox.type(*SETUP).must(0)
    sandbox.type("deploy", "production").must(0)
    yield sandbox
    sandbox.end()


def serving(host: Host) -> str:
    """The unit of the web service's only instance."""
    argv = ("systemctl", "list-units", "--plain", "--no-legend", "shop.web@*")
    (line,) = host.run(argv).stdout.splitlines()
    return line.split()[0]


def shown(host: Host, unit: str, name: str) -> str:
    """A property of a unit, as systemd has it."""
    return host.run(("systemctl", "show", "--value", f"--property={name}", unit)).stdout.strip()


@pytest.mark.usefixtures("shop")
def test_lines_are_found_by_app_service_and_release(app1: Host) -> None:
    """Whoever deploys reads the app's lines in the journal by their fields, and by their tag."""
    fields = ("NONEVENT_APP=shop", "NONEVENT_SERVICE=web")
    for words, lines in (
        ((*fields, "NONEVENT_RUN=1"), "open\n"),
        ((*fields, "NONEVENT_RUN=7"), ""),
        (("-t", "shop-web-1"), "open\n"),
    ):
        asked = app1.ssh(("journalctl", "-q", "-o", "cat", "_TRANSPORT=stdout", *words))
        assert asked.stdout == lines


def test_own_directives_ask_for_setup_and_count(app1: Host, shop: Sandbox) -> None:
    """A changed directive needs a setup first; then systemd has it, and finds nothing wrong."""
    shop.commit(shop.config(after=DIRECTIVES), "Limit the web service")
    refused = shop.type("deploy", "production").must(1)
    assert "MemoryMax=500M" in refused.stderr
    assert "hint: nonevent setup production" in refused.stderr
    app1.run(("install", "-d", "-m", "1777", "/var/spool/shop"))
    shop.type(*SETUP).must(0)
    shop.type("deploy", "production").must(0)
    unit = serving(app1)
    assert shown(app1, unit, "MemoryMax") == str(500 * 2**20)
    pid = shown(app1, unit, "MainPID")
    assert "4321" in app1.read(f"/proc/{pid}/limits")
    inside = ("nsenter", "-t", pid, "-m", "touch", "/var/spool/shop/x")
    assert app1.run(inside).returncode == 0
    assert app1.run(("systemd-analyze", "verify", unit)).stderr == ""


@pytest.mark.usefixtures("shop")
def test_the_watchdog_restarts_what_hangs(bed: Bed, app1: Host) -> None:
    """A process that stops saying that it is well is killed and started again by systemd."""
    unit = serving(app1)
    before = shown(app1, unit, "MainPID")
    app1.run(("runuser", "-u", "shop", "--", "touch", "/srv/shop/data/hang"))
    until(lambda: shown(app1, unit, "MainPID") not in {before, "0"}, seconds=30, what="a restart")
    assert "Watchdog timeout" in app1.run(("journalctl", "-u", unit)).stdout
    app1.run(("rm", "/srv/shop/data/hang"))
    until(lambda: get(bed, app1) == r"b'well\n'", seconds=30, what="the app to be well")
