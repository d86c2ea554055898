#!/usr/bin/python3 -IS
"""What a restricted key finds instead of a shell: the agent of one app.

    door --app shop --environment production --root /srv/shop

`nonevent setup` installs this file, owned by root, and lets keys in with it as their forced
command, see AUTHORIZED_KEYS FILE FORMAT in sshd(8). Of what a client asks for, two words of the
first line count: which agent, and what it is to do. Only agents that a set-up put here, as root,
are started: whoever has the key brings releases, which run as the app's user, and never a program
that runs as the user who deploys. This file imports nothing of ours.
"""

import os
import re
import sys
from typing import NoReturn

AGENTS = "/usr/local/lib/nonevent"
ASKED = re.compile(r": nonevent agent-([0-9a-f]{16}) ([a-z-]+)")
"""The first line of what a client has a host's shell run, see `transport/ssh.py`."""
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
KEPT = ("HOME", "USER", "LOGNAME")


def main(words: list[str]) -> NoReturn:
    """Become the agent; the words say of which app."""
    agent = asked_for(os.environ.get("SSH_ORIGINAL_COMMAND", ""), words[1])
    print("nonevent: ready", flush=True)
    os.umask(0o022)
    command = (sys.executable, "-I", "-S", agent, "serve", "--manager", "systemd", *words)
    values = {name: os.environ[name] for name in KEPT if name in os.environ}
    os.execve(command[0], command, {"PATH": PATH, "LANG": "C.UTF-8", **values})


def asked_for(command: str, app: str) -> str:
    """The folder of the agent that a client asks for, if it may have it."""
    asked = ASKED.fullmatch(command.partition("\n")[0])
    if not asked or asked[2] != "serve":
        print(
            f"error: this key may deploy {app}, and nothing else\n\n"
            "hint: `run`, `shell` and `setup` need a key of your own",
            file=sys.stderr,
        )
        sys.exit(1)
    agent = f"{AGENTS}/agent-{asked[1]}"
    if not os.path.isdir(agent):
        print("nonevent: other", flush=True)
        sys.exit(1)
    return agent


if __name__ == "__main__":
    main(sys.argv[1:])
