"""What a host's administrator cares for: limits, the watchdog, the journal, passwords, keys."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest
from bed.ssh import make_key
from bed.visit import get, load
from bed.wait import until
from sandbox import NONEVENT, Sandbox
from terminal import typed

from nonevent.transport import zipapp

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bed import Bed, Host

PRODUCTION = """
[environments.production]
hosts = ["app1"]
domains = ["{address}"]
"""
DIRECTIVES = """
[services.web.systemd]
MemoryMax = "500M"
LimitNOFILE = 4321
ReadWritePaths = "/var/spool/shop"
WatchdogSec = "3s"
"""
# It tells the watchdog that it is well, until there is a reason not to.
SHOP = """
import os, pathlib, socket, threading, time

def pat():
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
        while not pathlib.Path(os.environ["NONEVENT_DATA"], "hang").exists():
            told.sendto(b"WATCHDOG=1", os.environ["NOTIFY_SOCKET"])
            time.sleep(0.1)

if "WATCHDOG_USEC" in os.environ:
    threading.Thread(target=pat, daemon=True).start()
print("open", flush=True)

def answer(path):
    return 200, "well"
"""
SETUP = ("setup", "production", "--as", "root")


@pytest.fixture(scope="module")
def app1(bed: Bed) -> Host:
    """A fresh host, with the folder that the directives name."""
    host = bed.host("app1")
    host.reset()
    host.run(("install", "-d", "-m", "1777", "/var/spool/shop"))
    return host


@pytest.fixture(scope="module")
def shop(bed: Bed, app1: Host, cache: Path) -> Iterator[Sandbox]:
    """A project whose environment `production` is that host, set up and deployed."""
    sandbox = Sandbox(cache)
    sandbox.environ["NONEVENT_SSH"] = f"ssh -F {bed.ssh_config}"
    config = sandbox.config(after=PRODUCTION.format(address=app1.address) + DIRECTIVES)
    sandbox.commit({**config, "shop.py": SHOP}, "Add production")
    sandbox.type(*SETUP).must(0)
    sandbox.type("deploy", "production").must(0)
    yield sandbox
    sandbox.end()


@pytest.fixture
def as_found(shop: Sandbox) -> Iterator[None]:
    """Afterwards the configuration is what it was, in the project and on the host."""
    before = (shop.path / "nonevent.toml").read_text()
    yield
    if (shop.path / "nonevent.toml").read_text() != before:
        shop.commit({"nonevent.toml": before}, "Configure as before")
        shop.type(*SETUP).must(0)


def serving(host: Host) -> str:
    """The unit of the web service's only instance."""
    argv = ("systemctl", "list-units", "--plain", "--no-legend", "shop.web@*")
    (line,) = host.run(argv).stdout.splitlines()
    return line.split()[0]


def shown(host: Host, unit: str, name: str) -> str:
    """A property of a unit, as systemd has it."""
    return host.run(("systemctl", "show", "--value", f"--property={name}", unit)).stdout.strip()


@pytest.mark.usefixtures("shop")
def test_lines_are_found_by_app_service_and_release(app1: Host) -> None:
    """Whoever deploys reads the app's lines in the journal by their fields, and by their tag."""
    fields = ("NONEVENT_APP=shop", "NONEVENT_SERVICE=web")
    for words, lines in (
        ((*fields, "NONEVENT_RUN=1"), "open\n"),
        ((*fields, "NONEVENT_RUN=7"), ""),
        (("-t", "shop-web-1"), "open\n"),
    ):
        asked = app1.ssh(("journalctl", "-q", "-o", "cat", "_TRANSPORT=stdout", *words))
        assert asked.stdout == lines


@pytest.mark.usefixtures("as_found")
def test_own_directives_ask_for_setup_and_count(app1: Host, shop: Sandbox) -> None:
    """A changed directive needs a setup first; then systemd has it, and finds nothing wrong."""
    text = (shop.path / "nonevent.toml").read_text().replace("500M", "400M")
    shop.commit({"nonevent.toml": text}, "Limit the web service")
    refused = shop.type("deploy", "production").must(1)
    assert "MemoryMax=400M" in refused.stderr
    assert "hint: nonevent setup production" in refused.stderr
    shop.type(*SETUP).must(0)
    shop.type("deploy", "production").must(0)
    unit = serving(app1)
    assert shown(app1, unit, "MemoryMax") == str(400 * 2**20)
    pid = shown(app1, unit, "MainPID")
    assert "4321" in app1.read(f"/proc/{pid}/limits")
    inside = ("nsenter", "-t", pid, "-m", "touch", "/var/spool/shop/x")
    assert app1.run(inside).returncode == 0
    assert app1.run(("systemd-analyze", "verify", unit)).stderr == ""


