"""The parser of ``nonevent.toml`` and of ``[tool.nonevent]`` in ``pyproject.toml``."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

from nonevent.config.app import LOCAL, LOCAL_PORT, App, Build, Environment, Python
from nonevent.config.command import ANYWHERE, placeholder_fault, words_fault
from nonevent.config.env import EXPECTED, is_variable, read_env
from nonevent.config.hosts import read_hosts, refuse_none
from nonevent.config.services import read_services
from nonevent.config.site import read_site
from nonevent.errors import ConfigInvalid, ConfigMissing, Problem, UsageError
from nonevent.model import site as sites
from nonevent.model.parse import Table, plain, shown
from nonevent.model.service import NAME, NAME_IN_WORDS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nonevent.model.service import Service

NONEVENT = "nonevent.toml"
PYPROJECT = "pyproject.toml"
FILES = (NONEVENT, PYPROJECT)
"""The files that may hold the configuration, beside each other in the project's folder."""

FORMAT = 1
"""Of the configuration; a file may say which one it was written for."""
_DOMAIN = r"(\*\.)?[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?"
_KEY = r"(ssh|ecdsa|sk)-[a-z0-9@.-]+ [A-Za-z0-9+/]{40,}={0,2}( [!-~ ]*)?"
UNREACHABLE = ("fail", "skip")
MANAGERS = ("embedded", "systemd")
PROXIES = ("nginx", "caddy", "haproxy", "socket-proxyd", "none")
_PYTHON = r"3\.\d{1,2}(\.\d{1,2})?"
_PYTHON_IN_WORDS = 'a version such as "3.12", or "bundled"'


def load(folder: Path) -> App:
    """The configuration of the project in a folder.

    Raises:
        ConfigMissing: where there is none.
        ConfigInvalid: with every mistake.
        UsageError: where both files hold one, or a file is not text.
    """
    texts: dict[str, str] = {}
    for name in FILES:
        try:
            texts[name] = (folder / name).read_text(encoding="utf-8")
        except FileNotFoundError:
            continue
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"{folder / name} cannot be read: {error}") from error
    return app_among(texts, where=str(folder))


def app_among(texts: Mapping[str, str], *, where: str) -> App:
    """The configuration in those of :data:`FILES` that there are, by name.

    ``where`` says in an error what was searched, e.g. a folder or a commit.

    Raises:
        ConfigMissing, ConfigInvalid, UsageError: as for :func:`load`.
    """
    in_pyproject = PYPROJECT in texts and has_table(texts[PYPROJECT])
    if NONEVENT in texts and in_pyproject:
        raise UsageError(
            f"the configuration is in both {NONEVENT} and [tool.nonevent] of {PYPROJECT}",
            hint="keep one of them",
        )
    if NONEVENT in texts:
        return read_app(texts[NONEVENT], NONEVENT)
    if in_pyproject:
        return read_app(texts[PYPROJECT], PYPROJECT)
    raise ConfigMissing(
        f"there is no {NONEVENT} in {where}, and no [tool.nonevent] in a {PYPROJECT}",
        hint="nonevent init",
    )


def has_table(pyproject: str) -> bool:
    """Whether the text of a ``pyproject.toml`` has a ``[tool.nonevent]``, even where broken."""
    try:
        tool = tomllib.loads(pyproject).get("tool")
    except tomllib.TOMLDecodeError:
        return bool(re.search(r"^\s*\[tool\.nonevent\b", pyproject, re.MULTILINE))
    return isinstance(tool, dict) and "nonevent" in tool


def read_app(text: str, file: str) -> App:
    """The configuration in the text of ``file``, whose name decides where in it to look.

    Raises:
        ConfigInvalid: with every mistake, or the line where the file stops being TOML.
    """
    try:
        raw: object = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigInvalid(file, (_syntax(error),)) from error
    path = ""
    if Path(file).name == PYPROJECT:
        path = "tool.nonevent"
        for key in path.split("."):
            raw = raw.get(key) if isinstance(raw, dict) else None
    problems: list[Problem] = []
    if isinstance(raw, dict):
        app = _app(Table(raw, path, problems))
        if not problems:
            return app
    else:
        problems.append(Problem(where=path, found=shown(raw), expected="a table"))
    raise ConfigInvalid(file, tuple(problems))


