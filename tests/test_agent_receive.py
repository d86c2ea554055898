"""Receiving a layer: nothing counts before every byte of it was seen to be right."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import subprocess
import tempfile
import zlib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nonevent.agent import facts, layers, receive
from nonevent.agent.process import supervisor
from nonevent.errors import ArtifactInvalid, DiskFull, FormatInvalid, ProtocolBroken
from nonevent.model import pieces, tar
from nonevent.model.layout import Layout
from nonevent.model.manifest import File, Layer, LayerRef, Link, canonical

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from nonevent.agent.receive import Incoming

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
CONTENT |= {"app/run": b"#!run\n"}


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """An empty host."""
    return Layout(tmp_path)


def members(layer: Layer, content: dict[str, bytes], numbers: Iterable[int]) -> bytes:
    """Entries of a layer as they stand in a tar, whatever the list says of them."""
    made = b""
    for entry in (layer.entries[number] for number in numbers):
        where = f"{layer.name}/{entry.path}"
        if isinstance(entry, Link):
            made += tar.header(where, link=entry.target)
        else:
            body = content[entry.path]
            made += tar.header(where, mode=entry.mode, size=len(body)) + body
            made += tar.padding(len(body))
    return made


def begin(layout: Layout, layer: Layer, ref: LayerRef | None = None) -> Incoming:
    """Offer a layer and bring what its list lacks, as a client does."""
    cut = pieces.cut(layer.encoded(), 4)
    offer = receive.offered(layout, ref or layer.ref, b"".join(map(pieces.name, cut)), 4)
    lacking = pieces.join(tuple(cut[number] for number in offer.lacking))
    return receive.begin(layout, offer.ref, *receive.listed(offer, zlib.compress(lacking)))


def bring(
    layout: Layout, layer: Layer, content: dict[str, bytes], *, step: int = 1 << 20, cut: int = 0
) -> Incoming:
    """Receive a layer in pieces; what fails is abandoned, as the agent does.

    With ``cut`` the last bytes never arrive, and the connection is gone.
    """
    incoming = begin(layout, layer)
    data = members(layer, content, incoming.wanted)
    data = data[: len(data) - cut]
    try:
        for start in range(0, len(data), step):
            incoming.write(data[start : start + step])
        if not cut:
            incoming.finish()
    except BaseException:
        incoming.abandon()
        raise
    incoming.pause()
    return incoming


def left(layout: Layout) -> list[str]:
    """What lies in the folder of layers, lists aside: each stands beside its layer."""
    names = sorted(os.listdir(layout.layers)) if layout.layers.exists() else []
    folders = [name for name in names if not name.endswith(".json")]
    whole = [name for name in folders if not name.startswith(".")]
    assert sorted(f"{name}.json" for name in whole) == sorted(set(names) - set(folders))
    return folders


def tree(folder: Path) -> dict[str, tuple[int, bytes | str]]:
    """What lies below a folder: mode and bytes of files, targets of links."""
    found: dict[str, tuple[int, bytes | str]] = {}
    for place, _, names in os.walk(folder):
        for name in names:
            path = Path(place, name)
            where = str(path.relative_to(folder))
            if path.is_symlink():
                found[where] = (0, os.readlink(path))
            else:
                found[where] = (path.stat().st_mode & 0o7777, path.read_bytes())
    return found


def expected(layer: Layer, content: dict[str, bytes]) -> dict[str, tuple[int, bytes | str]]:
    """What must lie below a layer's folder."""
    return {
        each.path: (0, each.target)
        if isinstance(each, Link)
        else (each.mode & ~0o222, content[each.path])
        for each in layer.entries
    }


@pytest.mark.parametrize("step", [1, 7, 4096, 1 << 20])
def test_a_layer_arrives_in_pieces_of_any_size(layout: Layout, step: int) -> None:
    """However the bytes are cut into messages, the files are the ones that were sent."""
    bring(layout, LAYER, CONTENT, step=step)
    folder = layout.layer(LAYER.ref.id)
    assert left(layout) == [LAYER.ref.id]
    assert tree(folder) == expected(LAYER, CONTENT)
    assert layers.missing(layout, (LAYER.ref,)) == ()
    assert layers.present(layout) == {LAYER.ref.id}


def test_files_are_immutable(layout: Layout) -> None:
    """Nobody may write into a file of a layer, and what could be run still can."""
    bring(layout, LAYER, CONTENT)
    folder = layout.layer(LAYER.ref.id)
    modes = {name: (folder / name).stat().st_mode & 0o7777 for name in ("app/a.py", "app/run")}
    assert modes == {"app/a.py": 0o444, "app/run": 0o555}


