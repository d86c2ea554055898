"""Setting a host up: what is decided, and that root is not led astray while it is done."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nonevent.agent import keys
from nonevent.agent import setup as acting
from nonevent.agent import units as helper
from nonevent.agent.process.systemd import lacks, name_of
from nonevent.config.directives import DIRECTIVES
from nonevent.config.read import PROXIES as NAMES
from nonevent.config.read import read_app
from nonevent.deploy.setup import emit
from nonevent.errors import HostUnfit, UsageError
from nonevent.model.service import NAME, Kind, Service
from nonevent.model.setup import (
    Account,
    After,
    Enabled,
    File,
    Folder,
    Keys,
    Line,
    Link,
    Setup,
    State,
    read_setup,
)
from nonevent.setup.calendar import calendars, trigger
from nonevent.setup.keys import DOOR
from nonevent.setup.place import Place
from nonevent.setup.proxy import PROXIES
from nonevent.setup.states import setup
from nonevent.setup.units import units

SMALL = """
    app = "shop"
    [services]
    web = "serve {socket}"
    [services.night]
    kind = "timer"
    command = "sweep"
    schedule = "0 3 * * *"
    [build]
    static = "static"
    [environments.production]
    hosts = ["web1"]
    """
APP = read_app(SMALL, "nonevent.toml")
PLACE = Place(
    app="shop",
    environment="production",
    root="/srv/shop",
    deployer="deploy",
    python="/usr/bin/python3",
    proxy="nginx",
    proxy_user="www-data",
    domains=("shop.example.com",),
    static=True,
    keys=(),
    agent="0123456789abcdef",
    web="web",
)
names = st.from_regex(NAME, fullmatch=True)


@pytest.mark.parametrize(
    ("schedule", "events"),
    [
        ("*/15 * * * *", ("*-*-* *:0/15:00",)),
        ("0 3 1-7 jan,jul *", ("*-1,7-1..7 3:0:00",)),
        ("30 4 * * 1-5", ("Mon,Tue,Wed,Thu,Fri *-*-* 4:30:00",)),
        ("0 0 * * 7", ("Sun *-*-* 0:0:00",)),
        ("0 0 * * */2", ("Sun,Tue,Thu,Sat *-*-* 0:0:00",)),
        ("0 0 1 * mon", ("*-*-1 0:0:00", "Mon *-*-* 0:0:00")),
    ],
)
def test_a_cron_schedule_is_a_calendar_event(schedule: str, events: tuple[str, ...]) -> None:
    """Five cron fields become events that systemd accepts; either of two kinds of day counts."""
    assert calendars(schedule) == events
    program = shutil.which("systemd-analyze")
    if program:
        subprocess.run((program, "calendar", *events), check=True, capture_output=True, timeout=30)


def test_what_systemd_cannot_say_is_refused() -> None:
    """A schedule with a sign that no calendar event has is refused, not guessed at."""
    with pytest.raises(UsageError):
        calendars("0 0 L * *")
    assert trigger("every 10m") == "OnActiveSec=600s\nOnUnitActiveSec=600s"


@pytest.mark.parametrize("proxy", PROXIES)
def test_a_set_up_survives_the_way_to_the_host(proxy: str) -> None:
    """What the client decides and what the host reads are the same value."""
    place = replace(PLACE, proxy=proxy, port=8000, certificate="/etc/x.pem", key="/etc/x.key",
                    keys=(CI,))  # fmt: skip
    decided = setup(place, APP)
    assert read_setup(json.loads(json.dumps(decided.as_dict()))) == decided


def test_every_proxy_of_the_configuration_can_be_set_up() -> None:
    """What the configuration may name is what there is."""
    assert tuple(PROXIES) == NAMES


@pytest.mark.parametrize("proxy", PROXIES)
def test_every_set_up_can_be_written_down(proxy: str, tmp_path: Path) -> None:
    """The script has the commands for every kind of state, and is one that a shell can read."""
    place = replace(PLACE, proxy=proxy, port=8000, certificate="/etc/x.pem", key="/etc/x.key")
    decided = setup(place, APP)
    script, *_ = emit(decided, tmp_path / "out")
    text = script.read_text()
    subprocess.run(("sh", "-n", str(script)), check=True, timeout=30)
    for state in decided.states:
        assert getattr(state, "path", "") in text
        assert getattr(state, "unit", "") in text


def texts(place: Place) -> dict[str, str]:
    """The files of a set-up, by path."""
    return {each.path: each.text for each in setup(place, APP).states if isinstance(each, File)}


@pytest.mark.parametrize(
    ("domain", "certificate", "first"),
    [
        ("shop.example.com", "", "shop.example.com {"),
        ("*.example.com", "", "*.example.com {"),
        ("shop.example.com", "none", "http://shop.example.com {"),
        ("web1", "", "http://web1 {"),
        ("10.0.0.1", "", "http://10.0.0.1 {"),
        ("shop.test", "", "http://shop.test {"),
        ("10.0.0.1", "/etc/x.pem", "10.0.0.1 {"),
    ],
)
def test_caddy_serves_public_names_with_tls(domain: str, certificate: str, first: str) -> None:
    """Names that no public certificate can be had for are served plain, unless one is given."""
    place = replace(PLACE, proxy="caddy", domains=(domain,), certificate=certificate, key="/k")
    site = texts(place)["/etc/caddy/Caddyfile.d/shop.caddyfile"]
    assert first in [line for line in site.splitlines() if not line.startswith(("#", "\t"))]
    assert ("redir https://" in site) is not first.startswith("http://")
    assert "keepalive off" in site


def test_haproxy_leads_names_to_backends_that_are_called_so() -> None:
    """Frontends are shared by apps and stay; a name and a wildcard are backends of this app."""
    place = replace(PLACE, proxy="haproxy", proxy_root="/var/lib/haproxy",
                    domains=("Shop.example.com", "*.example.com"))  # fmt: skip
    files = texts(place)
    backends = files["/etc/haproxy/nonevent/shop.cfg"]
    assert "backend shop.example.com from nonevent" in backends
    assert "backend _.example.com from nonevent" in backends
    assert "server release unix@/run/nonevent/shop.sock" in backends
    socket = files["/etc/systemd/system/shop.nonevent_proxy.socket"]
    assert "ListenStream=/var/lib/haproxy/run/nonevent/shop.sock" in socket
    recorded = json.loads(files["/etc/nonevent/shop.json"])["files"]
    assert "/etc/haproxy/nonevent/shop.cfg" in recorded
    assert "/etc/haproxy/nonevent/00-http.cfg" in files
    assert "/etc/haproxy/nonevent/00-http.cfg" not in recorded


def test_a_set_up_has_all_that_a_service_needs() -> None:
    """A unit per service, a pair per timer, the site, the rule, and secrets without the proxy."""
    decided = setup(PLACE, APP)
    files = {each.path: each for each in decided.states if isinstance(each, File)}
    assert "/etc/systemd/system/shop.web@.service" in files
    timer = files["/etc/systemd/system/shop.night.timer"].text
    assert "OnCalendar=*-*-* 3:0:00" in timer
    assert Enabled(unit="shop.night.timer") in decided.states
    assert "StartLimitIntervalSec=0" in files["/etc/systemd/system/shop.night.service"].text
    site = files["/etc/nginx/conf.d/shop.conf"].text
    assert "proxy_pass http://unix:/srv/shop/run/front.sock:;" in site
    assert "upstream" not in site.replace("Without an upstream block", "")
    assert files["/etc/sudoers.d/nonevent-shop"].mode == 0o440
    folders = {each.path: each for each in decided.states if isinstance(each, Folder)}
    assert folders["/srv/shop/secrets"].group == "shop"
    assert folders["/srv/shop"].group == "shop_site"


@pytest.mark.parametrize(
    "change", [{"deployer": "root"}, {"deployer": "shop"}, {"root": "/srv/my shop"}]
)
def test_awkward_places_are_refused(change: dict[str, str]) -> None:
    """Nobody deploys as root or as the app, and no path is one that a unit would cut in two."""
    with pytest.raises(UsageError):
        setup(replace(PLACE, **change), APP)


@given(names, names, st.integers(0, 10**9 - 1), names, names)
def test_no_two_apps_share_a_unit(
    app: str, service: str, release: int, other: str, others: str
) -> None:
    """A unit's name tells its app and its instance, so that the helper cannot be led astray."""
    unit = helper.unit(app, f"{service}-{release}")
    assert name_of(app, unit) == f"{service}-{release}"
    if other != app:
        assert helper.unit(other, f"{others}-{release}") != unit


