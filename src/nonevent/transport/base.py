"""Reaching the agent on a host."""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, Self

from nonevent.errors import Interrupted, ProtocolBroken, from_dict
from nonevent.model.protocol import VERSION

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

    from nonevent.model.protocol import Channel, Frame


class Transport(Protocol):
    """A way to start the agent of an app on a host."""

    def connect(self, by: str) -> Connection:
        """Start the agent, bringing it along where it is missing, and greet it.

        Raises:
            TransportFailed: the host cannot be reached, or the agent does not start.
        """

    def attach(self, arguments: tuple[str, ...]) -> int:
        """Run one command of the agent with this terminal; returns its exit status."""


def ignore(event: dict[str, object]) -> None:
    """What is done with events that nobody wants to see."""


@dataclass(slots=True)
class Connection:
    """A conversation with the agent on one host."""

    channel: Channel
    close: Callable[[], str]
    """Ends the conversation, waits for the agent; returns what it said on standard error."""
    abandon: Callable[[], None]
    """Ends the conversation and waits for nothing; the agent goes back or finishes alone."""
    near: bool = False
    """Whether no network lies between: compressing would only cost time."""
    abandoned: bool = False
    cancelled: bool = False
    """Whether the agent was told to stop."""

    def __enter__(self) -> Self:
        """The connection itself, closed at the end of the block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connection; an agent in the middle of something goes back or finishes."""
        if self.abandoned:
            self.abandon()
        else:
            self.close()

    def greet(self, by: str) -> None:
        """See that the other side speaks the same protocol.

        Raises:
            TransportFailed: it does not.
        """
        self.request({"request": "hello", "version": VERSION, "by": by})

    def request(
        self,
        header: dict[str, object],
        body: bytes = b"",
        *,
        on_event: Callable[[dict[str, object]], None] = ignore,
    ) -> dict[str, object]:
        """Ask, pass events on as they come, and return the result.

        An interrupt (Ctrl-C) is passed to the agent, which answers with what it did about it;
        a second one stops waiting for that.

        Raises:
            NoneventError: what the agent answered.
            ProtocolBroken: the agent went away.
        """
        self.channel.send(header, body)
        return self.answer(on_event=on_event)

    def answer(
        self, *, on_event: Callable[[dict[str, object]], None] = ignore
    ) -> dict[str, object]:
        """Wait for the answer to what was asked."""

        def tell() -> None:
            on_event({"event": "interrupted"})
            self.cancel()

        def leave() -> None:
            self.abandoned = True

        with interrupts(tell, leave):
            while True:
                frame = self.channel.receive()
                if frame is None:
                    raise self._gone()
                result = _result(frame)
                if result is not None:
                    return result
                on_event(frame.header)

    def cancel(self) -> None:
        """Tell the agent to stop what it does, and to go back unless its release counts."""
        self.cancelled = True
        with suppress(ProtocolBroken):
            self.channel.send({"request": "cancel"})

    def go_on_as(self, other: Connection) -> None:
        """Take another connection's place, where this one broke."""
        self.close()
        self.channel, self.close, self.abandon = other.channel, other.close, other.abandon

    def _gone(self) -> ProtocolBroken:
        said = self.close().strip().splitlines()
        return ProtocolBroken(
            "the agent ended in the middle of its work",
            context=(
                *(f"| {line}" for line in said[-15:]),
                "the host goes back, or finishes, by itself within seconds",
            ),
        )


@contextmanager
def interrupts(tell: Callable[[], None], leave: Callable[[], None]) -> Iterator[None]:
    """Within the block an interrupt (Ctrl-C) does not tear a message apart: it calls ``tell``.

    Whoever was told answers with what it did about it. The second one calls ``leave``, and ends
    the waiting for that. In a thread that is not the main one nothing is different.
    """
    count = 0

    def interrupted(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        nonlocal count
        count += 1
        if count > 1:
            leave()
            raise Interrupted("interrupted twice; the host goes back, or finishes, by itself")
        # Whatever this interrupts may hold a lock that telling needs.
        threading.Thread(target=tell, daemon=True).start()

    before = _interrupt_handlers()
    for each in before:
        signal.signal(each, interrupted)
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def _interrupt_handlers() -> dict[int, Any]:
    """The signals that count as an interrupt here, and what they lead to; none in a thread."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    found = {
        each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    }
    return {each: found[each] for each in found if found[each] is signal.default_int_handler}


def _result(frame: Frame) -> dict[str, object] | None:
    """The result in a frame, or None where it is an event.

    Raises:
        NoneventError: the frame holds an error.
    """
    error = frame.header.get("error")
    if isinstance(error, dict):
        raise from_dict(error)
    result = frame.header.get("result")
    if "result" in frame.header:
        return result if isinstance(result, dict) else {}
    return None
