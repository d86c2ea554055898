"""The demo, whole, as its own process."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from repository import environ as build_environ

from nonevent.demo.stage import processes
from nonevent.demo.story import Act, Numbers, Outcome
from nonevent.model.layout import Layout
from nonevent.testing.report import Report

if TYPE_CHECKING:
    from collections.abc import Iterator

DEMO = (sys.executable, "-m", "nonevent.cli.__main__", "demo")
LIMIT = 300
"""Seconds; a first run downloads Django."""


def environ(folder: Path) -> dict[str, str]:
    """An environment whose temporary files go to a folder, with plain and wide output.

    Layers are built anew for each session, from the packages that uv has.
    """
    return {
        **build_environ(),
        "TMPDIR": str(folder),
        "XDG_CACHE_HOME": str(folder.parent / "cache"),
        "NO_COLOR": "1",
        "COLUMNS": "100",
    }


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder where the demo leaves nothing, neither files nor processes."""
    yield tmp_path
    assert [str(path) for path in tmp_path.iterdir()] == []
    assert processes(tmp_path) == ()


def sockets(said: str) -> Path:
    """The folder that the sockets were in; it may be elsewhere, for the length of their names."""
    found = re.search(r"in (\S+/shop);", said)
    assert found
    return Layout(Path(found[1]) / ".nonevent" / "local").run


def test_the_demo_loses_nothing_and_leaves_nothing(folder: Path) -> None:
    """The demo deploys twice, refuses a broken release, goes back, and loses nothing."""
    done = subprocess.run(
        DEMO, env=environ(folder), stdin=subprocess.DEVNULL, capture_output=True, text=True,
        timeout=LIMIT, check=False,
    )  # fmt: skip
    said, table = done.stderr, done.stdout
    assert done.returncode == 0, said + table
    assert not sockets(said).exists()
    assert [line for line in said.splitlines() if line.startswith("$")] == [
        "$ nonevent deploy local",
        "$ git commit --all --message 'Promise frames'",
        "$ nonevent deploy local",
        "$ git commit --all --message 'Report errors'",
        "$ nonevent deploy local",
        "$ nonevent logs local --service web --release 3 -n 500 | grep -m1 Error",
        "$ nonevent rollback local",
        "$ nonevent status local",
    ]
    assert re.findall(r"release (\d) \(\w{7}\) (?:still )?serves", said) == ["1", "2", "2", "1"]
    assert "exit status 1" in said
    assert "web-3 | ModuleNotFoundError: No module named 'sentry_sdk'" in table
    assert re.search(r"web +1 +running \(serves\) .* runs its release", table)
    figures = r"(?m)^ *{} +([\d,]+) +(\d+) +\d+ +[\d.]+ s +([\d.]+ s|-) +([\d.]+ s|-) *$"
    one, two, three = (
        re.findall(figures.format(rf"{number} \(\w{{7}}\)"), table) for number in "123"
    )
    assert int(one[0][0]) > 45
    assert one[0][1] == "0"
    assert one[0][2].endswith(" s")
    assert int(two[0][0]) > 45
    assert two[0][1:3] == ("0", "-")
    assert re.search(r"3 \(\w{7}\) refused +0 +0 ", table)
    assert three == []
    assert len(said.splitlines()) + len(table.splitlines()) < 75


def test_an_interrupted_demo_leaves_nothing(folder: Path) -> None:
    """Ctrl-C in the middle of a deploy ends the demo with 130, and nothing runs on."""
    with subprocess.Popen(
        DEMO, env=environ(folder), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE, text=True,
    ) as demo:  # fmt: skip
        assert demo.stderr
        head = demo.stderr.readline() + demo.stderr.readline()
        seen = next((line for line in demo.stderr if "healthy" in line), "the end")
        assert processes(folder), seen
        assert sockets(head).exists()
        demo.send_signal(signal.SIGINT)
        said = demo.stderr.read()
        assert demo.wait(60) == 130, seen + said
    assert not sockets(head).exists()
    assert "interrupted; everything is stopped and removed again" in said


def test_without_git_the_demo_says_so(folder: Path) -> None:
    """Where git is missing the demo ends with 2, and one sentence says what to install."""
    done = subprocess.run(
        DEMO, env={**environ(folder), "PATH": str(folder / "bin")}, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "git is not installed" in done.stderr


def outcome(*, lost: int = 0, printed: int = 30) -> Outcome:
    """What a demo with two releases, the second one refused, might lead to."""
    return Outcome(
        acts=(
            Act(what="deploy", release=1, commit="abc1234", seconds=7.0, boot=0.5),
            Act(what="deploy", release=2, commit="def5678", status=1, seconds=3.0, lost=lost),
            Act(what="rollback", release=1, seconds=2.5),
        ),
        report=Report(
            seconds=10.0, sent=100, answered=100 - lost, lost={"reset": lost} if lost else {},
            reconnected=0, behind=0.0, latency={}, releases={"1": 100 - lost}, losses=(),
        ),
        numbers=Numbers(orders=30, printed=printed, printed_by={"1": printed}, reported_by={}),
    )  # fmt: skip


def test_a_row_holds_all_that_concerns_its_release() -> None:
    """A release's row has its answers, its tasks, its losses, and both ways that led to it."""
    one, two = outcome(lost=2).rows()
    assert (one.answered, one.lost, one.tasks, one.good) == (98, 0, 30, True)
    assert (one.deploy, one.rollback, one.boot) == (7.0, 2.5, 0.5)
    assert (two.answered, two.lost, two.good, two.rollback) == (0, 2, False, 0)


def test_what_is_lost_is_counted() -> None:
    """A request without an answer, a task that is not done and one done twice count as lost."""
    ends = (outcome(), outcome(lost=2), outcome(printed=29), outcome(printed=31))
    assert [each.lost for each in ends] == [0, 2, 1, 1]
    assert [each.exit_status for each in ends] == [0, 1, 1, 1]
