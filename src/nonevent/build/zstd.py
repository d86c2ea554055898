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
_MAGIC = 0xFD2FB528
_CHECKSUM = 4

Zstd = zstd.ZstdFile
ZstdError = zstd.ZstdError


def compressing(out: IO[bytes]) -> Zstd:
    """A file that writes one frame with a checksum to ``out``, which it leaves open."""
    return zstd.ZstdFile(
        out,
        "wb",
        options={
            zstd.CompressionParameter.compression_level: LEVEL,
            zstd.CompressionParameter.checksum_flag: 1,
            zstd.CompressionParameter.nb_workers: WORKERS,
        },
    )


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


def frame_sizes(path: Path) -> tuple[int, ...]:
    """The bytes of each frame of a file, from its headers alone; none where it is not zstd.

    https://datatracker.ietf.org/doc/html/rfc8878#section-3.1.1
    """
    with path.open("rb", buffering=0) as file:
        return tuple(_frame_sizes(file.fileno(), path.stat().st_size))


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
