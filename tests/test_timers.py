"""Timers: when they are due, and that they run from the release that serves."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny import SERVICES, TinyHost, parcel

from nonevent.embedded.timers import next_run
from nonevent.model.service import Kind, Service
from nonevent.model.want import Stop
from nonevent.testing.process import until

if TYPE_CHECKING:
    from pathlib import Path

TICK = """
import os, sys, time
print(os.environ["NONEVENT_RELEASE"], os.environ["TOKEN"], flush=True)
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
    Service(name="slow", kind=Kind.TIMER, command="python slow.py", schedule="every 1s"),
    Service(name="bad", kind=Kind.TIMER, command="python -c 'raise SystemExit(3)'",
            schedule="every 1s"),
)  # fmt: skip
FILES = {"tick.py": TICK, "slow.py": SLOW}


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
        assert any(line.endswith("bad ended with status 3") for line in lines(host, "bad"))
        host.carry_out(Stop())
        assert host.own_processes() == ()
    finally:
        host.clean_up()
