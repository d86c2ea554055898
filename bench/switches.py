"""Many switches of a Django project with workers, under constant load, and what they lose.

Every second switch is a rollback. The load has new and kept connections, requests that take
longer than the time between two probes, and uploads of up to several megabytes. Every loss is
printed; one of them makes the exit status 1.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from measure import Result, Table, Times, conclude, say

from nonevent.testing.load import Load

if TYPE_CHECKING:
    from real import Project

    from nonevent.testing.report import Report

RATE = 20.0
SLOW = "/slow?s=1.5"
LARGEST = 4_000_000


def prepared(made: Project) -> str:
    """Make the first release serve; the artifact of a second one."""
    from real import change

    made.keep_secret("SECRET_KEY=only-here\n")
    made.init()
    made.deploy()
    change(made, "shop/views.py", 'VERSION = "one"', 'VERSION = "two"')
    return str(made.good("build").event("built")["path"])


def switch(made: Project, number: int, artifact: str, times: Times) -> None:
    """Deploy the second artifact, or go back to the first release."""
    words = ("rollback", "local") if number % 2 else ("deploy", "local", artifact)
    with times.measured():
        release = made.good(*words).event("serving")["release"]
    name, _ = made.ask("/")
    assert name == str(release), f"release {release} should serve, {name} answered"


def lost(report: Report) -> list[str]:
    """A line for each loss."""
    return [
        f"lost after {each.after:.3f} s ({each.time}): {each.kind}, "
        f"{'kept' if each.kept else 'new'} connection, {each.cause}: {each.detail}"
        for each in report.losses
    ]


def measure(switches: int) -> Result:
    """Run the story of that many switches."""
    from real import PROJECTS, project

    times = Times()
    with (
        tempfile.TemporaryDirectory() as folder,
        project(Path(folder) / "shop", PROJECTS / "django_celery") as made,
    ):
        artifact = prepared(made)
        traffic = made.traffic(rate=RATE, slow=SLOW, largest=LARGEST)
        with Load(traffic) as load:
            load.wait(answered=40)
            for number in range(switches):
                switch(made, number, artifact, times)
                so_far = load.progress
                say(
                    f"switch {number + 1} of {switches}: {times.seconds[-1]:.1f} s, "
                    f"{so_far.answered} answered, {so_far.lost} lost"
                )
            load.wait(answered=load.progress.answered + 40)
        processes = sum(each["processes"] for each in made.instances().values())
    return result(switches, times, load.report, processes)


def result(switches: int, times: Times, report: Report, processes: int) -> Result:
    """The outcome as tables and figures."""
    for line in lost(report):
        print(line)
    by_kind = tuple(
        (kind, f"{1000 * each.median:.0f} ms", f"{1000 * each.p95:.0f} ms",
         f"{1000 * each.longest:.0f} ms")
        for kind, each in report.latency.items()
    )  # fmt: skip
    summary = Table(
        title=f"{switches} switches under load, half of them rollbacks",
        head=("", ""),
        rows=(
            ("requests sent", str(report.sent)),
            ("requests answered", str(report.answered)),
            ("requests lost", str(report.lost_count)),
            ("releases that answered", str(len(report.releases))),
            ("one switch, whole command", str(times)),
            ("the whole load", f"{report.seconds:.0f} s at {RATE:g} requests per second"),
        ),
    )
    answers = Table(title="Answers", head=("kind", "median", "95 %", "longest"), rows=by_kind)
    figures = report.as_dict() | {
        "switches": switches, "switch_seconds": times.seconds, "processes": processes,
    }  # fmt: skip
    return Result(
        name="switches", tables=(summary, answers), figures=figures, good=not report.lost_count
    )


def main(argv: list[str]) -> int:
    """Measure, show and keep. Exit status: 1 where a request was lost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--switches", type=int, default=100)
    return conclude(measure(parser.parse_args(argv).switches))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
