"""Probing a web service on its own socket, or through the front door."""

from __future__ import annotations

import http.client
import socket
import time
from typing import TYPE_CHECKING

from nonevent.dataclass import dataclass

if TYPE_CHECKING:
    from pathlib import Path

    from nonevent.model.manifest import Manifest
    from nonevent.model.service import Health

LIMIT = 5.0
"""Seconds one probe may take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What one probe came back with; ``status`` is 0 where there was no answer."""

    status: int = 0
    release: str = ""
    """What the answer's release header says."""
    fault: str = ""

    def complaint(self, names: frozenset[str]) -> str:
        """What is wrong with the answer, or nothing; ``names`` are the release's own."""
        if self.fault:
            return self.fault
        if not 200 <= self.status < 400:
            return f"answered {self.status}"
        if self.release and self.release not in names:
            return f"answered as release {self.release[:40]}"
        return ""


def names_of(number: int, manifest: Manifest) -> frozenset[str]:
    """All by which an app may report its release: number, commit, short commit, artifact."""
    commit, artifact = manifest.commit, manifest.digest
    return frozenset({str(number), commit, commit[:7], artifact, artifact[:8]})


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, limit: float) -> None:
        super().__init__("localhost", timeout=limit)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def probe_socket(path: Path, health: Health, *, limit: float = LIMIT) -> Answer:
    """One GET on a Unix socket, with the app's own Host header."""
    return _ask(_UnixConnection(path, limit), health)


def probe_port(address: str, port: int, health: Health, *, limit: float = LIMIT) -> Answer:
    """One GET on a TCP port, with the app's own Host header."""
    return _ask(http.client.HTTPConnection(address, port, timeout=limit), health)


def _read_to_the_end(answer: http.client.HTTPResponse, deadline: float) -> None:
    """Read a body that may trickle for ever, or break off.

    Raises:
        TimeoutError, http.client.IncompleteRead: it did.
    """
    while answer.read1(2**16):
        if time.monotonic() > deadline:
            raise TimeoutError
    if answer.length:
        raise http.client.IncompleteRead(b"", answer.length)


def _ask(connection: http.client.HTTPConnection, health: Health) -> Answer:
    headers = {
        "Host": health.host,
        "User-Agent": "nonevent-probe",
        "Connection": "close",
        # Apps that redirect plain HTTP would answer the probe before doing anything.
        "X-Forwarded-Proto": "https",
    }
    try:
        connection.request("GET", health.path, headers=headers)
        answer = connection.getresponse()
        _read_to_the_end(answer, time.monotonic() + (connection.timeout or LIMIT))
    except FileNotFoundError:
        return Answer(fault="did not listen")
    except ConnectionRefusedError:
        return Answer(fault="refused the connection")
    except http.client.RemoteDisconnected:
        return Answer(fault="closed the connection without an answer")
    except TimeoutError:
        return Answer(fault="did not answer in time")
    except (OSError, http.client.HTTPException) as error:
        return Answer(fault=f"broke off: {error or type(error).__name__}")
    finally:
        connection.close()
    return Answer(status=answer.status, release=answer.getheader(health.release_header) or "")
