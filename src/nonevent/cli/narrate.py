"""Events of builds and of agents, in words."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, assert_never

from nonevent.build.event import Began, Ended, Noticed
from nonevent.cli.output import size
from nonevent.model.parse import Table, parse
from nonevent.model.plan import (
    Boot,
    Confirm,
    Dismiss,
    Drain,
    Halt,
    HoldPort,
    Import,
    Keep,
    NoteStopped,
    Probe,
    Prove,
    Reload,
    Remove,
    Retire,
    RunCommand,
    Stage,
    Steady,
    Step,
    Switch,
    Watch,
    read_step,
)

if TYPE_CHECKING:
    from nonevent.build.event import Event
    from nonevent.cli.output import Output
    from nonevent.errors import NoneventError

INTERRUPTED = "interrupted; waiting until the host has settled (Ctrl-C again: do not wait)"
UNSHOWN = (Boot, Keep)
"""Steps that get no line of their own: the next one says whether they went well."""


def words(step: Step) -> tuple[str, str]:  # noqa: C901, PLR0911, PLR0912  (a table)
    """What a step is about, and what is true after it."""
    match step:
        case Stage(release=number):
            return f"release {number}", "staged"
        case Import():
            return "import", "works here"
        case RunCommand(command=command):
            return "command", command
        case HoldPort(address=address, port=port):
            return "front", f"listens on {address}:{port}"
        case Keep():
            return "keeper", "runs timers and tidies up"
        case Boot(instance=instance):
            return str(instance), "started"
        case Probe(instance=instance):
            return str(instance), "healthy"
        case Steady(instance=instance):
            return str(instance), "up"
        case Retire(instance=instance):
            return str(instance), "told to finish"
        case Halt(instance=instance):
            return str(instance), "stopped"
        case Switch(release=None):
            return "switch", "no release serves"
        case Switch(links=()):
            return "switch", f"release {step.release} is the current one"
        case Switch(release=number):
            return "switch", f"new connections go to release {number}"
        case Reload(commands=commands):
            return "reload", "; ".join(commands)
        case Prove(release=None):
            return "proof", "no process runs a release of ours"
        case Prove(release=number):
            return "proof", f"all processes run release {number}"
        case Watch():
            return "watch", "still healthy"
        case Confirm(release=number, standby=None):
            return "ledger", f"release {number} serves"
        case Confirm(release=number):
            return "ledger", f"release {number} serves, the one before stands by"
        case Drain(instance=instance):
            return str(instance), "drained"
        case Dismiss():
            return "processes", "all ended"
        case NoteStopped():
            return "ledger", "stopped by a person"
        case Remove(releases=releases):
            named = "release " + ", ".join(map(str, releases))
            return "prune", named if releases else "what nothing uses"
        case _:
            assert_never(step)


@dataclass(slots=True)
class Narrator:
    """Says what builds and agents report."""

    output: Output
    _one_at_a_time: threading.Lock = field(default_factory=threading.Lock)

    def build(self, event: Event) -> None:
        """A build's event."""
        out = self.output
        out.scope = "build"
        match event:
            case Began(phase=phase, detail=detail):
                out.event("build-begun", phase=phase, detail=detail)
                out.doing(phase, detail)
            case Ended(phase=phase, detail=detail, seconds=seconds):
                out.event("build-done", phase=phase, detail=detail, seconds=round(seconds, 3))
                out.row(phase, detail, seconds)
            case Noticed(message=message, hint=hint):
                out.event("note", text=message, hint=hint)
                out.line("note", f"{message}; {hint}" if hint else message)

    def agent(self, raw: dict[str, object], *, label: str = "") -> None:
        """An agent's event, as it came over the protocol, with its host where there are several."""
        with self._one_at_a_time:
            host = {"host": label} if label else {}
            self.output.event(str(raw.get("event")), **host, **_rest(raw))
            if label:
                self.output.scope = label
            parse("an event of the agent", raw, lambda table: self._agent(table, label))

    def skipped(self, label: str, error: NoneventError) -> None:
        """A host is left out."""
        self.output.event("skipped", host=label, **error.as_dict())
        self.output.line("note", f"{label} is skipped, and keeps what it has: {error.message}")

    def _agent(self, table: Table, label: str) -> None:
        named = f"{label}: " if label else ""
        out = self.output
        match table.text("event"):
            case "begun":
                subject, text = words(read_step(table.table("step")))
                out.doing("at work on", f"{named}{subject}: {text}")
            case "done":
                self._done(table)
            case "output":
                out.output(table.text("text"))
            case "sent":
                detail = f"layer {table.text('layer')}, {size(table.number('bytes'))}"
                out.row("received", detail, table.real("seconds"))
            case "note":
                out.line("note", named + table.text("text"))
            case "interrupted":
                out.line("note", INTERRUPTED)
            case "log":
                host = f"{label:<{out.several}} " if label else ""
                out.data(f"{host}{table.text('log')} | {table.text('text')}")
            case _:
                # A newer agent may say more than this client understands.
                return

    def _done(self, table: Table) -> None:
        step = read_step(table.table("step"))
        seconds, detail = table.real("seconds"), table.text("detail", "")
        if isinstance(step, UNSHOWN):
            return
        subject, text = words(step)
        back = "back: " if table.flag("back", default=False) else ""
        if isinstance(step, Drain) and detail:
            # It says what happened instead.
            text, detail = detail, ""
        said = f", {detail}" if detail and not isinstance(step, HoldPort) else ""
        self.output.row(subject, f"{back}{text}{said}", seconds)


def _rest(raw: dict[str, object]) -> dict[str, object]:
    return {key: value for key, value in raw.items() if key != "event"}
