"""Setting a host up: survey it, decide, show or make it so, or write it down for others to do."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from nonevent.agent.pooling import Pool
from nonevent.errors import HostUnfit, NoneventError, UsageError
from nonevent.model.parse import Table, parse
from nonevent.model.service import Kind
from nonevent.model.setup import (
    Account,
    Agent,
    Enabled,
    File,
    Folder,
    Fresh,
    Group,
    Keys,
    Line,
    Link,
    Login,
    Member,
    Setup,
)
from nonevent.setup.place import Place
from nonevent.setup.states import setup
from nonevent.transport import zipapp

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nonevent.config.app import App
    from nonevent.deploy.deploy import Task
    from nonevent.transport.ssh import Ssh

STAY = Path(".cache/nonevent")
"""Where the agent of a survey stays, in the home of whoever looks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxy:
    """What stands in front, as the host has it."""

    version: str
    """Empty where it is not installed."""
    user: str
    root: str
    """The folder that it sees as ``/``; empty where that is the host's own."""
    taken: bool
    """Whether its ports belong to a site that is not ours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """What a host is like; sizes in bytes, ``clock`` in Unix seconds."""

    user: str
    root: bool
    python: str
    version: str
    machine: str
    system: str
    systemd: str
    running: bool
    embedded: bool
    """Whether the embedded process manager runs this app there."""
    sudo: bool
    proxy: Proxy
    pools: tuple[Pool, ...]
    """What keeps connections to the app open, and must not."""
    free: int
    clock: float
    digest: str
    """Of what was set up, or nothing where nothing was."""


def refuse_unsuited(task: Task) -> None:
    """Refuse an environment that needs no set-up.

    Raises:
        UsageError: it runs everything with the embedded manager.
    """
    if task.environment.manager != "systemd":
        raise UsageError(
            f"`{task.environment.name}` needs no set-up: its services are run by the embedded "
            "process manager",
            hint=f"nonevent deploy {task.environment.name}",
        )


def surveyor(host: Ssh, as_user: str) -> Ssh:
    """How a host is surveyed and set up: as whom, with an agent of no app."""
    name = f"{as_user}@{host.host.rpartition('@')[2]}" if as_user else host.host
    return replace(host, host=name, root=STAY, manager="embedded")


def look(host: Ssh, task: Task, root: Path) -> Survey:
    """What the host is like.

    Raises:
        TransportFailed, HostUnfit: it cannot be reached, or has no Python.
    """
    with host.connect(task.by) as connection:
        asked: dict[str, object] = {
            "request": "survey", "app": task.app.app, "root": str(root),
            "proxy": task.environment.proxy,
        }  # fmt: skip
        result = connection.request(asked)
    return parse("the answer to survey", result, _survey)


def _survey(table: Table) -> Survey:
    record = table.table("record") if table.take("record") is not None else None
    return Survey(
        user=table.text("user"),
        root=table.flag("root"),
        python=table.text("python"),
        version=table.text("version"),
        machine=table.text("machine"),
        system=table.text("system"),
        systemd=table.text("systemd"),
        running=table.flag("running"),
        embedded=table.flag("embedded"),
        sudo=table.flag("sudo"),
        proxy=_proxy(table.table("proxy", required=True)),
        pools=tuple(_pool(each) for each in table.tables("pools", required=True)),
        free=table.number("free"),
        clock=table.real("clock"),
        digest=record.text("digest", "") if record else "",
    )


def _proxy(table: Table) -> Proxy:
    return Proxy(
        version=table.text("version"),
        user=table.text("user"),
        root=table.text("root"),
        taken=table.flag("taken"),
    )


def _pool(table: Table) -> Pool:
    return Pool(file=table.text("file"), line=table.number("line"), mend=table.text("mend"))


def decided(task: Task, host: Ssh, seen: Survey) -> Setup:
    """What the host is to be, from the configuration and what it is like.

    Raises:
        HostUnfit: it lacks what cannot be set up from here.
        UsageError: names or paths do not suit.
    """
    here = _on(task, host.host)
    refuse_unfit(here, seen)
    if seen.python.startswith(f"{host.root}/"):
        # Whoever deploys could put another program in its place, and root would run that.
        raise HostUnfit(
            "this host has no Python of its own, which a program of root's needs",
            hint="on the host, as root: apt install python3",
        )
    return setup(place(here.app, here, host, seen), here.app)


def _on(task: Task, host: str) -> Task:
    """The task as one of several hosts has it: its own services, and a proxy where one is web."""
    app, environment = task.app.on(task.environment, host), task.environment
    if not any(each.kind is Kind.WEB for each in app.services):
        environment = replace(environment, proxy="none")
    return replace(task, app=app, environment=environment)


def place(app: App, task: Task, host: Ssh, seen: Survey) -> Place:
    """Where the app is to live on the host."""
    environment = task.environment
    webs = [each.name for each in app.services if each.kind is Kind.WEB]
    return Place(
        app=app.app,
        environment=environment.name,
        root=str(host.root),
        deployer=host.user(),
        python=seen.python,
        proxy=environment.proxy,
        proxy_user=seen.proxy.user,
        proxy_root=seen.proxy.root,
        domains=environment.domains,
        certificate=environment.certificate,
        key=environment.certificate_key,
        address=environment.address,
        port=environment.port,
        static=bool(app.build.static),
        keys=environment.keys,
        agent=zipapp.digest(),
        web="web" if "web" in webs else next(iter(webs), ""),
    )


def refuse_unfit(task: Task, seen: Survey) -> None:
    """Refuse a host that lacks a program; nothing is installed behind anybody's back."""
    if not seen.running:
        raise HostUnfit(
            "this host does not run systemd",
            hint='manager = "embedded" and a `port` need neither systemd nor a proxy',
        )
    if seen.embedded:
        raise HostUnfit(
            "the embedded process manager runs this app here, and must be stopped first",
            hint=f"with `manager` and `port` as they were: nonevent stop {task.environment.name}",
        )
    proxy = task.environment.proxy
    missing = [
        name
        for name, there in (("sudo", seen.sudo), (proxy, bool(seen.proxy.version)))
        if not there and name != "none"
    ]
    if missing:
        raise HostUnfit(
            f"this host lacks {' and '.join(missing)}",
            hint=f"on the host, as root: apt install {' '.join(missing)}",
        )
    if seen.proxy.taken:
        raise HostUnfit(
            f"{proxy} of this host listens on port 80 or 443 for a site of its own",
            context=("a port can belong to one frontend only, and setup changes no other's file",),
            hint='proxy = "none", and lead a backend of yours to the app: see the how-to',
        )


