"""The network of one bed: a namespace with a bridge, and links that can be cut or slowed.

Nothing outside the namespace sees the hosts, and they see nothing outside: hosts of production
need no network for a deploy either.
"""

from __future__ import annotations

import ctypes
import json
import os
import socket
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from .command import command

CLONE_NEWNET = 0x40000000
NETNS = Path("/run/netns")


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """One bed's namespace."""

    index: int

    @property
    def name(self) -> str:
        """As ``ip netns`` knows it."""
        return f"nonevent-bed-{self.index}"

    @property
    def bridge(self) -> str:
        """The bridge's name; it exists in no other namespace."""
        return f"bed{self.index}"

    @property
    def entry(self) -> tuple[str, ...]:
        """What to put before a command so that it runs here.

        Not ``ip netns exec``, which mounts /sys anew and so hides the cgroups.
        """
        return ("nsenter", f"--net={NETNS / self.name}")

    def address(self, number: int) -> str:
        """The address of the bed itself (1) or of a host (2 and up)."""
        return f"10.80.{self.index}.{number}"

    def up(self) -> None:
        """Make the namespace with its bridge."""
        command("ip", "netns", "add", self.name)
        in_it = ("ip", "-n", self.name)
        command(*in_it, "link", "set", "lo", "up")
        # Without an address of its own a bridge takes one of its ports', changes it as hosts come
        # and go, and the kernel then forgets all neighbours, permanent ones too.
        fixed = ("address", "02:00:00:00:00:01")
        command(*in_it, "link", "add", self.bridge, *fixed, "type", "bridge", "forward_delay", "0")
        command(*in_it, "address", "add", f"{self.address(1)}/24", "dev", self.bridge)
        command(*in_it, "link", "set", self.bridge, "up")

    def down(self) -> None:
        """Remove the namespace and all that is in it, if it is there."""
        if (NETNS / self.name).exists():
            command("ip", "netns", "delete", self.name)

    def know(self, address: str, mac: str) -> None:
        """Keep a host's hardware address, so that a dead host is silent, as across the internet.

        Without it the kernel would answer after 3 s that there is no route to the host.
        """
        of = ("dev", self.bridge, "nud", "permanent")
        command("ip", "-n", self.name, "neighbour", "replace", address, "lladdr", mac, *of)

    def unplug(self, device: str) -> None:
        """Take a link off the bridge, silent: the kernel would answer for its other addresses."""
        command("ip", "-n", self.name, "link", "set", device, "nomaster", "arp", "off")

    def plug(self, device: str) -> None:
        """Put a link back on the bridge."""
        command("ip", "-n", self.name, "link", "set", device, "master", self.bridge, "arp", "on")

    def drop(self, device: str) -> None:
        """Remove a link, if it is there: the kernel takes its time over one whose host has died."""
        with suppress(RuntimeError):
            command("ip", "-n", self.name, "link", "delete", device)

    def extend(self, number: int) -> str:
        """Add a link whose one end is on the bridge, and return the name of the other."""
        far, near = f"far{number}", f"near{number}"
        in_it = ("ip", "-n", self.name, "link")
        command(*in_it, "add", far, "type", "veth", "peer", "name", near)
        command(*in_it, "set", far, "arp", "off", "up")
        command(*in_it, "set", near, "master", self.bridge, "up")
        return far

    def retract(self, number: int) -> None:
        """Remove what ``extend`` added, if it is there."""
        self.drop(f"far{number}")

    def connect(self, address: str, port: int, *, timeout: float = 5.0) -> socket.socket:
        """Connect to a host from inside the namespace; the caller stays where it is.

        A namespace belongs to a thread, setns(2), and a socket to the one that it was made in.
        """
        answer: list[socket.socket | OSError] = []

        def dial() -> None:
            try:
                _enter(NETNS / self.name)
                answer.append(socket.create_connection((address, port), timeout))
            except OSError as error:
                answer.append(error)

        thread = threading.Thread(target=dial)
        thread.start()
        thread.join()
        match answer[0]:
            case socket.socket() as connected:
                return connected
            case OSError() as error:
                raise error


def mac(leader: int) -> str:
    """The hardware address of a host's only link."""
    entry = ("nsenter", f"--net=/proc/{leader}/ns/net")
    (link,) = json.loads(command(*entry, "ip", "-json", "link", "show", "host0"))
    return str(link["address"])


def _enter(namespace: Path) -> None:
    """Move the calling thread, and no other, into a network namespace."""
    with namespace.open() as file:
        if ctypes.CDLL(None, use_errno=True).setns(file.fileno(), CLONE_NEWNET):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(namespace))
