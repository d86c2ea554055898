"""Deploys and rollbacks of a Wagtail site on three hosts behind HAProxy, under constant load.

First commands that nobody disturbs, which must lose no request. Then as many during which, at a
random moment, the agent of a host is killed, the client is killed, or a host loses its power: after
each, every host must serve one whole release, the one that its ledger names, with nobody cleaning
up, and the next deploy must make all hosts alike. The exit status is 1 where anything was not so.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from measure import Result, Table, Times, conclude, say

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bed import Bed, Host
    from real import Project

NAMES = ("app1", "app2", "app3")
ROOT = "/srv/shop"
KINDS = ("agent killed", "client killed", "power cut")
WITHIN = 180.0
"""Seconds in which all hosts must have converged."""
LIMIT = 300.0
RATE = 12
"""Requests a second: all hosts share one machine, which three starts of Wagtail fill."""
PRODUCTION = """
[environments.production]
hosts = ["app1", "app2", "app3"]
domains = ["{address}"]
env = {{ DB_HOST = "{address}" }}
"""
SETTINGS = """
ALLOWED_HOSTS = ["*"]
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": "shop",
        "USER": "shop",
        "HOST": os.environ["DB_HOST"],
    }
}
"""
BALANCER = """
global
    maxconn 2000
defaults
    mode http
    option redispatch
    retries 3
    timeout connect 2s
    timeout client 60s
    timeout server 60s
    timeout check 10s
frontend site
    bind :80
    default_backend hosts
