"""A site that keeps its services running itself: the steps, and what its processes must be."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from test_plan import deploy, facts, history, manifest, served, want

from nonevent.agent import reload
from nonevent.agent.images import (
    Expected,
    Image,
    below,
    complaints,
    decoded,
    encoded,
    gone,
    leaders,
    release_of,
    survivors,
)
from nonevent.agent.plan import plan
from nonevent.errors import UsageError
from nonevent.model.facts import Facts
from nonevent.model.parse import parse
from nonevent.model.plan import (
    Confirm,
    Import,
    Prove,
    Reload,
    RunCommand,
    Stage,
    Switch,
    read_step,
    step_as_dict,
)
from nonevent.model.site import Site
from nonevent.model.want import Rollback, Start, Stop, read_want
from nonevent.testing.process import until

if TYPE_CHECKING:
    from collections.abc import Iterator

SITE = Site(commands=("touch conf", "restart celery"))
ONE = facts(served(1), manifests={1: manifest(1)}, serving=1)
TWO = facts(served(1, 2), manifests={1: manifest(1), 2: manifest(2)}, serving=2)
ROOT = "/srv/shop"
SLEEP = "import signal; signal.pause()"
AGAIN = f"""
import os, signal, sys
argv = [sys.executable, "-c", {SLEEP!r}]
signal.signal(signal.SIGHUP, lambda *_: os.execv(sys.executable, argv))
print("ready", flush=True)
signal.pause()
"""


def towards(number: int) -> tuple[Switch | Reload | Prove, ...]:
    """The steps that make the site run a release."""
    return (Switch(number, ()), Reload(SITE.commands), Prove(number))


def test_a_deploy_imports_moves_reloads_and_proves() -> None:
    """The import comes before a migration, `current` moves after both, the ledger's line last."""
    wanted = replace(deploy(2, manifest(2).services, "migrate"), site=SITE)
    assert plan(wanted, ONE).steps == (
        Stage(2),
        Import(2),
        RunCommand(2, 0, "migrate"),
        *towards(2),
        Confirm(2, None),
    )


def test_a_rollback_takes_the_same_steps() -> None:
    """Going back to a release is no other path, and leaves the newer one."""
    assert plan(want(Rollback(), site=SITE), TWO).steps == (Import(1), *towards(1), Confirm(1, 2))


def test_what_serves_already_is_reloaded_only_by_start() -> None:
    """The same artifact again changes nothing; `start` brings every process to its release."""
    assert plan(replace(deploy(1), site=SITE), ONE).steps == ()
    assert plan(want(Start(), site=SITE), ONE).steps == (Import(1), *towards(1))


def test_a_site_is_not_stopped() -> None:
    """Nonevent runs none of its services, so it stops none."""
    with pytest.raises(UsageError, match="keeps its services running itself"):
        plan(want(Stop(), site=SITE), ONE)


def test_the_way_back_is_taken_only_where_current_was_moved() -> None:
    """Before the switch nothing was touched; after it, the old release is proved as well."""
    assert reload.back(ONE, SITE, switched=False) == ()
    back = (Switch(1, ()), Reload(SITE.commands), Prove(1))
    assert reload.back(ONE, SITE, switched=True) == back
    first = Facts(history=history())
    assert reload.back(first, SITE, switched=True)[0] == Switch(None, ())


def test_steps_and_wants_of_a_site_survive_json() -> None:
    """What the journal and the protocol carry is read as it was written."""
    for step in (*towards(3), Prove(None)):
        assert parse("a step", step_as_dict(step), read_step) == step
    wanted = replace(deploy(1), site=replace(SITE, probe="127.0.0.1:80", user="www-data"))
    assert read_want(wanted.as_dict()) == wanted


def image(pid: int, parent: int = 1, **changes: object) -> Image:
    """A worker of release 2 that was started anew, with changes."""
    plain = Image(
        pid=pid, parent=parent, started=pid, stack=7, user="shop",
        words=(f"{ROOT}/current/venv/bin/python", "-m", "gunicorn", "shop.wsgi"),
        executable="/usr/bin/python3.11", folder=f"{ROOT}/releases/2/app", files=(), variables=(),
    )  # fmt: skip
    return replace(plain, **changes)  # type: ignore[arg-type]