def carry_out(
    host: Ssh, task: Task, wanted: Setup, *, is_root: bool, check: bool, as_json: bool
) -> int:
    """Have root make it so, through sudo where we are not root; returns the exit status.

    The terminal is passed on: sudo may ask for a password.
    """
    with host.connect(task.by) as connection:
        raw = connection.request({"request": "stow", "setup": wanted.as_dict()})
        path = parse("the answer to stow", raw, lambda table: table.text("path"))
    if not (is_root or sys.stdin.isatty()) and host.sudo_asks():
        raise HostUnfit(
            f"sudo on {host.host} asks for a password, and here is no terminal to type it in",
            hint=f"in a terminal: nonevent setup {task.environment.name}; or --as root",
        )
    words = ("setup", "--states", path, *(("--check",) if check else ()))
    status = host.attach_as(
        () if is_root else ("sudo", "--"), (*words, *(("--json",) if as_json else ()))
    )
    host.leave()
    return status


def emit(wanted: Setup, folder: Path) -> tuple[Path, ...]:
    """Write the files below a folder, and a script with the exact commands that go with them.

    Raises:
        NoneventError: the folder is not empty.
    """
    if folder.exists() and any(folder.iterdir()):
        raise NoneventError(f"{folder} is not empty")
    written = []
    for state in wanted.states:
        if isinstance(state, File):
            path = folder / "files" / state.path.lstrip("/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(state.text)
            path.chmod(state.mode)
            written.append(path)
        elif isinstance(state, Agent):
            path = folder / "agent.pyz"
            path.write_bytes(zipapp.encoded())
            written.append(path)
    script = folder / "setup.sh"
    script.write_text(
        "\n".join(("#!/bin/sh", "set -eu", 'cd "$(dirname "$0")"', *_lines(wanted), ""))
    )
    script.chmod(0o755)
    return (script, *written)


def _lines(wanted: Setup) -> list[str]:  # noqa: C901, PLR0912  (a table)
    """The commands, in order; each may be run again."""
    early, late = [], []
    for state in wanted.states:
        match state:
            case Group(name=name):
                early.append(f"getent group {name} >/dev/null || groupadd --system {name}")
            case Account(name=name, comment=comment):
                early.append(
                    f"getent passwd {name} >/dev/null || useradd --system --user-group "
                    f"--no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin "
                    f"--comment {shlex.quote(comment)} {name}"
                )
            case Login(name=name):
                early.append(
                    f"getent passwd {name} >/dev/null || "
                    f"useradd --create-home --shell /bin/bash {name}"
                )
            case Member(user=user, group=group):
                early.append(f"usermod --append --groups {group} {user}")
            case Folder(path=path, owner=owner, group=group, mode=mode):
                early.append(f"install -d -o {owner} -g {group} -m {mode:o} {path}")
            case File(path=path, mode=mode):
                early.append(f"install -D -m {mode:o} files{path} {path}")
            case Agent(path=path):
                early.append(f"test -d {path} || python3 -I -S agent.pyz unpack {path}")
            case Keys(user=user, options=options, keys=keys):
                early += _let_in(user, tuple(f"{options} {key}" for key in keys))
            case Line(path=path, text=text):
                line = shlex.quote(text)
                early.append(f"grep -qxF {line} {path} || echo {line} >>{path}")
            case Link(path=path, to=to):
                early.append(f"install -d {Path(path).parent} && ln -sfn {to} {path}")
            case Fresh(unit=unit):
                late.append(f"systemctl try-restart {unit}")
            case Enabled(unit=unit, started=started):
                late.append(f"systemctl enable {'--now ' if started else ''}{unit}")
    after = [
        " && ".join(shlex.join(words) for words in (each.test, each.run) if words)
        for each in wanted.afters
        if any(getattr(state, "after", "") == each.name for state in wanted.states)
    ]
    return [*early, *after, *late]


def _let_in(user: str, lines: tuple[str, ...]) -> Iterator[str]:
    """What adds lines to a user's keys, as that user."""
    file = "authorized_keys"
    for line in map(shlex.quote, lines):
        script = (
            f"umask 077; mkdir -p ~/.ssh; cd ~/.ssh; touch {file}; if ! grep -qxF {line} {file}; "
            f"then {{ cat {file}; echo {line}; }} >{file}.new; mv -f {file}.new {file}; fi"
        )
        yield shlex.join(("su", user, "-s", "/bin/sh", "-c", script))
