"""A host as an administrator would have it: systemd, nginx, a user for the app, sudo for two words.

Set up with `nonevent setup`, deployed to by a user without rights, on real Debian hosts.
"""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bed import Bed, Host

ROOT = "/srv/shop"
PRODUCTION = """
[environments.production]
hosts = ["app1"]
domains = ["{address}"]
"""
WORKER = """
[services.worker]
kind = "worker"
command = "python work.py {data}"
stop_limit = "20s"
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
    """A project whose environment `production` is that host, set up."""
    sandbox = Sandbox(cache)
    sandbox.environ["NONEVENT_SSH"] = f"ssh -F {bed.ssh_config}"
    sandbox.commit(sandbox.config(after=PRODUCTION.format(address=app1.address)), "Add production")
    yield sandbox
    sandbox.end()


def get(bed: Bed, host: Host) -> str:
    """What the app answers to somebody in the hosts' network."""
    script = f"import urllib.request as r; print(r.urlopen('http://{host.address}').read())"
    return bed.exec_in_network((sys.executable, "-c", script)).stdout.strip()


@contextmanager
def load(bed: Bed, host: Host) -> Iterator[dict[str, Any]]:
    """Constant load from within the hosts' network; filled with the report at the end."""
    argv = (*bed.entry, sys.executable, "-m", "nonevent.testing.load",
            f"http://{host.address}", "--rate", "40", "--mix", "fast=1", "--json")  # fmt: skip
    report: dict[str, Any] = {}
    child = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout
        child.stdout.readline()
        yield report
    finally:
        child.terminate()
        lines = child.communicate(timeout=60)[0].splitlines()
        report.update(json.loads(lines[-1]))


def test_setup_shows_makes_and_then_has_nothing_to_do(app1: Host, shop: Sandbox) -> None:
    """`--check` changes nothing, setup makes what it showed, and a second one nothing."""
    refused = shop.type("deploy", "production").must(1)
    assert "nonevent setup production" in refused.stderr
    shown = shop.type(*SETUP, "--check").must(0).stdout
    assert "user shop" in shown
    assert "proxy_pass http://unix:/srv/shop/run/web.sock:;" in shown
    assert app1.run(("test", "-e", ROOT), check=False).returncode == 1
    assert shop.type(*SETUP).must(0).stdout == shown
    again = shop.type(*SETUP).must(0)
    assert "nothing to do" in again.stdout


def test_deploys_behind_nginx_lose_nothing(bed: Bed, app1: Host, shop: Sandbox) -> None:
    """Visitors of nginx notice no deploy and no rollback."""
    shop.says("version one")
    shop.type("deploy", "production").must(0)
    assert get(bed, app1) == r"b'version one\n'"
    with load(bed, app1) as report:
        shop.says("version two")
        shop.type("deploy", "production").must(0)
        assert get(bed, app1) == r"b'version two\n'"
        shop.type("rollback", "production").must(0)
        assert get(bed, app1) == r"b'version one\n'"
    assert report["lost"] == {}
    assert report["answered"] > 40
