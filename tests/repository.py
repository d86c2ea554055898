"""A git repository for tests, and the environment that builds in tests have."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

NONEVENT = """\
app = "shop"
[services]
web = "python -m http.server {port}"
"""


def environ() -> dict[str, str]:
    """The environment of this machine with its uv cache, so that tests need not download anew."""
    return dict(os.environ) | {"UV_CACHE_DIR": os.environ.get("UV_CACHE_DIR", _cache())}


def _cache() -> str:
    return str(Path.home() / ".cache" / "uv")


class Repository:
    """A repository with a few files."""

    def __init__(self, path: Path, files: dict[str, str] | None = None) -> None:
        self.path = path
        path.mkdir(parents=True, exist_ok=True)
        self.git("init", "--quiet", "--initial-branch=main")
        self.git("config", "user.name", "Ada")
        self.git("config", "user.email", "ada@example.com")
        self.git("config", "commit.gpgsign", "false")
        if files:
            self.commit(files)

    def git(self, *words: str) -> str:
        """Run git here; what it wrote."""
        made = subprocess.run(
            ("git", *words), cwd=self.path, check=True, capture_output=True, text=True, timeout=30
        )
        return made.stdout.strip()

    def write(self, files: dict[str, str]) -> None:
        """Write files of the working tree."""
        for name, content in files.items():
            file = self.path / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content)

    def commit(self, files: dict[str, str] | None = None, subject: str = "Change the shop") -> str:
        """Write files and commit all there is; the commit."""
        self.write(files or {})
        self.git("add", "--all")
        # A fixed time, so that the same files have the same commit everywhere.
        made = os.environ | {
            "GIT_AUTHOR_DATE": "2026-01-01T00:00:00Z",
            "GIT_COMMITTER_DATE": "2026-01-01T00:00:00Z",
        }
        subprocess.run(
            ("git", "commit", "--quiet", "--allow-empty", "-m", subject),
            cwd=self.path, env=made, check=True, timeout=30,
        )  # fmt: skip
        return self.git("rev-parse", "HEAD")
