"""pyinfra HOST deploy.py: a folder and a virtualenv for each release."""

import subprocess
import time

from pyinfra.operations import files, server, systemd

ROOT = "/srv/shop"
release = time.strftime("%Y%m%d%H%M%S")
folder = f"{ROOT}/releases/{release}"
archive = f"/tmp/shop-{release}.tar.gz"

subprocess.run(["git", "archive", "--format=tar.gz", f"--output={archive}", "HEAD"], check=True)

files.directory(name="Make the folder of the release", path=f"{folder}/app")
files.put(name="Upload the commit", src=archive, dest=archive)
server.shell(
    name="Unpack, install the requirements, collect static files",
    commands=[
        f"tar -xzf {archive} -C {folder}/app && rm {archive}",
        f"cd {folder} && uv venv -q --python /usr/bin/python3.11 venv",
        f"cd {folder} && uv pip sync -q --compile-bytecode --python venv app/requirements.txt",
        f"cd {folder}/app && ../venv/bin/python manage.py collectstatic --noinput",
    ],
    _env={"DJANGO_SETTINGS_MODULE": "shop.settings.production", "SECRET_KEY": "build"},
)
files.link(
    name="Name the release that serves", path=f"{ROOT}/current", target=f"releases/{release}"
)
systemd.service(name="Restart the app", service="shop", restarted=True, _sudo=True)
