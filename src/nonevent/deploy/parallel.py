"""Doing the same on several hosts, side by side."""

from __future__ import annotations

import threading
from contextlib import nullcontext
from typing import TYPE_CHECKING, Generic, TypeVar

from nonevent.errors import NoneventError
from nonevent.transport.base import interrupts

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

MOST = 64
"""Hosts that are talked to at a time."""
TICK = 0.2
T = TypeVar("T")


class Results(Generic[T]):
    """What became of the work on each host."""

    def __init__(self) -> None:
        self.done: dict[str, T] = {}
        self.failed: dict[str, NoneventError] = {}
        """In the order in which they failed."""
        self.broken: BaseException | None = None
        """A fault of this program in one of the threads."""


def side_by_side(
    works: Mapping[str, Callable[[], T]],
    *,
    tell: Callable[[], None] | None = None,
    leave: Callable[[], None] = lambda: None,
    most: int = MOST,
) -> Results[T]:
    """Do the work of every host in a thread of its own, and wait for all.

    An interrupt (Ctrl-C) calls ``tell``, and all go on until they have settled; a second one calls
    ``leave``, and raises. Where there is nobody to tell, the first one raises.

    Raises:
        Interrupted: twice.
    """
    results: Results[T] = Results()
    room = threading.Semaphore(most)
    threads = [
        threading.Thread(target=_work, args=(results, room, host, work), daemon=True)
        for host, work in works.items()
    ]
    with interrupts(tell, leave) if tell else nullcontext():
        for thread in threads:
            thread.start()
        for thread in threads:
            while thread.is_alive():
                # A wait without an end would keep the interrupt from being seen.
                thread.join(TICK)
    if results.broken:
        raise results.broken
    return results


def _work(results: Results[T], room: threading.Semaphore, host: str, work: Callable[[], T]) -> None:
    with room:
        try:
            results.done[host] = work()
        except NoneventError as error:
            results.failed[host] = error
        except BaseException as error:  # noqa: BLE001  (it is raised in the main thread)
            results.broken = error
