"""What is in an artifact.

The manifest names each layer by the digest of its file list, and the artifact is named by the
digest of the manifest: one hash vouches for every byte, and a host that already has a layer
needs only the few hundred bytes that name it.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import TYPE_CHECKING

from nonevent.dataclass import dataclass, replace
from nonevent.model.parse import canonical, parse_json
from nonevent.model.service import NAME, NAME_IN_WORDS, VARIABLE, Kind, Service, read_service

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nonevent.model.parse import Table

FORMAT = 1
LAYERS = ("app", "deps", "python")
"""In the order they stand in the artifact: what changes most comes first."""
PLATFORMS = ("linux-x86_64", "linux-aarch64")
"""Those that can be built for on other machines."""
CPUS = ("x86-64-v2", "x86-64-v3", "x86-64-v4")
DIGEST = r"[0-9a-f]{64}"
FILE_MODES = (0o644, 0o755)
LONGEST = 4000
"""Letters of a path; Linux allows 4096 bytes for the whole of one."""
LARGEST_LIST = 64 << 20
"""Bytes; a list has about 200 per file."""
_DIGEST = re.compile(DIGEST)


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A regular file of a layer; ``size`` in bytes, ``digest`` the SHA-256 in hex."""

    path: str
    mode: int
    size: int
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A symbolic link of a layer that leads to a place within the same layer."""

    path: str
    target: str


Entry = File | Link


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """The files of a layer, sorted by path. Folders are those that the paths imply."""

    name: str
    entries: tuple[Entry, ...]

    def encoded(self) -> bytes:
        """The file list in its one spelling, which the digest is taken over."""
        rows: list[dict[str, object]] = []
        for entry in self.entries:
            match entry:
                case File(path=path, mode=mode, size=size, digest=digest):
                    rows.append({"path": path, "mode": mode, "size": size, "sha256": digest})
                case Link(path=path, target=target):
                    rows.append({"path": path, "link": target})
        return canonical({"format": FORMAT, "name": self.name, "files": rows})

    @property
    def ref(self) -> LayerRef:
        """What a manifest says of this layer."""
        encoded = self.encoded()
        sizes = [entry.size for entry in self.entries if isinstance(entry, File)]
        return LayerRef(
            name=self.name,
            digest=hashlib.sha256(encoded).hexdigest(),
            files=len(self.entries),
            size=sum(sizes),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerRef:
    """A layer by name and digest; ``size`` is the sum of its files in bytes."""

    name: str
    digest: str
    files: int
    size: int

    @property
    def id(self) -> str:
        """The folder's name on a host, e.g. ``deps-1f2e3d4c5b6a7980``."""
        return f"{self.name}-{self.digest[:16]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Python:
    """The interpreter an artifact was built for."""

    version: str
    """In full, e.g. ``3.11.7``: byte code is compiled by exactly this one."""
    abi: str
    """The ABI tag of the wheels inside, e.g. ``cp311``."""

    @property
    def minor(self) -> str:
        """``3.11`` of ``3.11.7``."""
        return ".".join(self.version.split(".")[:2])


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """All that a host needs to know of an artifact, and what names it."""

    app: str
    commit: str
    """The full git commit id."""
    subject: str
    """The first line of the commit's message."""
    dirty: bool
    """Whether uncommitted changes of a working tree are inside."""
    lock: str
    """SHA-256 of the project's lock file."""
    python: Python
    platform: str
    """Operating system and machine, e.g. ``linux-x86_64``."""
    glibc: str
    """The lowest glibc that the binaries inside need, e.g. ``2.17``; empty where none is."""
    cpu: str = ""
    """The lowest level of x86-64 processors that will do, e.g. ``x86-64-v2``; empty: any."""
    libraries: tuple[str, ...]
    """Shared libraries that the host must have, e.g. ``libpq.so.5``."""
    packages: tuple[tuple[str, str], ...]
    """Name and version of each installed distribution, sorted."""
    services: tuple[Service, ...]
    release: tuple[str, ...]
    """Commands that run once before the switch, in order."""
    required: tuple[str, ...]
    """Variables that an environment must define."""
    env: tuple[tuple[str, str], ...]
    """Variables that are the same in every environment."""
    layers: tuple[LayerRef, ...]

    def layer(self, name: str) -> LayerRef | None:
        """The layer of that name, or None."""
        return next((layer for layer in self.layers if layer.name == name), None)

    def service(self, name: str) -> Service | None:
        """The service of that name, or None."""
        return next((service for service in self.services if service.name == name), None)

    def of_kind(self, kind: Kind) -> tuple[Service, ...]:
        """The services of a kind, in the order of the configuration."""
        return tuple(service for service in self.services if service.kind is kind)

    @property
    def public(self) -> Service | None:
        """The web service that the environment's port leads to: ``web``, or else the first."""
        webs = self.of_kind(Kind.WEB)
        return next((each for each in webs if each.name == "web"), webs[0] if webs else None)

    @property
    def short(self) -> str:
        """The commit as people write it: seven digits, and a plus where it was dirty."""
        return self.commit[:7] + ("+" if self.dirty else "")

    @property
    def digest(self) -> str:
        """What names the artifact: SHA-256 over the manifest in its one spelling."""
        return hashlib.sha256(self.encoded()).hexdigest()

    @property
    def filename(self) -> str:
        """``shop-<commit7>-<digest8>.tar.zst``, with ``-dirty`` after a dirty commit."""
        dirty = "-dirty" if self.dirty else ""
        return f"{self.app}-{self.commit[:7]}{dirty}-{self.digest[:8]}.tar.zst"

    def only(self, services: tuple[str, ...] | None) -> Manifest:
        """The manifest with the services that run on one of several hosts; None for all."""
        if services is None:
            return self
        return replace(
            self, services=tuple(each for each in self.services if each.name in services)
        )

    def without_layers(self) -> Manifest:
        """The manifest with no layers, for comparing what two artifacts run."""
        return replace(self, layers=())

    def as_dict(self) -> dict[str, object]:
        """The manifest as JSON."""
        return {
            "format": FORMAT,
            "app": self.app,
            "commit": self.commit,
            "subject": self.subject,
            "dirty": self.dirty,
            "lock": self.lock,
            "python": {"version": self.python.version, "abi": self.python.abi},
            "platform": self.platform,
            "glibc": self.glibc,
            # Absent where it says nothing: artifacts from before there was one keep their names.
            **({"cpu": self.cpu} if self.cpu else {}),
            "libraries": list(self.libraries),
            "packages": dict(self.packages),
            "services": [service.as_dict() for service in self.services],
            "release": list(self.release),
            "required": list(self.required),
            "env": dict(self.env),
            "layers": [
                {"name": ref.name, "digest": ref.digest, "files": ref.files, "size": ref.size}
                for ref in self.layers
            ],
        }

    def encoded(self) -> bytes:
        """The manifest in its one spelling, which the digest is taken over."""
        return canonical(self.as_dict())


