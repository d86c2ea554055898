"""pyinfra HOST rollback.py: back to the folder before the current one."""

from pyinfra import host
from pyinfra.facts.server import Command
from pyinfra.operations import files, systemd

ROOT = "/srv/shop"
now = host.get_fact(Command, f"basename $(readlink {ROOT}/current)")
releases = host.get_fact(Command, f"ls -1 {ROOT}/releases").split()
before = max(each for each in releases if each < now)

files.link(name="Name the release before", path=f"{ROOT}/current", target=f"releases/{before}")
systemd.service(name="Restart the app", service="shop", restarted=True, _sudo=True)
