"""Standby: when the web of the release before stays up, and when it ends."""

from __future__ import annotations

from dataclasses import replace

import pytest
from test_plan import (
    ALL,
    FULL,
    ONE,
    WEB,
    WEB_1,
    WEB_2,
    WORKER,
    deploy,
    facts,
    history,
    manifest,
    running,
    served,
    want,
)  # fmt: skip

from nonevent.agent.plan import back, plan
from nonevent.model.instance import InstanceId, RunState
from nonevent.model.ledger import Event
from nonevent.model.plan import (
    Boot,
    Confirm,
    Drain,
    Halt,
    Probe,
    Retire,
    Stage,
    Steady,
    Switch,
    Watch,
)
from nonevent.model.want import Deploy, Rollback, Start, Stop

STANDBY = replace(
    facts(
        served(1, 2),
        running("web-1", "web-2", "worker-2"),
        manifests={1: manifest(1, (WEB, WORKER)), 2: manifest(2, (WEB, WORKER))},
        serving=2,
    ),
    standby=1,
)
"""Release 2 serves, release 1 stands by."""


def test_the_old_web_stands_by() -> None:
    """Where it is wanted, the web of the release before stays up; its worker and beat do not."""
    steps = plan(replace(deploy(2, ALL), standby=600), FULL).steps
    assert Confirm(2, None, 600) in steps
    assert not any(isinstance(step, Drain) for step in steps)
    assert Retire(InstanceId("worker", 1)) in steps
    assert Halt(InstanceId("beat", 1)) in steps


def test_an_older_standby_ends_at_the_next_deploy() -> None:
    """It ends before the new release boots, so that two webs at most take memory."""
    steps = plan(replace(deploy(3), standby=600), STANDBY).steps
    assert steps[:3] == (Stage(3), Drain(WEB_1), Boot(InstanceId("web", 3)))
    assert Confirm(3, None, 600) in steps
    assert Drain(WEB_2) not in steps


def test_a_rollback_to_a_standby_boots_no_web() -> None:
    """It is probed once more, and traffic moves; what is left by the rollback does not stand by."""
    worker = InstanceId("worker", 1)
    assert plan(want(Rollback(), standby=600), STANDBY).steps == (
        Probe(WEB_1),
        Boot(worker),
        Steady(worker),
        Retire(InstanceId("worker", 2)),
        Switch(1, (WEB_1,)),
        Watch((WEB_1, worker)),
        Confirm(1, 2),
        Drain(WEB_2),
    )


def test_a_standby_is_left_alone_until_its_time_is_over() -> None:
    """Neither `start` nor the way forward after a crash ends it before; after it both do."""
    wanted = want(Start(), standby=600)
    over = replace(STANDBY, standby=None)
    assert plan(wanted, STANDBY).steps == back(STANDBY) == ()
    assert plan(wanted, over).steps == back(over) == (Drain(WEB_1),)


def test_a_standby_that_died_is_booted_like_any_other() -> None:
    """After a reboot nothing stands by, whatever the ledger says: a rollback boots."""
    steps = plan(want(Rollback()), replace(STANDBY, instances=())).steps
    assert Boot(WEB_1) in steps


@pytest.mark.parametrize("state", [RunState.FAILING, RunState.LOST])
def test_what_is_unwell_does_not_stand_by(state: RunState) -> None:
    """A web that keeps ending, or that nobody manages, is not kept."""
    found = replace(ONE, instances=running("web-1", state=state))
    steps = plan(replace(deploy(2), standby=600), found).steps
    assert steps[-2:] == (Confirm(2, None), Drain(WEB_1))


def test_nothing_stands_by_with_old_secrets() -> None:
    """A rollback does not bring rotated secrets back, so a process that has them must end."""
    goal = deploy(2).goal
    assert isinstance(goal, Deploy)
    steps = plan(want(replace(goal, secrets=1), standby=600), ONE).steps
    assert steps[-2:] == (Confirm(2, None), Drain(WEB_1))


def test_stop_ends_what_stands_by() -> None:
    """Of a stopped app nothing runs."""
    assert Halt(WEB_1) in plan(want(Stop()), STANDBY).steps
    assert history(*served(1, 2), (Event.STOPPED, 2)).standby is None