@given(st.text())
def test_the_helper_knows_instances_alone(word: str) -> None:
    """Whatever is not an instance's name, or the keeper's, makes the helper end."""
    try:
        unit = helper.unit("shop", word)
    except SystemExit:
        return
    assert unit.startswith("shop.")
    assert name_of("shop", unit) == word


def test_a_changed_service_is_noticed() -> None:
    """A new service, or one with another stop limit, is not what the host was set up for."""
    web = Service(name="web", kind=Kind.WEB, command="serve {socket}")
    worker = Service(name="worker", kind=Kind.WORKER, command="work", stop_limit=600)
    known = {"web": web.set_up_as()}
    assert lacks((web,), known) == ()
    (said,) = lacks((web, worker), known)
    assert said.startswith("worker: needs a service, stopped by TERM within 600 s")


SAMPLES = {
    "MemoryMax": "500M",
    "CPUQuota": "80%",
    "LimitNOFILE": 65536,
    "Nice": 5,
    "WatchdogSec": "1min 30s",
    "ReadWritePaths": ["/srv", "-/mnt"],
    "PrivateTmp": False,
}
"""A value for one directive of each form."""
WORDS = {
    "CPUWeight": 100,
    "StartupCPUWeight": 100,
    "IOWeight": 100,
    "ProtectHome": "read-only",
    "ProtectProc": "default",
    "ProcSubset": "all",
    "RestrictAddressFamilies": "AF_NETLINK",
    "RestrictNamespaces": "user mnt",
    "SystemCallFilter": "@resources",
    "DevicePolicy": "closed",
    "DeviceAllow": "/dev/null rw",
    "IPAddressAllow": "10.0.0.0/8",
    "IPAddressDeny": "any",
    "OOMPolicy": "kill",
    "IOSchedulingClass": "idle",
    "AllowedCPUs": "0-3",
    "CPUAffinity": "0-3",
}
"""Values of those that have one of their own."""


