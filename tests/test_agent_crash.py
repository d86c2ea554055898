"""Whatever is cut off, and whenever: the old release serves on, and the host tidies up."""

from __future__ import annotations

import os
import signal
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Protocol

import pytest
from tiny import BY, Parcel, TinyHost, Visitor, parcel

from nonevent.agent import kernel, ledger
from nonevent.errors import BootFailed, Interrupted, ProtocolBroken
from nonevent.model.ledger import State
from nonevent.model.want import Start
from nonevent.testing.process import until
from nonevent.transport.local import Local

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from nonevent.transport.base import Connection

HOSTS = 4
"""How many hosts share the moments of a matrix: a deploy mostly waits."""
WITHIN = 30.0
"""Seconds in which a host must have tidied up; it takes one or two where nothing else runs."""
STEPS = (
    "stage", "boot web", "probe", "boot worker", "steady worker", "retire", "halt", "boot beat",
    "steady beat", "switch", "watch", "confirm", "drain", "remove",
)  # fmt: skip
"""The steps of a redeploy of the tiny app, in their order."""
A, B = parcel("a"), parcel("b")


def name_of(event: dict[str, object]) -> str:
    """A step as :data:`STEPS` calls it."""
    step = event.get("step")
    assert isinstance(step, dict)
    service = str(step.get("instance", "")).partition("-")[0]
    does = str(step["do"])
    return f"{does} {service}" if does in {"boot", "steady"} else does


class _CutOffError(Exception):
    """The client goes away."""


class Cut(Protocol):
    """A way to interrupt a deploy; returns whether the agent was told or killed by it."""

    def __call__(self, connection: Connection, pid: int) -> None:
        """Cut off the deploy that runs in this conversation."""


def kill(connection: Connection, pid: int) -> None:  # noqa: ARG001
    """The agent is killed."""
    os.kill(pid, signal.SIGKILL)


def hang_up(connection: Connection, pid: int) -> None:  # noqa: ARG001
    """The client's side of the connection ends."""
    raise _CutOffError


def cancel(connection: Connection, pid: int) -> None:  # noqa: ARG001
    """The operator presses Ctrl-C."""
    connection.channel.send({"request": "cancel"})


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The agent, installed once for all hosts."""
    root = tmp_path_factory.mktemp("agent")
    with Local(root).connect(BY):
        return root / "tools"


@pytest.fixture(scope="module")
def hosts(tools: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[TinyHost, ...]]:
    """Hosts that serve a release, and have one to go back to."""
    with ExitStack() as stack:
        made = []
        for number in range(HOSTS):
            host = TinyHost(tmp_path_factory.mktemp(f"host{number}"))
            (host.root / "tools").symlink_to(tools)
            made.append(host)
        pool = stack.enter_context(ThreadPoolExecutor(HOSTS))
        stack.callback(lambda: list(pool.map(TinyHost.clean_up, made)))
        list(pool.map(lambda host: host.deploy(A), made))
        yield tuple(made)


@pytest.fixture
def host(tools: Path, tmp_path: Path) -> Iterator[TinyHost]:
    """A host that serves release 1, also on a port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    host = TinyHost(tmp_path, port=port)
    (host.root / "tools").symlink_to(tools)
    try:
        host.deploy(A)
        yield host
    finally:
        host.clean_up()


def other(host: TinyHost) -> Parcel:
    """The artifact that does not serve."""
    history = ledger.history(host.layout)
    serving = history.release(history.current or 0)
    return B if serving and serving.artifact == A.manifest.digest else A


def deploy_and_cut(host: TinyHost, moment: str, cut: Cut) -> list[str]:
    """A deploy that is cut off at ``begun`` or ``done`` of a step; returns the steps seen."""
    seen: list[str] = []
    with host.connect() as connection:
        pid = connection.request({"request": "hello", "version": 1, "by": BY})["pid"]
        assert isinstance(pid, int)

        def on_event(event: dict[str, object]) -> None:
            if event.get("event") not in {"begun", "done"} or event["back"]:
                return
            seen.append(f"{event['event']} {name_of(event)}")
            if seen[-1] == moment:
                cut(connection, pid)

        with suppress(ProtocolBroken, Interrupted, _CutOffError):
            host.deploy(other(host), on_event, connection)
    assert moment in seen
    return seen


