"""Bytes that arrive compressed: all of them, or an error of ours, and never more than is taken."""

from __future__ import annotations

import io
import os
import shutil
import sys
import zlib
from typing import TYPE_CHECKING

import pytest

from nonevent.agent import inflate
from nonevent.build.zstd import compressed, compressing
from nonevent.errors import ArtifactInvalid, DiskFull

if TYPE_CHECKING:
    from pathlib import Path

DATA = os.urandom(300_000) + bytes(3_000_000)


def packed(encoding: str, data: bytes = DATA) -> bytes:
    """The data as a client sends it."""
    match encoding:
        case "zstd":
            if not inflate.has_zstd():
                pytest.skip("this machine has no zstd")
            return b"".join(compressed(iter((data,)), len(data)))
        case "zlib":
            return zlib.compress(data, 1)
        case _:
            return data


def unpacked(encoding: str, data: bytes, step: int = 1 << 18) -> bytes:
    """What comes out, fed in steps."""
    out = io.BytesIO()
    with inflate.inflating(encoding, lambda piece: _keep(out, piece)) as feed:
        for begin in range(0, len(data), step):
            feed(data[begin : begin + step])
    return out.getvalue()


def _keep(out: io.BytesIO, piece: bytes) -> None:
    assert len(piece) <= inflate.PIECE
    out.write(piece)


@pytest.mark.parametrize("encoding", inflate.ENCODINGS)
@pytest.mark.parametrize("step", [1009, 1 << 18])
def test_what_was_packed_comes_out(encoding: str, step: int) -> None:
    """However it is cut on the way, the same bytes come out, in pieces of a bounded size."""
    assert unpacked(encoding, packed(encoding), step) == DATA


@pytest.mark.parametrize("encoding", ["zstd", "zlib"])
@pytest.mark.parametrize("change", ["cut", "changed", "longer", "other"])
def test_damage_is_an_error_of_ours(encoding: str, change: str) -> None:
    """Cut short, changed, followed by more, or something else: it is refused."""
    whole = packed(encoding)
    half = len(whole) // 2
    data = {
        "cut": whole[:half],
        "changed": bytes(16) + whole[16:],
        "longer": whole + b"more that nobody announced",
        "other": b"#!/bin/sh\n" * 99,
    }[change]
    with pytest.raises(ArtifactInvalid, match="cannot be unpacked"):
        unpacked(encoding, data)


@pytest.mark.parametrize("encoding", ["zstd", "zlib"])
def test_who_takes_it_says_stop(encoding: str) -> None:
    """A bomb ends with the error of whoever counts the bytes, after one piece too many at most."""
    taken = 0

    def take(piece: bytes) -> None:
        nonlocal taken
        taken += len(piece)
        if taken > 1 << 20:
            raise DiskFull("enough")

    bomb = packed(encoding, bytes(200 << 20))
    with pytest.raises(DiskFull), inflate.inflating(encoding, take) as feed:  # noqa: PT012
        for begin in range(0, len(bomb), 999):
            feed(bomb[begin : begin + 999])
    assert taken <= (1 << 20) + inflate.PIECE


def test_a_program_that_does_not_run_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host has zstd only where the program that is called so also works."""
    if not shutil.which("zstd"):
        pytest.skip("this machine has no zstd")
    if sys.version_info >= (3, 14):
        pytest.skip("this Python has zstd of its own")
    assert inflate.has_zstd()
    program = tmp_path / "zstd"
    program.write_text("#!/bin/sh\nexit 127\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not inflate.has_zstd()
    program.unlink()
    with pytest.raises(ArtifactInvalid, match="cannot unpack"), inflate.inflating("zstd", print):
        pass


def test_what_a_file_of_ours_is_packed_as_is_unpacked() -> None:
    """A frame as an artifact has it is understood too."""
    out = io.BytesIO()
    with compressing(out) as stream:
        stream.write(DATA)
    packed("zstd")
    assert unpacked("zstd", out.getvalue()) == DATA
