"""App servers, and the command that starts each on a socket of its own."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

from packaging.version import InvalidVersion, Version

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """What a server is started for."""

    target: str
    """As ``module:name``, or ``module:name()`` for a factory."""
    is_asgi: bool
    version: Version | None
    """The server's, where a lock file names it."""

    @property
    def is_factory(self) -> bool:
        """Whether the target has to be called first."""
        return self.target.endswith("()")

    @property
    def bare(self) -> str:
        """The target without the call."""
        return self.target.removesuffix("()")

    def at_least(self, version: str) -> bool:
        """Whether the server is known to be of that version or newer."""
        return self.version is not None and self.version >= Version(version)


def gunicorn(served: Served) -> str | None:
    """Gunicorn serves ASGI from 25 on, and from 25.1 on holds a control socket, one per user."""
    if served.is_asgi and not served.at_least("25"):
        return None
    kind = " --worker-class asgi" if served.is_asgi else " --threads 4"
    control = " --no-control-socket" if served.at_least("25.1") else ""
    target = served.target.removesuffix(":application")
    return f"gunicorn {shlex.quote(target)} --bind unix:{{socket}} --workers 2{kind}{control}"


def uvicorn(served: Served) -> str | None:
    """Uvicorn waits for ever at its end unless it is given a limit."""
    if not served.is_asgi:
        return None
    factory = " --factory" if served.is_factory else ""
    return f"uvicorn {served.bare} --uds {{socket}} --timeout-graceful-shutdown 25{factory}"


def granian(served: Served) -> str | None:
    """Granian listens on a Unix socket from 2.5 on."""
    interface = "asgi" if served.is_asgi else "wsgi"
    where = "--uds {socket}" if served.at_least("2.5") else "--port {port}"
    factory = " --factory" if served.is_factory else ""
    return (
        f"granian --interface {interface} {where} --workers 2 --workers-kill-timeout 25"
        f"{factory} {served.bare}"
    )


def hypercorn(served: Served) -> str | None:
    """Hypercorn takes either interface; a WSGI app is marked as one."""
    target = served.target if served.is_asgi else f"wsgi:{served.target}"
    return f"hypercorn --bind unix:{{socket}} --graceful-timeout 25 {shlex.quote(target)}"


def uwsgi(served: Served) -> str | None:
    """UWSGI reloads at TERM unless it is told to end, and serves errors if no app loads."""
    if served.is_asgi:
        return None
    return (
        f"uwsgi --http-socket {{socket}} --module {shlex.quote(served.target)} --master "
        "--processes 2 --enable-threads --need-app --die-on-term"
    )


def daphne(served: Served) -> str | None:
    """Daphne knows no factories."""
    if not served.is_asgi or served.is_factory:
        return None
    return f"daphne -u {{socket}} {served.target}"


SERVERS: dict[str, Callable[[Served], str | None]] = {
    "gunicorn": gunicorn,
    "uwsgi": uwsgi,
    "uvicorn": uvicorn,
    "granian": granian,
    "hypercorn": hypercorn,
    "daphne": daphne,
}
"""By the normalised name of the package."""
FOR_ASGI = ("uvicorn", "granian", "hypercorn", "daphne", "gunicorn")
FOR_WSGI = ("gunicorn", "uwsgi", "granian", "hypercorn")


def version_of(text: str) -> Version | None:
    """A version, or None where the text is none."""
    try:
        return Version(text)
    except InvalidVersion:
        return None
