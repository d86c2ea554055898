"""A site that runs uWSGI already: deploys move `current`, touch a file and prove what runs then."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from bed.veteran import ROOT, manual, veteran
from bed.visit import get, load
from bed.wait import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bed import Bed, Host
    from sandbox import Sandbox

RELOAD = f"""
user = "www-data"
commands = ["touch {ROOT}/etc/uwsgi.conf"]
probe = "127.0.0.1:8080"
timeout = "20s"
"""
CONF = f"""
[uwsgi]
plugins = python3
http-socket = 127.0.0.1:8080
listen = 1000
master = true
processes = 2
need-app = true
die-on-term = true
chdir = {ROOT}/current/app
virtualenv = {ROOT}/current/venv
module = wsgi
touch-reload = {ROOT}/etc/uwsgi.conf
"""
UNIT = f"""
[Service]
Type=notify
User=www-data
ExecStart=/usr/bin/uwsgi --ini {ROOT}/etc/uwsgi.conf
KillSignal=SIGQUIT
"""
EMPEROR = f"""
[Service]
Type=notify
User=www-data
ExecStart=/usr/bin/uwsgi --emperor {ROOT}/etc/vassals
KillSignal=SIGQUIT
"""
LIMIT = 180.0
"""Seconds for a command: the machine may be busy."""
BALANCER = """
defaults
    mode http
    option http-server-close
    timeout connect 5s
    timeout client 30s
    timeout server 30s
frontend site
    bind :80
    default_backend shop
backend shop
    option httpchk GET /
    server one 127.0.0.1:8080 check
"""


@pytest.fixture(scope="module")
def old1(bed: Bed) -> Host:
    """A host on which a person has put the shop by hand: uWSGI behind HAProxy."""
    host = bed.host("old1")
    host.reset()
    manual(host)
    host.put(f"{ROOT}/etc/uwsgi.conf", CONF)
    host.put("/etc/systemd/system/shop-uwsgi.service", UNIT)
    host.put("/etc/haproxy/haproxy.cfg", BALANCER)
    host.run(("sysctl", "-qw", "net.core.somaxconn=4096"), check=False)
    host.run(("chown", "deploy:", f"{ROOT}/etc/uwsgi.conf"))
    host.run(("systemctl", "start", "shop-uwsgi", "haproxy"))
    return host


@pytest.fixture(scope="module")
def shop(bed: Bed, old1: Host, cache: Path) -> Iterator[Sandbox]:
    """The same shop as a project of Nonevent."""
    with veteran(bed, old1, cache, RELOAD) as sandbox:
        yield sandbox


def until_answers(bed: Bed, host: Host, text: str) -> None:
    """Wait until visitors get this answer: HAProxy has to notice that the site is well again."""
    wanted = str(f"{text}\n".encode())
    until(lambda: get(bed, host) == wanted, seconds=60, what=f"{text} from {host.name}")


def test_a_site_is_taken_over(bed: Bed, old1: Host, shop: Sandbox) -> None:
    """A first deploy that fails leaves the site as it was; one that works is what then runs."""
    until_answers(bed, old1, "by hand")
    shop.shop("def answer(path):\n    return 500, 'broken'\n")
    broken = shop.type("deploy", "production", limit=LIMIT).must(3)
    assert "the site answered 500" in broken.stderr, broken.stderr
    assert "names what it named before: releases/by-hand" in broken.stderr
    until_answers(bed, old1, "by hand")
    shop.says("version one")
    shop.type("deploy", "production", limit=LIMIT).must(0)
    assert get(bed, old1) == r"b'version one\n'"


def test_deploys_lose_nothing_and_prove_what_runs(bed: Bed, old1: Host, shop: Sandbox) -> None:
    """Visitors notice no deploy and no rollback, and status proves each process."""
    shop.says("version one")
    shop.type("deploy", "production", limit=LIMIT)
    with load(bed, old1, mix="fast=1") as report:
        shop.says("version two")
        second = shop.type("deploy", "production", limit=LIMIT).must(0)
        assert get(bed, old1) == r"b'version two\n'"
        shown = shop.type("status", "production").must(0).stdout
        shop.type("rollback", "production", limit=LIMIT).must(0)
        assert get(bed, old1) == r"b'version one\n'"
    assert "all processes run release" in second.stderr
    assert "uwsgi" in shown
    assert "runs its release" in shown
    assert report["answered"] > 40
    assert report["lost"] == {}


def test_a_release_that_cannot_be_imported_moves_nothing(old1: Host, shop: Sandbox) -> None:
    """It is imported before anything is moved, so that no server is told to load it."""
    shop.says("version one")
    shop.type("deploy", "production", limit=LIMIT)
    pids = old1.run(("pgrep", "uwsgi")).stdout
    shop.shop("import nowhere\n")
    refused = shop.type("deploy", "production", limit=LIMIT).must(1)
    assert "No module named 'nowhere'" in refused.stderr
    assert "still serves" in refused.stderr
    assert old1.run(("pgrep", "uwsgi")).stdout == pids


def test_an_emperor_reloads_its_vassal(bed: Bed, old1: Host, shop: Sandbox) -> None:
    """Touching the vassal's file is enough, and the emperor itself has no release."""
    old1.run(("systemctl", "kill", "--signal", "KILL", "shop-uwsgi"))
    vassal = f"{ROOT}/etc/vassals/shop.ini"
    kept = [line for line in CONF.splitlines() if not line.startswith("touch-reload")]
    old1.put(vassal, "\n".join((*kept, "")))
    # The emperor sees no change within the same second.
    old1.run(("touch", "--date", "1 minute ago", vassal))
    old1.run(("chown", "deploy:", vassal))
    old1.put("/etc/systemd/system/shop-emperor.service", EMPEROR)
    old1.run(("systemctl", "start", "shop-emperor"))
    config = (shop.path / "nonevent.toml").read_text()
    shop.commit({"nonevent.toml": config.replace(f"{ROOT}/etc/uwsgi.conf", vassal)})
    for text in ("under an emperor", "under the same one"):
        shop.says(text)
        shop.type("deploy", "production", limit=LIMIT).must(0)
        until_answers(bed, old1, text)
    assert "runs its release" in shop.type("status", "production").must(0).stdout
