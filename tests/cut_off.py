"""Commands on a real host that are cut off at random moments, under constant load.

The agent is killed, the client is killed, or the host loses its power, at a random event of the
command. Afterwards the host must serve exactly one whole release, the one that its ledger names,
with nobody cleaning up; then a command that nobody disturbs must work. A request may be lost only
while the host has no power.
"""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bed import Bed, visit
from bed.visit import get
from real import PROJECTS, change, project, replace

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from bed import Host
    from real import Project

ROOT = "/srv/shop"
KINDS = ("agent killed", "client killed", "power cut")
WITHIN = 180.0
"""Seconds in which a host must have converged before it counts as stuck."""
LIMIT = 300.0
CONFIG = """
[environments.production]
hosts = ["chaos1"]
domains = ["{address}"]
standby = "{standby}"
[services.worker]
kind = "worker"
command = "python worker.py"
stop_limit = "10s"
[services.beat]
kind = "singleton"
command = "python beat.py {{data}}"
stop_limit = "10s"
"""
WORKER = """
import signal, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
while True:
    signal.pause()
"""
BEAT = """
import fcntl, os, signal, sys
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
alone = open(os.path.join(sys.argv[1], "beat.lock"), "w")
try:
    fcntl.flock(alone, fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    open(os.path.join(sys.argv[1], "overlap"), "a").write(os.environ["NONEVENT_INSTANCE"])
while True:
    signal.pause()
"""
SERVICES = ("beat", "web", "worker")


