"""Deciding what a key that may deploy one app, and nothing else, needs on a host."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from nonevent.agent import door
from nonevent.model.setup import Agent, File, Keys

if TYPE_CHECKING:
    from nonevent.model.setup import State
    from nonevent.setup.place import Place

DOOR = f"{door.AGENTS}/door"


def keys(place: Place) -> tuple[State, ...]:
    """The door with the agent behind it, where there is a key for it; and who has one."""
    program = Path(door.__file__).read_text(encoding="utf-8")
    behind = (
        File(path=DOOR, text=program.replace("/usr/bin/python3", place.python, 1), mode=0o755),
        Agent(path=f"{door.AGENTS}/agent-{place.agent}"),
    )
    start = f'restrict,command="{DOOR} --app {place.app} '
    options = f'{start}--environment {place.environment} --root {place.root}"'
    who = Keys(user=place.deployer, start=start, options=options, keys=place.keys)
    return (*(behind if place.keys else ()), who)