def test_folders_are_immutable(layout: Layout, tmp_path: Path) -> None:
    """Nothing can be put beside a layer's files, where each release that shares it would see it."""
    deps = Layer(name="deps", entries=(file("lib/a.py", b""),))
    bring(layout, deps, {"lib/a.py": b""})
    folder = layout.layer(deps.ref.id)
    for interpreter in ("one", "two"):
        layers.point_python(layout, deps.ref, tmp_path / interpreter)
        assert os.readlink(folder / "bin" / "python") == str(tmp_path / interpreter)
    modes = {place: (folder / place).stat().st_mode & 0o7777 for place, _, _ in os.walk(folder)}
    assert set(modes.values()) == {0o555}
    assert len(modes) == 3
    layers.remove(layout, deps.ref.id)
    assert left(layout) == []


def test_an_empty_layer_is_a_layer(layout: Layout) -> None:
    """A project without dependencies has a layer without files."""
    empty = Layer(name="deps", entries=())
    bring(layout, empty, {})
    assert left(layout) == [empty.ref.id]


def test_a_layer_of_empty_files_needs_no_bytes(layout: Layout) -> None:
    """Empty files exist although nothing is sent for them."""
    empty = Layer(name="app", entries=(file("app/__init__.py", b""), file("app/py.typed", b"")))
    bring(layout, empty, {"app/__init__.py": b"", "app/py.typed": b""})
    assert (layout.layer(empty.ref.id) / "app/py.typed").read_bytes() == b""


BYTES = members(LAYER, CONTENT, range(len(LAYER.entries)))
OTHER = {
    "one-less": (BYTES[:-513], "ends too early, at app/run"),
    "none": (b"", "ends too early, at app/a.py"),
    "one-more": (BYTES + b"x", "more bytes"),
    "first-byte": (BYTES.replace(b"a = 1", b"b = 1"), "app/app/a.py is not what"),
    "last-byte": (BYTES.replace(b"#!run\n", b"#!runx"), "app/app/run is not what"),
}


@pytest.mark.parametrize(("data", "words"), OTHER.values(), ids=OTHER)
@pytest.mark.parametrize("step", [5, 1 << 20])
def test_other_bytes_are_refused(layout: Layout, data: bytes, words: str, step: int) -> None:
    """One byte too few, too many or different: the layer does not come to be, nothing is left."""
    incoming = begin(layout, LAYER)
    with pytest.raises(ArtifactInvalid, match=words):  # noqa: PT012  (either may notice)
        for start in range(0, len(data), step):
            incoming.write(data[start : start + step])
        incoming.finish()
    incoming.abandon()
    assert left(layout) == []
    bring(layout, LAYER, CONTENT)
    assert left(layout) == [LAYER.ref.id]


def test_an_empty_file_of_another_digest_is_refused(layout: Layout) -> None:
    """Nothing travels for an empty file, so its digest must be the one of nothing."""
    lying = Layer(name="app", entries=(File(path="a", mode=0o644, size=0, digest="0" * 64),))
    incoming = begin(layout, lying)
    with pytest.raises(ArtifactInvalid, match="app/a is not what"):
        incoming.finish()


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
    offer = receive.offered(layout, ref, b"".join(map(pieces.name, pieces.cut(text, 4))), 4)
    with pytest.raises((FormatInvalid, ArtifactInvalid)):
        receive.listed(offer, zlib.compress(text))
    assert os.listdir(layout.root) == []


@pytest.mark.parametrize(
    "change", [{"digest": "0" * 64}, {"size": 1}, {"files": 1}, {"name": "deps"}]
)
def test_a_list_that_is_not_the_announced_one_is_refused(
    layout: Layout, change: dict[str, Any]
) -> None:
    """The reference decides which list is the layer's, and what room is asked for."""
    with pytest.raises(ArtifactInvalid):
        begin(layout, LAYER, replace(LAYER.ref, **change))
    assert left(layout) == []


BOMB = zlib.compress(bytes(receive.LARGEST_LIST + 1))


@pytest.mark.parametrize(
    ("names", "packed"),
    [
        (b"12345678", b"no zlib"),
        (b"12345678", zlib.compress(b"{}")[:-1]),
        (b"12345678", BOMB),
        (b"12345678" * 3, zlib.compress(b"{}")),
        (b"1234567", zlib.compress(b"{}")),
        (b"", zlib.compress(b"{}")),
    ],
    ids=["garbage", "cut", "bomb", "too-few", "odd", "none"],
)
def test_other_pieces_than_were_asked_for_are_refused(
    layout: Layout, names: bytes, packed: bytes
) -> None:
    """Whatever comes in place of a list's pieces, it is refused, and unpacked to a limit."""
    offer = receive.offered(layout, LAYER.ref, names, 4)
    with pytest.raises((ArtifactInvalid, ProtocolBroken)):
        receive.listed(offer, packed)
    assert os.listdir(layout.root) == []


