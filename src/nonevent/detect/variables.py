"""Variables that the app's own modules cannot do without. Django's settings speak for Django."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nonevent.detect.environ import required, settings_fields
from nonevent.detect.found import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nonevent.detect.found import Note
    from nonevent.detect.project import Project

_STEMS = {"config", "settings", "conf", "app", "main", "wsgi", "asgi", "api", "__init__"}


def variables(project: Project) -> Iterator[Finding | Note]:
    """What the modules that an app is usually configured in read without a default."""
    if any(path.rpartition("/")[2] == "manage.py" for path in project.files):
        return
    for path in project.mentions("environ", "env(", "env.", "config(", "BaseSettings"):
        if path.removesuffix(".py").rpartition("/")[2] in _STEMS:
            tree = project.tree(path)
            names = tuple(dict.fromkeys((*required(tree), *settings_fields(tree))))
            if names:
                yield Finding(key=("require",), value=names, why=f"no default in {path}")
