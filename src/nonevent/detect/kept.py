"""What lies beside the code and is not in a commit, or does not survive a release."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from nonevent.detect.found import Note

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nonevent.detect.found import Finding
    from nonevent.detect.project import Project

_SQLITE = re.compile(r"""sqlite(?:\+\w+)?:///(?!/|:memory:|\{)([\w./-]+)""")


def kept(project: Project) -> Iterator[Finding | Note]:
    """Notes on a ``.env`` file and on SQLite databases at a relative path."""
    if project.has(".env"):
        yield Note(
            text=".env is not part of a release",
            hint="put what it holds into etc/local.env, and secrets into etc/local.secrets.env "
            "(mode 600)",
        )
    for path in project.mentions("sqlite"):
        for match in _SQLITE.finditer(project.text(path)):
            yield Note(
                text=f"{path} keeps a SQLite database at {match[1]} within the project, and it "
                "does not outlive a release",
                hint="keep it in the folder that $NONEVENT_DATA names, which survives releases",
            )
