"""Where everything of one app lies on a host.

::

    <root>/
      current -> releases/42     previous -> releases/41     kept/6 -> ../releases/42
      releases/42/               app/  static  venv -> ../../layers/deps-…  lib  release.json
      layers/  configs/  secrets/
      data/                      what the app writes; survives releases
      run/                       sockets: web-42.sock, web.sock -> web-42.sock
      logs/                      one file per running service of a release, rotated
      tools/                     the agents that were brought along
      ledger.jsonl  journal/  lock  locked.json  reserve
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from nonevent.dataclass import dataclass

SUN_PATH = 107
"""Bytes that the name of a Unix socket may have on Linux, unix(7)."""
LONGEST_SOCKET = len("/" + "x" * 32 + "-99999-99.sock")
RECORDS = "/etc/nonevent"
"""Where a host keeps, per app, what was set up."""
KEPT = 9
"""Releases whose static files visitors can still ask for, beside the current and previous one."""


@dataclass(frozen=True, slots=True)
class Layout:
    """The paths below an app's root folder, which is absolute and free of links."""

    root: Path

    @property
    def current(self) -> Path:
        """The link to the release that serves."""
        return self.root / "current"

    @property
    def previous(self) -> Path:
        """The link to the release that served before."""
        return self.root / "previous"

    def kept(self, release: int) -> Path:
        """One of :data:`KEPT` links, in turns; a proxy looks through all of them for a file."""
        return self.root / "kept" / str(release % KEPT)

    @property
    def releases(self) -> Path:
        """All releases that are on this host."""
        return self.root / "releases"

    @property
    def layers(self) -> Path:
        """Layers by name and digest, shared by releases."""
        return self.root / "layers"

    @property
    def configs(self) -> Path:
        """Configuration versions, numbered."""
        return self.root / "configs"

    @property
    def secrets(self) -> Path:
        """Versions of the secrets, numbered; readable by the app's user alone."""
        return self.root / "secrets"

    @property
    def data(self) -> Path:
        """What the app writes; no release ever touches it."""
        return self.root / "data"

    @property
    def logs(self) -> Path:
        """Output of services."""
        return self.root / "logs"

    @property
    def tools(self) -> Path:
        """The agents that clients brought along, by digest."""
        return self.root / "tools"

    @property
    def programs(self) -> Path:
        """Definitions of what the embedded process manager runs."""
        return self.root / "programs"

    @property
    def ledger(self) -> Path:
        """All that happened to releases, append-only."""
        return self.root / "ledger.jsonl"

    @property
    def journal(self) -> Path:
        """What each plan did, a file each."""
        return self.root / "journal"

    @property
    def lock(self) -> Path:
        """The file that carries the kernel lock, and who holds it."""
        return self.root / "lock"

    @property
    def locked(self) -> Path:
        """There while a person has locked the environment."""
        return self.root / "locked.json"

    @property
    def reserve(self) -> Path:
        """Room that is given up when the disk is full, so that the ledger can still be written."""
        return self.root / "reserve"

    @property
    def run(self) -> Path:
        """Sockets. A short folder elsewhere where the root is too deep for a socket's name."""
        beside = self.root / "run"
        if len(os.fsencode(beside)) + LONGEST_SOCKET <= SUN_PATH:
            return beside
        name = hashlib.sha256(os.fsencode(self.root)).hexdigest()[:12]
        return Path(f"/tmp/nonevent-{os.getuid()}/{name}")  # noqa: S108

    def release(self, number: int) -> Path:
        """The folder of one release."""
        return self.releases / str(number)

    def layer(self, layer_id: str) -> Path:
        """The folder of one layer, by :attr:`nonevent.model.manifest.LayerRef.id`."""
        return self.layers / layer_id

    def layer_list(self, layer_id: str) -> Path:
        """The file list of a layer, beside its folder: what a later one is compared with."""
        return self.layers / f"{layer_id}.json"

    def socket(self, instance: str) -> Path:
        """The socket that one instance of a web service listens on."""
        return self.run / f"{instance}.sock"

    def link(self, service: str) -> Path:
        """The link that names the socket which serves."""
        return self.run / f"{service}.sock"

    @property
    def door(self) -> Path:
        """The link that names the socket which the app's port leads to."""
        return self.run / "front.sock"

    def log(self, name: str) -> Path:
        """The log of an instance, or of a timer."""
        return self.logs / f"{name}.log"
