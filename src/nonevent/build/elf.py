"""What the binaries in a tree need of a host: a glibc, and shared libraries."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from elftools.common.exceptions import ELFError
from elftools.elf.dynamic import DynamicSection
from elftools.elf.elffile import ELFFile
from elftools.elf.gnuversions import GNUVerNeedSection

from nonevent.build.layer import paths

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

GLIBC = re.compile(r"GLIBC_(\d+(?:\.\d+)+)")
_OF_GLIBC = re.compile(
    r"(ld-linux.*|libc|libm|libdl|librt|libpthread|libutil|libresolv|libanl|libmvec)\.so\.\d+"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """``glibc`` is the lowest version that will do, empty where no binary needs any.

    ``libraries`` are those that are neither in the tree nor part of glibc.
    """

    glibc: str = ""
    libraries: tuple[str, ...] = ()

    def __or__(self, other: Needs) -> Needs:
        """What both need."""
        return Needs(
            glibc=max(self.glibc, other.glibc, key=_version),
            libraries=tuple(sorted({*self.libraries, *other.libraries})),
        )


def needs_of(tree: Path) -> Needs:
    """What all ELF files below a folder need."""
    needed: set[str] = set()
    bundled: set[str] = set()
    glibc = ""
    for path in paths(tree):
        file = tree / path
        if file.is_symlink():
            bundled.add(file.name)
        elif _is_elf(file):
            libraries, version = _read(file)
            bundled.add(file.name)
            needed |= libraries
            glibc = max(glibc, version, key=_version)
    outside = {name for name in needed - bundled if not _OF_GLIBC.fullmatch(name)}
    return Needs(glibc=glibc, libraries=tuple(sorted(outside)))


def _is_elf(file: Path) -> bool:
    with file.open("rb") as content:
        return content.read(4) == b"\x7fELF"


def _read(file: Path) -> tuple[set[str], str]:
    """The libraries that one file names, and the highest glibc; nothing where it is damaged."""
    libraries: set[str] = set()
    glibc = ""
    with file.open("rb") as content:
        try:
            for section in ELFFile(content).iter_sections():
                if isinstance(section, DynamicSection):
                    libraries |= {str(tag.needed) for tag in section.iter_tags("DT_NEEDED")}  # type: ignore[attr-defined]
                elif isinstance(section, GNUVerNeedSection):
                    glibc = max(glibc, *_versions(section), key=_version)
        except ELFError:
            pass  # Test data of packages has broken binaries; the loader never sees them.
    return libraries, glibc


def _versions(section: GNUVerNeedSection) -> Iterator[str]:
    yield ""
    for _library, symbols in section.iter_versions():
        for symbol in symbols:
            if match := GLIBC.fullmatch(symbol.name):
                yield match[1]


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".")) if text else ()