def read_manifest(text: str | bytes) -> Manifest:
    """The manifest in JSON text.

    Raises:
        FormatInvalid: with every key that is wrong.
    """
    return parse_json("the manifest", text, manifest_from)


def manifest_from(table: Table) -> Manifest:
    """The manifest in a table, e.g. within a want."""
    _check_format(table)
    python = table.table("python", required=True)
    manifest = Manifest(
        app=table.text("app", pattern=NAME, expected=NAME_IN_WORDS),
        commit=table.text("commit", pattern=r"[0-9a-f]{40,64}", expected="a commit id"),
        subject=table.text("subject", ""),
        dirty=table.flag("dirty"),
        lock=table.text("lock", pattern=DIGEST, expected="a SHA-256 in hex"),
        python=Python(
            version=python.text("version", pattern=r"3\.\d+\.\d+\S*", expected="like 3.11.7"),
            abi=python.text("abi"),
        ),
        platform=table.text("platform"),
        glibc=table.text("glibc", ""),
        cpu=table.choice("cpu", CPUS) if table.has("cpu") else "",
        libraries=table.texts("libraries"),
        packages=table.pairs("packages"),
        services=tuple(read_service(each) for each in table.tables("services")),
        release=table.texts("release"),
        required=_required(table),
        env=table.pairs("env"),
        layers=tuple(_layer_ref(each) for each in table.tables("layers", required=True)),
    )
    python.done()
    table.done()
    names = [layer.name for layer in manifest.layers]
    if len(set(names)) != len(names) or not {"app", "deps"} <= set(names):
        table.problem("layers", expected="one app layer and one deps layer")
    services = [service.name for service in manifest.services]
    if len(set(services)) != len(services):
        table.problem("services", expected="services of different names")
    return manifest


def _required(table: Table) -> tuple[str, ...]:
    names = table.texts("required")
    if not all(re.fullmatch(VARIABLE, name) for name in names):
        table.problem("required", expected="names of variables")
    return names


def _layer_ref(table: Table) -> LayerRef:
    ref = LayerRef(
        name=table.choice("name", LAYERS),
        digest=table.text("digest", pattern=DIGEST, expected="a SHA-256 in hex"),
        files=table.number("files"),
        size=table.number("size"),
    )
    table.done()
    return ref


def _check_format(table: Table) -> None:
    if table.number("format", least=1) > FORMAT:
        table.problem(
            "format",
            expected=f"{FORMAT} or less",
            hint="it was made by a newer version of nonevent",
        )