BIG = {"lib/big.so": os.urandom(9000), "lib/a.py": b"a = 1\n", "lib/twin.py": b"a = 1\n"}


def layer_of(content: dict[str, bytes], *executable: str, name: str = "deps") -> Layer:
    """A layer of these files."""
    rows = (file(path, content[path], 0o755 if path in executable else 0o644) for path in content)
    return Layer(name=name, entries=tuple(sorted(rows, key=lambda each: each.path)))


def test_only_what_is_new_comes(layout: Layout) -> None:
    """Files that a layer on the host has are linked, equal ones come once, empty ones never."""
    bring(layout, layer_of(BIG), BIG)
    after = BIG | {"lib/b.py": b"b = 2\n", "lib/c.py": b"b = 2\n", "lib/none.py": b""}
    layer = layer_of(after)
    incoming = bring(layout, layer, after)
    assert not incoming.whole
    assert [layer.entries[number].path for number in incoming.wanted] == ["lib/b.py"]
    new, old = layout.layer(layer.ref.id), layout.layer(layer_of(BIG).ref.id)
    assert tree(new) == expected(layer, after)
    assert (new / "lib/big.so").samefile(old / "lib/big.so")
    assert (new / "lib/b.py").samefile(new / "lib/c.py")
    layers.remove(layout, old.name)
    assert tree(new) == expected(layer, after), "a layer needs no other one"


def test_what_a_layer_has_lost_or_changed_is_not_linked(layout: Layout) -> None:
    """A file that is gone, of another size, or open to writing on the host, is sent again."""
    before = BIG | {
        f"lib/{name}.py": name.encode() * 9 for name in ("gone", "grown", "open", "mode")
    }
    old = layer_of(before)
    bring(layout, old, before)
    folder = layout.layer(old.ref.id)
    (folder / "lib").chmod(0o755)
    (folder / "lib/gone.py").unlink()
    (folder / "lib/grown.py").chmod(0o644)
    (folder / "lib/grown.py").write_bytes(b"more than there was before" * 9)
    (folder / "lib/grown.py").chmod(0o444)
    (folder / "lib/open.py").chmod(0o644)
    after = before | {"lib/new.py": b"new"}
    layer = layer_of(after, "lib/mode.py")
    incoming = bring(layout, layer, after)
    came = [layer.entries[number].path for number in incoming.wanted]
    assert came == [f"lib/{name}.py" for name in ("gone", "grown", "mode", "new", "open")]
    assert tree(layout.layer(layer.ref.id)) == expected(layer, after)


def test_a_layer_that_is_nearly_all_new_comes_whole(layout: Layout) -> None:
    """Then it is asked for as it lies in the artifact, links and all, and arrives the same."""
    before = {"app/run": CONTENT["app/run"]}
    bring(layout, layer_of(before, "app/run", name="app"), before)
    incoming = bring(layout, LAYER, CONTENT)
    assert incoming.whole
    assert tree(layout.layer(LAYER.ref.id)) == expected(LAYER, CONTENT)


def test_a_file_with_too_many_links_is_copied(tmp_path: Path) -> None:
    """Where a filesystem allows no more links to a file, the layer gets a copy of it."""
    with ext4(tmp_path / "disk") as disk:
        layout = Layout(disk)
        bring(layout, layer_of(BIG), BIG)
        full = layout.layer(layer_of(BIG).ref.id) / "lib/a.py"
        for number in range(full.stat().st_nlink, 65_000):
            os.link(full, disk / f"link-{number}")
        after = BIG | {"lib/b.py": b"b = 2\n"}
        layer = layer_of(after)
        bring(layout, layer, after)
        new = layout.layer(layer.ref.id)
        assert tree(new) == expected(layer, after)
        assert not (new / "lib/a.py").samefile(full)
        assert (new / "lib/big.so").samefile(full.parent / "big.so")


@pytest.mark.parametrize("cut", [1, 600, 3000, 12000])
def test_a_transfer_that_was_cut_off_goes_on(layout: Layout, cut: int) -> None:
    """What had come whole is not asked for again, and the layer is the same in the end."""
    content = CONTENT | {"app/d.bin": os.urandom(8000)}
    layer = layer_of(content, name="app")
    before = bring(layout, layer, content, cut=cut)
    came = before.done
    assert left(layout) == [f".incoming-{layer.ref.id}"]
    incoming = bring(layout, layer, content)
    again = {layer.entries[number].path for number in incoming.wanted}
    assert incoming.whole or again == {"app/a.py", "app/c.bin", "app/d.bin", "app/run"} - came
    assert tree(layout.layer(layer.ref.id)) == expected(layer, content)
    assert left(layout) == [layer.ref.id]


