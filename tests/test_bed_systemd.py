"""A host as an administrator would have it: systemd, nginx, a user for the app, sudo for two words.

Set up with `nonevent setup`, deployed to by a user without rights, on real Debian hosts.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from bed import visit
from bed.visit import get
from bed.wait import until
from sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bed import Bed, Host

ROOT = "/srv/shop"
PRODUCTION = """
[environments.production]
hosts = ["app1"]
domains = ["{address}"]
[environments.production.env]
COLOUR = "blue"
"""
WORKER = """
[services.worker]
kind = "worker"
command = "python work.py {data}"
stop_limit = "20s"
"""
# A server that echoes uploads; it says what the load checks.
SERVER = """
import hashlib, json, os, socket, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
import shop

class Server(ThreadingHTTPServer):
    address_family = socket.AF_UNIX
    request_queue_size = 128
    daemon_threads = True

    def server_bind(self):
        self.socket.bind(self.server_address)

class Answer(BaseHTTPRequestHandler):
    def do_GET(self):
        status, text = shop.answer(self.path)
        self.say(status, f"{text}\\n".encode())

    def do_POST(self):
        data = self.rfile.read(int(self.headers["Content-Length"]))
        print("uploaded", len(data), flush=True)
        said = {"sha256": hashlib.sha256(data).hexdigest(), "length": len(data)}
        self.say(200, json.dumps(said).encode())

    def say(self, status, body):
        self.send_response(status)
        self.send_header("X-Nonevent-Release", os.environ["NONEVENT_RELEASE"])
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass

Server(sys.argv[1], Answer).serve_forever()
"""
WORK = """
import os, pathlib, signal, sys, time
told = []
signal.signal(signal.SIGTERM, lambda *_: told.append(1))
data, release = pathlib.Path(sys.argv[1]), os.environ["NONEVENT_RELEASE"]
while not told:
    (data / f"begun-{release}").touch()
    time.sleep(0.05)
while not (data / "finish").exists():
    time.sleep(0.05)
(data / f"finished-{release}").touch()
"""
TICK = """
import os, pathlib, sys, time
data = pathlib.Path(sys.argv[1])
try:
    (data / "ticking").mkdir()
except FileExistsError:
    (data / "overlap").touch()
time.sleep(1.2)
(data / "ticking").rmdir()
with (data / "ticks").open("a") as file:
    file.write(os.environ["NONEVENT_RELEASE"] + "\\n")
