"""A few commands that are cut off at random moments; ``make bench ARGS=chaos`` is for many.

The seed draws kills alone; the bench cuts the power as well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from bed import why_not
from cut_off import story

if TYPE_CHECKING:
    from pathlib import Path


def test_whatever_is_cut_off_leaves_one_whole_release(tmp_path: Path) -> None:
    """After kills at random moments the host heals itself, and loses nothing."""
    if reason := why_not():
        pytest.skip(reason)
    chaos = story(tmp_path / "shop", disturbances=4, seed=3, standby="10m", say=print)
    assert chaos.wrong == []
    assert sum(chaos.happened.values()) == 4
