"""What stands in front of a host: nginx, Caddy, HAProxy, a bare port. Deploys lose nothing.

The app keeps connections open that it is asked to keep, so that a proxy could pool them.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import os
import subprocess
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from bed.visit import get, load, load_http2
from bed.wait import until
from sandbox import Sandbox

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator
    from pathlib import Path

    from bed import Bed, Host

ENVIRONMENT = """
[environments.{proxy}]
hosts = ["front-{proxy}"]
proxy = "{proxy}"
domains = ["{address}"]
"""
BARE = """
[environments.socket-proxyd]
hosts = ["front-socket-proxyd"]
proxy = "socket-proxyd"
address = "0.0.0.0"
port = 80
"""
CERTIFICATE = """
certificate = "/etc/ssl/shop.pem"
certificate_key = "/etc/ssl/shop.key"
"""
POOLING = """# By hand.
upstream own {
    server unix:/srv/shop/run/front.sock;
    keepalive 8;
}
server {
    listen 8080;
    location / {
        proxy_pass http://own;
        proxy_http_version 1.1;
        proxy_set_header Connection "";
    }
}
"""
PROXIES = ("nginx", "caddy", "haproxy", "socket-proxyd")
WITH_SITE = PROXIES[:3]
WITH_FILES = PROXIES[:2]
SERVER = """
import base64, hashlib, json, os, socket, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
import shop

RELEASE = os.environ["NONEVENT_RELEASE"]
GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

class Server(ThreadingHTTPServer):
    address_family = socket.AF_UNIX
    request_queue_size = 128
    daemon_threads = True

    def server_bind(self):
        self.socket.bind(self.server_address)

class Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if "Upgrade" in self.headers:
            return self.talk()
        status, text = shop.answer(self.path)
        self.say(status, f"{text}\\n".encode())

    def do_POST(self):
        data = self.rfile.read(int(self.headers["Content-Length"]))
        said = {"sha256": hashlib.sha256(data).hexdigest(), "length": len(data)}
        self.say(200, json.dumps(said).encode())

    def say(self, status, body):
        self.send_response(status)
        self.send_header("X-Nonevent-Release", RELEASE)
        self.send_header("X-Was-Https", self.headers.get("X-Forwarded-Proto", ""))
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def talk(self):
        key = self.headers["Sec-WebSocket-Key"] + GUID
        accept = base64.b64encode(hashlib.sha1(key.encode()).digest()).decode()
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.send_header("Sec-WebSocket-Accept", accept)
        self.end_headers()
        self.close_connection = True
        while data := self.connection.recv(100):
            self.connection.sendall(f"{RELEASE}:".encode() + data)

    def log_message(self, *_):
        pass

