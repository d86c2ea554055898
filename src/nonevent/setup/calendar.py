"""Schedules as systemd says them, see systemd.time(7)."""

from __future__ import annotations

import re

from nonevent.errors import UsageError
from nonevent.model.parse import duration

_DAYS = ("Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")


def trigger(schedule: str) -> str:
    """The lines of a timer for five cron fields, or for ``every 10m``."""
    if schedule.startswith("every "):
        seconds = duration(schedule.removeprefix("every ")) or 60.0
        return f"OnActiveSec={seconds:g}s\nOnUnitActiveSec={seconds:g}s"
    return "\n".join(f"OnCalendar={each}" for each in calendars(schedule))


def calendars(schedule: str) -> tuple[str, ...]:
    """Five cron fields as calendar events.

    Where both the day of the month and the day of the week are given, cron means either, see
    crontab(5), and systemd would mean both: hence two events.

    Raises:
        UsageError: systemd has no words for it.
    """
    if not re.fullmatch(rf"(?:[0-9*,/ -]|{'|'.join((*_MONTHS, *map(str.lower, _DAYS)))})+",
                        schedule.lower()):  # fmt: skip
        raise UsageError(f"a timer of systemd cannot say the schedule {schedule!r}")
    minute, hour, day, month, weekday = schedule.lower().split()
    time = f"{_numbers(hour, 0)}:{_numbers(minute, 0)}:00"
    months = _numbers(month, 1, _MONTHS)
    dated = f"*-{months}-{_numbers(day, 1)} {time}"
    weekly = f"{_weekdays(weekday)} *-{months}-* {time}"
    if weekday == "*":
        return (dated,)
    return (weekly,) if day == "*" else (dated, weekly)


def _numbers(field: str, least: int, names: tuple[str, ...] = ()) -> str:
    """Numbers of a field: ``1-5`` becomes ``1..5``, and a step begins at the least."""
    for number, name in enumerate(names, 1):
        field = field.replace(name, str(number))
    field = re.sub(r"\*/", f"{least}/", field)
    return field.replace("-", "..")


def _weekdays(field: str) -> str:
    """The days of a week field, one by one: systemd knows no steps for them, and no Sunday as 7."""
    found = []
    for part in field.split(","):
        span, _, step = part.partition("/")
        first, _, last = ("0", "-", "6") if span == "*" else span.partition("-")
        start = _day(first)
        end = _day(last) if last else (6 if step else start)
        found += [_DAYS[day] for day in range(start, end + 1, int(step or 1))]
    return ",".join(dict.fromkeys(found))


def _day(word: str) -> int:
    if word.isdigit():
        return int(word)
    return [day.lower() for day in _DAYS].index(word[:3])
