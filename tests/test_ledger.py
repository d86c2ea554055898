"""The ledger: append-only, synced, and whole after any crash."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nonevent.agent import ledger
from nonevent.errors import FormatInvalid
from nonevent.model.layout import Layout
from nonevent.model.ledger import Event, History, Line, State, fold, read_line

TIME = "2026-01-01T00:00:00Z"
words = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)
lines = st.builds(
    Line,
    number=st.integers(1, 2**31),
    time=st.just(TIME),
    event=st.sampled_from(Event),
    release=st.integers(1, 99),
    by=words,
    reason=words,
    subject=words,
    secrets=st.integers(0, 9),
    seconds=st.floats(0, 1e6),
)


def line(event: Event, release: int, *, secrets: int = 0) -> Line:
    """A line, as it is before it has a number of its own."""
    return Line(number=0, time=TIME, event=event, release=release, secrets=secrets)


@given(lines)
def test_a_line_survives_its_text(line: Line) -> None:
    """What was written is what is read, and stands on one line."""
    assert "\n" not in line.encoded()
    assert read_line(line.encoded()) == line


@given(st.lists(lines, max_size=4))
def test_a_ledger_survives_its_file(written: list[Line]) -> None:
    """Any text may stand in a reason, also what Unicode calls the end of a line."""
    with tempfile.TemporaryDirectory() as folder:
        layout = Layout(Path(folder))
        for each in written:
            ledger.append(layout, each)
        found = ledger.read(layout)
    assert [each.number for each in found] == list(range(1, len(written) + 1))
    assert [each.reason for each in found] == [each.reason for each in written]


@pytest.mark.parametrize("reason", ["tea", "Grüner Tee"])
def test_a_torn_last_line_was_never_written(tmp_path: Path, reason: str) -> None:
    """Cut off at any byte, the ledger is what it was before, and goes on from there."""
    layout = Layout(tmp_path)
    ledger.append(layout, line(Event.STAGED, 1))
    whole = layout.ledger.read_bytes()
    ledger.append(layout, Line(number=0, time=TIME, event=Event.FAILED, release=1, reason=reason))
    torn = layout.ledger.read_bytes()
    for length in range(len(whole), len(torn)):
        layout.ledger.write_bytes(torn[:length])
        assert len(ledger.read(layout)) == 1
        ledger.append(layout, line(Event.CURRENT, 1))
        assert [each.event for each in ledger.read(layout)] == [Event.STAGED, Event.CURRENT]


def test_a_whole_line_that_is_wrong_is_an_error(tmp_path: Path) -> None:
    """What cannot be read is not guessed about."""
    layout = Layout(tmp_path)
    layout.ledger.write_bytes(b'{"format": 1}\n')
    with pytest.raises(FormatInvalid, match="line of the ledger"):
        ledger.read(layout)


def test_bytes_that_are_no_text_are_an_error_of_ours(tmp_path: Path) -> None:
    """A damaged disk gives an error with a name, not a traceback."""
    layout = Layout(tmp_path)
    layout.ledger.write_bytes(b"\xff\xfe\n")
    with pytest.raises(FormatInvalid, match="line of the ledger"):
        ledger.read(layout)


def test_no_ledger_is_an_empty_history(tmp_path: Path) -> None:
    """Before the first deploy nothing has happened."""
    assert ledger.history(Layout(tmp_path)) == History()


def told(*events: tuple[Event, int, int]) -> History:
    """The history of events with their releases and secrets."""
    return fold(
        Line(number=place, time=TIME, event=event, release=release, secrets=secrets)
        for place, (event, release, secrets) in enumerate(events, 1)
    )


def test_one_current_release_at_a_time() -> None:
    """The release that follows makes the one before it good, unless that one was left."""
    history = told(
        (Event.STAGED, 1, 0), (Event.CURRENT, 1, 0), (Event.STAGED, 2, 0), (Event.CURRENT, 2, 0)
    )
    assert [each.state for each in history.releases] == [State.GOOD, State.CURRENT]
    assert (history.current, history.previous, history.next_number) == (2, 1, 3)


def test_rotated_secrets_are_not_rolled_back() -> None:
    """A release runs with the newest secrets that served, and those of a failed one never count."""
    history = told(
        (Event.STAGED, 1, 1), (Event.CURRENT, 1, 0),
        (Event.STAGED, 2, 2), (Event.CURRENT, 2, 0),
        (Event.STAGED, 3, 3), (Event.FAILED, 3, 0),
        (Event.CURRENT, 1, 0), (Event.LEFT, 2, 0),
    )  # fmt: skip
    assert history.secrets_for(1) == 2
    assert history.secrets_for(3) == 3
    assert told().secrets_for(1) == 0
