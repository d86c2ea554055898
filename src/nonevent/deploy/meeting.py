"""Where the hosts of an environment wait for each other."""

from __future__ import annotations

import threading

from nonevent.model.plan import Gate

_RANK = {gate: number for number, gate in enumerate(Gate, 1)}
_DONE = len(_RANK) + 1


class Meeting:
    """Who has got how far; each host has a thread of its own.

    All wait for all, with one exception: the first host switches alone, and the others follow when
    it is still healthy behind its switch.
    """

    def __init__(self, hosts: tuple[str, ...], first: str) -> None:
        self._reached = dict.fromkeys(hosts, 0)
        self._first = first
        self._over = False
        self._changed = threading.Condition()

    def arrive(self, host: str, gate: Gate) -> bool:
        """Wait until the host may go on; False where it is all over, because another failed."""
        with self._changed:
            self._note(host, _RANK[gate])
            self._changed.wait_for(lambda: self._over or self._may_pass(host, gate))
            return not self._over

    def leave(self, host: str) -> None:
        """The host is done, and nobody waits for it any more."""
        with self._changed:
            self._note(host, _DONE)

    def end(self) -> None:
        """Nobody is to go on."""
        with self._changed:
            self._over = True
            self._changed.notify_all()

    def _note(self, host: str, rank: int) -> None:
        self._reached[host] = rank
        self._changed.notify_all()

    def _may_pass(self, host: str, gate: Gate) -> bool:
        if min(self._reached.values()) < _RANK[gate]:
            return False
        ahead = self._reached[self._first] >= _RANK[Gate.CONFIRM]
        return gate is not Gate.SWITCH or host == self._first or ahead
