"""What the demo does, as events to show and an outcome to judge."""

from __future__ import annotations

import json
import re
import time
import urllib.request
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from nonevent.demo.command import Ended, run, show
from nonevent.demo.sample import BETTER, BROKEN, FIRST, Edit
from nonevent.errors import NoneventError
from nonevent.testing.load import Load
from nonevent.testing.traffic import Traffic

if TYPE_CHECKING:
    from collections.abc import Callable

    from nonevent.demo.sample import Sample
    from nonevent.testing.load import Progress
    from nonevent.testing.report import Report

RATE = 30.0
"""Requests per second, of which a slow machine with one core still answers each in time."""
SLOW = 1.5
PAUSE = 45
"""Requests that are answered between one act and the next."""
WITHIN = 30.0
TASKS_WITHIN = 30.0


@dataclass(frozen=True, slots=True)
class Typed:
    """A command that is run now."""

    text: str


@dataclass(frozen=True, slots=True)
class Heard:
    """An event of the command, as its ``--json`` says it."""

    event: dict[str, object]


@dataclass(frozen=True, slots=True)
class Failed:
    """The command ended with this exit status."""

    status: int


@dataclass(frozen=True, slots=True)
class Counted:
    """How the load fares, and what the shop's page promises."""

    progress: Progress
    promise: str


Event = Typed | Heard | Failed | Counted


@dataclass(slots=True, kw_only=True)
class Act:
    """One deploy or rollback."""

    what: str
    release: int
    subject: str = ""
    commit: str = ""
    status: int = 0
    seconds: float = 0.0
    boot: float = 0.0
    """Seconds from the start of the web service until it was healthy; 0 where it never was."""
    lost: int = 0
    """Requests that were lost from its beginning to the next act's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbers:
    """What the shop itself has counted."""

    orders: int
    printed: int
    printed_by: dict[str, int]
    reported_by: dict[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What became of one release; times are in seconds, 0 where there is none."""

    release: int
    commit: str
    subject: str
    good: bool
    answered: int
    lost: int
    """Requests that nobody answered while it was deployed, served, or was gone back to."""
    tasks: int
    deploy: float
    rollback: float
    boot: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """All that the table shows."""

    acts: tuple[Act, ...]
    report: Report
    numbers: Numbers

    @property
    def lost(self) -> int:
        """Requests and tasks that were lost, and tasks that were done twice."""
        return self.report.lost_count + abs(self.numbers.orders - self.numbers.printed)

    @property
    def exit_status(self) -> int:
        """What the command ends with."""
        return 1 if self.lost else 0

    def rows(self) -> tuple[Row, ...]:
        """The releases, in the order in which they were made."""
        return tuple(self._row(act) for act in self.acts if act.what == "deploy")

    def _row(self, deploy: Act) -> Row:
        acts = tuple(act for act in self.acts if act.release == deploy.release)
        name = str(deploy.release)
        return Row(
            release=deploy.release,
            commit=deploy.commit,
            subject=deploy.subject,
            good=not deploy.status,
            answered=self.report.releases.get(name, 0),
            lost=sum(act.lost for act in acts),
            tasks=self.numbers.printed_by.get(name, 0),
            deploy=deploy.seconds,
            rollback=sum(act.seconds for act in acts if act.what == "rollback"),
            boot=deploy.boot,
        )


