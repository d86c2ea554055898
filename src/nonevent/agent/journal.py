"""The journal: what one plan began and did, a file a plan, synced line by line.

A file without its last line, ``closed``, is a plan that was cut off: the agent crashed, or the
machine lost power. The ledger says what is to be true then; the journal says how far it got.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from nonevent.agent import durable, ledger
from nonevent.dataclass import dataclass, field
from nonevent.model.parse import parse_json
from nonevent.model.plan import RunCommand, Step, Switch, read_step, step_as_dict
from nonevent.model.site import Site, read_site

if TYPE_CHECKING:
    from pathlib import Path

    from nonevent.errors import NoneventError
    from nonevent.model.layout import Layout
    from nonevent.model.parse import Table
    from nonevent.model.plan import Plan
    from nonevent.model.want import Want

FORMAT = 1
KEPT = 50
"""How many journals stay."""


@dataclass(slots=True)
class Journal:
    """The journal of the plan that is being carried out."""

    path: Path

    def note(self, **entry: object) -> None:
        """Append one entry and sync it."""
        line = json.dumps({"time": ledger.now(), **entry}, ensure_ascii=False)
        durable.append(self.path, line + "\n")

    def begun(self, number: int) -> None:
        """A step is about to be taken."""
        self.note(begun=number)

    def done(self, number: int) -> None:
        """A step's end state is true."""
        self.note(done=number)

    def failed(self, error: NoneventError) -> None:
        """The plan failed; what follows leads back."""
        self.note(failed=error.as_dict())

    def close(self, outcome: str) -> None:
        """The plan is over, with one of ``done``, ``failed``, ``went-back``, ``needs-person``."""
        self.note(closed=outcome)


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """A journal, read."""

    name: str
    time: str = ""
    goal: str = ""
    by: str = ""
    address: str = "127.0.0.1"
    port: int | None = None
    site: Site | None = None
    release: int | None = None
    steps: tuple[Step, ...] = ()
    begun: tuple[int, ...] = ()
    done: tuple[int, ...] = ()
    closed: str = ""

    def unfinished_commands(self) -> tuple[RunCommand, ...]:
        """Release commands that began and are not known to have ended."""
        open_steps = (self.steps[n] for n in self.begun if n not in self.done)
        return tuple(step for step in open_steps if isinstance(step, RunCommand))

    @property
    def switched(self) -> bool:
        """Whether traffic may have moved."""
        return any(isinstance(self.steps[number], Switch) for number in self.begun)


@dataclass(slots=True)
class _Telling:
    """The story while its lines are read."""

    begun: list[int] = field(default_factory=list)
    done: list[int] = field(default_factory=list)
    closed: str = ""


def open_new(layout: Layout, want: Want, plan: Plan) -> Journal:
    """Begin the journal of a plan, and let go of the oldest ones."""
    layout.journal.mkdir(exist_ok=True)
    names = _names(layout)
    number = int(names[-1].split(".")[0]) + 1 if names else 1
    for name in names[:-KEPT]:
        (layout.journal / name).unlink()
    journal = Journal(layout.journal / f"{number:06d}.jsonl")
    goal = want.as_dict()["goal"]
    journal.note(
        format=FORMAT,
        goal=goal["do"] if isinstance(goal, dict) else "",
        by=want.by,
        address=want.address,
        port=want.port,
        site=want.site.as_dict() if want.site else None,
        release=plan.release,
        plan=[step_as_dict(step) for step in plan.steps],
    )
    return journal


def _names(layout: Layout) -> list[str]:
    try:
        return sorted(path.name for path in layout.journal.iterdir() if path.suffix == ".jsonl")
    except FileNotFoundError:
        return []


def latest(layout: Layout) -> Story | None:
    """The newest journal, or None where there is none."""
    names = _names(layout)
    return read(layout.journal / names[-1]) if names else None


def interrupted(layout: Layout) -> Story | None:
    """The plan that was cut off, or None where the last one came to its end.

    A journal without a first line is of a plan that had not taken a step.
    """
    story = latest(layout)
    return story if story and story.time and not story.closed else None


def read(path: Path) -> Story:
    """A journal as far as it was written.

    Raises:
        FormatInvalid: a whole line cannot be read.
    """
    lines = durable.whole_lines(path)
    if not lines:
        return Story(name=path.name)
    telling = _Telling()
    for line in lines[1:]:
        _tell(telling, line)

    def head(table: Table) -> Story:
        table.number("format", most=FORMAT)
        return Story(
            name=path.name,
            time=table.text("time"),
            goal=table.text("goal"),
            by=table.text("by", ""),
            address=table.text("address", "127.0.0.1"),
            port=table.maybe_number("port"),
            site=read_site(table),
            release=table.maybe_number("release"),
            steps=tuple(read_step(each) for each in table.tables("plan")),
            begun=tuple(telling.begun),
            done=tuple(telling.done),
            closed=telling.closed,
        )

    return parse_json(f"the journal {path.name}", lines[0], head)


def _tell(telling: _Telling, line: str) -> None:
    def entry(table: Table) -> None:
        if table.has("begun"):
            telling.begun.append(table.number("begun"))
        if table.has("done"):
            telling.done.append(table.number("done"))
        if table.has("closed"):
            telling.closed = table.text("closed")

    parse_json("an entry of the journal", line, entry)


def resume(layout: Layout, story: Story) -> Journal:
    """The journal of a plan that was cut off, to go on with."""
    return Journal(layout.journal / story.name)
