"""A project on the operator's machine, and what Nonevent keeps beside it."""

from __future__ import annotations

import getpass
import os
import platform
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from nonevent.config.app import LOCAL
from nonevent.config.read import FILES, load
from nonevent.errors import ConfigMissing
from nonevent.transport.ssh import HANDSHAKES, Approach, Brought, Ssh, ssh_program

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nonevent.build.artifact import Artifact
    from nonevent.config.app import App, Environment
    from nonevent.transport.base import Transport


@dataclass(frozen=True, slots=True)
class Project:
    """The folder that holds the configuration."""

    folder: Path
    interpreter: Brought | None = None
    """What the agent can run on where a host has no Python."""
    approaches: dict[str, Approach | None] = field(default_factory=dict)
    """Connections on their way, by host."""

    def bringing(self, artifact: Artifact) -> Project:
        """The same, where the artifact's interpreter may be needed to reach a host at all."""
        layer = artifact.manifest.layer("python")
        if layer is None:
            return self

        def packed() -> bytes:
            from nonevent.build.bundle import packed_in_gzip

            return packed_in_gzip(artifact)

        return replace(self, interpreter=Brought(name=layer.id, packed=packed))

    @property
    def state(self) -> Path:
        """What Nonevent keeps: artifacts, and the environment ``local``. Git ignores it."""
        return self.folder / ".nonevent"

    @property
    def artifacts(self) -> Path:
        """Where artifacts are built to."""
        return self.state / "artifacts"

    def load(self) -> App:
        """The configuration as it stands in the folder.

        Raises:
            ConfigMissing, ConfigInvalid: there is none, or it has mistakes.
        """
        return load(self.folder)

    def make_state(self) -> None:
        """Make the folder :attr:`state`, which keeps itself out of commits."""
        self.state.mkdir(exist_ok=True)
        ignore = self.state / ".gitignore"
        if not ignore.exists():
            ignore.write_text("*\n")

    def transport(self, app: str, environment: Environment, host: str) -> Transport:
        """How a host of an environment is reached; empty for this machine."""
        if host:
            return self._ssh(app, environment, host)
        from nonevent.transport.local import Local

        self.make_state()
        return Local(self.state / LOCAL)

    def _ssh(self, app: str, environment: Environment, host: str) -> Ssh:
        return Ssh(
            host,
            Path(environment.root or f"/srv/{app}"),
            ssh_program(os.environ),
            manager=environment.manager,
            app=app,
            environment=environment.name,
            user_there=environment.reload.user if environment.reload else "",
            interpreter=self.interpreter,
            approached=self.approaches.pop(host, None),
        )

    def approach(self, app: str, environment: Environment) -> None:
        """Begin to connect to the hosts, while something else is to be done first."""
        for host in environment.hosts[:HANDSHAKES]:
            self.approaches[host] = self._ssh(app, environment, host).approach()

    def stay(self) -> None:
        """End what was begun of that and is not needed."""
        for each in self.approaches.values():
            if each:
                each.started.end()
        self.approaches.clear()


def find_project(start: Path) -> Project:
    """The project that a folder belongs to: the nearest one upwards with a configuration.

    Raises:
        ConfigMissing: there is none.
    """
    for folder in (start, *start.parents):
        for name in FILES:
            if (folder / name).is_file():
                try:
                    load(folder)
                except ConfigMissing:
                    # A pyproject.toml may be about other tools.
                    continue
                return Project(folder)
    raise ConfigMissing(
        f"there is no nonevent.toml in {start}, nor in a folder above it",
        hint="nonevent init",
    )


def operator() -> str:
    """Who works here, as ledgers and locks name people: ``user@machine``."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid())
    return f"{user}@{platform.node()}"


def cache_folder(environ: Mapping[str, str]) -> Path:
    """Where layers and the like are kept between builds, by the XDG Base Directory rules."""
    given = environ.get("XDG_CACHE_HOME", "")
    base = Path(given) if given.startswith("/") else Path.home() / ".cache"
    return base / "nonevent"
