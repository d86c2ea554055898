"""The agent's side of the protocol: requests in, events and results out, until the end of input.

Requests are carried out one after the other by the main thread. A second thread reads, so that
a ``cancel``, or the end of the connection, is noticed while a plan is being carried out.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import sys
import threading
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

from nonevent.agent import apply as applying
from nonevent.agent import (
    durable,
    fit,
    inflate,
    layers,
    ledger,
    lock,
    logs,
    machine,
    receive,
    release,
    status,
    variables,
)
from nonevent.agent.host import TICK, Host
from nonevent.dataclass import dataclass, field
from nonevent.errors import Interrupted, ProtocolBroken, UsageError
from nonevent.model.manifest import LAYERS, LayerRef, manifest_from
from nonevent.model.parse import Table, parse
from nonevent.model.plan import step_as_dict
from nonevent.model.protocol import VERSION, Channel, Frame
from nonevent.model.service import NAME
from nonevent.model.site import MANAGER as SITE
from nonevent.model.want import Want, read_want

if TYPE_CHECKING:
    from collections.abc import Callable

    from nonevent.agent.process.base import ProcessManager
    from nonevent.model.layout import Layout
    from nonevent.model.plan import Gate

WAITING = 8
"""Frames that may wait: with chunks of a quarter megabyte, what a transfer holds in memory."""
IDLE_LIMIT = 3600.0
"""Seconds after which a connection without a request ends."""


@dataclass(slots=True)
class Server:
    """One connection."""

    layout: Layout
    channel: Channel
    manager: ProcessManager
    kind: str
    """The manager's name: whoever started the agent chose it."""
    requests: queue.Queue[Frame | None] = field(default_factory=lambda: queue.Queue(WAITING))
    cancelled: threading.Event = field(default_factory=threading.Event)
    proceeds: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    """How often the client has said that the host may go on."""
    gone: threading.Event = field(default_factory=threading.Event)
    stack: ExitStack = field(default_factory=ExitStack)
    by: str = ""
    locked: bool = False
    """Whether this connection holds the lock, without which it changes nothing."""
    offer: receive.Offer | None = None
    incoming: receive.Incoming | None = None

    def emit(self, event: dict[str, object]) -> None:
        """Send an event; where nobody listens any more, the work goes on all the same."""
        if self.gone.is_set():
            return
        try:
            # What follows the end of a step is the next one's beginning, or the answer.
            self.channel.send(event, more=event.get("event") == "done")
        except ProtocolBroken:
            self.gone.set()
            self.cancelled.set()

    def host(self) -> Host:
        """The host for one request."""
        return Host(
            layout=self.layout,
            manager=self.manager,
            emit=self.emit,
            interrupted=self.cancelled.is_set,
            wait_for_others=self.wait_for_others,
        )

    def wait_for_others(self, gate: Gate, limit: float) -> None:
        """Wait until the client says that all hosts have got as far as this one.

        Raises:
            Interrupted: it is gone or wants out, or says nothing for ``limit`` seconds.
        """
        self.emit({"event": "waiting", "gate": gate.value})
        deadline = time.monotonic() + limit
        while not self.proceeds.acquire(timeout=TICK):
            if self.cancelled.is_set():
                raise Interrupted("interrupted")
            if time.monotonic() > deadline:
                raise Interrupted(f"nobody said within {limit:g} s that the other hosts are ready")


def serve(layout: Layout, channel: Channel, manager: ProcessManager, *, kind: str) -> None:
    """Answer requests until the other side is gone."""
    server = Server(layout, channel, manager, kind)
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, lambda *_: server.cancelled.set())
    threading.Thread(target=_read, args=(server,), daemon=True).start()
    with server.stack:
        while True:
            frame = _next(server)
            if frame is None:
                return
            _answer(server, frame)


def _next(server: Server) -> Frame | None:
    """The next request; None at the end, also of one who was silent for too long."""
    try:
        return server.requests.get(timeout=IDLE_LIMIT)
    except queue.Empty:
        return None


def _read(server: Server) -> None:
    """Everything that arrives, in order; a cancel overtakes what waits."""
    try:
        while frame := server.channel.receive():
            match frame.header.get("request"):
                case "cancel":
                    server.cancelled.set()
                case "proceed":
                    server.proceeds.release()
                case _:
                    server.requests.put(frame)
    except ProtocolBroken as error:
        print(error.message, file=sys.stderr)  # noqa: T201
    finally:
        # Whatever ended the reading: nobody waits for what cannot come any more.
        server.gone.set()
        server.cancelled.set()
        server.requests.put(None)


