"""The modules that services name, imported on the host before anything of a release is started.

No static check sees all that a host must have: a package may load a library by itself, or use
instructions that the processor lacks.
"""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

from nonevent.agent import release
from nonevent.agent.command import run_as_app
from nonevent.errors import ImportFailed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from nonevent.agent.host import Host
    from nonevent.model.plan import Import
    from nonevent.model.service import Service

LIMIT = 120.0
"""Seconds that importing may take."""
_APP = re.compile(r"(?P<module>[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)(?P<attribute>:[A-Za-z_].*)?")
_SERVERS = {"daphne", "dramatiq", "granian", "gunicorn", "hypercorn", "uvicorn"}
"""Those that take a module by its plain name, such as ``wsgi``."""
_AFTER = {"-A", "--app"}
_ILLEGAL = {-4, 132}
"""How a process ends by SIGILL, and how a shell or sudo says so."""
# Threads that a module has started are not waited for.
_IMPORT = """
import importlib, os, sys
sys.path[:0] = sys.argv[1].split(":") if sys.argv[1] else []
for name in sys.argv[2:]:
    importlib.import_module(name)
sys.stderr.flush()
os._exit(0)
"""


def candidates(service: Service) -> tuple[str, ...]:
    """The words of a service's command that may name a module, e.g. ``shop.wsgi``."""
    return tuple(_candidates(shlex.split(service.command)))


def _candidates(words: list[str]) -> Iterator[str]:
    before = ""
    takes_plain = not _SERVERS.isdisjoint(words)
    for word in words[1:]:
        option, _, value = word.rpartition("=")
        found = _APP.fullmatch(value)
        if found and before != "-m" and not value.endswith(".py"):
            plain = "." not in found["module"] and not found["attribute"]
            if not plain or takes_plain or before in _AFTER or option in _AFTER:
                yield found["module"]
        before = word


def import_modules(host: Host, step: Import) -> str:
    """Import what the services name with the release's interpreter, as the app's user.

    A module counts where its file is in the release: other words look like modules too.

    Raises:
        ImportFailed: with what Python said.
    """
    staged = release.read(host.layout, step.release)
    folder = host.layout.release(step.release)
    seen: set[str] = set()
    for service in staged.manifest.services if staged else ():
        roots = [folder / "app", folder / "lib", *_folders(folder / "app", service)]
        found = [name for name in candidates(service) if name not in seen and _is_in(roots, name)]
        if found:
            _import(host, service, step.release, roots[2:], found)
        seen.update(found)
    return ", ".join(sorted(seen))


def _folders(app: Path, service: Service) -> Iterator[Path]:
    """Folders that options name: a command may change into one, or look for modules there.

    What follows ``-A`` is a package, which has a folder too.
    """
    before = ""
    for word in shlex.split(service.command):
        option, _, value = word.rpartition("=")
        option = option or before
        named = option.startswith("-") and option not in _AFTER
        if named and value not in {"", "."} and (app / value).is_dir():
            yield app / value
        before = word


def _is_in(roots: Iterable[Path], module: str) -> bool:
    path = module.replace(".", "/")
    return any(
        (root / f"{path}.py").is_file() or (root / path / "__init__.py").is_file() for root in roots
    )


def _import(
    host: Host, service: Service, number: int, roots: list[Path], modules: list[str]
) -> None:
    argv = ("python", "-c", _IMPORT, ":".join(map(str, roots)), *modules)
    ended = run_as_app(host, number, argv, service=service.name, limit=LIMIT)
    if ended.status:
        raise ImportFailed(
            f"{' or '.join(modules)}, which {service.name} names, cannot be imported here",
            context=ended.tail,
            hint="a package was built for newer processors than this host's"
            if ended.status in _ILLEGAL
            else "",
        )
