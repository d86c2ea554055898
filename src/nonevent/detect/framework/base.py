"""What a web framework's detector says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from nonevent.detect.found import Finding, Note
    from nonevent.detect.project import Project


@dataclass(frozen=True, slots=True, kw_only=True)
class WebApp:
    """The callable that an app server is to serve."""

    framework: str
    why: str
    wsgi: str = ""
    """As ``module:name``, or ``module:name()`` for a factory; empty if there is none."""
    asgi: str = ""
    prefers_asgi: bool = False
    health: str = "/"
    health_why: str = ""
    host: str = ""
    """The Host header that the app answers to, where not every one does."""
    parts: tuple[Finding | Note, ...] = ()


class Framework(Protocol):
    """Finds the app of one framework in a project, or None."""

    def __call__(self, project: Project) -> WebApp | None:
        """The app, or None."""
        ...
