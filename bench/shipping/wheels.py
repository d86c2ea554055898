"""The package index of hosts that install for themselves: a folder of wheels in the bed's network.

Such hosts get uv, since it is the fastest, and a cache that is warm from the first deploy on.
"""

from __future__ import annotations

import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from real import uv
from uv import find_uv_bin

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bed import Host

    from shipping.project import Site
    from shipping.stage import Stage

PORT = 8003
UV_TOML = """\
no-index = true
find-links = ["http://{address}:{port}/"]
"""


@contextmanager
def served(stage: Stage, folder: Path) -> Iterator[None]:
    """Serve a folder to the hosts."""
    argv = (
        *stage.bed.entry, sys.executable, "-m", "http.server", "--bind", stage.bed.address,
        "--directory", str(folder), str(PORT),
    )  # fmt: skip
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(argv, **quiet) as server:
        try:
            yield
        finally:
            server.terminate()


def fetch(site: Site, folder: Path) -> None:
    """Download the wheels of both locks."""
    for lock in site.locks:
        uv(
            site.made, "tool", "run", "--quiet", "--python", "3.11", "pip", "download", "--quiet",
            "--only-binary", ":all:", "--no-deps", "--dest", str(folder), "--requirement",
            str(lock),
        )  # fmt: skip


def equip(stage: Stage, host: Host) -> None:
    """Give a host uv, and tell it where wheels are."""
    with Path(find_uv_bin()).open("rb") as program:
        subprocess.run(
            (*host.entry, "/bin/sh", "-c", "cat >/usr/local/bin/uv; chmod 755 /usr/local/bin/uv"),
            stdin=program, check=True, timeout=60,
        )  # fmt: skip
    host.put("/etc/uv/uv.toml", UV_TOML.format(address=stage.bed.address, port=PORT))
