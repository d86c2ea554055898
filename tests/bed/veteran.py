"""Hosts on which a shop runs already, put there by hand; and the same shop as a project."""

from __future__ import annotations

import os
import re
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from repository import environ
from sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .host import Host
    from .site import Bed

ROOT = "/srv/shop"
WSGI = '''"""The shop for a WSGI server; it says the release that it was loaded from."""

import pathlib

import shop

RELEASE = pathlib.Path(__file__).resolve().parents[1].name


def application(environ, start_response):
    status, text = shop.answer(environ["PATH_INFO"])
    body = f"{text}\\n".encode()
    headers = [("X-Nonevent-Release", RELEASE), ("Content-Length", str(len(body)))]
    start_response(f"{status} Answer", headers)
    return [body]
'''
BY_HAND = "def answer(path):\n    return 200, 'by hand'\n"
PRODUCTION = """
[environments.production]
hosts = ["{host}"]
switch = "reload"
[environments.production.reload]
{reload}
"""
SUDOERS = "deploy ALL=(www-data) NOPASSWD: ALL\n"
REQUIREMENTS = Path(__file__).parents[1] / "cases" / "veteran" / "requirements.txt"


def empty(host: Host) -> None:
    """Have a folder there that is the deploying user's, who may become the site's user."""
    host.run(("install", "-d", "-o", "deploy", "-g", "deploy", ROOT))
    host.put("/etc/sudoers.d/shop", SUDOERS, mode=0o440)


def sudo(host: Host, command: str) -> None:
    """Allow the deploying user one more command, as root."""
    host.put("/etc/sudoers.d/reload", f"deploy ALL=(root) NOPASSWD: {command}\n", mode=0o440)


def manual(host: Host) -> None:
    """Put a release there as a person would, with an environment of its own."""
    release = f"{ROOT}/releases/by-hand"
    empty(host)
    host.put(f"{release}/app/wsgi.py", WSGI)
    host.put(f"{release}/app/shop.py", BY_HAND)
    host.run(("python3", "-m", "venv", "--without-pip", f"{release}/venv"))
    host.run(("ln", "-s", "releases/by-hand", f"{ROOT}/current"))
    host.run(("chown", "-Rh", "deploy:", ROOT))


def requirements(names: str) -> str:
    """The pinned packages, of all that sites use, without those that are not named or needed."""
    pinned = re.findall(r"(?m)^\S+==.*(?:\n .*)*", REQUIREMENTS.read_text())
    unwanted = {"celery", "gunicorn", "redis"} - set(names.split())
    if "celery" in unwanted:
        unwanted |= {each.partition("==")[0] for each in pinned} - set(names.split())
    return "\n".join((*(p for p in pinned if p.partition("==")[0] not in unwanted), ""))


@contextmanager
def veteran(bed: Bed, host: Host, cache: Path, reload: str, *, deps: str = "") -> Iterator[Sandbox]:
    """A project whose environment `production` is that host; real packages are downloaded."""
    sandbox = Sandbox(cache)
    sandbox.environ["NONEVENT_SSH"] = f"ssh -F {bed.ssh_config}"
    config = sandbox.config(after=PRODUCTION.format(host=host.name, reload=reload))
    text = config["nonevent.toml"].replace("python serve.py {socket}", "gunicorn wsgi -b {socket}")
    files = {"nonevent.toml": text, "wsgi.py": WSGI}
    if deps:
        files["requirements.txt"] = requirements(deps)
        sandbox.environ = {**environ(), **sandbox.environ, "HOME": os.environ["HOME"]}
        del sandbox.environ["UV_OFFLINE"], sandbox.environ["UV_FIND_LINKS"]
    sandbox.commit(files, "Add production")
    try:
        yield sandbox
    finally:
        sandbox.end()