def _syntax(error: tomllib.TOMLDecodeError) -> Problem:
    match = re.fullmatch(r"(.*) \(at (?:line (\d+), column (\d+)|(end of document))\)", str(error))
    if match is None:
        return Problem(where="", found=str(error), expected="TOML")
    where = match[4] or f"line {match[2]}, column {match[3]}"
    message = match[1]
    return Problem(where=where, found=message[0].lower() + message[1:], expected="TOML")


def _app(table: Table) -> App:
    if table.number("format", FORMAT, least=1) > FORMAT:
        table.problem("format", expected=f"{FORMAT}", hint="it is for a newer version of nonevent")
    app = App(
        app=table.text("app", pattern=NAME, expected=NAME_IN_WORDS),
        python=_python(table),
        build=_build(table.table("build")),
        release=_commands(table, "release", ANYWHERE),
        services=(services := read_services(table.table("services"))),
        required=_required(table),
        env=read_env(table),
        environments=_environments(table.table("environments"), services),
    )
    table.done()
    return app


def _python(table: Table) -> Python:
    """A version, ``bundled``, or a table of both, where ``bundled`` may be an installed prefix."""
    if not isinstance(table.raw.get("python"), dict):
        text = table.text("python", "", pattern=f"{_PYTHON}|bundled", expected=_PYTHON_IN_WORDS)
        return Python(bundled=True) if text == "bundled" else Python(version=text)
    inner = table.table("python")
    bundled = inner.take("bundled")
    prefix = bundled if isinstance(bundled, str) else ""
    if not (isinstance(bundled, bool | None) or prefix.startswith("/")):
        inner.problem("bundled", expected="true, or the folder of an installed Python")
    python = Python(
        version=inner.text("version", "", pattern=_PYTHON, expected='a version such as "3.12"'),
        bundled=bool(bundled),
        prefix=prefix,
    )
    inner.done()
    return python


def _required(table: Table) -> tuple[str, ...]:
    names = table.texts("require")
    for name in names:
        if not is_variable(name):
            table.problem("require", expected=EXPECTED, found=shown(name))
    return tuple(dict.fromkeys(names))


def _commands(table: Table, key: str, placeholders: tuple[str, ...] | None) -> tuple[str, ...]:
    """Commands in a list; where ``placeholders`` is None, braces mean nothing in them."""
    commands = table.texts(key)
    for number, command in enumerate(commands):
        where = f"{key}[{number}]"
        if fault := words_fault(command):
            table.problem(where, expected="words as a shell reads them", found=fault)
        elif placeholders is not None and (fault := placeholder_fault(command, placeholders)):
            known = " ".join(f"{{{name}}}" for name in placeholders)
            table.problem(where, expected=f"only the placeholders {known}", found=fault)
    return commands


def _build(table: Table) -> Build:
    build = Build(
        commands=_commands(table, "commands", None),
        static=table.text("static", ""),
        exclude=table.texts("exclude"),
        lock=table.text("lock", ""),
        groups=table.texts("groups"),
        extras=table.texts("extras"),
        env=read_env(table),
    )
    for key, value in (("static", build.static), ("lock", build.lock)):
        if value and not _stays_inside(value):
            table.problem(key, expected="a path within the project's folder")
    for number, value in enumerate(build.exclude):
        if not _stays_inside(value) or set("*?[") & set(value):
            table.problem(f"exclude[{number}]", found=shown(value),
                          expected="a path in the project's folder, and no pattern")  # fmt: skip
    table.done()
    return build


def _stays_inside(path: str) -> bool:
    parts = path.rstrip("/").split("/")
    return bool(path) and not any(part in ("", ".", "..") for part in parts) and "\0" not in path


def _environments(table: Table, services: tuple[Service, ...]) -> tuple[Environment, ...]:
    found = []
    if not table.has(LOCAL):
        found.append(Environment(name=LOCAL, port=LOCAL_PORT))
    for name in table.raw:
        if not re.fullmatch(NAME, name):
            table.problem(name, expected=NAME_IN_WORDS, found=f"the name `{plain(name)}`")
        found.append(_environment(name, table.table(name), services))
    return tuple(found)


