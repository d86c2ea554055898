"""Deploys of a Wagtail site to a host over ssh, against what its users do today.

Each peer has a host of its own; all of them take each step in turns. A deploy is timed from the
start of the client's command until visitors get the new release through nginx. ``--write`` puts
the tables into ``docs/explanation/performance.md``.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from measure import Result, Times, say
from shipping import report, wheels
from shipping.changed import compressed, digests
from shipping.limits import limits
from shipping.many import measure_many
from shipping.peers.nonevent import Nonevent
from shipping.peers.scripts import RSYNC, TAR, UV
from shipping.peers.tools import ANSIBLE, CAPISTRANO, PYINFRA
from shipping.project import PATCHES, Site
from shipping.stage import Stage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shipping.peers.base import Peer
    from shipping.stage import Seen

OURS = Nonevent()
PEERS: tuple[Peer, ...] = (OURS, RSYNC, TAR, UV, ANSIBLE, PYINFRA, CAPISTRANO)
QUICK = ("nonevent", "tar", "rsync")
"""Who repeats first deploys and patches too: the others take long, and do not count there."""
FORGOTTEN = 65.0
"""Seconds until ext4 takes inodes that were deleted: before, it looks long for others."""


@dataclass(slots=True)
class Run:
    """All that is measured in one run."""

    stage: Stage
    site: Site
    peers: Sequence[Peer]
    seen: dict[str, dict[str, list[Seen]]] = field(default_factory=dict)
    """By step and peer."""
    times: dict[str, Times] = field(default_factory=dict)
    memory: dict[str, int] = field(default_factory=dict)
    patches: list[int] = field(default_factory=list)
    """Bytes of the files that a patch of Django changes, compressed."""

    def timed(self, what: str) -> Times:
        """The times of something that has no peer."""
        return self.times.setdefault(what, Times())

    def note(self, step: str, peer: Peer, seen: Seen) -> None:
        """Keep and tell one deploy."""
        self.seen.setdefault(step, {}).setdefault(peer.name, []).append(seen)
        say(f"{step}: {peer.name} {seen.answered:.2f} s, {seen.bytes / 1000:.0f} kB")

    def first(self, repetitions: int) -> None:
        """First deploys to fresh hosts."""
        self._build()
        for number in range(repetitions):
            peers = [peer for peer in self.peers if not number or peer.name in QUICK]
            if number:
                for peer in peers:
                    self.stage.hosts[peer.name].reset()
                time.sleep(FORGOTTEN)
            for peer in peers:
                peer.prepare(self.stage, self.site)
                with self.stage.agent_memory(peer.name) as agent:
                    self.deploy("first", peer)
                if peer is OURS:
                    self.memory["agent"] = max(self.memory.get("agent", 0), *agent)

    def deploy(self, step: str, peer: Peer, *, connected: bool = False) -> None:
        """Deploy the last commit with one peer."""
        act = partial(peer.deploy, self.stage, self.site)
        seen = self.stage.see(peer.name, self.site.answer, act, connected=connected)
        self.note(step, peer, seen)

    def change(self) -> None:
        """A line changes; all peers deploy that in turns, and then go back from it."""
        self.site.change()
        self._build("change")
        for peer in self.peers:
            self.deploy("change", peer)
        for peer in self.peers:
            self.rollback("rollback", peer)

    def bump(self, peers: Sequence[Peer]) -> None:
        """A patch of Django."""
        self.site.bump()
        before = digests(self.site.tree)
        self._build("bump")
        self.patches.append(compressed(self.site.tree, before))
        for peer in peers:
            self.deploy("bump", peer)

    def rollback(self, step: str, peer: Peer, *, connected: bool = False) -> None:
        """Go back with one peer."""
        act = partial(peer.rollback, self.stage, self.site)
        seen = self.stage.see(peer.name, f"!{self.site.answer}", act, connected=connected)
        self.note(step, peer, seen)

    def _build(self, step: str = "first") -> None:
        """Everybody's build of the last commit; ours is timed, against uv."""
        with self.timed(f"build {step}").measured():
            OURS.build(self.stage, self.site)
        if step == "change":
            with self.timed("build nothing").measured():
                OURS.build(self.stage, self.site)
        if step == "bump":
            with self.timed("uv").measured():
                self.site.install_anew()
        self.site.update_tree()

    def ours_alone(self) -> None:
        """With a connection that is open, and with the build in the same command."""
        self.site.change()
        OURS.build(self.stage, self.site)
        OURS.look(self.stage, self.site)
        self.deploy("change, connected", OURS, connected=True)
        self.rollback("rollback, connected", OURS, connected=True)
        self.site.change()
        act = partial(OURS.build_and_deploy, self.stage, self.site)
        self.note("change, built", OURS, self.stage.see(OURS.name, self.site.answer, act))

    def ours_warm(self, repetitions: int) -> None:
        """Rollbacks to a release whose processes were kept."""
        self.site.keep_warm()
        for number in range(2 * repetitions + 1):
            self.site.change()
            OURS.build(self.stage, self.site)
            OURS.deploy(self.stage, self.site)
            if number > repetitions:
                self.rollback("rollback, warm, connected", OURS, connected=True)
            elif number:
                self.rollback("rollback, warm", OURS)


