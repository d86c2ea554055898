"""The plan: which steps lead from facts to a want, in which order."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nonevent.agent.plan import back, plan
from nonevent.errors import HostUnfit, NoneventError, ReleaseUnknown, UsageError, WantStale
from nonevent.model.facts import Facts
from nonevent.model.instance import Instance, InstanceId, RunState, read_instance_id
from nonevent.model.ledger import Event, History, Line, fold
from nonevent.model.manifest import LayerRef, Manifest, Python
from nonevent.model.parse import parse
from nonevent.model.plan import (
    Boot,
    Confirm,
    Dismiss,
    Drain,
    Halt,
    HoldPort,
    Import,
    Keep,
    NoteStopped,
    Probe,
    Remove,
    Retire,
    RunCommand,
    Stage,
    Steady,
    Step,
    Switch,
    Watch,
    read_step,
    step_as_dict,
)
from nonevent.model.service import Kind, Service
from nonevent.model.want import Deploy, Goal, Prune, Rollback, Start, Stop, Want

WEB = Service(name="web", kind=Kind.WEB, command="serve {socket}")
WORKER = Service(name="worker", kind=Kind.WORKER, command="work")
BEAT = Service(name="beat", kind=Kind.SINGLETON, command="beat")
REPORT = Service(name="report", kind=Kind.TIMER, command="report", schedule="@daily")
ALL = (WEB, WORKER, BEAT, REPORT)
TIME = "2026-01-01T00:00:00Z"


def manifest(number: int, services: tuple[Service, ...] = (WEB,), *commands: str) -> Manifest:
    """The manifest of a release that differs from others by its commit."""
    return Manifest(
        app="shop", commit=f"{number:040x}", subject="", dirty=False, lock="0" * 64,
        python=Python(version="3.11.2", abi="cp311"), platform="linux-x86_64", glibc="",
        libraries=(), packages=(), services=services, release=commands, required=(), env=(),
        layers=tuple(
            LayerRef(name=name, digest=f"{number:064x}", files=1, size=1)
            for name in ("app", "deps")
        ),
    )  # fmt: skip


def history(*events: tuple[Event, int]) -> History:
    """The history of events; each staged release has the artifact of its number."""
    return fold(
        Line(
            number=place, time=TIME, event=event, release=release,
            artifact=manifest(release).digest if event is Event.STAGED else "",
        )
        for place, (event, release) in enumerate(events, 1)
    )  # fmt: skip


def served(*numbers: int) -> tuple[tuple[Event, int], ...]:
    """The events of releases that served one after the other."""
    return tuple(
        event for number in numbers for event in ((Event.STAGED, number), (Event.CURRENT, number))
    )


def identity(name: str) -> InstanceId:
    """The instance of that name."""
    found = read_instance_id(name)
    assert found
    return found


def running(*names: str, state: RunState = RunState.RUNNING) -> tuple[Instance, ...]:
    """Instances of these names."""
    return tuple(Instance(id=identity(name), state=state) for name in names)


def facts(
    events: tuple[tuple[Event, int], ...],
    instances: tuple[Instance, ...] = (),
    *,
    manifests: dict[int, Manifest],
    serving: int | None = None,
) -> Facts:
    """A host with a keeper, whose links and ``current`` name a release."""
    webs = manifests[serving].of_kind(Kind.WEB) if serving else ()
    return Facts(
        history=history(*events),
        manifests=tuple(manifests.items()),
        instances=instances,
        links=tuple((each.name, InstanceId(each.name, serving or 0)) for each in webs),
        current_link=serving,
        keeper=True,
    )


def want(goal: Goal, **changes: object) -> Want:
    """A want of the app."""
    wanted = Want(app="shop", environment="local", goal=goal)
    return replace(wanted, **changes)  # type: ignore[arg-type]


def deploy(number: int, services: tuple[Service, ...] = (WEB,), *commands: str) -> Want:
    """The want to deploy an artifact."""
    return want(Deploy(manifest=manifest(number, services, *commands), config=0, secrets=0))


WEB_1, WEB_2 = InstanceId("web", 1), InstanceId("web", 2)
ONE = facts(served(1), running("web-1"), manifests={1: manifest(1)}, serving=1)
TWO = facts(
    served(1, 2), running("web-2"), manifests={1: manifest(1), 2: manifest(2)}, serving=2
)  # fmt: skip
FULL = facts(
    served(1),
    running("web-1", "worker-1", "beat-1"),
    manifests={1: manifest(1, ALL)},
    serving=1,
)


def test_a_first_deploy() -> None:
    """Nothing is there: the port is held, the keeper started, and no instance has to go."""
    wanted = replace(deploy(1), port=8000)
    assert plan(wanted, Facts()).steps == (
        Stage(1),
        HoldPort("127.0.0.1", 8000),
        Keep(),
        Boot(WEB_1),
        Probe(WEB_1),
        Switch(1, (WEB_1,)),
        Watch((WEB_1,)),
        Confirm(1, None),
    )


def test_a_redeploy_of_all_kinds() -> None:
    """Workers move before the switch, singletons never overlap, the old web goes last."""
    worker, beat = InstanceId("worker", 2), InstanceId("beat", 2)
    assert plan(deploy(2, ALL, "migrate"), FULL).steps == (
        Stage(2),
        RunCommand(2, 0, "migrate"),
        Boot(WEB_2),
        Probe(WEB_2),
        Boot(worker),
        Steady(worker),
        Retire(InstanceId("worker", 1)),
        Halt(InstanceId("beat", 1)),
        Boot(beat),
        Steady(beat),
        Switch(2, (WEB_2,)),
        Watch((WEB_2, worker, beat)),
        Confirm(2, None),
        Drain(WEB_1),
    )


def test_a_rollback_leaves_the_newer_release() -> None:
    """One step back is the same path, and the release it came from is passed over from then on."""
    assert plan(want(Rollback()), TWO).steps == (
        Boot(WEB_1),
        Probe(WEB_1),
        Switch(1, (WEB_1,)),
        Watch((WEB_1,)),
        Confirm(1, 2),
        Drain(WEB_2),
    )


@pytest.mark.parametrize(
    ("events", "target"),
    [
        (served(1, 2, 3), 2),
        ((*served(1, 2), (Event.STAGED, 3), (Event.FAILED, 3), *served(4)), 2),
        ((*served(1, 2, 3), (Event.CURRENT, 1), (Event.LEFT, 3), *served(4)), 2),
        ((*served(1, 2), (Event.CURRENT, 1), (Event.LEFT, 2), *served(3)), 1),
        ((*served(1, 2, 3), (Event.REMOVED, 2)), 1),
    ],
    ids=["previous", "over-failed", "after-explicit", "over-left", "over-removed"],
)
def test_the_default_rollback_skips_bad_releases(
    events: tuple[tuple[Event, int], ...], target: int
) -> None:
    """It leads to the newest older release that served, was not left, and is on disk."""
    now = history(*events).current or 0
    manifests = {number: manifest(number) for number in (1, 2, 3, 4)}
    found = facts(events, running(f"web-{now}"), manifests=manifests, serving=now)
    assert plan(want(Rollback()), found).release == target


def test_there_is_nothing_to_go_back_to() -> None:
    """The first release has none before it, and an empty host none at all."""
    with pytest.raises(ReleaseUnknown, match="no good release"):
        plan(want(Rollback()), ONE)
    with pytest.raises(ReleaseUnknown, match="never been deployed"):
        plan(want(Rollback()), Facts())


def test_an_explicit_rollback_may_go_forward() -> None:
    """A release that was left can be named: it served once."""
    events = (*served(1, 2), (Event.CURRENT, 1), (Event.LEFT, 2))
    manifests = {1: manifest(1), 2: manifest(2)}
    found = facts(events, running("web-1"), manifests=manifests, serving=1)
    steps = plan(want(Rollback(release=2)), found).steps
    assert Confirm(2, None) in steps
    assert steps[-1] == Drain(WEB_1)


@pytest.mark.parametrize(
    ("number", "error"),
    [(9, ReleaseUnknown), (3, UsageError), (4, UsageError)],
    ids=["unknown", "failed", "unfinished"],
)
def test_an_explicit_rollback_is_refused(number: int, error: type[NoneventError]) -> None:
    """A release that never served, or never was, is nothing to go to."""
    events = (*served(1, 2), (Event.STAGED, 3), (Event.FAILED, 3), (Event.STAGED, 4))
    manifests = {each: manifest(each) for each in (1, 2, 3, 4)}
    found = facts(events, running("web-2"), manifests=manifests, serving=2)
    with pytest.raises(error, match=f"release {number}"):
        plan(want(Rollback(release=number)), found)


def test_the_same_again_takes_no_steps() -> None:
    """Artifact, configuration and secrets are what serves: there is nothing to do."""
    assert plan(deploy(1), ONE).steps == ()
    assert plan(want(Start()), ONE).steps == ()


@pytest.mark.parametrize("changed", ["config", "secrets"])
def test_a_changed_setting_is_a_release(changed: str) -> None:
    """The same artifact with other values gets a number of its own."""
    goal = replace(deploy(1).goal, **{changed: 1})  # type: ignore[type-var]
    decided = plan(want(goal), ONE)
    assert decided.release == 2
    assert decided.steps[0] == Stage(2)


def test_the_same_artifact_is_staged_anew_where_its_files_are_gone() -> None:
    """Deploying again is how lost files come back, so it must not be refused for them."""
    lost = replace(ONE, manifests=())
    decided = plan(deploy(1), lost)
    assert decided.steps[0] == Stage(2)
    with pytest.raises(HostUnfit, match="gone"):
        plan(want(Start()), lost)


def test_start_after_a_reboot() -> None:
    """Links survive a reboot, processes do not: everything is booted under its own name."""
    found = replace(FULL, instances=(), keeper=False)
    worker, beat = InstanceId("worker", 1), InstanceId("beat", 1)
    assert plan(want(Start(), port=80), found).steps == (
        HoldPort("127.0.0.1", 80),
        Keep(),
        Boot(WEB_1),
        Probe(WEB_1),
        Boot(worker),
        Steady(worker),
        Boot(beat),
        Steady(beat),
    )


def test_start_on_an_empty_host_is_refused() -> None:
    """There is nothing that could be started."""
    with pytest.raises(ReleaseUnknown, match="never been deployed"):
        plan(want(Start()), Facts())


def test_start_after_a_stop_confirms_again() -> None:
    """A stopped app counts as running again only when it was seen to answer."""
    events = (*served(1), (Event.STOPPED, 1))
    found = facts(events, manifests={1: manifest(1)}, serving=1)
    found = replace(found, links=())
    assert plan(want(Start()), found).steps == (
        Boot(WEB_1),
        Probe(WEB_1),
        Switch(1, (WEB_1,)),
        Watch((WEB_1,)),
        Confirm(1, None),
    )


def test_stop_ends_what_serves_last() -> None:
    """The ledger first, so that no crash starts it again; then the web after the others."""
    assert plan(want(Stop()), FULL).steps == (
        NoteStopped(),
        Halt(InstanceId("worker", 1)),
        Halt(InstanceId("beat", 1)),
        Halt(WEB_1),
        Dismiss(),
    )


def test_a_stale_want_is_refused() -> None:
    """A want that was made for an older ledger changes nothing."""
    assert plan(replace(deploy(2), ledger=2), ONE).release == 2
    with pytest.raises(WantStale, match="came first"):
        plan(replace(deploy(2), ledger=1), ONE)


def test_a_moving_port_is_let_go_of_last() -> None:
    """The front moves to another port only when the new release is good."""
    found = replace(ONE, front=("127.0.0.1", 80))
    steps = plan(replace(deploy(2), port=81), found).steps
    assert steps[-2:] == (HoldPort("127.0.0.1", 81), Drain(WEB_1))
    assert not any(isinstance(s, HoldPort) for s in plan(replace(deploy(2), port=80), found).steps)


def test_an_unfinished_worker_of_the_same_release_gets_a_second_turn() -> None:
    """Going back while release 1's worker still finishes boots a second one under its own name."""
    services = (WEB, WORKER)
    found = facts(
        served(1, 2),
        (
            *running("web-2", "worker-2"),
            *running("worker-1", state=RunState.STOPPING),
        ),
        manifests={1: manifest(1, services), 2: manifest(2, services)},
        serving=2,
    )
    steps = plan(want(Rollback()), found).steps
    assert Boot(InstanceId("worker", 1, 2)) in steps
    assert Retire(InstanceId("worker", 2)) in steps
    # It was told to stop already: a second signal makes some workers drop their work.
    assert Retire(InstanceId("worker", 1)) not in steps