@pytest.mark.usefixtures("shop")
def test_the_watchdog_restarts_what_hangs(bed: Bed, app1: Host) -> None:
    """A process that stops saying that it is well is killed and started again by systemd."""
    unit = serving(app1)
    before = shown(app1, unit, "MainPID")
    app1.run(("runuser", "-u", "shop", "--", "touch", "/srv/shop/data/hang"))
    until(lambda: shown(app1, unit, "MainPID") not in {before, "0"}, seconds=30, what="a restart")
    assert "Watchdog timeout" in app1.run(("journalctl", "-u", unit)).stdout
    app1.run(("rm", "/srv/shop/data/hang"))
    until(lambda: get(bed, app1) == r"b'well\n'", seconds=30, what="the app to be well")


def key_of_its_own(bed: Bed, folder: Path) -> tuple[str, dict[str, str]]:
    """The public line of a new key; and the environment of somebody who has no other."""
    folder.mkdir(mode=0o700)
    line = make_key(folder / "key", comment="ci")
    config = bed.ssh_config.read_text().replace(str(bed.key), str(folder / "key"))
    (folder / "ssh_config").write_text(config)
    ssh = {"NONEVENT_SSH": f"ssh -F {folder}/ssh_config", "XDG_RUNTIME_DIR": str(folder)}
    return line, ssh


@pytest.fixture(scope="module")
def ci(bed: Bed, app1: Host, shop: Sandbox) -> dict[str, str]:
    """What the environment of somebody is who has a key for this app alone, and no other."""
    line, ssh = key_of_its_own(bed, shop.base / "ci")
    text = (shop.path / "nonevent.toml").read_text()
    keyed = text.replace('hosts = ["app1"]', f'hosts = ["app1"]\nkeys = ["{line}"]')
    shop.commit({"nonevent.toml": keyed}, "Let CI deploy")
    refused = shop.type("status", "production", env=ssh).must(1)
    assert "Permission denied" in refused.stderr
    shop.type(*SETUP).must(0)
    assert app1.read("/home/deploy/.ssh/authorized_keys").count("restrict,command=") == 1
    return ssh


def test_a_restricted_key_deploys(app1: Host, shop: Sandbox, ci: dict[str, str]) -> None:
    """With a key for this app alone one deploys, rolls back and looks, by an agent of root's."""
    before = serving(app1)
    shop.type("check", "production", env=ci).must(0)
    shop.shop(f"{SHOP}\nprint('by CI', flush=True)\n", "Deploy by CI")
    shop.type("deploy", "production", env=ci).must(0)
    assert serving(app1) != before
    assert "runs its release" in shop.type("status", "production", env=ci).must(0).stdout
    assert "by CI" in shop.type("logs", "production", env=ci).must(0).stdout
    link = app1.run(("readlink", "/srv/shop/tools/current")).stdout
    assert link.startswith("/usr/local/lib/nonevent/agent-")
    shop.type("rollback", "production", env=ci).must(0)
    assert serving(app1) == before


REFUSED = "this key may deploy shop, and nothing else"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("app1", REFUSED),
        ("app1 id", REFUSED),
        ("app1 : nonevent agent-{digest} exec --root /srv/shop -- id", REFUSED),
        ("app1 : nonevent agent-{digest} serve --root /srv/blog", REFUSED),
        ("app1 : nonevent agent-{digest} setup", REFUSED),
        ("app1 : nonevent agent-../../../../tmp/x serve", REFUSED),
        ("app1 : nonevent agent-0123456789abcdef serve", "nonevent: other"),
        ("-t app1 id", REFUSED),
        ("-W 127.0.0.1:22 app1", "administratively prohibited"),
    ],
)
def test_a_restricted_key_does_nothing_else(
    app1: Host, ci: dict[str, str], words: str, said: str
) -> None:
    """No shell, no other command, no other app, no other agent, no file, no forwarding."""
    argv = f"{ci['NONEVENT_SSH']} {words.format(digest=zipapp.digest())}".split()
    done = subprocess.run(
        argv, check=False, capture_output=True, text=True, input="id\n", timeout=60
    )
    assert done.returncode
    assert said in done.stdout + done.stderr
    assert "uid=" not in done.stdout
    assert app1.run(("pgrep", "-u", "deploy", "-f", "serve --manager"), check=False).stdout == ""


