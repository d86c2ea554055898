"""Hosts of the bed, one for each peer, and what can be seen of a deploy from outside the peer.

Each host has nginx in front of a Unix socket, and no network but the bed's. Clients run inside
the bed's network, so that ssh connects without a detour; who asks which release answers does so
on the host itself, so that the only traffic on its link is the deploy's.
"""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from shipping.project import SECRET, SERVER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from bed import Bed, Host

ROOT = "/srv/shop"
NEVER = "never"
"""What no release answers."""
LIMIT = 600.0
SSH_CONFIG = """\
Host *
  User deploy
  BatchMode yes
  IdentitiesOnly yes
  IdentityFile {key}
  UserKnownHostsFile {known}
  GlobalKnownHostsFile /dev/null
  StrictHostKeyChecking yes
  UpdateHostKeys no
"""
SSH_HOST = "Host {name}\n  HostName {address}\n  HostKeyAlias {name}\n"
UNIT = f"""\
[Unit]
Description=shop
After=network.target

[Service]
User=shop
RuntimeDirectory=shop
EnvironmentFile=/etc/shop.env
WorkingDirectory={ROOT}/current/app
ExecStart={ROOT}/current/venv/bin/python -m {{command}} --chdir {ROOT}/current/app
ExecReload=/bin/kill -HUP $MAINPID
KillMode=mixed
Restart=always

[Install]
WantedBy=multi-user.target
"""
ENV = f"""\
{SECRET}DJANGO_SETTINGS_MODULE=shop.settings.production
NONEVENT_DATA={ROOT}/data
"""
SITE = """\
server {
    listen 80;
    server_name shop;
    location /static/ { root /srv/shop/current/app; }
    location / {
        proxy_pass http://unix:/run/shop/web.sock:;
        proxy_set_header Host $http_host;
    }
}
"""
PREPARE = f"""
useradd --system --shell /usr/sbin/nologin shop
install -d -o deploy {ROOT} {ROOT}/releases
install -d -o shop {ROOT}/data
systemctl -q enable --now nginx
systemctl -q enable shop
systemctl reload nginx
"""
# Asks every 10 ms, each time on a new connection, and says when the wanted answer came, or with
# `!` in front when another came. Ends with standard input.
WATCH = """
import http.client, select, sys, time
wanted, limit = sys.argv[1], time.monotonic() + float(sys.argv[2])
print("watching", flush=True)
while time.monotonic() < limit and not select.select([sys.stdin], [], [], 0)[0]:
    began = time.monotonic()
    try:
        asked = http.client.HTTPConnection("127.0.0.1", 80, timeout=5)
        asked.request("GET", "/version", headers={"Host": "shop"})
        answer = asked.getresponse()
        text = answer.read().decode()
        good = text != wanted[1:] if wanted[0] == "!" else text == wanted
        if good and answer.status == 200:
            print(time.monotonic())
            break
    except (OSError, http.client.HTTPException):
        pass
    finally:
        asked.close()
    time.sleep(max(0.0, 0.01 - (time.monotonic() - began)))
"""
# The largest peak of a process that is an agent in conversation, until standard input ends.
PEAK = """
import glob, select, sys
peak = 0
while not select.select([sys.stdin], [], [], 0.01)[0]:
    for folder in glob.glob("/proc/[0-9]*"):
        try:
            words = open(folder + "/cmdline", "rb").read().split(b"\\0")
            if b"serve" not in words or not any(b"/tools/agent-" in word for word in words[:5]):
                continue
            lines = open(folder + "/status").read().splitlines()
        except OSError:
            continue
        peak = max([peak, *(int(l.split()[1]) * 1024 for l in lines if l.startswith("VmHWM"))])
print(peak)
"""
# The server of the current release, started by hand as the app's user until it answers.
BOOT = """
import os, pwd, socket, subprocess, sys, time
root, path, words = "/srv/shop", "/srv/shop/run-boot/web.sock", sys.argv[1:]
user = pwd.getpwnam("shop")
os.makedirs(os.path.dirname(path), exist_ok=True)
os.chown(os.path.dirname(path), user.pw_uid, user.pw_gid)
folder = os.path.realpath(root + "/current")
env = {"PATH": os.environ["PATH"], "SECRET_KEY": "only-here", "NONEVENT_DATA": root + "/data",
       "DJANGO_SETTINGS_MODULE": "shop.settings.production"}
began = time.monotonic()
child = subprocess.Popen(
    [folder + "/venv/bin/python", "-m", *words], cwd=folder + "/app", env=env,
    user=user.pw_uid, group=user.pw_gid, extra_groups=os.getgrouplist("shop", user.pw_gid),
    stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
def answers():
    try:
        with socket.socket(socket.AF_UNIX) as asked:
            asked.settimeout(5)
            asked.connect(path)
            asked.sendall(b"GET /version HTTP/1.0\\r\\nHost: localhost\\r\\n\\r\\n")
            return b" 200 " in asked.recv(100)
    except OSError:
        return False
while not answers():
    if child.poll() is not None:
        sys.exit("the server ended")
    time.sleep(0.01)
print(time.monotonic() - began)
child.terminate()
child.wait()
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """How a client's command ended."""

    output: str
    ended: float
    """By the clock that all of this machine share."""
    memory: int
    """Bytes that its largest process had at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What one command of a peer came to. Seconds from its start, and bytes on the host's link."""

    answered: float
    """Until visitors get the release that was asked for."""
    ended: float
    bytes: int
    """Both ways, headers included."""
    memory: int
    output: str


