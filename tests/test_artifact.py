"""The artifact file: what is written is read, and nothing else is."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import tarfile
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from nonevent.build import artifact
from nonevent.build.artifact import Artifact, Packed, verify
from nonevent.build.layer import pack
from nonevent.build.zstd import compressing, decompressing
from nonevent.errors import ArtifactInvalid, BuildFailed
from nonevent.model import tar
from nonevent.model.manifest import Layer, LayerRef, Manifest, Python
from nonevent.model.parse import canonical

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LONG = "/".join(["a" * 60] * 4) + "/é.txt"


def manifest_of(*refs: LayerRef) -> Manifest:
    """A manifest that is in order."""
    return Manifest(
        app="shop",
        commit="0" * 40,
        subject="",
        dirty=False,
        lock="1" * 64,
        python=Python(version="3.11.2", abi="cp311"),
        platform="linux-x86_64",
        glibc="",
        libraries=(),
        packages=(),
        services=(),
        release=(),
        required=(),
        env=(),
        layers=refs,
    )


@pytest.fixture
def trees(tmp_path: Path) -> dict[str, Path]:
    """Two small trees, with a link, a long name, an empty file and one above a block."""
    files = {
        "app": {"app/manage.py": b"print()\n", "app/empty": b"", f"app/{LONG}": b"x" * 513},
        "deps": {"bin/tool": b"#!/bin/sh\n", "lib/big": os.urandom(1 << 20) * 3},
    }
    for name, contents in files.items():
        for path, content in contents.items():
            file = tmp_path / name / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
    (tmp_path / "app/app/manage.py").chmod(0o775)
    (tmp_path / "app/static").symlink_to("app/empty")
    (tmp_path / "app" / ("l" * 110)).symlink_to("app/" + "é" * 60)
    return {name: tmp_path / name for name in files}


@pytest.fixture
def made(trees: dict[str, Path], tmp_path: Path) -> Path:
    """An artifact of those trees."""
    refs, packed = [], []
    for name, tree in trees.items():
        layer, frames = pack(name, tree, tmp_path / f"{name}.frames")
        refs.append(layer.ref)
        packed.append(Packed(name=name, encoded=layer.encoded(), frames=frames))
    return artifact.write(tmp_path / "out", manifest_of(*refs), tuple(packed))


def test_what_is_damaged_between_packing_and_writing_goes_nowhere(
    trees: dict[str, Path], tmp_path: Path
) -> None:
    """Commands of the project run in between, and nothing of the artifact is left."""
    layer, frames = pack("app", trees["app"], tmp_path / "app.frames")
    content = frames[0].file.read_bytes()
    frames[0].file.write_bytes(content[:-1] + bytes((content[-1] ^ 1,)))
    packed = Packed(name="app", encoded=layer.encoded(), frames=frames)
    with pytest.raises(BuildFailed, match="was damaged during the build"):
        artifact.write(tmp_path / "out", manifest_of(layer.ref), (packed,))
    assert not list((tmp_path / "out").iterdir())


def unpacked(file: Path) -> bytes:
    """The tar inside an artifact."""
    with file.open("rb") as source, decompressing(source) as stream:
        return stream.read()


def packed(file: Path, content: bytes) -> Path:
    """An artifact with this tar inside, in place of what it had."""
    with file.open("wb") as out, compressing(out) as stream:
        stream.write(content)
    return file


def refusal(file: Path) -> str:
    """What a reader says who reads all of it."""
    with pytest.raises(ArtifactInvalid) as caught:
        verify(file)
    return " ".join((caught.value.message, *caught.value.context))


def test_what_was_packed_is_read_back(made: Path, trees: dict[str, Path]) -> None:
    """Every file comes back with its bytes and mode, in the order of the lists."""
    opened = Artifact.open(made)
    assert opened == verify(made)
    assert made.name == opened.manifest.filename
    seen = [
        (name, file.path, file.mode, body.read())
        for name, file, body in opened.contents(("app", "deps"))
    ]
    assert seen == [
        ("app", f"app/{LONG}", 0o644, b"x" * 513),
        ("app", "app/empty", 0o644, b""),
        ("app", "app/manage.py", 0o755, b"print()\n"),
        ("deps", "bin/tool", 0o644, b"#!/bin/sh\n"),
        ("deps", "lib/big", 0o644, (trees["deps"] / "lib/big").read_bytes()),
    ]


def test_a_layer_alone_is_read_without_what_follows(made: Path) -> None:
    """The app layer can be read from a file that ends in the middle of the deps layer."""
    opened = Artifact.open(made)
    whole = made.read_bytes()
    made.write_bytes(whole[: len(whole) // 2])
    assert [file.path for _name, file, _body in opened.contents(("app",))] == [
        f"app/{LONG}", "app/empty", "app/manage.py",
    ]  # fmt: skip
    with pytest.raises(ArtifactInvalid):
        list(opened.contents(("deps",)))


def test_bytes_that_nobody_reads_are_passed_over(made: Path) -> None:
    """A reader may leave a file half read, and still gets the next one."""
    bodies = [body.read(3) for _name, _file, body in Artifact.open(made).contents(("app", "deps"))]
    assert bodies[2:4] == [b"pri", b"#!/"]


def test_ordinary_tools_open_it(made: Path, trees: dict[str, Path], tmp_path: Path) -> None:
    """GNU tar and Python's tarfile unpack the same files."""
    by_tar = tmp_path / "by-tar"
    by_tar.mkdir()
    subprocess.run(("tar", "--zstd", "-xf", made, "-C", by_tar), check=True, timeout=30)
    for name, tree in trees.items():
        same = subprocess.run(
            ("diff", "-r", "--no-dereference", by_tar / name, tree), check=False, timeout=30
        )
        assert same.returncode == 0
    with tarfile.open(fileobj=io.BytesIO(unpacked(made))) as members:
        assert f"app/app/{LONG}" in members.getnames()
        assert members.getmember("app/" + "l" * 110).linkname == "app/" + "é" * 60