def test_a_restricted_key_copies_no_file(bed: Bed, ci: dict[str, str], tmp_path: Path) -> None:
    """What scp copies with a key of one's own it does not copy with a restricted one."""
    copied = {}
    for name, ssh in (("own", f"ssh -F {bed.ssh_config}"), ("ci", ci["NONEVENT_SSH"])):
        argv = ("scp", *ssh.split()[1:], "app1:/etc/hostname", str(tmp_path / name))
        copied[name] = subprocess.run(argv, check=False, capture_output=True, timeout=60).returncode
    assert (copied["own"], (tmp_path / "own").read_text()) == (0, "app1\n")
    assert copied["ci"]
    assert not (tmp_path / "ci").exists()


def test_a_restricted_key_opens_no_shell(shop: Sandbox, ci: dict[str, str]) -> None:
    """`run`, `shell` and `setup` say that this key is not for them."""
    for words in (("run", "production", "--", "id"), ("shell", "production"), SETUP[:2]):
        refused = shop.type(*words, env=ci).must(1)
        assert REFUSED in refused.stderr
    elsewhere = shop.type("setup", "production", "--as", "root", env=ci).must(1)
    assert "Permission denied" in elsewhere.stderr


@pytest.mark.usefixtures("as_found")
def test_a_key_that_opens_more_is_refused_and_one_that_goes_is_gone(
    bed: Bed, app1: Host, shop: Sandbox, ci: dict[str, str]
) -> None:
    """A key that logs in already is no restricted one; what the configuration drops is let go."""
    file = "/home/deploy/.ssh/authorized_keys"
    keyed = (shop.path / "nonevent.toml").read_text()
    own = bed.key.with_name("key.pub").read_text().strip()
    text = "\n".join(
        f'keys = ["{own}"]' if line.startswith("keys = ") else line for line in keyed.splitlines()
    )
    shop.commit({"nonevent.toml": text}, "Take the wrong key")
    refused = shop.type(*SETUP).must(1)
    assert "opens something else" in refused.stderr
    assert "restrict," in app1.read(file)
    shop.commit({"nonevent.toml": text.replace(own, "").replace('[""]', "[]")}, "No keys")
    assert "for nothing but this app: none" in shop.type(*SETUP).must(0).stdout
    assert app1.read(file).split() == own.split()
    shop.type("status", "production", env=ci).must(1)


@pytest.mark.usefixtures("as_found")
def test_setup_by_sudo_with_a_password(app1: Host, shop: Sandbox) -> None:
    """Whoever may use sudo with a password types it in this terminal; without one that is said."""
    app1.run(("useradd", "--create-home", "--shell", "/bin/bash", "ada"))
    app1.run(("chpasswd",), stdin="ada:a long password\n")
    app1.put("/etc/sudoers.d/ada", "ada ALL=(ALL) ALL\n", mode=0o440)
    app1.run(("cp", "-a", "/home/deploy/.ssh", "/home/ada/"))
    app1.run(("chown", "-R", "ada:ada", "/home/ada/.ssh"))
    text = (shop.path / "nonevent.toml").read_text().replace("4321", "4322")
    shop.commit({"nonevent.toml": text}, "Allow more files")
    as_ada = ("setup", "production", "--as", "ada")
    refused = shop.type(*as_ada).must(1)
    assert "sudo on ada@app1 asks for a password" in refused.stderr
    status, said = typed(
        (*NONEVENT, *as_ada),
        folder=shop.path,
        env=shop.environ,
        answers=(("password for ada:", "a long password"),),
    )
    assert status == 0, said
    assert "file /etc/systemd/system/shop.web@.service" in said
    assert "nonevent deploy production" in said
    assert "LimitNOFILE=4322" in app1.read("/etc/systemd/system/shop.web@.service")


def test_a_shell_is_the_apps(app1: Host, shop: Sandbox) -> None:
    """`shell` opens one in the terminal, as the app's user, in the release; it ends as it did."""
    release = serving(app1).partition("@")[2].removesuffix(".service")
    status, said = typed(
        (*NONEVENT, "shell", "production"),
        folder=shop.path,
        env=shop.environ,
        answers=(("$ ", "echo me=$(id -un) at=$PWD n=$NONEVENT_RELEASE; tty; exit 7"),),
    )
    assert f"me=shop at=/srv/shop/releases/{release}/app n={release}" in said
    assert "/dev/pts/" in said
    assert status == 7, said


