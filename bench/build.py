"""A build with everything cached, against ``uv sync`` of the same lock with a warm cache.

Two projects: a small package, and an app with large dependencies. Both uv and the build copy
files, since an artifact must not share them with a cache.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from measure import WITH_RATIO, Result, Table, Times, conclude, ratios, say
from uv import find_uv_bin

if TYPE_CHECKING:
    from real import Project

LARGE = ("wagtail", "celery", "gunicorn", "numpy", "pandas", "lxml")
NOT_EDITABLE = (
    "sync", "--frozen", "--quiet", "--no-editable", "--reinstall-package", "fastapi-uv",
)  # fmt: skip
UV_LIMIT = 600


@dataclass(slots=True)
class Measured:
    """The times of one project."""

    sync: Times = field(default_factory=Times)
    again: Times = field(default_factory=Times)
    package: Times = field(default_factory=Times)
    """Of uv building the project's own package anew; none where it is no package."""
    unchanged: Times = field(default_factory=Times)
    changed: Times = field(default_factory=Times)
    packages: int = 0


def uv(made: Project, *words: str) -> str:
    """Run uv in the project; what it said."""
    ended = subprocess.run(
        (find_uv_bin(), *words), cwd=made.folder, env=made.env, check=True, text=True,
        capture_output=True, timeout=UV_LIMIT,
    )  # fmt: skip
    return ended.stdout


def repeat(made: Project, repetitions: int, *, is_package: bool) -> Measured:
    """Measure one project; caches are warm from a first round that does not count."""
    measured = Measured()
    uv(made, "sync", "--frozen", "--quiet")
    made.good("build")
    measured.packages = len(uv(made, "pip", "list", "--format", "freeze").splitlines())
    for number in range(repetitions):
        shutil.rmtree(made.folder / ".venv")
        with measured.sync.measured():
            uv(made, "sync", "--frozen", "--quiet")
        with measured.again.measured():
            uv(made, "sync", "--frozen", "--quiet")
        with measured.unchanged.measured():
            made.good("build")
        source = made.folder / "src" / "fastapi_uv" / "main.py"
        source.write_text(source.read_text() + f"# {number}\n")
        made.repository.commit()
        with measured.changed.measured():
            made.good("build")
        if is_package:
            with measured.package.measured():
                uv(made, *NOT_EDITABLE)
    return measured


def large(made: Project) -> None:
    """Make the project an app, which is not installed, with large dependencies."""
    pyproject = made.folder / "pyproject.toml"
    pyproject.write_text(pyproject.read_text().partition("\n\n")[2])
    uv(made, "add", "--quiet", "--no-sync", *LARGE)


def measure(repetitions: int) -> Result:
    """Measure both projects."""
    from real import PROJECTS, project

    tables, figures = [], {}
    for name in ("small", "large"):
        with (
            tempfile.TemporaryDirectory() as folder,
            project(Path(folder) / "shop", PROJECTS / "fastapi_uv") as made,
        ):
            say(f"{name}: locking and the first build, which does not count")
            if name == "large":
                large(made)
            uv(made, "lock", "--quiet")
            made.init()
            measured = repeat(made, repetitions, is_package=name == "small")
        rows = ratios(
            [
                (text, times)
                for text, times in (
                    ("uv sync --frozen into a new virtualenv", measured.sync),
                    ("uv sync --frozen, nothing to do", measured.again),
                    ("uv sync --frozen --no-editable, package built anew", measured.package),
                    ("nonevent build, nothing changed", measured.unchanged),
                    ("nonevent build, a line of code changed", measured.changed),
                )
                if times.seconds
            ],
            measured.sync,
        )
        title = f"Build with warm caches, {name} project of {measured.packages} packages"
        tables.append(Table(title=title, head=WITH_RATIO, rows=rows))
        figures[name] = asdict(measured)
    return Result(name="build", tables=tuple(tables), figures=figures)


def main(argv: list[str]) -> int:
    """Measure, show and keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=5)
    # uv links files from its cache into virtualenvs; a build must copy. Equal terms for both.
    os.environ.setdefault("UV_LINK_MODE", "copy")
    return conclude(measure(parser.parse_args(argv).repetitions))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
