"""A release's folder: made of layers at once or not at all."""

from __future__ import annotations

import os
import platform
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from tiny import members, parcel

from nonevent.agent import layers, ledger, receive, release
from nonevent.errors import FormatInvalid
from nonevent.model.layout import Layout
from nonevent.model.ledger import Event, Line

if TYPE_CHECKING:
    from pathlib import Path

PARCEL = parcel("a", files={"empty.txt": ""})


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """A host that has the layers of an artifact."""
    layout = Layout(tmp_path)
    for layer, data in PARCEL.layers:
        incoming = receive.begin(layout, layer.ref, layer.encoded(), layer)
        incoming.write(members(layer, data, incoming.wanted))
        incoming.finish()
    return layout


def staged(number: int, config: int = 0) -> release.Staged:
    """A release of the artifact."""
    return release.Staged(
        number=number, environment="local", config=config, manifest=PARCEL.manifest
    )


def test_a_release_shares_its_bytes_with_its_layer(layout: Layout) -> None:
    """Files are hard links; empty ones are copies, since there may be too many for links."""
    release.stage(layout, staged(1))
    release.stage(layout, staged(2))
    folder = layout.release(1) / "app"
    assert (folder / "web.py").stat().st_nlink == 3
    assert (folder / "empty.txt").stat().st_nlink == 1
    assert not (folder / "web.py").stat().st_mode & 0o222
    assert release.numbers(layout) == (1, 2)


def test_a_release_starts_with_an_interpreter_of_this_host(layout: Layout) -> None:
    """The virtualenv's interpreter is a real one of the version the artifact was built for."""
    release.stage(layout, staged(1))
    python = layout.release(1) / "venv" / "bin" / "python"
    assert os.access(python.resolve(), os.X_OK)
    assert platform.python_version().startswith(PARCEL.manifest.python.minor)


def test_a_release_describes_itself(layout: Layout) -> None:
    """What was staged is what is read; what is not there is nothing."""
    release.stage(layout, staged(3, config=7))
    assert release.read(layout, 3) == staged(3, config=7)
    assert os.readlink(layout.release(3) / "config") == "../../configs/7"
    assert release.read(layout, 4) is None


def test_a_description_that_lies_is_refused(layout: Layout) -> None:
    """The artifact's name must be the digest of the manifest beside it."""
    release.stage(layout, staged(1))
    path = layout.release(1) / "release.json"
    path.write_bytes(path.read_bytes().replace(b'"subject": "Make a"', b'"subject": "Make b"'))
    with pytest.raises(FormatInvalid, match="releases/1"):
        release.read(layout, 1)


def test_a_release_without_its_layer_is_not_made(layout: Layout) -> None:
    """Nothing half-made is left where the files are missing."""
    app = PARCEL.manifest.layer("app")
    assert app
    layers.remove_tree(layout.layer(app.id))
    with pytest.raises(FileNotFoundError):
        release.stage(layout, staged(1))
    assert os.listdir(layout.releases) == []


def test_what_a_crash_left_is_cleaned_up(layout: Layout) -> None:
    """Half-made and half-removed folders go; releases stay."""
    release.stage(layout, staged(1))
    (layout.releases / ".partial-2" / "app").mkdir(parents=True)
    (layout.releases / ".gone-0" / "app").mkdir(parents=True)
    (layout.releases / ".gone-0" / "app").chmod(0o500)
    release.clean(layout)
    assert os.listdir(layout.releases) == ["1"]


def test_what_the_ledger_calls_removed_is_removed(layout: Layout) -> None:
    """A power cut between the ledger's line and the removal leaves no folder for good."""
    for number in (1, 2):
        line = Line(number=0, time=ledger.now(), event=Event.STAGED, release=number)
        line = replace(line, artifact=PARCEL.manifest.digest, commit=PARCEL.manifest.commit)
        ledger.append(layout, line)
        release.stage(layout, staged(number))
    removed = Line(number=0, time=ledger.now(), event=Event.REMOVED, release=1)
    ledger.append(layout, removed)
    release.clean(layout)
    assert release.numbers(layout) == (2,)