# The same shop on a TCP port of this machine.
ON_A_PORT = """
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
import shop

class Answer(BaseHTTPRequestHandler):
    def do_GET(self):
        body = b"by port\\n"
        self.send_response(shop.answer(self.path)[0])
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Answer).serve_forever()
"""


@pytest.mark.usefixtures("as_found")
def test_a_server_that_listens_on_a_port(bed: Bed, app1: Host, shop: Sandbox) -> None:
    """Its unit has a relay beside it: nothing is lost, and both are started again together."""
    text = (shop.path / "nonevent.toml").read_text()
    text = text.replace("python serve.py {socket}", "python onport.py {port}")
    with load(bed, app1, mix="fast=1") as report:
        shop.commit({"nonevent.toml": text, "onport.py": ON_A_PORT}, "Listen on a port")
        shop.type("deploy", "production").must(0)
        assert get(bed, app1) == r"b'by port\n'"
        shop.shop(f"{SHOP}\n# again\n")
        shop.type("deploy", "production").must(0)
    assert report["lost"] == {}
    assert "runs its release" in shop.type("status", "production").must(0).stdout
    unit = serving(app1)
    main = shown(app1, unit, "MainPID")
    app1.run(("pkill", "-KILL", "-u", "shop", "-f", "relay --listen"))
    until(lambda: shown(app1, unit, "MainPID") not in {main, "0"}, seconds=30, what="a restart")
    until(lambda: get(bed, app1) == r"b'by port\n'", seconds=30, what="the app to answer")
    relays = app1.run(("pgrep", "-u", "shop", "-f", "agent.* relay --listen")).stdout.split()
    assert len(relays) == 1


EMBEDDED = """
[environments.other]
hosts = ["app2"]
address = "0.0.0.0"
port = 8000
"""


@pytest.mark.usefixtures("as_found")
def test_a_host_moves_to_systemd_once_it_is_stopped(bed: Bed, shop: Sandbox) -> None:
    """Setup refuses where the embedded manager runs the app, and says what to type."""
    app2 = bed.host("app2")
    app2.reset()
    app2.run(("install", "-d", "-o", "deploy", "/srv/shop", "/var/spool/shop"))
    before = (shop.path / "nonevent.toml").read_text()
    after = before + EMBEDDED.partition("address")[0] + f'domains = ["{app2.address}"]\n'
    shop.commit({"nonevent.toml": before + EMBEDDED}, "Begin small")
    shop.type("deploy", "other").must(0)
    shop.commit({"nonevent.toml": after}, "Grow")
    refused = shop.type("setup", "other", "--as", "root").must(1)
    assert "must be stopped first" in refused.stderr
    assert "nonevent stop other" in refused.stderr
    assert app2.run(("id", "shop"), check=False).returncode
    shop.commit({"nonevent.toml": before + EMBEDDED}, "Shrink")
    shop.type("stop", "other").must(0)
    shop.commit({"nonevent.toml": after}, "Grow again")
    shop.type("setup", "other", "--as", "root").must(0)
    shop.type("deploy", "other").must(0)
    assert get(bed, app2) == r"b'well\n'"
    assert "runs its release" in shop.type("status", "other").must(0).stdout


@pytest.mark.usefixtures("as_found")
def test_what_was_written_down_sets_a_host_up(bed: Bed, shop: Sandbox, tmp_path: Path) -> None:
    """Root runs the script of `--emit` on a host, and then `setup` has nothing to do there."""
    app3 = bed.host("app3")
    app3.reset()
    line, ssh = key_of_its_own(bed, shop.base / "third")
    third = EMBEDDED.partition("address")[0].replace("other", "third").replace("app2", "app3")
    text = (shop.path / "nonevent.toml").read_text() + third
    shop.commit({"nonevent.toml": f'{text}keys = ["{line}"]\n'}, "Write it down")
    shop.type("setup", "third", "--emit", str(tmp_path / "out")).must(0)
    to = ("-q", "-r", "-F", str(bed.ssh_config), str(tmp_path / "out"), "root@app3:")
    subprocess.run(("scp", *to), check=True, timeout=60)
    for _ in range(2):
        app3.run(("sh", "/root/out/setup.sh"))
    assert "nothing to do" in shop.type("setup", "third", "--as", "root").must(0).stdout
    app3.run(("install", "-d", "/var/spool/shop"))
    shop.type("deploy", "third", env=ssh).must(0)
    assert "runs its release" in shop.type("status", "third").must(0).stdout
