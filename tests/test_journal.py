"""The journal of a plan: how far it got, whenever it was cut off."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from nonevent.agent import journal
from nonevent.errors import FormatInvalid
from nonevent.model.instance import InstanceId
from nonevent.model.layout import Layout
from nonevent.model.plan import Boot, Plan, RunCommand, Stage
from nonevent.model.want import Start, Want

if TYPE_CHECKING:
    from pathlib import Path

WANT = Want(app="shop", environment="local", goal=Start(), port=80, by="eve@laptop")
PLAN = Plan(release=2, steps=(Stage(2), RunCommand(2, 0, "migrate"), Boot(InstanceId("web", 2))))


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """An empty host."""
    return Layout(tmp_path)


def test_a_journal_tells_what_was_begun_and_done(layout: Layout) -> None:
    """What is read back is the want, the plan, and each step's beginning and end."""
    written = journal.open_new(layout, WANT, PLAN)
    written.begun(0)
    written.done(0)
    written.begun(1)
    story = journal.interrupted(layout)
    assert story
    assert (story.goal, story.by, story.port, story.release) == ("start", "eve@laptop", 80, 2)
    assert story.steps == PLAN.steps
    assert (story.begun, story.done) == ((0, 1), (0,))
    assert story.unfinished_commands() == (PLAN.steps[1],)


def test_a_closed_journal_is_no_interrupted_plan(layout: Layout) -> None:
    """A plan that came to its end leaves nothing to recover."""
    journal.open_new(layout, WANT, PLAN).close("done")
    assert journal.interrupted(layout) is None
    found = journal.latest(layout)
    assert found
    assert found.closed == "done"


def test_a_journal_can_be_cut_off_at_any_byte(layout: Layout) -> None:
    """Torn anywhere it can be read, told from a closed one, and closed."""
    written = journal.open_new(layout, WANT, PLAN)
    written.begun(0)
    written.note(failed={"message": "Grüner Tee"})
    written.close("done")
    whole = written.path.read_bytes()
    head = whole.index(b"\n") + 1
    for length in range(len(whole)):
        written.path.write_bytes(whole[:length])
        story = journal.interrupted(layout)
        # Before its first line was on the disk, no step had been taken.
        assert (story is not None) == (length >= head), length
        if story:
            journal.resume(layout, story).close("recovered")
            assert journal.interrupted(layout) is None


def test_the_next_journal_follows_a_torn_one(layout: Layout) -> None:
    """What a crash left before the first line is in nobody's way."""
    written = journal.open_new(layout, WANT, PLAN)
    written.path.write_bytes(b"")
    following = journal.open_new(layout, WANT, PLAN)
    assert following.path.name == "000002.jsonl"
    assert journal.interrupted(layout)


def test_old_journals_are_let_go_of(layout: Layout) -> None:
    """A host that is deployed to for years keeps the newest ones."""
    for _ in range(journal.KEPT + 5):
        journal.open_new(layout, WANT, PLAN).close("done")
    names = sorted(path.name for path in layout.journal.iterdir())
    assert len(names) <= journal.KEPT + 1
    assert names[-1] == f"{journal.KEPT + 5:06d}.jsonl"


@pytest.mark.parametrize("line", ["garbage", "[]", '{"begun": "0"}', '{"done": -1}'])
def test_a_whole_line_that_is_wrong_is_an_error(layout: Layout, line: str) -> None:
    """What cannot be read is an error with a name."""
    written = journal.open_new(layout, WANT, PLAN)
    with written.path.open("a") as file:
        file.write(line + "\n")
    with pytest.raises(FormatInvalid, match="journal"):
        journal.read(written.path)


def test_any_text_stands_on_one_line(layout: Layout) -> None:
    """A message may hold what Unicode calls the end of a line."""
    written = journal.open_new(layout, WANT, PLAN)
    written.note(failed={"message": "a\u2028b\x85c\nd"})
    written.close("failed")
    assert journal.read(written.path).closed == "failed"
