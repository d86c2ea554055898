"""What this machine can do at all, measured on the bed's host: the floor under every figure."""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from shipping.stage import Stage

SENT = 300
"""MB that travel over ssh."""
# Rates per second on the host's own disk; syncfs(2) after 50 MB in 500 files.
SCRIPT = """
import ctypes, hashlib, json, os, shutil, time
home, found = "/srv/limits", {}
os.makedirs(home)
def rate(name, count, act):
    began = time.monotonic(); act(); found[name] = count / (time.monotonic() - began)
block = os.urandom(1 << 20)
def digest():
    total = hashlib.sha256()
    for _ in range(200): total.update(block)
rate("sha256", 200 * 1.048576, digest)
open(home + "/file", "wb").write(block)
rate("links", 20000, lambda: [os.link(home + "/file", f"{home}/{n}") for n in range(20000)])
for n in range(500): open(f"{home}/new{n}", "wb").write(block[:100000])
folder = os.open(home, os.O_RDONLY)
began = time.monotonic()
ctypes.CDLL(None).syncfs(folder)
found["syncfs"] = time.monotonic() - began
shutil.rmtree(home)
print(json.dumps(found))
"""


def limits(stage: Stage, name: str) -> dict[str, str]:
    """Each limit by what it is, as text."""
    found: Mapping[str, float] = json.loads(
        stage.hosts[name].run(("/usr/bin/python3", "-ISc", SCRIPT), timeout=120).stdout
    )
    stage.disconnect()
    connect = _took(stage, f"ssh {name} true")
    stream = _took(stage, f"head -c {SENT}000000 /dev/zero | ssh {name} 'cat >/dev/null'")
    start = _took(stage, f"{sys.executable} -m nonevent.cli --version")
    return {
        "start of the client, `nonevent --version`": f"{start:.2f} s",
        "an ssh connection, until a command has run": f"{connect:.2f} s",
        "bytes through ssh": f"{SENT / max(stream - connect, 0.01):.0f} MB/s",
        "sha256, one core": f"{found['sha256']:.0f} MB/s",
        "hard links": f"{found['links'] / 1000:.0f} thousand a second",
        "`syncfs` after 50 MB in 500 files": f"{found['syncfs']:.2f} s",
    }


def _took(stage: Stage, script: str) -> float:
    """The shortest of three, in seconds."""
    times = []
    for _ in range(3):
        began = time.monotonic()
        stage.client(stage.work, "/bin/sh", "-c", script)
        times.append(time.monotonic() - began)
    return min(times)
