"""A bed: hosts that know each other, on a network of their own."""

from __future__ import annotations

import atexit
import json
import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from . import cgroup, ssh
from .claim import claim, take
from .host import Host
from .root import root_tree

if TYPE_CHECKING:
    import socket
    from types import TracebackType
    from typing import Self

    from .claim import Claim

PROGRAMS = ("systemd-nspawn", "debootstrap", "nsenter", "ip", "tc", "ssh", "ssh-keygen")
HOSTS = "hosts.json"
INSTANCES = Path("/proc/sys/fs/inotify/max_user_instances")
ENOUGH = 4096
"""inotify instances: a host takes some twenty, and the usual 128 hang the boot of the sixth."""


def why_not() -> str:
    """Why no bed can be made on this machine, in one line; empty if one can."""
    if os.geteuid() != 0:
        return "the bed needs root"
    if missing := [name for name in PROGRAMS if not shutil.which(name)]:
        return f"the bed needs {', '.join(missing)}"
    allowed = subprocess.run(("unshare", "--mount", "--net", "true"), check=False, timeout=30)
    homes = cgroup.homes()
    if allowed.returncode or not homes or not all(os.access(home, os.W_OK) for home in homes):
        return "the bed needs to be allowed to make mounts, network namespaces and cgroups"
    if "\toverlay\n" not in Path("/proc/filesystems").read_text():
        return "the bed needs overlayfs in the kernel"
    return ""


class Bed:
    """Several hosts. Leaving the context ends and removes all of them.

    Beds do not disturb each other, whichever process they are in.
    """

    def __init__(self) -> None:
        self._tree = root_tree()
        if int(INSTANCES.read_text()) < ENOUGH:
            INSTANCES.write_text(str(ENOUGH))
        self._claim: Claim = claim()
        atexit.register(self.end)
        self._hosts: dict[str, Host] = {}
        ssh.make_key(self.key, comment="bed")
        self._write()

    @classmethod
    def kept(cls, index: int) -> Self:
        """A bed that another process kept; whoever asks first has it, until it ends."""
        taken = take(index, kept=True)
        if taken is None:
            raise LookupError(f"bed {index} is not there, or in use by another process")
        bed = cls.__new__(cls)
        bed._claim = taken
        known = json.loads((taken.folder / HOSTS).read_text())
        bed._tree = Path(known["tree"])
        bed._hosts = {
            name: Host(claim=taken, tree=bed._tree, name=name, number=number)
            for name, number in known["hosts"].items()
        }
        return bed

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.end()

    def end(self) -> None:
        """End all hosts at once and remove what they wrote. Happens at exit by itself."""
        atexit.unregister(self.end)
        self._claim.clear()

    def keep(self) -> None:
        """Leave the hosts running when this process ends."""
        atexit.unregister(self.end)
        self._claim.keep()

    # -- hosts

    def host(self, name: str) -> Host:
        """The host of that name, made and booted if there is none yet."""
        return self.hosts(name)[0]

    def hosts(self, *names: str) -> tuple[Host, ...]:
        """Several hosts; those there are none of yet boot at the same time."""
        fresh = [
            Host(claim=self._claim, tree=self._tree, name=name, number=number)
            for number, name in enumerate(
                dict.fromkeys(name for name in names if name not in self._hosts),
                start=2 + len(self._hosts),
            )
        ]
        for host in fresh:
            host.format()
            self._hosts[host.name] = host
        if fresh:
            self._write()
            for host in self._hosts.values():
                host.put("/etc/hosts", self._names)
            with ThreadPoolExecutor(max_workers=4) as pool:
                list(pool.map(Host.boot, fresh))
        return tuple(self._hosts[name] for name in names)

    def has(self, name: str) -> bool:
        """Whether a host of that name was made."""
        return name in self._hosts

    # -- network

    @property
    def address(self) -> str:
        """The address that the bed itself has towards its hosts."""
        return self._claim.network.address(1)

    @property
    def entry(self) -> tuple[str, ...]:
        """What to put before a command so that it runs inside the bed's network."""
        return self._claim.network.entry

    def exec_in_network(
        self, argv: tuple[str, ...], *, timeout: float = 60.0
    ) -> subprocess.CompletedProcess[str]:
        """Run a command of this machine inside the bed's network, say one that makes load."""
        return subprocess.run(
            (*self.entry, *argv), check=False, capture_output=True, text=True, timeout=timeout
        )

    def connect(self, host: Host, port: int, *, timeout: float = 5.0) -> socket.socket:
        """A connection to a port of a host, made from inside the bed's network."""
        return self._claim.network.connect(host.address, port, timeout=timeout)

    def cut(self, host: Host) -> None:
        """Lose every packet to and from a host: who talks to it sees silence, no refusal."""
        host.cut()

    def slow(self, host: Host, *, delay: float = 0.0, loss: float = 0.0, rate: float = 0.0) -> None:
        """Put a host far away: ms added to a round trip, percent lost each way, Mbit/s."""
        host.slow(delay=delay, loss=loss, rate=rate)

    def mend(self, host: Host) -> None:
        """End what ``cut`` or ``slow`` did."""
        host.mend()

    # -- ssh

    @property
    def index(self) -> int:
        """The number of the bed on this machine."""
        return self._claim.index

    @property
    def ssh_config(self) -> Path:
        """For ``ssh -F``: every host by name, as the user ``deploy``, keys checked strictly."""
        return self._claim.folder / "ssh_config"

    @property
    def key(self) -> Path:
        """The private key of ``deploy`` and ``root`` on all hosts."""
        return self._claim.folder / "key"

    @property
    def known_hosts(self) -> Path:
        """The keys of all hosts."""
        return self._claim.folder / "known_hosts"

    @property
    def _names(self) -> str:
        lines = ["127.0.0.1 localhost", f"{self.address} bed"]
        return "\n".join((*lines, *(f"{h.address} {h.name}" for h in self._hosts.values()), ""))

    def _write(self) -> None:
        """Write down which hosts there are, for ssh and for whoever takes over a kept bed."""
        hosts = self._hosts.values()
        self.known_hosts.write_text(ssh.known((h.name, h.address, h.host_key) for h in hosts))
        pairs = tuple((h.name, h.address) for h in hosts)
        self.ssh_config.write_text(ssh.config(self._claim.folder, self._claim.network, pairs))
        numbers = {host.name: host.number for host in hosts}
        record = {"tree": str(self._tree), "hosts": numbers}
        (self._claim.folder / HOSTS).write_text(json.dumps(record))
