"""Releases that are no good: one clear error, and the old release serves on."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sandbox import Sandbox, must_deploy, must_have_lost_nothing, relative

if TYPE_CHECKING:
    from collections.abc import Callable

    Expect = Callable[[Path, str], None]

CASES = Path(__file__).parent / "cases" / "transcripts" / "failure"
pytestmark = pytest.mark.xdist_group("transcript-failure")

AFTER_SWITCH = {"dies-after-switch"}
FAILURES = {
    "import": "import billing\n",
    "silent": "import threading\nthreading.Event().wait()\n",
    "hangs": """\
import threading
def answer(path):
    threading.Event().wait()
""",
    "status-500": """\
def answer(path):
    return 500, "no such table: orders"
""",
    "dies-while-probed": """\
import os
def answer(path):
    print("out of luck", flush=True)
    os._exit(7)
""",
    "another-release": """\
RELEASE = "999"
def answer(path):
    return 200, "I am somebody else"
""",
    "dies-after-switch": """\
import os
count = 0
def answer(path):
    global count
    count += 1
    if count > 4:
        print("no memory left", flush=True)
        os._exit(9)
    return 200, "for now"
""",
}


@pytest.mark.parametrize("name", FAILURES)
def test_a_failing_release_changes_nothing(serving: Sandbox, expect: Expect, name: str) -> None:
    """A release that fails, however it does, leaves the old one serving every request."""
    before, old, number = serving.remains(), serving.get(), serving.number()
    serving.commit({**serving.config(timeout="5s"), "shop.py": FAILURES[name]}, "Break the shop")
    with serving.load() as load:
        load.wait(answered=5)
        ran = serving.type("deploy", "local")
        load.wait(answered=load.progress.answered + 5)
    if name not in AFTER_SWITCH:
        must_have_lost_nothing(load.report, number)
    assert serving.remains() == before
    assert serving.get() == old
    ran.must(3 if name in AFTER_SWITCH else 1)
    expect(CASES / f"{name}.txt", relative(serving.told(ran), number))
    must_deploy(serving, f"after {name}")


@pytest.mark.parametrize("name", ["import", "dies-after-switch"])
def test_a_first_release_that_fails_leaves_nothing(
    sandbox: Sandbox, expect: Expect, name: str
) -> None:
    """Where nothing served before, nothing runs afterwards, and the port is free again."""
    sandbox.shop(FAILURES[name], "Open with a mistake")
    ran = sandbox.type("deploy", "local")
    assert not sandbox.processes()
    assert not sandbox.remains()["sockets"]
    assert not sandbox.remains()["hidden"]
    assert sandbox.number() == 0
    with socket.socket() as free:
        free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        free.bind(("127.0.0.1", sandbox.port))
    expect(CASES / f"first-{name}.txt", sandbox.told(ran))
    must_deploy(sandbox, "after a bad start")
