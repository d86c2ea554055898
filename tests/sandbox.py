"""A small project with an environment of its own, in which tests type whole commands.

Its one dependency is a wheel that is made here, so that nothing is downloaded; its server is
the standard library's, so that it starts fast.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from repository import Repository

from nonevent.deploy.project import operator
from nonevent.model.layout import Layout
from nonevent.testing.load import Load
from nonevent.testing.process import until
from nonevent.testing.traffic import Traffic

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from nonevent.testing.report import Report

TEMPLATE = Path(__file__).parent / "cases" / "transcripts" / "project"
LIMIT = 60.0
"""Seconds within which every command must have ended."""
NONEVENT = (sys.executable, "-m", "nonevent.cli")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """How a command ended, and what it wrote."""

    words: tuple[str, ...]
    status: int
    stdout: str
    stderr: str

    def must(self, status: int) -> Ran:
        """The same, where it ended with that exit code."""
        assert self.status == status, f"{self.words} -> {self.status}\n{self.stderr}{self.stdout}"
        assert "Traceback" not in "\n".join(
            line for line in self.stderr.splitlines() if not line.lstrip().startswith("|")
        ), self.stderr
        return self

    def events(self) -> list[dict[str, Any]]:
        """What a command with ``--json`` wrote: one object a line."""
        return [json.loads(line) for line in self.stdout.splitlines()]


class Sandbox(Repository):
    """A project in a folder of its own with a short name: names of sockets must be short."""

    def __init__(self, cache: Path, *, inside: str = "shop") -> None:
        self.base = Path(tempfile.mkdtemp(prefix="ne-"))
        self.cache = cache
        self.port = free_port()
        super().__init__(self.base / inside)
        self.root = self.path / ".nonevent" / "local"
        self.environ = _environ(cache, self.base)
        wheel = make_wheel(cache / "wheels")
        digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
        files = {each.name: each.read_text() for each in TEMPLATE.iterdir() if each.is_file()}
        config = files["nonevent.toml"].replace("8000", str(self.port))
        files |= {
            "nonevent.toml": config,
            "requirements.txt": f"tiny==1.0 --hash=sha256:{digest}\n",
            ".gitignore": "__pycache__/\n",
        }
        self.commit(files, "Open the shop")

    def type(self, *words: str, env: Mapping[str, str] | None = None, limit: float = LIMIT) -> Ran:
        """Run a command of nonevent here to its end."""
        with self.start(*words, env=env) as child:
            return self.end_of(child, words, limit=limit)

    def start(self, *words: str, env: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
        """Start a command of nonevent in this folder."""
        return subprocess.Popen(
            (*NONEVENT, *words),
            cwd=self.path,
            env={**self.environ, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def end_of(
        self, child: subprocess.Popen[str], words: tuple[str, ...], *, limit: float = LIMIT
    ) -> Ran:
        """Wait for a command that was started."""
        try:
            stdout, stderr = child.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            child.kill()
            raise
        return Ran(words=words, status=child.returncode, stdout=stdout, stderr=stderr)

    def shop(self, source: str, subject: str = "Change the shop") -> str:
        """Commit another ``shop.py``; the commit."""
        return self.commit({"shop.py": source}, subject)

    def says(self, text: str) -> str:
        """Commit a shop that works and says this; the commit."""
        return self.shop(f"def answer(path):\n    return 200, {text!r}\n", f"Say {text}")

    def config(self, *, before: str = "", after: str = "", **durations: str) -> dict[str, str]:
        """The configuration with something before it, after it, and with other durations."""
        text = (self.path / "nonevent.toml").read_text()
        for key, value in durations.items():
            text = re.sub(f'{key} = "[^"]*"', f'{key} = "{value}"', text)
        return {"nonevent.toml": before + text + after}

    def config_at(self, port: int) -> dict[str, str]:
        """The configuration with another port, which is from now on the one that is asked."""
        text = (self.path / "nonevent.toml").read_text()
        self.port = port
        return {"nonevent.toml": re.sub(r"(?m)^port = \d+$", f"port = {port}", text)}

    def deployed(self, text: str = "version one") -> Sandbox:
        """Have a release serve that says this."""
        self.says(text)
        self.type("deploy", "local").must(0)
        assert self.get() == text
        return self

    def get(self, path: str = "/") -> str:
        """What the app answers through its port; empty where nobody listens."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        with contextlib.closing(connection), contextlib.suppress(ConnectionRefusedError):
            connection.request("GET", path)
            return connection.getresponse().read().decode().strip()
        return ""

    def load(self) -> Load:
        """Requests at a constant rate, a connection each, for the length of a block."""
        url = f"http://127.0.0.1:{self.port}"
        return Load(Traffic(url=url, rate=40, mode="new", mix=(("fast", 1),)))

    def number(self) -> int:
        """The release that the link ``current`` names; 0 where none does."""
        with contextlib.suppress(FileNotFoundError):
            return int(os.readlink(self.root / "current").rpartition("/")[2])
        return 0

    def processes(self) -> dict[int, str]:
        """All that runs from this folder or for it, by process id."""
        return dict(_processes_of(str(self.path)))

    def remains(self) -> dict[str, object]:
        """What runs, listens, is defined or is half-made: what a failed deploy leaves as it was."""
        layout = Layout(self.root)
        state = self.path / ".nonevent"
        hidden = [
            str(path.relative_to(self.path))
            for path in state.rglob(".*")
            if path.name != ".gitignore" and "releases/" not in str(path.parent)
        ]
        scratch = self.cache / "nonevent" / "scratch"
        return {
            "processes": self.processes(),
            "sockets": _names(layout.run),
            "programs": _names(layout.programs),
            "hidden": sorted(hidden),
            "scratch": _names(scratch),
            "current": self.number(),
        }

    @contextlib.contextmanager
    def unwritable(self) -> Iterator[None]:
        """The project's folder refuses to be written, also to root, for whom modes mean nothing."""
        if os.getuid():
            self.path.chmod(0o555)
            yield
            self.path.chmod(0o755)
            return
        place = str(self.path)
        mount("--bind", place, place)
        mount("-o", "remount,ro,bind", place)
        try:
            yield
        finally:
            unmount(place)

    def told(self, ran: Ran) -> str:
        """A transcript of a command, without what differs from one run to the next."""
        text = f"$ nonevent {' '.join(ran.words)}\n{ran.stderr}"
        if ran.stdout:
            text += f"--- standard output\n{ran.stdout}"
        return self.filtered(f"{text}--- exit code {ran.status}\n")

    def filtered(self, text: str) -> str:
        """A text without paths, digests, times, process ids and the like."""
        text = text.replace(str(self.path), "PROJECT").replace(str(self.base), "BASE")
        text = text.replace(str(self.cache), "CACHE").replace(str(self.port), "PORT")
        text = text.replace(operator(), "USER")
        for pattern, name in _FILTERS:
            text = re.sub(pattern, name, text, flags=re.MULTILINE)
        return text

    def kill(self) -> None:
        """Kill all that runs here."""
        until(lambda: not _killed(self.processes()))

    def end(self) -> None:
        """Kill all that runs here, and remove the folder."""
        self.kill()
        run = Layout(self.root.resolve()).run
        if not run.is_relative_to(self.base):
            shutil.rmtree(run, ignore_errors=True)
        shutil.rmtree(self.base)


