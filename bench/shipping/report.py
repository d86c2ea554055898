"""The figures of shipping as tables: everybody's, what must be reached, and where time goes."""

from __future__ import annotations

import re
import statistics
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from measure import Table

from shipping.peers.nonevent import events

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ship import Run

    from shipping.many import Many
    from shipping.stage import Seen

PAGE = Path(__file__).parents[2] / "docs" / "explanation" / "performance.md"
BEGIN, END = "<!-- ship: written by `make bench ARGS='ship --write'` -->", "<!-- ship ends -->"
STEPS = ("first", "change", "bump", "rollback")
OURS = "nonevent"
LEAST = 0.02
"""Seconds that a step must take to be shown."""


def median(values: Iterable[float]) -> float:
    """The median."""
    return statistics.median(values)


def size(count: float) -> str:
    """Bytes, in powers of ten."""
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.1f} kB"


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How large the project is."""

    bytes: int
    files: int
    packages: int


def measure_size(run: Run) -> Size:
    """Of the tree as peers copy it."""
    files = [path for path in run.site.tree.rglob("*") if path.is_file() and not path.is_symlink()]
    packages = run.site.locks[0].read_text().count("==")
    return Size(bytes=sum(path.stat().st_size for path in files), files=len(files),
                packages=packages)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One run and the machine's limits."""

    run: Run
    limits: Mapping[str, str]
    size: Size
    many: Many

    def tables(self) -> tuple[Table, ...]:
        """All tables."""
        return (
            self._everybody(), self._goals(), self._phases(), self._builds(), self.many.table(),
            Table(
                title="Limits of the machine", head=("", ""), rows=tuple(self.limits.items())
            ),
        )  # fmt: skip

    def markdown(self) -> str:
        """All tables, as they stand in the page."""
        return "\n".join(markdown(table) for table in self.tables())

    # -- what was seen

    def answered(self, step: str, name: str = OURS) -> float:
        """Seconds until visitors got the release."""
        return median(each.answered for each in self.run.seen[step][name])

    def sent(self, step: str, name: str = OURS) -> float:
        """Bytes on the link."""
        return median(each.bytes for each in self.run.seen[step][name])

    @property
    def boot(self) -> float:
        """Seconds of the app's own boot."""
        return self.run.timed("boot").median

    def _everybody(self) -> Table:
        rows = []
        for peer in self.run.peers:
            cells = [peer.text]
            for step in STEPS:
                cells += [
                    f"{self.answered(step, peer.name):.1f} s",
                    size(self.sent(step, peer.name)),
                ]
            rows.append(tuple(cells[:-1]))
        title = (
            f"Until the new release answers, and bytes on the link: {self.size.packages} packages, "
            f"{self.size.bytes / 1e6:.0f} MB, {self.size.files} files"
        )
        head = ("", "first", "", "a line changed", "", "Django patch", "", "rollback")
        return Table(title=title, head=head, rows=tuple(rows))

    def _goals(self) -> Table:
        change, back = self.answered("change"), self.answered("rollback")
        rows = [
            goal("a line changed, beyond the app's boot", change - self.boot, 0.7, "s"),
            goal("its bytes", self.sent("change") / 1e3, 20, "kB"),
            goal(
                "bytes of a Django patch, of its files compressed",
                self.sent("bump") / median(self.run.patches), 1.5, "times",
            ),
            goal("rollback, beyond the app's boot", back - self.boot, 0.3, "s"),
            goal("rollback to a warm standby", self.answered("rollback, warm"), 0.15, "s"),
            goal("20 hosts at once: of one", self.many.ratio, 3, "times"),
            *self._ratios(),
            goal("build, nothing changed", self.run.timed("build nothing").median, 0.5, "s"),
            goal("build, a line changed", self.run.timed("build change").median, 1.5, "s"),
            goal(
                "build, a dependency changed: of uv and byte code",
                self.run.timed("build bump").median / self.run.timed("uv").median, 1.0, "times",
            ),
            goal("memory of the client", self.client_memory() / 1e6, 150, "MB"),
            goal("memory of the agent", self.run.memory["agent"] / 1e6, 60, "MB"),
        ]  # fmt: skip
        return Table(
            title="What must be reached", head=("", "measured", "must be", ""), rows=tuple(rows)
        )

    def _ratios(self) -> list[tuple[str, ...]]:
        """Against others, where they were measured."""
        others = [peer.name for peer in self.run.peers if peer.name != OURS]
        change, rows = self.answered("change"), []
        if "ansible" in others:
            times = self.answered("change", "ansible") / change
            rows.append(goal("a line changed: faster than Ansible", times, 10, "times", least=True))
        rest = {name: self.answered("change", name) for name in others if name != "ansible"}
        if rest:
            best = min(rest, key=lambda name: rest[name])
            rows.append(goal(f"and than the best of the others, {best}", rest[best] / change, 3,
                             "times", least=True))  # fmt: skip
        if "rsync" in others:
            less = self.sent("change", "rsync") / self.sent("change")
            rows.append(goal("its bytes: less than rsync's", less, 40, "times", least=True))
        if "tar" in others:
            more = self.answered("first") / self.answered("first", "tar")
            rows.append(goal("first deploy: of the plain pipe", more, 1.15, "times"))
        return rows

    def client_memory(self) -> int:
        """Bytes that the client had at most in any deploy."""
        return max(each.memory for step in self.run.seen.values() for each in step.get(OURS, ()))

    def _phases(self) -> Table:
        """Where the time of our deploy of a changed line goes, up to the answer."""
        taken = phases(self.run.seen["change"][OURS])
        rows = [(name, f"{seconds:.2f} s") for name, seconds in taken.items() if seconds >= LEAST]
        rows.append(("(the app's own boot)", f"{self.boot:.2f} s"))
        return Table(
            title="Where the time of a changed line goes", head=("", "median"), rows=tuple(rows)
        )

    def _builds(self) -> Table:
        named = {
            "build nothing": "nothing changed", "build change": "a line changed",
            "build bump": "Django patch", "uv": "`uv pip sync` anew, and byte code of Django",
        }  # fmt: skip
        rows = [(text, str(self.run.timed(key))) for key, text in named.items()]
        extra = {
            "change, connected": "deploy, with a connection that is open",
            "change, built": "build and deploy in one command",
            "rollback, connected": "rollback, with a connection that is open",
            "rollback, warm, connected": "rollback to a warm standby, with one that is open",
        }
        rows += [(text, f"{self.answered(key):.2f} s") for key, text in extra.items()]
        return Table(
            title="Build, and deploys of other kinds", head=("", "median"), rows=tuple(rows)
        )


