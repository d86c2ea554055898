"""Connect and hand the socket over, for ``ProxyUseFdpass`` of ssh_config(5).

It runs as a program of its own, inside the bed's network, and complains in the words of OpenSSH.
"""

from __future__ import annotations

import os
import socket
import sys


def main(host: str, port: str) -> int:
    """Connect within 10 s and send the socket as a message to standard output."""
    try:
        connected = socket.create_connection((host, int(port)), timeout=10)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else "Connection timed out"
        sys.stderr.write(f"ssh: connect to host {host} port {port}: {reason}\n")
        return 255
    connected.setblocking(True)
    with socket.socket(fileno=os.dup(1)) as out:
        socket.send_fds(out, [b"\0"], [connected.fileno()])
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
