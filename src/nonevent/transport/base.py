"""Reaching the agent on a host."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, Self

from nonevent.errors import Interrupted, ProtocolBroken, from_dict
from nonevent.model.protocol import VERSION

if TYPE_CHECKING:
    from collections.abc import Callable

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
    """Ends the conversation; returns what the agent said on standard error."""

    def __enter__(self) -> Self:
        """The connection itself, closed at the end of the block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connection; an agent in the middle of something goes back or finishes."""
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
        interrupted = False
        while True:
            try:
                frame = self.channel.receive()
                if frame is None:
                    raise self._gone()
                result = _result(frame)
                if result is None:
                    on_event(frame.header)
                else:
                    return result
            except KeyboardInterrupt:
                if interrupted:
                    raise Interrupted("interrupted twice; the host goes back by itself") from None
                interrupted = True
                on_event({"event": "note", "text": "interrupted; waiting until the host is back"})
                self.channel.send({"request": "cancel"})

    def _gone(self) -> ProtocolBroken:
        said = self.close().strip().splitlines()
        return ProtocolBroken(
            "the agent ended in the middle of its work",
            context=tuple(f"| {line}" for line in said[-15:]),
            hint="the host tidies up by itself; see `nonevent status`",
        )


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
