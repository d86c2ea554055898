"""The ``hosts`` of an environment: a list, or a table that says which services run where."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from nonevent.model.parse import did_you_mean, plain, shown
from nonevent.model.service import Kind

if TYPE_CHECKING:
    from nonevent.config.app import Roles
    from nonevent.model.parse import Table
    from nonevent.model.service import Service

_HOST = r"(?:[A-Za-z0-9_][A-Za-z0-9_.-]*@)?[A-Za-z0-9_][A-Za-z0-9_.:-]*"
_EXPECTED = 'a list of hosts, as ssh takes them: ["web1.example.com"]'


def read_hosts(table: Table, services: tuple[Service, ...]) -> tuple[tuple[str, ...], Roles]:
    """The hosts in the order of the file, and the services of each where it says so."""
    raw = table.take("hosts")
    if isinstance(raw, dict):
        found = table.table("hosts")
        for host in raw:
            _check_host(found, plain(host), host)
        roles = tuple((host, _services(found, host, services)) for host in raw)
        _refuse_doubled(found, roles, services)
        return tuple(raw), roles
    hosts = table.texts("hosts")
    for number, host in enumerate(hosts):
        where = f"hosts[{number}]"
        _check_host(table, where, host)
        if host in hosts[:number]:
            table.problem(where, expected="each host once", found=shown(host))
    return hosts, ()


def refuse_none(table: Table) -> None:
    """Note it where an environment that is not this machine has no hosts."""
    if not table.raw.get("hosts"):
        table.problem("hosts", expected=_EXPECTED)


def _check_host(table: Table, where: str, host: str) -> None:
    if not re.fullmatch(_HOST, host):
        table.problem(where, expected="a host, as ssh takes it", found=shown(host))


def _services(table: Table, host: str, services: tuple[Service, ...]) -> tuple[str, ...]:
    known = tuple(each.name for each in services)
    named = table.texts(host, None)
    for name in named:
        if name not in known:
            table.problem(
                host, expected="services of this app: " + ", ".join(known),
                found=f"`{plain(name)}`", hint=did_you_mean(name, known),
            )  # fmt: skip
    return named


def _refuse_doubled(table: Table, roles: Roles, services: tuple[Service, ...]) -> None:
    for service in services:
        hosts = [host for host, named in roles if service.name in named]
        if service.kind is Kind.SINGLETON and len(hosts) > 1:
            table.problem(
                hosts[1], expected=f"{service.name} on one host: it is a singleton",
                found=f"it on {' and '.join(map(plain, hosts))}",
            )  # fmt: skip
