"""``nonevent demo``: the whole story on this machine, under load, and a table at its end."""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, assert_never

import click
from rich import print as show
from rich.box import SIMPLE_HEAD
from rich.table import Table as Grid

from nonevent.build.event import Ended
from nonevent.cli.narrate import Narrator
from nonevent.cli.output import Output
from nonevent.errors import Interrupted, NoneventError
from nonevent.model.parse import Table, parse
from nonevent.model.plan import Drain, Probe, Retire, RunCommand, Switch, read_step

if TYPE_CHECKING:
    from nonevent.demo.sample import Sample
    from nonevent.demo.story import Counted, Event, Outcome

PHASES = ("dependencies", "command", "artifact")
STEPS = (Drain, Probe, Retire, RunCommand, Switch)
"""What of a deploy gets a line here; `nonevent deploy` itself says more."""
SHOWN_LOSSES = 5
LATE = 1.0
"""Seconds; a load that is further behind says that the machine has too much to do."""
NEXT = (
    ("nonevent init", "look at it and write its nonevent.toml"),
    ("nonevent deploy local", "build the commit, and run it on this machine"),
    ("nonevent rollback local", "go back"),
)


@click.command(short_help="Watch a sample project be deployed and rolled back under load.")
@click.option("--keep", is_flag=True, help="Leave the project and what runs, to play with.")
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    help="Where the sample project listens (default: a free port).",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON event a line on stdout.")
def demo(keep: bool, port: int | None, as_json: bool) -> None:
    """Deploy, redeploy and roll back a sample project here, under load.

    A Django shop with a worker, a timer and static files is built, deployed to this machine,
    deployed again, deployed broken and rolled back, while requests keep coming. Everything
    happens in a temporary folder, and nothing of it stays. Exit status 1 if a request or a task
    was lost.
    """
    from nonevent.demo.sample import make
    from nonevent.demo.stage import free_port, refuse_taken, stage
    from nonevent.demo.story import Story

    output = Output(as_json=as_json)
    if port:
        refuse_taken(port)
    port = port or free_port()
    url = f"http://127.0.0.1:{port}"
    try:
        with stage(keep=keep) as folder:
            sample = make(folder / "shop", port=port)
            teller = Teller(output, Narrator(output))
            teller.beginning(sample)
            try:
                outcome = Story(sample, url, teller.see, as_json=as_json).tell()
            except NoneventError:
                output.quiet()
                if keep:
                    _still_there(output, sample, url)
                raise
            except KeyboardInterrupt:
                output.quiet()
                output.line("", "interrupted; stopping everything")
                raise
            _conclude(output, outcome)
            if not keep:
                output.doing("demo", "stopping everything and removing the folder")
    except KeyboardInterrupt as error:
        raise Interrupted("interrupted; everything is stopped and removed again") from error
    finally:
        output.quiet()
    if keep:
        _still_there(output, sample, url)
    else:
        _next(output)
    sys.exit(outcome.exit_status)


