"""Releases that are no good: one clear error, and the old release serves on."""

from __future__ import annotations

import socket
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from repository import environ
from sandbox import Sandbox, must_deploy, must_have_lost_nothing, relative
from uv import find_uv_bin

from nonevent.testing.process import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Expect = Callable[[Path, str], None]

CASES = Path(__file__).parent / "cases" / "transcripts" / "failure"

WAIT = """\
import pathlib, time
while not pathlib.Path({gate!r}).exists():
    time.sleep(0.01)
"""
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


def test_a_release_command_that_fails(serving: Sandbox, expect: Expect) -> None:
    """A migration that fails stops the deploy before the new release starts."""
    before, old, number = serving.remains(), serving.get(), serving.number()
    config = serving.config()
    migrate = "print('adding a column')\nraise SystemExit('column exists already')\n"
    serving.commit(
        {**serving.config(before='release = ["python migrate.py"]\n'), "migrate.py": migrate},
        "Add a column",
    )
    with serving.load() as load:
        load.wait(answered=5)
        ran = serving.type("deploy", "local").must(1)
    must_have_lost_nothing(load.report, number)
    assert serving.remains() == before
    assert serving.get() == old
    expect(CASES / "release-command.txt", relative(serving.told(ran), number))
    serving.commit(config)
    must_deploy(serving, "after the migration")


@contextmanager
def taken_port() -> Iterator[int]:
    """A port that this process listens on."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        yield int(taken.getsockname()[1])


def test_a_port_in_use_stops_the_first_deploy(sandbox: Sandbox, expect: Expect) -> None:
    """Where another process has the port, nothing is started, and its holder is named."""
    with taken_port() as port:
        sandbox.commit(sandbox.config_at(port))
        ran = sandbox.type("deploy", "local").must(1)
        assert not sandbox.processes()
        assert not sandbox.remains()["hidden"]
    expect(CASES / "first-port.txt", sandbox.told(ran))
    must_deploy(sandbox, "with the port")


def test_a_move_to_a_port_in_use_is_refused(serving: Sandbox, expect: Expect) -> None:
    """An environment whose new port is another's keeps serving on the old one."""
    before, old, number, port = serving.remains(), serving.get(), serving.number(), serving.port
    with taken_port() as taken, serving.load() as load:
        serving.says("elsewhere")
        serving.commit(serving.config_at(taken))
        load.wait(answered=5)
        ran = serving.type("deploy", "local").must(1)
        expect(CASES / "port.txt", relative(serving.told(ran), number))
        serving.commit(serving.config_at(port))
        load.wait(answered=load.progress.answered + 5)
    must_have_lost_nothing(load.report, number)
    assert serving.remains() == before
    assert serving.get() == old
    must_deploy(serving, "where it was")


def test_two_deploys_at_once(serving: Sandbox, expect: Expect) -> None:
    """The second of two deploys is refused with who is at work, and the first one succeeds."""
    gate, number, config = serving.base / "gate", serving.number(), serving.config()
    wait = WAIT.format(gate=str(gate))
    release = serving.config(before='release = ["python wait.py"]\n')
    serving.commit({**release, "wait.py": wait})
    serving.says("first of two")
    first = serving.start("deploy", "local")
    until(lambda: any("wait.py" in words for words in serving.processes().values()), within=60)
    ran = serving.type("deploy", "local").must(5)
    gate.touch()
    serving.end_of(first, ("deploy", "local")).must(0)
    assert serving.get() == "first of two"
    assert serving.number() == number + 1
    expect(CASES / "two-at-once.txt", serving.told(ran))
    serving.commit(config)
    must_deploy(serving, "alone again")


def test_gunicorn_whose_app_does_not_import(sandbox: Sandbox) -> None:
    """A real server that starts, and then cannot import the app, is told from one that serves."""
    made = subprocess.run(
        (find_uv_bin(), "pip", "compile", "--quiet", "--generate-hashes", "--no-header", "-"),
        input="gunicorn", capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    # This wheel comes from PyPI, or from the cache of this machine.
    sandbox.environ = {**environ(), "XDG_CACHE_HOME": str(sandbox.cache)}
    good = "def app(environ, start):\n    start('200 OK', [])\n    return [b'from gunicorn']\n"
    command = 'command = "gunicorn --workers 2 --no-control-socket --bind unix:{socket} shop:app"'
    config = sandbox.config()["nonevent.toml"].replace(
        'command = "python serve.py {socket}"', command
    )
    lock = {"requirements.txt": made.stdout, "nonevent.toml": config}
    sandbox.commit({**lock, "shop.py": good})
    sandbox.type("deploy", "local").must(0)
    assert sandbox.get() == "from gunicorn"
    before = sandbox.remains()
    sandbox.shop("import billing\n" + good)
    with sandbox.load() as load:
        load.wait(answered=5)
        ran = sandbox.type("deploy", "local").must(1)
    assert load.report.lost_count == 0, str(load.report)
    assert sandbox.remains() == before
    assert "ModuleNotFoundError: No module named 'billing'" in ran.stderr
    assert "release 1 (" in ran.stderr
    assert ") still serves" in ran.stderr
    sandbox.shop(good.replace("from gunicorn", "again"))
    sandbox.type("deploy", "local").must(0)
    assert sandbox.get() == "again"
