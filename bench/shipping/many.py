"""Twenty hosts at once against one, with an app so light that the hosts are not what is measured.

The hosts share this machine's cores: each of them unpacks, starts, probes and logs there. So the
processor time that hosts and client have used says what the wall time was made of.
"""

from __future__ import annotations

import resource
import statistics
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from measure import Table, Times, say

from shipping.peers.nonevent import NONEVENT
from shipping.stage import Stage

if TYPE_CHECKING:
    from pathlib import Path

    from sandbox import Sandbox

COUNT = 20
ENVIRONMENT = """
[environments.{name}]
hosts = [{hosts}]
domains = ["shop"]
"""


@dataclass(slots=True)
class Many:
    """Deploys of a changed line: to one host, and to twenty."""

    one: Times = field(default_factory=Times)
    all: Times = field(default_factory=Times)
    hosts: list[float] = field(default_factory=list)
    """Seconds of processor time that all twenty hosts used."""
    client: list[float] = field(default_factory=list)

    @property
    def ratio(self) -> float:
        """How many times longer twenty take."""
        return self.all.median / self.one.median

    def table(self) -> Table:
        """Both, and what the time was made of."""
        rows = (
            ("one host", str(self.one)),
            (f"{COUNT} hosts", str(self.all)),
            ("ratio", f"{self.ratio:.1f}"),
            (f"processor time of {COUNT} hosts", f"{statistics.median(self.hosts):.1f} s"),
            ("processor time of the client and its ssh", f"{statistics.median(self.client):.1f} s"),
        )
        return Table(
            title=f"A changed line on {COUNT} hosts at once, whole command", head=("", "median"),
            rows=rows,
        )  # fmt: skip


def measure_many(work: Path, repetitions: int) -> Many:
    """Set up all hosts, on a bed of their own, and deploy to one and to twenty in turns."""
    from bed import Bed
    from sandbox import Sandbox

    work.mkdir()
    shop = Sandbox(work / "cache")
    try:
        with Bed() as bed:
            return _measure(Stage(bed=bed, work=work, env=shop.environ), shop, repetitions)
    finally:
        shop.end()


def _measure(stage: Stage, shop: Sandbox, repetitions: int) -> Many:
    names = [f"many{number}" for number in range(COUNT)]
    stage.open(["single", *names])
    shop.commit(
        shop.config(
            after=ENVIRONMENT.format(name="one", hosts='"single"')
            + ENVIRONMENT.format(name="all", hosts=", ".join(f'"{name}"' for name in names))
        )
    )
    for environment in ("one", "all"):
        say(f"setting up `{environment}`")
        stage.client(shop.path, *NONEVENT, "setup", environment, "--as", "root")
    found = Many()
    for number in range(repetitions + 1):
        shop.says(f"version {number}")
        stage.client(shop.path, *NONEVENT, "build", entry=())
        for environment in ("one", "all"):
            _deploy(stage, shop, environment, found if number else Many())
    return found


def _deploy(stage: Stage, shop: Sandbox, environment: str, found: Many) -> None:
    """Deploy the last commit from no connection; the first time does not count."""
    stage.disconnect()
    before, client = _cpu(stage), resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.monotonic()
    ran = stage.client(shop.path, *NONEVENT, "deploy", environment)
    seconds = ran.ended - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    say(f"{environment}: {seconds:.2f} s")
    (found.one if environment == "one" else found.all).seconds.append(seconds)
    if environment == "all":
        found.hosts.append(_cpu(stage) - before)
        found.client.append(after.ru_utime + after.ru_stime - client.ru_utime - client.ru_stime)


def _cpu(stage: Stage) -> float:
    """Processor seconds of all hosts but the single one, since they were switched on."""
    return sum(host.cpu_seconds for name, host in stage.hosts.items() if name != "single")
