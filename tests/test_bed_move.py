"""Moving a site that something else deployed: beside it, over, and back, as the how-to says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from bed.visit import get, load
from bed.wait import until
from sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bed import Bed, Host

OLD = "/var/www/shop"
SITE = "/etc/nginx/sites-available/default"
NOW = "proxy_pass http://127.0.0.1:8000;"
NEXT = "proxy_pass http://unix:/srv/shop/run/front.sock:;"
NGINX = f"""
server {{
    listen 80 default_server;
    server_name shop.test;
    location / {{
        {NOW}
        proxy_set_header Host $http_host;
    }}
}}
"""
SERVER = """
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Answer(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "4")
        self.end_headers()
        self.wfile.write(b"old\\n")

class Server(ThreadingHTTPServer):
    request_queue_size = 128

Server(("127.0.0.1", 8000), Answer).serve_forever()
"""
UNIT = f"""
[Service]
ExecStart=/usr/bin/python3 {OLD}/current/serve.py
User=www-data
[Install]
WantedBy=multi-user.target
"""
PRODUCTION = """
[environments.production]
hosts = ["moved"]
domains = ["next.shop.test"]
"""
SETUP = ("setup", "production", "--as", "root")


@pytest.fixture(scope="module")
def moved(bed: Bed) -> Host:
    """A host with a site that something else deployed: a folder, a unit, nginx, uploads."""
    host = bed.host("moved")
    host.put(f"{OLD}/current/serve.py", SERVER)
    host.put(f"{OLD}/shared/media/cat.jpg", "miaow")
    host.put("/etc/systemd/system/oldshop.service", UNIT)
    host.put(SITE, NGINX)
    host.run(("systemctl", "enable", "--now", "oldshop", "nginx"))
    return host


@pytest.fixture(scope="module")
def shop(bed: Bed, moved: Host, cache: Path) -> Iterator[Sandbox]:  # noqa: ARG001
    """The same site's project."""
    sandbox = Sandbox(cache)
    sandbox.environ["NONEVENT_SSH"] = f"ssh -F {bed.ssh_config}"
    sandbox.commit(sandbox.config(after=PRODUCTION), "Add production")
    yield sandbox
    sandbox.end()


def pass_to(host: Host, line: str) -> None:
    """Change one line of the old site's configuration."""
    text = host.read(SITE).replace(NOW, line).replace(NEXT, line)
    host.put(SITE, text)
    host.run(("nginx", "-t"))
    host.run(("systemctl", "reload", "nginx"))


def test_setup_overwrites_no_file_of_others(moved: Host, shop: Sandbox) -> None:
    """A site of nginx that somebody else wrote, under the name of ours, is left and named."""
    path = "/etc/nginx/conf.d/shop.conf"
    moved.put(path, "# by hand\n")
    for words in (SETUP, (*SETUP, "--check")):
        refused = shop.type(*words).must(1)
        assert f"{path} is there already" in refused.stderr
        assert moved.read(path) == "# by hand\n"
    moved.run(("rm", path))


def test_a_line_of_the_proxy_moves_a_site_and_moves_it_back(
    bed: Bed, moved: Host, shop: Sandbox
) -> None:
    """Beside the old site, over to the new one and back, under load: no request is lost."""
    shop.says("new")
    with load(bed, moved, mix="fast=1") as report:
        shop.type(*SETUP).must(0)
        shop.type("deploy", "production").must(0)
        assert get(bed, moved) == r"b'old\n'"
        assert get(bed, moved, name="next.shop.test") == r"b'new\n'"
        pass_to(moved, NEXT)
        until(lambda: get(bed, moved) == r"b'new\n'", seconds=30, what="nginx to reload")
        shop.says("newer")
        shop.type("deploy", "production").must(0)
        assert get(bed, moved) == r"b'newer\n'"
        pass_to(moved, NOW)
        until(lambda: get(bed, moved) == r"b'old\n'", seconds=30, what="nginx to reload")
    assert report["lost"] == {}
    assert report["answered"] > 40


def test_uploads_are_copied_for_the_app(moved: Host, shop: Sandbox) -> None:
    """What the old site was given is there for the new one, which can change and remove it."""
    argv = ("rsync", "--archive", "--chown=shop:shop", f"{OLD}/shared/media", "/srv/shop/data/")
    moved.run(argv)
    script = (
        "import os, pathlib; file = pathlib.Path(os.environ['NONEVENT_DATA'], 'media/cat.jpg');"
        "print(file.read_text()); file.write_text('purr'); file.unlink()"
    )
    ran = shop.type("run", "production", "--", "python", "-c", script).must(0)
    assert ran.stdout == "miaow\n"
