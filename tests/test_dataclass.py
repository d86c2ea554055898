"""Dataclasses for hosts do what those of the standard library do, and cost a start less."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from nonevent import dataclass as own
from nonevent.transport import zipapp

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

BOTH = (own, dataclasses)


def made(module: Any) -> SimpleNamespace:
    """The same three classes, by either module."""

    @module.dataclass(frozen=True, slots=True)
    class Point:
        """A place."""

        x: int
        y: int = 0

        @property
        def sum(self) -> int:
            return self.x + self.y

    @module.dataclass(frozen=True, slots=True, kw_only=True)
    class Box:
        corner: Point = Point(1, 2)
        name: str
        tags: tuple[str, ...] = ()

    @module.dataclass(slots=True)
    class Basket:
        points: list[Point] = module.field(default_factory=list)
        name: str | None = None

        def __str__(self) -> str:
            return f"{len(self.points)} points"

    return SimpleNamespace(Point=Point, Box=Box, Basket=Basket)


def told(act: Any) -> object:
    """What comes of an act: a value's text, or the error's kind and text."""
    try:
        return str(act())
    except Exception as error:  # noqa: BLE001
        return type(error), str(error).replace("made.<locals>.", "")


ACTS: dict[str, Callable[[Any], object]] = {
    "positional": lambda of: of.Point(1, 2),
    "default": lambda of: of.Point(1),
    "missing": lambda of: of.Point(),
    "too many": lambda of: of.Point(1, 2, 3),
    "unknown": lambda of: of.Point(1, z=2),
    "twice": lambda of: of.Point(1, x=2),
    "kw_only": lambda of: of.Box(of.Point(1), "a"),
    "kw_only missing": lambda of: of.Box(),
    "nested": lambda of: of.Box(name="a", tags=("b", "c")),
    "own str": lambda of: of.Basket(),
    "repr": lambda of: repr(of.Basket([of.Point(1)])),
    "factory is called anew": lambda of: of.Basket().points is of.Basket().points,
    "factory is overridden": lambda of: repr(of.Basket(None)),
    "property": lambda of: of.Point(1, 2).sum,
    "doc": lambda of: of.Point.__doc__,
    "name": lambda of: (of.Point.__name__, of.Point.__qualname__, of.Point.__module__),
    "match": lambda of: (
        (of.Point.__match_args__, of.Box.__match_args__, of.Basket.__match_args__),
    ),
    "equal": lambda of: of.Point(1) == of.Point(1, 0),
    "not equal": lambda of: of.Point(1) == of.Point(2),
    "equal to another class": lambda of: of.Point(1) == (1, 0),
    "hash": lambda of: hash(of.Point(1)) == hash(of.Point(1, 0)),
    "in a set": lambda of: len({of.Point(1), of.Point(1, 0), of.Point(2)}),
    "hash of what changes": lambda of: hash(of.Basket()),
    "assign to frozen": lambda of: setattr(of.Point(1), "x", 2),
    "delete of frozen": lambda of: delattr(of.Point(1), "x"),
    "assign": lambda of: setattr(of.Basket(), "points", [1]),
    "assign to what is not there": lambda of: setattr(of.Basket(), "pints", 1),
    "replace": lambda of: dataclasses.replace(of.Box(name="a"), name="b"),
    "own replace": lambda of: own.replace(of.Box(name="a"), name="b"),
    "own replace of what is not there": lambda of: own.replace(of.Point(1), z=1),
    "asdict": lambda of: dataclasses.asdict(of.Box(name="a")),
    "fields": lambda of: [
        (each.name, each.type, each.default) for each in dataclasses.fields(of.Box)
    ],
    "own fields": lambda of: [(each.name, each.type) for each in own.fields(of.Box(name="a"))],
    "is one": lambda of: dataclasses.is_dataclass(of.Basket),
}


@pytest.mark.parametrize("name", ACTS)
def test_what_the_standard_library_does(name: str) -> None:
    """Whatever is done with a class gives the same value, text or error as with the original."""
    act = ACTS[name]
    ours, theirs = (told(lambda module=module: act(made(module))) for module in BOTH)
    assert ours == theirs


def test_a_default_that_can_change_is_refused() -> None:
    """All instances would share it."""
    with pytest.raises(ValueError, match=r"Basket\.points can change"):

        @own.dataclass(slots=True)
        class Basket:
            points: list[int] = []  # noqa: RUF012


def test_a_start_of_the_agent_imports_no_dataclasses(tmp_path: Path) -> None:
    """What the agent imports before the first request holds neither the original nor inspect."""
    agent = tmp_path / "agent.pyz"
    agent.write_bytes(zipapp.encoded())
    argv = (sys.executable, "-I", "-S", "-X", "importtime", str(agent), "serve", "--root")
    started = subprocess.run(
        (*argv, str(tmp_path / "app")), stdin=subprocess.DEVNULL, capture_output=True, check=True
    )
    imported = {line.rpartition("|")[2].strip() for line in started.stderr.decode().splitlines()}
    assert "nonevent.agent.serve" in imported
    assert not imported & {"dataclasses", "inspect"}
