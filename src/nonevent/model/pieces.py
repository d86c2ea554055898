"""A file list in pieces, so that only those travel that the other side has not seen.

It is cut where its own text says so, not at fixed places: a row that comes, goes or changes
moves no cut but the nearest. Both sides cut alike, and the digest of the whole decides.
"""

from __future__ import annotations

import hashlib
import zlib
from math import isqrt

NAME = 8
"""Bytes that name a piece. That two of a list share a name by chance is one in 10^12."""
_BETWEEN = b"},{"
"""What separates the rows of a file list in its one spelling; it need not separate them only."""


def rows_in_a_piece(files: int) -> int:
    """How many rows a piece is to have on average, so that names and pieces weigh the same."""
    return max(4, isqrt(files) // 8)


def cut(text: bytes, rows: int) -> tuple[bytes, ...]:
    """The pieces of a file list, of about so many rows each."""
    pieces: list[bytes] = []
    piece: list[bytes] = []
    for row in text.split(_BETWEEN):
        piece.append(row)
        if zlib.crc32(row) % rows == 0:
            pieces.append(_BETWEEN.join(piece))
            piece = []
    if piece:
        pieces.append(_BETWEEN.join(piece))
    return tuple(pieces)


def join(pieces: tuple[bytes, ...]) -> bytes:
    """What was cut into these pieces; of some of the pieces, what is cut into them again."""
    return _BETWEEN.join(pieces)


def name(piece: bytes) -> bytes:
    """What names a piece."""
    return hashlib.sha256(piece).digest()[:NAME]
