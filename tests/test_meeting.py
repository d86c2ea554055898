"""Hosts that wait for each other, and what is made of their errors and histories."""

from __future__ import annotations

import threading

import pytest

from nonevent.deploy.deploy import target
from nonevent.deploy.fleet import labels_of, merged
from nonevent.deploy.meeting import Meeting
from nonevent.errors import BootFailed, Interrupted, NeedsPerson, ReleaseUnknown, WentBack
from nonevent.model.instance import InstanceId
from nonevent.model.ledger import Event, History, Line, fold
from nonevent.model.plan import (
    Boot,
    Confirm,
    Drain,
    Gate,
    Import,
    Probe,
    RunCommand,
    Stage,
    Switch,
    Watch,
)
from nonevent.testing.process import until

HOSTS = ("a", "b", "c")
OLD = "release 41 (9d1e7c2) still serves"


class Watched:
    """A meeting, with the hosts that have passed each gate."""

    def __init__(self) -> None:
        self.meeting = Meeting(HOSTS, "a")
        self.passed: list[tuple[str, Gate, bool]] = []

    def arrive(self, host: str, gate: Gate) -> None:
        """Have a host come to a gate, in a thread of its own."""

        def come() -> None:
            self.passed.append((host, gate, self.meeting.arrive(host, gate)))

        threading.Thread(target=come, daemon=True).start()

    def has_passed(self, *hosts: str, gate: Gate, free: bool = True) -> None:
        """Wait until exactly these hosts are behind a gate."""
        wanted = {(host, gate, free) for host in hosts}
        until(lambda: {each for each in self.passed if each[1] is gate} == wanted, within=10)


@pytest.fixture
def watched() -> Watched:
    """A meeting of three hosts, of which `a` goes first."""
    return Watched()


def test_nobody_goes_on_before_all_have_come(watched: Watched) -> None:
    """The last host to arrive lets all of them boot."""
    watched.arrive("a", Gate.BOOT)
    watched.arrive("b", Gate.BOOT)
    assert not watched.passed
    watched.arrive("c", Gate.BOOT)
    watched.has_passed("a", "b", "c", gate=Gate.BOOT)


def test_the_first_switches_alone_until_it_is_healthy(watched: Watched) -> None:
    """The others switch when the first waits for its confirmation, which needs all of them."""
    for host in HOSTS:
        watched.arrive(host, Gate.SWITCH)
    watched.has_passed("a", gate=Gate.SWITCH)
    watched.arrive("a", Gate.CONFIRM)
    watched.has_passed("a", "b", "c", gate=Gate.SWITCH)
    watched.has_passed(gate=Gate.CONFIRM)
    watched.arrive("b", Gate.CONFIRM)
    watched.arrive("c", Gate.CONFIRM)
    watched.has_passed("a", "b", "c", gate=Gate.CONFIRM)


def test_a_host_with_nothing_to_do_keeps_nobody(watched: Watched) -> None:
    """One that is done counts as arrived everywhere, also where it would have gone first."""
    watched.meeting.leave("a")
    watched.arrive("b", Gate.SWITCH)
    watched.arrive("c", Gate.SWITCH)
    watched.has_passed("b", "c", gate=Gate.SWITCH)


def test_a_failure_sends_everybody_back(watched: Watched) -> None:
    """Whoever waits, or comes later, is told that it is over."""
    watched.arrive("a", Gate.CONFIRM)
    watched.meeting.end()
    watched.has_passed("a", gate=Gate.CONFIRM, free=False)
    watched.arrive("b", Gate.SWITCH)
    watched.has_passed("b", gate=Gate.SWITCH, free=False)


def test_the_cause_is_told_once_with_what_all_serve() -> None:
    """The first real failure is the error; where all hosts serve the same, one line says so."""
    failed = {
        "a": Interrupted("interrupted", serves=OLD),
        "b": BootFailed("web of release 42 exited", context=("| no",), hint="logs", serves=OLD),
        "c": Interrupted("interrupted", serves=OLD),
    }
    error = merged(failed, HOSTS)
    assert isinstance(error, BootFailed)
    assert error.message == "b: web of release 42 exited"
    assert (error.context, error.hint) == (("| no",), "logs")
    assert error.serves == f"{OLD} on all 3 hosts"


def test_the_worst_decides_the_exit_code() -> None:
    """A host that needs a person makes the whole need one, and hosts that differ are listed."""
    failed = {
        "a": WentBack("not healthy", serves=OLD),
        "b": NeedsPerson("cannot go back", serves="nothing serves"),
    }
    error = merged(failed, HOSTS)
    assert error.exit_status == 4
    assert "b: cannot go back" in error.context
    assert error.serves.splitlines() == [
        f"a: {OLD}",
        "b: nothing serves",
        "c: went on, see `nonevent status`",
    ]


def test_an_interrupt_by_a_person_is_one() -> None:
    """Where nothing failed of itself, the exit code is that of an interrupt."""
    stopped = {host: Interrupted("interrupted", serves=OLD) for host in HOSTS}
    assert merged(stopped, HOSTS).exit_status == 130


@pytest.mark.parametrize(
    ("hosts", "labels"),
    [
        (("deploy@web1.example.com", "web2.example.com"), ("web1", "web2")),
        (("web.a.com", "web.b.com"), ("web.a.com", "web.b.com")),
        (("10.0.0.1", "10.0.0.2"), ("10.0.0.1", "10.0.0.2")),
        (("one@web", "two@web"), ("one@web", "two@web")),
    ],
)
def test_labels_are_short_and_tell_hosts_apart(
    hosts: tuple[str, ...], labels: tuple[str, ...]
) -> None:
    """A host is called by the first part of its name where that is enough."""
    assert tuple(labels_of(hosts).values()) == labels


def history(*served: int, artifacts: str = "") -> History:
    """A host on which these releases served, one after the other."""
    lines = [
        Line(event=event, release=number, artifact=(artifacts or "x") * 8, commit="c" * 40)
        for number in served
        for event in (Event.STAGED, Event.CURRENT)
    ]
    return fold(lines)


def test_one_step_back_is_from_the_newest_that_serves_anywhere() -> None:
    """A host that missed the last deploy stays, and the others come back to it."""
    assert target({"a": history(40, 41, 42), "b": history(40, 41)}) == 41


def test_a_host_without_the_release_is_named() -> None:
    """A rollback that one host could not follow is refused before anything is done."""
    with pytest.raises(ReleaseUnknown, match=r"release 41 .* is not on b"):
        target({"a": history(41, 42), "b": history(42)})
    with pytest.raises(ReleaseUnknown, match="is not on b"):
        target({"a": history(41, 42), "b": history(41, 42, artifacts="y")})


def test_hosts_meet_after_the_release_commands_and_before_what_visitors_see() -> None:
    """Nothing boots before the commands have run, and nothing switches before all are healthy."""
    web = InstanceId("web", 42)
    steps = (
        Stage(42), Import(42), RunCommand(42, 0, "migrate"), Boot(web), Probe(web),
        Switch(42, (web,)), Watch((web,)), Confirm(42, None), Drain(InstanceId("web", 41)),
    )  # fmt: skip
    first = [next(step for step in steps if gate.is_before(step)) for gate in Gate]
    assert first == [Boot(web), Switch(42, (web,)), Confirm(42, None)]
