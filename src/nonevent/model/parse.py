"""Typed views of raw mappings: every mistake is collected with its key path.

A parser reads what it needs from a :class:`Table`; a getter that finds something wrong notes
a :class:`~nonevent.errors.Problem` and returns a stand-in, so that one pass finds all mistakes.
:func:`parse` raises at the end, so a stand-in never leaves this module's users.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, TypeVar

from nonevent.errors import FormatInvalid, Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

T = TypeVar("T")

_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_NAMES = {str: "a text", int: "a whole number", float: "a number", bool: "true or false",
          list: "a list", dict: "a table", type(None): "nothing"}  # fmt: skip


def shown(value: object) -> str:
    """A value as an error shows it: short, and never more than one line."""
    if isinstance(value, dict | list):
        return _NAMES[type(value)]
    text = json.dumps(value, ensure_ascii=False, default=str)
    if not text.isprintable():
        text = json.dumps(value, default=str)
    return text if len(text) <= 60 else text[:57] + '…"'


def plain(key: str) -> str:
    """A key or name as an error shows it: as it is, unless a terminal would act on it."""
    return key if key.isprintable() else shown(key)


def duration(text: str) -> float | None:
    """Seconds in ``"500ms"``, ``"30s"``, ``"10m"``, ``"2h"`` or ``"1d"``; None if it is none."""
    match = _DURATION.fullmatch(text.strip())
    return float(match[1]) * _UNITS[match[2]] if match else None


class Table:
    """One mapping of a file, with its key path and the list that collects problems."""

    def __init__(self, raw: Mapping[str, object], path: str, problems: list[Problem]) -> None:
        self.raw = raw
        self.path = path
        self.problems = problems
        self._seen: set[str] = set()

    def at(self, key: str | int) -> str:
        """The key path of an entry, as ``services.web.command`` or ``files[3]``."""
        if isinstance(key, int):
            return f"{self.path}[{key}]"
        return f"{self.path}.{plain(key)}" if self.path else plain(key)

    def problem(self, key: str, *, expected: str, found: str | None = None, hint: str = "") -> None:
        """Note a mistake at a key of this table."""
        found = found if found is not None else self._found(key)
        self.problems.append(Problem(where=self.at(key), found=found, expected=expected, hint=hint))

    def _found(self, key: str) -> str:
        return shown(self.raw[key]) if key in self.raw else "nothing"

    def has(self, key: str) -> bool:
        """Whether the key is there; counts as having been read."""
        self._seen.add(key)
        return key in self.raw

    def take(self, key: str) -> object:
        """The raw value, or None; for the rare value of several types."""
        self._seen.add(key)
        return self.raw.get(key)

    def _get(self, key: str, kinds: tuple[type, ...], default: T | None, stand_in: T) -> T:
        value = self.take(key)
        if value is None and key not in self.raw:
            if default is None:
                self.problem(key, expected=" or ".join(_NAMES[kind] for kind in kinds))
                return stand_in
            return default
        # bool is an int for Python, never for a reader of a file.
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            self.problem(key, expected=" or ".join(_NAMES[kind] for kind in kinds))
            return stand_in
        return value  # type: ignore[return-value]

    def text(self, key: str, default: str | None = None, *, pattern: str = "",
             expected: str = "") -> str:  # fmt: skip
        """A text that matches ``pattern`` in full; ``expected`` says the pattern in words."""
        value = self._get(key, (str,), default, "")
        given = isinstance(self.raw.get(key), str)
        if pattern and given and not re.fullmatch(pattern, value):
            self.problem(key, expected=expected or f"a text like {pattern}")
        return value

    def maybe_text(self, key: str) -> str | None:
        """A text, or None where the key is missing or null."""
        return None if self.take(key) is None else self.text(key)

    def number(self, key: str, default: int | None = None, *, least: int = 0,
               most: int = 2**63) -> int:  # fmt: skip
        """A whole number within bounds."""
        value = self._get(key, (int,), default, least)
        if not least <= value <= most:
            bound = f"at least {least}" if most == 2**63 else f"{least} to {most}"
            self.problem(key, expected=f"a whole number, {bound}")
            return least
        return value

    def maybe_number(self, key: str) -> int | None:
        """A whole number, or None where the key is missing or null."""
        return None if self.take(key) is None else self.number(key)

    def real(self, key: str, default: float | None = None) -> float:
        """A number that need not be whole, e.g. seconds."""
        return float(self._get(key, (int, float), default, 0.0))

    def flag(self, key: str, default: bool | None = None) -> bool:
        """True or false."""
        return self._get(key, (bool,), default, False)

    def seconds(self, key: str, default: float | None = None) -> float:
        """A duration written as ``"30s"``; in seconds."""
        expected = 'a duration such as "500ms", "30s", "10m" or "2h"'
        value = self.take(key)
        if value is None and default is not None:
            return default
        found = duration(value) if isinstance(value, str) else None
        if found is None:
            self.problem(key, expected=expected)
            return 0.0
        return found

    def choice(self, key: str, choices: tuple[str, ...], default: str | None = None) -> str:
        """One of a few words, with "did you mean" for a near miss."""
        value = self._get(key, (str,), default, choices[0])
        if value not in choices:
            self.problem(
                key, expected="one of " + ", ".join(choices), hint=did_you_mean(value, choices)
            )
            return choices[0]
        return value

    def texts(self, key: str, default: tuple[str, ...] | None = ()) -> tuple[str, ...]:
        """A list of texts."""
        values = self._get(key, (list,), None if default is None else list(default), [])
        for number, value in enumerate(values):
            if not isinstance(value, str):
                where = f"{self.at(key)}[{number}]"
                self.problems.append(Problem(where=where, found=shown(value), expected="a text"))
        return tuple(value for value in values if isinstance(value, str))

    def maybe_texts(self, key: str) -> tuple[str, ...] | None:
        """A list of texts, or None where the key is missing or null."""
        return None if self.take(key) is None else self.texts(key)

    def numbers(self, key: str, *, below: int) -> tuple[int, ...]:
        """A list of whole numbers from 0, below a bound."""
        values: list[object] = self._get(key, (list,), None, [])
        found = tuple(value for value in values if type(value) is int and 0 <= value < below)
        if len(found) < len(values):
            self.problem(key, expected=f"whole numbers, 0 to {below - 1}")
        return found

    def table(self, key: str, *, required: bool = False) -> Table:
        """A table below this one; an empty one where it may be missing."""
        raw: dict[str, object] = self._get(key, (dict,), None if required else {}, {})
        return Table(raw, self.at(key), self.problems)

    def tables(self, key: str, *, required: bool = False) -> Iterator[Table]:
        """The tables of a list."""
        values: list[object] = self._get(key, (list,), None if required else [], [])
        for number, value in enumerate(values):
            where = f"{self.at(key)}[{number}]"
            if isinstance(value, dict):
                yield Table(value, where, self.problems)
            else:
                self.problems.append(Problem(where=where, found=shown(value), expected="a table"))

    def pairs(self, key: str) -> tuple[tuple[str, str], ...]:
        """A table of texts as sorted pairs, e.g. environment variables."""
        table = self.table(key)
        return tuple((name, table.text(name)) for name in sorted(table.raw))

    def done(self) -> None:
        """Note every key that no getter asked for, with "did you mean"."""
        for key in self.raw:
            if key not in self._seen:
                self.problem(
                    key, expected="a known key", found=f"the unknown key `{plain(key)}`",
                    hint=did_you_mean(key, tuple(self._seen)),
                )  # fmt: skip


def did_you_mean(word: str, known: tuple[str, ...]) -> str:
    """A suggestion for a near miss, or nothing."""
    # Only for mistakes: every start of the agent would pay for it.
    from difflib import get_close_matches

    near = get_close_matches(word, sorted(known), n=1, cutoff=0.6)
    return f"did you mean `{near[0]}`?" if near else ""


def parse(what: str, raw: object, build: Callable[[Table], T]) -> T:
    """What ``build`` makes of a raw mapping.

    Raises:
        FormatInvalid: naming ``what``, with every problem that was found.
    """
    problems: list[Problem] = []
    if not isinstance(raw, dict):
        raise FormatInvalid(what, (Problem(where="", found=shown(raw), expected="a table"),))
    value = build(Table(raw, "", problems))
    if problems:
        raise FormatInvalid(what, tuple(problems))
    return value


def parse_json(what: str, text: str | bytes, build: Callable[[Table], T]) -> T:
    """What ``build`` makes of JSON text.

    Raises:
        FormatInvalid: also where the text is not JSON.
    """
    try:
        raw = json.loads(text)
    except (ValueError, RecursionError) as error:
        problem = Problem(where="", found=str(error), expected="JSON")
        raise FormatInvalid(what, (problem,)) from error
    return parse(what, raw, build)


def canonical(raw: object) -> bytes:
    """JSON with one spelling: sorted keys, no spaces, UTF-8. Digests are taken over this."""
    return json.dumps(raw, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