@dataclass(slots=True)
class Stage:
    """All hosts, by the peer's name."""

    bed: Bed
    work: Path
    """For files of clients; a short name, since sockets are below it."""
    env: Mapping[str, str]
    hosts: dict[str, Host] = field(default_factory=dict)

    @property
    def ssh_config(self) -> Path:
        """Every host by its peer's name, as the user ``deploy``."""
        return self.work / "ssh_config"

    @property
    def controls(self) -> Path:
        """Where clients keep their connections open."""
        return self.work / "c"

    def open(self, names: Sequence[str]) -> None:
        """Boot a host for each peer, and let every ``ssh`` of a client know them."""
        self.hosts = dict(zip(names, self.bed.hosts(*names), strict=True))
        head = SSH_CONFIG.format(key=self.bed.key, known=self.bed.known_hosts)
        each = (
            SSH_HOST.format(name=name, address=host.address) for name, host in self.hosts.items()
        )
        self.ssh_config.write_text("".join((head, *each)))
        wrapper = self.work / "bin" / "ssh"
        wrapper.parent.mkdir(exist_ok=True)
        wrapper.write_text(f'#!/bin/sh\nexec /usr/bin/ssh -F {self.ssh_config} "$@"\n')
        wrapper.chmod(0o755)
        self.controls.mkdir(mode=0o700, exist_ok=True)

    def prepare(self, name: str) -> None:
        """What any peer's host has before its first deploy: users, nginx, a unit."""
        host = self.hosts[name]
        host.put("/etc/shop.env", ENV)
        host.put("/etc/nginx/conf.d/shop.conf", SITE)
        command = SERVER.format(socket="/run/shop/web.sock")
        host.put("/etc/systemd/system/shop.service", UNIT.format(command=command))
        host.put("/etc/sudoers.d/deploy", "deploy ALL=(ALL) NOPASSWD: ALL\n", mode=0o440)
        host.run(("/bin/sh", "-euc", PREPARE))

    def client(
        self,
        folder: Path,
        *argv: str,
        more: Mapping[str, str] | None = None,
        entry: tuple[str, ...] | None = None,
    ) -> Ran:
        """Run a command of a peer; ``RuntimeError`` where it fails.

        ``entry`` is what leads to its network: the bed's, unless it is a build.
        """
        path = f"{self.work / 'bin'}:{self.env['PATH']}"
        env = {**self.env, "PATH": path, "XDG_RUNTIME_DIR": str(self.controls), **(more or {})}
        with tempfile.TemporaryFile("w+") as out:
            before = self.bed.entry if entry is None else entry
            child = subprocess.Popen(
                (*before, *argv), cwd=folder, env=env, stdin=subprocess.DEVNULL, stdout=out,
                stderr=out, start_new_session=True,
            )  # fmt: skip
            overdue = threading.Timer(LIMIT, os.killpg, (child.pid, signal.SIGKILL))
            overdue.start()
            _, status, used = os.wait4(child.pid, 0)
            ended = time.monotonic()
            overdue.cancel()
            child.returncode = os.waitstatus_to_exitcode(status)
            out.seek(0)
            output = out.read()
        if child.returncode:
            raise RuntimeError(f"{argv} ended with {child.returncode}\n{output}")
        return Ran(output=output, ended=ended, memory=used.ru_maxrss * 1024)

    def see(
        self, name: str, wanted: str, act: Callable[[], Ran], *, connected: bool = False
    ) -> Seen:
        """Carry out one command of a peer, until the wanted answer (``!``: until another).

        It has no connection at its beginning, unless one that is kept may be used.
        """
        if not connected:
            self.disconnect()
        # All hosts share a disk: whoever syncs would wait for what another peer has written.
        os.sync()
        before = self._traffic(name)
        with self._watching(name, wanted) as watch:
            assert watch.stdout
            began = time.monotonic()
            ran = act()
            answered = watch.stdout.readline()
        if not answered:
            raise TimeoutError(f"{name} never answers `{wanted}`")
        return Seen(
            answered=float(answered) - began,
            ended=ran.ended - began,
            bytes=self._traffic(name) - before,
            memory=ran.memory,
            output=ran.output,
        )

    @contextmanager
    def _watching(self, name: str, wanted: str) -> Iterator[subprocess.Popen[str]]:
        """Somebody who asks a host every 10 ms, from now on."""
        argv = (*self.hosts[name].entry, "/usr/bin/python3", "-ISc", WATCH, wanted, str(LIMIT))
        with subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as watch:
            assert watch.stdin
            assert watch.stdout
            watch.stdout.readline()
            try:
                yield watch
            finally:
                watch.stdin.close()

    @contextmanager
    def agent_memory(self, name: str) -> Iterator[list[int]]:
        """Bytes of memory that the agent's process on the host has at most meanwhile."""
        argv = (*self.hosts[name].entry, "/usr/bin/python3", "-ISc", PEAK)
        peak: list[int] = []
        with subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as watch:
            yield peak
            peak.append(int(watch.communicate("", timeout=30)[0]))

    def _traffic(self, name: str) -> int:
        """Bytes that the host's link has carried, to it and from it."""
        folder = "/sys/class/net/host0/statistics"
        shown = self.hosts[name].run(("cat", f"{folder}/rx_bytes", f"{folder}/tx_bytes")).stdout
        return sum(map(int, shown.split()))

    def disconnect(self) -> None:
        """End connections that clients keep open: a deploy begins without one."""
        for control in self.controls.rglob("*"):
            if control.is_socket():
                argv = ("/usr/bin/ssh", "-o", f"ControlPath={control}", "-O", "exit", "host")
                subprocess.run(argv, capture_output=True, check=False, timeout=30)

    def boot(self, name: str) -> float:
        """Seconds from the start of the server's process until its first good answer.

        The release that serves is asked every 10 ms meanwhile, as in a deploy.
        """
        words = SERVER.format(socket=f"{ROOT}/run-boot/web.sock").split()
        argv = ("/usr/bin/python3", "-ISc", BOOT, *words)
        with self._watching(name, NEVER):
            return float(self.hosts[name].run(argv, timeout=LIMIT).stdout)