def test_an_unmanaged_web_is_replaced_by_a_second_turn() -> None:
    """What nobody manages serves until a managed instance has taken over, and is drained then."""
    found = replace(ONE, instances=running("web-1", state=RunState.LOST))
    again = InstanceId("web", 1, 2)
    assert plan(want(Start()), found).steps == (
        Boot(again),
        Probe(again),
        Switch(1, (again,)),
        Watch((again,)),
        Drain(WEB_1),
    )


def test_services_that_are_gone_or_renamed() -> None:
    """What the new release does not have is ended by its own kind, and nothing else is."""
    renamed = (WEB, replace(WORKER, name="mailer"))
    steps = plan(deploy(2, renamed), FULL).steps
    mailer = InstanceId("mailer", 2)
    assert steps == (
        Stage(2),
        Boot(WEB_2),
        Probe(WEB_2),
        Boot(mailer),
        Steady(mailer),
        Retire(InstanceId("worker", 1)),
        Halt(InstanceId("beat", 1)),
        Switch(2, (WEB_2,)),
        Watch((WEB_2, mailer)),
        Confirm(2, None),
        Drain(WEB_1),
    )


def test_a_worker_that_becomes_a_singleton_has_ended_before() -> None:
    """A singleton never overlaps with what had its name, whatever kind that was."""
    services = (WEB, replace(WORKER, kind=Kind.SINGLETON))
    old = facts(
        served(1),
        running("web-1", "worker-1"),
        manifests={1: manifest(1, (WEB, WORKER))},
        serving=1,
    )
    steps = plan(deploy(2, services), old).steps
    halted = steps.index(Halt(InstanceId("worker", 1)))
    assert halted < steps.index(Boot(InstanceId("worker", 2)))


