"""Acting: what each step does. Each names an end state, and may be repeated after a crash."""

from __future__ import annotations

import contextlib
import shutil
import socket
import time
from typing import TYPE_CHECKING, assert_never

from nonevent.agent import facts, layers, ledger, lock, release, running, site, switch
from nonevent.agent.command import run_command
from nonevent.agent.layers import remove_tree
from nonevent.agent.modules import import_modules
from nonevent.agent.process.base import Program
from nonevent.agent.tools import agent_command
from nonevent.dataclass import replace
from nonevent.errors import BootFailed, PortTaken
from nonevent.model.ledger import Event, Line
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
    Prove,
    Reload,
    Remove,
    Retire,
    RunCommand,
    Stage,
    Steady,
    Step,
    Switch,
    Watch,
)
from nonevent.model.want import Deploy

if TYPE_CHECKING:
    from nonevent.agent.host import Host
    from nonevent.model.want import Want

PORT_LIMIT = 10.0


def take(host: Host, step: Step, want: Want) -> str:  # noqa: C901, PLR0911, PLR0912  (a table)
    """Make a step's end state true; returns what is worth saying about it, or nothing.

    Raises:
        NoneventError: it could not be reached.
    """
    match step:
        case Stage():
            return _stage(host, step, want)
        case Import():
            return import_modules(host, step)
        case RunCommand():
            return run_command(host, step)
        case HoldPort():
            return _hold_port(host, step)
        case Keep():
            return _keep(host)
        case Boot(instance=instance):
            return running.boot(host, instance)
        case Probe() | Steady() | Watch():
            return _see_health(host, step)
        case Retire(instance=instance):
            return running.retire(host, instance)
        case Halt(instance=instance):
            return running.halt(host, instance)
        case Switch():
            return _switch(host, step, want)
        case Reload() | Prove():
            return site.take(host, step, want)
        case Confirm():
            return _confirm(host, step, want)
        case Drain(instance=instance):
            return running.drain(host, instance)
        case Dismiss():
            return _dismiss(host)
        case NoteStopped():
            return _note_stopped(host, want)
        case Remove():
            return _remove(host, step)
        case _:
            assert_never(step)


def _see_health(host: Host, step: Probe | Steady | Watch) -> str:
    # What asks over HTTP takes a while to import: by now the app is starting.
    from nonevent.agent import health

    match step:
        case Probe(instance=instance):
            return health.probe_until_healthy(host, instance)
        case Steady(instance=instance):
            return health.steady(host, instance)
        case Watch(instances=instances):
            return health.watch(host, instances)


def _line(event: Event, number: int, want: Want, *, seconds: float = 0.0) -> Line:
    """A line of the ledger about what is wanted."""
    return Line(
        event=event,
        release=number,
        by=want.by,
        reason=want.reason,
        seconds=round(seconds, 3),
    )


def _stage(host: Host, step: Stage, want: Want) -> str:
    if not isinstance(want.goal, Deploy):
        raise BootFailed(f"release {step.release} is incomplete")
    goal = want.goal
    # The number is used up first: a crash in between must not give it to another artifact.
    line = Line(
        event=Event.STAGED,
        release=step.release,
        by=want.by,
        reason=want.reason,
        artifact=goal.manifest.digest,
        commit=goal.manifest.commit,
        subject=goal.manifest.subject,
        ref=goal.ref,
        config=goal.config,
        secrets=goal.secrets,
    )
    ledger.append(host.layout, line)
    _warn_of_own_files(host)
    staged = release.Staged(
        number=step.release,
        environment=want.environment,
        config=goal.config,
        manifest=goal.manifest,
        services=want.services,
    )
    release.stage(host.layout, staged)
    lock.lay_aside(host.layout)
    return ""


def _warn_of_own_files(host: Host) -> None:
    """Say it where the serving release keeps data in its own folder: the new one lacks it."""
    serving = ledger.history(host.layout).current or 0
    own = release.own_files(host.layout, serving)
    if own:
        more = f" and {len(own) - 1} more" if len(own) > 1 else ""
        host.note(
            f"release {serving} wrote app/{own[0]}{more} into its own folder, which the next "
            "release does not see; let it write to $NONEVENT_DATA"
        )


def foresee(host: Host, steps: tuple[Step, ...]) -> None:
    """Refuse a plan whose port is another's, or that could not switch, before anything is begun.

    A port that moves is taken after the switch, when there is no way back.

    Raises:
        PortTaken: with who holds it.
        HostUnfit: see :func:`nonevent.agent.site.refuse_unfit`.
    """
    for step in steps:
        if isinstance(step, HoldPort) and step.port not in facts.held_ports(
            host.layout, host.manager
        ):
            _refuse_taken_port(step)
        if isinstance(step, Switch):
            site.refuse_unfit(host, step)