_FILTERS = (
    # It may be at work at any moment.
    (r"^note: busy: the keeper: tidying up\n", ""),
    (r"\b[0-9a-f]{64}\b", "DIGEST"),
    (r"\b\d+ inodes", "N inodes"),
    (r"-[0-9a-f]{7}((?:-dirty)?)-[0-9a-f]{8}\.tar", r"-COMMIT\1-DIGEST.tar"),
    (r"\b[0-9a-f]{7}(?:[0-9a-f]{33})?\b", "COMMIT"),
    (r"(agent|deps|app)-[0-9a-f]{16,}", r"\1-DIGEST"),
    (r"\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "TIME"),
    (r" +\d+\.\d s$", "  SECONDS"),
    (r"(?<=[^\s|]) {2,}", "  "),
    (r"^(\w+  \d+  [a-z]+(?: \(serves\))?)  \d+  \d+ \w+  ", r"\1  PID  AGE  "),
    (r" +$", ""),
    (r"\b\d+\.\d s\b", "SECONDS"),
    (r"\b(process|pid) \d+", r"\1 PID"),
    (r"(\d packages?), unchanged", r"\1"),
    (r"app  \d+ files", "app  N files"),
    (r"(web of release \w+) ended (right after its start|with status \d)", r"\1 ENDED"),
    (r"\b\d+(\.\d)? (B|kB|MB|GB)\b", "SIZE"),
    (r"\bPython 3\.\d+\.\d+\b", "Python 3"),
    (r", (once|\d+ times)$", ", N times"),
)


def mount(*words: str) -> None:
    """Mount something; skip the test where this process may not."""
    made = subprocess.run(
        ("mount", *words), check=False, capture_output=True, text=True, timeout=30
    )
    if made.returncode:
        pytest.skip(f"may not mount: {made.stderr.strip()}")


def unmount(place: str) -> None:
    """Take a mount away."""
    subprocess.run(("umount", place), check=True, timeout=30)


def free_port() -> int:
    """A port on which nobody listens."""
    with socket.socket() as attempt:
        attempt.bind(("127.0.0.1", 0))
        return int(attempt.getsockname()[1])


def make_wheel(folder: Path) -> Path:
    """The wheel of a package that holds one line."""
    folder.mkdir(parents=True, exist_ok=True)
    wheel = folder / "tiny-1.0-py3-none-any.whl"
    meta = "tiny-1.0.dist-info"
    members = {
        "tiny.py": 'VERSION = "1.0"\n',
        f"{meta}/METADATA": "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n",
        f"{meta}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{name},,\n" for name in (*members, f"{meta}/RECORD"))
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, text in {**members, f"{meta}/RECORD": record}.items():
            archive.writestr(zipfile.ZipInfo(name), text)
    return wheel


def _environ(cache: Path, home: Path) -> dict[str, str]:
    """An environment in which nothing is downloaded and nobody is at home."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "USER": os.environ.get("USER", ""),
        "LANG": "C.UTF-8",
        "COLUMNS": "120",
        "XDG_CACHE_HOME": str(cache),
        "UV_OFFLINE": "1",
        "UV_FIND_LINKS": str(cache / "wheels"),
    }


def _names(folder: Path) -> tuple[str, ...]:
    with contextlib.suppress(FileNotFoundError):
        return tuple(sorted(os.listdir(folder)))
    return ()


def _processes_of(place: str) -> Iterator[tuple[int, str]]:
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            words = Path(f"/proc/{name}/cmdline").read_bytes().replace(b"\0", b" ").decode()
            values = Path(f"/proc/{name}/environ").read_bytes().decode(errors="replace")
            if words and (place in words or f"NONEVENT_ROOT={place}" in values):
                yield int(name), words


def _killed(found: dict[int, str]) -> bool:
    for pid in found:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return bool(found)


def relative(told: str, number: int) -> str:
    """A transcript with the releases' numbers said as OLD, the one that serves, and NEW."""
    for place in ("release ", "releases/", "web-", "release-"):
        told = told.replace(f"{place}{number + 1}", f"{place}NEW")
        told = told.replace(f"{place}{number}", f"{place}OLD")
    return told


def must_have_lost_nothing(report: Report, *releases: int) -> None:
    """Every request was answered, and by no other release than these."""
    assert report.lost_count == 0, str(report)
    assert report.answered > 0
    assert set(report.releases) == {str(number) for number in releases}


def must_deploy(sandbox: Sandbox, text: str) -> Ran:
    """The next deploy just works."""
    sandbox.says(text)
    ran = sandbox.type("deploy", "local").must(0)
    assert sandbox.get() == text
    return ran
