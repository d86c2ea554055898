"""Deploying over ssh to a real Debian host that has python3 and nothing else of ours."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from bed import visit
from sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bed import Bed, Host

PRODUCTION = """
[environments.production]
hosts = ["web1"]
address = "0.0.0.0"
port = 8000
"""
ROOT = "/srv/shop"
get = partial(visit.get, port=8000)
load = partial(visit.load, mix="fast=1", port=8000)


@pytest.fixture(scope="module")
def web1(bed: Bed) -> Host:
    """A fresh host on which `deploy` may write to the app's folder."""
    host = bed.host("web1")
    host.reset()
    host.run(("install", "-d", "-o", "deploy", ROOT))
    return host


@pytest.fixture(scope="module")
def shop(bed: Bed, web1: Host, cache: Path) -> Iterator[Sandbox]:  # noqa: ARG001
    """A project whose environment `production` is that host."""
    sandbox = Sandbox(cache)
    sandbox.environ["NONEVENT_SSH"] = f"ssh -F {bed.ssh_config}"
    sandbox.commit(sandbox.config(after=PRODUCTION), "Add production")
    yield sandbox
    sandbox.end()


def test_a_deploy_and_a_rollback_over_ssh_lose_nothing(bed: Bed, web1: Host, shop: Sandbox) -> None:
    """The agent is brought along, and visitors of the host notice no deploy and no rollback."""
    shop.says("version one")
    shop.type("deploy", "production").must(0)
    assert get(bed, web1) == r"b'version one\n'"
    with load(bed, web1) as report:
        shop.says("version two")
        shop.type("deploy", "production").must(0)
        assert get(bed, web1) == r"b'version two\n'"
        shop.type("rollback", "production").must(0)
        assert get(bed, web1) == r"b'version one\n'"
    assert report["lost"] == {}
    assert report["answered"] > 40
    assert set(report["releases"]) == {"1", "2"}


def test_a_broken_release_changes_nothing_on_the_host(bed: Bed, web1: Host, shop: Sandbox) -> None:
    """A release that cannot be imported is refused with the end of its log, from the host."""
    shop.says("version one")
    shop.type("deploy", "production").must(0)
    shop.shop("import nowhere\n")
    with load(bed, web1) as report:
        refused = shop.type("deploy", "production").must(1)
    assert "No module named 'nowhere'" in refused.stderr
    assert "still serves" in refused.stderr
    assert report["lost"] == {}


def test_a_host_without_power_is_named_and_starts_again(
    bed: Bed, web1: Host, shop: Sandbox
) -> None:
    """A dead host is one clear error; after its boot `start` brings the same release back."""
    shop.says("version one")
    shop.type("deploy", "production")
    web1.power_cut()
    refused = shop.type("status", "production").must(1)
    assert "web1 cannot be reached over ssh" in refused.stderr
    web1.boot()
    web1.wait_up()
    assert "nothing of it runs" in shop.type("status", "production").must(0).stderr
    shop.type("start", "production").must(0)
    assert get(bed, web1) == r"b'version one\n'"


def test_run_has_the_release_and_its_exit_status(shop: Sandbox) -> None:
    """A command runs on the host with the release's interpreter; its exit status comes back."""
    script = "import sys; print(sys.executable); sys.exit(7)"
    ran = shop.type("run", "production", "--", "python", "-c", script).must(7)
    assert ran.stdout.strip().startswith(f"{ROOT}/releases/")


def test_a_folder_that_cannot_be_made_is_refused(bed: Bed, shop: Sandbox) -> None:
    """Where `deploy` may not write, the error names the command that mends it."""
    bed.host("web2").reset()
    other = PRODUCTION.replace("production", "other").replace("web1", "web2")
    shop.commit(shop.config(after=other), "Add other")
    refused = shop.type("deploy", "other").must(1)
    assert f"{ROOT} cannot be made on web2" in refused.stderr
    assert "install -d -o $USER" in refused.stderr


@pytest.mark.skipif(not Path("/usr/bin/python3").exists(), reason="there is nothing to bundle")
def test_a_host_without_python_gets_it_with_the_artifact(bed: Bed, cache: Path) -> None:
    """Agent and app run on the bundled interpreter, also in later commands, and nothing else is."""
    host = bed.host("web3")
    host.reset()
    host.run(("install", "-d", "-o", "deploy", ROOT))
    host.run(("sh", "-c", "mkdir /away && mv /usr/bin/*python3* /away"))
    shop = Sandbox(cache)
    try:
        shop.environ["NONEVENT_SSH"] = f"ssh -F {bed.ssh_config}"
        after = PRODUCTION.replace("web1", "web3")
        shop.commit(shop.config(after=after), "Add production")
        refused = shop.type("deploy", "production").must(1)
        assert "web3 has no Python 3.11 or newer" in refused.stderr
        before = 'python = { bundled = "/usr" }\n'
        shop.commit(shop.config(before=before), "Bring the interpreter")
        shop.says("version one")
        shop.type("deploy", "production", limit=300.0).must(0)
        assert get(bed, host) == r"b'version one\n'"
        shop.says("version two")
        shop.type("deploy", "production").must(0)
        shop.type("rollback", "production").must(0)
        assert get(bed, host) == r"b'version one\n'"
        shop.type("prune", "production").must(0)
        ran = shop.type("run", "production", "--", "python", "-c", "import os; print(os.__file__)")
        assert ran.must(0).stdout.startswith(f"{ROOT}/")
        running = host.run(("sh", "-c", "readlink /proc/[0-9]*/exe")).stdout.splitlines()
        assert {path.split("/python-")[0] for path in running if "python" in path} == {
            f"{ROOT}/tools", f"{ROOT}/layers",
        }  # fmt: skip
    finally:
        shop.end()
