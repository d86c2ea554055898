"""The manifest and the file lists of layers: laws of their parsers."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nonevent.errors import FormatInvalid
from nonevent.model.manifest import (
    CPUS,
    Entry,
    File,
    Layer,
    LayerRef,
    Link,
    Manifest,
    Python,
    is_inside,
    link_is_inside,
    read_layer,
    read_manifest,
)
from nonevent.model.service import Health, Kind, Service

CASES = Path(__file__).parent / "cases" / "manifest"

digests = st.text("0123456789abcdef", min_size=64, max_size=64)
words = st.text(max_size=20)
seconds = st.floats(0, 1e6)
names = st.from_regex(r"[a-z][a-z0-9-]{0,31}", fullmatch=True)
variables = st.from_regex(r"[A-Z_][A-Z0-9_]{0,8}", fullmatch=True)
pairs = st.dictionaries(variables, words, max_size=3).map(
    lambda found: tuple(sorted(found.items()))
)
parts = st.sampled_from(("a", "b", "c", "é", "..", ".", "", "x" * 300, "\0", "\udcff"))
plain_paths = st.lists(st.sampled_from("abc"), min_size=1, max_size=3).map("/".join)
targets = st.lists(st.sampled_from(("..", "a", "b", "c", ".", "")), min_size=1, max_size=5).map(
    "/".join
)


@st.composite
def services(draw: st.DrawFn) -> Service:
    """A service as the manifest carries it: what does not concern its kind has its default."""
    kind = draw(st.sampled_from(Kind))
    web = kind is Kind.WEB
    return Service(
        name=draw(names),
        kind=kind,
        command=draw(words),
        health=Health(path=draw(words), answers=draw(st.integers(1, 9))) if web else Health(),
        drain_limit=draw(seconds) if web else 30.0,
        stop_limit=draw(seconds),
        schedule=draw(words) if kind is Kind.TIMER else "",
        env=draw(pairs),
    )


@st.composite
def manifests(draw: st.DrawFn) -> Manifest:
    """Any manifest that a build could write."""
    layers = ("app", "deps", *draw(st.sampled_from(((), ("python",)))))
    return Manifest(
        app=draw(names),
        commit=draw(st.text("0123456789abcdef", min_size=40, max_size=40)),
        subject=draw(words),
        dirty=draw(st.booleans()),
        lock=draw(digests),
        python=Python(version="3.11.2", abi="cp311"),
        platform="linux-x86_64",
        glibc="2.17",
        cpu=draw(st.sampled_from(("", *CPUS))),
        libraries=tuple(draw(st.lists(words, max_size=3))),
        packages=draw(pairs),
        services=tuple(draw(st.lists(services(), max_size=3, unique_by=lambda each: each.name))),
        release=tuple(draw(st.lists(words, max_size=2))),
        required=tuple(draw(st.lists(variables, max_size=2))),
        env=draw(pairs),
        layers=tuple(
            LayerRef(name=name, digest=draw(digests), files=draw(st.integers(0, 9)), size=0)
            for name in layers
        ),
    )


@st.composite
def entries(draw: st.DrawFn) -> tuple[Entry, ...]:
    """Files and links that the rules allow, sorted."""
    kept: list[Entry] = []
    for path in sorted(draw(st.sets(plain_paths, min_size=1, max_size=8))):
        if any(path.startswith(f"{each.path}/") for each in kept):
            continue
        target = draw(targets)
        if draw(st.booleans()) and link_is_inside(path, target):
            kept.append(Link(path=path, target=target))
        else:
            mode = draw(st.sampled_from((0o644, 0o755)))
            kept.append(
                File(path=path, mode=mode, size=draw(st.integers(0, 2**63)), digest="0" * 64)
            )
    return tuple(kept)


@given(manifests())
def test_a_manifest_survives_writing_and_reading(manifest: Manifest) -> None:
    """Reading what was written gives the same manifest, and the same digest."""
    again = read_manifest(manifest.encoded())
    assert again == manifest
    assert again.digest == manifest.digest


@given(entries())
def test_a_file_list_survives_writing_and_reading(found: tuple[Entry, ...]) -> None:
    """Reading a written list gives the same layer, and its reference names it."""
    layer = Layer(name="app", entries=found)
    assert read_layer(layer.encoded()) == layer
    assert read_layer(layer.encoded()).ref == layer.ref


@given(st.lists(parts, max_size=4).map("/".join))
def test_no_path_leads_out_of_a_layer(path: str) -> None:
    """A path that is accepted lies below the folder it is joined to, as it is spelled."""
    if is_inside(path):
        joined = os.path.join("/layer", path)  # noqa: PTH118
        assert os.path.normpath(joined) == joined
        assert joined.startswith("/layer/")
        path.encode()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(found=entries())
def test_no_link_leads_out_of_a_layer(found: tuple[Entry, ...], tmp_path: Path) -> None:
    """Links that are accepted stay within the folder when the kernel follows them."""
    root = Path(tempfile.mkdtemp(dir=tmp_path))
    for entry in found:
        place = root / entry.path
        place.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(entry, Link):
            place.symlink_to(entry.target)
        else:
            place.touch()
    for entry in found:
        assert Path(os.path.realpath(root / entry.path)).is_relative_to(root)


def row(path: str = "a", **other: Any) -> dict[str, Any]:
    """A line of a file list that is in order, but for what is given."""
    return {"path": path, "mode": 0o644, "size": 1, "sha256": "0" * 64} | other


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        ([row("../a")], "files[0].path"),
        ([row("/etc/passwd")], "files[0].path"),
        ([row("a//b")], "files[0].path"),
        ([row("a\nb")], "files[0].path"),
        ([row("b"), row("a")], "files[1].path"),
        ([row("a"), row("a")], "files[1].path"),
        ([row("a"), row("a/b")], "files[1].path"),
        ([{"path": "a", "link": "b"}, row("a/b")], "files[1].path"),
        ([{"path": "a", "link": "../b"}], "files[0].link"),
        ([{"path": "a/b", "link": "x/../../.."}], "files[0].link"),
        ([{"path": "a", "link": "/etc"}], "files[0].link"),
        ([row(mode=0o4755)], "files[0].mode"),
        ([row(size=-1)], "files[0].size"),
        ([row(sha256="0")], "files[0].sha256"),
        ([row(owner="root")], "files[0].owner"),
        (["a"], "files[0]"),
    ],
)
def test_a_hostile_file_list_is_refused(rows: list[object], problem: str) -> None:
    """A list that leads out, is out of order or asks for more than a plain file is refused."""
    with pytest.raises(FormatInvalid) as caught:
        read_layer(json.dumps({"format": 1, "name": "app", "files": rows}))
    assert problem in {each.where for each in caught.value.problems}


def test_the_saved_samples_are_still_read() -> None:
    """What the first version wrote has the same digests for ever."""
    manifest = read_manifest((CASES / "manifest-1.json").read_bytes())
    layer = read_layer((CASES / "layer-1.json").read_bytes())
    assert layer.ref == manifest.layer("app")
    assert manifest.filename == "shop-0123456-c083d545.tar.zst"
    assert manifest.encoded() == (CASES / "manifest-1.json").read_bytes()


def test_a_newer_format_says_so() -> None:
    """A manifest of a later version is refused with the reason, not with a strange key."""
    raw = json.loads((CASES / "manifest-1.json").read_bytes()) | {"format": 2}
    with pytest.raises(FormatInvalid) as caught:
        read_manifest(json.dumps(raw))
    assert "newer version" in str(caught.value.problems[0])
