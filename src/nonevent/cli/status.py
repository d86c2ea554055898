"""``nonevent status``: what really runs, host by host."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import click

from nonevent.build.event import counted
from nonevent.cli.command import Command, common
from nonevent.cli.output import age, size
from nonevent.config.app import LOCAL
from nonevent.model.parse import Table, parse

if TYPE_CHECKING:
    from collections.abc import Iterator


@click.command()
@click.argument("environment")
@common
def status(command: Command, environment: str) -> None:
    """Show what really runs, from the process manager and the kernel."""
    project = command.project()
    task = command.reach(project, environment)
    with command.fleet(project, task) as fleet:
        found = fleet.everywhere(lambda each: each.session.status())
    for label, raw in found.items():
        host = {} if fleet.alone else {"host": label}
        command.output.event("status", **host, **raw)
        if command.output.as_json:
            continue
        if not fleet.alone:
            command.output.data(f"\n{label}")
        show = partial(_show, command, environment, "" if fleet.alone else f"{label}: ")
        parse("the status", raw, show)
    _show_drift(command, environment, found)


def _show_drift(command: Command, environment: str, found: dict[str, dict[str, object]]) -> None:
    """Say it where hosts of an environment do not run the same release."""
    serving = {label: parse("the status", raw, _serving) for label, raw in found.items()}
    if len(set(serving.values())) > 1:
        each = ", ".join(f"{label} {what}" for label, what in serving.items())
        command.output.event("drift", **serving)
        command.output.line(
            "note",
            f"the hosts differ: {each}; `nonevent deploy {environment}` makes them alike",
        )


def _serving(table: Table) -> str:
    if table.take("release") is None:
        return "has nothing"
    release = table.table("release")
    verb = "serves" if table.flag("running") else "is stopped at"
    return f"{verb} {release.number('number')} ({release.text('artifact')[:8]})"


def _show(command: Command, environment: str, named: str, table: Table) -> None:
    say = command.output.data
    if table.take("release") is None:
        say(f"nothing has been deployed to {environment}")
    else:
        release = table.table("release")
        who = f"since {release.text('since')}, by {release.text('by')}"
        say(
            f"release {release.number('number')} ({release.text('commit')[:7]}) "
            f"{release.text('subject')}\n{who}"
        )
    front = table.take("front")
    if isinstance(front, list):
        say(f"listens on http://{front[0]}:{front[1]}")
    for proxy in table.tables("proxies"):
        say(f"behind {proxy.text('name')} {proxy.text('version')}, {proxy.text('file')}")
    _show_instances(list(table.tables("instances")))
    for timer in table.tables("timers"):
        say(f"timer {timer.text('service')}: {timer.text('schedule')}")
    disk = table.table("disk")
    sizes = {name: size(disk.number(name)) for name in ("used", "layers", "data", "shared", "free")}
    say(
        "disk {used} used (layers {layers}, data {data}), {shared} saved by sharing, "
        "{free} free".format(**sizes)
    )
    if environment != LOCAL:
        processors = counted(table.number("processors"), "processor")
        say(f"load {table.real('load'):.1f} on {processors}")
    for text in _troubles(environment, table):
        command.output.line("note", named + text)


def _show_instances(instances: list[Table]) -> None:
    from rich import print as show
    from rich.table import Table as Grid

    if not instances:
        return
    grid = Grid(box=None, pad_edge=False, header_style="dim")
    for name in ("service", "release", "state", "pid", "for", "memory", "proof"):
        grid.add_column(name, no_wrap=name != "proof")
    for each in instances:
        complaints = each.texts("complaints")
        alive = each.number("processes") > 0
        serves = " (serves)" if each.flag("serves") else ""
        restarts = each.number("restarts")
        again = f", restarted {counted(restarts, 'time')}" if restarts else ""
        if left := each.number("standby"):
            serves = f" (standby, {age(left)} left)"
        grid.add_row(
            each.text("service"),
            str(each.number("release")),
            each.text("state") + serves + again,
            str(each.number("pid") or "-"),
            age(each.number("seconds")) if alive else "-",
            size(each.number("memory")) if alive else "-",
            complaints[0] if complaints else ("runs its release" if alive else each.text("detail")),
        )
    show(grid)


def _troubles(environment: str, table: Table) -> Iterator[str]:
    """What is not as it is meant to be, and what to type about it."""
    deployed, running = table.take("release") is not None, table.flag("running")
    runs = any(each.number("processes") for each in table.tables("instances"))
    if deployed and running and not runs:
        yield f"nothing of it runs; `nonevent start {environment}` starts it"
    if deployed and not running:
        yield f"stopped; `nonevent start {environment}` brings it back"
    for proxy in table.tables("proxies"):
        if proxy.text("state") in {"inactive", "failed"} and running:
            yield f"{proxy.text('name')}, by which visitors come, is {proxy.text('state')}"
    if table.take("locked") is not None:
        note = table.table("locked")
        yield (
            f"locked by {note.text('by')} since {note.text('since')}: {note.text('reason')}; "
            f"`nonevent unlock {environment}` allows changes again"
        )
    if table.take("busy") is not None:
        yield f"busy: {table.text('busy')}"
    if table.take("interrupted") is not None:
        yield (
            f"cut off: {table.text('interrupted')}; it is tidied up within seconds, or by "
            f"`nonevent start {environment}`"
        )
