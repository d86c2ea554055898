"""A tiny app without dependencies, its artifact made by hand, and a host that runs it.

The host is real: the agent comes through the local transport, supervisor keeps the services.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import shutil
import signal
import socket
import threading
import time
import zlib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Self

from nonevent.agent import journal, kernel, ledger, machine, switch
from nonevent.errors import NoneventError
from nonevent.model import pieces, tar
from nonevent.model.instance import InstanceId, read_instance_id
from nonevent.model.layout import Layout
from nonevent.model.manifest import Entry, File, Layer, Link, Manifest, Python
from nonevent.model.service import Health, Kind, Service
from nonevent.model.want import Deploy, Goal, Stop, Want
from nonevent.testing.process import until
from nonevent.transport.base import Connection, ignore
from nonevent.transport.local import Local

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ENVIRONMENT = "local"
BY = "eve@test"

WEB = """
import os, signal, socket, sys, threading
release = os.environ["NONEVENT_RELEASE"].encode()
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
server = socket.socket(socket.AF_UNIX)
server.bind(sys.argv[1])
server.listen(128)
def answer(client):
    with client:
        if client.recv(65536):
            head = b"HTTP/1.1 200 OK\\r\\nConnection: close\\r\\nX-Nonevent-Release: " + release
            client.sendall(head + b"\\r\\nContent-Length: %d\\r\\n\\r\\n" % len(release) + release)
while True:
    threading.Thread(target=answer, args=(server.accept()[0],), daemon=True).start()
"""
WORKER = """
import signal, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
while True:
    signal.pause()
