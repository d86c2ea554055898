"""Sites written by hand that keep connections to a release open, found in their files."""

from __future__ import annotations

from pathlib import Path

import pytest

from nonevent.agent.pooling import Pool, in_caddy, in_haproxy, in_nginx, pools, sites
from nonevent.model.layout import Layout
from nonevent.setup.place import Place
from nonevent.setup.proxy import caddy, haproxy, nginx

DOOR = "/srv/shop/run/front.sock"
SOCKETS = (DOOR, "/run/nonevent/shop.sock")
UPSTREAM = "events {}\nupstream shop {\n    server unix:" + DOOR + ";\n"


@pytest.mark.parametrize(
    ("text", "version", "lines"),
    [
        (f"{UPSTREAM}}}", "1.22.1", []),
        (f"{UPSTREAM}}}", "1.29.6", []),
        (f"{UPSTREAM}}}", "1.29.7", [2]),
        (f"{UPSTREAM}}}", "1.30.0", [2]),
        (f"{UPSTREAM}    keepalive 0;\n}}", "1.30.0", []),
        (f"{UPSTREAM}    keepalive 16;\n}}", "1.22.1", [2]),
        (f"{UPSTREAM}    keepalive_timeout 5s;\n}}", "1.22.1", []),
        ("upstream blog { server unix:/srv/blog/run/front.sock; keepalive 16; }", "1.22.1", []),
        (f"proxy_pass http://unix:{DOOR}:;", "1.30.0", []),
    ],
)
def test_nginx(text: str, version: str, lines: list[int]) -> None:
    """An upstream block of ours with a pool, asked for or by default, is found; others are not."""
    assert [line for line, _ in in_nginx(text, SOCKETS, version)] == lines


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        (f"shop.test {{\n\treverse_proxy unix/{DOOR}\n}}", [2]),
        (f"shop.test {{\n\treverse_proxy /x unix/{DOOR} {{\n\t\theader_up X y\n\t}}\n}}", [2]),
        (f"reverse_proxy {{\n\tto unix/{DOOR}\n}}", [1]),
        (f"reverse_proxy unix/{DOOR} {{\n\ttransport http {{\n\t\tkeepalive off\n\t}}\n}}", []),
        (f"reverse_proxy unix/{DOOR} {{\n\ttransport http {{\n\t\tkeepalive 30s\n\t}}\n}}", [1]),
        ("reverse_proxy localhost:8000", []),
    ],
)
def test_caddy(text: str, lines: list[int]) -> None:
    """A reverse_proxy to ours without `keepalive off` is found; others are not."""
    assert [line for line, _ in in_caddy(text, SOCKETS)] == lines


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        (f"defaults\n\tmode http\n\nbackend shop\n\tserver x unix@{DOOR}\n", [4]),
        (f"backend shop\n\toption http-server-close\n\tserver x unix@{DOOR}\n", []),
        (f"defaults\n\toption httpclose\n\nlisten shop\n\tserver x {DOOR}\n", []),
        (
            f"defaults\n\toption httpclose\ndefaults\n\tmode http\nlisten shop\n\tserver x {DOOR}",
            [5],
        ),
        ("backend shop\n\tserver x unix@/run/nonevent/shop.sock\n", [1]),
        ("backend blog\n\tserver x 127.0.0.1:8000\n", []),
    ],
)
def test_haproxy(text: str, lines: list[int]) -> None:
    """A backend of ours that does not close, itself or by its defaults, is found."""
    assert [line for line, _ in in_haproxy(text, SOCKETS)] == lines


def test_files(tmp_path: Path) -> None:
    """Files that a proxy reads are looked through, with the line; comments and others are not."""
    pooled = f"# upstream a\nupstream shop {{\n  # one\n  server unix:{DOOR};\n  keepalive 8;\n}}\n"
    for name in ("nginx/conf.d/own.conf", "nginx/sites-available/shop", "nginx/conf.d/own.bak"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(pooled)
    (tmp_path / "nginx/conf.d/quiet.conf").write_text(pooled.replace("keepalive", "# keepalive"))
    (tmp_path / "caddy").mkdir()
    (tmp_path / "caddy/Caddyfile").write_text(f"a.test {{\n\treverse_proxy unix/{DOOR}\n}}\n")
    assert pools(Layout(Path("/srv/shop")), tmp_path) == (
        Pool(
            file=f"{tmp_path}/nginx/conf.d/own.conf",
            line=2,
            mend=f"proxy_pass http://unix:{DOOR}:; without an upstream block",
        ),
        Pool(file=f"{tmp_path}/caddy/Caddyfile", line=2, mend="transport http { keepalive off }"),
    )


def test_what_setup_writes_keeps_none() -> None:
    """The sites that `setup` writes are not found to pool, by the newest nginx neither."""
    place = Place(app="shop", environment="production", root="/srv/shop", deployer="deploy",
                  python="/usr/bin/python3", proxy="nginx", proxy_user="www-data",
                  domains=("shop.example.com",), static=True, web="web", keys=(),
                  agent="")  # fmt: skip
    assert not list(in_nginx(nginx.site(place), SOCKETS, "1.30.0"))
    assert not list(in_caddy(caddy.site(place), SOCKETS))
    assert not list(in_haproxy(haproxy.site(place, SOCKETS[1]), SOCKETS))


def test_what_leads_to_the_app_is_found(tmp_path: Path) -> None:
    """Each proxy's own file is; what is switched off, or only speaks of the app, is not."""
    lines = {
        "nginx/conf.d/shop.conf": f"proxy_pass http://unix:{DOOR}:;",
        "nginx/sites-available/old.conf": f"proxy_pass http://unix:{DOOR}:;",
        "nginx/conf.d/blog.conf": f"# once proxy_pass http://unix:{DOOR}:;",
        "caddy/Caddyfile": f"reverse_proxy unix/{DOOR}",
        "haproxy/haproxy.cfg": "backend shop\n\tserver shop unix@/run/nonevent/shop.sock\n",
        "systemd/system/shop.nonevent_proxy.service": f"ExecStart=systemd-socket-proxyd {DOOR}",
        "systemd/system/blog.service": f"ExecStart=curl --unix-socket {DOOR}",
    }
    for name, text in lines.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    found = {(name, path.name) for name, path, _ in sites(Layout(Path("/srv/shop")), tmp_path)}
    assert found == {
        ("nginx", "shop.conf"),
        ("caddy", "Caddyfile"),
        ("haproxy", "haproxy.cfg"),
        ("socket-proxyd", "shop.nonevent_proxy.service"),
    }
