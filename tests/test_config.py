"""The configuration file: what it may say, and how its mistakes are told."""

from __future__ import annotations

import json
import re
import tomllib
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from nonevent.config.app import App, Build, Environment
from nonevent.config.read import FILES, app_among, load, read_app
from nonevent.config.reference import annotated, reference
from nonevent.errors import ConfigInvalid, ConfigMissing, UsageError
from nonevent.model.service import Health, Service
from nonevent.model.site import Site

if TYPE_CHECKING:
    from collections.abc import Callable

CASES = Path(__file__).parent / "cases" / "config"
PAGE = Path(__file__).parent.parent / "docs" / "reference" / "configuration.md"
SMALLEST = 'app = "shop"\nservices.web = "serve {socket}"\n'


def outcome(folder: Path) -> str:
    """The values in a case's file, or the error as a person reads it."""
    try:
        app = load(folder)
    except UsageError as error:
        return "\n".join([error.message, *(f"  {line}" for line in error.context), ""])
    return json.dumps(asdict(app), indent=1) + "\n"


@pytest.mark.parametrize("name", sorted(path.name for path in CASES.iterdir()))
def test_case(name: str, expect: Callable[[Path, str], None]) -> None:
    """A file gives the values, or all the mistakes, that its case expects."""
    expect(CASES / name / "expected.txt", outcome(CASES / name))


def test_both_files(tmp_path: Path) -> None:
    """A configuration in both files is refused."""
    (tmp_path / "nonevent.toml").write_text(SMALLEST)
    (tmp_path / "pyproject.toml").write_text('[tool.nonevent]\napp = "other"\n')
    with pytest.raises(UsageError, match="in both"):
        load(tmp_path)


def test_foreign_pyproject(tmp_path: Path) -> None:
    """A pyproject.toml without [tool.nonevent], broken or not, stands in nobody's way."""
    (tmp_path / "nonevent.toml").write_text(SMALLEST)
    for text in ("[project]\nname = 'shop'\n", "[project\n", "tool = 3\n"):
        (tmp_path / "pyproject.toml").write_text(text)
        assert load(tmp_path).app == "shop"


def test_broken_pyproject() -> None:
    """A pyproject.toml that is no TOML but has a [tool.nonevent] is reported with its line."""
    with pytest.raises(ConfigInvalid) as caught:
        app_among({"pyproject.toml": "[tool.nonevent]\napp =\n"}, where="here")
    assert caught.value.problems[0].where == "line 2, column 6"


def test_no_configuration(tmp_path: Path) -> None:
    """Without a configuration the error names the command that makes one."""
    with pytest.raises(ConfigMissing) as caught:
        load(tmp_path)
    assert caught.value.hint == "nonevent init"


def test_not_text(tmp_path: Path) -> None:
    """A file that is not UTF-8 is refused and not misread."""
    (tmp_path / "nonevent.toml").write_bytes(b"app = '\xff'\n")
    with pytest.raises(UsageError, match="cannot be read"):
        load(tmp_path)


def test_local_always_exists() -> None:
    """The environment `local` exists without being named, and listens on port 8000."""
    local = read_app(SMALLEST, "nonevent.toml").environment("local")
    assert (local.hosts, local.address, local.port) == ((), "127.0.0.1", 8000)


def test_unknown_environment() -> None:
    """An environment that there is not is refused with the one that was meant."""
    app = read_app(SMALLEST + '[environments.production]\nhosts = ["web1"]\n', "nonevent.toml")
    with pytest.raises(UsageError) as caught:
        app.environment("prodution")
    assert "did you mean `production`?" in caught.value.hint
    assert caught.value.context == ("environments: local, production",)


def keys(raw: object) -> set[str]:
    """All keys of a TOML document, however deep, except names that the user chooses."""
    if not isinstance(raw, dict):
        return set()
    found = set(raw)
    for key, value in raw.items():
        found |= keys(value) if key != "env" else set()
    return found


def test_annotated_file_has_every_key() -> None:
    """Every key that the parser knows stands in the annotated file and in the reference."""
    known = {field.name for kind in (App, Build, Environment, Service, Health, Site)
             for field in fields(kind)} - {"name", "required", "roles"} | {"require"}  # fmt: skip
    document = tomllib.loads(annotated())
    assert known <= keys(document)
    assert document["build"].keys() == {field.name for field in fields(Build)}
    page = PAGE.read_text(encoding="utf-8")
    for key in known:
        assert re.search(rf"^{key} = |^\[(.*\.)?{key}[].]", page, re.MULTILINE), key


def test_annotated_file_states_the_defaults() -> None:
    """The values that the annotated file gives as defaults are the defaults."""
    app = read_app(annotated(), FILES[0])
    plain = read_app(SMALLEST, FILES[0])
    web, standard = app.services[0], plain.services[0]
    assert web.health == standard.health
    for name in ("drain_limit", "stop_signal", "stop_limit"):
        assert getattr(web, name) == getattr(standard, name)
    local, plain_local = app.environment("local"), plain.environment("local")
    for name in ("address", "port", "keep", "keep_failed"):
        assert getattr(local, name) == getattr(plain_local, name)


def test_a_worker_has_an_hour_to_finish() -> None:
    """Where nothing is said, a worker's tasks are not killed after the 30 s of a web service."""
    app = read_app(f'{SMALLEST}services.worker = "celery -A shop worker"\n', FILES[0])
    limits = {each.name: each.stop_limit for each in app.services}
    assert limits == {"web": 30.0, "worker": 3600.0}


def test_reference_is_made_from_the_annotated_file() -> None:
    """The committed reference page is the one that the annotated file gives."""
    assert PAGE.read_text(encoding="utf-8") == reference()
