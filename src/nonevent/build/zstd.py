"""Zstandard: in the standard library from Python 3.14 (PEP 784), before that its backport."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

if TYPE_CHECKING:
    from typing import IO

LEVEL = 3
WORKERS = 2

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


def decompressing(source: IO[bytes]) -> Zstd:
    """A file that reads all frames of ``source`` as one stream.

    Its ``read`` raises ZstdError for damage and EOFError for a frame that ends early; a frame
    that asks for a window above 128 MiB is refused (the library's own limit).
    """
    return zstd.ZstdFile(source, "rb")