print("ticked", flush=True)
"""
TIMER = """
[services.tick]
kind = "timer"
command = "python tick.py {data}"
schedule = "every 1s"
"""
SETUP = ("setup", "production", "--as", "root")
load = partial(visit.load, mix="fast=2,upload=1")


@pytest.fixture(scope="module")
def app1(bed: Bed) -> Host:
    """A fresh host."""
    host = bed.host("app1")
    host.reset()
    return host


@pytest.fixture(scope="module")
def shop(bed: Bed, app1: Host, cache: Path) -> Iterator[Sandbox]:
    """A project whose environment `production` is that host, set up."""
    sandbox = Sandbox(cache)
    sandbox.environ["NONEVENT_SSH"] = f"ssh -F {bed.ssh_config}"
    config = sandbox.config(after=PRODUCTION.format(address=app1.address))
    sandbox.commit({**config, "serve.py": SERVER, "work.py": WORK}, "Add production")
    yield sandbox
    sandbox.end()


def until_answers(bed: Bed, host: Host, text: str) -> None:
    """Wait until visitors get this answer."""
    until(lambda: get(bed, host) == text, seconds=60, what=f"{text} from {host.name}")


def instances(host: Host) -> list[str]:
    """The units of releases that systemd has in memory, whatever state they are in."""
    argv = ("systemctl", "list-units", "--all", "--plain", "--no-legend", "shop.*@*")
    return [line.split()[0] for line in host.run(argv).stdout.splitlines()]


def test_setup_shows_makes_and_then_has_nothing_to_do(app1: Host, shop: Sandbox) -> None:
    """`--check` changes nothing, setup makes what it showed, and a second one nothing."""
    refused = shop.type("deploy", "production").must(1)
    assert "nonevent setup production" in refused.stderr
    shown = shop.type(*SETUP, "--check").must(0).stdout
    assert "user shop" in shown
    assert "proxy_pass http://unix:/srv/shop/run/front.sock:;" in shown
    assert app1.run(("test", "-e", ROOT), check=False).returncode == 1
    words = [line for line in shown.splitlines() if not line.startswith("      ")]
    assert shop.type(*SETUP).must(0).stdout.splitlines() == words
    assert "nothing to do" in shop.type(*SETUP).must(0).stdout


def test_deploys_behind_nginx_lose_nothing(bed: Bed, app1: Host, shop: Sandbox) -> None:
    """Visitors of nginx, who also upload, notice no deploy and no rollback; no unit is left."""
    shop.says("version one")
    shop.type("deploy", "production").must(0)
    assert get(bed, app1) == r"b'version one\n'"
    # It was not there at boot, so that this deploy has started it.
    app1.run(("systemctl", "is-active", "shop.nonevent_keeper.service"))
    with load(bed, app1) as report:
        shop.says("version two")
        shop.type("deploy", "production").must(0)
        assert get(bed, app1) == r"b'version two\n'"
        shop.type("rollback", "production").must(0)
        assert get(bed, app1) == r"b'version one\n'"
    assert report["lost"] == {}
    assert report["answered"] > 40
    assert instances(app1) == ["shop.web@1.service"]


def test_what_runs_is_proved_and_can_be_read(shop: Sandbox, app1: Host) -> None:
    """Status proves what runs, logs come from the journal, commands run as the app's user."""
    shown = shop.type("status", "production").must(0)
    assert "runs its release" in shown.stdout
    assert re.search(r"^behind nginx [\d.]+, /etc/nginx/\S+$", shown.stdout, re.MULTILINE)
    app1.run(("systemctl", "stop", "nginx"))
    shown = shop.type("status", "production").must(0)
    app1.run(("systemctl", "start", "nginx"))
    assert "nginx, by which visitors come, is inactive" in shown.stderr
    logs = shop.type("logs", "production", "--service", "web", "--release", "1").must(0)
    assert "web-1 | uploaded" in logs.stdout
    assert "web-2" not in logs.stdout
    script = "import getpass, sys; print(getpass.getuser(), sys.executable); sys.exit(7)"
    ran = shop.type("run", "production", "--", "python", "-c", script).must(7)
    assert ran.stdout.startswith(f"shop {ROOT}/releases/1/")


def test_followed_logs_show_a_release_that_comes_later(bed: Bed, app1: Host, shop: Sandbox) -> None:
    """`logs --follow` shows a release that comes later, and goes on when its connection breaks."""
    with shop.start("logs", "production", "--follow", "--lines", "1") as child:
        assert child.stdout
        output = child.stdout.fileno()
        os.set_blocking(output, False)
        shop.type("rollback", "production", "2").must(0)
        seen: list[bytes] = []

        def shown() -> bool:
            with suppress(BlockingIOError):
                seen.append(os.read(output, 65536))
            return b"web-2 | uploaded" in b"".join(seen)

        with load(bed, app1):
            until(shown, seconds=30, what="a line of release 2")
            app1.run(("pkill", "-KILL", "-u", "deploy", "-f", "serve --root"))
            seen.clear()
            until(shown, seconds=60, what="a line after the agent was killed")
        child.send_signal(signal.SIGINT)
        child.wait(timeout=30)
    shop.type("rollback", "production", "1").must(0)


def test_an_app_is_confined(app1: Host) -> None:
    """The app cannot write its release; its unit is exposed to 2.0 at most; others see nothing."""
    as_app = ("runuser", "-u", "shop", "--")
    assert app1.run((*as_app, "touch", f"{ROOT}/data/x")).returncode == 0
    for place in ("releases/1/app", "releases", "layers", "tools", "configs", "secrets", "."):
        assert app1.run((*as_app, "touch", f"{ROOT}/{place}/x"), check=False).returncode == 1
    report = app1.run(("systemd-analyze", "security", "shop.web@1.service"), check=False).stdout
    exposure = float(report.split("Overall exposure level for")[1].split()[1])
    assert exposure <= 2.0, report
    for user in ("nobody", "www-data", "deploy"):
        mine = user == "deploy"
        read = ("runuser", "-u", user, "--", "ls", f"{ROOT}/secrets")
        assert (app1.run(read, check=False).returncode == 0) is mine
    assert app1.run(("runuser", "-u", "nobody", "--", "ls", ROOT), check=False).returncode == 2