@dataclass(slots=True)
class Story:
    """The demo in one project; ``see`` is told what happens."""

    sample: Sample
    url: str
    see: Callable[[Event], None]
    as_json: bool = False
    """Whether what `status` says is for a program, too."""
    acts: list[Act] = field(default_factory=list)

    def tell(self) -> Outcome:
        """Deploy, redeploy, deploy what is broken and roll back, under load.

        Raises:
            NoneventError: a command did not end as it should.
        """
        self._act(Act(what="deploy", release=1, subject=FIRST, commit=self.sample.head()))
        # A slow request holds a thread of the app, so they are few.
        mix = (("fast", 85), ("slow", 5), ("upload", 10))
        slow = f"/invoice?seconds={SLOW}"
        traffic = Traffic(
            url=self.url, rate=RATE, mix=mix, slow=slow, upload="/orders", largest=500_000
        )
        with Load(traffic) as load:
            self._count(load)
            self._deploy(BETTER, release=2)
            self._count(load)
            self._deploy(BROKEN, release=3, status=1)
            self._look_at_log(release=3)
            self._count(load)
            self._act(Act(what="rollback", release=1))
            self._count(load)
            load.stop()
        # What was lost after the last look at the load counts to the last act.
        self.acts[-1].lost += load.report.lost_count - sum(act.lost for act in self.acts)
        numbers = self._when_printed()
        self.see(Typed("nonevent status local"))
        show(self.sample.folder, "status", "local", *(("--json",) if self.as_json else ()))
        return Outcome(acts=tuple(self.acts), report=load.report, numbers=numbers)

    def _deploy(self, edit: Edit, *, release: int, status: int = 0) -> None:
        self.see(Typed(f"git commit --all --message {edit.subject!r}"))
        commit = self.sample.commit(edit)
        act = Act(what="deploy", release=release, subject=edit.subject, commit=commit)
        self._act(act, status=status)

    def _act(self, act: Act, *, status: int = 0) -> None:
        self.acts.append(act)
        evidence: list[str] = []
        starts: list[float] = []

        def hear(event: dict[str, object]) -> None:
            step = event.get("step")
            match event["event"], step if isinstance(step, dict) else {}:
                case "error", _:
                    evidence.extend(_lines(event))
                case "begun", {"do": "boot", "instance": name} if name.startswith("web-"):
                    starts.append(time.monotonic())
                case "done", {"do": "probe"} if starts:
                    act.boot = time.monotonic() - starts[0]
                case _:
                    pass

        ended = self._run(act.what, "local", also=hear)
        act.status, act.seconds = ended.status, ended.seconds
        if ended.status != status:
            raise NoneventError(
                f"`nonevent {act.what} local` ended with status {ended.status}, not {status}",
                context=tuple(evidence),
                hint="nonevent demo --keep, which leaves everything as it is then",
            )

    def _run(self, *words: str, also: Callable[[dict[str, object]], None]) -> Ended:
        self.see(Typed(" ".join(("nonevent", *words))))

        def hear(event: dict[str, object]) -> None:
            also(event)
            self.see(Heard(event))

        ended = run(self.sample.folder, *words, hear=hear)
        if ended.status:
            self.see(Failed(ended.status))
        return ended

    def _look_at_log(self, *, release: int) -> None:
        """What the error's hint says to type, and of that the line that matters."""
        words = ("logs", "local", "--service", "web", "--release", str(release), "-n", "500")
        self.see(Typed(" ".join(("nonevent", *words, "| grep -m1 Error"))))
        lines: list[dict[str, object]] = []
        run(self.sample.folder, *words, hear=lines.append)
        for event in lines:
            if "Error" in str(event.get("text")):
                self.see(Heard(event))
                break

    def _count(self, load: Load) -> None:
        """Let some time pass, and look how many requests were answered and lost."""
        load.wait(answered=load.progress.answered + PAUSE, within=WITHIN)
        known = sum(act.lost for act in self.acts[:-1])
        self.acts[-1].lost = load.progress.lost - known
        page = self._get("/").decode()
        found = re.search(r'class="promise">(.*?)<', page)
        self.see(Counted(load.progress, found[1] if found else ""))

    def _when_printed(self) -> Numbers:
        """What the shop counted, once the worker has nothing left to do or its time is over."""
        deadline = time.monotonic() + TASKS_WITHIN
        while True:
            raw = json.loads(self._get("/numbers"))
            waiting = raw.pop("waiting")
            if not waiting or time.monotonic() > deadline:
                return Numbers(**raw)
            time.sleep(0.05)

    def _get(self, path: str) -> bytes:
        with urllib.request.urlopen(self.url + path, timeout=WITHIN) as answer:  # noqa: S310
            return bytes(answer.read())


def _lines(error: dict[str, object]) -> tuple[str, ...]:
    """What an error's event says, and its evidence."""
    context = error.get("context")
    return str(error.get("message")), *map(str, context if isinstance(context, list) else ())
