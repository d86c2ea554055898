"""Zstandard: in the standard library from Python 3.14 (PEP 784), before that its backport."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path
    from typing import IO

LEVEL = 3
SMALL_LEVEL = 6
"""For a few megabytes: 8 % less than level 3, at 50 MB per second and core; 9 gains 2 % more."""
SMALL = 32 << 20
WORKERS = 2
SHARED = 8 << 20
EMPTY = bytes.fromhex("28b52ffd2000010000")
"""A frame with nothing in it, which any reader passes over: it ends a part of an artifact."""
VERSION = zstd.zstd_version
"""Another one may make other bytes of the same."""
_MAGIC = 0xFD2FB528
_CHECKSUM = 4

Zstd = zstd.ZstdFile
ZstdError = zstd.ZstdError


def compressing(out: IO[bytes], size: int = SMALL) -> Zstd:
    """A file that writes one frame with a checksum to ``out``, which it leaves open.

    ``size`` is about how many bytes go in: for a few there is nothing that two could share.
    """
    options: dict[int, int] = {
        zstd.CompressionParameter.compression_level: LEVEL,
        zstd.CompressionParameter.checksum_flag: 1,
    }
    if size >= SHARED:
        options[zstd.CompressionParameter.nb_workers] = WORKERS
    return zstd.ZstdFile(out, "wb", options=options)


def compressed(chunks: Iterable[bytes], size: int) -> Iterator[bytes]:
    """One frame of what has about ``size`` bytes, piece by piece."""
    level = SMALL_LEVEL if size <= SMALL else LEVEL
    options: dict[int, int] = {
        zstd.CompressionParameter.compression_level: level,
        zstd.CompressionParameter.nb_workers: WORKERS,
    }
    compressor = zstd.ZstdCompressor(options=options)
    for chunk in chunks:
        yield compressor.compress(chunk)
    yield compressor.flush()


def parts_of(path: Path) -> tuple[tuple[int, int], ...]:
    """Where each part of a file begins, and its size; none where it is not zstd.

    A part is some frames with :data:`EMPTY` behind them, which is not counted. Found from the
    headers alone: https://datatracker.ietf.org/doc/html/rfc8878#section-3.1.1
    """
    parts: list[tuple[int, int]] = []
    with path.open("rb", buffering=0) as file:
        begin = place = 0
        for size in _frame_sizes(file.fileno(), path.stat().st_size):
            if size == len(EMPTY) and os.pread(file.fileno(), size, place) == EMPTY:
                parts.append((begin, place - begin))
                begin = place + size
            place += size
    return (*parts, (begin, place - begin))


def _frame_sizes(file: int, end: int) -> list[int]:
    """There are some ten thousand headers in a hundred megabytes: three bytes each, far apart."""
    sizes: list[int] = []
    begin = 0
    while begin < end:
        head = os.pread(file, 5, begin)
        if len(head) < 5 or int.from_bytes(head[:4], "little") != _MAGIC:
            return []
        flags = head[4]
        single = flags >> 5 & 1
        place = begin + 5 + (1 - single) + (0, 1, 2, 4)[flags & 3] + (single, 2, 4, 8)[flags >> 6]
        last = 0
        while not last:
            block = int.from_bytes(os.pread(file, 3, place), "little")
            last, kind, size = block & 1, block >> 1 & 3, block >> 3
            place += 3 + (1 if kind == 1 else size)
            if place > end:
                return []
        place += _CHECKSUM * (flags >> 2 & 1)
        sizes.append(place - begin)
        begin = place
    return sizes if begin == end else []


def decompressing(source: IO[bytes]) -> Zstd:
    """A file that reads all frames of ``source`` as one stream.

    Its ``read`` raises ZstdError for damage and EOFError for a frame that ends early; a frame
    that asks for a window above 128 MiB is refused (the library's own limit).
    """
    return zstd.ZstdFile(source, "rb")