backend hosts
    option httpchk
    http-check send meth GET uri /slow?s=0 hdr Host {address}
    default-server check inter 1s fall 3 rise 1
{servers}
"""
DATABASE = """
set -e
conf=$(ls -d /etc/postgresql/*/main)
echo "listen_addresses = '*'" >>"$conf/conf.d/bed.conf"
echo "host all all all trust" >>"$conf/pg_hba.conf"
systemctl start postgresql
for _ in $(seq 100); do runuser -u postgres -- psql -c '' >/dev/null 2>&1 && break; sleep 0.2; done
runuser -u postgres -- createuser shop
runuser -u postgres -- createdb --owner shop shop
systemctl start haproxy
"""
WELCOME = "home/templates/home/welcome_page.html"
TEXTS = ("Welcome to your new Wagtail site!", "A second release of the site")


@dataclass(slots=True, kw_only=True)
class Site:
    """Three hosts, and what became of them."""

    bed: Bed
    balancer: Host
    hosts: tuple[Host, ...]
    made: Project
    artifacts: tuple[str, str]
    chance: random.Random
    commits: dict[str, str] = field(default_factory=dict)
    """What each host served when it was last looked at."""
    sent: int = 0
    lost: Counter[str] = field(default_factory=Counter)
    commands: Counter[str] = field(default_factory=Counter)
    happened: Counter[str] = field(default_factory=Counter)
    converged: dict[str, list[float]] = field(default_factory=dict)
    times: dict[str, Times] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)

    def complaint(self) -> str:
        """Why a host does not serve exactly the release that its ledger names, or nothing."""
        shown = self.made.nonevent("status", "production")
        if shown.status:
            return f"status: {shown.events[-1:]}"
        for found in (each for each in shown.events if each["event"] == "status"):
            host = found["host"]
            if found["busy"] or found["interrupted"] or not found["release"]:
                return f"{host} is busy: {found['busy'] or found['interrupted']}"
            number = found["release"]["number"]
            self.commits[host] = found["release"]["commit"]
            running = [each for each in found["instances"] if each["processes"]]
            if [each["release"] for each in running] != [number]:
                return f"{host}: release {number} should run alone, {running}"
            if running[0]["complaints"]:
                return f"{host}: {running[0]['complaints']}"
        return ""

    def until_whole(self, what: str, *, alike: bool) -> None:
        """Wait until there is no complaint; one that stays is noted."""
        deadline = time.monotonic() + WITHIN
        while said := self.complaint() or self.unlike(alike=alike):
            if time.monotonic() > deadline:
                self.wrong.append(f"{what}: {said}")
                return
            time.sleep(0.2)

    def unlike(self, *, alike: bool) -> str:
        """Why hosts that must serve the same do not, or nothing."""
        return (
            f"hosts differ: {self.commits}" if alike and len(set(self.commits.values())) > 1 else ""
        )

    def other(self) -> str:
        """The artifact that most hosts do not serve."""
        serving = Counter(self.commits.values()).most_common(1)[0][0]
        return next(each for each in self.artifacts if serving[:7] not in each)

    def undisturbed(self, what: str, words: tuple[str, ...]) -> None:
        """A command that nobody disturbs works everywhere, and loses no request."""
        what = f"{what}, then {words[0]}"
        with self.loaded(what, "otherwise"):
            began = time.perf_counter()
            done = self.made.nonevent(*words)
            took = time.perf_counter() - began
            if done.status:
                self.wrong.append(f"{what}: {done.events[-1]}")
            self.until_whole(what, alike=True)
        self.commands[words[0]] += 1
        self.times.setdefault(words[0], Times()).seconds.append(took)

    def disturbed(self, number: int) -> str:
        """A deploy that something happens to; what, and when."""
        kind = self.chance.choices(KINDS, (3, 3, 2))[0]
        host = self.chance.choice(self.hosts)
        wait = self.chance.random() * 1.2 * self.times["deploy"].median
        what = f"{number}: {kind}, {host.name}, {wait:.1f} s after the start"
        words = ("deploy", "production", self.other())
        with self.loaded(what, kind):
            child = subprocess.Popen(
                (sys.executable, "-m", "nonevent.cli", *words),
                cwd=self.made.folder, env=self.made.env, stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )  # fmt: skip
            time.sleep(wait)
            self.act(kind, host, child)
            began = time.monotonic()
            try:
                child.wait(timeout=LIMIT)
            except subprocess.TimeoutExpired:
                child.kill()
                self.wrong.append(f"{what}: the command did not end")
            self.until_whole(what, alike=False)
            seconds = time.monotonic() - began
        self.happened[kind] += 1
        self.converged.setdefault(kind, []).append(seconds)
        return f"{what}, exit status {child.returncode}, whole after {seconds:.1f} s"

    def act(self, kind: str, host: Host, child: subprocess.Popen[bytes]) -> None:
        """Let it happen."""
        match kind:
            case "agent killed":
                host.run(
                    ("pkill", "-KILL", "-u", "deploy", "-f", f"serve --root {ROOT}"), check=False
                )
            case "client killed":
                child.kill()
            case _:
                host.power_cut()
                host.boot()

    @contextmanager
    def loaded(self, what: str, when: str) -> Iterator[None]:
        """Constant load for the length of a block; what it loses is wrong but for a power cut."""
        from bed.visit import load

        report: dict[str, Any]
        with load(self.bed, self.balancer, mix="fast=3,upload=1", rate=RATE) as report:
            yield
        count = sum(report["lost"].values())
        self.sent += report["sent"]
        self.lost[when] += count
        if count and when != "power cut":
            self.wrong.append(f"{what}: lost {report['losses'][:3]}")


def prepared(made: Project, bed: Bed, balancer: Host, hosts: tuple[Host, ...]) -> tuple[str, str]:
    """The first release serves on all hosts; the artifacts of two versions."""
    from real import change, uv
    from test_real_wagtail import start

    servers = "\n".join(f"    server {each.name} {each.address}:80" for each in hosts)
    text = BALANCER.format(address=balancer.address, servers=servers)
    balancer.put("/etc/haproxy/haproxy.cfg", text)
    balancer.run(("sh", "-c", DATABASE), timeout=120)
    made.env["NONEVENT_SSH"] = f"ssh -F {bed.ssh_config}"
    start(made)
    with (made.folder / "requirements.in").open("a") as file:
        file.write("psycopg[binary]\n")
    uv(
        made, "pip", "compile", "--quiet", "--generate-hashes", "--python-version", "3.11",
        "--output-file", "requirements.txt", "requirements.in",
    )  # fmt: skip
    with (made.folder / "shop" / "settings" / "production.py").open("a") as file:
        file.write(SETTINGS)
    secrets = made.folder / "etc" / "local.secrets.env"
    secrets.rename(secrets.with_name("production.secrets.env"))
    made.init(PRODUCTION.format(address=balancer.address))
    one = str(made.good("build").event("built")["path"])
    change(made, WELCOME, *TEXTS)
    two = str(made.good("build").event("built")["path"])
    made.good("setup", "production", "--as", "root")
    made.good("deploy", "production", one)
    return one, two


def story(folder: Path, *, commands: int, disturbances: int, seed: int) -> Site:
    """So many commands that nobody disturbs, and then so many that something happens to."""
    from bed import Bed
    from real import project

    with Bed() as bed, project(folder) as made:
        balancer, *apps = bed.hosts("balancer", *NAMES)
        hosts = tuple(apps)
        artifacts = prepared(made, bed, balancer, hosts)
        site = Site(
            bed=bed, balancer=balancer, hosts=hosts, made=made, artifacts=artifacts,
            chance=random.Random(seed),
        )  # fmt: skip
        site.until_whole("at first", alike=True)
        for number in range(1, commands + 1):
            words = (
                ("deploy", "production", site.other()) if number % 2 else ("rollback", "production")
            )
            site.undisturbed(str(number), words)
            say(f"{number}: {words[0]}; {site.lost} of {site.sent} lost; wrong: {site.wrong}")
        for number in range(1, disturbances + 1):
            what = site.disturbed(number)
            site.undisturbed(what, ("deploy", "production", site.other()))
            say(f"{what}; {dict(site.lost)} of {site.sent} lost; wrong: {site.wrong}")
    return site


def result(site: Site, seed: int) -> Result:
    """The outcome as tables and figures."""
    times = tuple((name, str(site.commands[name]), str(site.times[name])) for name in site.times)
    happened = tuple(
        (kind, str(site.happened[kind]), str(Times(seconds=site.converged[kind])))
        for kind in sorted(site.happened)
    )
    counts = (
        ("requests sent", str(site.sent)),
        ("requests lost, whatever but a power cut happened",
         str(sum(count for when, count in site.lost.items() if when != "power cut"))),
        ("requests lost around a power cut", str(site.lost["power cut"])),
        ("what went wrong", str(len(site.wrong))),
    )  # fmt: skip
    figures: dict[str, object] = {
        "seed": seed, "sent": site.sent, "lost": dict(site.lost), "wrong": site.wrong,
        "happened": dict(site.happened), "converged": site.converged,
        "seconds": {name: each.seconds for name, each in site.times.items()},
    }  # fmt: skip
    tables = (
        Table(title="Three hosts behind HAProxy, under constant load", head=("", ""), rows=counts),
        Table(title="Undisturbed", head=("", "times", "seconds"), rows=times),
        Table(title="Disturbed", head=("", "times", "until whole"), rows=happened),
    )
    return Result(name="fleet", tables=tables, figures=figures, good=not site.wrong)


def main(argv: list[str]) -> int:
    """Measure, show and keep. Exit status: 1 where anything went wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--commands", type=int, default=50)
    parser.add_argument("--disturbances", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="ne-") as folder:
        site = story(
            Path(folder) / "a" / "shop", commands=chosen.commands,
            disturbances=chosen.disturbances, seed=chosen.seed,
        )  # fmt: skip
    return conclude(result(site, chosen.seed))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
