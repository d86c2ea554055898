"""Deploy and rollback on this machine, against the app's own boot time.

The app's boot time is from the start of the release's own server command until its first good
answer on the socket, with nothing of Nonevent in between. A deploy is timed from the start of
the command until a visitor gets the new release, and until the command has ended: by then the
new release has been watched, and the old one has drained and ended.
"""

from __future__ import annotations

import argparse
import http.client
import os
import shlex
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from measure import Result, Table, Times, conclude, say

if TYPE_CHECKING:
    from collections.abc import Iterator

    from real import Outcome, Project

LOOK = 0.02
"""Seconds between two looks at who answers."""
LIMIT = 120.0
SHOWN = 0.1
"""Seconds that a step must take to be shown."""
PROJECTS = {"flask_requirements": "app.py", "django_celery": "shop/views.py"}
SECRET = "SECRET_KEY=only-here\n"


@dataclass(slots=True)
class Measured:
    """The times of one project."""

    boot: Times = field(default_factory=Times)
    deploy: Times = field(default_factory=Times)
    deployed: Times = field(default_factory=Times)
    build: Times = field(default_factory=Times)
    built: Times = field(default_factory=Times)
    back: Times = field(default_factory=Times)
    gone_back: Times = field(default_factory=Times)
    steps: dict[str, list[float]] = field(default_factory=dict)
    """Of the deploys of an artifact, by the step's name; what is left is the client's own."""


class _Unix(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=LIMIT)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket's path."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.connect(str(self._path))


def answers(connection: http.client.HTTPConnection, path: str) -> str:
    """The release that answers a request well, empty where none does."""
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        answer.read()
    except (OSError, http.client.HTTPException):
        return ""
    finally:
        connection.close()
    return (answer.getheader("X-Nonevent-Release") or "") if answer.status == 200 else ""


def boot(made: Project, times: Times) -> None:
    """Start the web command of the current release as any script would, until it answers."""
    folder = (made.root / "current").resolve()
    text = (made.folder / "nonevent.toml").read_text()
    command = text.partition("[services.web]")[2].partition('command = "')[2].partition('"')[0]
    path = Path(tempfile.mkdtemp(dir=made.folder.parent)) / "web.sock"
    words = shlex.split(command.format(socket=path))
    env = os.environ | {
        "NONEVENT_RELEASE": "alone", "NONEVENT_DATA": str(made.root / "data"),
        "DJANGO_SETTINGS_MODULE": "shop.settings", "SECRET_KEY": "only-here",
    }  # fmt: skip
    env.pop("PYTHONPATH", None)
    with times.measured():
        child = subprocess.Popen(
            (folder / "venv" / "bin" / "python", "-m", *words), cwd=folder / "app", env=env,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        deadline = time.monotonic() + LIMIT
        while not answers(_Unix(path), "/healthz"):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{words} does not answer")
            time.sleep(LOOK)
    child.send_signal(signal.SIGTERM)
    child.wait(LIMIT)


@contextmanager
def until_another_answers(made: Project, times: Times) -> Iterator[None]:
    """Time from here until somebody else than now answers at the front."""

    def ask() -> str:
        return answers(
            http.client.HTTPConnection("127.0.0.1", made.port, timeout=LIMIT), "/healthz"
        )

    before, began, over = ask(), time.perf_counter(), threading.Event()

    def look() -> None:
        while not over.wait(LOOK):
            if ask() not in ("", before):
                times.seconds.append(time.perf_counter() - began)
                return

    looking = threading.Thread(target=look)
    looking.start()
    try:
        yield
    finally:
        looking.join(1)
        over.set()
        looking.join()


def repeat(made: Project, file: str, repetitions: int) -> Measured:
    """Measure one project; the first release and its build do not count."""
    from real import change

    measured = Measured()
    made.deploy()
    for number in range(repetitions):
        for _ in range(2):
            boot(made, measured.boot)
        change(made, file, f'VERSION = "{number or "one"}"', f'VERSION = "{number + 1}"')
        with until_another_answers(made, measured.build), measured.built.measured():
            made.deploy()
        with until_another_answers(made, measured.back), measured.gone_back.measured():
            made.rollback()
        artifact = str(made.good("build").event("built")["path"])
        with until_another_answers(made, measured.deploy), measured.deployed.measured():
            outcome = made.good("deploy", "local", artifact)
        note_steps(measured, outcome)
        say(f"{number + 1} of {repetitions}: {measured.deployed.seconds[-1]:.1f} s")
    return measured


def note_steps(measured: Measured, outcome: Outcome) -> None:
    """Add up what each kind of step took, as the agent says."""
    taken: Counter[str] = Counter()
    for event in outcome.events:
        if event["event"] == "done":
            taken[event["step"]["do"]] += event["seconds"]
    taken["everything else"] = measured.deployed.seconds[-1] - taken.total()
    for name, seconds in taken.items():
        measured.steps.setdefault(name, []).append(seconds)


def breakdown(name: str, measured: Measured) -> Table:
    """Where the time of a deploy goes: the steps that take a tenth of a second or more."""
    medians = {step: statistics.median(each) for step, each in measured.steps.items()}
    rows = sorted(medians.items(), key=lambda each: -each[1])
    return Table(
        title=f"Where the time of a deploy of an artifact goes, {name}",
        head=("step", "median"),
        rows=tuple((step, f"{median:.2f} s") for step, median in rows if median >= SHOWN),
    )


def table(name: str, measured: Measured) -> Table:
    """The times of one project, as ratio and difference to the app's own."""
    to = measured.boot.median
    rows = (
        ("the app's own boot", measured.boot),
        ("deploy of an artifact, until it answers", measured.deploy),
        ("deploy of an artifact, whole command", measured.deployed),
        ("build and deploy of a changed line, until it answers", measured.build),
        ("build and deploy of a changed line, whole command", measured.built),
        ("rollback, until the old release answers", measured.back),
        ("rollback, whole command", measured.gone_back),
    )
    return Table(
        title=f"On this machine, {name}",
        head=("", "median (range)", "ratio", "difference"),
        rows=tuple(
            (text, str(times), f"{times.median / to:.1f}", f"{times.median - to:+.2f} s")
            for text, times in rows
        ),
    )


def measure(repetitions: int) -> Result:
    """Measure the projects."""
    from real import PROJECTS as SAMPLES
    from real import project

    tables, figures = [], {}
    for name, file in PROJECTS.items():
        with (
            tempfile.TemporaryDirectory() as folder,
            project(Path(folder) / "shop", SAMPLES / name) as made,
        ):
            say(f"{name}: the first release, which does not count")
            made.keep_secret(SECRET)
            made.init()
            measured = repeat(made, file, repetitions)
        tables += [table(name, measured), breakdown(name, measured)]
        figures[name] = asdict(measured)
    return Result(name="local", tables=tuple(tables), figures=figures)


def main(argv: list[str]) -> int:
    """Measure, show and keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=5)
    return conclude(measure(parser.parse_args(argv).repetitions))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
