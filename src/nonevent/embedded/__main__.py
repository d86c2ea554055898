"""The entry of the zipapp that is brought to a host.

It holds the agent, and what it needs where there is no systemd and no proxy. Each part is
imported only when it is the one that runs.
"""

from __future__ import annotations

import sys


def main(arguments: list[str]) -> int:
    """Run one of the programs on a host; returns its exit status."""
    name, *rest = arguments or ["--help"]
    match name:
        case "front":
            from nonevent.embedded import front

            return front.main(tuple(rest))
        case "relay":
            from nonevent.embedded import relay

            return relay.main(tuple(rest))
        case "keeper":
            from nonevent.embedded import keeper

            return keeper.main(rest)
        case "supervisord":
            from supervisor import supervisord

            supervisord.main(rest)
            return 0
        case _:
            from nonevent.agent.__main__ import main as agent

            return agent(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
