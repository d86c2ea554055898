"""What was found in a project, and why."""

from __future__ import annotations

from dataclasses import dataclass

Value = str | tuple[str, ...]

_ADDING = {("require",), ("build", "commands"), ("build", "exclude")}
"""Lists that several parts of a project may add to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A value for one key of the configuration, and where it comes from."""

    key: tuple[str, ...]
    """The key's path, as ``("services", "web", "command")``."""
    value: Value
    why: str
    written: bool = True
    """Whether it is written down; what the build reads from the project anyway is only shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """Something that the user should know or do."""

    text: str
    hint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """All findings, the preferred one first where a key was found twice, and all notes."""

    findings: tuple[Finding, ...]
    notes: tuple[Note, ...] = ()

    def value(self, *key: str) -> Value | None:
        """The value that was found for a key."""
        return next((each.value for each in self.findings if each.key == key), None)


def merged(parts: tuple[Finding | Note, ...]) -> Found:
    """The parts as one: of several values for one key the first counts.

    Those of :data:`_ADDING` add up, as when npm and Django both have build commands.
    """
    findings: dict[tuple[str, ...], Finding] = {}
    notes: dict[Note, None] = {}
    for part in parts:
        if isinstance(part, Note):
            notes[part] = None
        elif part.key not in findings:
            findings[part.key] = part
        elif part.key in _ADDING:
            findings[part.key] = _longer(findings[part.key], part)
    return Found(findings=tuple(findings.values()), notes=tuple(notes))


def _longer(first: Finding, second: Finding) -> Finding:
    new = tuple(item for item in second.value if item not in first.value)
    if not new:
        return first
    return Finding(
        key=first.key,
        value=(*first.value, *new),
        why=first.why if second.why in first.why else f"{first.why}; {second.why}",
        written=first.written or second.written,
    )
