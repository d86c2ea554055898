"""No proxy of ours: somebody else leads visitors to the socket link."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nonevent.model.setup import After, State
    from nonevent.setup.place import Place

AFTERS: tuple[After, ...] = ()


def states(place: Place) -> tuple[State, ...]:  # noqa: ARG001
    """Nothing is to be true."""
    return ()