def check(host: TinyHost, before: int | None, moment: str, visitor: Visitor) -> None:
    """Everything that must be true after a deploy was cut off at a moment."""
    until(host.is_recovered, within=WITHIN)
    now = host.current
    confirmed = moment in {"done confirm", "begun drain", "done drain", "begun remove"}
    if moment != "begun confirm":
        assert (now != before) == confirmed, moment
    until(lambda: host.runs(now), within=WITHIN)
    assert host.serves() == str(now), moment
    linked = host.linked()
    assert linked, moment
    assert linked.release == now, moment
    assert os.readlink(host.layout.current) == f"releases/{now}"
    assert not (host.layout.data / "overlap").exists(), moment
    assert visitor.lost == [], moment
    assert not list(host.layout.releases.glob(".*")), moment
    history = ledger.history(host.layout)
    newest = history.releases[-1]
    assert newest.state is (State.CURRENT if newest.number == now else State.FAILED), moment


def walk(host: TinyHost, moments: list[str], cut: Cut) -> None:
    """Cut deploys off at these moments, one after the other; each begins where the last ended."""
    with Visitor(host.layout.link("web")) as visitor:
        for moment in moments:
            before = host.current
            deploy_and_cut(host, moment, cut)
            check(host, before, moment, visitor)
        host.deploy(other(host))
        check(host, None, "done confirm", visitor)
    assert visitor.answers > 0


def walk_all(hosts: tuple[TinyHost, ...], moments: list[str], cut: Cut) -> None:
    """Share moments among hosts."""
    with ThreadPoolExecutor(len(hosts)) as pool:
        shares = [moments[place :: len(hosts)] for place in range(len(hosts))]
        for done in [pool.submit(walk, *each, cut) for each in zip(hosts, shares, strict=True)]:
            done.result()


KILLED = [f"begun {step}" for step in STEPS if step != "remove"] + [
    f"done {step}" for step in ("stage", "boot web", "halt", "switch", "confirm")
]
"""What follows ``done`` of one step at once is ``begun`` of the next."""


def test_the_steps_are_all_that_a_redeploy_takes(hosts: tuple[TinyHost, ...]) -> None:
    """The matrix leaves out no step: a redeploy begins and ends exactly these, in this order."""
    seen = deploy_and_cut(hosts[0], "done drain", lambda connection, pid: None)  # noqa: ARG005
    steps = [step for step in STEPS if step != "remove"]
    assert seen == [f"{when} {step}" for step in steps for when in ("begun", "done")]


def test_an_agent_killed_at_any_step_changes_nothing_for_visitors(
    hosts: tuple[TinyHost, ...],
) -> None:
    """After SIGKILL at any step no request is lost, and the keeper makes one release run."""
    walk_all(hosts, KILLED, kill)


def test_a_client_that_vanishes_at_any_step_changes_nothing_for_visitors(
    hosts: tuple[TinyHost, ...],
) -> None:
    """After the connection's end the agent itself goes back, or finishes what is confirmed."""
    walk_all(hosts, [f"begun {step}" for step in STEPS if step != "remove"], hang_up)


def test_a_cancel_at_any_step_changes_nothing_for_visitors(hosts: tuple[TinyHost, ...]) -> None:
    """After Ctrl-C the agent itself goes back, or finishes what is confirmed."""
    steps = ("stage", "probe", "steady worker", "halt", "switch", "watch", "confirm", "drain")
    walk_all(hosts, [f"begun {step}" for step in steps], cancel)


WAIT = """
import os, signal, subprocess, sys
child = subprocess.Popen((sys.executable, "-c", "import signal; signal.pause()"))
signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
print("waits", flush=True)
signal.pause()
"""


def release_commands(host: TinyHost) -> list[int]:
    """The processes of release commands."""
    found = [(pid, kernel.environment(pid)) for pid in host.own_processes()]
    return [pid for pid, values in found if values.get("NONEVENT_INSTANCE") == "release"]


@pytest.mark.parametrize("cut", [kill, cancel])
def test_a_release_command_does_not_outlive_its_deploy(host: TinyHost, cut: Cut) -> None:
    """A migration whose deploy was cut off has ended, with what it started, before the next."""
    artifact = parcel("c", files={"wait.py": WAIT}, release=("python wait.py",))
    with host.connect() as connection:
        pid = connection.request({"request": "hello", "version": 1, "by": BY})["pid"]
        assert isinstance(pid, int)

        def on_event(event: dict[str, object]) -> None:
            if event.get("text") == "waits":
                assert len(release_commands(host)) == 2
                cut(connection, pid)

        with pytest.raises((ProtocolBroken, Interrupted)):
            host.deploy(artifact, on_event, connection)
    until(lambda: host.is_recovered() and not release_commands(host), within=WITHIN)
    host.deploy(B)
    assert host.serves() == "3"