def _answer(server: Server, frame: Frame) -> None:
    if frame.header.get("request") == "data":
        # A layer failed, and the client had sent this before it could know: no answer is due.
        return
    try:
        result = parse("the request", frame.header, lambda table: _carry_out(server, table, frame))
    except Exception as error:  # noqa: BLE001  (the client is to hear of it, whatever it is)
        named = applying.named(server.layout, error)
        server.emit({"error": named.as_dict() | {"exit_status": named.exit_status}})
    else:
        server.emit({"result": result})


def _carry_out(server: Server, table: Table, frame: Frame) -> object:
    name = table.choice("request", tuple(_REQUESTS))
    return _REQUESTS[name](server, table, frame)


def _hello(server: Server, table: Table, frame: Frame) -> object:  # noqa: ARG001
    """Who is there; the first request of every connection."""
    theirs = table.number("version")
    server.by = table.text("by")
    if theirs != VERSION:
        raise UsageError(
            f"the client speaks version {theirs} of the protocol, the agent version {VERSION}"
        )
    return {"version": VERSION, "pid": os.getpid(), "root": str(server.layout.root)}


def _begin(server: Server, table: Table, frame: Frame) -> object:  # noqa: ARG001
    """Take the lock for the rest of the connection."""
    reason, environment = table.text("reason"), table.text("environment")
    note = lock.Note(by=server.by, reason=reason, since=ledger.now())
    server.stack.enter_context(lock.held(server.layout, note))
    if not table.flag("through_lock", default=False):
        lock.refuse_if_locked(server.layout, environment)
    applying.refuse_other(server.layout, environment)
    applying.recover_or_say(server.host())
    server.locked = True
    return {"ledger": ledger.history(server.layout).lines}


def _must_hold_lock(server: Server) -> None:
    """Refuse to change anything for a client that did not begin.

    Raises:
        UsageError: it did not.
    """
    if not server.locked:
        raise UsageError("this request changes the host, so `begin` must come first")


def _fit(server: Server, table: Table, frame: Frame) -> object:  # noqa: ARG001
    """Whether the release can run here, and which of its layers are still to be sent."""
    manifest = manifest_from(table.table("manifest", required=True))
    missing = layers.missing(server.layout, manifest.layers)
    seen = machine.look(server.layout, manifest, clock=table.real("clock"))
    fit.refuse(fit.misfits(manifest, seen, receive.least(server.layout, missing)))
    server.manager.fit(manifest.only(table.maybe_texts("services")))
    return {"missing": [ref.name for ref in missing]}


def _ref(table: Table) -> LayerRef:
    return LayerRef(
        name=table.choice("name", LAYERS),
        digest=table.text("digest", pattern=r"[0-9a-f]{64}"),
        files=table.number("files"),
        size=table.number("size"),
    )


def _survey(server: Server, table: Table, frame: Frame) -> object:  # noqa: ARG001
    from nonevent.agent import survey

    app = table.text("app", pattern=NAME)
    return survey.survey(app, table.text("root"), table.text("proxy", ""))


def _stow(server: Server, table: Table, frame: Frame) -> object:  # noqa: ARG001
    """Keep a set-up in a file, for the agent that root starts next."""
    # Nobody else needs it: it is a tenth of what a start of the agent imports.
    from nonevent.model.setup import read_setup

    path = server.layout.root / "setup.json"
    durable.write(path, json.dumps(read_setup(table.take("setup")).as_dict()).encode(), mode=0o600)
    return {"path": str(path)}


def _offer(server: Server, table: Table, frame: Frame) -> object:
    """A layer by the names of its list's pieces; which of them are to come."""
    _must_hold_lock(server)
    ref, rows = _ref(table.table("layer", required=True)), table.number("rows", least=1)
    server.offer = receive.offered(server.layout, ref, frame.body, rows)
    return {"lacking": list(server.offer.lacking)}


def _list(server: Server, table: Table, frame: Frame) -> object:  # noqa: ARG001
    """The lacking pieces of the offered list; which entries are to come, and how."""
    if server.offer is None:
        raise UsageError("a list needs an offer before it")
    offer, server.offer = server.offer, None
    text, layer = receive.listed(offer, frame.body)
    server.incoming = receive.begin(server.layout, offer.ref, text, layer)
    incoming = server.incoming
    wanted = None if incoming.whole else list(incoming.wanted)
    return {"wanted": wanted, "size": incoming.size, "zstd": inflate.has_zstd()}


