"""Pages of the documentation that can be run: their files, their commands, what came of them.

A block that starts with e.g. ```` ```python app.py ```` is a file. A block ```` ```console ````
holds commands, each after ``$``, and what they wrote; a line ``...`` stands for any lines. The
commands of a page run in one shell, in a folder of their own, and the app gets a port of its own.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import uuid
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from random import sample
from threading import Timer
from typing import TYPE_CHECKING, Self

from real import environ, remains

from nonevent.deploy.project import operator

if TYPE_CHECKING:
    from collections.abc import Iterator

COMMAND_LIMIT = 120.0
WRITTEN_PORT = "8000"
PORTS = range(8100, 10000)
"""As long as the written one, so that columns stay columns."""
ANYTHING = "..."
GIT = "[user]\nname = Ada\nemail = ada@example.com\n[init]\ndefaultBranch = main\n"
CURL = """\
import sys, urllib.request
print(urllib.request.urlopen(sys.argv[-1], timeout=10).read().decode(), end="")
"""
"""What the pages need of curl, which not every machine has."""

FILTERS = (
    # A heartbeat makes the next line say again what it is about.
    (r"^(build|local) +", ""),
    (r"\b[0-9a-f]{64}\b", "DIGEST"),
    (r"-[0-9a-f]{7}-[0-9a-f]{8}\.tar", "-COMMIT-DIGEST.tar"),
    (r"\b(?=[0-9a-f]*\d)[0-9a-f]{7}(?:[0-9a-f]{33})?\b", "COMMIT"),
    (r"\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(Z| \+0000)", "TIME"),
    (r"\[\d+\]|(?<=pid: )\d+|(?<=\()\d+(?=\)$)", "PID"),
    (r"(?<=running \(serves\)) +\d+", " PID"),
    (r"\b\d+(\.\d+)? (s|min)\b", "DURATION"),
    (r"\b\d+(\.\d+)? (B|kB|MB|GB)\b", "SIZE"),
    (r"/[\w./-]+/python3(\.\d+)?/", "/PYTHON/"),
    (r"\bPython 3\.\d+\.\d+|\b3\.\d+\.\d+, (?=manylinux|linux)", "PYTHON"),
    (r"is not running|ended right after its start|ended with status 3", "ENDED"),
    (r"\S+@\S+", "USER"),
    (r"[ \t]+", " "),
)


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block of a page: what stands after the fence, and its lines from ``first`` on."""

    info: str
    first: int
    lines: tuple[str, ...]


def blocks(text: str) -> Iterator[Block]:
    """The fenced blocks of a page, in order."""
    info, first, lines = "", 0, text.splitlines()
    for number, line in enumerate(lines):
        if not line.startswith("```"):
            continue
        if first:
            yield Block(info, first, tuple(lines[first:number]))
            first = 0
        else:
            info, first = line.removeprefix("```"), number + 1


def run_page(text: str, *, before: str = "") -> str:
    """The page with what its commands write now, where that is something else.

    ``before`` is another page, of which everything before ``nonevent init`` is done first.
    """
    lines = text.splitlines()
    with Shell() as shell:
        for block in blocks(before):
            if "$ nonevent init" in block.lines:
                break
            shell.write(block)
            shell.play(block.lines if block.info == "console" else ())
        shift = 0
        for block in blocks(text):
            shell.write(block)
            if block.info == "console":
                now = shell.play(block.lines)
                start = block.first + shift
                lines[start : start + len(block.lines)] = now
                shift += len(now) - len(block.lines)
    return "\n".join(lines) + "\n"


