"""The ``[services]`` of the configuration file."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from nonevent.config.command import ANYWHERE, LISTENING, listens, placeholder_fault, words_fault
from nonevent.config.directives import read_directives
from nonevent.config.env import read_env
from nonevent.config.schedule import EXPECTED, NAMED, schedule_fault
from nonevent.errors import Problem
from nonevent.model.parse import Table, did_you_mean, plain, shown
from nonevent.model.service import NAME, NAME_IN_WORDS, SIGNALS, Health, Kind, Service

if TYPE_CHECKING:
    from collections.abc import Iterator

_KINDS = tuple(kind.value for kind in Kind)
_ONE_OF_KINDS = "one of " + ", ".join(_KINDS)
RESERVED = ("front", "keeper", "release", "supervisor", "supervisord")
"""Programs, sockets and logs of our own are called so."""
_WORKER_STOP_LIMIT = 3600.0
"""Seconds: a task that is killed in the middle is lost, and a deploy waits for none."""
_ONLY = {"health": Kind.WEB, "drain_limit": Kind.WEB, "schedule": Kind.TIMER}


def read_services(table: Table) -> tuple[Service, ...]:
    """The services, in the order of the file; there is at least one."""
    services = tuple(_services(table))
    if not table.raw and not any(each.where == table.path for each in table.problems):
        table.problems.append(
            Problem(
                where=table.path,
                found="none",
                expected="at least one service",
                hint='such as web = "gunicorn shop.wsgi --bind unix:{socket}"',
            )
        )
    return services


def _services(table: Table) -> Iterator[Service]:
    for name, raw in table.raw.items():
        table.has(name)
        if not re.fullmatch(NAME, name):
            table.problem(name, expected=NAME_IN_WORDS, found=f"the name `{plain(name)}`")
        elif name in RESERVED:
            table.problem(name, expected="a name that is not one of ours: " + ", ".join(RESERVED),
                          found=f"the name `{name}`")  # fmt: skip
        elif re.fullmatch(r".*-\d+", name):
            # The instance of `web` in release 42 is called web-42, and so are its files.
            table.problem(name, expected="a name that does not end in a dash and a number",
                          found=f"the name `{plain(name)}`")  # fmt: skip
        if isinstance(raw, str):
            yield _service(name, Table({"command": raw}, table.at(name), table.problems))
        elif isinstance(raw, dict):
            yield _service(name, Table(raw, table.at(name), table.problems))
        else:
            table.problem(name, expected="a command or a table", found=shown(raw))


def _service(name: str, table: Table) -> Service:
    standard = Service(name=name, kind=Kind.WEB, command="")
    kind = _kind(name, table)
    stop_limit = _WORKER_STOP_LIMIT if kind is Kind.WORKER else standard.stop_limit
    service = Service(
        name=name,
        kind=kind or Kind.WEB,
        command=_command(table, kind),
        health=_health(table),
        drain_limit=table.seconds("drain_limit", standard.drain_limit),
        stop_signal=_signal(table, standard.stop_signal),
        stop_limit=table.seconds("stop_limit", stop_limit),
        schedule=_schedule(table, kind),
        env=read_env(table),
        systemd=read_directives(table),
    )
    for key, only in _ONLY.items():
        if kind is not None and kind is not only and table.has(key):
            table.problem(key, expected=f"this key only in a {only} service",
                          found=f"it in a {kind} service")  # fmt: skip
    table.done()
    return service


def _kind(name: str, table: Table) -> Kind | None:
    raw = table.take("kind")
    if not table.has("kind"):
        if name in _KINDS:
            return Kind(name)
        table.problem("kind", expected=f"{_ONE_OF_KINDS} (`{plain(name)}` is not one itself)")
        return None
    if not isinstance(raw, str) or raw not in _KINDS:
        table.problem("kind", expected=_ONE_OF_KINDS, hint=did_you_mean(str(raw), _KINDS))
        return None
    return Kind(raw)


def _command(table: Table, kind: Kind | None) -> str:
    command = table.text("command")
    if not isinstance(table.raw.get("command"), str):
        return command
    if fault := words_fault(command):
        table.problem("command", expected="words as a shell reads them", found=fault)
        return command
    allowed = ANYWHERE if kind not in (None, Kind.WEB) else LISTENING + ANYWHERE
    if fault := placeholder_fault(command, allowed):
        known = " ".join(f"{{{name}}}" for name in allowed)
        table.problem("command", expected=f"only the placeholders {known}", found=fault)
    elif kind is Kind.WEB and not listens(command):
        table.problem("command", expected="{socket} or {port} where the command says what to listen"
                      " on", hint="such as --bind unix:{socket}")  # fmt: skip
    return command


def _signal(table: Table, standard: str) -> str:
    raw = table.raw.get("stop_signal")
    if isinstance(raw, str) and raw.removeprefix("SIG") in SIGNALS:
        table.has("stop_signal")
        return raw.removeprefix("SIG")
    return table.choice("stop_signal", SIGNALS, standard)


def _schedule(table: Table, kind: Kind | None) -> str:
    if kind is not Kind.TIMER:
        return table.text("schedule", "")
    schedule = " ".join(table.text("schedule").split())
    if isinstance(table.raw.get("schedule"), str) and (fault := schedule_fault(schedule)):
        table.problem("schedule", expected=EXPECTED, hint=fault)
    # From here on a schedule is five fields or "every …": whatever runs timers knows no names.
    return NAMED.get(schedule, schedule)


def _health(table: Table) -> Health:
    raw = table.take("health")
    if isinstance(raw, str):
        return Health(path=_path(Table({"path": raw}, table.path, table.problems), "health", raw))
    if raw is not None and not isinstance(raw, dict):
        table.problem("health", expected='a path such as "/healthz", or a table')
        return Health()
    health = table.table("health")
    standard = Health()
    read = Health(
        path=_path(health, "path", health.text("path", standard.path)),
        host=health.text("host", standard.host, pattern=r"[A-Za-z0-9_.:\[\]-]+",
                         expected="a host name"),
        answers=health.number("answers", standard.answers, least=1, most=100),
        interval=health.seconds("interval", standard.interval),
        timeout=health.seconds("timeout", standard.timeout),
        watch=health.seconds("watch", standard.watch),
        release_header=health.text("release_header", standard.release_header,
                                   pattern=r"[A-Za-z0-9-]+", expected="the name of a header"),
    )  # fmt: skip
    for key in ("interval", "timeout"):
        if not getattr(read, key) and _is_duration(health, key):
            health.problem(key, expected="more than no time at all")
    health.done()
    return read


def _is_duration(table: Table, key: str) -> bool:
    """Whether a text stands at the key that is not already noted as no duration."""
    return isinstance(table.raw.get(key), str) and not any(
        problem.where == table.at(key) for problem in table.problems
    )


def _path(table: Table, key: str, path: str) -> str:
    if not re.fullmatch(r"/[!-~]*", path):
        table.problem(
            key, expected='a path that starts with "/", without spaces', found=shown(path)
        )
    return path
