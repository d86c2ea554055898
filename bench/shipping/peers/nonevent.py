"""Nonevent itself."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from shipping.project import Site
    from shipping.stage import Ran, Stage

NONEVENT = (sys.executable, "-m", "nonevent.cli")


@dataclass(slots=True)
class Nonevent:
    """Deploys an artifact that was built before, as CI does."""

    name: str = "nonevent"
    text: str = "`nonevent deploy production ARTIFACT`"
    artifact: str = ""

    def why_not(self) -> str:
        """It is here."""
        return ""

    def prepare(self, stage: Stage, site: Site) -> None:
        """``nonevent setup``."""
        host = stage.hosts[self.name]
        _run(stage, site, "setup", "production", "--as", "root")
        # Whoever asks on the host itself asks for this name too.
        assert host.run(("systemctl", "is-active", "nginx")).stdout.strip() == "active"

    def build(self, stage: Stage, site: Site) -> None:
        """``nonevent build``."""
        # It may have to fetch packages, as uv does where the tree is brought up to date.
        ran = stage.client(site.folder, *NONEVENT, "build", "--json", entry=())
        self.artifact = str(events(ran.output, "built")[0]["path"])

    def deploy(self, stage: Stage, site: Site) -> Ran:
        """``nonevent deploy``."""
        return _run(stage, site, "deploy", "production", self.artifact, "--json")

    def build_and_deploy(self, stage: Stage, site: Site) -> Ran:
        """Both in one command, as at a desk."""
        return _run(stage, site, "deploy", "production", "--json")

    def look(self, stage: Stage, site: Site) -> Ran:
        """``nonevent status``, which leaves a connection open for a minute."""
        return _run(stage, site, "status", "production")

    def rollback(self, stage: Stage, site: Site) -> Ran:
        """``nonevent rollback``."""
        return _run(stage, site, "rollback", "production", "--json")


def _run(stage: Stage, site: Site, *words: str) -> Ran:
    return stage.client(site.folder, *NONEVENT, *words)


def events(output: str, name: str) -> list[dict[str, Any]]:
    """The events of that name."""
    lines = (json.loads(line) for line in output.splitlines() if line.startswith("{"))
    return [each for each in lines if each["event"] == name]