def _hold_port(host: Host, step: HoldPort) -> str:
    running.stop_and_forget(host, "front", limit=PORT_LIMIT * 2)
    _refuse_taken_port(step)
    program = Program(
        name="front",
        argv=(
            *agent_command(),
            "front",
            *("--address", step.address, "--port", str(step.port)),
            *("--to", str(host.layout.door)),
        ),
        log=host.layout.log("front"),
        stop_limit=PORT_LIMIT,
    )
    host.manager.start(host.layout, program)
    deadline = time.monotonic() + PORT_LIMIT
    while not _answers(step.address, step.port):
        if time.monotonic() > deadline:
            raise BootFailed(
                f"the front does not come up on {step.address}:{step.port}",
                context=host.manager.last_lines(host.layout, "front"),
            )
        host.pause()
    return f"{step.address}:{step.port}"


def _refuse_taken_port(step: HoldPort) -> None:
    with socket.socket(socket.AF_INET6 if ":" in step.address else socket.AF_INET) as attempt:
        attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            attempt.bind((step.address, step.port))
        except OSError as error:
            raise PortTaken(
                f"port {step.port} on {step.address} cannot be used: {error.strerror}",
                context=running.holder_of_port(step.port),
                hint="stop what uses it, or set another `port` for this environment",
            ) from error


def _answers(address: str, port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((address, port), timeout=1):
        return True
    return False


def _keep(host: Host) -> str:
    program = Program(
        name="keeper",
        argv=(*agent_command(), "keeper", "--root", str(host.layout.root)),
        log=host.layout.log("keeper"),
        stop_limit=running.TIMER_LIMIT + running.GRACE,
    )
    host.manager.start(host.layout, program)
    return ""


def _switch(host: Host, step: Switch, want: Want) -> str:
    if want.site:
        site.point(host, step.release)
        return ""
    if step.links or switch.links(host.layout):
        host.switched = not host.going_back
    staged = release.read(host.layout, step.release or 0)
    public = staged.here.public if staged else None
    door = next((each for each in step.links if public and each.service == public.name), None)
    if step.release:
        switch.point_kept(host.layout, step.release)
    switch.point_links(host.layout, step.links, door)
    switch.point_current(host.layout, step.release)
    return ""


def _confirm(host: Host, step: Confirm, want: Want) -> str:
    seconds = time.monotonic() - host.started
    current = _line(Event.CURRENT, step.release, want, seconds=seconds)
    if step.standby:
        current = replace(current, standby=round(time.time()) + step.standby)
    lines = [current]
    if step.left:
        lines.append(_line(Event.LEFT, step.left, want))
    ledger.append(host.layout, *lines)
    host.confirmed = True
    lock.renote(host.layout, "its release serves already; Ctrl-C there leaves the rest to the host")
    return ""


def _dismiss(host: Host) -> str:
    if not host.inside:
        host.manager.dismiss(host.layout)
        switch.point_links(host.layout, (), None)
        if not host.layout.run.is_relative_to(host.layout.root):
            shutil.rmtree(host.layout.run, ignore_errors=True)
    return ""


def _note_stopped(host: Host, want: Want) -> str:
    current = ledger.history(host.layout).current or 0
    ledger.append(host.layout, _line(Event.STOPPED, current, want))
    return ""


def _remove(host: Host, step: Remove) -> str:
    """Each release in the ledger first: :func:`release.clean` removes what it calls removed."""
    layout = host.layout
    release.clean(layout)
    for number in step.releases:
        own = release.own_files(layout, number)
        if own:
            host.note(f"release {number} is kept: it has files of its own, e.g. app/{own[0]}")
            continue
        ledger.append(layout, Line(event=Event.REMOVED, release=number))
        gone = layout.releases / f".gone-{number}"
        with contextlib.suppress(FileNotFoundError):
            layout.release(number).rename(gone)
        remove_tree(gone)
        # Of all turns, rotated ones, and those of relays.
        for pattern in (f"*-{number}.log*", f"*-{number}.*.log*"):
            for log in layout.logs.glob(pattern):
                log.unlink(missing_ok=True)
    orphans = facts.gather(layout, host.manager).orphans
    for name in orphans:
        folder, _, word = name.partition("/")
        if folder == "layers":
            layers.remove(layout, word)
        else:
            remove_tree(layout.root / name)
    lock.lay_aside(layout)
    return f"{len(orphans)} removed" if orphans else ""
