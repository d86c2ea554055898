"""Several clients at once: each finds whole layers or hears who is busy, and apps share nothing."""

from __future__ import annotations

import itertools
import os
import random
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING

import pytest
from tiny import BY, FILES, SERVICES, Parcel, TinyHost, Visitor, parcel
from whole import inodes, must_be_tidy, must_be_whole

from nonevent.agent import layers, ledger
from nonevent.build import artifact
from nonevent.build.artifact import Artifact, Packed
from nonevent.build.layer import pack
from nonevent.deploy.shipping import ship
from nonevent.errors import Busy, ProtocolBroken
from nonevent.model.ledger import Event
from nonevent.model.protocol import VERSION
from nonevent.model.want import Deploy, Prune
from nonevent.transport.base import ignore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from nonevent.transport.base import Connection

WEB = SERVICES[:1]
TIMES = 5
"""How often each client deploys."""
CUTS = 4
WITHIN = 30.0
"""Seconds in which a client gets its turn, or an agent notices that its client is gone."""


@pytest.fixture
def host(tmp_path: Path) -> Iterator[TinyHost]:
    """A host that serves a release."""
    host = TinyHost(tmp_path / "shop")
    try:
        host.deploy(parcel("first", services=WEB))
        yield host
    finally:
        host.clean_up()


def prune(host: TinyHost, connection: Connection) -> None:
    """Remove all but the newest releases; the caller holds the lock."""
    host.apply(connection, host.want(Prune(), keep=1))


def prune_and_look(host: TinyHost) -> None:
    """Prune in a conversation of its own; what is left is whole and needed."""
    with waited_for(host) as connection:
        prune(host, connection)
        must_be_whole(host.layout)
        must_be_tidy(host.layout)


def waited_for(host: TinyHost) -> Connection:
    """A conversation that has the lock, as soon as nobody else has it."""
    deadline = time.monotonic() + WITHIN
    while True:
        connection = host.connect()
        try:
            host.begin(connection)
        except Busy:
            connection.close()
            assert time.monotonic() < deadline
        else:
            return connection


def must_serve(host: TinyHost) -> None:
    """What answers is the release that the ledger names."""
    assert host.serves() == str(host.current)


def test_apps_on_one_host_share_nothing(host: TinyHost) -> None:
    """While one app is deployed again and again another is deployed and pruned, of equal files."""
    other = TinyHost(host.root.with_name("shop2"), app="other")
    parcels = [parcel(mark, services=WEB) for mark in "ab"]
    others = [replace(each, manifest=replace(each.manifest, app="other")) for each in parcels]
    try:
        other.deploy(others[1])
        with (
            Visitor(host.layout.link("web")) as visitor,
            Visitor(other.layout.link("web")) as neighbour,
            ThreadPoolExecutor(2) as pool,
        ):
            works = (
                pool.submit(deploy_and_look, host, parcels, prunes=False),
                pool.submit(deploy_and_look, other, others, prunes=True),
            )
        for work in works:
            work.result()
        assert not visitor.lost + neighbour.lost
        assert set(os.listdir(host.layout.layers)) == set(os.listdir(other.layout.layers))
        assert not inodes(host.layout) & inodes(other.layout)
        for each in (host, other):
            prune_and_look(each)
            must_serve(each)
    finally:
        other.clean_up()


def deploy_and_look(host: TinyHost, parcels: list[Parcel], *, prunes: bool) -> None:
    """Deploy in turns, prune or not, and see each time that all is as it should be."""
    for each in itertools.islice(itertools.cycle(parcels), TIMES):
        with host.connect() as connection:
            host.deploy(each, connection=connection)
            if prunes:
                prune(host, connection)
                must_be_tidy(host.layout)
            must_be_whole(host.layout)
            must_serve(host)


@dataclass(slots=True)
class Client:
    """Somebody who deploys one artifact after the other, and prunes, while others do too."""

    host: TinyHost
    name: str
    made: dict[int, str] = field(default_factory=dict)
    """Which artifact each of its releases has."""

    def work(self) -> None:
        """Have a turn now and then; in one, nobody else changes anything."""
        for number in range(TIMES):
            artifact = parcel(f"{self.name}{number}", services=WEB)
            with waited_for(self.host) as connection:
                before = ledger.history(self.host.layout)
                self.host.bring(connection, artifact)
                goal = Deploy(manifest=artifact.manifest, config=0, secrets=0)
                result = self.host.apply(
                    connection, self.host.want(goal, by=self.name, ledger=before.lines)
                )
                assert isinstance(result["release"], int)
                self.made[result["release"]] = artifact.manifest.digest
                assert self.host.current == result["release"] == before.next_number
                prune(self.host, connection)
                must_be_whole(self.host.layout)
                must_be_tidy(self.host.layout)
                must_serve(self.host)