def expected(*stale: Image, other_deps: bool = False) -> Expected:
    """What the processes of release 2 must be like."""
    return Expected(
        root=ROOT,
        release=2,
        own=frozenset({"releases/2", "layers/deps-2", "layers/app-2"}),
        stale=frozenset(each.identity for each in stale),
        other_deps=other_deps,
    )


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"folder": f"{ROOT}/releases/1/app"}, f"works in {ROOT}/releases/1"),
        ({"folder": f"{ROOT}/releases/by-hand"}, f"works in {ROOT}/releases/by-hand"),
        ({"executable": f"{ROOT}/layers/deps-1/bin/uwsgi"}, f"runs {ROOT}/layers/deps-1"),
        ({"executable": "/usr/bin/python3.11 (deleted)"}, "runs /usr/bin/python3.11 (deleted)"),
        ({"executable": "", "stack": 0}, "cannot be looked into: it runs as shop"),
        ({"files": (f"{ROOT}/layers/deps-1/x.so",)}, f"uses {ROOT}/layers/deps-1"),
        ({"words": (f"{ROOT}/layers/deps-1/bin/python",)}, "was started with"),
        ({"variables": (f"VIRTUAL_ENV={ROOT}/releases/1/venv",)}, "was started with"),
    ],
)  # fmt: skip
def test_whatever_shows_another_release_is_a_complaint(
    changes: dict[str, object], says: str
) -> None:
    """Folder, program, mapped files, words and variables must not lead to another release."""
    (complaint,) = complaints((image(5, **changes), image(6)), expected())
    assert says in complaint
    assert complaints((image(6),), expected()) == ()


def test_a_process_that_was_not_started_anew_is_a_complaint() -> None:
    """A worker whose files look right may have loaded them before the switch."""
    assert "has not been started anew" in complaints((image(5),), expected(image(5)))[0]
    again = image(5, stack=8)
    assert complaints((again,), expected(image(5))) == ()


def test_a_master_may_stay_where_its_workers_are_new() -> None:
    """HUP replaces workers: the one that forks them keeps what it had imported, which is said."""
    master, worker = image(5), image(6, 5)
    assert complaints((master, worker), expected(master)) == ()
    assert survivors((master, worker), expected(master, other_deps=True)) == (master.named,)
    script = image(5, words=("gunicorn: master [shop]",))
    (other,) = complaints((script, worker), expected(script, other_deps=True))
    assert "keeps other dependencies" in other
    loaded = image(5, words=(*master.words, "--preload"))
    assert "--preload" in complaints((loaded, worker), expected(loaded))[0]


def test_no_process_at_all_is_a_complaint() -> None:
    """A site of which nothing runs has not been proved to run anything."""
    assert complaints((), expected()) == ("no process runs release 2",)
    assert complaints((), replace(expected(), release=None)) == ()


def test_what_had_run_for_long_has_to_run_again() -> None:
    """A worker that died of the new release is missed, whatever layer its command line names."""
    before = image(5, words=(f"{ROOT}/layers/deps-1/bin/python", "worker.py"))
    after = replace(before, pid=7, words=(f"{ROOT}/layers/deps-2/bin/python", "worker.py"))
    lasting = frozenset({before.command(ROOT)})
    assert gone((after,), lasting, ROOT) == ()
    (missed,) = gone((image(8),), lasting, ROOT)
    assert "worker.py` ran before, and does not now" in missed


def test_a_site_is_its_processes_by_who_started_them() -> None:
    """Those that none of the others started are the leaders; any process tells its release."""
    everything = (image(5), image(6, 5), image(9, folder="/"))
    assert [each.pid for each in leaders(everything)] == [5, 9]
    assert release_of(image(5), ROOT) == 2
    assert release_of(image(9, folder="/"), ROOT) == 0
    assert decoded(encoded(everything)) == everything


@contextmanager
def running(folder: Path, *, terminal: bool = False) -> Iterator[subprocess.Popen[bytes]]:
    """A Python process in a session of its own, perhaps at a terminal, that works in a folder."""
    argv = (sys.executable, "-c", SLEEP)
    if terminal:
        leading, following = pty.openpty()
        argv = ("setsid", "--ctty", *argv)
        with subprocess.Popen(argv, cwd=folder, stdin=following) as process:
            yield from _until_ended(process)
        os.close(leading)
        os.close(following)
        return
    with subprocess.Popen(argv, cwd=folder, start_new_session=True) as process:
        yield from _until_ended(process)


def _until_ended(process: subprocess.Popen[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    try:
        until(lambda: SLEEP.encode() in Path(f"/proc/{process.pid}/cmdline").read_bytes())
        yield process
    finally:
        process.kill()


def test_processes_are_found_by_their_release(tmp_path: Path) -> None:
    """Who works in a release is found, whatever it is; not a person at a terminal, nor others."""
    app = tmp_path / "releases" / "1" / "app"
    app.mkdir(parents=True)
    with running(app) as mine, running(tmp_path), running(app, terminal=True):
        (found,) = below(tmp_path)
        assert found.pid == mine.pid
        assert found.folder == str(app)
        assert found.stack
        assert below(tmp_path) == (found,)


def test_a_process_that_executes_itself_anew_is_another_image(tmp_path: Path) -> None:
    """A reload of uWSGI keeps the process id and the start time, and not the stack."""
    app = tmp_path / "releases" / "1" / "app"
    app.mkdir(parents=True)
    argv = (sys.executable, "-c", AGAIN)
    with subprocess.Popen(argv, cwd=app, start_new_session=True, stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        (before,) = below(tmp_path)
        process.send_signal(1)
        until(lambda: below(tmp_path)[0].words != before.words)
        (after,) = below(tmp_path)
        process.kill()
    assert (after.pid, after.started) == (before.pid, before.started)
    assert after.identity != before.identity
