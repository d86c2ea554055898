"""Workers, a scheduler and a timer on a real host: nothing is lost, nothing is done twice.

Celery with Redis, acknowledging early and late, RQ, and a plain loop. The project is
``projects/queues``; each task that begins or ends leaves a line in the data folder.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from bed.visit import get
from bed.wait import until
from real import PROJECTS, Project, project

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bed import Bed, Host

DATA = "/srv/shop/data"
KINDS = {"early": "worker", "late": "late", "job": "rq-worker", "loop": "loop"}
"""What is queued, and the service that does it."""
SERVING = ["beat-2", "late-2.2", "loop-2.2", "rq-worker-2.2", "web-2", "worker-2.2"]
"""The instances in the end: workers of release 2 ran already, and were not yet through."""
RUNS = 7
"""More than systemd starts a unit in ten seconds, unless it is told to."""
MORE = """
[services.late]
kind = "worker"
command = "celery -A tasks worker --loglevel INFO --queues late --hostname late-{{release}}@%h"

[services.loop]
kind = "worker"
command = "python loop.py"

[services.report]
kind = "timer"
command = "python report.py"
schedule = "every 1s"

[environments.production]
hosts = ["queues"]
domains = ["{address}"]
"""


@dataclass(frozen=True, slots=True)
class Note:
    """A line that a process left behind."""

    what: str
    name: str
    release: str
    pid: str
    time: float


@dataclass(frozen=True, slots=True)
class Shop:
    """The project, and the host that it is deployed to."""

    made: Project
    bed: Bed
    host: Host

    def queue(self, kind: str, name: str) -> None:
        """Ask the site to queue a task."""
        assert get(self.bed, self.host, f"/queue/{kind}/{name}") == "b'queued'"

    def notes(self, name: str) -> list[Note]:
        """The lines of that name so far."""
        text = self.host.run(("cat", f"{DATA}/notes"), check=False).stdout
        rows = (line.split() for line in text.splitlines())
        found = (Note(*words, time=float(seconds)) for *words, seconds in rows)
        return [each for each in found if each.name == name]

    def trail(self, name: str) -> list[str]:
        """What happened to a task, in order, each with the release that did it."""
        return [f"{each.what} {each.release}" for each in self.notes(name)]

    def until(self, name: str, *trail: str) -> None:
        """Wait until this happened to a task, and nothing else."""

        def happened() -> bool:
            return self.trail(name) == list(trail)

        until(happened, seconds=60, what=f"{name} to {trail}")

    def mark(self, name: str, text: str = "") -> None:
        """Make a file that tasks look at."""
        self.host.put(f"{DATA}/{name}", text)

    def unmark(self, name: str) -> None:
        """Remove it, if it is there."""
        self.host.run(("rm", "--force", f"{DATA}/{name}"))

    def change(self, text: str) -> None:
        """Commit another line, and deploy it."""
        self.made.repository.commit({"version.txt": text})
        self.made.good("deploy", "production")

    def states(self) -> dict[str, str]:
        """The instances and their states, from `status`."""
        shown = self.made.good("status", "production").event("status")["instances"]
        return {each["instance"]: each["state"] for each in shown}

    def active(self, name: str) -> str:
        """What systemd says of a unit."""
        argv = ("systemctl", "show", "--property=ActiveState", "--value", name)
        return self.host.run(argv).stdout.strip()


def unit(instance: str) -> str:
    """The unit of an instance."""
    service, _, release = instance.rpartition("-")
    return f"shop.{service}@{release}.service"


@pytest.fixture(scope="module")
def shop(bed: Bed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """The project as `init` finds it and a little more, on a host with Redis, deployed once."""
    host = bed.host("queues")
    host.run(("systemctl", "enable", "--now", "redis-server"))
    with project(tmp_path_factory.mktemp("workers") / "shop", PROJECTS / "queues") as made:
        made.env["NONEVENT_SSH"] = f"ssh -F {bed.ssh_config}"
        made.init(MORE.format(address=host.address))
        made.good("setup", "production", "--as", "root")
        made.good("deploy", "production")
        yield Shop(made, bed, host)


def test_tasks_outlast_deploys_and_are_done_once(shop: Shop) -> None:
    """Two deploys and a rollback: what runs ends where it began, what waits is done by the new."""
    shop.mark("slow")
    until(lambda: shop.trail("report")[-1:] == ["begin 1"], seconds=60, what="the timer to be slow")
    for kind in KINDS:
        shop.queue(kind, f"long-{kind}-1")
        shop.until(f"long-{kind}-1", "begin 1")
        shop.queue(kind, f"next-{kind}")
    shop.change("two")
    for kind in KINDS:
        shop.until(f"next-{kind}", "begin 2", "end 2")
        shop.queue(kind, f"long-{kind}-2")
        shop.until(f"long-{kind}-2", "begin 2")
    shop.change("three")
    shop.made.good("rollback", "production")
    assert shop.states() == dict.fromkeys(SERVING, "running") | {
        f"{service}-{release}": "stopping" for service in KINDS.values() for release in (1, 2)
    }
    for kind in KINDS:
        assert shop.trail(f"long-{kind}-1") == ["begin 1"]
        assert shop.trail(f"long-{kind}-2") == ["begin 2"]
    shop.mark("go")
    for kind in KINDS:
        shop.until(f"long-{kind}-1", "begin 1", "end 1")
        shop.until(f"long-{kind}-2", "begin 2", "end 2")


def test_a_slow_timer_is_not_overlapped_by_the_next_release(shop: Shop) -> None:
    """A run that outlasts two deploys ends on its release; the next is of the one that serves."""
    slow = shop.trail("report")
    assert slow == [*("begin 1", "end 1") * (len(slow) // 2), "begin 1"]
    shop.unmark("slow")
    more = [*slow, "end 1", *("begin 2", "end 2") * RUNS]
    until(lambda: shop.trail("report")[: len(more)] == more, seconds=60, what="the next runs")
    said = shop.host.run(("journalctl", "--unit", "shop.report.service")).stdout
    assert "Failed" not in said, said


def test_the_scheduler_never_runs_twice(shop: Shop) -> None:
    """There was one beat at a time, one after the other, and no more ticks than seconds."""
    assert shop.trail("beat") == ["begin 1", "begin 2", "begin 3", "begin 2"]
    ticks = shop.notes("tick")
    assert {each.release for each in ticks} >= {"2", "3"}
    assert len(ticks) <= ticks[-1].time - shop.notes("beat")[0].time + 1


def test_nothing_of_old_releases_is_left(shop: Shop) -> None:
    """When the long tasks are over: no unit, no process, and nothing waiting in Redis."""
    until(lambda: shop.states() == dict.fromkeys(SERVING, "running"), seconds=60, what="the end")
    argv = ("systemctl", "list-units", "--all", "--plain", "--no-legend", "shop.*@*")
    units = [line.split()[0] for line in shop.host.run(argv).stdout.splitlines()]
    assert units == [unit(name) for name in SERVING]
    script = 'for pid in $(pgrep -u shop); do tr "\\0" "\\n" </proc/$pid/environ; done'
    lines = shop.host.run(("sh", "-c", script), check=False).stdout.splitlines()
    assert {line for line in lines if line.startswith("NONEVENT_RELEASE=")} == {
        "NONEVENT_RELEASE=2"
    }
    waiting = ("llen late", "llen rq:queue:jobs", "llen loop", "hlen unacked")
    for words in waiting:
        assert shop.host.run(("redis-cli", *words.split())).stdout == "0\n", words


def test_what_is_acknowledged_late_outlives_its_worker(shop: Shop) -> None:
    """Killed with its process, or with all of its worker, a task begins again; an early one not."""
    shop.unmark("go")
    shop.queue("late", "long-child")
    shop.until("long-child", "begin 2")
    shop.host.run(("kill", "-KILL", shop.notes("long-child")[0].pid))
    shop.until("long-child", "begin 2", "begin 2")
    shop.mark("go")
    shop.until("long-child", "begin 2", "begin 2", "end 2")
    shop.unmark("go")
    shop.queue("late", "long-late")
    shop.queue("early", "long-early")
    shop.until("long-late", "begin 2")
    shop.until("long-early", "begin 2")
    shop.mark("visible", "1")
    units = (unit("late-2.2"), unit("worker-2.2"))
    shop.host.run(("systemctl", "kill", "--signal", "KILL", "--kill-whom", "all", *units))
    shop.until("long-late", "begin 2", "begin 2")
    shop.mark("go")
    shop.until("long-late", "begin 2", "begin 2", "end 2")
    assert shop.trail("long-early") == ["begin 2"]


def test_a_reboot_lets_tasks_end(shop: Shop) -> None:
    """A reboot in order waits for a task, leaves it the broker, and it is not done again."""
    shop.unmark("go")
    shop.mark("visible", "1")
    shop.queue("late", "long-reboot")
    until(lambda: len(shop.trail("long-reboot")) == 1, seconds=60, what="the task to begin")
    before = shop.states()
    units = {name.rpartition("-")[0]: unit(name) for name in before}
    leader = shop.host.leader()
    shop.host.run(("systemctl", "reboot", "--no-block"))
    until(lambda: shop.active(units["late"]) == "deactivating", seconds=60, what="the reboot")
    until(lambda: shop.active(units["beat"]) == "inactive", seconds=60, what="beat to end")
    assert shop.active("redis-server.service") == "active"
    shop.mark("go")
    until(lambda: shop.host.leader() not in {leader, 0}, seconds=60, what="the next boot")
    shop.host.wait_up()
    until(lambda: set(shop.states().values()) == {"running"}, seconds=60, what="the workers")
    assert [each.what for each in shop.notes("long-reboot")] == ["begin", "end"]
    assert shop.host.run(("redis-cli", "hlen", "unacked")).stdout == "0\n"
