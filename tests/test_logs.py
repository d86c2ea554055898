"""What an error shows of a log."""

from __future__ import annotations

from nonevent.agent.logs import telling

MASTER = [f"  master line {number}" for number in range(40)]


def test_the_end_of_a_log_is_shown_as_it_is() -> None:
    """A log that says why at its end is shown from its end."""
    lines = [*MASTER, "ModuleNotFoundError: No module named 'billing'", "web is shutting down"]
    assert telling(lines, 5) == lines[-5:]


def test_the_cause_above_a_long_end_is_shown_first() -> None:
    """The last error of the app is shown where the server's own words would hide it."""
    lines = ["ValueError: old", "ImportError: no billing", *MASTER, "gunicorn.HaltServer: <3>"]
    assert telling(lines, 5) == ["ImportError: no billing", "…", *lines[-3:]]


def test_a_short_log_is_shown_whole() -> None:
    """Nothing is left out of a log that is shorter than what is shown."""
    assert telling(["KeyError: 'a'"], 5) == ["KeyError: 'a'"]
    assert telling([], 5) == []
