"""What all measurements share: times, the machine, tables, and where results are kept."""

from __future__ import annotations

import json
import os
import platform
import resource
import statistics
import sys
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

HERE = Path(__file__).parent
RESULTS = HERE / "results"
# The projects, and what drives them, are those of the tests.
sys.path.insert(0, str(HERE.parent / "tests"))


@dataclass(slots=True)
class Times:
    """Several times of the same thing, in seconds."""

    seconds: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    """Of the commands that were run, and of what they waited for: steadier on a busy machine."""

    @contextmanager
    def measured(self) -> Iterator[None]:
        """Add the time that the block takes."""
        began, cpu = time.perf_counter(), _cpu()
        yield
        self.seconds.append(time.perf_counter() - began)
        self.cpu.append(_cpu() - cpu)

    @property
    def median(self) -> float:
        """The median."""
        return statistics.median(self.seconds)

    def __str__(self) -> str:
        """The median, and the shortest and the longest."""
        return f"{self.median:.2f} s ({min(self.seconds):.2f} to {max(self.seconds):.2f})"


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows of text under a title."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def __str__(self) -> str:
        """The table with aligned columns."""
        lines = [self.head, *self.rows] if any(self.head) else list(self.rows)
        widths = [max(len(line[place]) for line in lines) for place in range(len(self.head))]
        shown = [
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
            for line in lines
        ]
        return "\n".join([self.title, "", *(f"  {line}" for line in shown), ""])


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """The outcome of one measurement; ``good`` is whether it is as it must be."""

    name: str
    tables: tuple[Table, ...]
    figures: dict[str, object]
    good: bool = True

    def keep(self) -> Path:
        """Write it as JSON, with the machine it was measured on."""
        RESULTS.mkdir(exist_ok=True)
        file = RESULTS / f"{self.name}.json"
        text = json.dumps(asdict(self) | {"machine": machine()}, indent=2)
        file.write_text(text + "\n")
        return file


def machine() -> dict[str, object]:
    """Where and when this runs, and how busy it is beside."""
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "cores": os.cpu_count(),
        "load": [round(each, 1) for each in os.getloadavg()],
        "kernel": platform.release(),
        "python": platform.python_version(),
    }


def say(text: str) -> None:
    """Progress, on standard error."""
    print(text, file=sys.stderr, flush=True)


def conclude(result: Result) -> int:
    """Show the tables, keep the result; the exit status."""
    for table in result.tables:
        print(table)
    say(f"kept in {result.keep()}")
    return 0 if result.good else 1


WITH_RATIO = ("", "median (range)", "ratio", "CPU time", "ratio")


def ratios(times: Sequence[tuple[str, Times]], to: Times) -> tuple[tuple[str, ...], ...]:
    """A row each under :data:`WITH_RATIO`; ratios are of medians, to those of ``to``."""
    return tuple(
        (
            name,
            str(each),
            f"{each.median / to.median:.2f}",
            f"{statistics.median(each.cpu):.2f} s",
            f"{statistics.median(each.cpu) / statistics.median(to.cpu):.2f}",
        )
        for name, each in times
    )
