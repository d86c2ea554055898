"""Every command in its place: the life of an app on this machine, as its owner sees it."""

from __future__ import annotations

import signal
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from nonevent.testing.process import until

if TYPE_CHECKING:
    from collections.abc import Callable

    from sandbox import Ran, Sandbox

    Expect = Callable[[Path, str], None]

CASES = Path(__file__).parent / "cases" / "transcripts" / "story"

LOUD = """\
print("the shop says {text}", flush=True)
def answer(path):
    return 200, {text!r}
"""


@dataclass(slots=True)
class Story:
    """Commands one after the other, and what they said."""

    sandbox: Sandbox
    told: list[str] = field(default_factory=list)

    def type(self, line: str, status: int = 0) -> Ran:
        """Type a command that ends with an exit code."""
        if line == "status local":
            # Supervisor calls starting what has not run for a second.
            until(lambda: "starting" not in self.sandbox.type("status", "local").stdout)
        ran = self.sandbox.type(*line.split()).must(status)
        self.told.append(self.sandbox.told(ran))
        return ran

    def says(self, text: str) -> None:
        """Commit another version of the app."""
        self.sandbox.shop(LOUD.format(text=text), f"Say {text}")

    def page(self) -> str:
        """The whole transcript so far, and from now on a new one."""
        page, self.told = "\n".join(self.told), []
        return page


def test_the_life_of_an_app(sandbox: Sandbox, expect: Expect) -> None:
    """From the first deploy to a rollback that passes over what was no good, all is said."""
    story = Story(sandbox)
    story.says("one")
    story.type("check")
    story.type("status local")
    story.type("plan local")
    story.type("deploy local")
    story.type("deploy local")
    story.says("two")
    story.type("plan local")
    story.type("deploy local --reason sales")
    assert sandbox.get() == "two"
    story.type("status local")
    expect(CASES / "deploy.txt", story.page())

    sandbox.write({"shop.py": LOUD.format(text="three")})
    story.type("deploy local")
    assert sandbox.get() == "two"
    story.type("deploy local --dirty")
    assert sandbox.get() == "three"
    dirty = next((sandbox.path / ".nonevent" / "artifacts").glob("*dirty*"), None)
    assert dirty
    sandbox.git("checkout", "--quiet", "shop.py")
    expect(CASES / "dirty.txt", story.page())

    sandbox.shop("import billing\n", "Break the shop")
    story.type("deploy local", 1)
    story.says("five")
    story.type("deploy local")
    story.type("rollback local")
    assert sandbox.get() == "three"
    story.type("rollback local 2")
    assert sandbox.get() == "two"
    story.says("six")
    story.type("deploy local")
    story.type("rollback local")
    assert sandbox.get() == "two"
    story.type("rollback local 99", 2)
    story.type("rollback local 4", 2)
    story.type("rollback local 1")
    story.type("rollback local", 2)
    story.type("releases local")
    story.type("logs local -r 1 -n 3")
    expect(CASES / "rollback.txt", story.page())


def test_one_step_after_the_other(sandbox: Sandbox, expect: Expect) -> None:
    """Stopping, starting, locking, running and pruning say what is true afterwards."""
    story = Story(sandbox)
    story.says("one")
    sandbox.type("deploy", "local").must(0)
    story.type("run local -- python -c raise(SystemExit(7))", 7)
    story.type("run local -- python -c import(tiny)", 1)
    assert story.type("run local -- printenv NONEVENT_RELEASE").stdout == "1\n"
    story.type("run local -- nosuchprogram", 2)
    expect(CASES / "run.txt", story.page())

    story.type("lock local --reason audit")
    story.type("lock local --reason again", 5)
    story.type("deploy local", 5)
    story.type("rollback local", 5)
    story.type("stop local", 5)
    story.type("status local")
    story.type("unlock local")
    story.type("unlock local")
    expect(CASES / "lock.txt", story.page())

    story.type("stop local")
    assert not sandbox.processes()
    assert sandbox.get() == ""
    story.type("status local")
    story.type("stop local")
    story.type("start local")
    assert sandbox.get() == "one"
    story.type("start local")
    story.type("prune local")
    expect(CASES / "stop.txt", story.page())


COMMANDS = (
    "check",
    "build",
    "plan local",
    "deploy local",
    "status local",
    "releases local",
    "logs local",
    "lock local --reason audit",
    "unlock local",
    "prune local",
    "stop local",
    "start local",
)


def test_every_command_speaks_json(sandbox: Sandbox) -> None:
    """With ``--json`` each command writes one event a line on standard output, and no words."""
    last = {}
    for line in COMMANDS:
        ran = sandbox.type(*line.split(), "--json").must(0)
        assert ran.stderr == "", line
        last[line] = [event["event"] for event in ran.events()][-1:]
    assert last["build"] == ["built"]
    assert last["deploy local"] == ["serving"]
    assert last["status local"] == ["status"]
    assert last["stop local"] == ["stopped"]
    built = sandbox.type("build", "--json").events()[-1]
    verified = sandbox.type("verify", built["path"], "--list", "--json").must(0).events()
    assert verified[0]["digest"] == built["digest"]
    assert {"event": "file", "layer": "app", "path": "app/serve.py"} in verified
    failed = sandbox.type("rollback", "local", "--json").must(2).events()[-1]
    assert (failed["event"], failed["code"]) == ("error", "release-unknown")


@pytest.mark.parametrize("name", ["INT", "TERM"])
def test_following_logs_ends_quietly(sandbox: Sandbox, name: str) -> None:
    """``logs -f`` shows lines as they are written, until it is interrupted, without a word."""
    sandbox.shop(
        "def answer(path):\n    print('asked for', path, flush=True)\n    return 200, 'yes'\n"
    )
    sandbox.type("deploy", "local").must(0)
    following = sandbox.start("logs", "local", "-f", "-n", "0")
    assert following.stdout
    until(lambda: "logs local" in "".join(sandbox.processes().values()) or sandbox.get("/hello"))
    seen = ""
    while "/hello" not in seen:
        sandbox.get("/hello")
        seen = following.stdout.readline()
    assert seen == "web-1 | asked for /hello\n"
    following.send_signal(signal.Signals[f"SIG{name}"])
    ran = sandbox.end_of(following, ("logs", "local", "-f")).must(0)
    assert ran.stderr == ""


def test_a_command_that_is_run_decides_itself(sandbox: Sandbox) -> None:
    """Signals are passed on to a command that `run` runs, and its exit code is passed back."""
    sandbox.deployed("one")
    patient = (
        "import signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: sys.exit(5)); "
        "print('ready', flush=True); time.sleep(60)"
    )
    words = ("run", "local", "--", "python", "-c", patient)
    for number, status in ((signal.SIGTERM, 5), (signal.SIGHUP, 128 + signal.SIGHUP)):
        child = sandbox.start(*words)
        assert child.stdout
        assert child.stdout.readline() == "ready\n"
        child.send_signal(signal.SIGINT)
        child.send_signal(number)
        assert sandbox.end_of(child, words).must(status).stderr == ""