def test_what_a_power_cut_spoiled_comes_again(layout: Layout) -> None:
    """Of what an attempt left, only that counts whose bytes are right when they are read again."""
    content = CONTENT | {"app/d.bin": os.urandom(8000)}
    layer = layer_of(content, name="app")
    folder = bring(layout, layer, content, cut=600).folder
    for path in ("app/a.py", "app/d.bin"):
        (folder / path).chmod(0o644)
    (folder / "app/a.py").write_bytes(bytes(6))
    (folder / "app/a.py").chmod(0o444)
    (folder / "app/stranger").write_bytes(b"x")
    (folder / "app/folder").symlink_to("/etc")
    incoming = bring(layout, layer, content)
    again = {layer.entries[number].path for number in incoming.wanted}
    assert again == {"app/a.py", "app/d.bin", "app/run"}
    assert tree(layout.layer(layer.ref.id)) == expected(layer, content)


def test_what_nobody_goes_on_with_is_cleaned_up(layout: Layout) -> None:
    """What a cut left goes away with the next layer of that name, or when releases are pruned."""
    bring(layout, LAYER, CONTENT, cut=600)
    assert layers.unfinished(layout) == (f".incoming-{LAYER.ref.id}",)
    bring(layout, layer_of(BIG, name="app"), BIG, cut=600)
    bring(layout, layer_of(BIG), BIG)
    other = layer_of(BIG, name="app").ref.id
    unfinished = (".app-0.json.77", f".incoming-{other}", "app-0.json")
    for name in (unfinished[0], unfinished[2]):
        (layout.layers / name).write_bytes(b"{}")
    assert layers.unfinished(layout) == unfinished
    orphans = (layer_of(BIG).ref.id, *unfinished)
    assert facts.gather(layout, supervisor).orphans == tuple(f"layers/{name}" for name in orphans)
    for name in layers.unfinished(layout):
        layers.remove(layout, name)
    assert left(layout) == [layer_of(BIG).ref.id]


PATHS = st.sampled_from(("a", "b", "d/a", "d/b", "d/e/a", "d/e/b", "f", "g/a"))
TREES = st.dictionaries(PATHS, st.binary(max_size=40) | st.just(b"the same everywhere"), max_size=8)


@settings(deadline=None, max_examples=50)
@given(before=TREES, after=TREES, cut=st.integers(1, 3000), runs=st.sets(PATHS))
def test_a_delta_gives_the_same_as_the_whole(
    before: dict[str, bytes], after: dict[str, bytes], cut: int, runs: set[str]
) -> None:
    """From any layer to any other, cut off anywhere and begun again: what was built is there."""
    with tempfile.TemporaryDirectory() as folder:
        layout = Layout(Path(folder))
        old, new = layer_of(before), layer_of(after, *runs)
        bring(layout, old, before)
        if new.ref.id != old.ref.id:
            bring(layout, new, after, cut=cut)
            bring(layout, new, after)
        assert tree(layout.layer(old.ref.id)) == expected(old, before)
        assert tree(layout.layer(new.ref.id)) == expected(new, after)
        assert set(left(layout)) == {old.ref.id, new.ref.id}


@contextlib.contextmanager
def ext4(folder: Path) -> Iterator[Path]:
    """A small disk with the filesystem that most hosts have; needs root."""
    image = folder.with_suffix(".img")
    with image.open("wb") as out:
        out.truncate(200 << 20)
    folder.mkdir()
    for argv in (("mkfs.ext4", "-q", str(image)), ("mount", "-o", "loop", str(image), str(folder))):
        try:
            subprocess.run(argv, check=True, capture_output=True, timeout=60)
        except (OSError, subprocess.SubprocessError) as error:
            pytest.skip(f"{argv[0]} cannot be used here: {error}")
    try:
        yield folder
    finally:
        subprocess.run(("umount", "-l", str(folder)), timeout=10, check=True)


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
            begin(Layout(disk), LAYER)
        assert left(Layout(disk)) == []


def test_a_disk_that_fills_up_meanwhile_leaves_nothing_half_made(tmp_path: Path) -> None:
    """Somebody else took the room: one clear error, nothing left, and later it works."""
    data = os.urandom(4 << 20)
    layer = Layer(name="app", entries=(file("app/big", data),))
    with small_disk(tmp_path / "disk", "80m") as disk:
        layout = Layout(disk)
        incoming = begin(layout, layer)
        with contextlib.suppress(OSError), (disk / "other").open("wb", 0) as other:
            while other.write(bytes(1 << 20)):
                pass
        with pytest.raises(DiskFull, match="is full"):
            incoming.write(members(layer, {"app/big": data}, (0,)))
        incoming.abandon()
        assert left(layout) == []
        (disk / "other").unlink()
        bring(layout, layer, {"app/big": data})
        assert left(layout) == [layer.ref.id]