def look(host: TinyHost, ended: threading.Event) -> int:
    """Ask for all that needs no lock until others have ended; how often."""
    count = 0
    with host.connect() as connection:
        want = host.want(Prune(), keep=1).as_dict()
        while not ended.is_set():
            for asked in ({"request": "status"}, {"request": "plan", "want": want}):
                connection.request(asked)
            count += 1
    return count


def test_clients_of_one_app_take_turns(host: TinyHost) -> None:
    """Of clients that deploy and prune at once each has its turn alone; who looks always can."""
    clients = [Client(host, name) for name in ("eve", "ada")]
    ended = threading.Event()
    with Visitor(host.layout.link("web")) as visitor, ThreadPoolExecutor(4) as pool:
        looking = pool.submit(look, host, ended)
        works = [pool.submit(client.work) for client in clients]
        finish(works, ended)
    assert looking.result() > TIMES
    assert not visitor.lost
    lines = [line for line in ledger.read(host.layout) if line.event is not Event.REMOVED]
    pairs = list(zip(lines[::2], lines[1::2], strict=True))
    assert all((a.event, b.event) == (Event.STAGED, Event.CURRENT) for a, b in pairs)
    assert all(a.release == b.release and a.by == b.by for a, b in pairs)
    made = {1: pairs[0][0].artifact} | clients[0].made | clients[1].made
    assert {a.release: a.artifact for a, _ in pairs} == made
    assert len(made) == 1 + 2 * TIMES
    prune_and_look(host)


def finish(works: list[Future[None]], ended: threading.Event) -> None:
    """Wait for clients; the first one's failure is ours."""
    try:
        for work in works:
            work.result()
    finally:
        ended.set()


def build(folder: Path, mark: str) -> Artifact:
    """A real artifact of a tiny app with some weight: half of it is in each, half in this one."""
    folder.mkdir()
    chance = random.Random("every")
    own = random.Random(mark)
    refs, packed = [], []
    tiny = parcel(mark, services=WEB)
    for name in ("app", "deps"):
        tree = folder / name
        for place, source in (("same", chance), (mark, own)):
            (tree / place).mkdir(parents=True)
            for number in range(8):
                (tree / place / f"{number}.bin").write_bytes(source.randbytes(60_000))
        if name == "app":
            (tree / "app").mkdir()
            (tree / "app/web.py").write_text(FILES["web.py"])
        else:
            (tree / "pyvenv.cfg").write_text("version = {}.{}\n".format(*sys.version_info[:2]))
        layer, frames = pack(name, tree, folder / f"{name}.frames")
        refs.append(layer.ref)
        packed.append(Packed(name=name, encoded=layer.encoded(), frames=frames))
    manifest = replace(tiny.manifest, layers=tuple(refs))
    return Artifact.open(artifact.write(folder / "out", manifest, tuple(packed)))


def ship_all(connection: Connection, opened: Artifact) -> int:
    """Send what the host does not have of each layer; how many bytes went out."""
    return sum(ship(connection, opened, ref.name, ignore) for ref in opened.manifest.layers)


@dataclass(slots=True)
class At:
    """A way out on which something happens when so many bytes are through."""

    writer: IO[bytes]
    left: int
    act: Callable[[], object]

    def write(self, data: bytes) -> None:
        """Let bytes through up to the moment, and then the rest."""
        if 0 < self.left <= len(data):
            self.writer.write(data[: self.left])
            self.writer.flush()
            self.act()
            data = data[self.left :]
            self.left = 0
        self.left -= len(data)
        self.writer.write(data)

    def flush(self) -> None:
        """As a file does."""
        self.writer.flush()


def deploy(
    host: TinyHost, opened: Artifact, at: int = 0, act: Callable[[int], object] = ignore
) -> int:
    """Send an artifact as a client does, and have it serve; how many bytes went out.

    When ``at`` bytes are through something happens, which hears the agent's process id.
    """
    with waited_for(host) as connection:
        pid = connection.request({"request": "hello", "version": VERSION, "by": BY})["pid"]
        assert isinstance(pid, int)
        if at:
            way: object = At(connection.channel.writer, at, lambda: act(pid))
            connection.channel.writer = way  # type: ignore[assignment]
        sent = ship_all(connection, opened)
        goal = Deploy(manifest=opened.manifest, config=0, secrets=0)
        host.apply(connection, host.want(goal))
    return sent