def goal(
    what: str, measured: float, must: float, unit: str, *, least: bool = False
) -> tuple[str, ...]:
    """A row: what was measured, what it must be, and whether it is."""
    good = measured >= must if least else measured <= must
    bound = f"at least {must:g}" if least else f"at most {must:g}"
    return (what, f"{measured:.2f} {unit}", f"{bound} {unit}", "yes" if good else "**no**")


def phases(seen: Iterable[Seen]) -> dict[str, float]:
    """Median seconds of each step of the agent until the switch, and what the client took."""
    found: dict[str, list[float]] = defaultdict(list)
    for each in seen:
        rest = each.answered
        transfer = sum(event["seconds"] for event in events(each.output, "sent"))
        found["transfer"].append(transfer)
        rest -= transfer
        for event in events(each.output, "done"):
            step, seconds = event["step"]["do"], event["seconds"]
            found[step].append(seconds)
            rest -= seconds
            if step == "switch":
                break
        found["client, connection, agent"].append(rest)
    return {name: median(each) for name, each in found.items()}


def markdown(table: Table) -> str:
    """A table as Markdown, under its title."""
    lines = [table.head, ("---",) * len(table.head), *table.rows]
    return "\n".join((f"{table.title}:", "", *(f"| {' | '.join(line)} |" for line in lines), ""))


def write(page: str) -> None:
    """Put the tables between the marks of the page."""
    text = PAGE.read_text()
    marked = re.compile(f"({re.escape(BEGIN)}\n).*({re.escape(END)})", re.DOTALL)
    assert marked.search(text), f"{PAGE} has no marks"
    PAGE.write_text(marked.sub(lambda found: f"{found[1]}\n{page}\n{found[2]}", text))
