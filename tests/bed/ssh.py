"""Keys and configuration, so that ``ssh -F <bed.ssh_config> web1`` works from anywhere here."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from . import dial
from .command import command

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .network import Network

HEAD = """\
Host {patterns}
  User deploy
  BatchMode yes
  ConnectTimeout 10
  IdentitiesOnly yes
  IdentityFile {folder}/key
  UserKnownHostsFile {folder}/known_hosts
  GlobalKnownHostsFile /dev/null
  StrictHostKeyChecking yes
  UpdateHostKeys no

# From outside the bed's network a small program connects inside and hands the socket over.
Match originalhost {list} !exec "ip link show {bridge} >/dev/null 2>&1"
  ProxyCommand {entry} {python} -IS {dial} %h %p
  ProxyUseFdpass yes
"""


def make_key(file: Path, *, comment: str) -> str:
    """Make an Ed25519 key pair without a passphrase and return the public line."""
    command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(file))
    return file.with_name(f"{file.name}.pub").read_text().strip()


def config(folder: Path, network: Network, hosts: tuple[tuple[str, str], ...]) -> str:
    """The text of the configuration; hosts are pairs of name and address.

    It speaks of these hosts alone, so that a person may include it in a configuration.
    """
    if not hosts:
        return ""
    patterns = [word for host in hosts for word in host]
    head = HEAD.format(
        folder=folder,
        patterns=" ".join(patterns),
        list=",".join(patterns),
        bridge=network.bridge,
        entry=" ".join(network.entry),
        python=sys.executable,
        dial=Path(dial.__file__).resolve(),
    )
    return "\n".join((head, *(f"Host {name}\n  HostName {address}" for name, address in hosts), ""))


def known(hosts: Iterable[tuple[str, str, str]]) -> str:
    """The text of ``known_hosts``; hosts are name, address and public key."""
    return "".join(f"{name},{address} {key}\n" for name, address, key in hosts)
