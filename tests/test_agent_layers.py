"""Receiving a layer: nothing counts before every byte of it was seen to be right."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from nonevent.agent import layers
from nonevent.errors import ArtifactInvalid, DiskFull, FormatInvalid
from nonevent.model.layout import Layout
from nonevent.model.manifest import File, Layer, LayerRef, Link, canonical

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CONTENT = {"app/a.py": b"a = 1\n", "app/b.py": b"", "app/c.bin": bytes(range(256)) * 40}


def file(path: str, data: bytes, mode: int = 0o644) -> File:
    """The entry of a file."""
    return File(path=path, mode=mode, size=len(data), digest=hashlib.sha256(data).hexdigest())


LAYER = Layer(
    name="app",
    entries=(
        *(file(path, data) for path, data in CONTENT.items()),
        file("app/run", b"#!run\n", 0o755),
        Link(path="app/z", target="a.py"),
    ),
)
BYTES = b"".join(CONTENT.values()) + b"#!run\n"


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """An empty host."""
    return Layout(tmp_path)


def bring(layout: Layout, layer: Layer, data: bytes, *, step: int = 1 << 20) -> None:
    """Receive a layer in pieces; what fails is abandoned, as the agent does."""
    incoming = layers.receive(layout, layer.ref, layer.encoded())
    try:
        for start in range(0, len(data), step):
            incoming.write(data[start : start + step])
        incoming.finish()
    except BaseException:
        incoming.abandon()
        raise


def left(layout: Layout) -> list[str]:
    """What lies in the folder of layers."""
    return sorted(os.listdir(layout.layers)) if layout.layers.exists() else []


@pytest.mark.parametrize("step", [1, 7, 4096, 1 << 20])
def test_a_layer_arrives_in_pieces_of_any_size(layout: Layout, step: int) -> None:
    """However the bytes are cut into messages, the files are the ones that were sent."""
    bring(layout, LAYER, BYTES, step=step)
    folder = layout.layer(LAYER.ref.id)
    assert left(layout) == [LAYER.ref.id]
    assert {name: (folder / name).read_bytes() for name in CONTENT} == CONTENT
    assert os.readlink(folder / "app/z") == "a.py"
    assert layers.missing(layout, (LAYER.ref,)) == ()
    assert layers.present(layout) == {LAYER.ref.id}


def test_files_are_immutable(layout: Layout) -> None:
    """Nobody may write into a file of a layer, and what could be run still can."""
    bring(layout, LAYER, BYTES)
    folder = layout.layer(LAYER.ref.id)
    modes = {name: (folder / name).stat().st_mode & 0o7777 for name in ("app/a.py", "app/run")}
    assert modes == {"app/a.py": 0o444, "app/run": 0o555}


def test_folders_are_immutable(layout: Layout, tmp_path: Path) -> None:
    """Nothing can be put beside a layer's files, where each release that shares it would see it."""
    deps = Layer(name="deps", entries=(file("lib/a.py", b""),))
    bring(layout, deps, b"")
    folder = layout.layer(deps.ref.id)
    for interpreter in ("one", "two"):
        layers.point_python(layout, deps.ref, tmp_path / interpreter)
        assert os.readlink(folder / "bin" / "python") == str(tmp_path / interpreter)
    modes = {place: (folder / place).stat().st_mode & 0o7777 for place, _, _ in os.walk(folder)}
    assert set(modes.values()) == {0o555}
    assert len(modes) == 3
    layers.remove_tree(folder)
    assert left(layout) == []


def test_an_empty_layer_is_a_layer(layout: Layout) -> None:
    """A project without dependencies has a layer without files."""
    empty = Layer(name="deps", entries=())
    bring(layout, empty, b"")
    assert left(layout) == [empty.ref.id]


def test_a_layer_of_empty_files_needs_no_bytes(layout: Layout) -> None:
    """Empty files exist although nothing is sent for them."""
    empty = Layer(name="app", entries=(file("app/__init__.py", b""), file("app/py.typed", b"")))
    bring(layout, empty, b"")
    assert (layout.layer(empty.ref.id) / "app/py.typed").read_bytes() == b""


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (BYTES[:-1], "ends too early, at app/run"),
        (b"", "ends too early, at app/a.py"),
        (BYTES + b"x", "more bytes"),
        (b"b" + BYTES[1:], "app/app/a.py is not what"),
        (BYTES[:-1] + b"x", "app/app/run is not what"),
    ],
    ids=["one-less", "none", "one-more", "first-byte", "last-byte"],
)
@pytest.mark.parametrize("step", [5, 1 << 20])
def test_other_bytes_are_refused(layout: Layout, data: bytes, words: str, step: int) -> None:
    """One byte too few, too many or different: the layer does not come to be, nothing is left."""
    with pytest.raises(ArtifactInvalid, match=words):
        bring(layout, LAYER, data, step=step)
    assert left(layout) == []
    bring(layout, LAYER, BYTES)
    assert left(layout) == [LAYER.ref.id]


def rows(*entries: dict[str, Any]) -> bytes:
    """A file list of raw entries, with what makes up a file where it is left out."""
    whole = {"mode": 0o644, "size": 0, "sha256": hashlib.sha256(b"").hexdigest()}
    made = [entry if "link" in entry else whole | entry for entry in entries]
    return canonical({"format": 1, "name": "app", "files": made})


