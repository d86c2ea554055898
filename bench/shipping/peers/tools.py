"""Ansible and pyinfra, from PyPI in a virtualenv of their own, and Capistrano, from Debian."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from shipping.wheels import equip

if TYPE_CHECKING:
    from collections.abc import Callable

    from shipping.project import Site
    from shipping.stage import Ran, Stage

HERE = Path(__file__).parent
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
TOOLS = CACHE / "nonevent-bench" / "tools"
INSTALL = f"uv venv {TOOLS} && uv pip install --python {TOOLS} ansible-core pyinfra"


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool with files of its own, in the folder of its name; the host installs for itself."""

    name: str
    text: str
    program: str
    missing: str
    """How it is installed here."""
    command: Callable[[str, Stage, Site], tuple[str, ...]]
    """What is typed for ``deploy`` or ``rollback``."""
    variables: Callable[[Stage, Site], dict[str, str]] = lambda _stage, _site: {}

    def why_not(self) -> str:
        """Whether it is installed."""
        return "" if shutil.which(self.program) else self.missing

    def prepare(self, stage: Stage, site: Site) -> None:  # noqa: ARG002
        """Users, nginx, a unit and uv."""
        stage.prepare(self.name)
        equip(stage, stage.hosts[self.name])

    def build(self, stage: Stage, site: Site) -> None:
        """Nothing is built here."""

    def deploy(self, stage: Stage, site: Site) -> Ran:
        """Run what it has for that."""
        return self._run("deploy", stage, site)

    def rollback(self, stage: Stage, site: Site) -> Ran:
        """Run what it has for that."""
        return self._run("rollback", stage, site)

    def _run(self, what: str, stage: Stage, site: Site) -> Ran:
        folder = site.folder if self.name == "pyinfra" else HERE / self.name
        return stage.client(
            folder, *self.command(what, stage, site), more=self.variables(stage, site)
        )


def _ansible(what: str, _: Stage, site: Site) -> tuple[str, ...]:
    program = str(TOOLS / "bin" / "ansible-playbook")
    return (program, "-i", "ansible,", f"{what}.yml", "-e", f"project={site.folder}")


def _pyinfra(what: str, stage: Stage, _: Site) -> tuple[str, ...]:
    return (
        str(TOOLS / "bin" / "pyinfra"), "-y", "--data", f"ssh_config_file={stage.ssh_config}",
        "@ssh/pyinfra", str(HERE / "pyinfra" / f"{what}.py"),
    )  # fmt: skip


def _capistrano(what: str, _stage: Stage, _site: Site) -> tuple[str, ...]:
    return ("cap", "production", "deploy" if what == "deploy" else "deploy:rollback")


ANSIBLE = Tool(
    "ansible", "Ansible playbook, pipelining, `uv` on the host", str(TOOLS / "bin" / "ansible"),
    INSTALL, _ansible,
    lambda stage, _: {"ANSIBLE_SSH_CONTROL_PATH_DIR": str(stage.controls)},
)  # fmt: skip
PYINFRA = Tool(
    "pyinfra", "pyinfra, `uv` on the host", str(TOOLS / "bin" / "pyinfra"), INSTALL, _pyinfra
)
CAPISTRANO = Tool(
    "capistrano", "Capistrano, `uv` on the host", "cap", "apt-get install capistrano", _capistrano,
    lambda stage, site: {
        "PROJECT": str(site.folder), "HOST": "capistrano", "SSH_CONFIG": str(stage.ssh_config),
    },
)  # fmt: skip