@pytest.mark.parametrize(
    "words",
    [
        ("--app", "shop", "stop", "ssh"),
        ("--app", "shop", "stop", "ssh.service"),
        ("--app", "shop", "stop", "../ssh-1"),
        ("--app", "shop", "stop", "web-1.service"),
        ("--app", "shop", "stop", "web-1 ssh"),
        ("--app", "shop", "stop", "web-1", "ssh.service"),
        ("--app", "shop", "stop", "--all"),
        ("--app", "shop", "stop", "web-\u0661"),
        ("--app", "shop", "stop", "web-1\n"),
        ("--app", "shop", "mask", "web-1"),
        ("--app", "shop", "start"),
        ("--app", "other", "stop", "web-1"),
        ("--app", "shop", "--app", "other", "stop", "web-1"),
        ("stop", "web-1"),
    ],
)
def test_the_helper_refuses_anything_else(app1: Host, words: tuple[str, ...]) -> None:
    """As root the user who deploys can do no more than start and stop this app's own units."""
    argv = ("sudo", "-n", "/usr/local/lib/nonevent/units", *words)
    assert app1.ssh(argv, check=False).returncode != 0
    assert app1.ssh(("sudo", "-n", "/usr/bin/id"), check=False).returncode != 0
    assert app1.run(("systemctl", "is-active", "ssh")).stdout == "active\n"
    assert instances(app1) == ["shop.web@1.service"]


def test_a_broken_release_changes_nothing(bed: Bed, app1: Host, shop: Sandbox) -> None:
    """A release that cannot be imported is refused with its last lines from the journal."""
    shop.shop("import nowhere\n")
    with load(bed, app1) as report:
        refused = shop.type("deploy", "production").must(1)
    assert "No module named 'nowhere'" in refused.stderr
    assert "release 1" in refused.stderr
    assert "still serves" in refused.stderr
    assert report["lost"] == {}
    assert instances(app1) == ["shop.web@1.service"]


def test_a_reboot_brings_up_what_the_ledger_names(bed: Bed, app1: Host, shop: Sandbox) -> None:
    """After a reboot and after a power cut the release that the ledger names serves."""
    app1.reboot()
    until_answers(bed, app1, r"b'version one\n'")
    shop.says("version four")
    shop.type("deploy", "production").must(0)
    app1.power_cut()
    app1.boot()
    until_answers(bed, app1, r"b'version four\n'")
    assert "runs its release" in shop.type("status", "production").must(0).stdout
    assert len(instances(app1)) == 1


def test_stopped_stays_stopped(bed: Bed, app1: Host, shop: Sandbox) -> None:
    """What a person stopped does not come back by a reboot, but by `start`."""
    shop.type("stop", "production").must(0)
    assert instances(app1) == []
    app1.reboot()
    assert instances(app1) == []
    assert get(bed, app1) == ""
    shop.type("start", "production").must(0)
    assert get(bed, app1) == r"b'version four\n'"


def test_a_new_service_asks_for_setup_and_finishes_its_task(app1: Host, shop: Sandbox) -> None:
    """A worker needs a unit first; then an old one ends its task while the new release serves."""
    shop.commit(shop.config(after=WORKER), "Add a worker")
    refused = shop.type("deploy", "production").must(1)
    assert "worker: needs a service" in refused.stderr
    assert "nonevent setup production" in refused.stderr
    shop.type(*SETUP).must(0)
    shop.type("deploy", "production").must(0)
    old = shop.type("status", "production").must(0).stdout.split()[1]
    shop.says("version six")
    shop.type("deploy", "production").must(0)
    shown = shop.type("status", "production").must(0).stdout
    assert "stopping" in shown
    app1.run(("runuser", "-u", "shop", "--", "touch", f"{ROOT}/data/finish"))
    finished = ("test", "-e", f"{ROOT}/data/finished-{old}")
    until(lambda: app1.run(finished, check=False).returncode == 0, seconds=20, what="the task")
    until(lambda: len(instances(app1)) == 2, seconds=20, what="the old worker to be gone")


