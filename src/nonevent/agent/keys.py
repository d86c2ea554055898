"""Keys that open one app alone: their lines in a user's ``authorized_keys``, see sshd(8).

The file belongs to that user, so root becomes that user for as long as it touches it: no link of
theirs leads root elsewhere.
"""

from __future__ import annotations

import os
import pwd
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from nonevent.agent import durable
from nonevent.errors import HostUnfit

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nonevent.model.setup import Keys


def difference(state: Keys) -> str:
    """What is not true yet, in words; nothing where all is well."""
    before = ""
    with suppress(KeyError), _as(state.user) as file, suppress(FileNotFoundError):
        before = file.read_text(errors="replace")
    if changed(before, state) == before:
        return ""
    names = ", ".join(key.split(maxsplit=2)[-1] for key in state.keys)
    return f"keys of {state.user} for nothing but this app: {names or 'none'}"


def make(state: Keys) -> None:
    """Let these keys in, and no others in this way."""
    with _as(state.user) as file:
        file.parent.mkdir(mode=0o700, exist_ok=True)
        before = file.read_text(errors="replace") if file.exists() else ""
        durable.write(file, changed(before, state).encode(), mode=0o600)


def changed(before: str, state: Keys) -> str:
    """The text of the file with these keys; as it is, where they are the ones that stand there.

    Raises:
        HostUnfit: a key opens something else as well. sshd takes the first line that fits.
    """
    lines = before.splitlines()
    wanted = [f"{state.options} {key}" for key in state.keys]
    ours = [line for line in lines if line.startswith(state.start)]
    others = [line for line in lines if line not in ours]
    for key in state.keys:
        kind, blob, *_ = key.split()
        if any(blob in line.split() for line in others):
            raise HostUnfit(
                f"a key is to open this app alone, and opens something else of {state.user}",
                context=(f"{kind} {blob[:12]}…{blob[-12:]}",),
                hint="make a key for this app: ssh-keygen -t ed25519 -f deploy_key",
            )
    if ours == wanted:
        return before
    return "".join(f"{line}\n" for line in (*others, *wanted))


@contextmanager
def _as(user: str) -> Iterator[Path]:
    """For the length of the block, be the user whose file it is.

    Raises:
        KeyError: there is no such user.
    """
    account = pwd.getpwnam(user)
    root = os.geteuid() == 0
    groups = os.getgroups()
    if root:
        os.setgroups([])
        os.setegid(account.pw_gid)
        os.seteuid(account.pw_uid)
    try:
        yield Path(account.pw_dir) / ".ssh" / "authorized_keys"
    finally:
        if root:
            os.seteuid(0)
            os.setegid(0)
            os.setgroups(groups)
