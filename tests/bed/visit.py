"""Visitors of a host: somebody in the hosts' network, who asks once or all the time."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from . import http2

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .host import Host
    from .site import Bed


def get(bed: Bed, host: Host, path: str = "/", *, port: int = 80, name: str = "") -> str:
    """What a host answers, as Python shows bytes; empty where it does not, or with an error.

    It is asked by its address, or by a name.
    """
    script = (
        "import sys, urllib.request as r\n"
        "print(r.urlopen(r.Request(sys.argv[1], headers={'Host': sys.argv[2]})).read())"
    )
    at = f"{host.address}:{port}"
    argv = (sys.executable, "-c", script, f"http://{at}{path}", name or at)
    return bed.exec_in_network(argv).stdout.strip()


@contextmanager
def load(
    bed: Bed, host: Host, *, mix: str, port: int = 80, mode: str = "mixed", rate: int = 40
) -> Iterator[dict[str, Any]]:
    """So many requests a second for the length of a block; filled with the report at its end."""
    url = f"http://{host.address}:{port}"
    what = ("--rate", str(rate), "--mix", mix, "--mode", mode)
    argv = ("-m", "nonevent.testing.load", url, *what)
    with _reporting((*bed.entry, sys.executable, *argv, "--json")) as report:
        yield report


@contextmanager
def load_http2(bed: Bed, host: Host) -> Iterator[dict[str, Any]]:
    """The same over HTTP/2, on port 443."""
    with _reporting((*bed.entry, sys.executable, http2.__file__, host.address)) as report:
        yield report


@contextmanager
def _reporting(argv: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    """A program that says a line when it begins, and its report as the last one."""
    report: dict[str, Any] = {}
    child = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout
        child.stdout.readline()
        yield report
    finally:
        child.terminate()
        lines = child.communicate(timeout=60)[0].splitlines()
        report.update(json.loads(lines[-1]))
