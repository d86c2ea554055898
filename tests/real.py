"""Real projects on this machine: the command line, what answers, what runs, and the end of it."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from repository import Repository, environ
from uv import find_uv_bin

from nonevent.agent import kernel
from nonevent.testing.load import Load
from nonevent.testing.traffic import Traffic

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from nonevent.testing.report import Report

PROJECTS = Path(__file__).parent / "projects"
COMMAND_LIMIT = 300.0
ANSWER_LIMIT = 20.0
END_LIMIT = 30.0
UV_LIMIT = 120.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """One command of ``nonevent``: its exit status, its events, what it said on standard error."""

    status: int
    events: tuple[dict[str, Any], ...]
    stderr: str

    def event(self, name: str) -> dict[str, Any]:
        """The last event of that name."""
        return [each for each in self.events if each["event"] == name][-1]


@dataclass(frozen=True, slots=True)
class Project:
    """A repository with a project of any kind, and the port that its front gets."""

    repository: Repository
    port: int
    env: dict[str, str] = field(repr=False)

    @property
    def folder(self) -> Path:
        """The working tree."""
        return self.repository.path

    @property
    def root(self) -> Path:
        """The app's folder of the environment ``local``."""
        return self.folder / ".nonevent" / "local"

    def nonevent(self, *words: str) -> Outcome:
        """Run a command as a user does, in a process of its own."""
        ended = subprocess.run(
            (sys.executable, "-m", "nonevent.cli", *words, "--json"),
            cwd=self.folder, env=self.env, capture_output=True, text=True, check=False,
            timeout=COMMAND_LIMIT,
        )  # fmt: skip
        events = tuple(json.loads(line) for line in ended.stdout.splitlines())
        return Outcome(ended.returncode, events, ended.stderr)

    def good(self, *words: str) -> Outcome:
        """A command that must succeed."""
        outcome = self.nonevent(*words)
        assert outcome.status == 0, f"nonevent {' '.join(words)}: {outcome.events[-1]}"
        return outcome

    def init(self, more: str = "") -> None:
        """``nonevent init`` where it is due, a port of our own, and ``more``; all committed."""
        if not (self.folder / "nonevent.toml").exists():
            self.good("init")
        with (self.folder / "nonevent.toml").open("a") as file:
            file.write(f"\n[environments.local]\nport = {self.port}\n{more}")
        self.repository.commit()

    def keep_secret(self, text: str) -> None:
        """Write the secrets of ``local``, as a person does who reads the hint about their mode."""
        secrets = self.folder / "etc" / "local.secrets.env"
        secrets.parent.mkdir(exist_ok=True)
        secrets.write_text(text)
        secrets.chmod(0o600)

    def deploy(self) -> int:
        """``nonevent deploy local``; the release that serves."""
        return int(self.good("deploy", "local").event("serving")["release"])

    def rollback(self) -> int:
        """``nonevent rollback local``; the release that serves."""
        return int(self.good("rollback", "local").event("serving")["release"])

    def instances(self) -> dict[str, dict[str, Any]]:
        """What ``nonevent status local`` shows of each instance, by its name."""
        shown = self.good("status", "local").event("status")
        return {each["instance"]: each for each in shown["instances"]}

    def ask(self, path: str, method: str = "GET") -> tuple[str, str]:
        """One request on a new connection: the release that answered, and the answer's text."""
        with self.kept() as kept:
            return kept.ask(path, method)

    @contextmanager
    def kept(self) -> Iterator[Kept]:
        """A connection to the front that is kept alive."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=ANSWER_LIMIT)
        connection.connect()
        # It must not connect again by itself: then it would not be the one that was kept.
        connection.auto_open = 0
        with contextlib.closing(connection):
            yield Kept(connection)

    def traffic(self, **changes: Any) -> Traffic:
        """New and kept connections, quick and slow requests, uploads."""
        usual = {"url": f"http://127.0.0.1:{self.port}", "rate": 20.0, "slow": "/slow?s=0.7"}
        return Traffic(**(usual | changes))

    def end(self) -> None:
        """Stop the app, and kill what is left of it; raises if something was."""
        if not self.root.exists():
            return
        stopped = self.nonevent("stop", "local")
        left = remains(self.root)
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        assert stopped.status == 0, stopped.events
        assert not left, f"processes {left} were left behind"


@dataclass(frozen=True, slots=True)
class Kept:
    """A connection for one request after the other."""

    connection: http.client.HTTPConnection

    def ask(self, path: str, method: str = "GET") -> tuple[str, str]:
        """The release that answered, and the answer's text."""
        self.connection.request(method, path)
        return self.answer()

    def answer(self) -> tuple[str, str]:
        """What comes back for a request that was sent."""
        answer = self.connection.getresponse()
        text = answer.read().decode()
        assert answer.status == 200, f"{answer.status} {text[:500]}"
        return answer.getheader("X-Nonevent-Release") or "", text