def test_packing_ignores_times_owners_and_the_umask(trees: dict[str, Path], tmp_path: Path) -> None:
    """Modes beyond the owner's execute bit and times change no byte of a part."""
    before, one = pack("app", trees["app"], tmp_path / "one")
    (trees["app"] / "app/empty").chmod(0o600)
    (trees["app"] / "app/manage.py").chmod(0o4700)
    os.utime(trees["app"] / "app/empty", (1, 1))
    after, two = pack("app", trees["app"], tmp_path / "two")
    assert after == before
    assert [each.digest for each in one] == [each.digest for each in two]


def test_what_a_layer_cannot_hold_is_named(trees: dict[str, Path], tmp_path: Path) -> None:
    """Named pipes, links that lead outside and names that are no UTF-8 are all in one error."""
    tree = trees["app"]
    os.mkfifo(tree / "pipe")
    (tree / "out").symlink_to("../secret")
    (tree / "abroad").symlink_to("/etc/passwd")
    (tree / "app" / "loop").symlink_to(".")
    (tree / os.fsdecode(b"caf\xe9")).touch()
    with pytest.raises(BuildFailed) as caught:
        pack("app", tree, tmp_path / "part")
    assert caught.value.message == "the app layer cannot hold 5 files"
    text = "\n".join(caught.value.context)
    for named in ("pipe: it is a socket", "'../secret'", "'/etc/passwd'", "app/loop", "caf\\xe9"):
        assert named in text


def test_a_link_is_written_in_its_plainest_spelling(tmp_path: Path) -> None:
    """A link with needless dots is kept, since it stays inside, and is spelled without them."""
    tree = tmp_path / "tree"
    (tree / "a").mkdir(parents=True)
    (tree / "a/file").touch()
    (tree / "a/link").symlink_to("././file")
    layer, _ = pack("app", tree, tmp_path / "part")
    assert [getattr(entry, "target", "") for entry in layer.entries] == ["", "file"]


