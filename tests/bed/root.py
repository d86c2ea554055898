"""The one root tree that all hosts of all beds are booted from, made by debootstrap."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from .wait import until

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGES = (
    "caddy",
    "dbus",
    "haproxy",
    "iproute2",
    "libpam-systemd",
    "nginx",
    "openssh-server",
    "postgresql",
    "procps",
    "python3",
    "redis-server",
    "rsync",
    "sudo",
    "supervisor",
    "systemd",
    "systemd-sysv",
    "uwsgi-core",
    "uwsgi-plugin-python3",
    "zstd",
)
"""What hosts have. Everything that serves is switched off until a test switches it on."""

# The units that stay off: what serves, and what wakes up by itself and disturbs measurements.
# A login prompt on the console would be fed the end of its input for ever.
RECIPE = """
systemctl -q disable caddy haproxy nginx postgresql redis-server rsync supervisor
systemctl -q mask console-getty getty@tty1 systemd-firstboot e2scrub_all.timer fstrim.timer \
    apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer logrotate.timer
systemctl -q enable ssh systemd-networkd
systemctl -q disable systemd-networkd-wait-online
rm -f /etc/ssh/ssh_host_* /var/cache/apt/archives/*.deb /var/lib/apt/lists/*_* /etc/resolv.conf
printf 'UseDNS no\\nPasswordAuthentication no\\n' >/etc/ssh/sshd_config.d/bed.conf
printf 'LANG=C.UTF-8\\n' >/etc/default/locale
useradd --create-home --shell /bin/bash deploy
install -d -m 700 /root/.ssh
install -d -m 700 -o deploy -g deploy /home/deploy/.ssh
"""

LONGEST = 900.0
"""Seconds that making the tree may take; 60 to 90 are usual."""


def cache() -> Path:
    """Where trees and the disks of hosts are kept: never inside the checkout."""
    given = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(given) if given.startswith("/") else Path.home() / ".cache") / "nonevent-bed"


def root_tree() -> Path:
    """The tree, made if this list of packages has none yet. Several processes may ask at once."""
    suite, mirror = source()
    recipe = "\n".join((suite, *PACKAGES, RECIPE))
    tree = cache() / hashlib.sha256(recipe.encode()).hexdigest()[:16]
    tree.parent.mkdir(parents=True, exist_ok=True)
    with _alone(tree.with_suffix(".lock")):
        if not tree.exists():
            partial = tree.with_suffix(".partial")
            shutil.rmtree(partial, ignore_errors=True)
            _make(partial, suite, mirror)
            partial.rename(tree)
    return tree


def source() -> tuple[str, str]:
    """The suite and the mirror that apt on this machine is configured with."""
    targets = subprocess.run(
        (
            "apt-get",
            "indextargets",
            "--format",
            "$(COMPONENT) $(CODENAME) $(SITE)",
            "Created-By: Packages",
        ),
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    ).stdout
    for line in targets.splitlines():
        component, suite, site = line.split()
        if component == "main" and "-" not in suite:
            return suite, site
    raise LookupError("apt has no source of a Debian suite")


def _make(partial: Path, suite: str, mirror: str) -> None:
    """Fill a folder with Debian. What debootstrap mounts meanwhile goes away with it."""
    include = ",".join(PACKAGES)
    log = partial.with_suffix(".log")
    for argv in (
        ("debootstrap", "--variant=minbase", f"--include={include}", suite, str(partial), mirror),
        ("chroot", str(partial), "/bin/sh", "-euc", RECIPE),
    ):
        with log.open("ab") as out:
            done = subprocess.run(
                ("unshare", "--mount", "nice", *argv),
                check=False,
                env=_environment(),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                timeout=LONGEST,
            )
        if done.returncode:
            error = RuntimeError(f"{argv[0]} failed, see {log}")
            error.add_note(log.read_text(errors="replace")[-2000:])
            raise error


def _environment() -> dict[str, str]:
    """A clean environment with the way out that apt is told to take."""
    proxies = {
        key: value for key, value in os.environ.items() if key.lower().endswith("_proxy") and value
    }
    told = subprocess.run(
        ("apt-config", "shell", "proxy", "Acquire::http::Proxy"),
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    ).stdout.strip()
    if told:
        proxies["http_proxy"] = told.removeprefix("proxy=").strip("'")
    return {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", **proxies}


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Wait until no other process makes the same tree."""
    with path.open("w") as lock:

        def taken() -> bool:
            with suppress(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return True
            return False

        until(taken, seconds=LONGEST, what=f"{path} to be let go")
        yield
