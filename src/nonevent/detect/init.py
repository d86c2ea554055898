"""Writing the configuration of a project that has none."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from nonevent.config.read import NONEVENT, PYPROJECT, has_table, read_app
from nonevent.detect.detect import detect
from nonevent.detect.write import write
from nonevent.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from nonevent.detect.found import Found


def init(folder: Path) -> tuple[Path, Found]:
    """Write what was found in a project to a new ``nonevent.toml``; nothing else is touched.

    Raises:
        UsageError: where the project has a configuration already, or the file cannot be written.
    """
    try:
        pyproject = (folder / PYPROJECT).read_text("utf-8", "replace")
    except OSError:
        pyproject = ""
    if has_table(pyproject):
        raise UsageError(f"{PYPROJECT} has a [tool.nonevent] already", hint="nonevent check")
    found = detect(folder)
    text = write(found)
    read_app(text, NONEVENT)
    path = folder / NONEVENT
    try:
        # Exclusive: of two at once, one writes; and a link to a file is not followed.
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    except FileExistsError as error:
        raise UsageError(f"{NONEVENT} exists already", hint="nonevent check") from error
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from error
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
    return path, found
