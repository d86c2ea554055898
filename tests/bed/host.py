"""One host of a bed: Debian with systemd as its first process, in a container of systemd-nspawn."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
import uuid
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from . import cgroup, distance, network, ssh
from .command import command
from .mount import mounts_below, unmount
from .wait import until

if TYPE_CHECKING:
    from .claim import Claim

# Joins the host's cgroups, then starts it, and again whenever it ends by a reboot: with
# --keep-unit systemd-nspawn leaves that to its caller and says 133, systemd-nspawn(1).
LAUNCH = """
while [ "$1" != -- ]; do echo $$ >"$1/cgroup.procs"; shift; done; shift
while "$@"; [ $? -eq 133 ]; do :; done
"""
JOIN = """
while [ "$1" != -- ]; do echo $$ 2>/dev/null >"$1/cgroup.procs" || :; shift; done; shift
exec "$@"
"""
ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LANG": "C.UTF-8",
}
BOOT = 60.0
"""Seconds until a host is up at the latest; 2 are usual."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """A host by name. It may be off; nothing about its state is kept here."""

    claim: Claim
    tree: Path
    name: str
    number: int
    """The last part of its address, from 2."""

    @property
    def address(self) -> str:
        """The address on the bed's network."""
        return self.claim.network.address(self.number)

    @property
    def disk(self) -> Path:
        """Its writable layer (``upper``) and where it is mounted over the tree (``merged``)."""
        return self.claim.disk / self.name

    @property
    def log(self) -> Path:
        """What systemd-nspawn and the boot said."""
        return self.claim.folder / f"{self.name}.log"

    @property
    def host_key(self) -> str:
        """The public line of the key that its sshd shows."""
        return (self.claim.folder / f"{self.name}.hostkey.pub").read_text().strip()

    @property
    def cpu_seconds(self) -> float:
        """Seconds of processor time since it was switched on."""
        return cgroup.cpu_seconds(self._cgroups)

    @property
    def memory_peak(self) -> int:
        """Bytes it held at most since it was switched on, page cache included."""
        return cgroup.memory_peak(self._cgroups)

    # -- on and off

    def boot(self) -> None:
        """Switch it on and wait until systemd has started everything and sshd answers."""
        for each in self._cgroups:
            cgroup.make(each)
        self.mend()
        start(self._cgroups, self._nspawn, log=self.log)
        self.wait_up()

    def power_cut(self) -> None:
        """End every process at once. The disk keeps what was written, synced or not."""
        cgroup.kill(self._cgroups)
        cgroup.remove(self._cgroups)
        self.claim.network.drop(self._device)

    def shutdown(self) -> None:
        """Switch it off in order, as ``poweroff`` does."""
        with suppress(subprocess.CalledProcessError):
            self.run(("systemctl", "poweroff"))
        until(lambda: not cgroup.processes(self._cgroups), seconds=120, what=f"{self.name} to end")
        cgroup.remove(self._cgroups)

    def reboot(self) -> None:
        """Restart it in order and wait until it is up again."""
        before = self.leader()
        with suppress(subprocess.CalledProcessError):
            self.run(("systemctl", "reboot"))
        until(lambda: self.leader() not in {before, 0}, seconds=120, what=f"{self.name} to restart")
        self.wait_up()

    def reset(self) -> None:
        """Make it a fresh host: off, an empty disk, and on again."""
        self.power_cut()
        self.format()
        self.boot()

    def wait_up(self) -> None:
        """Wait until it answers; afterwards its link is free of cuts and delays."""
        try:
            until(self._answers, seconds=BOOT, what=f"{self.name} to answer")
            self.claim.network.know(self.address, network.mac(self.leader()))
            # It ends with an error, and is meant to, where a unit of the host has failed.
            self.run(("systemctl", "is-system-running", "--wait"), check=False, timeout=BOOT)
        except (TimeoutError, subprocess.TimeoutExpired) as error:
            error.add_note(self.log.read_text(errors="replace")[-2000:])
            raise

    def leader(self) -> int:
        """The number, outside, of its first process; 0 when it is off."""
        for pid in sorted(cgroup.processes(self._cgroups)):
            with suppress(OSError):
                for line in Path(f"/proc/{pid}/status").read_text().splitlines():
                    if line.startswith("NSpid:") and line.split()[2:] == ["1"]:
                        return pid
        return 0

    # -- what runs on it

    @property
    def entry(self) -> tuple[str, ...]:
        """What to put before a command so that it runs on the host, as root and without ssh.

        With the rights that root has there: nsenter(1) alone would leave it all capabilities of
        the machine, and `date -s` on a host would set the clock of everything.
        """
        leader = self.leader()
        if not leader:
            raise RuntimeError(f"{self.name} is off")
        drop = _bounding("self") & ~_bounding(str(leader))
        words = ",".join(f"-cap_{bit}" for bit in range(64) if drop >> bit & 1)
        limit = ("setpriv", f"--bounding-set={words}") if words else ()
        join = ("/bin/sh", "-c", JOIN, "bed", *map(str, self._cgroups), "--")
        return (*join, "nsenter", "--target", str(leader), "--all", *limit)

    def run(
        self,
        argv: tuple[str, ...],
        *,
        stdin: str = "",
        check: bool = True,
        timeout: float = 60.0,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command as root, without ssh, and wait for its end."""
        return _run(self.entry, argv, stdin=stdin, check=check, timeout=timeout)

    def ssh(
        self,
        argv: tuple[str, ...],
        *,
        user: str = "deploy",
        stdin: str = "",
        check: bool = True,
        timeout: float = 60.0,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command as a user who logs in by ssh."""
        config = str(self.claim.folder / "ssh_config")
        to = ("ssh", "-F", config, "-l", user, self.name)
        return _run(to, (shlex.join(argv),), stdin=stdin, check=check, timeout=timeout)

    def put(self, path: str, text: str, *, mode: int = 0o644) -> None:
        """Write a file as root, with the folders that lead to it; links are the host's own.

        The host may be off. What it mounts itself, /run and /tmp, is then out of reach.
        """
        script = 'mkdir -p "$(dirname "$1")" && cat >"$1" && chmod "$2" "$1"'
        argv = ("/bin/sh", "-c", script, "put", path, f"{mode:o}")
        if self.leader():
            self.run(argv, stdin=text)
        else:
            rights = ("setpriv", "--bounding-set=-all,+dac_override,+fowner")
            enter = ("chroot", str(self.disk / "merged"), *rights)
            _run(enter, argv, stdin=text, check=True, timeout=60)

    def read(self, path: str) -> str:
        """The text of a file, read as root."""
        return self.run(("cat", path)).stdout

    # -- its link

    def cut(self) -> None:
        """Take it off the network; it keeps its carrier and notices nothing else."""
        self.mend()
        self.claim.network.unplug(self._device)

    def slow(self, *, delay: float = 0.0, loss: float = 0.0, rate: float = 0.0) -> None:
        """Put it far away: ms added to a round trip, percent lost each way, Mbit/s each way."""
        self.cut()
        ready = self.claim.folder / f"{self.name}.far"
        ready.unlink(missing_ok=True)
        far = self.claim.network.extend(self.number)
        numbers = map(str, (delay / 2000, loss / 100, rate * 1e6))
        program = (sys.executable, "-IS", distance.__file__, self._device, far, str(ready))
        for each in self._far:
            cgroup.make(each)
        start(self._far, (*self.claim.network.entry, *program, *numbers), log=self.log)
        until(ready.exists, seconds=10, what=f"{self.name} to be far away")

    def mend(self) -> None:
        """End what ``cut`` or ``slow`` did."""
        cgroup.kill(self._far)
        cgroup.remove(self._far)
        self.claim.network.retract(self.number)
        if self.leader():
            self.claim.network.plug(self._device)

    # -- its disk

    def format(self) -> None:
        """Empty the disk of a host that is off and write the few files that make it this host."""
        merged = self.disk / "merged"
        names = merged / "etc" / "hosts"
        known = names.read_text() if names.exists() else ""
        for mount in mounts_below(self.disk):
            unmount(mount)
        shutil.rmtree(self.disk, ignore_errors=True)
        for name in ("upper", "work", "merged"):
            (self.disk / name).mkdir(parents=True)
        layers = f"lowerdir={self.tree},upperdir={self.disk}/upper,workdir={self.disk}/work"
        command("mount", "-t", "overlay", "-o", layers, "overlay", str(merged))
        key = self.claim.folder / f"{self.name}.hostkey"
        if not key.exists():
            ssh.make_key(key, comment=self.name)
        public = (self.claim.folder / "key.pub").read_text()
        write = partial(_write, merged)
        write("etc/hosts", known)
        write("etc/hostname", f"{self.name}\n")
        write("etc/machine-id", f"{uuid.uuid4().hex}\n")
        write("etc/ssh/ssh_host_ed25519_key", key.read_text(), mode=0o600)
        write("etc/ssh/ssh_host_ed25519_key.pub", f"{self.host_key}\n")
        write("root/.ssh/authorized_keys", public)
        write("home/deploy/.ssh/authorized_keys", public)
        write(
            "etc/systemd/network/10-bed.network",
            f"[Match]\nName=host0\n\n[Network]\nAddress={self.address}/24\n"
            "LinkLocalAddressing=no\nIPv6AcceptRA=no\n",
        )

    @property
    def _cgroups(self) -> tuple[Path, ...]:
        return tuple(path / self.name for path in self.claim.cgroups)

    @property
    def _far(self) -> tuple[Path, ...]:
        """The cgroups of the program that makes the way to it long."""
        return tuple(path / f"{self.name}.far" for path in self.claim.cgroups)

    @property
    def _device(self) -> str:
        """The bed's end of its link."""
        return f"vb-{self._machine}"

    @property
    def _machine(self) -> str:
        """Short, since the link's name holds 15 characters, and unlike that of any other bed."""
        return f"b{self.claim.index}h{self.number}"

    @property
    def _nspawn(self) -> tuple[str, ...]:
        return (
            *self.claim.network.entry,
            "systemd-nspawn",
            "--quiet",
            "--boot",
            f"--directory={self.disk / 'merged'}",
            f"--machine={self._machine}",
            f"--hostname={self.name}",
            f"--network-bridge={self.claim.network.bridge}",
            "--register=no",
            "--keep-unit",
            "--console=pipe",
            "--kill-signal=SIGRTMIN+3",
            "--link-journal=no",
            "--resolv-conf=off",
            "--timezone=off",
        )

    def _answers(self) -> bool:
        """Whether sshd says its version."""
        if not self.leader():
            return False
        with suppress(OSError), self.claim.network.connect(self.address, 22, timeout=1) as socket:
            return socket.recv(4) == b"SSH-"
        return False


def start(cgroups: tuple[Path, ...], argv: tuple[str, ...], *, log: Path) -> None:
    """Start a program in cgroups of its own. It outlives this process, until they are cleared."""
    with log.open("ab") as out:
        subprocess.run(
            ("setsid", "--fork", "sh", "-c", LAUNCH, "bed", *map(str, cgroups), "--", *argv),
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            env={"PATH": ENVIRONMENT["PATH"]},
            timeout=30,
        )


def _write(root: Path, path: str, text: str, *, mode: int = 0o644) -> None:
    """Write a file of a host that is off; the path has no links in it."""
    file = root / path
    file.write_text(text)
    file.chmod(mode)


def _bounding(pid: str) -> int:
    """The capabilities that a process could at most have, capabilities(7)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("CapBnd:"):
            return int(line.split()[1], 16)
    raise LookupError(f"process {pid} shows no capabilities")


def _run(
    enter: tuple[str, ...], argv: tuple[str, ...], *, stdin: str, check: bool, timeout: float
) -> subprocess.CompletedProcess[str]:
    """Run a command after what leads to it; errors show the command alone, and its output."""
    done = subprocess.run(
        (*enter, *argv),
        check=False,
        input=stdin,
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
        timeout=timeout,
    )
    done.args = argv
    if check and done.returncode:
        error = subprocess.CalledProcessError(done.returncode, argv, done.stdout, done.stderr)
        error.add_note(f"{done.stdout[-2000:]}{done.stderr[-2000:]}")
        raise error
    return done
