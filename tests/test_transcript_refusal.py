"""Commands that are refused before anything starts: one error, and nothing is left."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from sandbox import Sandbox

    Expect = Callable[[Path, str], None]

CASES = Path(__file__).parent / "cases" / "transcripts" / "refusal"


def no_lock(sandbox: Sandbox) -> None:
    """The project has no lock file."""
    (sandbox.path / "requirements.txt").unlink()
    sandbox.commit()


def lock_out_of_date(sandbox: Sandbox) -> None:
    """The lock lacks what pyproject.toml asks for."""
    project = '[project]\nname = "shop"\nversion = "1"\ndependencies = ["tiny", "payments"]\n'
    sandbox.commit({"pyproject.toml": project})


def unpinned(sandbox: Sandbox) -> None:
    """The requirements are ranges."""
    sandbox.commit({"requirements.txt": "tiny>=1\n"})


def not_git(sandbox: Sandbox) -> None:
    """The folder is no git checkout."""
    shutil.rmtree(sandbox.path / ".git")


def no_commit(sandbox: Sandbox) -> None:
    """Nothing was ever committed."""
    shutil.rmtree(sandbox.path / ".git")
    sandbox.git("init", "--quiet")


def mistakes(sandbox: Sandbox) -> None:
    """The configuration has several mistakes."""
    sandbox.commit(
        {
            "nonevent.toml": """\
app = "Shop"
relase = ["python migrate.py"]

[services.web]
comand = "python serve.py {socket}"
drain_limit = "soon"

[environments.local]
addres = "127.0.0.1"
"""
        }
    )


def no_config(sandbox: Sandbox) -> None:
    """There is no configuration."""
    (sandbox.path / "nonevent.toml").unlink()
    sandbox.commit()


def config_not_committed(sandbox: Sandbox) -> None:
    """The configuration was never committed."""
    sandbox.git("rm", "--quiet", "--cached", "nonevent.toml")
    sandbox.git("commit", "--quiet", "-m", "Forget the configuration")


def missing_variables(sandbox: Sandbox) -> None:
    """The app requires variables that the environment does not have."""
    text = (sandbox.path / "nonevent.toml").read_text()
    required = 'require = ["SECRET_KEY", "DATABASE_URL", "LANG"]\n'
    sandbox.commit({"nonevent.toml": required + text, "etc/local.env": "DATABASE_URL=\n"})


def asset_command(sandbox: Sandbox) -> None:
    """An asset command fails."""
    text = (sandbox.path / "nonevent.toml").read_text()
    assets = "import sys\nprint('reading 12 files')\nsys.exit('static/site.css is not valid')\n"
    build = '\n[build]\ncommands = ["python assets.py --strict"]\n'
    sandbox.commit({"nonevent.toml": text + build, "assets.py": assets})


def asset_program(sandbox: Sandbox) -> None:
    """An asset command's program is not there."""
    text = (sandbox.path / "nonevent.toml").read_text()
    sandbox.commit({"nonevent.toml": text + '\n[build]\ncommands = ["tailwindcss -m"]\n'})


def no_static(sandbox: Sandbox) -> None:
    """The folder of static files does not come to be."""
    text = (sandbox.path / "nonevent.toml").read_text()
    sandbox.commit({"nonevent.toml": text + '\n[build]\nstatic = "public"\n'})


def nothing(sandbox: Sandbox) -> None:
    """The project is in order."""


REFUSED: dict[str, tuple[Callable[[Sandbox], None], tuple[str, ...], int]] = {
    "no-lock": (no_lock, ("deploy", "local"), 2),
    "lock-out-of-date": (lock_out_of_date, ("deploy", "local"), 2),
    "unpinned": (unpinned, ("deploy", "local"), 2),
    "not-git": (not_git, ("deploy", "local"), 2),
    "no-commit": (no_commit, ("deploy", "local"), 2),
    "mistakes": (mistakes, ("deploy", "local"), 2),
    "no-config": (no_config, ("deploy", "local"), 2),
    "config-not-committed": (config_not_committed, ("deploy", "local"), 2),
    "missing-variables": (missing_variables, ("deploy", "local"), 2),
    "asset-command": (asset_command, ("deploy", "local"), 1),
    "asset-program": (asset_program, ("build",), 1),
    "no-static": (no_static, ("build",), 1),
    "unknown-ref": (nothing, ("deploy", "local", "v1.0"), 2),
    "unknown-file": (nothing, ("deploy", "local", "gone.tar.zst"), 1),
    "unknown-environment": (nothing, ("deploy", "lcoal"), 2),
    "unknown-command": (nothing, ("depoly", "local"), 2),
    "unknown-option": (nothing, ("deploy", "local", "--drity"), 2),
    "no-environment": (nothing, ("deploy",), 2),
    "rollback-of-nothing": (nothing, ("rollback", "local"), 2),
    "start-of-nothing": (nothing, ("start", "local"), 2),
    "run-of-nothing": (nothing, ("run", "local", "--", "true"), 2),
    "verify-of-text": (nothing, ("verify", "serve.py"), 1),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_work_is_refused(sandbox: Sandbox, expect: Expect, name: str) -> None:
    """A command that cannot work says why in one error, with its exit code, and leaves nothing."""
    prepare, words, status = REFUSED[name]
    prepare(sandbox)
    ran = sandbox.type(*words).must(status)
    expect(CASES / f"{name}.txt", sandbox.told(ran))
    assert not sandbox.processes()
    left = sandbox.remains()
    assert not left["sockets"]
    assert not left["hidden"]
    assert not left["scratch"]
    assert not left["current"]


@pytest.mark.parametrize("name", ["no-lock", "mistakes", "unknown-option", "rollback-of-nothing"])
def test_a_refusal_is_an_event_too(sandbox: Sandbox, name: str) -> None:
    """With ``--json`` the error is the last line on standard output, and nothing is narrated."""
    prepare, words, status = REFUSED[name]
    prepare(sandbox)
    ran = sandbox.type(*words, "--json").must(status)
    assert ran.stderr == ""
    last = ran.events()[-1]
    said = (CASES / f"{name}.txt").read_text()
    assert last["event"] == "error"
    assert last["exit_status"] == status
    assert f"error: {sandbox.filtered(last['message'])}\n" in said
    assert last["hint"] in said


def test_a_folder_that_cannot_be_written_is_named(sandbox: Sandbox, expect: Expect) -> None:
    """Where the project's folder cannot be written, the error names it, and nothing is left."""
    with sandbox.unwritable():
        ran = sandbox.type("deploy", "local").must(1)
    expect(CASES / "unwritable.txt", sandbox.told(ran))
    assert not (sandbox.path / ".nonevent").exists()
    sandbox.deployed()


def test_a_bug_shows_no_bare_traceback(sandbox: Sandbox) -> None:
    """A history that a newer version wrote is refused in words."""
    sandbox.root.mkdir(parents=True)
    (sandbox.root / "ledger.jsonl").write_text('{"format": 99}\n')
    ran = sandbox.type("status", "local").must(1)
    assert "a line of the ledger cannot be read" in ran.stderr
