"""The project that is deployed: a Wagtail site with large dependencies, and its releases.

Every release answers ``/version`` with its own number and Django's, so that it can be seen from
outside which one serves.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from real import replace, uv
from test_real_wagtail import start

if TYPE_CHECKING:
    from real import Project

REQUIRES = (
    "wagtail", "gunicorn", "celery", "lxml", "numpy", "pandas", "psycopg[binary]", "redis",
    "sentry-sdk", "whitenoise",
)  # fmt: skip
PATCHES = ("5.2.6", "5.2.7", "5.2.8", "5.2.9")
"""Versions of Django, each a patch after the one before; none is deployed twice."""
PYTHON = "/usr/bin/python3.11"
"""The interpreter that hosts of the bed have; a virtualenv names it."""
SECRET = "SECRET_KEY=only-here\n"
SERVER = "gunicorn shop.wsgi --bind unix:{socket} --workers 2 --threads 4 --no-control-socket"
VERSION = '''"""The release, for whoever asks."""

import django
from django.http import HttpResponse

VERSION = "1"


def version(get_response):
    def middleware(request):
        if request.path == "/version":
            return HttpResponse(f"{VERSION} {django.__version__}")
        return get_response(request)

    return middleware
'''
MIDDLEWARE = 'MIDDLEWARE.insert(0, "shop.version.version")\nALLOWED_HOSTS = ["*"]\n'
# Without a release command: with nothing to migrate it would cost all alike the start of Django.
CONFIG = """\
app = "shop"
python = "3.11"
require = ["SECRET_KEY"]

[env]
DJANGO_SETTINGS_MODULE = "shop.settings.production"

[build]
commands = ["python manage.py collectstatic --noinput"]
static = "static"
env = {{ SECRET_KEY = "for the build only" }}

[services.web]
command = "{server}"
health = "/version"

[environments.production]
hosts = ["deploy@nonevent"]
domains = ["shop"]
"""


@dataclass(slots=True)
class Site:
    """The repository, a lock file for each patch of Django, and a built tree of it."""

    made: Project
    work: Path
    """Where the tree is."""
    number: int = 1
    patch: int = 0

    @property
    def folder(self) -> Path:
        """The working tree."""
        return self.made.folder

    @property
    def answer(self) -> str:
        """What the last commit answers at ``/version``."""
        return f"{self.number} {PATCHES[self.patch]}"

    @property
    def tree(self) -> Path:
        """What the peers copy that build here: ``app`` and ``venv``."""
        return self.work / "tree"

    def create(self) -> None:
        """Make the site and lock its dependencies, as its author does."""
        start(self.made)
        # Not the settings of the template, which wants a name for each host.
        (self.folder / "shop" / "version.py").write_text(VERSION)
        with (self.folder / "shop" / "settings" / "production.py").open("a") as file:
            file.write(MIDDLEWARE)
        (self.folder / "nonevent.toml").write_text(CONFIG.format(server=SERVER))
        secrets = self.folder / "etc" / "production.secrets.env"
        secrets.write_text(SECRET)
        secrets.chmod(0o600)
        for version, lock in zip(PATCHES, self.locks, strict=True):
            pinned = "\n".join((*REQUIRES, f"django=={version}", ""))
            (self.folder / "requirements.in").write_text(pinned)
            uv(
                self.made, "pip", "compile", "--quiet", "--generate-hashes", "--no-header",
                "--python-version", "3.11", "--output-file", str(lock),
                "requirements.in",
            )  # fmt: skip
            # No build is to wait for a download.
            self._install(lock)
        self._commit()

    @property
    def locks(self) -> tuple[Path, ...]:
        """The lock files with each version of Django; beside the repository."""
        return tuple(self.work / f"requirements-{version}.txt" for version in PATCHES)

    def change(self) -> None:
        """Change one line of code and commit it."""
        self.number += 1
        replace(
            self.made, "shop/version.py", f'VERSION = "{self.number - 1}"',
            f'VERSION = "{self.number}"',
        )  # fmt: skip
        self._commit()

    def bump(self) -> None:
        """Go to the next patch of Django, and commit it."""
        self.patch += 1
        self._commit()

    def keep_warm(self) -> None:
        """Ask for the release before to stay up after a deploy."""
        with (self.folder / "nonevent.toml").open("a") as file:
            file.write('standby = "10m"\n')
        self._commit()

    def _commit(self) -> None:
        shutil.copyfile(self.locks[self.patch], self.folder / "requirements.txt")
        self.made.repository.commit()

    def update_tree(self) -> None:
        """Bring the tree to the last commit in place: what has not changed keeps its time."""
        app, venv = self.tree / "app", self.tree / "venv"
        if not app.exists():
            self._run("git", "clone", "--quiet", str(self.folder), str(app))
            self._run("uv", "venv", "--quiet", "--relocatable", "--python", PYTHON, str(venv))
        self._run("git", "-C", str(app), "fetch", "--quiet")
        self._run("git", "-C", str(app), "reset", "--quiet", "--hard", "origin/HEAD")
        self._run(
            "uv", "pip", "sync", "--quiet", "--compile-bytecode", "--python", str(venv),
            str(app / "requirements.txt"),
        )  # fmt: skip
        python = str(venv / "bin" / "python")
        self._run(python, "-m", "compileall", "-q", str(app))
        self._run(python, str(app / "manage.py"), "collectstatic", "--noinput")

    def install_anew(self) -> None:
        """What uv and byte code alone take for the last commit: all packages, and Django's code."""
        venv = self._install(self.locks[self.patch])
        django = next(venv.glob("lib/python3*/site-packages/django"))
        self._run(str(venv / "bin" / "python"), "-m", "compileall", "-q", str(django))

    def _install(self, lock: Path) -> Path:
        """A new virtualenv with what is locked."""
        venv = Path(tempfile.mkdtemp(dir=self.work)) / "anew"
        self._run("uv", "venv", "--quiet", "--python", PYTHON, str(venv))
        self._run("uv", "pip", "sync", "--quiet", "--python", str(venv), str(lock))
        return venv

    def _run(self, program: str, *words: str) -> None:
        if program == "uv":
            uv(self.made, *words)
            return
        subprocess.run(
            (program, *words), check=True, capture_output=True, timeout=300,
            env=self.made.env
            | {"DJANGO_SETTINGS_MODULE": "shop.settings.production", "SECRET_KEY": "build"},
        )  # fmt: skip