def test_every_directive_is_one_of_systemd(tmp_path: Path) -> None:
    """All that a configuration may set stands at the end of the unit, and systemd knows it."""
    by_form = {DIRECTIVES[name]: value for name, value in SAMPLES.items()}
    values = {name: WORDS.get(name, by_form.get(form)) for name, form in DIRECTIVES.items()}
    lines = "\n".join(f"{name} = {json.dumps(value)}" for name, value in values.items())
    text = f"[services.night.systemd]\n{lines}\n[environments.production]"
    app = read_app(SMALL.replace("[environments.production]", text), "nonevent.toml")
    night = app.services[1]
    unit = units(PLACE, app.services)["shop.night.service"]
    assert unit.endswith("\n".join(night.systemd) + "\n")
    assert "\nMemoryMax=500M\n" in unit
    assert "\nReadWritePaths=/srv\nReadWritePaths=-/mnt\n" in unit
    assert "MemoryMax=500M" in night.set_up_as()
    program = shutil.which("systemd-analyze")
    if program:
        path = tmp_path / "shop.night.service"
        path.write_text(re.sub(r"ExecStart=.*", "ExecStart=/bin/true", unit))
        argv = (program, "verify", "--man=no", str(path))
        done = subprocess.run(argv, check=False, capture_output=True, text=True, timeout=30)
        assert str(path) not in done.stderr


CI = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl ci"
ADA = CI.replace("GKJl ci", "GKJm ada")


def test_keys_are_let_in_and_go_and_others_stay() -> None:
    """Of a user's keys only the lines for this app change: they are the ones of the set-up."""
    decided = setup(replace(PLACE, keys=(CI,)), APP)
    (state,) = (each for each in decided.states if isinstance(each, Keys))
    blog = f'restrict,command="{DOOR} --app shop-blog --root /srv/blog" {ADA}'
    before = f"# mine\n{blog}\n"
    with_ci = keys.changed(before, state)
    assert with_ci == (
        f'{before}restrict,command="/usr/local/lib/nonevent/door --app shop '
        f'--environment production --root /srv/shop" {CI}\n'
    )
    assert keys.changed(with_ci, state) == with_ci
    assert keys.changed(with_ci, replace(state, keys=())) == before
    with pytest.raises(HostUnfit, match="opens something else"):
        keys.changed(before, replace(state, keys=(ADA,)))