"""
BEAT = """
import fcntl, os, signal, sys
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
alone = open(os.path.join(sys.argv[1], "beat.lock"), "w")
try:
    fcntl.flock(alone, fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    open(os.path.join(sys.argv[1], "overlap"), "a").write(os.environ["NONEVENT_INSTANCE"])
while True:
    signal.pause()
"""
FILES = {"web.py": WEB, "worker.py": WORKER, "beat.py": BEAT}
HEALTH = Health(answers=2, interval=0.02, timeout=20.0, watch=0.1)
SERVICES = (
    Service(name="web", kind=Kind.WEB, command="python web.py {socket}", health=HEALTH,
            drain_limit=5.0, stop_limit=3.0),
    Service(name="worker", kind=Kind.WORKER, command="python worker.py", stop_limit=3.0),
    Service(name="beat", kind=Kind.SINGLETON, command="python beat.py {data}", stop_limit=3.0),
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Parcel:
    """An artifact in memory: its manifest, its layers and their bytes."""

    manifest: Manifest
    layers: tuple[tuple[Layer, bytes], ...]


def layer(name: str, files: dict[str, str]) -> tuple[Layer, bytes]:
    """A layer of these files, and their bytes one after the other."""
    entries: list[Entry] = []
    for path, text in sorted(files.items()):
        data = text.encode()
        digest = hashlib.sha256(data).hexdigest()
        entries.append(File(path=path, mode=0o644, size=len(data), digest=digest))
    everything = "".join(text for _, text in sorted(files.items())).encode()
    return Layer(name=name, entries=tuple(entries)), everything


def members(layer: Layer, data: bytes, wanted: object) -> bytes:
    """A layer's files as they stand in a tar: all, or the entries of these numbers."""
    made, begin = b"", 0
    for number, entry in enumerate(layer.entries):
        where = f"{layer.name}/{entry.path}"
        if isinstance(entry, Link):
            body, head = b"", tar.header(where, link=entry.target)
        else:
            body, head = data[begin : begin + entry.size], tar.header(where, size=entry.size)
            begin += entry.size
        if not isinstance(wanted, list | tuple) or number in wanted:
            made += head + body + tar.padding(len(body))
    return made


def parcel(
    mark: str,
    *,
    services: tuple[Service, ...] = SERVICES,
    files: dict[str, str] | None = None,
    release: tuple[str, ...] = (),
) -> Parcel:
    """An artifact of the tiny app that differs from others by its mark."""
    programs = {f"app/{name}": text for name, text in {**FILES, **(files or {})}.items()}
    minor = ".".join(platform.python_version_tuple()[:2])
    layers = (
        layer("app", {**programs, "app/mark.txt": mark}),
        layer("deps", {"pyvenv.cfg": f"version = {minor}\n"}),
    )
    manifest = Manifest(
        app="tiny",
        commit=hashlib.sha1(mark.encode()).hexdigest(),
        subject=f"Make {mark}",
        dirty=False,
        lock="0" * 64,
        python=Python(
            version=platform.python_version(), abi=f"cp{minor.replace('.', '')}"
        ),
        platform=machine.own_platform(),
        glibc="",
        libraries=(),
        packages=(),
        services=services,
        release=release,
        required=(),
        env=(),
        layers=tuple(each.ref for each, _ in layers),
    )  # fmt: skip
    return Parcel(manifest=manifest, layers=layers)


def get(path: Path, *, limit: float = 10.0) -> str:
    """The body of one request to a Unix socket; empty where the answer broke off.

    Raises:
        OSError: the request failed.
    """
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(limit)
        client.connect(str(path))
        client.sendall(b"GET / HTTP/1.1\r\nHost: tiny\r\n\r\n")
        answer = b"".join(iter(lambda: client.recv(65536), b""))
    return answer.partition(b"\r\n\r\n")[2].decode()


@dataclass(slots=True)
class Visitor:
    """Somebody who asks all the time, and remembers what went wrong."""

    path: Path
    answers: int = 0
    lost: list[str] = field(default_factory=list)
    _ending: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        """Begin to ask."""
        self._thread = threading.Thread(target=self._visit)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop asking."""
        self._ending.set()
        if self._thread:
            self._thread.join(timeout=30)

    def _visit(self) -> None:
        while not self._ending.wait(0.005):
            try:
                body = get(self.path)
            except OSError as error:
                self.lost.append(f"{time.monotonic():.3f} {error!r}")
            else:
                self.answers += 1
                if not body:
                    self.lost.append(f"{time.monotonic():.3f} an empty answer")


@dataclass(slots=True)
class TinyHost:
    """One app on this machine, below a root folder of its own."""

    root: Path
    port: int | None = None
    standby: int = 0
    app: str = "tiny"

    @property
    def layout(self) -> Layout:
        """Where everything lies."""
        return Layout(self.root.resolve())

    def connect(self) -> Connection:
        """A conversation with a fresh agent."""
        return Local(self.root).connect(BY)

    def want(self, goal: Goal, **changes: object) -> Want:
        """The want for a goal."""
        wanted = Want(
            app=self.app, environment=ENVIRONMENT, goal=goal, port=self.port, by=BY, keep=3,
            standby=self.standby,
        )  # fmt: skip
        return replace(wanted, **changes)  # type: ignore[arg-type]

    def begin(self, connection: Connection) -> None:
        """Take the lock, as every client does first."""
        connection.request({"request": "begin", "environment": ENVIRONMENT, "reason": "a test"})

    def bring(self, connection: Connection, artifact: Parcel) -> None:
        """Send the layers that the host does not have."""
        asked: dict[str, object] = {
            "request": "fit",
            "manifest": artifact.manifest.as_dict(),
            "clock": time.time(),
        }
        missing = connection.request(asked)["missing"]
        assert isinstance(missing, list)
        for each, data in artifact.layers:
            if each.name not in missing:
                continue
            ref = each.ref
            raw = {"name": ref.name, "digest": ref.digest, "files": ref.files, "size": ref.size}
            cut = pieces.cut(each.encoded(), 4)
            offer: dict[str, object] = {"request": "offer", "layer": raw, "rows": 4}
            lacking = connection.request(offer, b"".join(map(pieces.name, cut)))["lacking"]
            assert isinstance(lacking, list)
            listed = zlib.compress(pieces.join(tuple(cut[number] for number in lacking)))
            wanted = connection.request({"request": "list"}, listed)["wanted"]
            connection.channel.send({"request": "files", "encoding": "plain"})
            connection.channel.send({"request": "data"}, members(each, data, wanted))
            connection.channel.send({"request": "data"})
            connection.answer()

    def apply(
        self,
        connection: Connection,
        want: Want,
        on_event: Callable[[dict[str, object]], None] = ignore,
    ) -> dict[str, object]:
        """Ask for a want."""
        return connection.request({"request": "apply", "want": want.as_dict()}, on_event=on_event)

    def carry_out(
        self,
        goal: Goal,
        on_event: Callable[[dict[str, object]], None] = ignore,
    ) -> dict[str, object]:
        """Make a goal true in a conversation of its own."""
        with self.connect() as connection:
            self.begin(connection)
            return self.apply(connection, self.want(goal), on_event)

    def deploy(
        self,
        artifact: Parcel,
        on_event: Callable[[dict[str, object]], None] = ignore,
        connection: Connection | None = None,
        secrets: dict[str, str] | None = None,
    ) -> dict[str, object]:
        """Bring an artifact and make it serve."""
        if connection is None:
            with self.connect() as own:
                return self.deploy(artifact, on_event, own, secrets)
        self.begin(connection)
        self.bring(connection, artifact)
        versions = connection.request(
            {"request": "configure", "settings": {"COLOUR": "blue"}, "secrets": secrets or {}}
        )
        config, secret = versions["config"], versions["secrets"]
        assert isinstance(config, int)
        assert isinstance(secret, int)
        goal = Deploy(manifest=artifact.manifest, config=config, secrets=secret)
        return self.apply(connection, self.want(goal), on_event)

    @property
    def current(self) -> int | None:
        """The release that the ledger names."""
        return ledger.history(self.layout).current

    def is_recovered(self) -> bool:
        """Whether no plan is cut off."""
        return journal.interrupted(self.layout) is None

    def processes(self) -> dict[int, InstanceId]:
        """The processes of instances, by pid."""
        found = {}
        for each in kernel.processes():
            values = kernel.environment(each.pid)
            instance = read_instance_id(values.get("NONEVENT_INSTANCE", ""))
            if values.get("NONEVENT_ROOT") == str(self.layout.root) and instance:
                found[each.pid] = instance
        return found

    def runs(self, number: int | None) -> bool:
        """Whether exactly one instance of each service runs, all of this release."""
        found = sorted((each.service, each.release) for each in self.processes().values())
        wanted = [] if number is None else [(each.name, number) for each in SERVICES]
        return found == sorted(wanted)

    def serves(self) -> str:
        """The release that answers, by its own word."""
        return get(self.layout.link("web"))

    def linked(self) -> InstanceId | None:
        """The instance that the socket link names."""
        return dict(switch.links(self.layout)).get("web")

    def own_processes(self) -> tuple[int, ...]:
        """Everything on the machine that belongs to this host."""
        root, run = str(self.layout.root), str(self.layout.run)
        found = []
        for each in kernel.processes():
            words = kernel.arguments(each.pid)
            values = kernel.environment(each.pid)
            mine = any(f"{word}/".startswith((f"{root}/", f"{run}/")) for word in words)
            mine = mine or values.get("NONEVENT_ROOT") == root
            if mine and each.state != "Z" and each.pid != os.getpid():
                found.append(each.pid)
        return tuple(found)

    def power_cut(self) -> None:
        """Kill everything at once."""
        for pid in self.own_processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        until(lambda: not self.own_processes())

    def clean_up(self) -> None:
        """Stop what runs, then make sure."""
        with contextlib.suppress(NoneventError):
            self.carry_out(Stop())
        self.power_cut()
        if self.layout.run.parent != self.layout.root:
            shutil.rmtree(self.layout.run, ignore_errors=True)
