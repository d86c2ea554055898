"""Laws of the configuration parser."""

from __future__ import annotations

import tomlkit
from hypothesis import given, settings
from hypothesis import strategies as st

from nonevent.config.read import read_app
from nonevent.config.variables import read_variables
from nonevent.errors import ConfigInvalid, Problem

KEYS = st.sampled_from(
    ["app", "python", "require", "release", "env", "build", "services", "environments", "web",
     "worker", "timer", "local", "production", "command", "kind", "health", "path", "host",
     "answers", "interval", "timeout", "watch", "schedule", "stop_signal", "stop_limit",
     "drain_limit", "hosts", "port", "address", "keep", "static", "commands", "exclude", "lock"]
) | st.text(max_size=4)  # fmt: skip
VALUES = (
    st.booleans()
    | st.integers(-5, 70000)
    | st.floats(allow_nan=False)
    | st.dates()
    | st.text(max_size=6)
    | st.text("{}!:'\"\\ @*/5socket$0", max_size=12)
    | st.sampled_from(["web", "worker", "30s", "@daily", "every 5m", "serve {socket}", "/", "TERM"])
)
TABLES = st.dictionaries(
    KEYS,
    st.recursive(
        VALUES,
        lambda inner: st.dictionaries(KEYS, inner, max_size=4) | st.lists(inner, max_size=3),
        max_leaves=12,
    ),
    max_size=8,
)


@settings(max_examples=60, deadline=None)
@given(TABLES)
def test_any_table_is_read_or_refused(table: dict[str, object]) -> None:
    """Whatever TOML says, it is read, or all its mistakes are told, each on one line."""
    problems: tuple[Problem, ...] = ()
    try:
        read_app(tomlkit.dumps(table), "nonevent.toml")
    except ConfigInvalid as error:
        problems = error.problems
    assert all(len(str(problem).splitlines()) == 1 for problem in problems)


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    """Whatever a file holds, it is read as variables or refused with line numbers."""
    problems: tuple[Problem, ...] = ()
    try:
        assert all(isinstance(value, str) for value in read_variables(text, "x").values())
    except ConfigInvalid as error:
        problems = error.problems
    assert all(problem.where.startswith("line ") for problem in problems)
