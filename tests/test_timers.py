"""Timers: when they are due, and that they run from the release that serves."""

from __future__ import annotations

import math
import subprocess
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny import SERVICES, TinyHost, parcel

from nonevent.agent import kernel, ledger, release
from nonevent.embedded.timers import Timers, next_run
from nonevent.model.layout import Layout
from nonevent.model.ledger import Event, Line
from nonevent.model.service import Kind, Service
from nonevent.model.want import Stop
from nonevent.testing.process import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TICK = """
import os, sys, time
print(os.environ["NONEVENT_RELEASE"], os.environ["TOKEN"], flush=True)
"""
POLITE = """
import signal, sys
def end(*_):
    print("polite ended", flush=True)
    sys.exit(0)
signal.signal(signal.SIGINT, end)
print("polite", flush=True)
signal.pause()
"""
SLOW = """
import os, signal, sys
print("slow", os.getpid(), flush=True)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
while True:
    signal.pause()
"""
EVERY_SECOND = (
    Service(name="tick", kind=Kind.TIMER, command="python tick.py", schedule="every 1s"),
    Service(name="slow", kind=Kind.TIMER, command="python slow.py", schedule="every 1s",
            stop_limit=1.0),
    Service(name="polite", kind=Kind.TIMER, command="python polite.py", schedule="every 1s",
            stop_signal="INT"),
    Service(name="bad", kind=Kind.TIMER, command="python -c 'raise SystemExit(3)'",
            schedule="every 1s"),
)  # fmt: skip
FILES = {"tick.py": TICK, "slow.py": SLOW, "polite.py": POLITE}


@given(
    st.sampled_from(("*/5 * * * *", "0 0 29 2 *", "0 3 * * 1", "every 10m", "every 90s")),
    st.integers(1_600_000_000, 2_000_000_000),
)
def test_a_timer_is_due_later(schedule: str, now: int) -> None:
    """Whatever the schedule, the next run is after now, so a round never starts one twice."""
    assert next_run(schedule, float(now)) > now


@pytest.mark.parametrize("schedule", ["0 0 30 2 *", "garbage", "61 * * * *"])
def test_what_never_comes_is_never_due(schedule: str) -> None:
    """A schedule without a day, or one that is none, does not stop the keeper."""
    assert next_run(schedule, 1_700_000_000.0) == math.inf


def test_an_interval_counts_from_now() -> None:
    """``every 10m`` is due ten minutes later."""
    assert next_run("every 10m", 1000.0) == 1600.0


def test_cron_fields_are_in_the_machines_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """``0 3 * * *`` is three in the morning on the host's own clock."""
    monkeypatch.setenv("TZ", "UTC")
    noon = datetime(2026, 1, 1, 12, tzinfo=UTC).timestamp()
    assert datetime.fromtimestamp(next_run("0 3 * * *", noon)).hour == 3  # noqa: DTZ006