def usable(names: Sequence[str]) -> tuple[Peer, ...]:
    """The peers that are asked for and installed; who is not is named, with the remedy."""
    found = []
    for peer in PEERS:
        if names and peer.name not in (*names, OURS.name):
            continue
        if missing := peer.why_not():
            say(f"left out: {peer.name} is not installed; {missing}")
        else:
            found.append(peer)
    return tuple(found)


def measure(peers: Sequence[Peer], repetitions: int) -> tuple[Result, str]:
    """Measure; the second is the tables as Markdown."""
    from bed import Bed
    from real import project

    base = Path(tempfile.mkdtemp(prefix="ne-"))
    try:
        # Its cache is beside the folder above it: no layer comes from an earlier run.
        with Bed() as bed, project(base / "made" / "shop") as made:
            site = Site(made, base)
            say("making the site, its hosts and the folder of wheels")
            site.create()
            stage = Stage(bed=bed, work=base, env=made.env)
            stage.open([peer.name for peer in peers])
            wheels.fetch(site, base / "wheels")
            run = Run(stage, site, peers)
            with wheels.served(stage, base / "wheels"):
                run.first(repetitions)
                for _ in range(repetitions):
                    run.change()
                    run.ours_alone()
                for number in range(min(repetitions, len(PATCHES) - 1)):
                    run.bump([each for each in peers if not number or each.name in QUICK])
                run.ours_warm(repetitions)
            for _ in range(repetitions):
                run.timed("boot").seconds.append(stage.boot(OURS.name))
            found = report.Report(
                run=run,
                limits=limits(stage, OURS.name),
                size=report.measure_size(run),
                many=measure_many(base / "many", repetitions),
            )
    finally:
        shutil.rmtree(base, ignore_errors=True)
    figures = {
        "seen": {
            step: {name: [asdict(each) for each in seen] for name, seen in by.items()}
            for step, by in run.seen.items()
        },
        "times": {name: asdict(each) for name, each in run.times.items()},
        "memory": run.memory,
        "patches": run.patches,
        "many": asdict(found.many),
    }
    return Result(name="ship", tables=found.tables(), figures=figures), found.markdown()


def main(argv: list[str]) -> int:
    """Measure, show, keep, and write into the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("peers", nargs="*", metavar="PEER", help="only these, and nonevent")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--write", action="store_true", help="write the tables into the page")
    asked = parser.parse_args(argv)
    from bed import why_not

    # uv links files from its cache into virtualenvs; a build must copy. Equal terms for both.
    os.environ.setdefault("UV_LINK_MODE", "copy")
    if reason := why_not():
        say(f"error: {reason}")
        return 1
    result, page = measure(usable(asked.peers), asked.repetitions)
    print(page)
    if asked.write:
        report.write(page)
    say(f"kept in {result.keep()}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
