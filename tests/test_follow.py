"""Lines of several hosts, put in order."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from nonevent.deploy.follow import InOrder

if TYPE_CHECKING:
    from nonevent.errors import NoneventError


class Shown:
    """A listener that keeps what it is told."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, object]] = []

    def agent(self, raw: dict[str, object], *, label: str = "") -> None:
        """Keep it."""
        self.lines.append((label, raw["text"]))

    def skipped(self, label: str, error: NoneventError) -> None:
        """Keep it."""
        self.lines.append((label, error.message))


def test_lines_of_several_hosts_come_in_order_of_time() -> None:
    """What was written first is shown first, whichever host said it first."""
    shown = Shown()
    lines = InOrder(shown)
    with lines.shown(all_along=False):
        lines.add("b", {"text": "second", "time": 20.0})
        lines.add("b", {"text": "third", "time": 30.0})
        lines.add("a", {"text": "first", "time": 10.0})
        lines.add("a", {"text": "now"})
    assert shown.lines == [("a", "first"), ("b", "second"), ("b", "third"), ("a", "now")]


def test_a_line_that_just_arrived_waits_for_older_ones() -> None:
    """Only lines that arrived before a moment are shown at it."""
    shown = Shown()
    lines = InOrder(shown)
    before = time.time() - 1
    lines.add("a", {"text": "late", "time": 20.0})
    lines.show(before)
    assert shown.lines == []
    lines.show(time.time())
    assert shown.lines == [("a", "late")]