@pytest.fixture
def berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[ZoneInfo]:
    """The machine's time is Berlin's."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "Europe/Berlin")
        time.tzset()
        yield ZoneInfo("Europe/Berlin")
    time.tzset()


@pytest.mark.parametrize(
    ("schedule", "day", "runs"),
    [
        ("0 3 * * *", (2026, 3, 29), ["03:00+0200"]),
        ("0 3 * * *", (2026, 10, 25), ["03:00+0100"]),
        ("30 2 * * *", (2026, 3, 29), ["03:00+0200"]),
        ("30 2 * * *", (2026, 10, 25), ["02:30+0200"]),
        ("*/30 2 * * *", (2026, 10, 25),
         ["02:00+0200", "02:30+0200", "02:00+0100", "02:30+0100"]),
    ],
)  # fmt: skip
def test_a_clock_that_changes_runs_a_timer_once(
    berlin: ZoneInfo, schedule: str, day: tuple[int, int, int], runs: list[str]
) -> None:
    """In the nights of summer and winter time a timer is due as often as its fields say."""
    now = datetime(*day, tzinfo=berlin).timestamp()
    end = now + 23 * 3600
    found = []
    while (now := next_run(schedule, now)) < end:
        found.append(datetime.fromtimestamp(now, berlin).strftime("%H:%M%z"))
    assert found == runs


def test_in_the_second_turn_of_an_hour_nothing_is_due_before_now(berlin: ZoneInfo) -> None:
    """At 02:10 for the second time, 02:30 of the first turn is over."""
    now = datetime(2026, 10, 25, 2, 10, fold=1, tzinfo=berlin).timestamp()
    due = datetime.fromtimestamp(next_run("30 2 * * *", now), berlin)
    assert (due.day, due.hour, due.minute) == (26, 2, 30)


def test_a_clock_that_was_ahead_does_not_stop_timers(tmp_path: Path) -> None:
    """After the clock is set back from the future, a timer is due as the clock now shows."""
    layout = Layout(tmp_path)
    timer = Service(name="night", kind=Kind.TIMER, command="true", schedule="0 3 * * *")
    stage(layout, timer)
    timers = Timers(layout)
    timers.round(1_900_000_000.0)
    timers.round(1_800_000_000.0)
    assert timers.due == {("night", "0 3 * * *"): next_run("0 3 * * *", 1_800_000_000.0)}


def stage(layout: Layout, timer: Service) -> None:
    """Have a release serve, as far as the timers look, that has this one."""
    manifest = parcel("a", services=(SERVICES[0], timer)).manifest
    staged = release.Staged(number=1, environment="local", config=0, manifest=manifest)
    layout.release(1).mkdir(parents=True)
    (layout.release(1) / "release.json").write_bytes(staged.encoded())
    for event in (Event.STAGED, Event.CURRENT):
        artifact = manifest.digest if event is Event.STAGED else ""
        commit = manifest.commit if event is Event.STAGED else ""
        line = Line(number=0, time=ledger.now(), event=event, release=1, artifact=artifact,
                    commit=commit)  # fmt: skip
        ledger.append(layout, line)


def test_a_timer_that_a_killed_keeper_left_is_not_started_again(tmp_path: Path) -> None:
    """While it still runs, no second one is started; when it has ended, the next one is due."""
    layout = Layout(tmp_path)
    stage(layout, Service(name="night", kind=Kind.TIMER, command="true", schedule="every 10m"))
    marks = {"NONEVENT_ROOT": str(layout.root), "NONEVENT_INSTANCE": "night"}
    left = subprocess.Popen(("sleep", "60"), env=marks, start_new_session=True)
    layout.logs.mkdir()
    timers = Timers(layout)
    try:
        until(lambda: kernel.environment(left.pid).items() >= marks.items())
        timers.round(0.0)
        timers.round(601.0)
        assert timers.running == {}
    finally:
        left.kill()
        left.wait()
    timers.round(1202.0)
    assert set(timers.running) == {"night"}
    timers.end()


def lines(host: TinyHost, name: str) -> list[str]:
    """What a timer has said."""
    try:
        return host.layout.log(name).read_text().splitlines()
    except FileNotFoundError:
        return []


def test_timers_run_from_the_release_that_serves(tmp_path: Path) -> None:
    """They follow a deploy, never run twice at once, tell of failure, and end with the app."""
    host = TinyHost(tmp_path)
    services = (SERVICES[0], *EVERY_SECOND)
    try:
        host.deploy(parcel("a", services=services, files=FILES), secrets={"TOKEN": "one"})
        until(lambda: lines(host, "tick").count("1 one") >= 2)
        host.deploy(parcel("b", services=services, files=FILES), secrets={"TOKEN": "two"})
        before = len(lines(host, "tick"))
        until(lambda: len(lines(host, "tick")) >= before + 2)
        assert lines(host, "tick")[-1] == "2 two"
        assert [line.split()[0] for line in lines(host, "slow")] == ["slow"]
        until(lambda: lines(host, "polite") == ["polite"])
        assert any(line.endswith("bad ended with status 3") for line in lines(host, "bad"))
        host.carry_out(Stop())
        assert host.own_processes() == ()
        assert lines(host, "polite") == ["polite", "polite ended"]
    finally:
        host.clean_up()
