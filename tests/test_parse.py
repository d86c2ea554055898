"""Typed views of raw mappings: every mistake is found, in one pass, with its key path."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nonevent.errors import FormatInvalid, Problem
from nonevent.model.parse import Table, canonical, did_you_mean, duration, parse, parse_json, shown

if TYPE_CHECKING:
    from collections.abc import Callable

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


def problems(raw: dict[str, object], build: Callable[[Table], object]) -> list[str]:
    """What a parser finds wrong, a line each."""
    found: list[Problem] = []
    build(Table(raw, "", found))
    return [str(problem) for problem in found]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("500ms", 0.5), ("30s", 30), ("1.5m", 90), ("2h", 7200), ("1d", 86400), (" 3 s ", 3),
     ("", None), ("30", None), ("s", None), ("-1s", None), ("1s2", None), ("1 week", None),
     ("1e3s", None), ("30s\n40s", None)],
)  # fmt: skip
def test_duration(text: str, seconds: float | None) -> None:
    """A duration is a number with a unit, and nothing else is one."""
    assert duration(text) == seconds


def test_all_mistakes_in_one_pass() -> None:
    """Each getter notes its own mistake, with the whole key path, and goes on."""

    def build(table: Table) -> None:
        inner = table.table("inner")
        inner.text("text")
        inner.number("number", least=1, most=9)
        inner.flag("flag")
        inner.seconds("seconds")
        inner.choice("choice", ("left", "right"))
        inner.texts("texts")
        for each in inner.tables("tables"):
            each.text("missing")
            each.done()
        inner.done()
        table.done()

    raw: dict[str, object] = {
        "inner": {
            "text": 1, "number": 10, "flag": "yes", "seconds": "soon", "choice": "rihgt",
            "texts": ["a", 2], "tables": [{"mising": ""}, 3], "nubmer": 1,
        },
        "iner": {},
    }  # fmt: skip
    unknown = "expected a known key, found the unknown key"
    assert problems(raw, build) == [
        "inner.text: expected a text, found 1",
        "inner.number: expected a whole number, 1 to 9, found 10",
        'inner.flag: expected true or false, found "yes"',
        'inner.seconds: expected a duration such as "500ms", "30s", "10m" or "2h", found "soon"',
        'inner.choice: expected one of left, right, found "rihgt" (did you mean `right`?)',
        "inner.texts[1]: expected a text, found 2",
        "inner.tables[0].missing: expected a text, found nothing",
        f"inner.tables[0].mising: {unknown} `mising` (did you mean `missing`?)",
        "inner.tables[1]: expected a table, found 3",
        f"inner.nubmer: {unknown} `nubmer` (did you mean `number`?)",
        f"iner: {unknown} `iner` (did you mean `inner`?)",
    ]


def test_true_is_no_number() -> None:
    """For a reader of a file `true` is no number, though for Python it is."""
    assert problems({"n": True}, lambda table: table.number("n")) == [
        "n: expected a whole number, found true"
    ]
    assert problems({"n": True}, lambda table: table.real("n")) == [
        "n: expected a whole number or a number, found true"
    ]


def test_defaults_stand_for_what_is_missing() -> None:
    """A missing key with a default is no mistake and gives the default."""
    found: list[Problem] = []
    table = Table({}, "", found)
    assert table.text("a", "x") == "x"
    assert table.number("b", 3) == 3
    assert table.flag("c", default=True) is True
    assert table.seconds("d", 1.5) == 1.5
    assert table.texts("e") == ()
    assert table.pairs("f") == ()
    assert table.maybe_text("g") is None
    assert table.maybe_number("h") is None
    assert found == []


def test_did_you_mean() -> None:
    """A near miss is suggested, and a word that is far from all is not."""
    assert did_you_mean("enviroment", ("env", "environment")) == "did you mean `environment`?"
    assert did_you_mean("zzz", ("env", "environment")) == ""


@given(JSON)
def test_shown_is_one_short_line(value: object) -> None:
    """Whatever stands in a file is shown on one line of at most 60 characters."""
    assert len(shown(value)) <= 60
    assert len(shown(value).splitlines()) == 1


@given(JSON)
def test_canonical_is_one_spelling(value: object) -> None:
    """Canonical JSON means the value, and does not change when it is read and written again."""
    text = canonical(value)
    assert canonical(json.loads(text)) == text


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "null", "[" * 100_000, b"\xff"])
def test_not_a_table(text: str | bytes) -> None:
    """Text that is no JSON, or no table, is refused by name."""
    with pytest.raises(FormatInvalid, match="the want cannot be read"):
        parse_json("the want", text, lambda table: table.done())


def test_no_stand_in_gets_out() -> None:
    """What a parser built from stand-ins is never returned."""
    with pytest.raises(FormatInvalid) as caught:
        parse("the want", {}, lambda table: table.text("app"))
    assert [problem.where for problem in caught.value.problems] == ["app"]
