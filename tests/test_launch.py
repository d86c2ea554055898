"""What a process of a release is started as, and with what."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from tiny import SERVICES, TinyHost, parcel

from nonevent.agent import kernel, launch, release, variables
from nonevent.errors import UsageError
from nonevent.model.layout import Layout
from nonevent.model.service import Kind, Service
from nonevent.model.want import Rollback
from nonevent.testing.process import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SECRET = "hunter2-is-no-password"
ALL = ("ARTIFACT", "CONFIG", "SECRET", "SERVICE")


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """A host with settings and secrets, and a folder whose name has a space."""
    layout = Layout(tmp_path / "my shop")
    variables.keep_config(layout, dict.fromkeys(ALL[1:], "config") | {"NONEVENT_APP": "no"})
    variables.keep_secrets(layout, dict.fromkeys(ALL[2:], "secret"))
    (layout.release(42) / "venv" / "bin").mkdir(parents=True)
    return layout


def staged(command: str, **env: str) -> release.Staged:
    """A release with one service of this command."""
    service = Service(name="web", kind=Kind.WEB, command=command, env=tuple(env.items()))
    manifest = replace(
        parcel("a", services=(service,)).manifest, env=tuple((name, "artifact") for name in ALL)
    )
    return release.Staged(number=42, environment="production", config=1, manifest=manifest)


WEB = launch.Launch(release=42, name="web-42.2", service="web", secrets=1, port=8001)


def test_later_sources_win(layout: Layout) -> None:
    """The service's variables are above secrets, those above settings, those above the artifact."""
    values = launch.environment(layout, staged("run", SERVICE="service"), WEB, base={})
    assert [values[name] for name in ALL] == ["artifact", "config", "secret", "service"]


def test_nothing_of_the_caller_gets_through(layout: Layout) -> None:
    """A deploy from any shell starts the same process: only the terminal's variables pass."""
    base = {"TERM": "xterm", "TZ": "UTC", "PYTHONPATH": "/evil", "LD_PRELOAD": "x", "HOME": "/x"}
    values = launch.environment(layout, staged("run"), WEB, base=base)
    assert (values["TERM"], values["TZ"]) == ("xterm", "UTC")
    assert "PYTHONPATH" not in values
    assert "LD_PRELOAD" not in values
    assert values["HOME"] != "/x"


def test_what_nonevent_says_cannot_be_overridden(layout: Layout) -> None:
    """Release, instance and socket are what they are."""
    values = launch.environment(layout, staged("run", NONEVENT_RELEASE="7"), WEB, base={})
    assert values["NONEVENT_APP"] == "tiny"
    assert values["NONEVENT_RELEASE"] == "42"
    assert values["NONEVENT_INSTANCE"] == "web-42.2"
    assert values["NONEVENT_SOCKET"] == str(layout.socket("web-42.2"))
    assert values["NONEVENT_PORT"] == "8001"
    assert values["PATH"].startswith(str(layout.release(42) / "venv" / "bin"))


def test_placeholders_are_filled_word_by_word(layout: Layout) -> None:
    """A path with a space stays one word."""
    found = launch.command(
        layout, staged("/bin/run --to 'unix:{socket}' {port} {data} r{release}"), WEB
    )
    assert found == (
        "/bin/run", "--to", f"unix:{layout.socket('web-42.2')}", "8001", str(layout.data), "r42",
    )  # fmt: skip


@pytest.mark.parametrize("program", ["python", "python3", "python3.11"])
def test_python_is_the_releases_own(layout: Layout, program: str) -> None:
    """Whatever version is named, the interpreter is the virtualenv's."""
    argv = launch.command(layout, staged(f"{program} -m shop"), WEB)
    assert argv == (str(layout.release(42) / "venv/bin/python"), "-m", "shop")


@pytest.mark.parametrize(
    ("first", "through_python"),
    [("#!/usr/bin/python3.11", True), ("#!/bin/sh", True), ("\x7fELF", False)],
)
def test_console_scripts_start_through_the_releases_interpreter(
    layout: Layout, first: str, through_python: bool
) -> None:
    """A script's own first line is not followed; a binary of the virtualenv is run as it is."""
    folder = layout.release(42) / "venv" / "bin"
    (folder / "gunicorn").write_text(f"{first}\n")
    argv = launch.command(layout, staged("gunicorn shop.wsgi"), WEB)
    script = str(folder / "gunicorn")
    wanted = (str(folder / "python"), script, "shop.wsgi") if through_python else (script,)
    assert argv[: len(wanted)] == wanted


def test_other_programs_are_left_alone(layout: Layout) -> None:
    """What the virtualenv does not have is the system's."""
    assert launch.command(layout, staged("nginx -g off"), WEB)[0] == "nginx"


def test_an_unknown_service_is_refused(layout: Layout) -> None:
    """An instance of a service that the release does not have is nothing to become."""
    with pytest.raises(UsageError, match="no service api"):
        launch.command(layout, staged("run"), replace(WEB, service="api"))


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TinyHost]:
    """A host that serves a release with a secret, in a folder with awkward characters."""
    root = tmp_path_factory.mktemp("host") / "my %s shöp 1"
    root.mkdir()
    host = TinyHost(root)
    try:
        host.deploy(parcel("a", release=("python -c 'import os; os.environ[\"TOKEN\"]'",)),
                    secrets={"TOKEN": SECRET})  # fmt: skip
        yield host
    finally:
        host.clean_up()


def test_processes_have_the_secret_and_nothing_else_does(host: TinyHost) -> None:
    """A secret is in its own file and in environments; in no argument, journal, ledger or log."""
    assert host.serves() == "1"
    pids = host.processes()
    assert len(pids) == len(SERVICES)
    assert all(kernel.environment(pid)["TOKEN"] == SECRET for pid in pids)
    assert all(SECRET not in " ".join(kernel.arguments(pid)) for pid in host.own_processes())
    layout = host.layout
    files = [path for path in layout.root.rglob("*") if path.is_file() and not path.is_symlink()]
    holders = [path for path in files if SECRET.encode() in path.read_bytes()]
    assert holders == [layout.secrets / "1" / "variables.json"]


def test_processes_run_what_they_should(host: TinyHost) -> None:
    """The folder is the release's own, the interpreter a real path, whatever the root is called."""
    for pid, instance in host.processes().items():
        assert kernel.working_folder(pid) == str(host.layout.release(instance.release) / "app")
        assert kernel.executable(pid) == os.path.realpath(
            host.layout.release(1) / "venv" / "bin" / "python"
        )
    assert sys.version_info >= (3, 11)


def test_a_rollback_starts_with_the_newest_secrets(host: TinyHost) -> None:
    """Also a worker of the older release that has only just ended is started with them."""
    host.deploy(parcel("b"), secrets={"TOKEN": "rotated"})
    host.carry_out(Rollback())
    assert host.serves() == "1"
    until(lambda: host.runs(1), within=20)
    assert {kernel.environment(pid).get("TOKEN") for pid in host.processes()} == {"rotated"}


def test_an_instance_that_dies_is_started_again(host: TinyHost) -> None:
    """Whatever kills a worker, there is one again."""
    (pid,) = (pid for pid, each in host.processes().items() if each.service == "worker")
    os.kill(pid, 9)
    until(lambda: pid not in host.processes() and host.runs(1), within=20)
