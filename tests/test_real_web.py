"""Real web projects: initialised, deployed, deployed again and rolled back under load."""

from __future__ import annotations

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from real import PROJECTS, Project, Story, change, project, there_and_back, uv, wait_for

if TYPE_CHECKING:
    from pathlib import Path


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
        upload_across_a_switch(made)


def upload_across_a_switch(made: Project) -> None:
    """An upload that began before a deploy and ends after the switch is answered by its release."""
    before, _ = made.ask("/")
    body = bytes(range(256)) * 4096
    with made.kept() as kept, ThreadPoolExecutor() as executor:
        kept.connection.putrequest("POST", "/echo")
        kept.connection.putheader("Content-Length", str(len(body)))
        kept.connection.endheaders(body[: len(body) // 2])
        deploying = executor.submit(made.deploy)
        wait_for(lambda: made.ask("/")[0] != before, "the new release answers", within=60)
        assert not deploying.done(), "the old release did not wait for the upload"
        kept.connection.send(body[len(body) // 2 :])
        release, text = kept.answer()
        assert release == before
        assert json.loads(text) == {
            "sha256": hashlib.sha256(body).hexdigest(), "length": len(body),
        }  # fmt: skip
        assert made.ask("/")[0] == str(deploying.result(60))


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


def test_secrets_that_others_can_read_are_refused_before_the_build(tmp_path: Path) -> None:
    """What is wrong with an environment's files is said at once, not after a long build."""
    with project(tmp_path / "shop", PROJECTS / "flask_requirements") as made:
        made.init()
        made.keep_secret("TOKEN=only-here\n")
        (made.folder / "etc" / "local.secrets.env").chmod(0o644)
        outcome = made.nonevent("deploy", "local")
        assert outcome.status == 2
        assert [each["event"] for each in outcome.events] == ["error"]