@dataclass(slots=True, kw_only=True)
class Chaos:
    """A site, who disturbs it, and what became of it."""

    bed: Bed
    host: Host
    made: Project
    artifacts: tuple[str, str]
    chance: random.Random
    commit: str = ""
    """What served when it was last looked at."""
    may_go_back: bool = False
    events: dict[str, int] = field(default_factory=dict)
    """How many events a command has that nobody disturbs, by its first word."""
    happened: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    converged: dict[str, list[float]] = field(default_factory=dict)
    """Seconds until the host was whole again, by what had happened."""
    sent: int = 0
    lost: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    # -- looking

    def complaint(self) -> str:
        """Why the host does not serve exactly the release that its ledger names, or nothing."""
        shown = self.made.nonevent("status", "production")
        if shown.status:
            return f"status: {shown.stderr.strip() or shown.events}"
        found = shown.event("status")
        if found["busy"] or found["interrupted"]:
            return f"busy with {found['busy'] or found['interrupted']}"
        number, commit = found["release"]["number"], found["release"]["commit"]
        self.commit, self.may_go_back = commit, 0 < (found["previous"] or 0) < number
        running = [each for each in found["instances"] if each["processes"] and not each["standby"]]
        names = sorted(each["service"] for each in running if each["release"] == number)
        if tuple(names) != SERVICES or len(running) != len(names):
            return f"release {number} should run alone, {[e['instance'] for e in running]} run"
        if against := [text for each in running for text in each["complaints"]]:
            return f"release {number} is not itself: {against}"
        artifact = next(each for each in self.artifacts if commit[:7] in each)
        text = f"release {number} version {('one', 'two')[self.artifacts.index(artifact)]}"
        seen = get(self.bed, self.host)
        return "" if text in seen else f"{text} should answer, {seen!r} does"

    def until_whole(self, what: str) -> None:
        """Wait until there is no complaint; one that stays is noted."""
        deadline = time.monotonic() + WITHIN
        while complaint := self.complaint():
            if time.monotonic() > deadline:
                self.wrong.append(f"{what}: {complaint}")
                return
            time.sleep(0.2)

    # -- acting

    def words(self) -> tuple[str, ...]:
        """A deploy of the artifact that does not serve, or now and then a rollback."""
        if self.may_go_back and self.chance.random() < 0.4:
            return ("rollback", "production")
        other = next(each for each in self.artifacts if self.commit[:7] not in each)
        return ("deploy", "production", other)

    def undisturbed(self, what: str) -> None:
        """A command that nobody disturbs works, and loses no request."""
        words = self.words()
        with self.load(f"{what}, then {words[0]}", may_lose=False):
            done = self.made.nonevent(*words)
            if done.status:
                self.wrong.append(f"{what}, then {words[0]}: {done.events[-1]}")
            self.until_whole(f"{what}, then {words[0]}")
        self.events.setdefault(words[0], len(done.events))

    def disturbed(self, number: int) -> str:
        """A command that something happens to; what, and when."""
        kind = self.chance.choices(KINDS, (3, 3, 2))[0]
        words = self.words()
        count = self.events.get(words[0], max(self.events.values()))
        place, wait = self.chance.randrange(count), self.chance.random() * 0.3
        what = f"{number}: {words[0]}, {kind} {wait:.2f} s after event {place} of {count}"
        with self.load(what, may_lose=kind == "power cut"):
            child = self.start(words)
            last = ""
            assert child.stdout
            for _ in range(place + 1):
                last = child.stdout.readline() or last
            time.sleep(wait)
            self.act(kind, child)
            began = time.monotonic()
            self.outcomes[self.end_of(child)] += 1
            self.until_whole(f"{what} ({last.strip()[:200]})")
            seconds = time.monotonic() - began
        self.happened[kind] += 1
        self.converged.setdefault(kind, []).append(seconds)
        return f"{what}; whole again after {seconds:.1f} s"

    def act(self, kind: str, child: subprocess.Popen[str]) -> None:
        """Let it happen."""
        match kind:
            case "agent killed":
                argv = ("pgrep", "-u", "deploy", "-f", f"serve --root {ROOT}")
                for pid in self.host.run(argv, check=False).stdout.split():
                    self.host.run(("kill", "-KILL", pid), check=False)
            case "client killed":
                child.kill()
            case _:
                self.host.power_cut()
                self.host.boot()

    def start(self, words: tuple[str, ...]) -> subprocess.Popen[str]:
        """Start a command in a process of its own."""
        return subprocess.Popen(
            (sys.executable, "-m", "nonevent.cli", *words, "--json"),
            cwd=self.made.folder,
            env=self.made.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def end_of(self, child: subprocess.Popen[str]) -> str:
        """How a command ended."""
        try:
            child.communicate(timeout=LIMIT)
        except subprocess.TimeoutExpired:
            child.kill()
            child.communicate()
            self.wrong.append("a command did not end")
        return f"exit status {child.returncode}"

    def load(self, what: str, *, may_lose: bool) -> _Counted:
        """Constant load for the length of a block; what it loses is wrong where it may not."""
        return _Counted(self, what, may_lose=may_lose)


class _Counted:
    """A load whose requests are counted at its end."""

    def __init__(self, chaos: Chaos, what: str, *, may_lose: bool) -> None:
        self.chaos, self.what, self.may_lose = chaos, what, may_lose
        self.load = visit.load(chaos.bed, chaos.host, mix="fast=1")
        self.report: dict[str, Any] = {}

    def __enter__(self) -> None:
        self.report = self.load.__enter__()

    def __exit__(self, *error: object) -> None:
        self.load.__exit__(*error)
        count = sum(self.report["lost"].values())
        self.chaos.sent += self.report["sent"]
        self.chaos.lost["without power" if self.may_lose else "otherwise"] += count
        if count and not self.may_lose:
            self.chaos.wrong.append(f"{self.what}: lost {self.report['losses'][:3]}")


def prepared(made: Project, bed: Bed, host: Host, standby: str) -> tuple[str, str]:
    """The first release serves, after `setup`; the artifacts of two versions."""
    replace(
        made,
        "app.py",
        "flask_requirements version",
        "release {os.environ.get('NONEVENT_RELEASE')} version",
    )
    made.env["NONEVENT_SSH"] = f"ssh -F {bed.ssh_config}"
    (made.folder / "worker.py").write_text(WORKER)
    (made.folder / "beat.py").write_text(BEAT)
    made.init(CONFIG.format(address=host.address, standby=standby))
    one = str(made.good("build").event("built")["path"])
    change(made, "app.py", 'VERSION = "one"', 'VERSION = "two"')
    two = str(made.good("build").event("built")["path"])
    made.good("setup", "production", "--as", "root")
    made.good("deploy", "production", one)
    return one, two


def story(
    folder: Path, *, disturbances: int, seed: int, standby: str = "0s", say: Callable[[str], None]
) -> Chaos:
    """That many commands that are cut off, each followed by one that is not."""
    with Bed() as bed, project(folder, PROJECTS / "flask_requirements") as made:
        host = bed.host("chaos1")
        artifacts = prepared(made, bed, host, standby)
        chance = random.Random(seed)
        chaos = Chaos(bed=bed, host=host, made=made, artifacts=artifacts, chance=chance)
        chaos.until_whole("at first")
        chaos.undisturbed("at first")
        for number in range(1, disturbances + 1):
            what = chaos.disturbed(number)
            chaos.undisturbed(what)
            say(f"{what}; {dict(chaos.lost)} of {chaos.sent} lost; wrong: {chaos.wrong}")
        if host.run(("test", "-e", f"{ROOT}/data/overlap"), check=False).returncode == 0:
            chaos.wrong.append("a singleton ran twice")
    return chaos
