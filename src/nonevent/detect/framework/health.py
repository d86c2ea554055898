"""Which path of an app to probe."""

from __future__ import annotations

import re

PATHS = ("/healthz", "/health", "/healthcheck", "/livez", "/readyz", "/ping", "/up")
"""Paths that are meant for probes, the most usual first."""


def probed(routes: dict[str, str]) -> str | None:
    """The route that is meant for probes, whatever its final slash; None if there is none.

    ``routes`` gives each path and the file that it stands in.
    """
    for path in PATHS:
        for route in (path, path + "/"):
            if route in routes:
                return route
    return None


def urlpatterns(text: str) -> set[str]:
    """The fixed paths in the text of a Django ``urls.py``."""
    return {"/" + path for path in re.findall(r"""\bpath\(\s*["']([\w./-]*)["']""", text)}
