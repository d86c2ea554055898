"""Errors: each is in the reference with its exit code, and crosses the protocol as itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from nonevent import errors
from nonevent.errors import NoneventError, Problem, from_dict

REFERENCE = Path(__file__).parents[1] / "docs" / "reference"


def kinds(root: type[NoneventError] = NoneventError) -> list[type[NoneventError]]:
    """All errors of ours."""
    return [root, *(each for child in root.__subclasses__() for each in kinds(child))]


@pytest.mark.parametrize("kind", kinds(), ids=lambda kind: kind.code)
def test_every_error_is_in_the_reference(kind: type[NoneventError]) -> None:
    """The page of the errors has each code in a table, under or beside its exit code."""
    page = (REFERENCE / "errors.md").read_text(encoding="utf-8")
    before, row, after = page.partition(f"\n| `{kind.code}` |")
    assert row, kind.code
    line = after.splitlines()[0]
    heading = before.rpartition("\n## ")[2]
    assert line.startswith(f" {kind.exit_status} |") or f"Exit code {kind.exit_status}." in heading


def test_the_reference_names_no_other_code() -> None:
    """Each code in the tables of the page is one that the program has."""
    page = (REFERENCE / "errors.md").read_text(encoding="utf-8")
    rows = {line.split("`")[1] for line in page.splitlines() if line.startswith("| `")}
    assert rows == {kind.code for kind in kinds()}


def test_every_exit_code_is_in_the_reference() -> None:
    """The page of the exit codes has a row for each number, and for no other."""
    page = (REFERENCE / "exit-codes.md").read_text(encoding="utf-8")
    rows = {line.split("|")[1].strip() for line in page.splitlines() if line.startswith("| ")}
    assert rows - {"Code"} == {"0", *(str(kind.exit_status) for kind in kinds())}


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    """Every class stands in the drawing with its code and its exit code."""
    for kind in kinds()[1:]:
        (line,) = [
            line for line in (errors.__doc__ or "").splitlines() if f" {kind.__name__} " in line
        ]
        words = line.split(f" {kind.__name__} ")[1].split()
        assert words[:2] == [kind.code, str(kind.exit_status)]


@pytest.mark.parametrize("kind", kinds(), ids=lambda kind: kind.code)
def test_an_error_crosses_the_protocol(kind: type[NoneventError]) -> None:
    """What an agent raised is raised at the client as the same class, with the same words."""
    raised = NoneventError.__new__(kind)
    NoneventError.__init__(raised, "it broke", context=("| a", "b"), hint="look")
    again = from_dict(raised.as_dict())
    assert type(again) is kind
    assert again.as_dict() == raised.as_dict()


def test_an_unknown_code_becomes_the_root() -> None:
    """An error of a newer agent keeps its words, and ends with exit code 1."""
    again = from_dict({"code": "brand-new", "message": "it broke"})
    assert (type(again), again.message, again.exit_status) == (NoneventError, "it broke", 1)


def test_a_problem_is_one_line() -> None:
    """A mistake in a file says where it is, what was expected and what stands there."""
    problem = Problem(where="services.web", found="3", expected="a text", hint="quote it")
    assert str(problem) == "services.web: expected a text, found 3 (quote it)"
