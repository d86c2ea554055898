"""What a build says while it works; the command line decides how it looks."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@dataclass(frozen=True, slots=True, kw_only=True)
class Began:
    """A phase has begun."""

    phase: str
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """A phase is done; one that failed never ends, it raises."""

    phase: str
    detail: str = ""
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Noticed:
    """Something the reader should know, though nothing is wrong."""

    message: str
    hint: str = ""


Event = Began | Ended | Noticed

if TYPE_CHECKING:
    Report = Callable[[Event], None]


@dataclass(slots=True)
class Phase:
    """A phase at work; ``detail`` may be set until it ends."""

    detail: str = ""


@contextmanager
def phase(report: Report, name: str, detail: str = "") -> Iterator[Phase]:
    """Report when a phase begins, and when it ends without an error."""
    report(Began(phase=name, detail=detail))
    begun = time.monotonic()
    current = Phase(detail)
    yield current
    report(Ended(phase=name, detail=current.detail, seconds=time.monotonic() - begun))


def counted(number: int, noun: str) -> str:
    """``1 file``, ``2 files``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