def kill_manager(host: TinyHost) -> None:
    """SIGKILL for the process manager; what it ran goes on without it."""
    pid = int((host.layout.run / "supervisord.pid").read_text())
    os.kill(pid, signal.SIGKILL)
    until(lambda: (found := kernel.process(pid)) is None or found.state == "Z")


def ask_port(host: TinyHost) -> str:
    """The release that answers through the front, or nothing."""
    assert host.port
    with suppress(OSError), socket.create_connection(("127.0.0.1", host.port), timeout=5) as door:
        door.sendall(b"GET / HTTP/1.1\r\nHost: tiny\r\nConnection: close\r\n\r\n")
        return b"".join(iter(lambda: door.recv(65536), b"")).partition(b"\r\n\r\n")[2].decode()
    return ""


def programs(host: TinyHost) -> list[str]:
    """The programs of ours that run for this host, sorted."""
    found = [kernel.arguments(pid) for pid in host.own_processes()]
    ours = {"front", "keeper", "relay", "supervisord"}
    return sorted(word for words in found for word in words[:6] if word in ours)


def is_whole(host: TinyHost, number: int) -> bool:
    """Whether a release runs, answers at the door, and each program of ours runs once."""
    wanted = ["front", "keeper", "supervisord"]
    return host.runs(number) and ask_port(host) == str(number) and programs(host) == wanted


def test_start_heals_after_the_process_manager_was_killed(host: TinyHost) -> None:
    """Instances that nobody manages serve until managed ones have taken over, and then end."""
    kill_manager(host)
    with Visitor(host.layout.link("web")) as visitor:
        assert host.runs(1)
        host.carry_out(Start())
        until(lambda: is_whole(host, 1), within=WITHIN)
    assert visitor.lost == []
    assert not (host.layout.data / "overlap").exists()


def test_a_deploy_heals_after_the_process_manager_was_killed(host: TinyHost) -> None:
    """A deploy replaces instances that nobody manages, without losing a request."""
    kill_manager(host)
    with Visitor(host.layout.link("web")) as visitor:
        host.deploy(B)
        until(lambda: is_whole(host, 2), within=WITHIN)
    assert visitor.lost == []
    assert not (host.layout.data / "overlap").exists()


STUBBORN = """
import os, signal, time
signal.signal(signal.SIGTERM, lambda *_: (time.sleep(2), os._exit(0)))
while True:
    signal.pause()
"""


def test_a_process_manager_that_is_ending_is_waited_for(host: TinyHost) -> None:
    """While one still ends what it runs, no second one is started beside it."""
    host.deploy(parcel("c", files={"worker.py": STUBBORN}))
    os.kill(int((host.layout.run / "supervisord.pid").read_text()), signal.SIGTERM)
    host.carry_out(Start())
    until(lambda: is_whole(host, 2), within=WITHIN)
    host.deploy(B)
    until(lambda: is_whole(host, 3), within=WITHIN)


def test_a_worker_that_dies_soon_does_not_count_as_up(host: TinyHost) -> None:
    """A worker counts as up only when one process has run for three seconds."""
    with pytest.raises(BootFailed, match="worker of release 2 ended"):
        host.deploy(parcel("c", files={"worker.py": "import time; time.sleep(1.5)"}))
    until(lambda: is_whole(host, 1), within=WITHIN)


def test_logs_are_not_for_every_user(host: TinyHost) -> None:
    """What an app says may be personal: neither the folder nor a file in it is for others."""
    modes = [
        host.layout.logs.stat().st_mode,
        *(p.stat().st_mode for p in host.layout.logs.iterdir()),
    ]
    assert len(modes) > 4
    assert not [oct(mode) for mode in modes if mode & 0o007]


def test_start_after_a_power_cut_runs_what_the_ledger_says(host: TinyHost) -> None:
    """Nothing runs after a power cut in the middle of a deploy; ``start`` brings the old back."""
    with suppress(ProtocolBroken, OSError):
        host.deploy(B, lambda event: host.power_cut() if event.get("event") == "begun"
                    and name_of(event) == "watch" else None)  # fmt: skip
    assert host.own_processes() == ()
    host.carry_out(Start())
    until(lambda: is_whole(host, 1), within=WITHIN)
    assert host.is_recovered()
    host.deploy(B)
    until(lambda: is_whole(host, 3), within=WITHIN)
