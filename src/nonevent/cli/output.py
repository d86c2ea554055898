"""How everything looks: the only place that knows about terminals.

Data goes to standard output, narration to standard error. With ``--json`` each event is one
line on standard output, and nothing is narrated.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.status import Status
    from rich.text import Text

    from nonevent.errors import NoneventError

HEARTBEAT = 15.0
"""Seconds of silence, where there is no terminal, after which a line says what is going on."""
SCOPE = 8
SUBJECT = 14
DETAIL = 52


@dataclass(slots=True)
class Output:
    """Where a command says things."""

    as_json: bool = False
    scope: str = ""
    """What the next lines are about, e.g. ``build`` or ``local``; shown when it changes."""
    several: int = 0
    """Where lines of several hosts come mixed: the width of their names, which each line shows."""
    narration: Console | None = None
    """Made at the first line for a person: that takes longer than all the rest of a start."""
    heartbeat: float = HEARTBEAT
    _shown_scope: str = ""
    _current: str = ""
    _beating: threading.Event | None = None
    _status: Status | None = None
    _last: float = field(default_factory=time.monotonic)

    @property
    def console(self) -> Console:
        """Where people read."""
        if self.narration is None:
            from rich.console import Console

            self.narration = Console(stderr=True, highlight=False, soft_wrap=True)
        return self.narration

    def event(self, name: str, **facts: object) -> None:
        """One event for machines; nothing for people."""
        if self.as_json:
            line = json.dumps({"event": name, **facts}, ensure_ascii=False, default=str)
            print(line, flush=True)  # noqa: T201

    def data(self, text: str) -> None:
        """A line of data on standard output; machines have had it as an event."""
        if not self.as_json:
            print(text, flush=True)  # noqa: T201

    def doing(self, subject: str, detail: str = "") -> None:
        """What is going on now: a moving line on a terminal, a heartbeat elsewhere."""
        if self.as_json:
            return
        text = f"{subject} {detail}".strip()
        self._current = text
        if self.console.is_terminal:
            if self._status is None:
                self._status = self.console.status("", spinner="dots")
                self._status.start()
            self._status.update(_text(text[:90]))
        elif self._beating is None:
            self._beating = threading.Event()
            threading.Thread(target=self._beat, args=(self._beating,), daemon=True).start()

    def _beat(self, ended: threading.Event) -> None:
        """A line now and then while nothing else is said, until ``ended``."""
        while not ended.wait(self.heartbeat / 10):
            if time.monotonic() - self._last > self.heartbeat:
                self.line("", f"still: {self._current}")

    def quiet(self) -> None:
        """Take the moving line away, and end the heartbeat."""
        if self._status:
            self._status.stop()
            self._status = None
        if self._beating:
            self._beating.set()
            self._beating = None

    def row(self, subject: str, detail: str = "", seconds: float | None = None) -> None:
        """One thing that is done: what, how, and how long it took."""
        if self.as_json:
            return
        self._last = time.monotonic()
        scope = self.scope if self.several or self.scope != self._shown_scope else ""
        self._shown_scope = self.scope
        width = max(SCOPE, self.several + 1)
        if len(scope) >= width:
            # A long name has a line of its own, so that what follows stays in its columns.
            self._print(_text(scope, style="bold"))
            scope = ""
        text = _text()
        text.append(f"{scope:<{width}}", style="bold")
        text.append(f"{subject:<{SUBJECT}} ")
        took = "" if seconds is None else f"{seconds:6.1f} s"
        text.append(f"{detail:<{DETAIL}}" if took else detail)
        text.append(took, style="dim")
        self._print(text)

    def line(self, word: str, text: str, *, style: str = "") -> None:
        """One sentence, with an optional word in front."""
        if self.as_json:
            return
        self._last = time.monotonic()
        self._shown_scope = ""
        shown = _text()
        if word:
            shown.append(f"{word}: ", style=style or "bold")
        shown.append(text)
        self._print(shown)

    def typed(self, text: str) -> None:
        """A command, as a person types it."""
        if not self.as_json:
            self._shown_scope = ""
            self._print(_text(f"$ {text}", style="bold"))

    def output(self, text: str) -> None:
        """A line that another program said."""
        if not self.as_json:
            self._last = time.monotonic()
            scope = self.scope if self.several else ""
            self._print(_text(f"{scope:<{max(SCOPE, self.several + 1)}}| {text}", style="dim"))

    def _print(self, text: Text) -> None:
        text.rstrip()
        self.console.print(text)

    def error(self, error: NoneventError) -> None:
        """An error: one sentence, its evidence, and what to type next."""
        self.quiet()
        if self.as_json:
            self.event("error", **error.as_dict(), exit_status=error.exit_status)
            return
        self.line("error", error.message, style="bold red")
        for line in (*error.context, *error.serves.splitlines()):
            self._print(_text(f"  {line}"))
        if error.hint:
            self.console.print()
            self.line("hint", error.hint, style="bold")


def _text(text: str = "", style: str = "") -> Text:
    from rich.text import Text

    return Text(text, style=style)


def is_terminal() -> bool:
    """Whether a person reads standard output."""
    return sys.stdout.isatty()


def size(count: float) -> str:
    """Bytes as people read them, in powers of ten."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    raise AssertionError(count)


def age(seconds: float) -> str:
    """A duration as people read it: ``42 s``, ``3 min``, ``2 h 5 min``, ``3 d 4 h``."""
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if minutes < 1:
        return f"{seconds:.0f} s"
    if hours < 1:
        return f"{minutes:.0f} min"
    if days < 1:
        return f"{hours:.0f} h {minutes % 60:.0f} min"
    return f"{days:.0f} d {hours % 24:.0f} h"
