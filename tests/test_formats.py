"""Every file format of ours: what was once written can be read for ever.

The samples in ``cases/formats`` are never changed; a new format gets new ones beside them.
"""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from nonevent.agent import journal, ledger, lock, release, variables
from nonevent.errors import FormatInvalid
from nonevent.model.layout import Layout
from nonevent.model.ledger import Event, Standby, State, fold, read_line
from nonevent.model.manifest import read_layer, read_manifest
from nonevent.model.plan import RunCommand, step_name
from nonevent.model.protocol import Channel
from nonevent.model.want import Deploy, read_want

SAMPLES = Path(__file__).parent / "cases" / "formats"


def sample(name: str) -> bytes:
    """A file that an earlier version wrote."""
    return (SAMPLES / name).read_bytes()


def test_a_want() -> None:
    """The want of format 1 is read, with the manifest inside."""
    want = read_want(json.loads(sample("want-1.json")))
    assert isinstance(want.goal, Deploy)
    assert (want.goal.config, want.goal.secrets, want.ledger, want.port) == (7, 3, 12, 8000)
    assert want.goal.manifest == read_manifest(sample("manifest-1.json"))


def test_a_manifest() -> None:
    """The manifest of format 1 is read, and its name is the one it had."""
    manifest = read_manifest(sample("manifest-1.json"))
    assert manifest.filename == "shop-9d1e7c2-b44fecca.tar.zst"
    assert [each.name for each in manifest.services] == ["web", "worker", "beat", "report"]


def test_a_manifest_with_a_processor() -> None:
    """The level of the processor came later to format 1; it is read, and part of the name."""
    manifest = read_manifest(sample("manifest-1-cpu.json"))
    assert (manifest.glibc, manifest.cpu) == ("2.28", "x86-64-v2")
    assert manifest.filename == "shop-9d1e7c2-727597ca.tar.zst"


def test_a_file_list() -> None:
    """The file list of format 1 is read, and its digest is the one the manifest names."""
    layer = read_layer(sample("layer-1.json"))
    assert layer.ref == read_manifest(sample("manifest-1.json")).layer("app")


def test_a_ledger(tmp_path: Path) -> None:
    """Each event of format 1 is read, and folds into what it meant."""
    layout = Layout(tmp_path)
    layout.ledger.write_bytes(sample("ledger-1.jsonl"))
    assert {line.event for line in ledger.read(layout)} == set(Event)
    history = ledger.history(layout)
    assert (history.current, history.running, history.lines) == (1, False, 7)
    assert [each.state for each in history.releases] == [State.CURRENT, State.LEFT]
    assert [each.on_disk for each in history.releases] == [True, False]


def test_a_ledger_with_a_standby(tmp_path: Path) -> None:
    """Until when a release stands by is read; a later one, or a stop, ends that."""
    layout = Layout(tmp_path)
    layout.ledger.write_bytes(sample("ledger-standby-1.jsonl"))
    lines = ledger.read(layout)
    assert fold(lines[:4]).standby == Standby(release=1, until=1795201205)
    assert fold(lines).standby is None


def test_a_journal(tmp_path: Path) -> None:
    """The journal of format 1 is read, with every kind of step."""
    path = tmp_path / "000001.jsonl"
    path.write_bytes(sample("journal-1.jsonl"))
    story = journal.read(path)
    assert (story.goal, story.release, story.closed) == ("deploy", 2, "failed")
    assert (story.begun, story.done) == ((0, 1), (0,))
    assert story.unfinished_commands() == (RunCommand(1, 0, "migrate"),)
    assert len({step_name(step) for step in story.steps}) == 16


def test_a_release(tmp_path: Path) -> None:
    """The description of a release of format 1 is read."""
    layout = Layout(tmp_path)
    layout.release(42).mkdir(parents=True)
    (layout.release(42) / "release.json").write_bytes(sample("release-1.json"))
    staged = release.read(layout, 42)
    assert staged
    assert (staged.number, staged.environment, staged.config) == (42, "production", 7)


def test_a_note_of_a_lock(tmp_path: Path) -> None:
    """The note of a person's lock of format 1 is read."""
    layout = Layout(tmp_path)
    layout.locked.write_bytes(sample("lock-1.json"))
    wanted = lock.Note(by="eve@laptop", reason="deploy 9d1e7c2", since="2026-11-20T18:00:00Z")
    assert lock.person(layout) == wanted


def test_variables(tmp_path: Path) -> None:
    """A version of the settings of format 1 is read."""
    layout = Layout(tmp_path)
    (layout.configs / "3").mkdir(parents=True)
    (layout.configs / "3" / "variables.json").write_bytes(sample("variables-1.json"))
    assert variables.config(layout, 3) == {"COLOUR": "grün", "DEBUG": "0"}


def test_a_frame() -> None:
    """A message of version 1 of the protocol is read."""
    frame = Channel(io.BytesIO(sample("frame-1.bin")), io.BytesIO()).receive()
    assert frame
    assert (frame.header, frame.body) == ({"request": "data"}, b"tea\n")


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"keep": 0}, "keep"),
        ({"app": "Shop"}, "app"),
        ({"goal": {"do": "deploi"}}, "goal.do"),
        ({"goal": {"do": "rollback", "release": "41"}}, "goal.release"),
        ({"goal": {"do": "start", "now": True}}, "goal.now"),
        ({"goal": []}, "goal"),
        ({"port": "80"}, "port"),
        ({"format": 2}, "format"),
        ({"hosts": []}, "hosts"),
    ],
)
def test_a_wrong_want_is_refused_with_the_key_path(change: dict[str, object], where: str) -> None:
    """An error says which key of the want is wrong."""
    raw = json.loads(sample("want-1.json")) | change
    with pytest.raises(FormatInvalid) as error:
        read_want(raw)
    assert where in {problem.where for problem in error.value.problems}


def test_a_wrong_manifest_in_a_want_is_refused_with_the_key_path() -> None:
    """The path leads through the want to the key of the service."""
    raw = json.loads(sample("want-1.json"))
    raw["goal"]["manifest"]["services"][0]["health"]["answers"] = 0
    with pytest.raises(FormatInvalid) as error:
        read_want(raw)
    assert [problem.where for problem in error.value.problems] == [
        "goal.manifest.services[0].health.answers"
    ]


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "7", '{"format": 1}', "\0", "[" * 100_000])
def test_garbage_is_no_line_of_a_ledger(text: str) -> None:
    """Whatever is not a line is refused by name, and with no other error."""
    with pytest.raises(FormatInvalid, match="line of the ledger"):
        read_line(text)