def remains(root: Path) -> list[int]:
    """Processes that were started for the app in that folder."""
    mine = str(root.resolve())
    return [
        each.pid
        for each in kernel.processes()
        if each.state != "Z"
        and (
            kernel.environment(each.pid).get("NONEVENT_ROOT") == mine
            or any(word.startswith(mine) for word in kernel.arguments(each.pid))
        )
    ]


@contextmanager
def project(folder: Path, source: Path | None = None) -> Iterator[Project]:
    """A project in a new repository, with the files of ``source``; stopped at the end.

    All of a session share one cache, below the folder that pytest gave it.
    """
    if source:
        ignored = shutil.ignore_patterns(".venv", "__pycache__", "nonevent.toml", ".nonevent")
        shutil.copytree(source, folder, ignore=ignored)
    cache = Path(os.environ.get("NONEVENT_TEST_CACHE", folder.parent.parent / "cache"))
    made = Project(
        Repository(folder), free_port(), environ() | {"XDG_CACHE_HOME": str(cache.resolve())}
    )
    made.repository.commit()
    try:
        yield made
    finally:
        made.end()


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as attempt:
        attempt.bind(("127.0.0.1", 0))
        return int(attempt.getsockname()[1])


def proved(instances: dict[str, dict[str, Any]]) -> set[str]:
    """The instances that run, after seeing that the kernel has nothing against any of them."""
    running = {name: each for name, each in instances.items() if each["processes"]}
    against = {name: each["complaints"] for name, each in running.items() if each["complaints"]}
    assert not against
    return set(running)


def wait_for(
    condition: Callable[[], Any], what: str, *, within: float = END_LIMIT, pause: float = 0.1
) -> Any:
    """The first value of a condition that counts as true."""
    deadline = time.monotonic() + within
    while not (value := condition()):
        assert time.monotonic() < deadline, f"{what}: not within {within:g} s"
        time.sleep(pause)
    return value


def uv(made: Project, *words: str) -> None:
    """Run uv in the project, as its author does."""
    subprocess.run(
        (find_uv_bin(), *words), cwd=made.folder, env=made.env, check=True, capture_output=True,
        timeout=UV_LIMIT,
    )  # fmt: skip


def replace(made: Project, name: str, old: str, new: str) -> None:
    """Change a text in one file, once."""
    file = made.folder / name
    text = file.read_text()
    assert text.count(old) == 1, f"{name} has {old!r} {text.count(old)} times"
    file.write_text(text.replace(old, new))


def change(made: Project, name: str, old: str, new: str) -> None:
    """Change a line of one file, and commit it."""
    replace(made, name, old, new)
    made.repository.commit()


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """What is to be seen of a project in two releases."""

    change: Callable[[], object]
    """Changes a line and commits it."""
    texts: tuple[str, str]
    """A part of the answer at ``/`` by the first release, and by the second."""
    back: bool = True
    """Whether it goes back in the end."""
    traffic: dict[str, Any] = field(default_factory=dict)


def there_and_back(project: Project, story: Story) -> Report:
    """Deploy, deploy a change and go back, under load from the first deploy on."""
    first = project.deploy()
    with Load(project.traffic(**story.traffic)) as load, project.kept() as kept:
        load.wait(answered=20)
        _serves(project, kept, first, story)
        story.change()
        second = project.deploy()
        _serves(project, kept, second, story, changed=True)
        assert second == first + 1
        load.wait(answered=load.progress.answered + 20)
        if story.back:
            assert project.rollback() == first
            _serves(project, kept, first, story)
            load.wait(answered=load.progress.answered + 20)
    report = load.report
    assert not report.lost_count, report
    assert {"fast", "slow", "upload"} <= set(report.latency), report
    assert set(report.releases) == {str(first), str(second)}, report
    assert sum(report.releases.values()) == report.answered, report
    return report


def _serves(
    project: Project, kept: Kept, release: int, story: Story, *, changed: bool = False
) -> None:
    """A new and a kept connection get the release's own answer, and nothing else runs as web."""
    for name, text in (*(project.ask("/") for _ in range(3)), kept.ask("/"), kept.ask("/")):
        assert story.texts[changed] in text
        assert name == str(release)
    webs = {name for name in proved(project.instances()) if name.startswith("web-")}
    assert len(webs) == 1
    assert webs.pop().startswith(f"web-{release}")