HOSTILE = {
    "parent": rows({"path": "../evil"}),
    "parent-within": rows({"path": "app/../../evil"}),
    "absolute": rows({"path": "/etc/evil"}),
    "dot": rows({"path": "./evil"}),
    "empty-part": rows({"path": "app//evil"}),
    "no-name": rows({"path": ""}),
    "nul": rows({"path": "app/\0"}),
    "line-break": rows({"path": "app/\n"}),
    "below-a-link": rows({"path": "app", "link": "data"}, {"path": "app/evil"}),
    "below-a-file": rows({"path": "app"}, {"path": "app/evil"}),
    "twice": rows({"path": "app/a"}, {"path": "app/a"}),
    "out-of-order": rows({"path": "app/b"}, {"path": "app/a"}),
    "link-to-absolute": rows({"path": "app/l", "link": "/etc/passwd"}),
    "link-out": rows({"path": "app/l", "link": "../../evil"}),
    "link-down-and-out": rows({"path": "app/l", "link": "x/../../../evil"}),
    "set-uid": rows({"path": "app/a", "mode": 0o4755}),
    "writable": rows({"path": "app/a", "mode": 0o666}),
    "negative": rows({"path": "app/a", "size": -1}),
    "no-digest": rows({"path": "app/a", "sha256": "0"}),
    "device": rows({"path": "app/a", "device": "1:3"}),
    "surrogate": json.dumps(json.loads(rows({"path": "app/x"}))).replace("x", "\\udcff").encode(),
    "not-json": b"\x1f\x8b",
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_list_is_refused_before_anything_is_made(layout: Layout, text: bytes) -> None:
    """A list that leads out of the layer, or to anything but plain files, makes no folder."""
    ref = LayerRef(name="app", digest=hashlib.sha256(text).hexdigest(), files=1, size=0)
    with pytest.raises((FormatInvalid, ArtifactInvalid)):
        layers.receive(layout, ref, text)
    assert os.listdir(layout.root) == []


def test_a_list_of_another_digest_is_refused(layout: Layout) -> None:
    """The reference in the signed manifest decides which list is the layer's."""
    with pytest.raises(ArtifactInvalid, match="digest"):
        layers.receive(layout, replace(LAYER.ref, digest="0" * 64), LAYER.encoded())


@pytest.mark.parametrize("change", [{"size": 1}, {"files": 1}, {"name": "deps"}])
def test_a_reference_that_lies_about_its_list_is_refused(
    layout: Layout, change: dict[str, Any]
) -> None:
    """Size and count decide what room is asked for, so they must be the list's."""
    with pytest.raises(ArtifactInvalid):
        layers.receive(layout, replace(LAYER.ref, **change), LAYER.encoded())
    assert left(layout) == []


def test_a_layer_that_came_meanwhile_is_as_good(layout: Layout) -> None:
    """Two clients may bring the same layer; the second leaves nothing behind."""
    incoming = layers.receive(layout, LAYER.ref, LAYER.encoded())
    incoming.write(BYTES)
    aside = layout.layers / "aside"
    incoming.folder.rename(aside)
    bring(layout, LAYER, BYTES)
    aside.rename(incoming.folder)
    incoming.finish()
    assert left(layout) == [LAYER.ref.id]


def test_a_transfer_that_was_cut_off_is_cleaned_up(layout: Layout) -> None:
    """What a killed agent left goes away, what a living one receives stays."""
    dead = subprocess.Popen(("true",))
    dead.wait()
    for pid in (dead.pid, os.getpid()):
        (layout.layers / f".incoming-app-0123456789abcdef-{pid}" / "app").mkdir(parents=True)
    layers.clean_incoming(layout)
    assert left(layout) == [f".incoming-app-0123456789abcdef-{os.getpid()}"]


@contextlib.contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """A disk of its own; needs root."""
    folder.mkdir()
    command = ("mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder))
    try:
        made = subprocess.run(command, capture_output=True, timeout=10, check=False)
    except FileNotFoundError:
        pytest.skip("mount is not here")
    if made.returncode:
        pytest.skip("a small disk needs root")
    try:
        yield folder
    finally:
        subprocess.run(("umount", "-l", str(folder)), timeout=10, check=True)


def test_a_disk_without_room_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    """A layer that would leave less than the reserve is not begun."""
    with small_disk(tmp_path / "disk", "8m") as disk:
        with pytest.raises(DiskFull, match="full"):
            layers.receive(Layout(disk), LAYER.ref, LAYER.encoded())
        assert left(Layout(disk)) == []


def test_a_disk_that_fills_up_meanwhile_leaves_nothing_half_made(tmp_path: Path) -> None:
    """Somebody else took the room: one clear error, nothing left, and later it works."""
    data = os.urandom(4 << 20)
    layer = Layer(name="app", entries=(file("app/big", data),))
    with small_disk(tmp_path / "disk", "80m") as disk:
        layout = Layout(disk)
        incoming = layers.receive(layout, layer.ref, layer.encoded())
        with contextlib.suppress(OSError), (disk / "other").open("wb", 0) as other:
            while other.write(bytes(1 << 20)):
                pass
        with pytest.raises(DiskFull, match="is full"):
            incoming.write(data)
        incoming.abandon()
        assert left(layout) == []
        (disk / "other").unlink()
        bring(layout, layer, data)
        assert left(layout) == [layer.ref.id]
