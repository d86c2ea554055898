"""What is true of every plan, over whatever a host may have been through."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_plan import TIME, manifest, want

from nonevent.agent.plan import back, plan
from nonevent.errors import NoneventError
from nonevent.model.facts import Facts
from nonevent.model.instance import Instance, InstanceId, RunState
from nonevent.model.ledger import Event, Line, State, fold
from nonevent.model.plan import (
    Boot,
    Confirm,
    Dismiss,
    Drain,
    Halt,
    HoldPort,
    Keep,
    NoteStopped,
    Probe,
    Remove,
    Retire,
    Stage,
    Step,
    Switch,
)
from nonevent.model.service import Kind, Service
from nonevent.model.want import Deploy, Goal, Prune, Rollback, Start, Stop

if TYPE_CHECKING:
    from nonevent.model.manifest import Manifest

NAMES = {"web": Kind.WEB, "api": Kind.WEB, "worker": Kind.WORKER, "beat": Kind.SINGLETON}


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulated:
    """A host in which every step works; ``manifest`` is what a deploy brings."""

    lines: tuple[Line, ...] = ()
    facts: Facts = field(default_factory=Facts)

    def noted(self, *events: tuple[Event, int], artifact: str = "", until: int = 0) -> Simulated:
        """The host with more lines in its ledger."""
        lines = self.lines
        for event, release in events:
            line = Line(
                number=len(lines) + 1, time=TIME, event=event, release=release, artifact=artifact,
                standby=until,
            )  # fmt: skip
            lines = (*lines, line)
        history = fold(lines)
        standby = history.standby.release if history.standby else None
        return Simulated(lines=lines, facts=replace(self.facts, history=history, standby=standby))

    def changed(self, **facts: object) -> Simulated:
        """The host with other facts."""
        return Simulated(lines=self.lines, facts=replace(self.facts, **facts))  # type: ignore[arg-type]

    def without(self, instance: InstanceId) -> tuple[Instance, ...]:
        """All other instances."""
        return tuple(each for each in self.facts.instances if each.id != instance)

    def after(self, step: Step, brought: Manifest | None = None) -> Simulated:  # noqa: C901, PLR0911
        """The host when a step has been taken."""
        facts = self.facts
        match step:
            case Stage(release=number):
                assert brought
                host = self.noted((Event.STAGED, number), artifact=brought.digest)
                return host.changed(manifests=(*facts.manifests, (number, brought)))
            case HoldPort(address=address, port=port):
                return self.changed(front=(address, port))
            case Keep():
                return self.changed(keeper=True)
            case Boot(instance=instance):
                assert instance not in {each.id for each in facts.instances if each.alive}
                started = Instance(id=instance, state=RunState.RUNNING)
                return self.changed(instances=(*self.without(instance), started))
            case Retire(instance=instance):
                told = Instance(id=instance, state=RunState.STOPPING)
                return self.changed(instances=(*self.without(instance), told))
            case Halt(instance=instance) | Drain(instance=instance):
                return self.changed(instances=self.without(instance))
            case Switch(release=release, links=links):
                named = tuple(sorted((each.service, each) for each in links))
                return self.changed(links=named, current_link=release)
            case Confirm(release=number, left=left):
                host = self.noted((Event.CURRENT, number), until=step.standby or 0)
                return host.noted((Event.LEFT, left)) if left else host
            case Dismiss():
                return self.changed(instances=(), keeper=False, front=None, links=())
            case NoteStopped():
                return self.noted((Event.STOPPED, facts.history.current or 0))
            case Remove(releases=releases):
                host = self.noted(*((Event.REMOVED, number) for number in releases))
                kept = tuple(each for each in facts.manifests if each[0] not in releases)
                return host.changed(manifests=kept)
            case _:
                return self


def taken(host: Simulated, steps: tuple[Step, ...], brought: Manifest | None) -> Simulated:
    """The host when all of these steps have been taken."""
    for step in steps:
        host = host.after(step, brought)
    return host


services = st.lists(
    st.sampled_from(sorted(NAMES)).flatmap(
        lambda name: st.just(Service(name=name, kind=NAMES[name], command="run"))
    ),
    unique_by=lambda each: each.name,
    max_size=4,
).map(tuple)
goals = st.one_of(
    st.builds(
        lambda number, found: Deploy(manifest=manifest(number, found), config=0, secrets=0),
        st.integers(1, 5),
        services,
    ),
    st.just(Rollback()),
    st.builds(Rollback, release=st.integers(1, 6)),
    st.just(Start()),
    st.just(Stop()),
    st.just(Prune()),
)
accidents = st.sampled_from(("none", "reboot", "lost", "failing", "worked off", "time over"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Happening:
    """A want, after how many steps it is cut off, and what else goes wrong then."""

    goal: Goal
    cut: int | None
    accident: str
    standby: int


happenings = st.builds(
    Happening,
    goal=goals,
    cut=st.none() | st.integers(0, 12),
    accident=accidents,
    standby=st.sampled_from((0, 600)),
)


def struck(host: Simulated, accident: str) -> Simulated:
    """The host after an accident."""
    instances = host.facts.instances
    match accident:
        case "reboot":
            return host.changed(instances=(), keeper=False, front=None)
        case "lost":
            lost = tuple(replace(each, state=RunState.LOST) for each in instances)
            return host.changed(instances=lost, keeper=False, front=None)
        case "failing":
            failing = tuple(replace(each, state=RunState.FAILING) for each in instances)
            return host.changed(instances=failing)
        case "time over":
            return host.changed(standby=None)
        case "worked off":
            left = tuple(each for each in instances if each.state is not RunState.STOPPING)
            return host.changed(instances=left)
        case _:
            return host


def check(
    host: Simulated, steps: tuple[Step, ...], brought: Manifest | None, *, leads_back: bool = False
) -> None:
    """The laws of one plan; a way back trusts what the ledger names, and does not probe it."""
    trusted = {
        each.id
        for each in host.facts.instances
        if leads_back and each.id.release == host.facts.history.current
    }
    serving = served = {instance for _, instance in host.facts.links}
    probed: set[InstanceId] = set()
    booted: set[InstanceId] = set()
    ends = [s.instance for s in steps if isinstance(s, Halt | Drain | Retire)]
    stops = any(isinstance(step, Dismiss) for step in steps)
    confirms = [place for place, step in enumerate(steps) if isinstance(step, Confirm)]
    for place, step in enumerate(steps):
        match step:
            case Boot(instance=instance):
                booted.add(instance)
            case Probe(instance=instance):
                probed.add(instance)
            case Switch(links=links):
                assert set(links) <= probed | trusted, "what traffic moves to was probed"
                serving = set(links)
            case Halt(instance=instance) | Drain(instance=instance):
                assert stops or instance not in serving, "what serves is not stopped"
                if isinstance(step, Drain) and confirms and instance in served:
                    assert place > confirms[0], "the old web goes after the confirmation"
            case _:
                pass
        host = host.after(step, brought)
        beats = [each for each in host.facts.instances if each.id.service == "beat"]
        assert len([each for each in beats if each.alive]) <= 1, "singletons never overlap"
    webs = {each for each in booted if NAMES[each.service] is Kind.WEB}
    assert webs <= probed, "every web that was booted was probed"
    assert not booted & set(ends), "nothing that was booted is ended"
    assert len(ends) == len(set(ends)), "nothing is ended twice"


def settled(host: Simulated, goal: Goal) -> None:
    """One web beside the serving one stands by at most; planning again decides next to nothing."""
    history = host.facts.history
    webs = {
        each.id.release
        for each in host.facts.instances
        if NAMES[each.id.service] is Kind.WEB and each.alive
    }
    assert webs <= {history.current, host.facts.standby}
    left = {each.number for each in history.releases if each.state is State.LEFT}
    assert host.facts.standby not in left, "what a rollback left does not stand by"
    again = plan(want(Start() if isinstance(goal, Rollback) else goal, port=80), host.facts)
    assert [step for step in again.steps if not isinstance(step, Remove | Dismiss)] == []


@settings(max_examples=400, deadline=None)
@given(st.lists(happenings, min_size=1, max_size=6))
def test_every_plan_keeps_the_laws(story: list[Happening]) -> None:
    """Whatever a host went through, plans are safe, settle, and lead back when cut off."""
    host = Simulated()
    for happening in story:
        goal = happening.goal
        brought = goal.manifest if isinstance(goal, Deploy) else None
        try:
            wanted = want(goal, port=80, keep=2, standby=happening.standby)
            steps = plan(wanted, host.facts).steps
        except NoneventError:
            continue
        check(host, steps, brought)
        cut = happening.cut
        if cut is None or cut >= len(steps):
            host = taken(host, steps, brought)
            settled(host, goal)
        else:
            host = taken(host, steps[:cut], brought)
        host = struck(host, happening.accident)
        ways_back = back(host.facts, address="127.0.0.1", port=80)
        check(host, ways_back, None, leads_back=True)
        host = taken(host, ways_back, None)
        rest = back(host.facts, address="127.0.0.1", port=80)
        assert rest == (), "one way back is enough"


def test_the_laws_can_be_broken() -> None:
    """A plan that ends what serves, or switches to what nobody probed, is noticed."""
    web = InstanceId("web", 1)
    host = Simulated().changed(
        links=(("web", web),), instances=(Instance(id=web, state=RunState.RUNNING),)
    )
    for steps in ((Halt(web),), (Switch(2, (InstanceId("web", 2),)),)):
        with pytest.raises(AssertionError):
            check(host, steps, None)