@pytest.mark.parametrize("cut", [0, 1, 100, 0.3, 0.9, -1])
def test_a_truncated_artifact_is_refused(made: Path, cut: float) -> None:
    """Wherever a file ends too early, it says so."""
    whole = made.read_bytes()
    made.write_bytes(whole[: int(cut * len(whole)) if 0 < cut < 1 else int(cut)])
    assert "ends too early" in refusal(made) or "damaged" in refusal(made)


@pytest.mark.parametrize("place", [5, 0.2, 0.5, 0.99])
def test_a_damaged_artifact_is_refused(made: Path, place: float) -> None:
    """One changed byte anywhere is found."""
    whole = bytearray(made.read_bytes())
    whole[int(place * len(whole)) if place < 1 else int(place)] ^= 0x55
    made.write_bytes(whole)
    assert refusal(made)


def test_something_else_is_not_an_artifact(tmp_path: Path) -> None:
    """A file of another kind, a folder and a missing file are each refused in words."""
    other = tmp_path / "notes.txt"
    other.write_text("hello")
    assert "notes.txt is damaged" in refusal(other)
    assert "is no artifact" in refusal(packed(other, b"x" * 2000))
    assert "cannot be read" in refusal(tmp_path)
    assert "No such file" in refusal(tmp_path / "none")


def header_of(path: str, **fields: bytes) -> bytes:
    """A header of ours with some raw fields changed, and its sum corrected."""
    block = bytearray(tar.header(path))
    for name, value in fields.items():
        start = {"name": 0, "mode": 100, "size": 124, "kind": 156, "link": 157}[name]
        block[start : start + len(value)] = value
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


HEAD = tar.header("app/app/empty")
HOSTILE = {
    "device": header_of("app/app/empty", kind=b"3"),
    "hard link": header_of("app/app/empty", kind=b"1", link=b"/etc/passwd"),
    "symbolic link": header_of("app/app/empty", kind=b"2", link=b"/etc/passwd"),
    "folder": header_of("app/app/empty", kind=b"5"),
    "fifo": header_of("app/app/empty", kind=b"6"),
    "set-uid": header_of("app/app/empty", mode=b"0004755"),
    "outside": header_of("app/../../etc/passwd"),
    "absolute": header_of("/etc/passwd"),
    "duplicate": tar.header("app/static", link="app/empty") + HEAD,
    "extra": tar.header("app/other") + HEAD,
    "missing": b"",
    "larger": header_of("app/app/empty", size=b"00000001000") + bytes(512),
    "huge": header_of("app/app/empty", size=b"77777777777"),
    "wrong sum": HEAD[:148] + b"0" * 8 + HEAD[156:],
    "pax header": header_of("app/app/empty", kind=b"x") + HEAD,
    "end": tar.END,
}


@pytest.mark.parametrize("trick", HOSTILE)
def test_a_hostile_member_is_refused(made: Path, trick: str) -> None:
    """Where anything but the listed file stands, the reader stops and names the place."""
    content = unpacked(made)
    assert content.count(HEAD) == 1
    packed(made, content.replace(HEAD, HOSTILE[trick]))
    message = refusal(made)
    assert "where app/app/empty must be" in message
    with pytest.raises(ArtifactInvalid):
        list(Artifact.open(made).contents(("app",)))


def test_other_bytes_of_the_same_size_are_refused(made: Path) -> None:
    """A file whose content is not what the list's hash says is named."""
    packed(made, unpacked(made).replace(b"print()\n", b"import x"))
    assert "app/app/manage.py is not what its file list says" in refusal(made)


def test_nothing_may_follow(made: Path) -> None:
    """An entry behind the last listed one, and bytes behind the end, are refused."""
    content = unpacked(made)
    extra = tar.header("app/extra")
    assert "no list names" in refusal(packed(made, content.removesuffix(tar.END) + extra * 2))
    assert "goes on after its end" in refusal(packed(made, content + b"\0"))


