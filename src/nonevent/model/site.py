"""A site that keeps its services running itself: how it is made to run another release."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nonevent.dataclass import dataclass

if TYPE_CHECKING:
    from nonevent.model.parse import Table

MANAGER = "site"
"""What keeps services running where nothing of ours does."""
MANAGERS = ("embedded", "systemd", MANAGER)
"""What may keep services running on a host."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """What is reloaded after ``current`` was moved, and how it is seen that this went well."""

    commands: tuple[str, ...]
    """What makes its processes start anew, in order."""
    probe: str = ""
    """Address and port at which visitors, or the proxy in front, reach it."""
    timeout: float = 60.0
    """Seconds from the first command until every process must run the new release."""
    user: str = ""
    """Whom its processes run as; empty for whoever logs in."""

    def as_dict(self) -> dict[str, object]:
        """The site as JSON."""
        return {
            "commands": list(self.commands),
            "probe": self.probe,
            "timeout": self.timeout,
            "user": self.user,
        }


def read_site(table: Table, key: str = "site") -> Site | None:
    """The site below a key of a want or a journal; None where it is missing or null."""
    if table.take(key) is None:
        return None
    raw = table.table(key)
    site = Site(
        commands=raw.texts("commands"),
        probe=raw.text("probe", ""),
        timeout=raw.real("timeout", 60.0),
        user=raw.text("user", ""),
    )
    raw.done()
    return site
