"""The values of a project's configuration: the app, how it is built, where it runs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from nonevent.errors import UsageError
from nonevent.model.parse import did_you_mean
from nonevent.model.service import CONFIRM_WITHIN, Kind

if TYPE_CHECKING:
    from nonevent.model.service import Service
    from nonevent.model.site import Site

LOCAL = "local"
"""The environment that always exists: this machine."""
LOCAL_PORT = 8000

Roles = tuple[tuple[str, tuple[str, ...]], ...]
"""Hosts, and the names of the services that run on each."""

Variables = tuple[tuple[str, str], ...]
"""Names and values, sorted by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """How the artifact is made from a commit. Paths are relative to the project's folder."""

    commands: tuple[str, ...] = ()
    """Asset commands, run in the commit's tree with the release's interpreter first in PATH."""
    static: str = ""
    """The folder that holds the static files after the commands; empty if there are none."""
    exclude: tuple[str, ...] = ()
    """Files and folders that are left out of the artifact."""
    lock: str = ""
    """The lock file; empty where the project has only one."""
    groups: tuple[str, ...] = ()
    extras: tuple[str, ...] = ()
    env: Variables = ()
    """For the commands, beside the app's own ``[env]``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """A place where the app runs."""

    name: str
    hosts: tuple[str, ...] = ()
    """As ``ssh`` takes them; empty for this machine."""
    roles: Roles = ()
    """Which services run on which host, where the file says so."""
    root: str = ""
    """The app's folder on the hosts; empty for ``/srv/<app>``."""
    address: str = "127.0.0.1"
    port: int | None = None
    """What the embedded front listens on, or a proxy that leads a bare port to the app."""
    manager: str = "embedded"
    """What keeps its services running: ``systemd``, ``embedded``, or the ``site`` itself."""
    proxy: str = "none"
    """What stands in front: one of ``PROXIES``."""
    domains: tuple[str, ...] = ()
    """The names under which visitors reach it."""
    keys: tuple[str, ...] = ()
    """Public keys that may deploy this app there, and nothing else."""
    certificate: str = ""
    """The file of one on the hosts; ``none``; or empty, where the proxy decides."""
    certificate_key: str = ""
    keep: int = 5
    """How many good releases stay on disk beside the current one."""
    keep_failed: int = 2
    confirm_within: float = CONFIRM_WITHIN
    """Seconds that a host waits for the others before it goes back by itself."""
    unreachable: str = "fail"
    """What is done about a host of several that cannot be reached: ``fail`` or ``skip``."""
    standby: int = 0
    """Seconds for which the web of the release before stays up after the switch."""
    env: Variables = ()
    reload: Site | None = None
    """What is reloaded where the site keeps its services running itself."""

    @property
    def front_port(self) -> int | None:
        """The port of the embedded front, if there is one."""
        return self.port if self.manager == "embedded" else None

    @property
    def url(self) -> str:
        """Where visitors reach it, as far as can be said."""
        if self.port is not None:
            return f"http://{self.address}:{self.port}"
        if self.proxy == "none" or not self.domains:
            return ""
        scheme = "http" if self.certificate in ("", "none") else "https"
        return f"{scheme}://{self.domains[0]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Python:
    """Which interpreter the app runs on."""

    version: str = ""
    """``3.12`` or ``3.12.4``; empty where the project's own files decide."""
    bundled: bool = False
    """Whether it travels in the artifact; else the hosts have it."""
    prefix: str = ""
    """Where the one to bundle is installed; empty for one that uv installed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class App:
    """All that ``nonevent.toml`` says."""

    app: str
    python: Python = Python()
    build: Build = Build()
    release: tuple[str, ...] = ()
    """Commands that run once, before the switch, with the new release's interpreter."""
    services: tuple[Service, ...] = ()
    """In the order of the file."""
    required: tuple[str, ...] = ()
    """Variables that every environment must define."""
    env: Variables = ()
    environments: tuple[Environment, ...] = (Environment(name=LOCAL, port=LOCAL_PORT),)

    def runs_on(self, environment: Environment, host: str) -> tuple[str, ...] | None:
        """The services that run on one of several hosts; None where all do.

        What must not run twice, singletons and timers, runs on the first host, unless the
        configuration says where.
        """
        if environment.roles:
            return dict(environment.roles)[host]
        if len(environment.hosts) < 2:
            return None
        once = host == environment.hosts[0]
        several = {Kind.WEB, Kind.WORKER}
        return tuple(each.name for each in self.services if once or each.kind in several)

    def on(self, environment: Environment, host: str) -> App:
        """The app as one host of an environment has it."""
        named = self.runs_on(environment, host)
        here = tuple(each for each in self.services if named is None or each.name in named)
        return replace(self, services=here)

    def environment(self, name: str) -> Environment:
        """The environment of that name.

        Raises:
            UsageError: naming those that there are.
        """
        known = {each.name: each for each in self.environments}
        if name in known:
            return known[name]
        near = did_you_mean(name, tuple(known))
        raise UsageError(
            f"there is no environment `{name}`",
            context=("environments: " + ", ".join(known),),
            hint=near or f"add [environments.{name}] with its hosts to the configuration",
        )