BEGUN = (*served(1), (Event.STAGED, 2))
BOTH = {1: manifest(1), 2: manifest(2)}


def test_the_way_back_before_the_switch() -> None:
    """What was booted ends, at once where only probes ever reached it; nothing else is touched."""
    found = facts(BEGUN, running("web-1", "web-2"), manifests=BOTH, serving=1)
    assert back(found, switched=False) == (Halt(WEB_2),)
    assert back(found) == (Drain(WEB_2),)


def test_the_way_back_after_the_switch() -> None:
    """Traffic returns to what served before at once: it is not examined, it may fail the same."""
    found = facts(BEGUN, running("web-1", "web-2"), manifests=BOTH, serving=2)
    assert back(found) == (Switch(1, (WEB_1,)), Drain(WEB_2))


def test_the_way_forward_after_the_confirmation() -> None:
    """The ledger says 2: only the old release is still to end."""
    found = facts(served(1, 2), running("web-1", "web-2"), manifests=BOTH, serving=2)
    assert back(found) == (Drain(WEB_1),)


def test_the_way_back_from_a_first_deploy_leads_to_nothing() -> None:
    """No release was ever good: everything ends, also the process manager."""
    found = facts(((Event.STAGED, 1),), running("web-1"), manifests={1: manifest(1)}, serving=1)
    assert back(found) == (Switch(None, ()), Halt(WEB_1), Dismiss())
    assert back(Facts()) == ()


