"""A value that nothing prints."""

from __future__ import annotations

from dataclasses import dataclass

REDACTED = "[redacted]"


@dataclass(frozen=True, slots=True, repr=False)
class Secret:
    """A secret; its ``str`` and ``repr`` are the redaction, :meth:`reveal` is the value."""

    _value: str

    def reveal(self) -> str:
        """The value itself: for the moment at which it is handed over."""
        return self._value

    def __repr__(self) -> str:
        return REDACTED
