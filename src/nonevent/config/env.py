"""Tables of environment variables."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from nonevent.model.parse import plain, shown
from nonevent.model.service import VARIABLE

if TYPE_CHECKING:
    from nonevent.config.app import Variables
    from nonevent.model.parse import Table

OURS = "NONEVENT_"
"""Nonevent itself sets the variables that start so."""
EXPECTED = f"a name of letters, digits and underscores that does not start with {OURS}"


def is_variable(name: str) -> bool:
    """Whether an environment variable that a project sets may have this name."""
    return bool(re.fullmatch(VARIABLE, name)) and not name.startswith(OURS)


def read_env(table: Table, key: str = "env") -> Variables:
    """The variables in a table, sorted by name."""
    env = table.table(key)
    for name, value in env.raw.items():
        if not is_variable(name):
            env.problem(name, expected=EXPECTED, found=f"the name `{plain(name)}`")
        if not isinstance(value, str):
            env.has(name)
            hint = f'write "{shown(value)}"' if isinstance(value, int | float) else ""
            env.problem(name, expected="a text", found=shown(value), hint=hint)
    return tuple((name, value) for name, value in sorted(env.raw.items()) if isinstance(value, str))