class Shell:
    """A shell in a folder of its own, in which pages are tried."""

    def __init__(self) -> None:
        self.base = Path(tempfile.mkdtemp(prefix="ne-")).resolve()
        self.port = _short_port()
        self.folder = self.base
        programs = self.base / "bin"
        programs.mkdir()
        (programs / "curl").write_text(f"#!{sys.executable}\n{CURL}")
        (programs / "curl").chmod(0o755)
        (self.base / ".gitconfig").write_text(GIT)
        env = environ() | {
            "HOME": str(self.base),
            "XDG_CACHE_HOME": str(self.base / "cache"),
            "PATH": f"{programs}:{Path(sys.executable).parent}:{os.environ['PATH']}",
            "COLUMNS": "120",
            "LANG": "C.UTF-8",
            "TZ": "UTC",
        }
        self.child = subprocess.Popen(
            ("bash", "--noprofile", "--norc"), cwd=self.base, env=env, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def __enter__(self) -> Self:
        """The shell itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """End what runs, and remove the folder."""
        for state in self.base.rglob(".nonevent"):
            root = state / "local"
            words = (sys.executable, "-m", "nonevent.cli", "stop", "local", "-C", state.parent)
            subprocess.run(words, check=False, capture_output=True, timeout=COMMAND_LIMIT)
            for pid in remains(root):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        with self.child:
            self.child.kill()
        shutil.rmtree(self.base)

    def write(self, block: Block) -> None:
        """Write the file that a block is, if it is one."""
        name = block.info.partition(" ")[2]
        if name:
            file = self.folder / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("\n".join((*block.lines, "")))

    def play(self, written: tuple[str, ...]) -> list[str]:
        """A block's lines as they would be now; those that say the same stay as they are."""
        now: list[str] = []
        for command, expected in commands(written):
            output = self.type(command)
            now += [f"$ {command}", *(expected if same(expected, output) else output)]
        return now

    def type(self, command: str) -> tuple[str, ...]:
        """Run a command; what it wrote."""
        if command.startswith("git "):
            self._choose_port()
        end = uuid.uuid4().hex
        here = command.replace(WRITTEN_PORT, str(self.port))
        script = f"{{ {here}\n}} </dev/null; s=$?; echo; echo {end} $PWD; (exit $s)\n"
        assert self.child.stdin
        assert self.child.stdout
        self.child.stdin.write(script)
        self.child.stdin.flush()
        written: list[str] = []
        limit = Timer(COMMAND_LIMIT, self.child.kill)
        limit.start()
        for line in self.child.stdout:
            if line.startswith(end):
                self.folder = Path(line.split()[1])
                break
            written.append(line)
        limit.cancel()
        assert self.child.poll() is None, f"{command} did not end: {written}"
        text = "".join(written).removesuffix("\n").replace(str(self.port), WRITTEN_PORT)
        text = text.replace(str(self.base), "/home/ada").replace(operator(), "ada@pc")
        # A heartbeat says that the machine is busy, not what the command does.
        lines = [line.rstrip() for line in text.splitlines() if not line.startswith("still: ")]
        return tuple(lines)

    def _choose_port(self) -> None:
        """Give the app the free port; to git it is as if the author had."""
        config = self.folder / "nonevent.toml"
        if config.exists() and "[environments.local]" not in config.read_text():
            with config.open("a") as file:
                file.write(f"\n[environments.local]\nport = {self.port}\n")


def _short_port() -> int:
    """A port of four digits that nobody listens on now."""
    for port in sample(PORTS, len(PORTS)):
        with socket.socket() as attempt, contextlib.suppress(OSError):
            attempt.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no port is free")


def commands(lines: tuple[str, ...]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The commands of a block, and what stands below each."""
    starts = [number for number, line in enumerate(lines) if line.startswith("$ ")]
    for start, end in pairwise((*starts, len(lines))):
        yield lines[start].removeprefix("$ "), lines[start + 1 : end]


def same(expected: tuple[str, ...], output: tuple[str, ...]) -> bool:
    """Whether both say the same, apart from what differs from one run to the next."""
    pattern = "".join(
        r"(?:.*\n)*" if line.strip() == ANYTHING else re.escape(_plain(line)) + r"\n"
        for line in expected
    )
    return bool(re.fullmatch(pattern, "".join(f"{_plain(line)}\n" for line in output)))


def _plain(line: str) -> str:
    for pattern, name in FILTERS:
        line = re.sub(pattern, name, line)
    return line.strip()