def test_who_comes_during_a_transfer_hears_who_is_busy(host: TinyHost, tmp_path: Path) -> None:
    """While a layer arrives, others that deploy or prune are refused by name and change nothing."""
    opened = build(tmp_path / "built", "a")
    halfway, goes_on = threading.Event(), threading.Event()

    def wait(_: int) -> None:
        halfway.set()
        goes_on.wait(WITHIN)

    rivals = (lambda: host.deploy(parcel("b")), lambda: host.carry_out(Prune()))
    with ThreadPoolExecutor(3) as pool:
        try:
            transfer = pool.submit(deploy, host, opened, 700_000, wait)
            assert halfway.wait(WITHIN)
            refused = [pool.submit(rival).exception(WITHIN) for rival in rivals]
            assert host.current == 1
            assert len(layers.unfinished(host.layout)) == 1
        finally:
            goes_on.set()
    for error in refused:
        assert isinstance(error, Busy)
        assert error.message == f"{BY} is busy here: a test"
    assert transfer.result() > 700_000
    assert host.current == 2
    must_be_whole(host.layout)
    must_serve(host)
    prune_and_look(host)


def die_on_the_way(root: str, path: str, at: str) -> None:
    """A client that is killed when so many bytes are through; to be run as a process."""
    host, opened = TinyHost(Path(root)), Artifact.open(Path(path))
    deploy(host, opened, int(at), lambda _: os.kill(os.getpid(), signal.SIGKILL))


def kill_client(host: TinyHost, opened: Artifact, at: int) -> None:
    """Deploy with a client that is killed."""
    script = "import sys, test_agent_concurrent as here; here.die_on_the_way(*sys.argv[1:])"
    argv = (sys.executable, "-c", script, str(host.root), str(opened.path), str(at))
    ended = subprocess.run(argv, cwd=Path(__file__).parent, timeout=WITHIN, check=False)
    assert ended.returncode == -signal.SIGKILL


def kill_agent(host: TinyHost, opened: Artifact, at: int) -> None:
    """Deploy with an agent that is killed."""
    with pytest.raises(ProtocolBroken):
        deploy(host, opened, at, lambda pid: os.kill(pid, signal.SIGKILL))


@pytest.mark.parametrize("cut", [kill_client, kill_agent])
def test_a_transfer_that_is_killed_spoils_nothing(
    host: TinyHost, tmp_path: Path, cut: Callable[[TinyHost, Artifact, int], None]
) -> None:
    """Killed at any byte, a transfer leaves what the next one uses, or what a prune removes."""
    seed = time.time_ns()
    print(f"seed {seed}")  # noqa: T201  (shown where the test fails)
    chance = random.Random(seed)
    whole = deploy(host, build(tmp_path / "all", "all"))
    usual = deploy(host, build(tmp_path / "half", "half"))
    assert usual < whole * 0.6, "half of it is there already"
    with Visitor(host.layout.link("web")) as visitor:
        for number in range(CUTS):
            opened, before = build(tmp_path / str(number), str(number)), host.current
            cut(host, opened, chance.randrange(1, usual))
            if number % 2:
                prune_and_look(host)
            assert host.current == before
            must_serve(host)
            assert deploy(host, opened) < usual * 1.1
            must_be_whole(host.layout)
            must_serve(host)
            prune_and_look(host)
    assert not visitor.lost
    assert host.current == 3 + CUTS


def arrive(root: str) -> None:
    """Somebody who comes to look; to be run as a process."""
    with TinyHost(Path(root)).connect() as connection:
        connection.request({"request": "status"})


def test_clients_that_come_first_together_all_get_an_agent(tmp_path: Path) -> None:
    """However many come at once to a folder that has no agent yet, one is there in the end."""
    script = "import sys, test_agent_concurrent as here; here.arrive(sys.argv[1])"
    argv = (sys.executable, "-c", script, str(tmp_path))
    clients = [
        subprocess.Popen(argv, cwd=Path(__file__).parent, stderr=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    said = [client.communicate(timeout=WITHIN)[1] for client in clients]
    assert said == [""] * len(clients)
    (agent,) = (tmp_path / "tools").iterdir()
    assert agent.is_dir()
