"""How things look where no terminal is: plain lines, and a heartbeat in silence."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from nonevent.cli.output import Output, age, size
from nonevent.testing.process import until


def plain() -> tuple[Output, io.StringIO]:
    """An output into a text, as in a log."""
    text = io.StringIO()
    console = Console(file=text, highlight=False, soft_wrap=True)
    return Output(narration=console, heartbeat=0.02), text


def test_silence_is_broken() -> None:
    """While something long goes on, a line says what, and none does afterwards."""
    output, text = plain()
    output.doing("command", "npm run build")
    until(lambda: text.getvalue().count("still: command npm run build\n") > 1)
    output.doing("app")
    until(lambda: "still: app\n" in text.getvalue())
    output.quiet()
    until(lambda: output._beating is None)
    assert "\x1b" not in text.getvalue()


def test_a_scope_is_said_once() -> None:
    """Rows about the same thing name it in the first of them."""
    output, text = plain()
    output.scope = "build"
    output.row("lock", "uv.lock", 0.04)
    output.row("app", "7 files", 1.26)
    output.scope = "local"
    output.row("switch", "done")
    assert [line.split() for line in text.getvalue().splitlines()] == [
        ["build", "lock", "uv.lock", "0.0", "s"],
        ["app", "7", "files", "1.3", "s"],
        ["local", "switch", "done"],
    ]


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "0 s"), (59, "59 s"), (60, "1 min"), (7500, "2 h 5 min"), (9e5, "10 d 10 h")],
)
def test_ages(seconds: float, said: str) -> None:
    """A duration is said in the one or two units that matter."""
    assert age(seconds) == said


@pytest.mark.parametrize(
    ("count", "said"),
    [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (2_340_000, "2.3 MB"), (7e12, "7000.0 GB")],
)
def test_sizes(count: float, said: str) -> None:
    """Bytes are said in powers of ten."""
    assert size(count) == said
