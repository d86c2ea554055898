"""The processes of a site that runs its services itself: which release each of them runs.

An image is what execve(2) makes: a server that executes itself anew keeps its process id and its
start time, and is another image all the same; a child that was only forked has all that its parent
had loaded. proc_pid_stat(5) shows both: the start time, and the address of the stack, which is
random anew at each execve(2).
"""

from __future__ import annotations

import json
import os
import pwd
import re
from typing import TYPE_CHECKING

from nonevent.agent import kernel
from nonevent.dataclass import dataclass, fields
from nonevent.model.parse import Table, parse

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_STACK, _STARTED, _TERMINAL, _PARENT = 25, 19, 4, 1
"""Places in /proc/PID/stat, counted from the state."""
_VARIABLES = ("VIRTUAL_ENV", "PYTHONHOME", "PYTHONPATH")
"""By which an interpreter finds modules."""

Identity = tuple[int, int, int]
"""Process id, start time in ticks since the boot, address of the stack."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """A process as /proc shows it; of one that cannot be looked into only what everybody sees."""

    pid: int
    parent: int
    started: int
    stack: int
    """0 where it cannot be looked into."""
    user: str
    words: tuple[str, ...]
    executable: str
    folder: str
    files: tuple[str, ...]
    """Those that it has mapped, below the app's root."""
    variables: tuple[str, ...]
    """NAME=value of those by which modules are found."""

    @property
    def identity(self) -> Identity:
        """What no other image of this machine has, until the next boot."""
        return (self.pid, self.started, self.stack)

    @property
    def closed(self) -> bool:
        """Whether we may not look into it."""
        return not self.executable

    @property
    def named(self) -> str:
        """The process in words."""
        words = " ".join(self.words)
        return f"process {self.pid} ({words[:60]}{'…' if len(words) > 60 else ''})"

    def command(self, root: str) -> str:
        """The command line as it would be for any release."""
        words = " ".join(self.words)
        return re.sub(
            rf"{re.escape(root)}/((?:releases|layers)/[^/:\s]+)", f"{root}/current", words
        )

    def age(self) -> float:
        """Seconds since it was forked."""
        return float((kernel.PROC / "uptime").read_text().split()[0]) - self.started / kernel.TICKS

    def places(self) -> Iterator[tuple[str, str]]:
        """Where it has to do with files, and how that is said."""
        yield self.folder, "works in"
        yield self.executable, "runs"
        for name in self.files:
            yield name, "uses"
        for word in self.words:
            yield word, "was started with"
        for word in self.variables:
            yield word, "was started with"


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What the processes of a release must be like."""

    root: str
    release: int | None
    """None for what ran before the first one of ours, which may be nothing."""
    own: frozenset[str]
    """Folders below the root that are the release's: ``releases/42``, ``layers/deps-…``."""
    stale: frozenset[Identity] = frozenset()
    """The images that ran before the switch."""
    other_deps: bool = False
    """Whether what ran before had other dependencies."""


def below(root: Path) -> tuple[Image, ...]:
    """The images that have to do with releases below a root, as far as we may look.

    Not those of people: what has a terminal, and what was started through the agent.
    """
    found = (_look(int(name), str(root)) for name in os.listdir(kernel.PROC) if name.isdigit())
    return tuple(each for each in found if each and _belongs(each, str(root)))


def _look(pid: int, root: str) -> Image | None:
    try:
        text = (kernel.PROC / str(pid) / "stat").read_text()
        owner = os.stat(kernel.PROC / str(pid)).st_uid  # noqa: PTH116
    except OSError:
        return None
    fields = text.rpartition(") ")[2].split()
    values = kernel.environment(pid)
    if fields[0] == "Z" or fields[_TERMINAL] != "0" or "NONEVENT_INSTANCE" in values:
        return None
    return Image(
        pid=pid,
        parent=int(fields[_PARENT]),
        started=int(fields[_STARTED]),
        stack=int(fields[_STACK]),
        user=_name(owner),
        words=kernel.arguments(pid),
        executable=kernel.executable(pid),
        folder=kernel.working_folder(pid),
        files=tuple(name for name in kernel.mapped_files(pid) if name.startswith(f"{root}/")),
        variables=tuple(f"{name}={values[name]}" for name in _VARIABLES if name in values),
    )


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _belongs(image: Image, root: str) -> bool:
    """Whether it runs a release, and does not only mention one, as `tail` does."""
    shown = (image.folder, image.executable, *image.files, *image.words[:2], *image.variables)
    if image.closed:
        shown = image.words
    return any(f"{root}/{part}/" in f"{name}/" for name in shown for part in _PARTS)


