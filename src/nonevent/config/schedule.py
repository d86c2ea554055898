"""What a timer's schedule may look like."""

from __future__ import annotations

from datetime import UTC, datetime

from nonevent.model.parse import duration

NAMED = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
}
EXPECTED = 'five cron fields such as "0 3 * * *", @hourly, @daily, @weekly, @monthly, "every 10m"'
_ANY_DAY = datetime(2000, 1, 1, tzinfo=UTC)


def schedule_fault(text: str) -> str | None:
    """What is wrong with a schedule, in a few words; None where nothing is."""
    if text in NAMED:
        return None
    if text.startswith("every "):
        seconds = duration(text.removeprefix("every "))
        if seconds is None:
            return 'no duration follows "every"'
        return None if seconds >= 1 else "it is shorter than a second"
    if len(text.split()) != 5:
        return "it has not five fields"
    from cronsim import CronSim, CronSimError

    try:
        CronSim(text, _ANY_DAY)
    except CronSimError as error:
        return str(error).lower()
    return None
