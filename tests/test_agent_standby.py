"""A release that stands by: its web stays up for a while, and going back is one rename."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import count
from typing import TYPE_CHECKING, cast

import pytest
from tiny import BY, SERVICES, TinyHost, Visitor, parcel

from nonevent.agent import ledger, proof
from nonevent.agent.health import probe_until_healthy
from nonevent.agent.host import Host
from nonevent.agent.process.base import Observed
from nonevent.embedded.keeper import House
from nonevent.errors import ProtocolBroken
from nonevent.model.instance import InstanceId, RunState
from nonevent.model.ledger import Event, Line
from nonevent.model.service import Kind
from nonevent.model.want import Prune, Rollback, Start, Stop
from nonevent.testing.process import until
from nonevent.transport.local import Local

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from nonevent.agent.process.base import ProcessManager
    from nonevent.model.layout import Layout

WITHIN = 30.0
"""Seconds in which a host must have tidied up; it takes a few where nothing else runs."""
(WEB,) = (each for each in SERVICES if each.kind is Kind.WEB)
A, B, C = (parcel(mark, services=(WEB,)) for mark in "abc")


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The agent, installed once for all hosts."""
    root = tmp_path_factory.mktemp("agent")
    with Local(root).connect(BY):
        return root / "tools"


@pytest.fixture
def host(tools: Path, tmp_path: Path) -> Iterator[TinyHost]:
    """A host that serves release 1."""
    host = TinyHost(tmp_path, standby=600)
    (host.root / "tools").symlink_to(tools)
    try:
        host.deploy(A)
        yield host
    finally:
        host.clean_up()


def webs(host: TinyHost) -> dict[str, int]:
    """The web instances that run, and their main processes."""
    return {str(each): pid for pid, each in host.processes().items() if each.service == "web"}


def standing_by(host: TinyHost) -> dict[str, int]:
    """The instances that stand by, and for how many seconds, as ``status`` says."""
    with host.connect() as connection:
        found = connection.request({"request": "status"})["instances"]
    assert isinstance(found, list)
    return {each["instance"]: each["standby"] for each in found if each["standby"]}


def when(moment: str, act: Callable[[], None]) -> Callable[[dict[str, object]], None]:
    """A listener that acts when a step begins or is done, e.g. at ``begun switch``."""

    def on_event(event: dict[str, object]) -> None:
        step = event.get("step")
        if isinstance(step, dict) and f"{event['event']} {step['do']}" == moment:
            act()

    return on_event


def test_going_back_to_a_standby_starts_no_web(host: TinyHost) -> None:
    """The very process that served before serves again, and nothing is lost."""
    before = webs(host)["web-1"]
    done: list[str] = []

    def note(event: dict[str, object]) -> None:
        step = event.get("step")
        if event.get("event") == "done" and isinstance(step, dict):
            done.append(f"{step['do']} {step.get('instance', '')}".strip())

    with Visitor(host.layout.link("web")) as visitor:
        host.deploy(B)
        assert 590 <= standing_by(host).pop("web-1") <= 600
        host.carry_out(Rollback(), note)
    assert visitor.lost == []
    assert host.serves() == "1"
    assert webs(host) == {"web-1": before}
    assert done == ["probe web-1", "switch", "watch", "confirm", "drain web-2"]
    assert standing_by(host) == {}


def test_workers_and_singletons_do_not_stand_by(host: TinyHost) -> None:
    """Two releases' workers would take each other's tasks: theirs end, and are started anew."""
    host.deploy(parcel("d"))
    host.deploy(parcel("e"))
    others = (str(each) for each in host.processes().values() if each.service != "web")
    assert sorted(others) == ["beat-3", "worker-3"]
    assert set(webs(host)) == {"web-2", "web-3"}
    host.carry_out(Rollback())
    until(lambda: host.runs(2), within=WITHIN)
    assert not (host.layout.data / "overlap").exists()


@dataclass(frozen=True, slots=True)
class Upkeep:
    """A process manager that runs one instance of a web service for so many seconds."""

    pid: int
    seconds: float

    def observe(self, layout: Layout) -> tuple[Observed, ...]:  # noqa: ARG002
        """The one instance."""
        started = time.time() - self.seconds
        return (Observed(name="web-2", state=RunState.RUNNING, pid=self.pid, started=started),)

    def look(self, layout: Layout, name: str, pid: int) -> tuple[proof.Sight, ...]:  # noqa: ARG002
        """What /proc shows of it."""
        return proof.sights(pid)


def test_what_is_long_up_is_asked_without_waiting(host: TinyHost) -> None:
    """Between two good answers there is time only after a boot; both are asked for all the same."""
    seldom = replace(WEB, health=replace(WEB.health, interval=1.0))
    host.deploy(parcel("d", services=(seldom,)))
    pid = webs(host)["web-2"]
    waits: dict[float, list[float]] = {1.0: [], 7200.0: []}
    for seconds, waited in waits.items():
        upkeep = cast("ProcessManager", Upkeep(pid, seconds))
        patient = Host(layout=host.layout, manager=upkeep, sleep=waited.append)
        assert probe_until_healthy(patient, InstanceId("web", 2)) == "2 good answers"
    # What the proof takes counts.
    assert 0 < waits[1.0][0] < 1.0
    assert (len(waits[1.0]), waits[7200.0]) == (1, [0.0])


