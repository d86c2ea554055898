"""Releases that are no good: one clear error, and the old release serves on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sandbox import Ran, Sandbox, lost_nothing

if TYPE_CHECKING:
    from collections.abc import Callable

    Expect = Callable[[Path, str], None]

CASES = Path(__file__).parent / "cases" / "transcripts" / "failure"
pytestmark = pytest.mark.xdist_group("transcript-failure")

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
    sandbox = serving
    before, old = sandbox.remains(), sandbox.get()
    sandbox.shop(FAILURES[name], "Break the shop")
    with sandbox.load() as load:
        load.wait(answered=5)
        ran = sandbox.type("deploy", "local")
        load.wait(answered=load.progress.answered + 5)
    if name != "dies-after-switch":
        assert lost_nothing(load.report)
        assert set(load.report.releases) == {str(before["current"])}
    must_be_as_before(sandbox, before, old)
    told = sandbox.told(ran)
    ran.must(3 if name == "dies-after-switch" else 1)
    expect(CASES / f"{name}.txt", relative(told, sandbox.number()))
    must_deploy(sandbox, f"after {name}")


def must_be_as_before(sandbox: Sandbox, before: dict[str, object], old: str) -> None:
    """The same processes run as before, nothing is half-made, and the old release answers."""
    assert sandbox.remains() == before
    assert sandbox.get() == old


def must_deploy(sandbox: Sandbox, text: str) -> Ran:
    """The next deploy just works."""
    sandbox.says(text)
    ran = sandbox.type("deploy", "local").must(0)
    assert sandbox.get() == text
    return ran


def relative(told: str, number: int) -> str:
    """A transcript with the numbers of the releases said as OLD and NEW."""
    for place in ("release ", "releases/", "web-", "release-"):
        told = told.replace(f"{place}{number + 1}", f"{place}NEW")
        told = told.replace(f"{place}{number}", f"{place}OLD")
    return told
