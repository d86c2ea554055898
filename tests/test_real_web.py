"""Real web projects: initialised, deployed, deployed again and rolled back under load."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from real import PROJECTS, Story, change, project, there_and_back, uv

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.xdist_group("real-1")
def test_flask_with_hashed_requirements(tmp_path: Path) -> None:
    """A Flask project on gunicorn, with hashed requirements, loses no request there and back."""
    with project(tmp_path / "shop", PROJECTS / "flask_requirements") as made:
        assert "--hash=" in (made.folder / "requirements.txt").read_text()
        made.init()
        story = Story(
            change=lambda: change(made, "app.py", 'VERSION = "one"', 'VERSION = "two"'),
            texts=("version one", "version two"),
        )
        there_and_back(made, story)


@pytest.mark.xdist_group("real-1")
def test_fastapi_with_uv_lock(tmp_path: Path) -> None:
    """A FastAPI package on uvicorn, locked by uv a moment ago, loses no request there and back."""
    with project(tmp_path / "shop", PROJECTS / "fastapi_uv") as made:
        (made.folder / "uv.lock").unlink(missing_ok=True)
        uv(made, "lock", "--quiet")
        made.init()
        main = "src/fastapi_uv/main.py"
        story = Story(
            change=lambda: change(made, main, 'VERSION = "one"', 'VERSION = "two"'),
            texts=("version one", "version two"),
        )
        there_and_back(made, story)
        assert made.ask("/package")[1] == "1.2.3"
