"""Sending a layer to a real agent: few bytes, whatever the host can unpack, also after a cut."""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from tiny import TinyHost, parcel

from nonevent.agent import inflate, layers
from nonevent.build import artifact
from nonevent.build.artifact import Artifact, Packed
from nonevent.build.layer import pack
from nonevent.deploy.shipping import ship
from nonevent.errors import ArtifactInvalid, ProtocolBroken
from nonevent.transport.base import ignore

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import IO

    from nonevent.transport.base import Connection

LONG = "/".join(["long" * 12] * 3) + "/é.py"
BIG = {"big.bin": os.urandom(900_000), LONG: b"long = 1\n", "empty": b""}


@pytest.fixture
def host(tmp_path: Path) -> TinyHost:
    """A host without any layer."""
    return TinyHost(tmp_path / "host")


def made(folder: Path, **more: bytes) -> Artifact:
    """An artifact with these files beside the usual ones, in both layers."""
    folder.mkdir()
    refs, packed = [], []
    for name in ("app", "deps"):
        tree = folder / name
        for path, content in {**BIG, **more}.items():
            place = tree / "lib" / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)
        (tree / "link").symlink_to("lib/empty")
        layer, frames = pack(name, tree, folder / f"{name}.frames")
        refs.append(layer.ref)
        packed.append(Packed(name=name, encoded=layer.encoded(), frames=frames))
    manifest = replace(parcel("a").manifest, layers=tuple(refs))
    return Artifact.open(artifact.write(folder / "out", manifest, tuple(packed)))


@contextmanager
def agent(host: TinyHost) -> Iterator[Connection]:
    """A conversation with an agent that has the lock, as if it were far away."""
    with host.connect() as connection:
        connection.near = False
        host.begin(connection)
        yield connection


def must_have(host: TinyHost, opened: Artifact, name: str) -> None:
    """The layer is on the host as it was built."""
    built = opened.path.parents[1] / name
    ref = opened.manifest.layer(name)
    assert ref
    there = host.layout.layer(ref.id)
    paths = sorted(str(path.relative_to(built)) for path in built.rglob("*"))
    assert paths == sorted(str(path.relative_to(there)) for path in there.rglob("*"))
    for path in paths:
        if (built / path).is_file():
            assert (built / path).read_bytes() == (there / path).read_bytes()


@pytest.fixture(params=["zstd", "zlib", "plain"])
def encoding(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> str:
    """How files travel: without the program zstd there is none on the agent's side."""
    if request.param == "zstd" and not inflate.has_zstd():
        pytest.skip("this machine has no zstd")
    if request.param != "zstd":
        found = shutil.which("python3")
        assert found
        (tmp_path / "bin").mkdir()
        (tmp_path / "bin/python3").symlink_to(found)
        monkeypatch.setenv("PATH", str(tmp_path / "bin"))
        if inflate.has_zstd():
            pytest.skip("this Python has zstd of its own")
    return str(request.param)


def test_a_change_costs_what_changed(host: TinyHost, tmp_path: Path, encoding: str) -> None:
    """The first layer travels whole; of the next only the new file does, whichever way."""
    first = made(tmp_path / "first", **{"a.py": b"a = 1\n"})
    second = made(tmp_path / "second", **{"a.py": b"a = 2\n", "new.bin": os.urandom(5000)})
    with agent(host) as connection:
        connection.near = encoding == "plain"
        for name in ("deps", "app"):
            assert ship(connection, first, name, ignore) > 900_000
            must_have(host, first, name)
            assert 5000 < ship(connection, second, name, ignore) < 9000
            must_have(host, second, name)
            assert ship(connection, second, name, ignore) < 1500, "it is there already"


class Cut:
    """A way out that breaks after so many bytes."""

    def __init__(self, writer: IO[bytes], left: int) -> None:
        self.writer, self.left = writer, left

    def write(self, data: bytes) -> None:
        """Let through what is left."""
        self.writer.write(data[: self.left])
        self.left -= len(data)
        if self.left < 0:
            raise BrokenPipeError

    def flush(self) -> None:
        """As a file does."""
        self.writer.flush()


@pytest.mark.parametrize("left", [2_000, 400_000, 1_300_000])
def test_a_broken_connection_is_gone_on_from(host: TinyHost, tmp_path: Path, left: int) -> None:
    """A second attempt brings what is left; what had come whole does not travel again."""
    twin = {"twin.bin": os.urandom(800_000)}
    opened = made(tmp_path / "first", **twin)
    with agent(host) as connection:
        whole = connection.channel.writer
        connection.channel.writer = Cut(whole, left)  # type: ignore[assignment]
        with pytest.raises(ProtocolBroken, match="closed the connection"):
            ship(connection, opened, "app", ignore)
        connection.channel.writer = whole
    came = left > 900_000
    with agent(host) as connection:
        assert (ship(connection, opened, "app", ignore) < 900_000) is came
    must_have(host, opened, "app")
    assert layers.unfinished(host.layout) == ()


def test_a_damaged_artifact_leaves_nothing_on_the_host(host: TinyHost, tmp_path: Path) -> None:
    """A byte that changed on this side is found on the host, which keeps nothing and goes on."""
    opened = made(tmp_path / "first")
    good = opened.path.read_bytes()
    damaged = bytearray(good)
    damaged[len(good) // 3] ^= 1
    opened.path.write_bytes(damaged)
    with agent(host) as connection:
        with pytest.raises(ArtifactInvalid, match=f"{opened.path.name}.* app/lib/big.bin"):
            ship(connection, opened, "app", ignore)
        assert os.listdir(host.layout.layers) == []
        opened.path.write_bytes(good)
        ship(connection, opened, "app", ignore)
    must_have(host, opened, "app")


def test_an_artifact_that_was_packed_anew_is_sent(
    host: TinyHost, tmp_path: Path, encoding: str
) -> None:
    """Layers that have no frame of their own arrive all the same, whole and as a change."""
    first = made(tmp_path / "first", **{"a.py": b"a = 1\n"})
    second = made(tmp_path / "second", **{"a.py": b"a = 2\n"})
    pack_anew(first)
    pack_anew(second)
    with agent(host) as connection:
        connection.near = encoding == "plain"
        for name in ("deps", "app"):
            assert ship(connection, first, name, ignore) > 900_000
            must_have(host, first, name)
            assert ship(connection, second, name, ignore) < 4000
            must_have(host, second, name)


def test_an_artifact_that_ends_too_early_leaves_nothing(
    host: TinyHost, tmp_path: Path, encoding: str
) -> None:
    """What this side cannot read further is named with the place; the host keeps nothing of it."""
    opened = made(tmp_path / "first")
    pack_anew(opened)
    os.truncate(opened.path, opened.path.stat().st_size // 2)
    with agent(host) as connection:
        connection.near = encoding == "plain"
        place = f"{opened.path.name} ends too early, at app/lib/big.bin"
        with pytest.raises(ArtifactInvalid, match=place):
            ship(connection, opened, "app", ignore)
    assert os.listdir(host.layout.layers) == []


def pack_anew(opened: Artifact) -> None:
    """What somebody does who unpacks a file and packs it again: all is in one frame."""
    with opened.path.open("rb") as source, artifact.decompressing(source) as stream:
        content = stream.read()
    with opened.path.open("wb") as out, artifact.compressing(out) as again:
        again.write(content)