def test_the_way_back_to_a_stopped_app_leads_to_nothing() -> None:
    """Where a person stopped the app, a failed deploy does not start it."""
    events = (*served(1), (Event.STOPPED, 1), (Event.STAGED, 2))
    found = facts(events, running("web-2"), manifests=BOTH, serving=1)
    assert Halt(WEB_2) in back(found)
    assert not any(isinstance(step, Boot) for step in back(found))


def pruned(found: Facts, **changes: object) -> tuple[int, ...]:
    """The releases that a prune removes."""
    steps = plan(want(Prune(), **changes), found).steps
    assert all(isinstance(step, Remove) for step in steps)
    return steps[0].releases if steps and isinstance(steps[0], Remove) else ()


def test_prune_keeps_by_outcome() -> None:
    """So many good ones beside the current one, fewer failed ones, the newest of each."""
    bad = tuple(event for n in (2, 4, 6) for event in ((Event.STAGED, n), (Event.FAILED, n)))
    events = (*served(1, 3, 5), *bad, *served(7))
    manifests = {number: manifest(number) for number in range(1, 8)}
    found = facts(events, running("web-7"), manifests=manifests, serving=7)
    assert pruned(found, keep=2, keep_failed=1) == (1, 2, 4)
    assert pruned(found, keep=3, keep_failed=3) == ()