Server(sys.argv[1], Answer).serve_forever()
"""


@pytest.fixture(scope="module")
def hosts(bed: Bed) -> dict[str, Host]:
    """A fresh host per proxy."""
    made = dict(zip(PROXIES, bed.hosts(*(f"front-{proxy}" for proxy in PROXIES)), strict=True))
    for host in made.values():
        host.reset()
    return made


@pytest.fixture(scope="module")
def shop(bed: Bed, hosts: dict[str, Host], cache: Path) -> Iterator[Sandbox]:
    """A project with an environment per proxy."""
    sandbox = Sandbox(cache)
    sandbox.environ["NONEVENT_SSH"] = f"ssh -F {bed.ssh_config}"
    sites = (ENVIRONMENT.format(proxy=proxy, address=hosts[proxy].address) for proxy in WITH_SITE)
    config = sandbox.config(after="".join((BARE, *sites)))["nonevent.toml"]
    config = config.replace("health =", 'drain_limit = "3s"\nhealth =')
    config = config.replace("[services.web]", '[build]\nstatic = "assets"\n\n[services.web]')
    sandbox.commit({"nonevent.toml": config, "serve.py": SERVER, "assets/1.txt": "one"}, "Begin")
    yield sandbox
    sandbox.end()


@pytest.fixture(scope="module", params=PROXIES)
def proxy(request: pytest.FixtureRequest, hosts: dict[str, Host], shop: Sandbox) -> str:
    """What stands in front, set up, with release 1 behind it."""
    name = str(request.param)
    shop.type("setup", name, "--as", "root").must(0)
    deploy(shop, name, "one")
    assert hosts[name].run(("systemctl", "--failed", "--quiet")).stdout == ""
    return name


def deploy(shop: Sandbox, environment: str, text: str) -> str:
    """Deploy an app that says this, with an asset of that name; what the command says."""
    (shop.path / "assets").mkdir(exist_ok=True)
    for each in (shop.path / "assets").iterdir():
        each.unlink()
    shop.write({f"assets/{text}.txt": text})
    shop.says(text)
    return shop.type("deploy", environment).must(0).stderr


def test_it_is_set_up_once(shop: Sandbox, proxy: str) -> None:
    """What was set up, proxy and all, has nothing to do a second time, and passes its check.

    Its status finds nothing to complain of, also before anybody has come by the proxy.
    """
    assert "nothing to do" in shop.type("setup", proxy, "--as", "root").must(0).stdout
    assert "set up     yes" in shop.type("check", proxy).must(0).stdout
    shown = shop.type("status", proxy).must(0)
    assert f"behind {proxy} " in shown.stdout
    assert shown.stderr == ""


def test_switches_lose_nothing(bed: Bed, hosts: dict[str, Host], shop: Sandbox, proxy: str) -> None:
    """No GET and no upload is lost by deploys and rollbacks, on new connections and kept ones."""
    # A bare port knows no requests: a kept connection stays with the release it was made to.
    mode = "mixed" if proxy in WITH_SITE else "new"
    with load(bed, hosts[proxy], mix="fast=1,upload=1", mode=mode) as report:
        deploy(shop, proxy, "two")
        assert get(bed, hosts[proxy]) == r"b'two\n'"
        shop.type("rollback", proxy).must(0)
        assert get(bed, hosts[proxy]) == r"b'one\n'"
    assert report["lost"] == {}, report
    assert report["answered"] > 40
    assert set(report["releases"]) == {"1", "2"}
    until(lambda: not connections(hosts[proxy]), seconds=10, what="no connection to be kept")


def test_what_is_in_flight_ends_on_its_release(
    bed: Bed, hosts: dict[str, Host], shop: Sandbox, proxy: str
) -> None:
    """An upload that began before a switch is answered; a websocket stays until the drain limit."""
    host = hosts[proxy]
    body = os.urandom(200_000)
    with closing(bed.connect(host, 80, timeout=60)) as upload, closing(websocket(bed, host)) as web:
        head = f"POST /echo HTTP/1.1\r\nHost: {host.address}\r\nContent-Length: {len(body)}\r\n\r\n"
        upload.sendall(head.encode() + body[:100_000])
        assert said(web, b"before") == b"1:before"
        (shop.path / "assets/three.txt").write_text("three")
        shop.says("three")
        with shop.start("deploy", proxy) as child:
            until(lambda: get(bed, host) == r"b'three\n'", seconds=60, what="the switch")
            assert said(web, b"after") == b"1:after"
            upload.sendall(body[100_000:])
            answer = http.client.HTTPResponse(upload)
            answer.begin()
            assert json.loads(answer.read())["sha256"] == hashlib.sha256(body).hexdigest()
            # nginx has the whole upload before it asks anybody.
            assert answer.headers["X-Nonevent-Release"] == ("3" if proxy == "nginx" else "1")
            assert said(web, b"still") == b"1:still"
            ended = shop.end_of(child, ("deploy", proxy)).must(0)
        assert "still open after 3 s" in ended.stderr
        assert web.recv(10) == b""


@pytest.mark.parametrize("proxy", WITH_FILES, indirect=True)
def test_files_come_from_the_releases(bed: Bed, hosts: dict[str, Host], proxy: str) -> None:
    """The proxy serves static files of this release and those before, and nothing else."""
    for name in ("three", "one", "two"):
        assert get(bed, hosts[proxy], f"/static/{name}.txt") == f"b'{name}'"
    for path in ("/static/../app/shop.py", "/static/%2e%2e/app/shop.py", "/static/nowhere.txt"):
        with closing(bed.connect(hosts[proxy], 80)) as connection:
            asked = f"GET {path} HTTP/1.1\r\nHost: {hosts[proxy].address}\r\n\r\n"
            connection.sendall(asked.encode())
            answer = http.client.HTTPResponse(connection)
            answer.begin()
            assert b"def answer" not in answer.read()


@pytest.mark.parametrize("proxy", WITH_SITE, indirect=True)
def test_switches_lose_nothing_over_http2(
    bed: Bed, hosts: dict[str, Host], shop: Sandbox, proxy: str, tmp_path: Path
) -> None:
    """With a certificate the site is served with TLS and HTTP/2, and deploys lose nothing."""
    host = hosts[proxy]
    certify(host, tmp_path)
    config = shop.config()["nonevent.toml"]
    marked = f'proxy = "{proxy}"\n'
    shop.commit({"nonevent.toml": config.replace(marked, marked + CERTIFICATE)}, "Have TLS")
    shop.type("setup", proxy, "--as", "root").must(0)
    with load_http2(bed, host) as report:
        said = deploy(shop, proxy, "four")
        assert f"serves https://{host.address}" in said
        shop.type("rollback", proxy).must(0)
    assert report["lost"] == {}
    assert report["answered"] > 40
    assert report["releases"] == ["3", "4"]
    with closing(bed.connect(host, 80)) as connection:
        connection.sendall(f"GET /x HTTP/1.1\r\nHost: {host.address}\r\n\r\n".encode())
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        assert (answer.status, answer.headers["Location"]) == (308, f"https://{host.address}/x")


@pytest.mark.parametrize("proxy", ["nginx"], indirect=True)
def test_a_site_that_pools_is_found(
    bed: Bed, hosts: dict[str, Host], shop: Sandbox, proxy: str
) -> None:
    """A hand-written site that keeps connections is named by `check`, and by the deploy."""
    host = hosts[proxy]
    host.put("/etc/nginx/conf.d/own.conf", POOLING)
    host.run(("systemctl", "reload", "nginx"))
    assert get(bed, host, port=8080)
    assert connections(host) == 1
    said = "/etc/nginx/conf.d/own.conf:2 keeps connections"
    refused = shop.type("check", proxy).must(1)
    assert f"{said} open  -> write `proxy_pass http://unix:/srv/shop/run/" in refused.stdout
    assert f"{said} to a release open; write `proxy_pass" in deploy(shop, proxy, "five")


@pytest.mark.parametrize("proxy", ["socket-proxyd"], indirect=True)
def test_another_proxy_takes_over(
    bed: Bed, hosts: dict[str, Host], shop: Sandbox, proxy: str
) -> None:
    """Where another proxy is named, the one before gives its port up and its files go."""
    host = hosts[proxy]
    before = get(bed, host)
    config = shop.config()["nonevent.toml"]
    caddy = ENVIRONMENT.format(proxy="caddy", address=host.address)
    changed = config.replace(
        BARE, caddy.replace("caddy]", f"{proxy}]").replace("-caddy", f"-{proxy}")
    )
    shop.commit({"nonevent.toml": changed}, "Move to Caddy")
    shop.type("setup", proxy, "--as", "root").must(0)
    assert before
    assert get(bed, host) == before
    assert host.run(("systemctl", "is-active", "caddy")).stdout == "active\n"
    units = host.run(("systemctl", "list-units", "--all", "--no-legend", "shop.nonevent_proxy.*"))
    assert units.stdout == ""
    assert "nothing to do" in shop.type("setup", proxy, "--as", "root").must(0).stdout


def connections(host: Host) -> int:
    """How many connections the app has, as the host's kernel counts them."""
    lines = host.read("/proc/net/unix").splitlines()
    return sum("/srv/shop/run/web-" in line and line.split()[5] == "03" for line in lines)


def certify(host: Host, folder: Path) -> None:
    """Put a certificate on a host, and its key."""
    subprocess.run(
        ("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-nodes", "-days", "7", "-subj", "/CN=shop.test",
         "-addext", f"subjectAltName=IP:{host.address}",
         "-keyout", str(folder / "key"), "-out", str(folder / "pem")),
        check=True, capture_output=True, timeout=30,
    )  # fmt: skip
    for name in ("pem", "key"):
        host.put(f"/etc/ssl/shop.{name}", (folder / name).read_text())


def websocket(bed: Bed, host: Host) -> socket.socket:
    """A connection that has become a websocket."""
    connection = bed.connect(host, 80, timeout=60)
    key = base64.b64encode(os.urandom(16)).decode()
    head = (
        f"GET /talk HTTP/1.1\r\nHost: {host.address}\r\nUpgrade: websocket\r\n"
        f"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
    )
    connection.sendall(head.encode())
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += connection.recv(1)
    assert answer.startswith(b"HTTP/1.1 101"), answer
    return connection


def said(connection: socket.socket, text: bytes) -> bytes:
    """What the other side of a websocket answers."""
    connection.sendall(text)
    answer = b""
    while not answer.endswith(text):
        answer += connection.recv(100)
    return answer
