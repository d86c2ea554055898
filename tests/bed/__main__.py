"""A bed for a person: ``make bed``, ``make bed-down``, ``make bed ARGS="power-cut web2"``."""

from __future__ import annotations

import argparse
import sys

from .claim import kept
from .site import Bed, why_not

UP = """\
bed {index} is up: {names}

log in           ssh -F {config} web1
  or as root     ssh -F {config} -l root web1
make it known    echo 'Include {config}' >>~/.ssh/config, then `ssh web1`
see a site       ssh -F {config} -N -L 8080:127.0.0.1:80 lb, then http://127.0.0.1:8080
run inside       {entry} COMMAND
break it         make bed ARGS="power-cut web2"   boot, reboot, reset, cut, mend
                 make bed ARGS="slow web2 --delay 40 --loss 1 --rate 20"
end it           make bed-down
"""
ACTIONS = ("boot", "power-cut", "reboot", "reset", "cut", "mend", "slow")


def main(argv: list[str]) -> int:
    """Do one thing and leave the hosts running."""
    parser = argparse.ArgumentParser(prog="bed", description=__doc__)
    commands = parser.add_subparsers(dest="action", required=True)
    up = commands.add_parser("up", help="boot hosts and leave them")
    up.add_argument("hosts", nargs="*", default=["web1", "web2", "lb"])
    commands.add_parser("down", help="end all beds that were left")
    for action in ACTIONS:
        one = commands.add_parser(action)
        one.add_argument("host")
        if action == "slow":
            one.add_argument("--delay", type=float, default=0.0, help="ms added to a round trip")
            one.add_argument("--loss", type=float, default=0.0, help="percent, each way")
            one.add_argument("--rate", type=float, default=0.0, help="Mbit/s, each way")
    asked = parser.parse_args(argv)
    if reason := why_not():
        sys.stderr.write(f"error: {reason}\n")
        return 1
    match asked.action:
        case "up":
            _up(asked.hosts)
        case "down":
            for index in kept():
                Bed.kept(index).end()
                sys.stdout.write(f"bed {index} is gone\n")
        case _:
            return _act(asked)
    return 0


def _up(names: list[str]) -> None:
    """Boot hosts, or say how to reach those that are up already."""
    indexes = kept()
    bed = Bed.kept(indexes[0]) if indexes else Bed()
    bed.hosts(*names)
    text = UP.format(
        index=bed.index,
        names=", ".join(f"{host.name} {host.address}" for host in bed.hosts(*names)),
        config=bed.ssh_config,
        entry=" ".join(bed.entry),
    )
    bed.keep()
    sys.stdout.write(text)


def _act(asked: argparse.Namespace) -> int:
    """Do something to one host of a bed that was left."""
    for index in kept():
        bed = Bed.kept(index)
        if not bed.has(asked.host):
            continue
        host = bed.host(asked.host)
        match asked.action:
            case "slow":
                host.slow(delay=asked.delay, loss=asked.loss, rate=asked.rate)
            case action:
                getattr(host, action.replace("-", "_"))()
        return 0
    sys.stderr.write(f"error: no host {asked.host} is up\n\nhint: make bed\n")
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
