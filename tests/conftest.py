"""What all tests share: cases as data, rewritten by ``pytest --update-cases``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that accepts what the code now says; a person reads the diff."""
    parser.addoption("--update-cases", action="store_true", help="rewrite tests/cases")


@pytest.fixture
def expect(request: pytest.FixtureRequest) -> Callable[[Path, str], None]:
    """Compare a text with a case's file, or write it there."""
    update = bool(request.config.getoption("--update-cases"))

    def compare(file: Path, text: str) -> None:
        if update:
            file.write_text(text, encoding="utf-8")
        assert text == file.read_text(encoding="utf-8"), f"{file} says otherwise"

    return compare