def test_what_is_cut_off_in_a_deploy_goes_back(bed: Bed, app1: Host, shop: Sandbox) -> None:
    """Power cut, or the agent killed, while a release boots: the one that served does, alone."""
    serving = sorted(instances(app1))
    shop.shop("import time\ntime.sleep(20)\n", "Boot slowly")

    def broken(what: Callable[[], object]) -> None:
        with shop.start("deploy", "production") as child:
            until(lambda: len(instances(app1)) == 3, seconds=30, what="the new release to boot")
            what()
            assert child.wait(timeout=60)
        until_answers(bed, app1, r"b'version six\n'")
        until(lambda: len(instances(app1)) == 2, seconds=30, what="the new release to be gone")

    def agent_killed() -> None:
        pids = app1.run(("pgrep", "-u", "deploy", "-f", "serve --root /srv/shop")).stdout.split()
        app1.run(("kill", "-KILL", *pids))

    broken(agent_killed)
    assert sorted(instances(app1)) == serving

    def power_cut() -> None:
        app1.power_cut()
        app1.boot()

    broken(power_cut)
    shop.says("version seven")
    shop.type("deploy", "production").must(0)
    assert get(bed, app1) == r"b'version seven\n'"


def test_commands_and_timers_run_as_the_app(app1: Host, shop: Sandbox) -> None:
    """A release command and a timer write data as the app's user; a timer never overlaps itself."""
    config = shop.config(before='release = ["touch {data}/migrated"]\n', after=TIMER)
    shop.commit({**config, "tick.py": TICK}, "Tick")
    shop.type(*SETUP).must(0)
    shop.type("deploy", "production").must(0)
    stat = app1.run(("stat", "-c", "%U:%G", f"{ROOT}/data/migrated")).stdout
    assert stat == "shop:shop\n"
    ticks = ("cat", f"{ROOT}/data/ticks")
    until(lambda: app1.run(ticks, check=False).stdout.count("\n") > 2, seconds=30, what="ticks")
    assert app1.run(("test", "-e", f"{ROOT}/data/overlap"), check=False).returncode == 1
    assert "tick | ticked" in shop.type("logs", "production", "--service", "tick").must(0).stdout
    shop.type("stop", "production").must(0)
    shop.type("start", "production").must(0)


def test_a_broken_proxy_is_not_reloaded(bed: Bed, app1: Host, shop: Sandbox) -> None:
    """Where nginx refuses its configuration, its site stays as it was, and nginx as it runs."""
    site = "/etc/nginx/conf.d/shop.conf"
    before = app1.read(site)
    app1.put("/etc/nginx/conf.d/other.conf", "this is nonsense;\n")
    config = shop.config()["nonevent.toml"].replace("domains = [", 'domains = ["new.test", ')
    shop.commit({"nonevent.toml": config}, "Add a domain")
    refused = shop.type(*SETUP).must(1)
    assert "other.conf" in refused.stdout + refused.stderr
    assert app1.read(site) == before
    assert get(bed, app1) == r"b'version seven\n'"
    app1.run(("rm", "/etc/nginx/conf.d/other.conf"))
    shop.type(*SETUP).must(0)
    assert "new.test" in app1.read(site)


def until_runs(host: Host, interpreter: str) -> None:
    """Wait until the main processes of all instances run this, by the kernel's own word."""

    def running() -> set[str]:
        argv = ("systemctl", "show", "--property", "MainPID", "--value", *instances(host))
        links = (f"/proc/{pid}/exe" for pid in host.run(argv).stdout.split())
        return set(host.run(("readlink", *links), check=False).stdout.split())

    until(lambda: running() == {interpreter}, seconds=30, what=f"{interpreter} to run all")


