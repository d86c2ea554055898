"""Shell scripts: rsync with hard links, one tar over ssh, and uv on the host."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from shipping.wheels import equip

if TYPE_CHECKING:
    from shipping.project import Site
    from shipping.stage import Ran, Stage

HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Script:
    """A script ``NAME.sh HOST WHAT``, and ``rollback.sh HOST HOW``."""

    name: str
    text: str
    program: str = "ssh"
    how: str = "restart"
    """How the service takes over a release: ``restart`` or ``reload``."""

    def why_not(self) -> str:
        """Whether its program is here."""
        return "" if shutil.which(self.program) else f"apt-get install {self.program}"

    def prepare(self, stage: Stage, site: Site) -> None:  # noqa: ARG002
        """Users, nginx and a unit; uv for whom it is about."""
        stage.prepare(self.name)
        if self.name == "uv":
            equip(stage, stage.hosts[self.name])

    def build(self, stage: Stage, site: Site) -> None:
        """The tree is brought up to date once for all peers that copy it."""

    def deploy(self, stage: Stage, site: Site) -> Ran:
        """Run the script."""
        return stage.client(site.folder, str(HERE / f"{self.name}.sh"), self.name, str(site.tree))

    def rollback(self, stage: Stage, site: Site) -> Ran:
        """Name the folder before, and restart or reload."""
        return stage.client(site.folder, str(HERE / "rollback.sh"), self.name, self.how)


RSYNC = Script("rsync", "`rsync -a --link-dest`, then reload", program="rsync", how="reload")
TAR = Script("tar", "`tar`, `zstd` and `ssh` in a pipe, then restart", program="zstd")
UV = Script("uv", "`uv` on the host, a virtualenv for each release, then restart")
