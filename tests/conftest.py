"""What all tests share: cases as data, rewritten by ``pytest --update-cases``."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest
from bed import Bed, why_not
from sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that accepts what the code now says; a person reads the diff."""
    parser.addoption("--update-cases", action="store_true", help="rewrite tests/cases")


def pytest_configure() -> None:
    """Let what tests start be interrupted, also where a shell began the tests in the background."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)


@pytest.fixture
def expect(request: pytest.FixtureRequest) -> Callable[[Path, str], None]:
    """Compare a text with a case's file, or write it there."""
    update = bool(request.config.getoption("--update-cases"))

    def compare(file: Path, text: str) -> None:
        if update:
            file.write_text(text, encoding="utf-8")
        assert text == file.read_text(encoding="utf-8"), f"{file} says otherwise"

    return compare


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the builds of one test process share."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def sandbox(cache: Path) -> Iterator[Sandbox]:
    """A small project that was never deployed."""
    sandbox = Sandbox(cache)
    yield sandbox
    sandbox.end()


@pytest.fixture(scope="module")
def _kept() -> Iterator[list[Sandbox]]:
    kept: list[Sandbox] = []
    yield kept
    for each in kept:
        each.end()


@pytest.fixture
def serving(cache: Path, _kept: list[Sandbox]) -> Sandbox:
    """A small project with a release that serves; a module's tests share it while it does."""
    if not (_kept and _kept[-1].get()):
        _kept.append(Sandbox(cache))
        _kept[-1].deployed()
    return _kept[-1]


@pytest.fixture(scope="session")
def bed() -> Iterator[Bed]:
    """Real hosts, see ``tests/bed``; tests share them by name and `reset` what they need fresh."""
    if reason := why_not():
        pytest.skip(reason)
    with Bed() as made:
        yield made
