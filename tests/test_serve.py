"""The agent's side of a conversation: what it takes from a client, and what it does not."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from nonevent.errors import UsageError
from nonevent.transport.child import converse

WANT = Path(__file__).parent / "cases" / "formats" / "want-1.json"
SITE = {"commands": ["touch here"], "probe": "", "timeout": 1, "user": ""}


@pytest.mark.parametrize(
    ("manager", "change"),
    [
        ("systemd", {"manager": "site", "site": SITE}),
        ("systemd", {"manager": "systemd", "site": SITE}),
        ("systemd", {"manager": "embedded"}),
        ("embedded", {"manager": "systemd"}),
        ("site", {"manager": "site"}),
    ],
)
def test_a_want_is_for_the_manager_the_agent_was_started_with(
    tmp_path: Path, manager: str, change: dict[str, object]
) -> None:
    """No client has an agent for systemd run commands of its own, or keep services otherwise."""
    raw = json.loads(WANT.read_bytes()) | change
    words = ("-m", "nonevent.embedded", "serve", "--root", str(tmp_path), "--manager", manager)
    with (
        converse((sys.executable, *words, "--app", "shop"), "eve") as connection,
        pytest.raises(UsageError, match="started for the process manager"),
    ):
        connection.request({"request": "plan", "want": raw})
