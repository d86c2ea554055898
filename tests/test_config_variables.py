"""The variables of an environment: where they come from, and who may read them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from nonevent.config.app import App, Environment
from nonevent.config.secret import Secret
from nonevent.config.variables import read_variables, require, settings
from nonevent.errors import ConfigInvalid, UsageError, VariableMissing

if TYPE_CHECKING:
    from pathlib import Path

APP = App(app="shop", env=(("A", "app"), ("B", "app"), ("C", "app")))
LOCAL = Environment(name="local", env=(("B", "environment"), ("C", "environment")))


def etc(folder: Path, name: str, text: str, mode: int = 0o600) -> None:
    """Write a file of the environment."""
    (folder / "etc").mkdir(exist_ok=True)
    (folder / "etc" / name).write_text(text)
    (folder / "etc" / name).chmod(mode)


def test_the_nearer_wins(tmp_path: Path) -> None:
    """The env file wins over the environment's table."""
    etc(tmp_path, "local.env", "C=file\n", 0o644)
    plain, secrets = settings(tmp_path, LOCAL)
    assert plain == {"B": "environment", "C": "file"}
    assert secrets == {}


def test_secrets_are_apart(tmp_path: Path) -> None:
    """A secret is not among the settings, and is shown by nothing but reveal()."""
    etc(tmp_path, "local.secrets.env", "KEY='s3cret'\n")
    plain, secrets = settings(tmp_path, LOCAL)
    assert "KEY" not in plain
    assert secrets["KEY"].reveal() == "s3cret"
    assert "s3cret" not in f"{secrets} {secrets['KEY']} {secrets['KEY']!r:>20}"


@pytest.mark.parametrize("mode", [0o604, 0o640, 0o644, 0o660])
def test_open_secrets_are_refused(tmp_path: Path, mode: int) -> None:
    """A secrets file that others may read is refused with the command that closes it."""
    etc(tmp_path, "local.secrets.env", "KEY=1\n", mode)
    with pytest.raises(UsageError) as caught:
        settings(tmp_path, LOCAL)
    assert caught.value.hint == "chmod 600 etc/local.secrets.env"


def test_other_environments_stay_apart(tmp_path: Path) -> None:
    """Files of another environment are not read."""
    etc(tmp_path, "production.env", "C=production\n")
    assert settings(tmp_path, LOCAL)[0]["C"] == "environment"


def test_both_setting_and_secret(tmp_path: Path) -> None:
    """A variable that is both a setting and a secret is refused by name."""
    etc(tmp_path, "local.secrets.env", "B=1\n")
    with pytest.raises(UsageError, match=r"^B is both"):
        settings(tmp_path, LOCAL)


def test_values_are_taken_as_they_are() -> None:
    """Quotes, comments and line breaks are those of dotenv files, and nothing is expanded."""
    text = '\n# a comment\nexport A=1 # one\nB=\'$A ${A}\'\nC="two\\nlines"\nD=\nE="x\ny"\nF=$A\n'
    assert read_variables(text, "x") == {
        "A": "1", "B": "$A ${A}", "C": "two\nlines", "D": "", "E": "x\ny", "F": "$A",
    }  # fmt: skip


def test_lines_that_are_none() -> None:
    """Every line that is no variable is reported by its number, and never shown."""
    text = "A=1\n\nhunter2\nB='open\nC=3\n1D=4\nNONEVENT_PORT=5\nmy key=6\n"
    with pytest.raises(ConfigInvalid) as caught:
        read_variables(text, "etc/local.env")
    assert [problem.where for problem in caught.value.problems] == [
        "line 3", "line 4", "line 6", "line 7", "line 8",
    ]  # fmt: skip
    assert "hunter2" not in str(caught.value.context)


def test_missing_variables_are_all_named() -> None:
    """All missing variables are named at once, with the file to put them in."""
    app = replace(APP, required=("A", "SECRET_KEY", "DATABASE_URL"))
    with pytest.raises(VariableMissing) as caught:
        require(app, LOCAL, {"A"})
    assert "SECRET_KEY, DATABASE_URL" in caught.value.message
    assert "etc/local.secrets.env" in caught.value.hint
    require(app, LOCAL, {"A", "SECRET_KEY", "DATABASE_URL"})


def test_a_secret_is_equal_by_value() -> None:
    """Two secrets with the same value are equal, so that versions can be compared."""
    assert Secret("a") == Secret("a") != Secret("b")
