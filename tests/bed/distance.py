"""A long way between two network links: delay, loss and a limited rate, as a program.

What ``tc netem`` does, for kernels that are built without it. Frames are read from one link and
written to the other, packet(7), together with the header that says what is left to be done to
them (checksums, segments of a large send), so that they pass as they are.
"""

from __future__ import annotations

import heapq
import random
import select
import socket
import sys
import time
from pathlib import Path

ETH_P_ALL = 0x0003
SOL_PACKET = 263
PACKET_VNET_HDR = 15
PACKET_IGNORE_OUTGOING = 23
LARGEST = 10 + 18 + 65536
BUFFER = 0.25
"""Seconds that a frame may wait for its turn where the rate is limited; then it is lost."""


def carry(
    ends: tuple[socket.socket, socket.socket], *, delay: float, loss: float, rate: float
) -> None:
    """Carry frames both ways until a link is gone. Seconds, a fraction, bits per second or 0."""
    waiting: list[tuple[float, int, int, bytes]] = []
    free = [0.0, 0.0]
    count = 0
    while True:
        pause = max(0.0, waiting[0][0] - time.monotonic()) if waiting else None
        readable, _, _ = select.select(ends, (), (), pause)
        now = time.monotonic()
        for end in readable:
            frame = end.recv(LARGEST)
            to = 1 - ends.index(end)
            if random.random() < loss or free[to] - now > BUFFER:
                continue
            free[to] = max(free[to], now) + (len(frame) * 8 / rate if rate else 0.0)
            count += 1
            heapq.heappush(waiting, (free[to] + delay, count, to, frame))
        while waiting and waiting[0][0] <= now:
            _, _, to, frame = heapq.heappop(waiting)
            ends[to].send(frame)


def attach(device: str) -> socket.socket:
    """A socket that reads what arrives on a link, and not what leaves through it."""
    end = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    end.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
    end.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
    end.bind((device, 0))
    return end


def main(one: str, other: str, ready: str, delay: str, loss: str, rate: str) -> None:
    """Say through a file that frames are carried, and carry them."""
    ends = (attach(one), attach(other))
    Path(ready).touch()
    carry(ends, delay=float(delay), loss=float(loss), rate=float(rate))


if __name__ == "__main__":
    main(*sys.argv[1:])