@pytest.mark.skipif(not Path("/usr/bin/python3").exists(), reason="there is nothing to bundle")
def test_a_release_runs_the_interpreter_that_it_brought(
    bed: Bed, app1: Host, shop: Sandbox
) -> None:
    """Its services and commands, also after a reboot; the release before it runs the host's."""
    before, own = get(bed, app1), "/usr/bin/python3.11"
    until_runs(app1, own)
    shop.commit(shop.config(before='python = { bundled = "/usr" }\n'), "Bring the interpreter")
    script = "import os; print(os.path.realpath('/proc/self/exe'), os.__file__)"
    asked = ("run", "production", "--", "python", "-c", script)
    with load(bed, app1) as report:
        shop.says("version eight")
        shop.type("deploy", "production", limit=300.0).must(0)
        assert get(bed, app1) == r"b'version eight\n'"
        brought, library = shop.type(*asked).must(0).stdout.split()
        assert brought.startswith(f"{ROOT}/layers/python-")
        assert library.startswith(f"{ROOT}/")
        until_runs(app1, brought)
        assert "runs its release" in shop.type("status", "production").must(0).stdout
        shop.type("rollback", "production").must(0)
        assert get(bed, app1) == before
        until_runs(app1, own)
        assert shop.type(*asked).must(0).stdout.split() == [own, "/usr/lib/python3.11/os.py"]
        shop.type("deploy", "production").must(0)
    assert report["lost"] == {}
    app1.reboot()
    until_answers(bed, app1, r"b'version eight\n'")
    until_runs(app1, brought)
    shop.type("rollback", "production").must(0)
    until_runs(app1, own)


@pytest.mark.usefixtures("app1")
def test_two_apps_do_not_see_each_other(bed: Bed, cache: Path) -> None:
    """Another app's user reads no file of this one, reaches no socket, and sees no process."""
    blog = Sandbox(cache, inside="blog")
    try:
        blog.environ["NONEVENT_SSH"] = f"ssh -F {bed.ssh_config}"
        config = blog.config(after=PRODUCTION.format(address="blog.test"))["nonevent.toml"]
        blog.commit({"nonevent.toml": config.replace('"shop"', '"blog"')}, "Be a blog")
        blog.type(*SETUP).must(0)
        blog.type("deploy", "production").must(0)
        script = (
            "import os, socket\n"
            "for act in (lambda: os.listdir('/srv/shop'), lambda: open('/srv/shop/ledger.jsonl'),\n"
            "            lambda: socket.socket(1).connect('/srv/shop/run/front.sock')):\n"
            "    try:\n        act()\n"
            "    except PermissionError:\n        print('refused')\n"
        )
        ran = blog.type("run", "production", "--", "python", "-c", script).must(0)
        assert ran.stdout.split() == ["refused"] * 3
    finally:
        blog.end()


def test_the_files_can_be_had_for_others_to_install(shop: Sandbox, tmp_path: Path) -> None:
    """`--emit` writes the units, the rule for sudo and the commands, and touches no host."""
    folder = tmp_path / "out"
    shop.type("setup", "production", "--emit", str(folder)).must(0)
    unit = (folder / "files/etc/systemd/system/shop.web@.service").read_text()
    assert "ProtectSystem=strict" in unit
    script = (folder / "setup.sh").read_text()
    assert "useradd --system" in script
    assert subprocess.run(("sh", "-n", str(folder / "setup.sh")), check=True).returncode == 0


def test_check_says_what_is_missing(bed: Bed, shop: Sandbox) -> None:
    """A host that is set up passes; a fresh one is told what to type; nothing is changed there."""
    assert "set up     yes" in shop.type("check", "production").must(0).stdout
    fresh = bed.host("app2")
    other = shop.config(after='[environments.other]\nhosts = ["app2"]\n')
    shop.commit(other, "Add another host")
    refused = shop.type("check", "other").must(1)
    assert "set up     no  -> nonevent setup other" in refused.stdout
    assert fresh.run(("test", "-e", ROOT), check=False).returncode == 1
