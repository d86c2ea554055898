#!/usr/bin/python3 -IS
"""The one thing that a deploy user may do as root: start and stop the units of one app.

    units --app shop start|stop|reset|prove NAME...

`nonevent setup` installs this file, owned by root, and a rule for sudo that allows it for one app
alone. It is the boundary between the user who deploys and root, and so it is one small file that
imports nothing of ours, reads no file that others write, and takes no argument that is not one
of the names below. A unit's name has a dot between app and service, which no name of either
contains: `shop-admin` and `web` can never be mistaken for `shop` and `admin-web`.
"""

import os
import re
import signal
import sys

SYSTEMCTL = "/usr/bin/systemctl"
LIMIT = 60
"""Seconds that one call of systemctl may take."""
NAME = r"[a-z][a-z0-9-]{0,31}"
INSTANCE = re.compile(rf"({NAME})-([0-9]{{1,9}}(?:\.[0-9]{{1,4}})?)", re.ASCII)
KEEPER = "keeper"
TOLD = ("NONEVENT_RELEASE", "NONEVENT_INSTANCE")
"""What is told of a process's environment: the rest may hold secrets."""
ACTS = {
    "start": ("start", "--no-block"),
    "stop": ("stop", "--no-block"),
    "reset": ("reset-failed",),
}


def unit(app: str, name: str) -> str:
    """The unit of an instance such as web-42, or of the keeper."""
    if name == KEEPER:
        return f"{app}.nonevent_keeper.service"
    match = INSTANCE.fullmatch(name)
    if not match:
        raise SystemExit(f"units: {name!r} is no instance such as web-42")
    return f"{app}.{match[1]}@{match[2]}.service"


def main(words: list[str]) -> int:
    """Check every word, then do one thing, or become the systemctl that does it."""
    if len(words) < 4 or words[0] != "--app" or not re.fullmatch(NAME, words[1], re.ASCII):
        raise SystemExit("usage: units --app APP start|stop|reset|prove NAME...")
    _, app, verb, *names = words
    units = [unit(app, name) for name in names]
    if verb in ACTS:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        # Both outlast execve(2): the time limit, and what Python makes of SIGPIPE.
        signal.alarm(LIMIT)
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        # Without anything of the caller's environment.
        os.execve(SYSTEMCTL, (SYSTEMCTL, *ACTS[verb], "--", *units), {})  # noqa: S606
    if verb == "prove":
        # A service waits for its start: what only this verb needs is imported here.
        import json

        print(json.dumps([prove(each) for each in units]))
        return 0
    raise SystemExit(f"units: no verb {verb!r}")


def prove(name: str) -> list[dict[str, object]]:
    """What /proc shows of a unit's main process and of all below it, the main one first."""
    main_pid = shown(name)
    if not main_pid:
        return []
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            children.setdefault(parent(entry), []).append(int(entry))
    found = [main_pid]
    for pid in found:
        found += [child for child in children.get(pid, ()) if child not in found]
    return [look(pid) for pid in found]


def shown(name: str) -> int:
    """The main process of a unit, as systemd shows it; 0 where none runs."""
    import subprocess

    argv = (SYSTEMCTL, "show", "--property=MainPID", "--value", "--", name)
    text = subprocess.run(
        argv,
        check=False,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        env={},
        timeout=LIMIT,
        text=True,
    ).stdout
    return int(text.strip() or 0)


def parent(pid: str) -> int:
    """The parent of a process; its name, in brackets, may hold anything."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return int(file.read().rpartition(b") ")[2].split()[1])
    except OSError:
        return 0


def look(pid: int) -> dict[str, object]:
    """What a process runs, where, and with which files of which release."""
    values = dict(part.partition(b"=")[::2] for part in read(pid, "environ").split(b"\0"))
    lines = read(pid, "maps").splitlines()
    mapped = {line.split(maxsplit=5)[5] for line in lines if b" /" in line}
    return {
        "pid": pid,
        "executable": link(pid, "exe"),
        "folder": link(pid, "cwd"),
        "files": sorted(os.fsdecode(name) for name in mapped),
        **{name: os.fsdecode(values.get(name.encode(), b"")) for name in TOLD},
    }


def read(pid: int, name: str) -> bytes:
    """A file of a process, empty where it has gone."""
    try:
        with open(f"/proc/{pid}/{name}", "rb") as file:
            return file.read()
    except OSError:
        return b""


def link(pid: int, name: str) -> str:
    """Where a link of a process leads, empty where it has gone."""
    try:
        return os.readlink(f"/proc/{pid}/{name}")
    except OSError:
        return ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
