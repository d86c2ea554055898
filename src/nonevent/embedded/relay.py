"""A Unix socket for an app server that can only listen on a port.

``python -m nonevent.embedded.relay --listen /path/web-42.sock --to 127.0.0.1:43211`` carries
bytes, connection by connection, so that such a server is switched and drained like the others.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import socket
import sys
from functools import partial

from nonevent.embedded.serve import BACKLOG, raise_file_limit, say, serve
from nonevent.embedded.stream import Stream, tunnel

IDLE = 3600.0
"""Seconds that a connection may be silent."""
CONNECT = 5.0
"""Seconds that the app server may take to accept."""
DRAIN = 3600.0
"""Seconds that open connections have after SIGTERM; whoever sent it decides on less."""


def listen(path: str) -> socket.socket:
    """A listening socket at ``path``, for the owner and the group; a dead one there is removed.

    Raises:
        FileExistsError: where a process listens there, or something is no socket.
        OSError: where the socket cannot be made, e.g. because its name is too long.
    """
    probe = socket.socket(socket.AF_UNIX)
    probe.setblocking(False)
    with probe:
        try:
            probe.connect(path)
        except FileNotFoundError:
            pass
        except BlockingIOError as error:  # its queue is full: somebody listens
            raise FileExistsError(f"another process listens on {path}") from error
        except ConnectionRefusedError as error:
            if not is_socket(path):
                raise FileExistsError(f"{path} is not a socket") from error
            os.unlink(path)  # noqa: PTH108
        else:
            raise FileExistsError(f"another process listens on {path}")
    listener = socket.socket(socket.AF_UNIX)
    before = os.umask(0o117)
    try:
        listener.bind(path)
    except OSError:
        listener.close()
        raise
    finally:
        os.umask(before)
    listener.listen(BACKLOG)
    return listener


def is_socket(path: str) -> bool:
    """Whether there is a socket at ``path`` itself, not behind a link."""
    return (os.lstat(path).st_mode & 0o170000) == 0o140000


async def relay(connection: socket.socket, host: str, port: int) -> None:
    """Carry one connection; it is closed at once where the port refuses."""
    near = Stream(connection)
    try:
        onward = await _connect(host, port)
    except OSError as error:
        say(f"{host}:{port} did not answer: {error.strerror or error}")
        near.close()
        return
    far = Stream(onward)
    try:
        await tunnel(near, far, idle=IDLE)
    finally:
        near.close()
        far.close()


async def _connect(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    onward = socket.socket(family)
    try:
        onward.setblocking(False)
        onward.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        async with asyncio.timeout(CONNECT):
            await asyncio.get_running_loop().sock_connect(onward, (host, port))
    except BaseException:
        onward.close()
        raise
    return onward


def address(text: str) -> tuple[str, int]:
    """``127.0.0.1:8000`` or ``[::1]:8000`` as host and port.

    Raises:
        ValueError: where the text is not that.
    """
    host, _, port = text.rpartition(":")
    if not host:
        raise ValueError(text)
    return host.strip("[]"), int(port)


def main(argv: tuple[str, ...]) -> int:
    """Run until SIGTERM. Exit status: 0, or 98 where the socket cannot be had."""
    parser = argparse.ArgumentParser(prog="nonevent.embedded.relay", description=__doc__)
    parser.add_argument("--listen", required=True, help="the Unix socket to make")
    parser.add_argument("--to", required=True, type=address, help="HOST:PORT")
    options = parser.parse_args(argv)
    host, port = options.to
    try:
        listener = listen(options.listen)
    except OSError as error:
        say(f"cannot listen on {options.listen}: {error.strerror or error}")
        return 98
    raise_file_limit()
    own = os.stat(options.listen).st_ino  # noqa: PTH116
    try:
        asyncio.run(
            serve(
                listener,
                partial(relay, host=host, port=port),
                stopping=lambda: _remove(options.listen, own),
                limit=DRAIN,
                greeting=f"listening on {options.listen} for {host}:{port}",
            )
        )
    finally:
        _remove(options.listen, own)
    return 0


def _remove(path: str, own: int) -> None:
    """Remove the socket, unless another process has put its own there."""
    try:
        if os.stat(path).st_ino == own:  # noqa: PTH116
            os.unlink(path)  # noqa: PTH108
    except FileNotFoundError:
        pass


if __name__ == "__main__":
    sys.exit(main(tuple(sys.argv[1:])))