def read_layer(text: str | bytes) -> Layer:
    """The file list in JSON text. Nothing in it is believed: see :func:`_wrong_paths`.

    Raises:
        FormatInvalid: with every entry that is wrong.
    """
    return _plain_layer(text) or parse_json("the file list of a layer", text, _layer)


def _plain_layer(text: str | bytes) -> Layer | None:
    """The layer where the list is in order, else None: a list may have 100,000 rows."""
    try:
        raw = json.loads(text, object_hook=lambda row: _plain_entry(row) or row)
    except (ValueError, RecursionError):
        return None
    if not isinstance(raw, dict) or raw.keys() != {"format", "name", "files"}:
        return None
    name, rows = raw["name"], raw["files"]
    if raw["format"] is True or raw["format"] != FORMAT or name not in LAYERS:
        return None
    if not isinstance(rows, list) or not all(isinstance(row, File | Link) for row in rows):
        return None
    entries = tuple(rows)
    return None if any(_wrong_paths(entries)) else Layer(name=name, entries=entries)


def _layer(table: Table) -> Layer:
    _check_format(table)
    name = table.choice("name", LAYERS)
    rows = list(table.tables("files", required=True))
    entries = tuple(_entry(row) for row in rows)
    table.done()
    for number, key, expected in _wrong_paths(entries):
        rows[number].problem(key, expected=expected)
    return Layer(name=name, entries=entries)


def _plain_entry(row: dict[str, object]) -> Entry | None:
    if not isinstance(path := row.get("path"), str):
        return None
    if len(row) == 2 and isinstance(target := row.get("link"), str):
        return Link(path=path, target=target)
    mode, size, digest = row.get("mode"), row.get("size"), row.get("sha256")
    # Not isinstance(): true and false are whole numbers too.
    if len(row) != 4 or type(mode) is not int or type(size) is not int or mode not in FILE_MODES:
        return None
    if not 0 <= size <= 2**63 or not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        return None
    return File(path=path, mode=mode, size=size, digest=digest)


def _entry(table: Table) -> Entry:
    path = table.text("path")
    entry: Entry
    if table.has("link"):
        entry = Link(path=path, target=table.text("link"))
    else:
        mode = table.number("mode")
        if mode not in FILE_MODES:
            table.problem("mode", expected="420 (rw-r--r--) or 493 (rwxr-xr-x)")
        entry = File(
            path=path,
            mode=mode,
            size=table.number("size"),
            digest=table.text("sha256", pattern=DIGEST, expected="a SHA-256 in hex"),
        )
    table.done()
    return entry


def _wrong_paths(entries: tuple[Entry, ...]) -> Iterator[tuple[int, str, str]]:
    """The number of each wrong entry, the key, and what was expected there.

    An entry below another entry is wrong too: it would be written through a link.
    """
    taken = {entry.path for entry in entries}
    folders: set[str] = set()
    before = ""
    for number, entry in enumerate(entries):
        path = entry.path
        folder, _, name = path.rpartition("/")
        # What was seen of a folder need not be seen again for each of its files.
        if not (_is_part(name) and len(path) <= LONGEST if folder in folders else is_inside(path)):
            yield number, "path", "a relative path that stays within the layer"
            continue
        if path <= before:
            yield number, "path", f"a path that sorts after {before!r}"
        before = path
        if folder not in folders:
            parts = folder.split("/")
            if any("/".join(parts[:depth]) in taken for depth in range(1, len(parts) + 1)):
                yield number, "path", "a path that is not below a file or link"
            else:
                folders.add(folder)
        if isinstance(entry, Link) and not link_is_inside(path, entry.target):
            yield number, "link", "a relative target that stays within the layer"


def is_inside(path: str) -> bool:
    """Whether a path is relative, plain and without ``.``, ``..`` or empty parts."""
    return len(path) <= LONGEST and all(map(_is_part, path.split("/")))


def _is_part(part: str) -> bool:
    """Whether a file can be called so: no control characters, UTF-8, at most 255 bytes."""
    if part in {"", ".", ".."}:
        return False
    if part.isascii() and part.isprintable():
        return len(part) <= 255
    if any(ord(letter) < 32 or ord(letter) == 127 for letter in part):
        return False
    try:
        return len(part.encode()) <= 255
    except UnicodeEncodeError:
        return False


def link_is_inside(path: str, target: str) -> bool:
    """Whether a link's target, seen from the link, stays within the layer.

    The target may climb first and then descend, never climb again: what it descends through
    may be a link itself, and climbing from there could end anywhere.
    """
    parts = target.split("/")
    climbs = next((n for n, part in enumerate(parts) if part != ".."), len(parts))
    return climbs <= path.count("/") and climbs < len(parts) and all(map(_is_part, parts[climbs:]))