def relisted(file: Path, change: Callable[[bytes], bytes]) -> Path:
    """The artifact with another app list, whose digest its manifest names."""
    opened = Artifact.open(file)
    raw = change(opened.layers[0].encoded())
    ref = replace(opened.layers[0].ref, digest=hashlib.sha256(raw).hexdigest())
    manifest = manifest_of(ref, opened.layers[1].ref)
    members = {
        "manifest.json": manifest.encoded(),
        "layers/app.json": raw,
        "layers/deps.json": opened.layers[1].encoded(),
    }
    with file.open("wb") as out, compressing(out) as stream:
        for path, content in members.items():
            stream.write(tar.header(path, size=len(content)) + content + tar.padding(len(content)))
    return file


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda raw: raw.replace(b"app/empty", b"../../etc"), "files[1].path"),
        (lambda raw: raw.replace(b"app/manage.py", b"/etc/cron.d/x"), "files[2].path"),
        (lambda raw: raw.replace(b'"mode":493', b'"mode":2541'), "files[2].mode"),
        (lambda raw: raw.replace(b'"link":"app/empty"', b'"link":"/etc"'), "link"),
        (lambda raw: raw.replace(b'"size":513', b'"size":514'), "lies"),
        (lambda raw: raw[:-1], "JSON"),
        (lambda raw: raw.replace(b'"name":"app"', b'"name":"deps"'), "lies"),
    ],
)
def test_a_hostile_list_is_refused(made: Path, change: Callable[[bytes], bytes], said: str) -> None:
    """A list that leads outside is refused though the manifest vouches for it."""
    assert said in refusal(relisted(made, change))


def test_a_manifest_that_names_another_list_is_refused(made: Path) -> None:
    """A list whose digest is not the manifest's is refused before any file is read."""
    packed(made, unpacked(made).replace(b'"mode":493', b'"mode":420'))
    assert "another file list of the app layer" in refusal(made)


def test_a_manifest_has_one_spelling(made: Path) -> None:
    """The same manifest with a space in it is refused, since its digest would be another."""
    opened = Artifact.open(made)
    raw = json.dumps(opened.manifest.as_dict()).encode()
    assert raw != canonical(opened.manifest.as_dict())
    packed(made, tar.header("manifest.json", size=len(raw)) + raw + tar.padding(len(raw)))
    assert "another spelling" in refusal(made)


@pytest.mark.parametrize("size", [b"77777777777", b"\x80\0\0\0\0\0\0\0\0\0\x01"])
def test_a_manifest_that_claims_to_be_huge_is_not_read(made: Path, size: bytes) -> None:
    """No more is read than a manifest may have, whatever its header says."""
    assert refusal(packed(made, header_of("manifest.json", size=size) + bytes(4096)))


def test_a_bomb_is_not_unpacked(made: Path) -> None:
    """A file that swells from kilobytes to gigabytes is read no further than its list says."""
    before, _head, after = unpacked(made).partition(HEAD)
    with made.open("wb") as out, compressing(out) as stream:
        stream.write(before + header_of("app/app/empty", size=b"20000000000"))
        for _megabyte in range(64):
            stream.write(bytes(1 << 20))
        stream.write(after)
    assert "where app/app/empty must be" in refusal(made)


def test_an_interrupted_write_leaves_nothing(trees: dict[str, Path], tmp_path: Path) -> None:
    """Where a part cannot be read, neither the artifact nor a piece of it is there."""
    layer, frames = pack("app", trees["app"], tmp_path / "frames")
    missing = (replace(frames[0], file=tmp_path / "none"),)
    empty = Layer(name="deps", entries=())
    with pytest.raises(FileNotFoundError):
        artifact.write(
            tmp_path / "out",
            manifest_of(layer.ref, empty.ref),
            (
                Packed(name="app", encoded=layer.encoded(), frames=frames),
                Packed(name="deps", encoded=empty.encoded(), frames=missing),
            ),
        )
    assert list((tmp_path / "out").iterdir()) == []
