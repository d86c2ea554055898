"""Sites that run supervisord, circus, zergs or units of their own, and keep them."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest
from bed.veteran import REQUIREMENTS, ROOT, empty, manual, requirements, sudo, veteran
from bed.visit import get, load
from uv import find_uv_bin

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from bed import Bed, Host
    from sandbox import Sandbox

PYTHON = f"{ROOT}/current/venv/bin/python"
GUNICORN = "wsgi --workers 2 --no-control-socket"
SUPERVISED = f"""
[program:shop]
command={PYTHON} -m gunicorn {GUNICORN} --bind 127.0.0.1:8080
directory={ROOT}/current/app
user=www-data
stopsignal=QUIT
stopwaitsecs=35
"""
BALANCER = """
defaults
    mode http
    option http-server-close
    retries 30
    retry-on conn-failure empty-response
    timeout connect 5s
    timeout client 60s
    timeout server 60s
frontend site
    bind :80
    default_backend shop
backend shop
    http-request disable-l7-retry unless METH_GET
    server one 127.0.0.1:8080
"""
UWSGI = f"""
[Service]
Type=notify
User=www-data
Environment=SHOP_SETTINGS={ROOT}/etc/settings.json
ExecStart=/usr/bin/uwsgi --plugin python3 --master --processes 2 --need-app --http-socket :8080 \\
    --chdir {ROOT}/current/app --virtualenv {ROOT}/current/venv --module wsgi
ExecReload=/bin/kill -HUP $MAINPID
KillSignal=SIGQUIT
"""
CELERY = f"""
[Service]
User=www-data
Environment=SHOP_SETTINGS={ROOT}/etc/settings.json
WorkingDirectory={ROOT}/current/app
ExecStart={PYTHON} -m celery -A tasks worker --concurrency 1
KillMode=mixed
"""
TASKS = """
import celery
import shop
app = celery.Celery("tasks", broker="redis://127.0.0.1")
"""
CONFIGURED = """
import json, os
SETTINGS = json.load(open(os.environ["SHOP_SETTINGS"]))
def answer(path):
    return 200, SETTINGS["greeting"] + "{text}"
