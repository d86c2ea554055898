"""A project made by ``wagtail start``: initialised, deployed, deployed again and rolled back."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from real import Project, Story, change, project, replace, there_and_back, uv

if TYPE_CHECKING:
    from pathlib import Path

PRODUCTION = """

import os
from pathlib import Path

SECRET_KEY = os.environ["SECRET_KEY"]
ALLOWED_HOSTS = ["localhost", "127.0.0.1"]
DATA = Path(os.environ.get("NONEVENT_DATA", BASE_DIR))
DATABASES["default"]["NAME"] = DATA / "db.sqlite3"
MEDIA_ROOT = DATA / "media"
MIDDLEWARE.insert(0, "shop.loaded.loaded")
"""
LOADED = '''"""What the load of a test asks for, and the release in every answer."""

import hashlib
import os
import time

from django.http import HttpResponse, JsonResponse


def loaded(get_response):
    def middleware(request):
        if request.path == "/slow":
            time.sleep(float(request.GET["s"]))
            response = HttpResponse("slept")
        elif request.path == "/echo":
            body = request.read()
            response = JsonResponse({"sha256": hashlib.sha256(body).hexdigest(), "length": len(body)})
        else:
            response = get_response(request)
        response["X-Nonevent-Release"] = os.environ.get("NONEVENT_RELEASE", "")
        return response

    return middleware
'''  # noqa: E501
WELCOME = "Welcome to your new Wagtail site!"


def start(made: Project) -> None:
    """Make a site as its author does, and get it ready as the notes of ``init`` say.

    The template's pin of Django may be newer than the oldest Python here: Wagtail's own
    requirement is taken instead.
    """
    uv(made, "tool", "run", "--quiet", "--from", "wagtail", "wagtail", "start", "shop", ".")
    wagtail = [
        line
        for line in (made.folder / "requirements.txt").read_text().splitlines()
        if line.startswith("wagtail")
    ]
    (made.folder / "requirements.in").write_text("\n".join([*wagtail, "gunicorn", ""]))
    (made.folder / "requirements.txt").unlink()
    uv(
        made, "pip", "compile", "--quiet", "--generate-hashes", "--python-version", "3.11",
        "--output-file", "requirements.txt", "requirements.in",
    )  # fmt: skip
    replace(made, "shop/wsgi.py", "shop.settings.dev", "shop.settings.production")
    with (made.folder / "shop" / "settings" / "production.py").open("a") as file:
        file.write(PRODUCTION)
    (made.folder / "shop" / "loaded.py").write_text(LOADED)
    made.keep_secret("SECRET_KEY=only-here\n")
    with (made.folder / ".gitignore").open("a") as file:
        file.write("/etc/\n")


def test_wagtail_site(tmp_path: Path) -> None:
    """A site made by ``wagtail start`` loses no request there and back, and its data stays."""
    with project(tmp_path / "shop") as made:
        start(made)
        made.init()
        settings = (made.folder / "nonevent.toml").read_text()
        assert 'DJANGO_SETTINGS_MODULE = "shop.settings.production"' in settings
        assert 'require = ["SECRET_KEY"]' in settings
        welcome = "home/templates/home/welcome_page.html"
        story = Story(
            change=lambda: change(made, welcome, WELCOME, "A second release of the site"),
            texts=(WELCOME, "A second release of the site"),
            traffic={"rate": 15.0},
        )
        there_and_back(made, story)
        page = made.ask("/")[1]
        sheets = re.findall(r'href="/static/(css/[a-z_]+\.[0-9a-f]{12}\.css)"', page)
        assert sheets
        assert all((made.root / "current" / "static" / sheet).is_file() for sheet in sheets)
        assert (made.root / "data" / "db.sqlite3").is_file()
