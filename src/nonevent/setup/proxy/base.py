"""What a program that stands in front needs to do for the set-up of a host."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from nonevent.model.setup import After, State
    from nonevent.setup.place import Place


class Proxy(Protocol):
    """One program, as a module of functions.

    Whatever it writes, no connection to a release is kept open after the answer: the socket link
    is followed at each connect, and a kept connection would go on to the release before.
    """

    AFTERS: tuple[After, ...]
    """What a change of its files makes necessary, named as their folder below ``/etc``."""

    def states(self, place: Place) -> tuple[State, ...]:
        """What is to be true so that visitors reach the app through it."""
