"""Starting instances, telling them to stop, and waiting until they have."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from typing import TYPE_CHECKING

from nonevent.agent import facts, kernel, ledger, pooling, release, switch
from nonevent.agent.host import Host, signal_number
from nonevent.agent.launch import free_port
from nonevent.agent.process.base import Program
from nonevent.agent.tools import agent_command
from nonevent.errors import BootFailed
from nonevent.model.instance import RunState
from nonevent.model.service import Kind, Service

if TYPE_CHECKING:
    from nonevent.model.instance import Instance, InstanceId
    from nonevent.model.layout import Layout

QUIET = 0.3
"""Seconds without a connection after which a socket counts as drained."""
GRACE = 15.0
"""Seconds beyond a service's own stop limit until it must be gone."""
TIMER_LIMIT = 3600.0
"""Seconds: what a timer's stop limit counts at most; the keeper, which waits for it, has more."""


def service_of(layout: Layout, instance: InstanceId) -> Service:
    """The service of an instance; a plain one where its release is gone."""
    staged = release.read(layout, instance.release)
    service = staged.manifest.service(instance.service) if staged else None
    return service or Service(name=instance.service, kind=Kind.WORKER, command="")


def boot(host: Host, instance: InstanceId) -> str:
    """Start an instance; says nothing of whether it will be healthy."""
    layout = host.layout
    service = service_of(layout, instance)
    history = ledger.history(layout)
    switch.make_run(layout)
    port = free_port() if service.uses_port else 0
    argv = (
        *agent_command(),
        "exec",
        *("--root", str(layout.root), "--instance", str(instance)),
        *("--secrets", str(history.secrets_for(instance.release)), "--port", str(port)),
    )
    program = Program(
        name=str(instance),
        argv=argv,
        log=layout.log(str(instance)),
        stop_signal=service.stop_signal,
        stop_limit=service.stop_limit,
    )
    host.manager.start(layout, program)
    if port:
        relay = Program(
            name=_relay(instance),
            argv=(
                *agent_command(),
                "relay",
                *("--listen", str(layout.socket(str(instance)))),
                *("--to", f"127.0.0.1:{port}"),
            ),
            log=layout.log(_relay(instance)),
        )
        host.manager.start(layout, relay)
    return ""


def _relay(instance: InstanceId) -> str:
    return f"{instance}.relay"


def seen(host: Host, instance: InstanceId) -> Instance | None:
    """The instance as it is now, or None where nobody knows it."""
    return facts.instance(host.layout, host.manager, instance)


def retire(host: Host, instance: InstanceId) -> str:
    """Tell an instance to finish what it holds; it does so in the background."""
    _ask_to_stop(host, instance)
    return "finishes in the background"


def halt(host: Host, instance: InstanceId) -> str:
    """Stop an instance and wait until it has ended."""
    _ask_to_stop(host, instance)
    _wait_until_ended(host, instance)
    return ""


def drain(host: Host, instance: InstanceId) -> str:
    """Wait until an instance has no connection, accepted or queued, or its limit is over; stop it.

    Told to stop with a connection still in its queue, a server resets it: the kernel has
    accepted it already, the server has not.
    """
    limit = service_of(host.layout, instance).drain_limit
    name = str(host.layout.socket(str(instance)))
    began = time.monotonic()
    quiet_since = began
    while True:
        now = time.monotonic()
        open_connections = kernel.connections(name)
        if open_connections:
            quiet_since = now
        if now - quiet_since >= QUIET or now - began >= limit:
            break
        if host.confirmed and host.interrupted():
            # It may be wanted back in a moment, and then is one rename away.
            return "left to the host, which goes on waiting"
        host.pause()
    halt(host, instance)
    said = [str(pool) for pool in pooling.pools(host.layout)]
    if open_connections == 1:
        said.insert(0, f"a connection was still open after {limit:g} s")
    elif open_connections:
        said.insert(0, f"{open_connections} connections were still open after {limit:g} s")
    return "; ".join(said)


def _ask_to_stop(host: Host, instance: InstanceId) -> None:
    host.manager.stop(host.layout, str(instance))
    lost = _lost(host, instance)
    if lost:
        number = signal_number(service_of(host.layout, instance).stop_signal)
        with contextlib.suppress(ProcessLookupError):
            os.kill(lost, number)


def _lost(host: Host, instance: InstanceId) -> int:
    found = seen(host, instance)
    return found.pid if found and found.state is RunState.LOST else 0


def _wait_until_ended(host: Host, instance: InstanceId) -> None:
    limit = service_of(host.layout, instance).stop_limit
    deadline = time.monotonic() + limit
    while True:
        found = seen(host, instance)
        if found is None or not found.alive:
            break
        now = time.monotonic()
        if now > deadline and found.state is RunState.LOST:
            _kill_tree(found.pid)
        if now > deadline + GRACE:
            raise BootFailed(
                f"{instance} does not end",
                context=(f"process {found.pid} is still there after {limit + GRACE:g} s",),
                hint=f"kill -9 {found.pid}",
            )
        while True:
            time.sleep(0.05)
            # Its manager need not be asked before it has ended.
            if not kernel.lives(found.pid) or time.monotonic() > deadline:
                break
    forget(host, instance)


def _kill_tree(pid: int) -> None:
    for each in kernel.descendants(pid, kernel.processes()):
        with contextlib.suppress(ProcessLookupError):
            os.kill(each.pid, signal.SIGKILL)


def forget(host: Host, instance: InstanceId) -> None:
    """Drop an instance that has ended, with its relay and its socket."""
    relay = _relay(instance)
    if (host.layout.programs / f"{relay}.conf").exists():
        stop_and_forget(host, relay, limit=GRACE)
    host.manager.forget(host.layout, (str(instance),))
    # Whatever cannot be removed there is in the way of no release that serves.
    with contextlib.suppress(OSError):
        host.layout.socket(str(instance)).unlink()


def stop_and_forget(host: Host, name: str, *, limit: float) -> None:
    """Stop a program that is no instance, and wait for its end; fine where it never ran."""
    host.manager.stop(host.layout, name)
    deadline = time.monotonic() + limit
    while any(each.name == name and each.pid for each in host.manager.observe(host.layout)):
        if time.monotonic() > deadline:
            raise BootFailed(f"{name} does not end within {limit:g} s")
        time.sleep(0.05)
    host.manager.forget(host.layout, (name,))


def tidy(host: Host) -> tuple[InstanceId, ...]:
    """Forget the instances that were told to stop and have ended since; returns them.

    One that ended by itself is about to be started again, or is evidence.
    """
    ended = tuple(
        each.id
        for each in facts.instances(host.layout, host.manager)
        if not each.alive and not each.detail
    )
    for instance in ended:
        forget(host, instance)
    return ended


def holder_of_port(port: int) -> tuple[str, ...]:
    """Who listens on a TCP port, as far as /proc shows it to us."""
    inodes = set()
    for table in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):
            lines = (kernel.PROC / "net" / table).read_text().splitlines()[1:]
            fields = (line.split() for line in lines)
            inodes |= {
                f[9] for f in fields if f[3] == "0A" and int(f[1].rpartition(":")[2], 16) == port
            }
    for process in kernel.processes():
        with contextlib.suppress(OSError):
            for name in os.listdir(f"/proc/{process.pid}/fd"):
                target = os.readlink(f"/proc/{process.pid}/fd/{name}")
                if target.startswith("socket:[") and target[8:-1] in inodes:
                    return (f"process {process.pid} ({process.name}) listens there",)
    return ()
