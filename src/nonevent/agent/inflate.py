"""Bytes that travel compressed: zstd where this host has it, else zlib.

The standard library has zstd from Python 3.14 on (PEP 784); before that the program may be there.
What is made of a few bytes may be huge: it is handed on in pieces, and who takes them says stop.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib
import os
import shutil
import subprocess
import sys
import threading
import zlib
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from nonevent.errors import ArtifactInvalid

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ENCODINGS = ("zstd", "zlib", "plain")
PIECE = 2**18
"""Bytes that are unpacked at once."""
MEMORY = 64
"""Megabytes that unpacking may ask for; what we send needs 8."""
WIDE = 2**20
"""Bytes in a pipe: what any user may ask for unless the host says otherwise."""
END_LIMIT = 60.0


def has_zstd() -> bool:
    """Whether this host can unpack zstd."""
    if sys.version_info >= (3, 14):
        return True
    # What is called so and does not run is none.
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        subprocess.run(("zstd", "-V"), check=True, capture_output=True, timeout=END_LIMIT)
        return True
    return False


@contextmanager
def inflating(encoding: str, write: Callable[[bytes], None]) -> Iterator[Callable[[bytes], None]]:
    """What takes compressed bytes; ``write`` gets what is in them, all of it by the block's end.

    Raises:
        ArtifactInvalid: the bytes are damaged, end too early, or go on after their end.
    """
    if encoding == "plain":
        yield write
    elif encoding == "zlib":
        with _by_library(zlib.decompressobj, write) as feed:
            yield feed
    elif sys.version_info >= (3, 14):
        with _by_library(_zstd, write, several=True) as feed:
            yield feed
    else:
        with _by_program(write) as feed:
            yield feed


def _zstd() -> Any:  # noqa: ANN401  (older interpreters have no such module)
    zstd = importlib.import_module("compression.zstd")
    window = {zstd.DecompressionParameter.window_log_max: 26}
    return zstd.ZstdDecompressor(options=window)


@contextmanager
def _by_library(
    start: Callable[[], Any],
    write: Callable[[bytes], None],
    *,
    several: bool = False,
) -> Iterator[Callable[[bytes], None]]:
    """``several`` says that what follows an end may be another beginning, as frames of zstd do."""
    current = start()

    def feed(data: bytes) -> None:
        nonlocal current
        while True:
            try:
                if several and current.eof and data:
                    current = start()
                made = current.decompress(data, PIECE)
            except Exception as error:
                raise _damaged(str(error)) from error
            write(made)
            if current.unused_data and not several:
                raise _damaged("it goes on after its end")
            data = current.unused_data if current.eof else getattr(current, "unconsumed_tail", b"")
            if not data and (current.eof or len(made) < PIECE):
                return

    yield feed
    if not current.eof:
        raise _damaged("it ends too early")


@contextmanager
def _by_program(write: Callable[[bytes], None]) -> Iterator[Callable[[bytes], None]]:
    """A second thread reads what the program writes, so that neither waits for the other."""
    program = shutil.which("zstd")
    if program is None:
        raise ArtifactInvalid("the client sent zstd, which this host cannot unpack")
    from tempfile import TemporaryFile

    failures: list[BaseException] = []
    with TemporaryFile() as said:
        argv = (program, "-dcq", f"--memory={MEMORY}MB")
        child = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said)
        _widen(child)
        taker = threading.Thread(target=_take, args=(child, write, failures))
        taker.start()
        try:
            with contextlib.suppress(BrokenPipeError):
                yield lambda data: _feed(child, data)
                _close(child)
            taker.join()
            if failures:
                raise failures[0]
            if child.wait(END_LIMIT):
                said.seek(0)
                raise _damaged(said.read(500).decode(errors="replace").strip())
        finally:
            # Also where the connection broke: what has come is handed on, and need not come again.
            with contextlib.suppress(BrokenPipeError):
                _close(child)
            taker.join()
            child.kill()
            child.wait()


def _widen(child: subprocess.Popen[bytes]) -> None:
    """Let more lie in the pipes, as far as this host allows it; see pipe(7), Pipe capacity.

    Those who work beside each other wait less for each other then.
    """
    for stream in (child.stdin, child.stdout):
        assert stream  # noqa: S101  (it was started with pipes)
        with contextlib.suppress(OSError):
            fcntl.fcntl(stream, fcntl.F_SETPIPE_SZ, WIDE)


def _take(
    child: subprocess.Popen[bytes], write: Callable[[bytes], None], failures: list[BaseException]
) -> None:
    """Hand on what the program unpacks; the first failure ends it, which the feeder notices."""
    assert child.stdout  # noqa: S101  (it was started with a pipe)
    try:
        with child.stdout:
            while data := os.read(child.stdout.fileno(), PIECE):
                write(data)
    except BaseException as error:  # noqa: BLE001  (raised again by the thread that feeds)
        failures.append(error)
        child.kill()


def _feed(child: subprocess.Popen[bytes], data: bytes) -> None:
    assert child.stdin  # noqa: S101  (it was started with a pipe)
    child.stdin.write(data)


def _close(child: subprocess.Popen[bytes]) -> None:
    assert child.stdin  # noqa: S101  (it was started with a pipe)
    child.stdin.close()


def _damaged(why: str) -> ArtifactInvalid:
    return ArtifactInvalid(
        f"what arrived cannot be unpacked: {why}", hint="build or fetch the artifact again"
    )
