"""The tar format, as much of it as an artifact has: POSIX ustar with GNU long names.

There is exactly one header for an entry. So a reader that knows the entry from a file list need
not interpret what stands in the archive: it makes the header itself and compares.
https://www.gnu.org/software/tar/manual/html_node/Standard.html
"""

from __future__ import annotations

BLOCK = 512
END = bytes(2 * BLOCK)
LARGEST = 8**11 - 1
"""Bytes of the largest file: eleven octal digits."""
_LONG = b"././@LongLink"
_TYPES = {
    b"0": "file",
    b"\0": "file",
    b"1": "hard link",
    b"2": "symbolic link",
    b"3": "character device",
    b"4": "block device",
    b"5": "folder",
    b"6": "fifo",
}


def header(path: str, *, mode: int = 0o644, size: int = 0, link: str = "") -> bytes:
    """The header of a file, or of a symbolic link where ``link`` is its target."""
    name, target = path.encode(), link.encode()
    parts = []
    if len(target) > 100:
        parts.append(_long(b"K", target))
    if len(name) > 100:
        parts.append(_long(b"L", name))
    kind = b"2" if link else b"0"
    mode = 0o777 if link else mode
    parts.append(_block(name[:100], mode=mode, size=size, kind=kind, target=target[:100]))
    return b"".join(parts)


def header_size(path: str, *, link: str = "") -> int:
    """The bytes of :func:`header`."""
    names = (len(name.encode()) for name in (path, link))
    return BLOCK + sum(BLOCK + size + 1 + -(size + 1) % BLOCK for size in names if size > 100)


def padding(size: int) -> bytes:
    """What follows a body of ``size`` bytes to fill its last block."""
    return bytes(-size % BLOCK)


def body_size(block: bytes) -> int | None:
    """The size a header block gives, or None where it gives none that we would write."""
    digits = block[124:135]
    return int(digits, 8) if len(digits) == 11 and all(48 <= d < 56 for d in digits) else None


def described(block: bytes) -> str:
    """What a header block claims to be, for an error message."""
    if not block.strip(b"\0"):
        return "the end of the archive"
    if len(block) < BLOCK or block[257:262] != b"ustar":
        return "something that is no tar header"
    name = block[:100].split(b"\0")[0].decode(errors="backslashreplace")
    kind = _TYPES.get(block[156:157], "entry of an unknown type")
    mode = block[100:107].decode(errors="backslashreplace").lstrip("0")
    return f"a {kind} {name!r} with mode {mode or '0'}"


def _long(kind: bytes, name: bytes) -> bytes:
    size = len(name) + 1
    head = _block(_LONG, mode=0o644, size=size, kind=kind, target=b"")
    return head + name + b"\0" + padding(size)


def _block(name: bytes, *, mode: int, size: int, kind: bytes, target: bytes) -> bytes:
    block = b"".join(
        (
            name.ljust(100, b"\0"),
            b"%07o\0" % mode,
            b"%07o\0" % 0,  # owner
            b"%07o\0" % 0,  # group
            b"%011o\0" % size,
            b"%011o\0" % 0,  # time of the last change
            b" " * 8,
            kind,
            target.ljust(100, b"\0"),
            b"ustar\00000",
        )
    ).ljust(BLOCK, b"\0")
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]