def test_the_keeper_ends_a_standby_whose_time_is_over(host: TinyHost) -> None:
    """It stands by after the deploy, and is gone some seconds later, without a command."""
    host.standby = 4
    host.deploy(B)
    assert set(webs(host)) == {"web-1", "web-2"}
    until(lambda: set(webs(host)) == {"web-2"}, within=WITHIN)
    assert host.serves() == "2"


@dataclass(frozen=True, slots=True)
class Told:
    """A process manager that runs web instances, and remembers which of them it was to stop."""

    pids: dict[str, int]
    stopped: list[str] = field(default_factory=list)

    def observe(self, layout: Layout) -> tuple[Observed, ...]:  # noqa: ARG002
        """All of them run."""
        return tuple(
            Observed(name=name, state=RunState.RUNNING, pid=pid, started=1.0)
            for name, pid in self.pids.items()
        )

    def stop(self, layout: Layout, name: str) -> None:  # noqa: ARG002
        """Remember it."""
        self.stopped.append(name)


def test_the_keeper_leaves_a_standby_alone_until_then(host: TinyHost) -> None:
    """Round after round it is spared, and it alone is told to stop once its time is over."""
    host.deploy(B)
    told = Told(webs(host))
    house = House(Host(layout=host.layout, manager=cast("ProcessManager", told)))
    rounds = count(step=10)
    # The keeper of this host may have the lock in a few of these rounds.
    for _ in range(20):
        house.round(next(rounds))
    assert told.stopped == []
    ledger.append(host.layout, Line(event=Event.CURRENT, release=2, standby=1))
    until(lambda: house.round(next(rounds)) or told.stopped, within=WITHIN)
    assert told.stopped == ["web-1"]


def test_only_the_release_before_stands_by(host: TinyHost) -> None:
    """An older one ends at the next deploy, before that one boots; prune spares what lives."""
    host.deploy(B)
    seen: list[set[str]] = []
    host.deploy(C, when("begun boot", lambda: seen.append(set(webs(host)))))
    assert seen[0] == {"web-2"}
    assert set(standing_by(host)) == {"web-2"}
    with host.connect() as connection:
        host.begin(connection)
        host.apply(connection, host.want(Prune(), keep=1))
    assert set(webs(host)) == {"web-2", "web-3"}
    assert host.layout.release(2).is_dir()


def test_stop_and_rotated_secrets_end_it(host: TinyHost) -> None:
    """After a stop nothing runs; a release that had older secrets never stands by."""
    host.deploy(B)
    host.carry_out(Stop())
    assert host.processes() == {}
    host.carry_out(Start())
    assert set(webs(host)) == {"web-2"}
    host.deploy(C, secrets={"KEY": "new"})
    assert set(webs(host)) == {"web-3"}


@pytest.mark.parametrize(
    ("moment", "serving", "stands_by"),
    [("begun switch", "1", set()), ("begun watch", "1", set()), ("done confirm", "2", {"web-1"})],
)
def test_a_killed_agent_leaves_a_standby_or_none(
    host: TinyHost, moment: str, serving: str, stands_by: set[str]
) -> None:
    """The ledger decides: before its line all is as it was, after it the old web stands by."""
    with Visitor(host.layout.link("web")) as visitor:
        with host.connect() as connection:
            pid = connection.request({"request": "hello", "version": 1, "by": BY})["pid"]
            assert isinstance(pid, int)
            with suppress(ProtocolBroken):
                host.deploy(B, when(moment, lambda: os.kill(pid, signal.SIGKILL)), connection)
        until(host.is_recovered, within=WITHIN)
        until(lambda: set(webs(host)) == {f"web-{serving}", *stands_by}, within=WITHIN)
    assert visitor.lost == []
    assert host.serves() == serving
    assert set(standing_by(host)) == stands_by


def test_a_power_cut_ends_a_standby(host: TinyHost) -> None:
    """After it only the release that serves is started; a rollback boots the other as always."""
    host.deploy(B)
    host.power_cut()
    host.carry_out(Start())
    assert set(webs(host)) == {"web-2"}
    assert standing_by(host) == {}
    host.carry_out(Rollback())
    assert host.serves() == "1"
    assert set(webs(host)) == {"web-1"}


def test_a_standby_that_crashes_harms_nobody(host: TinyHost) -> None:
    """Visitors notice nothing, and a rollback works all the same."""
    with Visitor(host.layout.link("web")) as visitor:
        host.deploy(B)
        os.kill(webs(host)["web-1"], signal.SIGKILL)
        host.carry_out(Rollback())
    assert visitor.lost == []
    assert host.serves() == "1"
    assert len(webs(host)) == 1


def test_a_service_on_a_port_stands_by_with_its_relay(tools: Path, tmp_path: Path) -> None:
    """What listens on a port is one rename away as well, and its relay goes when it goes."""
    source = """
import os, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
class Answer(BaseHTTPRequestHandler):
    def do_GET(self):
        body = os.environ["NONEVENT_RELEASE"].encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Answer).serve_forever()
"""
    on_port = replace(WEB, command="python port.py {port}")
    one, two = (parcel(m, services=(on_port,), files={"port.py": source}) for m in "pq")
    host = TinyHost(tmp_path, standby=600)
    (host.root / "tools").symlink_to(tools)
    try:
        host.deploy(one)
        host.deploy(two)
        assert (host.serves(), set(webs(host))) == ("2", {"web-1", "web-2"})
        host.carry_out(Rollback())
        assert (host.serves(), set(webs(host))) == ("1", {"web-1"})
        assert not (host.layout.programs / "web-2.relay.conf").exists()
    finally:
        host.clean_up()