def _files(server: Server, table: Table, frame: Frame) -> object:  # noqa: ARG001
    """The entries that were asked for, in ``data`` frames, an empty one at the end."""
    if server.incoming is None:
        raise UsageError("files need a list before them")
    incoming, server.incoming = server.incoming, None
    try:
        with inflate.inflating(table.choice("encoding", inflate.ENCODINGS), incoming.write) as feed:
            while body := _next_data(server):
                feed(body)
        incoming.finish()
    except (ProtocolBroken, Interrupted):
        incoming.pause()
        raise
    except BaseException:
        incoming.abandon()
        raise
    return {}


def _next_data(server: Server) -> bytes:
    following = _next(server)
    if following is None:
        # The end is there for the loop too, which would wait for it.
        server.requests.put(None)
        raise ProtocolBroken("the connection ended within a layer")
    # Where the connection broke, what came before counts: the next attempt goes on from there.
    if server.cancelled.is_set() and not server.gone.is_set():
        raise Interrupted("interrupted")
    if following.header.get("request") != "data":
        raise ProtocolBroken("something else than data arrived within a layer")
    return following.body


def _configure(server: Server, table: Table, frame: Frame) -> object:  # noqa: ARG001
    """Settings and secrets of the environment; their version numbers."""
    settings, secrets = dict(table.pairs("settings")), dict(table.pairs("secrets"))
    check = table.flag("check", default=False)
    if not check:
        _must_hold_lock(server)
    return {
        "config": variables.keep_config(server.layout, settings, check=check),
        "secrets": variables.keep_secrets(server.layout, secrets, check=check),
    }


def _apply(server: Server, table: Table, frame: Frame) -> object:  # noqa: ARG001
    _must_hold_lock(server)
    want = _want(server, table)
    decided = applying.apply(server.host(), want)
    return {"release": decided.release, "changed": bool(decided.steps)}


def _plan(server: Server, table: Table, frame: Frame) -> object:  # noqa: ARG001
    decided = applying.decide(server.host(), _want(server, table))
    return {"release": decided.release, "steps": [step_as_dict(step) for step in decided.steps]}


def _want(server: Server, table: Table) -> Want:
    """A want for the manager that this agent was started with.

    With a restricted key that one is not the client's choice, and a site's own commands, which run
    as whoever deploys, must not be either.

    Raises:
        UsageError: it is for another one.
    """
    want = read_want(table.take("want"))
    if want.manager != server.kind or bool(want.site) != (server.kind == SITE):
        raise UsageError(f"this agent was started for the process manager `{server.kind}`")
    return want


def _status(server: Server, table: Table, frame: Frame) -> object:  # noqa: ARG001
    return status.status(server.layout, server.manager)


def _history(server: Server, table: Table, frame: Frame) -> object:  # noqa: ARG001
    """The ledger's lines: client and agent fold them by the same code."""
    return {"lines": [line.encoded() for line in ledger.read(server.layout)]}


def _manifest(server: Server, table: Table, frame: Frame) -> object:  # noqa: ARG001
    staged = release.read(server.layout, table.number("release"))
    return {"manifest": staged.manifest.as_dict() if staged else None}


def _logs(server: Server, table: Table, frame: Frame) -> object:  # noqa: ARG001
    asked = logs.Asked(
        service=table.text("service", ""),
        release=table.maybe_number("release"),
        lines=table.number("lines", 100),
        since=table.real("since", 0.0),
    )
    following = table.flag("follow", default=False)
    ended = server.cancelled.is_set if following else None
    for each in server.manager.logs(server.layout, asked, ended=ended):
        server.emit({"event": "log", "log": each.log, "text": each.text, "time": each.time})
    return {}


def _lock(server: Server, table: Table, frame: Frame) -> object:  # noqa: ARG001
    note = lock.Note(by=server.by, reason=table.text("reason"), since=ledger.now())
    before = lock.person(server.layout)
    environment = table.text("environment")
    lock.refuse_if_locked(server.layout, environment)
    try:
        lock.set_person(server.layout, note)
    except FileExistsError:
        lock.refuse_if_locked(server.layout, environment)
    return {"locked": before is None}


def _unlock(server: Server, table: Table, frame: Frame) -> object:  # noqa: ARG001
    note = lock.clear_person(server.layout)
    return {"by": note.by, "reason": note.reason} if note else {}


_REQUESTS: dict[str, Callable[[Server, Table, Frame], object]] = {
    "hello": _hello,
    "begin": _begin,
    "fit": _fit,
    "offer": _offer,
    "list": _list,
    "files": _files,
    "survey": _survey,
    "stow": _stow,
    "configure": _configure,
    "apply": _apply,
    "plan": _plan,
    "status": _status,
    "history": _history,
    "manifest": _manifest,
    "logs": _logs,
    "lock": _lock,
    "unlock": _unlock,
}