def _environment(name: str, table: Table, services: tuple[Service, ...]) -> Environment:
    standard = Environment(name=name)
    hosts, roles = read_hosts(table, services)
    if name == LOCAL and hosts:
        table.problem("hosts", expected=f"no hosts: `{LOCAL}` is this machine")
    elif name != LOCAL:
        refuse_none(table)
    if name == LOCAL and table.has("root"):
        table.problem("root", expected=f"no root: `{LOCAL}` is in .nonevent/ of the project")
    port = _port(table, name)
    site = read_site(table, remote=bool(hosts))
    held = None if table.raw.get("proxy") == "socket-proxyd" else port
    manager = sites.MANAGER if site else _manager(table, remote=bool(hosts), port=held)
    certificate, key = _certificate(table)
    environment = Environment(
        name=name,
        hosts=hosts,
        roles=roles,
        root=table.text("root", "", pattern=r"/[^\x00-\x1f]*[^/\x00-\x1f]",
                        expected="an absolute path, such as /srv/shop"),
        address=table.text("address", standard.address, pattern=r"[0-9A-Za-z.:-]+",
                           expected="an address of this host to listen on"),
        port=port,
        manager=manager,
        proxy=_proxy(table, manager, port=port),
        domains=_domains(table, hosts),
        keys=_keys(table, manager),
        certificate=certificate,
        certificate_key=key,
        keep=table.number("keep", standard.keep, least=1, most=1000),
        keep_failed=table.number("keep_failed", standard.keep_failed, most=1000),
        unreachable=table.choice("unreachable", UNREACHABLE, standard.unreachable),
        confirm_within=table.seconds("confirm_within", standard.confirm_within),
        standby=round(table.seconds("standby", standard.standby)),
        env=read_env(table),
        reload=site,
    )  # fmt: skip
    table.done()
    return environment


def _port(table: Table, name: str) -> int | None:
    if name == LOCAL:
        return table.number("port", LOCAL_PORT, least=1, most=65535)
    return table.number("port", least=1, most=65535) if table.has("port") else None


def _manager(table: Table, *, remote: bool, port: int | None) -> str:
    """On hosts it is systemd, except where a port asks for the embedded front."""
    manager = table.choice("manager", MANAGERS, "systemd" if remote and not port else "embedded")
    if manager == "systemd" and not remote:
        table.problem("manager", expected="embedded: this environment has no hosts")
    if manager == "systemd" and port:
        table.problem("port", expected="no port: with systemd a proxy stands in front",
                      hint='or proxy = "socket-proxyd", or manager = "embedded"')  # fmt: skip
    return manager


def _proxy(table: Table, manager: str, *, port: int | None) -> str:
    proxy = table.choice("proxy", PROXIES, "nginx" if manager == "systemd" else "none")
    if proxy != "none" and manager != "systemd":
        table.problem("proxy", expected="no proxy: the embedded front holds the port")
    if proxy == "socket-proxyd" and port is None:
        table.problem("port", expected="the port that socket-proxyd leads to the app")
    if proxy in ("socket-proxyd", "none") and table.has("certificate"):
        table.problem("certificate", expected="nginx, caddy or haproxy as `proxy`")
    return proxy


def _keys(table: Table, manager: str) -> tuple[str, ...]:
    """Each is a line of a ``.pub`` file."""
    keys = table.texts("keys")
    for number, key in enumerate(keys):
        if not re.fullmatch(_KEY, key):
            table.problem(f"keys[{number}]", expected="a public key, the line in a file such as "
                          "deploy_key.pub", found=shown(key))  # fmt: skip
    if keys and manager != "systemd":
        table.problem("keys", expected="no keys: they need what `nonevent setup` installs",
                      found="some")  # fmt: skip
    return keys


def _certificate(table: Table) -> tuple[str, str]:
    """A certificate and its key: files on the hosts."""
    path = r"/[A-Za-z0-9_.@+:/-]+"
    certificate = table.text("certificate", "", pattern=rf"none|{path}",
                             expected='the path of a file on the hosts, or "none"')  # fmt: skip
    key = table.text(
        "certificate_key", "", pattern=path, expected="the path of a file on the hosts"
    )
    if (certificate in ("", "none")) is not (key == ""):
        table.problem("certificate_key", expected="a certificate and its key together")
    return certificate, key


def _domains(table: Table, hosts: tuple[str, ...]) -> tuple[str, ...]:
    """The names of the site; without any, the hosts' own."""
    domains = table.texts("domains")
    for number, domain in enumerate(domains):
        if not re.fullmatch(_DOMAIN, domain):
            table.problem(f"domains[{number}]", expected="a name such as shop.example.com",
                          found=shown(domain))  # fmt: skip
    return domains or tuple(host.rpartition("@")[2] for host in hosts)
