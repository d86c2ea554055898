"""The app's public TCP port, where no nginx, Caddy or HAProxy holds it.

``python -m nonevent.embedded.front --address 127.0.0.1 --port 8000 --to /path/run/web.sock``
is an HTTP/1.1 reverse proxy that connects to the link anew for each request.
"""

from __future__ import annotations

import argparse
import asyncio
import errno
import socket
import sys

from nonevent.embedded.exchange import Limits
from nonevent.embedded.proxy import Proxy
from nonevent.embedded.serve import BACKLOG, raise_file_limit, say, serve

PORT_TAKEN = 98
"""The exit status where another process holds the port: EADDRINUSE on Linux."""


def listen(address: str, port: int) -> socket.socket:
    """A listening TCP socket; never shared with another process by SO_REUSEPORT.

    Raises:
        OSError: where the address is not this machine's, or the port is taken.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listener = socket.socket(family)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, port))
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def main(argv: tuple[str, ...]) -> int:
    """Run until SIGTERM. Exit status: 0, 98 where the port is taken, 1 where it cannot be had."""
    parser = argparse.ArgumentParser(prog="nonevent.embedded.front", description=__doc__)
    parser.add_argument("--address", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True, help="0 for any free port")
    parser.add_argument("--to", required=True, help="the Unix socket, or a link to it")
    parser.add_argument("--finish-within", type=float, default=10.0, metavar="SECONDS",
                        help="how long requests in flight have after SIGTERM")  # fmt: skip
    options = parser.parse_args(argv)
    try:
        listener = listen(options.address, options.port)
    except OSError as error:
        say(f"cannot listen on {options.address} port {options.port}: {error.strerror or error}")
        return PORT_TAKEN if error.errno == errno.EADDRINUSE else 1
    raise_file_limit()
    proxy = Proxy(options.to, limits=Limits())
    asyncio.run(
        serve(
            listener,
            proxy.answer,
            stopping=proxy.stop,
            limit=options.finish_within,
            greeting=f"listening on {options.address} port {listener.getsockname()[1]} "
            f"for {options.to}",
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(tuple(sys.argv[1:])))
