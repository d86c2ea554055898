"""A real Django and Celery project: tasks, the schedule and a timer across a redeploy."""

from __future__ import annotations

import threading
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from real import PROJECTS, Project, change, project, proved, replace, wait_for

from nonevent.agent import kernel
from nonevent.testing.load import Load

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SHORT = 2
"""Seconds of a task."""
HOLD = """time.sleep(seconds)
    while name == "task-long" and not (settings.DATA / "go").exists():
        time.sleep(0.05)
"""
"""A task that goes on until the test lets it end: longer than any deploy takes."""
LOOK = 0.05
TIMER = """
[services.tick]
kind = "timer"
command = "python manage.py note"
schedule = "every 2s"
"""


@dataclass(slots=True)
class Beats:
    """The schedulers that /proc showed at any moment."""

    root: str
    most: int = 0
    seen: set[str] = field(default_factory=set)
    looks: int = 0

    def look(self) -> None:
        """Count the processes of instances of ``beat``, each with its children as one."""
        running = {}
        for each in kernel.processes():
            values = kernel.environment(each.pid)
            name = values.get("NONEVENT_INSTANCE", "")
            mine = values.get("NONEVENT_ROOT") == self.root
            if mine and name.startswith("beat-") and each.state != "Z":
                running[each.pid] = name, each.parent
        mains = [name for name, parent in running.values() if parent not in running]
        self.most = max(self.most, len(mains))
        self.seen |= set(mains)
        self.looks += 1


@contextmanager
def watched_beats(made: Project) -> Iterator[Beats]:
    """Look at the schedulers all the time."""
    beats = Beats(str(made.root.resolve()))
    over = threading.Event()

    def watch() -> None:
        while not over.wait(LOOK):
            beats.look()

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield beats
    finally:
        over.set()
        thread.join()


def done(made: Project) -> list[tuple[str, str]]:
    """What workers and timers have finished, in order: a name and the release that did it."""
    lines = made.ask("/done")[1].splitlines()
    return [(name, release) for name, release in (line.split() for line in lines)]


def names(made: Project) -> Counter[str]:
    """How often each task was finished."""
    return Counter(name for name, _ in done(made) if name.startswith("task-"))


def queue(made: Project, name: str, seconds: float) -> None:
    """Ask the app to queue a task."""
    made.ask(f"/work?s={seconds}&name={name}")


def test_django_with_celery_and_poetry_lock(tmp_path: Path) -> None:
    """Across a redeploy and a rollback every task is done once, and the scheduler never twice."""
    with project(tmp_path / "shop", PROJECTS / "django_celery") as made:
        made.keep_secret("SECRET_KEY=only-here\n")
        replace(made, "orders/tasks.py", "time.sleep(seconds)\n", HOLD)
        made.init(TIMER)
        assert made.deploy() == 1
        with watched_beats(made) as beats, Load(made.traffic()) as load:
            wait_for(lambda: ("beat", "1") in done(made), "the schedule queues a task")
            wait_for(lambda: ("timer", "1") in done(made), "the timer runs")
            redeploy_while_a_task_runs(made)
            assert made.rollback() == 1
            queue(made, "task-last", 0)
            wait_for(lambda: ("task-last", "1") in done(made), "release 1 works again")
            load.wait(answered=load.progress.answered + 20)
        wait_for(lambda: len(proved(made.instances())) == 3, "the workers that left have ended")
        assert set(names(made).values()) == {1}
        assert beats.most == 1, f"{beats.most} schedulers at once"
        assert {"beat-1", "beat-2"} <= {name.split(".")[0] for name in beats.seen}
        report = load.report
        assert not report.lost_count, report
        assert set(report.releases) == {"1", "2"}, report


def redeploy_while_a_task_runs(made: Project) -> None:
    """A task that outlasts the deploy ends on the old release, what follows on the new one."""
    wanted = {"task-long"}
    queue(made, "task-long", SHORT)
    wait_for(lambda: received(made), "the old worker takes the long task")
    for number in range(4):
        queue(made, f"task-{number}", SHORT)
        wanted.add(f"task-{number}")
    change(made, "shop/views.py", 'VERSION = "one"', 'VERSION = "two"')
    assert made.deploy() == 2
    instances = made.instances()
    running = proved(instances)
    assert {"web-2", "worker-1", "worker-2", "beat-2"} == running
    assert instances["worker-1"]["state"] == "stopping"
    assert made.ask("/")[1] == "django_celery version two\n"

    before = len(done(made))
    wait_for(lambda: ("timer", "2") in done(made)[before:], "the timer runs from release 2")
    (made.root / "data" / "go").touch()
    wait_for(lambda: set(names(made)) == wanted, "all tasks are done", within=60)
    after = done(made)
    assert ("task-long", "1") in after
    assert ("timer", "1") not in after[before:], "the timer ran from the old release"
    assert {release for name, release in after if name in {"task-2", "task-3"}} == {"2"}
    wait_for(lambda: "worker-1" not in proved(made.instances()), "the old worker has ended")


def received(made: Project) -> bool:
    """Whether the worker of release 1 says in its log that it has begun a task that takes long."""
    return "Task orders.tasks.work[" in (made.root / "logs" / "worker-1.log").read_text()
