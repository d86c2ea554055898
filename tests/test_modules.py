"""Importing what services name, before anything of a release is started."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from test_plan import ONE, TIME, WEB, deploy, manifest, want
from tiny import SERVICES, TinyHost, parcel

from nonevent.agent.modules import candidates
from nonevent.agent.plan import plan
from nonevent.errors import ImportFailed
from nonevent.model.facts import Facts
from nonevent.model.ledger import Event, Line, fold
from nonevent.model.plan import Import
from nonevent.model.service import Kind, Service
from nonevent.model.want import Deploy

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

JOBS = Service(name="jobs", kind=Kind.WORKER, command="python worker.py work.jobs:run")
WITH_JOBS = (*SERVICES, JOBS)
GOOD = {"work/__init__.py": "", "work/jobs.py": "run = print"}


@pytest.fixture
def host(tmp_path: Path) -> Iterator[TinyHost]:
    """A host where nothing was deployed yet."""
    made = TinyHost(tmp_path / "app")
    yield made
    made.clean_up()


@pytest.mark.parametrize(
    ("command", "modules"),
    [
        ("gunicorn shop.wsgi --bind unix:{socket}", ("shop.wsgi",)),
        ("gunicorn -c gunicorn.conf.py wsgi", ("wsgi",)),
        ("uvicorn shop.asgi:app --uds {socket}", ("shop.asgi",)),
        ("uvicorn 'shop.main:create()' --factory", ("shop.main",)),
        ("celery -A shop worker --loglevel info", ("shop",)),
        ("celery --app=shop.celery:app beat", ("shop.celery",)),
        ("python -m celery -A shop worker", ("shop",)),
        ("python manage.py rqworker default", ()),
        ("python web.py {socket}", ()),
        ("python -m shop.worker", ()),
    ],
)
def test_commands_name_modules(command: str, modules: tuple[str, ...]) -> None:
    """What a server or Celery is told to load is found, and no script that would run."""
    service = Service(name="web", kind=Kind.WEB, command=command)
    assert candidates(service) == modules


def steps(events: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """The steps that were done, and what they said."""
    return [
        (each["step"]["do"], each.get("detail", "")) for each in events if each["event"] == "done"
    ]


def test_a_module_is_imported_once_for_each_set_of_dependencies(host: TinyHost) -> None:
    """The first release imports what its services name; one with the same dependencies does not."""
    events: list[dict[str, Any]] = []
    host.deploy(parcel("one", services=WITH_JOBS, files=GOOD), events.append)
    assert steps(events)[1] == ("import", "work.jobs")
    events.clear()
    host.deploy(parcel("two", services=WITH_JOBS, files=GOOD), events.append)
    assert "import" not in dict(steps(events))


@pytest.mark.parametrize(
    ("source", "said", "hint"),
    [
        ("import nowhere", "No module named 'nowhere'", "logs"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGILL)", "", "newer processors"),
    ],
)
def test_a_module_that_cannot_be_imported_stops_the_deploy(
    host: TinyHost, source: str, said: str, hint: str
) -> None:
    """Nothing is started of a release whose module fails, and Python's words are the evidence."""
    events: list[dict[str, Any]] = []
    bad = parcel("bad", services=WITH_JOBS, files={**GOOD, "work/jobs.py": source})
    with pytest.raises(ImportFailed, match=r"work\.jobs, which jobs names") as failed:
        host.deploy(bad, events.append)
    assert said in "\n".join(failed.value.context)
    assert hint in failed.value.hint
    assert [name for name, _ in steps(events)] == ["stage"]
    assert host.processes() == {}


def test_importing_for_a_service_on_a_port_leaves_no_relay(host: TinyHost) -> None:
    """What passes connections on to a service's port belongs to the service, not to the import."""
    web = replace(SERVICES[0], command="python web.py work.jobs:run {port}")
    bad = parcel("bad", services=(web,), files={**GOOD, "work/jobs.py": "import nowhere"})
    host.layout.run.mkdir(parents=True)
    with pytest.raises(ImportFailed) as failed:
        host.deploy(bad)
    assert "No module named 'nowhere'" in "\n".join(failed.value.context)
    assert host.own_processes() == ()


def test_a_module_is_found_where_the_command_looks(host: TinyHost) -> None:
    """A folder that the command names is searched, and the service's own variables are set."""
    worker = Service(
        name="jobs", kind=Kind.WORKER, command="python worker.py --chdir backend work.jobs:run",
        env=(("MOOD", "good"),),
    )  # fmt: skip
    files = {
        "backend/work/__init__.py": "",
        "backend/work/jobs.py": "import os; assert os.environ['MOOD'] == 'good'",
    }
    events: list[dict[str, Any]] = []
    host.deploy(parcel("one", services=(*SERVICES, worker), files=files), events.append)
    assert steps(events)[1] == ("import", "work.jobs")


def test_modules_are_imported_until_a_release_with_the_dependencies_has_served() -> None:
    """A release that failed proves nothing of its dependencies, one that served does."""
    named = (replace(WEB, command="gunicorn shop.wsgi"),)
    same = replace(manifest(2), layers=manifest(1).layers)
    one = manifest(1, named)
    failed = fold((
        Line(number=1, time=TIME, event=Event.STAGED, release=1, artifact=one.digest),
        Line(number=2, time=TIME, event=Event.FAILED, release=1),
    ))  # fmt: skip
    wanted = want(Deploy(manifest=replace(same, services=named), config=0, secrets=0))
    there = replace(ONE, manifests=((1, one),))
    assert Import(2) not in plan(wanted, there).steps
    assert plan(wanted, Facts(history=failed, manifests=((1, one),))).steps[1] == Import(2)
    assert plan(deploy(2, named), there).steps[1] == Import(2)


def test_a_package_that_is_named_does_not_hide_libraries(host: TinyHost) -> None:
    """What ``-A`` names is a package: a module in it, called like a library, is not the library."""
    files = {"work/__init__.py": "import json\njson.dumps", "work/json.py": "1 / 0"}
    jobs = replace(JOBS, command="python worker.py -A work")
    events: list[dict[str, Any]] = []
    host.deploy(parcel("one", services=(*SERVICES, jobs), files=files), events.append)
    assert steps(events)[1] == ("import", "work")