@dataclass(slots=True)
class Teller:
    """Says what happens, in fewer words than the commands themselves."""

    output: Output
    narrator: Narrator
    first: bool = True
    """Whether the first deploy goes on, in which everything is new."""

    def beginning(self, sample: Sample) -> None:
        """What is about to be seen."""
        self.output.line(
            "demo",
            "a Django shop with a worker, a timer and static files, deployed to this machine",
        )
        self.output.line("", f"      in {sample.folder}; of each command's output, the main lines")

    def see(self, event: Event) -> None:
        """One event of the story."""
        from nonevent.demo.story import Counted, Failed, Heard, Typed

        out = self.output
        match event:
            case Typed(text=text):
                out.event("typed", text=text)
                self._typed(text)
            case Heard(event=raw):
                rest = {key: value for key, value in raw.items() if key != "event"}
                out.event(str(raw.get("event")), **rest)
                if not out.as_json:
                    parse("an event of a command", dict(raw), self._heard)
            case Failed(status=status):
                out.event("failed", status=status)
                out.line("", f"exit status {status}")
            case Counted():
                self._counted(event)
            case _:
                assert_never(event)

    def _typed(self, text: str) -> None:
        out = self.output
        out.quiet()
        if self.first or not text.startswith(("nonevent deploy", "nonevent logs")):
            out.line("", "")
        out.typed(text)

    def _counted(self, event: Counted) -> None:
        self.first = False
        progress = event.progress
        self.output.event(
            "counted", answered=progress.answered, lost=progress.lost, promise=event.promise
        )
        self.output.quiet()
        self.output.scope = "load"
        self.output.row(
            f"{progress.answered:,} answered",
            f"{progress.lost:,} lost; the page says “{event.promise}”",
        )

    def _heard(self, table: Table) -> None:  # noqa: C901  (a table)
        out = self.output
        match table.text("event"):
            case "build-begun":
                out.doing(table.text("phase"), table.text("detail"))
            case "build-done":
                phase, detail = table.text("phase"), table.text("detail")
                if phase in (PHASES if self.first else PHASES[-1:]):
                    self.narrator.build(
                        Ended(phase=phase, detail=detail, seconds=table.real("seconds"))
                    )
            case "sent":
                out.scope = "local"
                self.narrator.agent(dict(table.raw))
            case "done":
                self._done(table)
            case "begun" | "log":
                self.narrator.agent(dict(table.raw))
            case "serving":
                out.quiet()
                out.scope = ""
                commit = table.text("commit")
                out.line("", f"release {table.number('release')} ({commit}) serves "
                         f"{table.text('url')}")  # fmt: skip
            case "error":
                out.quiet()
                out.line("error", table.text("message"), style="bold red")
                for line in table.texts("context"):
                    if not line.startswith("|"):
                        out.line("", f"  {line}")
                out.line("", f"  {table.text('serves', '')}")
            case _:
                return

    def _done(self, table: Table) -> None:
        step = read_step(table.table("step"))
        back = table.flag("back", default=False)
        wanted = STEPS if self.first else tuple(each for each in STEPS if each is not RunCommand)
        if isinstance(step, wanted) and not back:
            self.output.scope = "local"
            self.narrator.agent(dict(table.raw))


def _conclude(output: Output, outcome: Outcome) -> None:
    """The table, and a sentence below it."""
    report, numbers = outcome.report, outcome.numbers
    rows = outcome.rows()
    output.event("outcome", lost=outcome.lost, answered=report.answered, tasks=numbers.orders,
                 printed=numbers.printed, releases=[asdict(row) for row in rows])  # fmt: skip
    if output.as_json:
        return
    grid = Grid(box=SIMPLE_HEAD, pad_edge=False, header_style="dim", show_footer=True)
    totals = (f"{report.answered:,}", f"{report.lost_count:,}", f"{numbers.printed:,}")
    grid.add_column("release", "all", no_wrap=True)
    grid.add_column("answered", totals[0], justify="right")
    grid.add_column("lost", totals[1], justify="right")
    grid.add_column("tasks", totals[2], justify="right")
    for name in ("deploy", "rollback", "app's boot"):
        grid.add_column(name, justify="right")
    for row in rows:
        grid.add_row(
            f"{row.release} ({row.commit})" + ("" if row.good else " refused"),
            f"{row.answered:,}", f"{row.lost:,}", f"{row.tasks:,}",
            *(f"{each:.1f} s" if each else "-" for each in (row.deploy, row.rollback, row.boot)),
        )  # fmt: skip
    show(grid)
    output.data(
        f"{report.sent:,} requests in {report.seconds:.0f} s, half of them on new connections, "
        f"some slow, some uploads;\n{numbers.orders:,} tasks queued, {numbers.printed:,} done; "
        f"the timer ran {sum(numbers.reported_by.values())} times"
    )
    for loss in report.losses[:SHOWN_LOSSES]:
        output.data(f"lost after {loss.after:.1f} s: {loss.kind}, {loss.cause}, {loss.detail}")
    if report.behind > LATE:
        output.data(f"this machine was so busy that requests left up to {report.behind:.1f} s late")


def _still_there(output: Output, sample: Sample, url: str) -> None:
    """Where it still runs, and how to end it."""
    folder = sample.folder
    output.line("", f"\nit runs on at {url}; to play: cd {folder}")
    output.line("to end it", f"nonevent stop local -C {folder} && rm -r {folder.parent}")


def _next(output: Output) -> None:
    """What to type next."""
    output.line("", "\neverything is stopped and removed; next, in a project of yours:")
    for command, why in NEXT:
        output.line("", f"  {command:<24} {why}")