_PARTS = ("current", "releases", "layers")


def complaints(images: tuple[Image, ...], wanted: Expected) -> tuple[str, ...]:
    """What speaks against it that all these run the release, and nothing else does."""
    fresh = {each.parent for each in images if each.identity not in wanted.stale}
    found = [text for each in images if (text := _complaint(each, wanted, fresh))]
    runs = any(each.identity not in wanted.stale for each in images)
    if not found and not runs and wanted.release:
        found.append(f"no process runs release {wanted.release}")
    return tuple(found)


def _complaint(image: Image, wanted: Expected, fresh: set[int]) -> str:
    if image.closed:
        return f"{image.named} cannot be looked into: it runs as {image.user}"
    if image.executable.endswith(" (deleted)"):
        return f"{image.named} runs {image.executable}"
    for place, how in image.places():
        if others := releases_in(place, wanted.root) - wanted.own:
            return f"{image.named} {how} {wanted.root}/{min(others)}"
    return _staleness(image, wanted, fresh) if image.identity in wanted.stale else ""


def _staleness(image: Image, wanted: Expected, fresh: set[int]) -> str:
    """What speaks against a process that ran before the switch already.

    A server may only have its workers started anew: they have what it had loaded itself.
    """
    if image.pid not in fresh:
        return f"{image.named} has not been started anew"
    if "--preload" in image.words:
        return f"{image.named} keeps the code that it had loaded, because of --preload"
    if wanted.other_deps and not _through_current(image, wanted.root):
        return f"{image.named} keeps other dependencies: it was not started anew"
    return ""


def releases_in(text: str, root: str) -> set[str]:
    """The releases and layers that a text names, e.g. ``releases/42``."""
    return set(re.findall(rf"{re.escape(root)}/((?:releases|layers)/[^/:\s]+)", text))


def _through_current(image: Image, root: str) -> bool:
    """Whether its interpreter finds modules by the link, so that its new children find new ones."""
    return bool(image.words) and image.words[0].startswith(f"{root}/current/")


def survivors(images: tuple[Image, ...], wanted: Expected) -> tuple[str, ...]:
    """The processes that only started others anew, and keep what they themselves had loaded."""
    if not wanted.other_deps:
        return ()
    return tuple(each.named for each in images if each.identity in wanted.stale)


def gone(images: tuple[Image, ...], lasting: frozenset[str], root: str) -> tuple[str, ...]:
    """What ran before and has not come again, e.g. a worker that died when it was started anew."""
    there = {each.command(root) for each in leaders(images)}
    return tuple(f"`{name[:70]}` ran before, and does not now" for name in sorted(lasting - there))


def leaders(images: tuple[Image, ...]) -> tuple[Image, ...]:
    """Those that nobody of them started."""
    pids = {each.pid for each in images}
    return tuple(each for each in images if each.parent not in pids)


def release_of(image: Image, root: str) -> int:
    """The release that an image runs, or 0 where nothing tells."""
    for place, _ in image.places():
        for name in sorted(releases_in(place, root)):
            number = name.partition("releases/")[2]
            if number.isdigit():
                return int(number)
    return 0


def encoded(images: tuple[Image, ...]) -> str:
    """The images as JSON, for the agent of another user."""
    names = tuple(field.name for field in fields(Image))
    rows = [{name: getattr(each, name) for name in names} for each in images]
    return json.dumps({"images": rows})


def decoded(text: str) -> tuple[Image, ...]:
    """What :func:`encoded` wrote."""
    return parse("what runs", json.loads(text), lambda table: tuple(_images(table)))


def _images(table: Table) -> Iterator[Image]:
    for each in table.tables("images"):
        yield Image(
            pid=each.number("pid"),
            parent=each.number("parent"),
            started=each.number("started"),
            stack=each.number("stack", most=2**64),
            user=each.text("user"),
            words=each.texts("words"),
            executable=each.text("executable"),
            folder=each.text("folder"),
            files=each.texts("files"),
            variables=each.texts("variables"),
        )
