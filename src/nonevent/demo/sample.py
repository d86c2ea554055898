"""The sample project, copied to a folder of its own and committed there."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import subprocess
from dataclasses import dataclass
from importlib.resources import as_file, files
from typing import TYPE_CHECKING

from nonevent.errors import CommandFailed, UsageError

if TYPE_CHECKING:
    from pathlib import Path

GIT_LIMIT = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """A change of one place in one file, and the subject of its commit."""

    file: str
    old: str
    new: str
    subject: str


FIRST = "A shop for prints"
BETTER = Edit(
    file="prints/views.py",
    old="on paper, in two days",
    new="on paper and framed, in two days",
    subject="Promise frames",
)
BROKEN = Edit(
    file="shop/wsgi.py",
    old="import os\n",
    new="import os\n\nimport sentry_sdk\n",
    subject="Report errors",
)
"""Works on the machine where the package was installed by hand; nobody locked it."""


@dataclass(frozen=True, slots=True)
class Sample:
    """The project's folder, a git repository."""

    folder: Path

    def commit(self, edit: Edit) -> str:
        """Make the change and commit it; returns the commit's first seven digits."""
        path = self.folder / edit.file
        before = path.read_text()
        path.write_text(before.replace(edit.old, edit.new, 1))
        self._git("commit", "--quiet", "--all", f"--message={edit.subject}")
        return self.head()

    def head(self) -> str:
        """The first seven digits of the commit."""
        return self._git("rev-parse", "HEAD").strip()[:7]

    def _git(self, *words: str) -> str:
        """Run git by its own rules alone: no hooks, signatures or identities of the user's."""
        clean = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
        try:
            done = subprocess.run(
                ("git", "-c", "user.name=Demo", "-c", "user.email=demo@example.com", *words),
                cwd=self.folder,
                env={**clean, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=GIT_LIMIT,
                check=True,
            )
        except subprocess.CalledProcessError as error:
            raise CommandFailed(
                f"`git {words[0]}` ended with status {error.returncode}",
                context=tuple(f"| {line}" for line in error.stderr.splitlines()),
            ) from error
        return done.stdout


def make(folder: Path, *, port: int) -> Sample:
    """Copy the project into a new folder, with the port it is to listen on, and commit it.

    Raises:
        UsageError: git is not installed.
    """
    if shutil.which("git") is None:
        raise UsageError(
            "git is not installed, and artifacts are built from commits",
            hint="install it, e.g. with `apt-get install git`",
        )
    with as_file(files("nonevent.demo") / "project") as project:
        shutil.copytree(project, folder, ignore=shutil.ignore_patterns("__pycache__"))
    config = folder / "nonevent.toml"
    config.write_text(re.sub(r"(?m)^port = \d+$", f"port = {port}", config.read_text()))
    sample = Sample(folder)
    sample._git("init", "--quiet")  # noqa: SLF001
    sample._git("add", "--all")  # noqa: SLF001
    sample._git("commit", "--quiet", f"--message={FIRST}")  # noqa: SLF001
    secret = folder / "etc" / "local.secrets.env"
    secret.parent.mkdir()
    secret.touch(mode=0o600)
    secret.write_text(f"SECRET_KEY={secrets.token_hex(25)}\n")
    return sample
