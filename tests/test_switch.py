"""The socket links, ``current``, and the folder they lie in."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from nonevent.agent import switch
from nonevent.agent.process import supervisor
from nonevent.errors import HostUnfit
from nonevent.model.instance import InstanceId
from nonevent.model.layout import KEPT, SUN_PATH, Layout

if TYPE_CHECKING:
    from pathlib import Path

WEB, API = InstanceId("web", 2), InstanceId("api", 2, 3)


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """An empty host."""
    return Layout(tmp_path)


def test_links_name_their_instances_and_no_other_is_left(layout: Layout) -> None:
    """A service that is gone has no link; others name what they are told, by a relative name."""
    switch.point_links(layout, (WEB, API), API)
    assert switch.links(layout) == (("api", API), ("web", WEB))
    assert os.readlink(layout.link("api")) == "api-2.3.sock"
    assert os.readlink(layout.door) == "api-2.3.sock"
    switch.point_links(layout, (WEB,), WEB)
    assert switch.links(layout) == (("web", WEB),)
    assert os.readlink(layout.door) == f"{WEB}.sock"
    switch.point_links(layout, (), None)
    assert not layout.door.is_symlink()


def test_current_and_previous_follow_each_other(layout: Layout) -> None:
    """``previous`` names what ``current`` named, and a repeated switch changes nothing."""
    for number in (1, 2, 2):
        switch.point_current(layout, number)
    assert os.readlink(layout.current) == "releases/2"
    assert os.readlink(layout.previous) == "releases/1"
    switch.point_current(layout, None)
    assert not layout.current.is_symlink()


def test_the_last_releases_stay_reachable(layout: Layout) -> None:
    """As many as there are links, and the oldest makes room for the newest."""
    for number in (*range(1, KEPT + 3), KEPT + 2):
        switch.point_kept(layout, number)
    found = {(each.parent / os.readlink(each)).name for each in (layout.root / "kept").iterdir()}
    assert found == {str(number) for number in range(3, KEPT + 3)}


def test_sockets_of_a_deep_folder_lie_in_a_short_one(tmp_path: Path) -> None:
    """Whatever the root is called, a socket's name is one that the kernel takes."""
    deep = Layout(tmp_path / ("x" * 100))
    deep.root.mkdir()
    switch.make_run(deep)
    try:
        assert len(os.fsencode(deep.socket("x" * 32 + "-99999-99"))) <= SUN_PATH
        assert deep.run.stat().st_mode & 0o7777 == 0o700
        assert deep.run != Layout(tmp_path / ("y" * 100)).run
    finally:
        deep.run.rmdir()


@pytest.mark.parametrize("hostile", ["open", "link"])
def test_a_folder_of_somebody_else_is_refused(tmp_path: Path, hostile: str) -> None:
    """Where others may write, or a link leads elsewhere, no socket is made."""
    deep = Layout(tmp_path / ("x" * 100))
    deep.root.mkdir()
    deep.run.parent.mkdir(mode=0o700, exist_ok=True)
    if hostile == "open":
        deep.run.mkdir()
        deep.run.chmod(0o777)
    else:
        deep.run.symlink_to(tmp_path)
    try:
        for act in (switch.make_run, switch.check_run, supervisor.observe):
            with pytest.raises(HostUnfit, match="not a folder of this user alone"):
                act(deep)
    finally:
        if hostile == "open":
            deep.run.rmdir()
        else:
            deep.run.unlink()