"""
RELOADED = f"""
[Service]
Type=notify
User=www-data
RuntimeDirectory=shop
WorkingDirectory={ROOT}/current/app
ExecStart={PYTHON} -m gunicorn {GUNICORN} --chdir {ROOT}/current/app --bind unix:/run/shop/web.sock
ExecReload=/bin/kill -HUP $MAINPID
"""
NGINX = """
server {
    listen 80 default_server;
    location / { proxy_pass http://unix:/run/shop/web.sock:; }
}
"""
CIRCUS = f"""
[circus]
endpoint = ipc:///run/circus/control

[watcher:shop]
cmd = {PYTHON} -m gunicorn {GUNICORN} --bind fd://$(circus.sockets.web)
working_dir = {ROOT}/current/app
use_sockets = True
graceful_timeout = 35

[socket:web]
host = 0.0.0.0
port = 8080
"""
CIRCUSD = """
[Service]
User=www-data
RuntimeDirectory=circus
ExecStart=/opt/circus/bin/python -m circus.circusd /etc/circus.ini
"""
CIRCUSCTL = (
    "sudo -u www-data /opt/circus/bin/python -m circus.circusctl"
    " --endpoint ipc:///run/circus/control --timeout 60"
)
POOL = """
[Service]
User=www-data
RuntimeDirectory=shop
ExecStart=/usr/bin/uwsgi --plugin zergpool --master --zerg-pool /run/shop/zerg:0.0.0.0:8080
KillSignal=SIGQUIT
"""
ZERG = f"""
[Service]
Type=notify
User=www-data
ExecStart=/usr/bin/uwsgi --plugin python3 --protocol http --zerg /run/shop/zerg \\
    --master --processes 2 --need-app \\
    --chdir {ROOT}/current/app --virtualenv {ROOT}/current/venv --module wsgi \\
    --hook-master-start "unix_signal:15 gracefully_kill_them_all"
KillMode=mixed
"""
NEXT = """#!/bin/sh -e
new=a old=b
if systemctl --quiet is-active shop@a; then new=b old=a; fi
systemctl restart shop@$new
systemctl stop shop@$old
"""
CHAIN = f"""
[Service]
Type=notify
User=www-data
ExecStart=/usr/bin/uwsgi --plugin python3 --http-socket :8080 \\
    --master --processes 2 --lazy-apps --touch-chain-reload {ROOT}/etc/chain \\
    --hook-pre-app chdir:{ROOT}/current/app --virtualenv {ROOT}/current/venv --module wsgi
KillSignal=SIGQUIT
"""
LIMIT = 300.0
"""Seconds for a command: packages may have to be downloaded."""
BROKEN = "def answer(path):\n    return 500, 'broken'\n"


@pytest.fixture
def old2(bed: Bed) -> Host:
    """A host on which nothing of the shop runs yet, with a folder for it."""
    host = bed.host("old2")
    host.reset()
    empty(host)
    return host


def there_and_back(
    bed: Bed, host: Host, shop: Sandbox, say: Callable[[str], object], *, port: int = 80
) -> None:
    """Two releases, one that fails when it runs, and the way back to the first."""
    say("one")
    shop.type("deploy", "production", limit=LIMIT).must(0)
    assert "one" in get(bed, host, port=port)
    say("two")
    shop.type("deploy", "production", limit=LIMIT).must(0)
    assert "two" in get(bed, host, port=port)
    shop.shop(BROKEN)
    broken = shop.type("deploy", "production", limit=LIMIT).must(3)
    assert "the site answered 500" in broken.stderr, broken.stderr
    assert "serves again" in broken.stderr
    assert "two" in get(bed, host, port=port)
    shop.type("rollback", "production", limit=LIMIT).must(0)
    assert "one" in get(bed, host, port=port)
    status = shop.type("status", "production", limit=LIMIT).must(0).stdout
    assert "runs its release" in status


def test_supervisord_behind_haproxy(bed: Bed, old2: Host, cache: Path) -> None:
    """A program of supervisord is restarted, and visitors who wait at HAProxy lose nothing."""
    old2.put("/etc/supervisor/conf.d/shop.conf", SUPERVISED)
    old2.put("/etc/haproxy/haproxy.cfg", BALANCER)
    sudo(old2, "/usr/bin/supervisorctl restart shop")
    old2.run(("systemctl", "start", "supervisor", "haproxy"))
    reload = """user = "www-data"
commands = ["sudo supervisorctl restart shop"]
probe = "127.0.0.1:8080"
"""
    with veteran(bed, old2, cache, reload, deps="gunicorn") as shop:
        there_and_back(bed, old2, shop, shop.says)
        with load(bed, old2, mix="fast=1") as report:
            shop.says("three")
            shop.type("deploy", "production", limit=LIMIT).must(0)
        assert report["answered"] > 40
        assert report["lost"] == {}


def test_uwsgi_and_celery_as_units(bed: Bed, old2: Host, cache: Path) -> None:
    """Both are started anew, and a Celery that was forgotten is found; settings lie outside."""
    old2.put("/etc/systemd/system/shop-uwsgi.service", UWSGI)
    old2.put("/etc/systemd/system/shop-celery.service", CELERY)
    old2.put(f"{ROOT}/etc/settings.json", '{"greeting": "hello "}')
    sudo(old2, "/usr/bin/systemctl")
    old2.run(("systemctl", "start", "redis-server"))
    celery = "sudo systemctl restart shop-celery"
    reload = f"""user = "www-data"
commands = ["sudo systemctl reload-or-restart shop-uwsgi", "{celery}"]
probe = "127.0.0.1:8080"
[environments.production.env]
SHOP_SETTINGS = "{ROOT}/etc/settings.json"
"""
    with veteran(bed, old2, cache, reload, deps="celery redis") as shop:
        shop.commit({"tasks.py": TASKS}, "Add tasks")

        def say(text: str) -> None:
            shop.shop(CONFIGURED.replace("{text}", text))

        say("zero")
        refused = shop.type("deploy", "production", limit=LIMIT).must(1)
        shared = refused.stderr.partition("hint: on the host, as root: ")[2].strip()
        old2.run(("/bin/sh", "-c", shared))
        there_and_back(bed, old2, shop, say, port=8080)
        assert "hello one" in get(bed, old2, port=8080)
        status = shop.type("status", "production", limit=LIMIT).must(0).stdout
        assert status.count("runs its release") == 2, status
        forgetful = (shop.path / "nonevent.toml").read_text().replace(f', "{celery}"', "")
        say("three")
        shop.commit(
            {
                "nonevent.toml": forgetful.replace(
                    "[environments.production.reload]",
                    '[environments.production.reload]\ntimeout = "10s"',
                )
            },
            "Forget Celery",
        )
        refused = shop.type("deploy", "production", limit=LIMIT).must(3)
        assert "-m celery" in refused.stderr, refused.stderr
        assert "works in" in refused.stderr
        assert "hello one" in get(bed, old2, port=8080)


def test_gunicorn_with_execreload_behind_nginx(bed: Bed, old2: Host, cache: Path) -> None:
    """HUP is enough while the dependencies stay; a console script that keeps them is found."""
    unit = "/etc/systemd/system/shop.service"
    old2.put(unit, RELOADED)
    old2.put("/etc/nginx/sites-enabled/default", NGINX)
    sudo(old2, "/usr/bin/systemctl")
    old2.run(("systemctl", "start", "nginx"))
    reload = """user = "www-data"
commands = ["sudo systemctl reload-or-restart shop"]
probe = "127.0.0.1:80"
timeout = "15s"
"""
    with veteran(bed, old2, cache, reload, deps="gunicorn") as shop:
        there_and_back(bed, old2, shop, shop.says)
        script = RELOADED.replace(f"{PYTHON} -m gunicorn", f"{ROOT}/current/venv/bin/gunicorn")
        old2.put(unit, script)
        old2.run(("systemctl", "daemon-reload"))
        old2.run(("systemctl", "restart", "shop"))
        shop.says("three")
        shop.commit({"requirements.txt": requirements("gunicorn six")}, "Add six")
        refused = shop.type("deploy", "production", limit=LIMIT).must(3)
        assert f"was started with {ROOT}/layers/deps-" in refused.stderr, refused.stderr
        assert "one" in get(bed, old2)
        old2.put(unit, RELOADED)
        old2.run(("systemctl", "daemon-reload"))
        old2.run(("systemctl", "restart", "shop"))
        deployed = shop.type("deploy", "production", limit=LIMIT).must(0)
        assert "goes on with what it had imported itself" in deployed.stderr
        assert "three" in get(bed, old2)


def unnoticed(bed: Bed, host: Host, shop: Sandbox) -> None:
    """A second release, and the way back to the first, lose no request.

    A connection carries one, as behind a proxy that pools none.
    """
    shop.says("one")
    shop.type("deploy", "production", limit=LIMIT).must(0)
    assert "one" in get(bed, host, port=8080)
    with load(bed, host, mix="fast=1", port=8080, mode="new") as report:
        shop.says("two")
        shop.type("deploy", "production", limit=LIMIT).must(0)
        assert "two" in get(bed, host, port=8080)
        shop.type("rollback", "production", limit=LIMIT).must(0)
        assert "one" in get(bed, host, port=8080)
    assert report["answered"] > 40
    assert report["lost"] == {}


def install_circus(host: Host) -> None:
    """Give circus an environment of its own; packages come by this machine, hosts have no way."""
    host.run(("python3", "-m", "venv", "--without-pip", "/opt/circus"))
    (modules,) = (host.disk / "merged" / "opt" / "circus").glob("lib/python*/site-packages")
    version = modules.parent.name.removeprefix("python")
    words = ("--python-version", version, "--target", modules, "--link-mode", "copy")
    what = ("--quiet", "--requirement", REQUIREMENTS.with_name("circus.txt"))
    subprocess.run((find_uv_bin(), "pip", "install", *words, *what), check=True, timeout=LIMIT)


def test_circus_holds_the_socket(bed: Bed, old2: Host, cache: Path) -> None:
    """Its watcher is reloaded, and requests wait at the socket that circusd has open."""
    install_circus(old2)
    old2.put("/etc/circus.ini", CIRCUS)
    old2.put("/etc/systemd/system/circus.service", CIRCUSD)
    old2.run(("systemctl", "start", "circus"))
    reload = f"""user = "www-data"
commands = ["{CIRCUSCTL} reload shop --waiting"]
probe = "127.0.0.1:8080"
"""
    with veteran(bed, old2, cache, reload, deps="gunicorn") as shop:
        unnoticed(bed, old2, shop)


def test_zergs_of_both_releases_share_the_pool(bed: Bed, old2: Host, cache: Path) -> None:
    """New ones serve before old ones are told to stop, which finish what they have."""
    old2.put("/etc/systemd/system/shop-pool.service", POOL)
    old2.put("/etc/systemd/system/shop@.service", ZERG)
    old2.put("/usr/local/sbin/shop-next", NEXT, mode=0o755)
    sudo(old2, "/usr/local/sbin/shop-next")
    old2.run(("systemctl", "start", "shop-pool"))
    reload = """user = "www-data"
commands = ["sudo shop-next"]
probe = "127.0.0.1:8080"
"""
    with veteran(bed, old2, cache, reload) as shop:
        unnoticed(bed, old2, shop)


def test_uwsgi_reloads_worker_by_worker(bed: Bed, cache: Path) -> None:
    """A master that is in no release may stay: each worker goes to the new one before it loads."""
    host = bed.host("old2")
    host.reset()
    manual(host)
    host.put("/etc/systemd/system/shop.service", CHAIN)
    host.put(f"{ROOT}/etc/chain", "")
    host.run(("chown", "deploy:", f"{ROOT}/etc/chain"))
    host.run(("systemctl", "start", "shop"))
    reload = f"""user = "www-data"
commands = ["touch {ROOT}/etc/chain"]
probe = "127.0.0.1:8080"
"""
    with veteran(bed, host, cache, reload) as shop:
        shop.says("one")
        with load(bed, host, mix="fast=1", port=8080, mode="new") as report:
            shop.type("deploy", "production", limit=LIMIT).must(0)
            assert "one" in get(bed, host, port=8080)
        assert report["answered"] > 40
        assert report["lost"] == {}
