"""The ledger's file."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from nonevent.agent import durable
from nonevent.dataclass import replace
from nonevent.model.ledger import History, Line, fold, read_line

if TYPE_CHECKING:
    from nonevent.model.layout import Layout


def now() -> str:
    """The time as the ledger writes it: UTC, ISO 8601, seconds."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def read(layout: Layout) -> tuple[Line, ...]:
    """All lines. One that a crash left torn at the end does not count: it was never written.

    Raises:
        FormatInvalid: a whole line cannot be read.
    """
    return tuple(read_line(line) for line in durable.whole_lines(layout.ledger))


def history(layout: Layout) -> History:
    """What the ledger amounts to."""
    return fold(read(layout))


def append(layout: Layout, *lines: Line) -> None:
    """Append lines in one write, numbered and dated here. The caller holds the lock."""
    number = fold(read(layout)).lines
    stamped = (
        replace(line, number=number + place, time=line.time or now())
        for place, line in enumerate(lines, 1)
    )
    durable.append(layout.ledger, "".join(f"{line.encoded()}\n" for line in stamped))
