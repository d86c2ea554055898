"""The operator leaves, in each way and at each moment.

Before the confirmation the old release serves on, after it the new one does, and the host
brings everything to its end by itself.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sandbox import Sandbox, must_have_lost_nothing, relative

from nonevent.testing.process import until

if TYPE_CHECKING:
    from collections.abc import Callable

    Expect = Callable[[Path, str], None]
    Prepare = Callable[[Sandbox], Callable[[], bool]]

CASES = Path(__file__).parent / "cases" / "transcripts" / "interrupt"

WAIT = """\
import pathlib, time
print("this takes a while", flush=True)
pathlib.Path({marker!r}).touch()
time.sleep(60)
"""
STUBBORN = """\
import pathlib, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
pathlib.Path({marker!r}).touch()
while not pathlib.Path({gate!r}).exists():
    time.sleep(0.01)
"""
ANSWER = """\
import pathlib, time
def answer(path):
    while path == "/slow" and not pathlib.Path({gate!r}).exists():
        time.sleep(0.01)
    return 200, {text!r}
"""


def _marker(sandbox: Sandbox) -> Path:
    return sandbox.base / "marker"


def _gate(sandbox: Sandbox) -> Path:
    return sandbox.base / "gate"


def build(sandbox: Sandbox) -> Callable[[], bool]:
    """While a command of the build runs."""
    config = sandbox.config(after='\n[build]\ncommands = ["python wait.py"]\n')
    wait = WAIT.format(marker=str(_marker(sandbox)))
    sandbox.commit({**config, "wait.py": wait}, "Take long to build")
    return _marker(sandbox).exists


def transfer(sandbox: Sandbox) -> Callable[[], bool]:
    """While a layer is sent."""
    config = sandbox.config(after='\n[build]\ncommands = ["python big.py"]\n')
    big = "import os\nopen('big.bin', 'wb').write(os.urandom(100_000_000))\n"
    sandbox.commit({**config, "big.py": big}, "Grow")
    return lambda: any((sandbox.root / "layers").glob(".incoming-*"))


def command(sandbox: Sandbox) -> Callable[[], bool]:
    """While a release command runs."""
    wait = WAIT.format(marker=str(_marker(sandbox)))
    config = sandbox.config(before='release = ["python wait.py"]\n')
    sandbox.commit({**config, "wait.py": wait}, "Migrate for long")
    return _marker(sandbox).exists


def stubborn(sandbox: Sandbox) -> Callable[[], bool]:
    """While a release command runs that, asked to stop, goes on until the gate opens."""
    begun = command(sandbox)
    wait = STUBBORN.format(marker=str(_marker(sandbox)), gate=str(_gate(sandbox)))
    sandbox.commit({"wait.py": wait}, "Migrate to the end")
    return begun


def boot(sandbox: Sandbox) -> Callable[[], bool]:
    """While the new release starts."""
    config = sandbox.config(timeout="60s")
    wait = WAIT.format(marker=str(_marker(sandbox)))
    sandbox.commit({**config, "shop.py": wait}, "Start slowly")
    return _marker(sandbox).exists


def watch(sandbox: Sandbox) -> Callable[[], bool]:
    """While the new release is watched, after the switch."""
    config = sandbox.config(watch="60s")
    sandbox.commit({**config, **_says(sandbox, "watched")}, "Watch for long")
    return lambda: sandbox.get() == "watched"


def drain(sandbox: Sandbox) -> Callable[[], bool]:
    """While the old release finishes a slow request; the new one is confirmed."""
    number = sandbox.number()
    sandbox.commit(_says(sandbox, "after the drain"), "Say something else")
    return lambda: f'"current", "release": {number + 1}' in _ledger(sandbox)


def _ledger(sandbox: Sandbox) -> str:
    return (sandbox.root / "ledger.jsonl").read_text()


def _says(sandbox: Sandbox, text: str) -> dict[str, str]:
    return {"shop.py": ANSWER.format(gate=str(_gate(sandbox)), text=text)}


@pytest.fixture
def shop(serving: Sandbox) -> Sandbox:
    """A project whose release can answer slowly, with the configuration it began with."""
    _marker(serving).unlink(missing_ok=True)
    _gate(serving).unlink(missing_ok=True)
    first = serving.git("rev-list", "--max-parents=0", "HEAD")
    config = serving.git("show", f"{first}:nonevent.toml") + "\n"
    serving.commit({"nonevent.toml": config, **_says(serving, "before")}, "Say before")
    serving.type("deploy", "local").must(0)
    return serving


LEFT: tuple[tuple[str, Prepare], ...] = (
    ("INT", build),
    ("INT", transfer),
    ("INT", command),
    ("INT", boot),
    ("INT", watch),
    ("KILL", command),
    ("KILL", watch),
)


@pytest.mark.parametrize(("name", "moment"), LEFT)
def test_the_old_release_serves_on(
    shop: Sandbox, expect: Expect, name: str, moment: Prepare
) -> None:
    """Before the confirmation nothing of the deploy stays, however its operator leaves.

    What came of a layer is kept for the next attempt, and a prune removes it.
    """
    before, number = shop.remains(), shop.number()
    begun = moment(shop)
    with shop.load() as load:
        load.wait(answered=5)
        child = shop.start("deploy", "local")
        until(lambda: begun() or child.poll() is not None, within=60)
        child.send_signal(signal.Signals[f"SIG{name}"])
        ran = shop.end_of(child, ("deploy", "local"))
        if moment is transfer:
            assert begun()
            shop.type("prune", "local").must(0)
        until(lambda: shop.remains() == before, within=30)
        load.wait(answered=load.progress.answered + 5)
    assert shop.get() == "before"
    must_have_lost_nothing(load.report, number, *([number + 1] if moment is watch else []))
    if name == "INT":
        ran.must(130)
        expect(CASES / f"{moment.__name__}.txt", settled(relative(shop.told(ran), number)))


def settled(told: str) -> str:
    """A transcript without the note that an interrupt was seen, whose place is anywhere."""
    lines = [line for line in told.splitlines() if not line.startswith("note: interrupted")]
    return "".join(re.sub(r"^local  ", "        ", line) + "\n" for line in lines)


@pytest.mark.parametrize("name", ["INT", "KILL"])
def test_the_new_release_serves_on(shop: Sandbox, expect: Expect, name: str) -> None:
    """After the confirmation the new release serves, and what the old one held is answered."""
    number = shop.number()
    begun = drain(shop)
    answers: list[str] = []
    slow = threading.Thread(target=lambda: answers.append(shop.get("/slow")))
    slow.start()
    with shop.load() as load:
        load.wait(answered=5)
        child = shop.start("deploy", "local")
        until(lambda: begun() or child.poll() is not None, within=60)
        child.send_signal(signal.Signals[f"SIG{name}"])
        if name == "KILL":
            child.wait(10)
        _gate(shop).touch()
        ran = shop.end_of(child, ("deploy", "local"))
        until(lambda: f"web-{number}.sock" not in shop.remains()["sockets"], within=30)
    slow.join(10)
    assert answers == ["before"]
    assert shop.get() == "after the drain"
    assert shop.number() == number + 1
    must_have_lost_nothing(load.report, number, number + 1)
    if name == "INT":
        ran.must(0)
        expect(CASES / "drain.txt", settled(relative(shop.told(ran), number)))


@pytest.mark.parametrize("name", ["TERM", "HUP"])
def test_a_polite_end_is_an_interrupt(sandbox: Sandbox, name: str) -> None:
    """SIGTERM, and the end of the terminal, lead the same way out as Ctrl-C."""
    begun = build(sandbox)
    child = sandbox.start("deploy", "local")
    until(begun, within=60)
    child.send_signal(signal.Signals[f"SIG{name}"])
    ran = sandbox.end_of(child, ("deploy", "local")).must(130)
    assert settled(sandbox.told(ran)) == (CASES / "build.txt").read_text()
    assert not sandbox.remains()["scratch"]


def test_two_interrupts_do_not_wait(shop: Sandbox) -> None:
    """After a second Ctrl-C the command ends at once, and the host ends what it began alone."""
    before = shop.remains()
    begun = stubborn(shop)
    child = shop.start("deploy", "local")
    until(lambda: begun() or child.poll() is not None, within=60)
    child.send_signal(signal.SIGINT)
    assert child.stderr
    until(lambda: "interrupted" in child.stderr.readline())
    child.send_signal(signal.SIGINT)
    shop.end_of(child, ("deploy", "local")).must(130)
    assert any(" serve " in words for words in shop.processes().values())
    _gate(shop).touch()
    until(lambda: shop.remains() == before, within=30)
    assert shop.get() == "before"


def test_an_interrupt_after_the_end_changes_nothing() -> None:
    """A Ctrl-C that comes when all is said and done leaves the exit code as it is."""
    script = (
        "import os, signal, sys\n"
        "from nonevent.cli.__main__ import main\n"
        "status = main()\n"
        "os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.exit(status)\n"
    )
    ran = subprocess.run(
        (sys.executable, "-c", script, "--version"), check=False, capture_output=True, timeout=30
    )
    assert (ran.returncode, ran.stderr) == (0, b"")


@pytest.mark.parametrize("moment", [command, boot, watch])
def test_an_agent_that_is_killed(shop: Sandbox, expect: Expect, moment: Prepare) -> None:
    """Where the host's own side is killed, the client says so, and the keeper leads back."""
    before, number = shop.remains(), shop.number()
    begun = moment(shop)
    with shop.load() as load:
        load.wait(answered=5)
        child = shop.start("deploy", "local")
        until(lambda: begun() or child.poll() is not None, within=60)
        (agent,) = (pid for pid, words in shop.processes().items() if " serve " in words)
        os.kill(agent, signal.SIGKILL)
        ran = shop.end_of(child, ("deploy", "local")).must(1)
        until(lambda: shop.remains() == before, within=40)
    assert shop.get() == "before"
    assert load.report.lost_count == 0, str(load.report)
    told = settled(relative(shop.told(ran), number))
    expect(CASES / "agent-killed.txt", told[told.index("error: ") :])
