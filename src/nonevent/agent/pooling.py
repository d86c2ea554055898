"""Proxies of this host that keep connections to a release open, found in their configuration.

The socket link is followed when a connection is made. One that is kept open goes on to the release
before, and what is asked on it when that release ends is lost. Found are sites that somebody wrote
by hand; those that `setup` writes keep none.
"""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from nonevent.agent import proxies
from nonevent.dataclass import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from nonevent.model.layout import Layout

ETC = Path("/etc")
BY_DEFAULT = (1, 29, 7)
"""The nginx from which on an ``upstream`` block keeps connections open without being asked to."""

_PLACES = {
    "nginx": ("nginx/**/*.conf", "nginx/sites-enabled/*"),
    "caddy": ("caddy/**/*",),
    "haproxy": ("haproxy/**/*.cfg",),
    "socket-proxyd": ("systemd/system/*.nonevent_proxy.service",),
}
"""Where the proxies look for their configuration, below ``/etc``."""
Found = tuple[int, str]
"""The number of a line, and what to write."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """A place in a configuration that keeps connections open, and what to write there."""

    file: str
    line: int
    mend: str

    def __str__(self) -> str:
        """The place and the remedy, in words."""
        return f"{self.file}:{self.line} keeps connections to a release open; write `{self.mend}`"


def pools(layout: Layout, etc: Path = ETC) -> tuple[Pool, ...]:
    """What pools connections to the app, in the files below ``/etc`` that this user may read."""
    sockets = _sockets(layout)
    found: list[Pool] = []
    for name, path, text in sites(layout, etc):
        match name:
            case "nginx":
                seen = in_nginx(text, sockets, proxies.version("nginx"))
            case "caddy":
                seen = in_caddy(text, sockets)
            case "haproxy":
                seen = in_haproxy(text, sockets)
            case _:
                # It makes a connection for each that it accepts.
                continue
        found += (Pool(file=str(path), line=line, mend=mend) for line, mend in seen)
    return tuple(found)


def _sockets(layout: Layout) -> tuple[str, ...]:
    """The app's sockets, as far as this user may enter its folder."""
    own: list[str] = []
    with suppress(OSError):
        own = sorted(map(str, layout.run.glob("*.sock")))
    return (str(layout.door), *own, f"/run/nonevent/{layout.root.name}.sock")


def sites(layout: Layout, etc: Path = ETC) -> Iterator[tuple[str, Path, str]]:
    """What leads visitors to the app: the proxy, its file, and the file's text without comments."""
    sockets = _sockets(layout)
    for name, patterns in _PLACES.items():
        for path in sorted({path for pattern in patterns for path in etc.glob(pattern)}):
            if "sites-available" in path.parts:
                continue
            with suppress(OSError):
                text = _without_comments(path.read_text(errors="replace")) if path.is_file() else ""
                if any(socket in text for socket in sockets):
                    yield name, path, text


def _without_comments(text: str) -> str:
    return re.sub(r"(?m)(^|(?<=\s))#.*", "", text)


def in_nginx(text: str, sockets: Iterable[str], version: str) -> Iterator[Found]:
    """``upstream`` blocks of an nginx of that version."""
    by_default = tuple(map(int, re.findall(r"\d+", version)[:3])) >= BY_DEFAULT
    for block in re.finditer(r"\bupstream\s+\S+\s*\{([^}]*)\}", text):
        socket = next((each for each in sockets if f"unix:{each};" in block[1]), "")
        kept = re.search(r"\bkeepalive\s+(\d+)", block[1])
        if socket and (int(kept[1]) > 0 if kept else by_default):
            yield _line(text, block), f"proxy_pass http://unix:{socket}:; without an upstream block"


def in_caddy(text: str, sockets: Iterable[str]) -> Iterator[Found]:
    """``reverse_proxy`` directives, with the block that follows one."""
    for start in re.finditer(r"\breverse_proxy\b.*", text):
        directive = start[0] + (_block(text, start.end()) if start[0].endswith("{") else "")
        to_us = any(f"unix/{each}" in directive for each in sockets)
        if to_us and not re.search(r"\bkeepalive\s+off\b", directive):
            yield _line(text, start), "transport http { keepalive off }"


def in_haproxy(text: str, sockets: Iterable[str]) -> Iterator[Found]:
    """``backend`` and ``listen`` sections, with the ``defaults`` that stand before them."""
    closing = re.compile(r"(?m)^\s*option\s+(http-server-close|httpclose)\b")
    closed = False
    for section in re.finditer(r"(?m)^([a-z]+)\b.*\n(?:[ \t].*\n?|\n)*", text):
        closes = bool(closing.search(section[0])) or " from nonevent" in section[0]
        if section[1] == "defaults":
            closed = closes
            continue
        to_us = any(f"@{each}" in section[0] or f" {each}" in section[0] for each in sockets)
        if section[1] in ("backend", "listen") and to_us and not closes and not closed:
            yield _line(text, section), "option http-server-close"


def _block(text: str, start: int) -> str:
    """What stands after an opening brace, until the one that closes it."""
    depth = 1
    for place in range(start, len(text)):
        depth += {"{": 1, "}": -1}.get(text[place], 0)
        if not depth:
            return text[start:place]
    return text[start:]


def _line(text: str, match: re.Match[str]) -> int:
    return text.count("\n", 0, match.start()) + 1
