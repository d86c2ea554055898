"""What a host is like, before anything of an app is there; changes nothing and needs no rights."""

from __future__ import annotations

import getpass
import os
import platform
import shutil
import sys
import time
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from nonevent.agent import pooling, proxies
from nonevent.agent.process import supervisor
from nonevent.agent.process.systemd import record
from nonevent.agent.proxies import first_line
from nonevent.model.layout import Layout


def survey(app: str, root: str, proxy: str) -> dict[str, object]:
    """Facts about the host: sizes in bytes, ``clock`` in Unix seconds."""
    return {
        "user": getpass.getuser(),
        "root": os.geteuid() == 0,
        "python": sys.executable,
        "version": platform.python_version(),
        "machine": platform.machine(),
        "system": _system(),
        "systemd": first_line(("systemctl", "--version")),
        "running": _runs_systemd(),
        "embedded": bool(supervisor.pid_of(Layout(Path(root)))),
        "sudo": bool(shutil.which("sudo")),
        "proxy": proxies.look(proxy),
        "pools": [asdict(each) for each in pooling.pools(Layout(Path(root)))],
        "free": _free(root),
        "clock": time.time(),
        "record": record(app),
    }


def _system() -> str:
    with suppress(OSError):
        return platform.freedesktop_os_release().get("PRETTY_NAME", "")
    return platform.system()


def _runs_systemd() -> bool:
    """See sd_booted(3)."""
    return Path("/run/systemd/system").is_dir()


def _free(root: str) -> int:
    """Free bytes where the app's folder is, or is going to be, as far as this user may look."""
    for place in (Path(root), *Path(root).parents):
        with suppress(OSError):
            room = os.statvfs(place)
            return room.f_bavail * room.f_frsize
    return 0