def test_only_with_keys_there_is_a_door() -> None:
    """A host without restricted keys gets no door and no agent of root's."""
    paths = [getattr(each, "path", "") for each in setup(PLACE, APP).states]
    assert DOOR not in paths
    assert not [path for path in paths if path.startswith("/usr/local/lib/nonevent/agent-")]


def test_root_follows_no_link(tmp_path: Path) -> None:
    """A folder below one that somebody else owns is not made through a link of theirs."""
    (tmp_path / "there").mkdir()
    (tmp_path / "run").symlink_to("there")
    state = Folder(path=f"{tmp_path}/run", owner="root", group="root", mode=0o700)
    with pytest.raises(HostUnfit):
        acting.difference(state)


def test_somebody_elses_user_is_not_taken() -> None:
    """An app that is called as a user of the system is refused."""
    with pytest.raises(HostUnfit):
        acting.difference(Account(name="root", comment="nonevent app root"))


def carried_out(*states: State, after: After | None = None) -> int:
    """Make a set-up of these states true; how many were not."""
    record = Path("/nonexistent")
    for each in states:
        assert isinstance(each, File | Line | Link)
        record = Path(each.path).with_name("record")
    last = File(path=str(record), text="{}")
    wanted = Setup(app="t", states=(*states, last), afters=(after,) if after else ())
    return acting.carry_out(wanted, lambda *_: None, check=False)


def test_a_line_is_added_once(tmp_path: Path) -> None:
    """A line comes to a file of somebody else's once, and the rest and its mode stay."""
    file = tmp_path / "Caddyfile"
    file.write_text(":80 {\n}")
    file.chmod(0o640)
    line = Line(path=str(file), text="import x/*")
    assert carried_out(line) == 1
    assert carried_out(line) == 0
    assert file.read_text() == ":80 {\n}\nimport x/*\n"
    assert file.stat().st_mode & 0o777 == 0o640
    with pytest.raises(HostUnfit):
        carried_out(Line(path=str(tmp_path / "nowhere"), text="x"))


def test_a_line_that_is_refused_is_taken_back(tmp_path: Path) -> None:
    """Where the test fails, the file of somebody else is as it was."""
    file = tmp_path / "Caddyfile"
    file.write_text("before\n")
    line = Line(path=str(file), text="import x/*", after="proxy")
    with pytest.raises(HostUnfit):
        carried_out(line, after=After(name="proxy", test=("false",), run=("true",)))
    assert file.read_text() == "before\n"


def test_a_link_leads_where_it_is_to(tmp_path: Path) -> None:
    """A link is made, with its folder, and led elsewhere where that is wanted."""
    path = tmp_path / "tls/shop.pem"
    for to in ("/etc/one.pem", "/etc/two.pem"):
        assert carried_out(Link(path=str(path), to=to)) == 1
        assert carried_out(Link(path=str(path), to=to)) == 0
        assert os.readlink(path) == to


def test_a_test_that_fails_puts_files_back(tmp_path: Path) -> None:
    """What a proxy does not accept is as it was before, and the proxy was not told of it."""
    site, fresh, told = tmp_path / "site", tmp_path / "fresh", tmp_path / "told"
    site.write_text("nonevent, before")
    states = (
        File(path=str(site), text="after", after="proxy"),
        File(path=str(fresh), text="after", after="proxy"),
        File(path=str(tmp_path / "record"), text="{}"),
    )
    after = After(name="proxy", test=("false",), run=("touch", str(told)))
    said: list[str] = []

    def say(words: str, diff: str) -> None:
        said.append(words + diff)

    with pytest.raises(HostUnfit):
        acting.carry_out(Setup(app="t", states=states, afters=(after,)), say, check=False)
    assert site.read_text() == "nonevent, before"
    assert sorted(os.listdir(tmp_path)) == ["site"]
    good = After(name="proxy", test=("true",), run=("touch", str(told)))
    wanted = Setup(app="t", states=states, afters=(good,))
    assert acting.carry_out(wanted, say, check=False) == 2
    assert told.exists()
    assert acting.carry_out(wanted, say, check=False) == 0
