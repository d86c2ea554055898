"""A survey by somebody who may not enter the app's folder: what cannot be seen is not known."""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pytest

from nonevent.agent.pooling import pools
from nonevent.agent.survey import survey
from nonevent.model.layout import Layout

if TYPE_CHECKING:
    from collections.abc import Iterator

NOBODY = 65534


@pytest.fixture
def base() -> Iterator[Path]:
    """A folder that every user of the machine may enter."""
    with TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@contextmanager
def forbidden(folder: Path) -> Iterator[None]:
    """Meanwhile this process may not enter the folder, by root's rights neither."""
    folder.chmod(0)
    user = os.geteuid()
    if not user:
        os.seteuid(NOBODY)
    try:
        with pytest.raises(PermissionError):
            os.listdir(folder)
        yield
    finally:
        os.seteuid(user)
        folder.chmod(0o700)


def test_a_folder_that_may_not_be_entered(base: Path) -> None:
    """The survey tells what it sees without it, also the room there as far as it may look."""
    root = base / "private" / "shop"
    Layout(root).run.mkdir(parents=True)
    with forbidden(base / "private"):
        seen = survey("shop", str(root), "")
    assert (seen["embedded"], seen["pools"]) == (False, [])
    assert seen["free"]


def test_sites_beside_one_that_may_not_be_read(base: Path) -> None:
    """A site that leads to where this user may not look hides no other."""
    layout = Layout(base / "private" / "shop")
    layout.run.mkdir(parents=True)
    sites = base / "etc/nginx/sites-enabled"
    sites.mkdir(parents=True)
    (sites / "a").symlink_to(layout.root / "site.conf")
    (sites / "b").write_text(
        f"upstream shop {{\n  server unix:{layout.door};\n  keepalive 8;\n}}\n"
    )
    with forbidden(base / "private"):
        (found,) = pools(layout, base / "etc")
    assert found.file == str(sites / "b")
