"""The proxies of a host, as anybody can see them: version, user, what their configuration says."""

from __future__ import annotations

import re
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path

LIMIT = 10.0
_VERSIONS = {
    "nginx": ("nginx", "-v"),
    "caddy": ("caddy", "version"),
    "haproxy": ("haproxy", "-v"),
    "socket-proxyd": ("/usr/lib/systemd/systemd-socket-proxyd", "--version"),
}
NGINX = Path("/etc/nginx/nginx.conf")
HAPROXY = Path("/etc/haproxy/haproxy.cfg")


def look(name: str) -> dict[str, object]:
    """The proxy of that name: its version is empty where it is not installed.

    ``root`` is the folder that it sees as ``/``, or empty; ``taken`` whether a site of the host's
    own has the ports, so that there is no room for ours beside it.
    """
    user, root, taken = "", "", False
    if name == "nginx":
        user = _setting(NGINX, "user") or "www-data"
    elif name == "caddy":
        user = first_line(("systemctl", "show", "--property=User", "--value", "caddy")) or "caddy"
    elif name == "haproxy":
        user = _setting(HAPROXY, "user") or "root"
        root = _setting(HAPROXY, "chroot")
        taken = bool(re.search(r"^\s*bind\s+(\S*[:,])?(80|443)\b", _text(HAPROXY), re.MULTILINE))
    return {"version": version(name), "user": user, "root": root.rstrip("/"), "taken": taken}


def version(name: str) -> str:
    """The version of a proxy that is installed here, else nothing."""
    if name not in _VERSIONS:
        return ""
    program, word = _VERSIONS[name]
    # Whoever is not root may not have the folders of its programs in PATH.
    found = shutil.which(program) or shutil.which(program, path="/usr/sbin:/usr/local/sbin") or ""
    match = re.search(r"\d+\.\d[^\s()]*", first_line((found, word))) if found else None
    return match[0] if match else ""


def state(unit: str) -> str:
    """What systemd says of a unit, e.g. ``active``; empty where it does not run here."""
    return first_line(("systemctl", "show", "--property=ActiveState", "--value", "--", unit))


def _setting(file: Path, name: str) -> str:
    """The first word after a name at the beginning of a line."""
    found = re.search(rf"^\s*{name}\s+([^\s;]+)", _text(file), re.MULTILINE)
    return found[1] if found else ""


def _text(file: Path) -> str:
    with suppress(OSError):
        return file.read_text(errors="replace")
    return ""


def first_line(argv: tuple[str, ...]) -> str:
    """The first line that a command writes; nothing where it fails."""
    with suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(argv, check=True, capture_output=True, text=True, timeout=LIMIT)
        return ((done.stdout or done.stderr).splitlines() or [""])[0]
    return ""
