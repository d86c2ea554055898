"""Settings and secrets on a host: numbered versions that never change."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nonevent.agent import variables
from nonevent.model.layout import Layout

names = st.from_regex(r"[A-Z_][A-Z0-9_]{0,8}", fullmatch=True)
texts = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=20)


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """An empty host."""
    return Layout(tmp_path)


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(names, texts, max_size=4))
def test_values_survive_their_file(values: dict[str, str]) -> None:
    """What was kept is what a process is started with."""
    with tempfile.TemporaryDirectory() as folder:
        layout = Layout(Path(folder))
        number = variables.keep_config(layout, values)
        assert variables.config(layout, number) == values
        assert variables.keep_config(layout, dict(reversed(values.items()))) == number


def test_a_known_configuration_keeps_its_number(layout: Layout) -> None:
    """Going back to earlier settings is going back to their version."""
    assert variables.keep_config(layout, {"A": "1"}) == 1
    assert variables.keep_config(layout, {"A": "2"}) == 2
    assert variables.keep_config(layout, {"A": "1"}) == 1


def test_a_higher_number_is_a_newer_secret(layout: Layout) -> None:
    """A password that was changed back is newer than the one it replaces."""
    assert variables.keep_secrets(layout, {"A": "1"}) == 1
    assert variables.keep_secrets(layout, {"A": "2"}) == 2
    assert variables.keep_secrets(layout, {"A": "2"}) == 2
    assert variables.keep_secrets(layout, {"A": "1"}) == 3


def test_secrets_that_were_taken_away_are_gone(layout: Layout) -> None:
    """No secrets any more is a newer version; none at all needs no file."""
    assert variables.keep_secrets(layout, {}) == 0
    variables.keep_secrets(layout, {"A": "1"})
    number = variables.keep_secrets(layout, {})
    assert number == 2
    assert variables.secrets(layout, number) == {}


def test_checking_makes_nothing(layout: Layout) -> None:
    """A plan asks for the numbers and leaves no file."""
    assert variables.keep_config(layout, {"A": "1"}, check=True) == 1
    assert not layout.configs.exists()


def test_secrets_are_for_the_apps_user_alone(layout: Layout) -> None:
    """Nobody else can read a secret, or list its folder."""
    variables.keep_secrets(layout, {"A": "1"})
    assert (layout.secrets / "1").stat().st_mode & 0o7777 == 0o700
    assert (layout.secrets / "1" / "variables.json").stat().st_mode & 0o7777 == 0o600


def test_a_crash_while_keeping_is_in_nobodys_way(layout: Layout) -> None:
    """A folder that a crash left without its file is no version."""
    variables.keep_config(layout, {"A": "1"})
    (layout.configs / ".partial-2").mkdir()
    assert variables.keep_config(layout, {"A": "2"}) == 2
    assert variables.numbers(layout.configs) == [1, 2]