def test_prune_spares_what_runs() -> None:
    """A release whose worker still finishes is not removed, however old."""
    services = (WEB, WORKER)
    found = facts(
        served(1, 2, 3, 4),
        (*running("web-4", "worker-4"), *running("worker-1", state=RunState.STOPPING)),
        manifests={number: manifest(number, services) for number in (1, 2, 3, 4)},
        serving=4,
    )
    assert pruned(found, keep=1) == (2,)


def test_prune_removes_what_nothing_refers_to() -> None:
    """Layers without a release go, but for those that a deploy is about to use."""
    found = replace(ONE, orphans=("layers/app-0000000000000000",))
    assert plan(want(Prune()), found).steps == (Remove(()),)
    about = manifest(2).layers[0].id
    assert Remove(()) not in plan(deploy(2), replace(ONE, orphans=(f"layers/{about}",))).steps


EVERY_STEP: tuple[Step, ...] = (
    Stage(1), Import(1), RunCommand(1, 0, "migrate"), HoldPort("::1", 80), Keep(),
    Boot(WEB_1), Probe(WEB_1), Steady(WEB_1), Retire(WEB_1), Halt(InstanceId("web", 1, 2)),
    Switch(None, ()),
    Switch(2, (WEB_1, WEB_2)), Watch(()), Confirm(2, 1), Confirm(2, None),
    Confirm(2, None, 600), Drain(WEB_1), Dismiss(), NoteStopped(), Remove((1, 2)),
)  # fmt: skip


@pytest.mark.parametrize("step", EVERY_STEP, ids=str)
def test_steps_survive_json(step: Step) -> None:
    """A step that was written into a journal is the same step when it is read."""
    assert parse("a step", step_as_dict(step), read_step) == step


def test_a_release_in_use_is_not_pruned() -> None:
    """What only a timer or a shell still runs stays on disk."""
    releases = range(1, 10)
    found = facts(
        served(*releases), running("web-9"), manifests={n: manifest(n) for n in releases}, serving=9
    )
    want = Want(app="shop", environment="local", goal=Prune(), keep=1)
    (remove,) = plan(want, found).steps
    assert isinstance(remove, Remove)
    assert 3 in remove.releases
    (remove,) = plan(want, replace(found, in_use=frozenset({3}))).steps
    assert isinstance(remove, Remove)
    assert 3 not in remove.releases
