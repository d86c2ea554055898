"""The ``switch = "reload"`` of an environment, and its ``[reload]``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nonevent.config.command import words_fault
from nonevent.model.site import Site

if TYPE_CHECKING:
    from nonevent.model.parse import Table

SWITCHES = ("socket", "reload")
_ADDRESS = r"([0-9A-Za-z.-]+|\[[0-9A-Fa-f:.]+\]):\d{1,5}"
_USER = r"[a-z_][a-z0-9_-]{0,31}"
_OURS = ("manager", "proxy", "domains", "port", "address", "standby")
"""Keys of what Nonevent runs, and here the site does."""


def read_site(table: Table, *, remote: bool) -> Site | None:
    """The site, where the environment is switched by reloading one."""
    if table.choice("switch", SWITCHES, "socket") == "socket":
        if table.has("reload"):
            table.problem("reload", expected='switch = "reload" beside it')
        return None
    if not remote:
        table.problem("switch", expected="socket: this environment has no hosts")
    for key in _OURS:
        if table.has(key):
            table.problem(key, expected=f"no {key}: the site runs its services itself")
    standard = Site(commands=())
    given = table.table("reload", required=True)
    site = Site(
        commands=given.texts("commands"),
        probe=given.text("probe", "", pattern=_ADDRESS,
                         expected="an address and a port, such as 127.0.0.1:8080"),
        timeout=given.seconds("timeout", standard.timeout),
        user=given.text("user", "", pattern=_USER, expected="the name of a user"),
    )  # fmt: skip
    _check(given, site)
    given.done()
    return site


def _check(table: Table, site: Site) -> None:
    if not site.commands:
        table.problem(
            "commands",
            expected='what makes its processes start anew: ["touch /srv/shop/etc/uwsgi.conf"]',
        )
    for number, command in enumerate(site.commands):
        if fault := words_fault(command):
            table.problem(f"commands[{number}]", expected="words as a shell reads them",
                          found=fault)  # fmt: skip
