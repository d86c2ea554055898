"""Deciding what a host must be for an app: users, folders, rights, units, the proxy's site."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, TypeGuard

from nonevent.agent import units as helper
from nonevent.agent.process.systemd import UNITS
from nonevent.errors import UsageError
from nonevent.model.layout import RECORDS
from nonevent.model.parse import canonical
from nonevent.model.service import Kind
from nonevent.model.setup import (
    Account,
    After,
    Enabled,
    File,
    Folder,
    Group,
    Link,
    Login,
    Member,
    Setup,
    State,
)
from nonevent.setup.keys import keys
from nonevent.setup.proxy import PROXIES
from nonevent.setup.units import FOLDER, units

if TYPE_CHECKING:
    from nonevent.config.app import App
    from nonevent.setup.place import Place

LONGEST_APP = 27
"""Letters of an app's name that leave room for the group's, groupadd(8)."""

_SUDO = """\
# Written by `nonevent setup {environment}`.
# Start, stop and look into the units of {app}, and nothing else: see that file.
{deployer} ALL=(root) NOPASSWD: {units} --app {app} *
# Whoever deploys decides what code runs as this user; it has no rights beyond the app's own.
{deployer} ALL=({app}) NOPASSWD: ALL
"""


def setup(place: Place, app: App) -> Setup:
    """Everything that is to be true of the host.

    Raises:
        UsageError: the names or paths do not suit a host.
    """
    _refuse_awkward(place)
    states: tuple[State, ...] = (
        *_users(place),
        *_folders(place),
        *_files(place, app),
        *keys(place),
        *_enabled(place, app),
        *(PROXIES[place.proxy].states(place) if place.web else ()),
    )
    afters = (
        After(name="systemd", run=("systemctl", "daemon-reload")),
        # Of all: one that stood in front before has to notice that it does no longer.
        *(after for proxy in PROXIES.values() for after in proxy.AFTERS),
    )
    made = Setup(app=place.app, states=states, afters=afters)
    return Setup(app=place.app, states=(*states, _record(place, app, made)), afters=afters)


def _refuse_awkward(place: Place) -> None:
    if len(place.app) > LONGEST_APP:
        raise UsageError(
            f"the app's name has more than {LONGEST_APP} letters, too many for a user on a host"
        )
    if not re.fullmatch(r"/[A-Za-z0-9_./-]+", place.root):
        raise UsageError(f"the folder {place.root} has a character that units cannot hold")
    if place.deployer in {"root", place.app}:
        raise UsageError(
            f"the user who deploys must not be `{place.deployer}`",
            context=("it brings code to the host, and code must not arrive as that user",),
            hint='name another in `hosts`, e.g. "deploy@web1.example.com"; setup makes it',
        )


def _users(place: Place) -> tuple[State, ...]:
    app, site_group = place.app, place.site
    return (
        Login(name=place.deployer),
        Account(name=app, comment=f"nonevent app {app}"),
        Group(name=site_group),
        Member(user=app, group=site_group),
        Member(user=place.deployer, group=site_group),
        Member(user=place.deployer, group="systemd-journal"),
    )


def _folders(place: Place) -> tuple[State, ...]:
    root, app, deployer = place.root, place.app, place.deployer
    return (
        # Nobody else passes this door; behind it, secrets are the app's alone.
        Folder(path=root, owner=deployer, group=place.site, mode=0o750),
        Folder(path=f"{root}/configs", owner=deployer, group=app, mode=0o2750),
        Folder(path=f"{root}/secrets", owner=deployer, group=app, mode=0o2750),
        Folder(path=f"{root}/data", owner=app, group=app, mode=0o2770),
        Folder(path=f"{root}/run", owner=deployer, group=place.site, mode=0o2770),
    )


def _files(place: Place, app: App) -> tuple[File, ...]:
    own = Path(helper.__file__).read_text(encoding="utf-8")
    program = own.replace("#!/usr/bin/python3 -IS", f"#!{place.python} -IS", 1)
    found = [
        File(path=UNITS, text=program, mode=0o755),
        File(
            path=f"/etc/sudoers.d/nonevent-{place.app}",
            text=_SUDO.format(
                environment=place.environment, app=place.app, deployer=place.deployer, units=UNITS
            ),
            mode=0o440,
            test=("visudo", "-c", "-q", "-f", "{}"),
        ),
    ]
    found += [
        File(path=f"{FOLDER}/{name}", text=text, after="systemd")
        for name, text in units(place, app.services).items()
    ]
    return tuple(found)


def _enabled(place: Place, app: App) -> tuple[Enabled, ...]:
    timers = (each.name for each in app.services if each.kind is Kind.TIMER)
    return (
        # It begins with the first deploy, and with each boot.
        Enabled(unit=helper.unit(place.app, helper.KEEPER), started=False),
        *(Enabled(unit=f"{place.app}.{name}.timer") for name in timers),
    )


def _goes_with(state: State) -> TypeGuard[File | Link]:
    """Whether it is removed when the app does without it."""
    return isinstance(state, Link) or (isinstance(state, File) and not state.shared)


def _record(place: Place, app: App, made: Setup) -> File:
    """What was set up, for deploys and checks to compare with; anybody may read it."""
    record = {
        "format": 1,
        "digest": hashlib.sha256(canonical(made.as_dict())).hexdigest(),
        "services": {each.name: each.set_up_as() for each in app.services},
        "files": [each.path for each in made.states if _goes_with(each)],
        "environment": place.environment,
    }
    return File(
        path=f"{RECORDS}/{place.app}.json", text=json.dumps(record, indent=2, sort_keys=True) + "\n"
    )
