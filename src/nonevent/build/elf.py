"""What the binaries in a tree need of a host: a glibc, shared libraries, a processor.

The library that reads them is imported with the first one: most builds have none to read.
"""

from __future__ import annotations

import functools
import operator
import os
import re
from dataclasses import dataclass, replace
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nonevent.build.layer import entries
from nonevent.errors import BuildFailed
from nonevent.model.manifest import CPUS

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator, Mapping

    from elftools.elf.elffile import ELFFile
    from elftools.elf.gnuversions import GNUVerNeedSection
    from elftools.elf.sections import NoteSection

GLIBC = re.compile(r"GLIBC_(\d+(?:\.\d+)+)")
_OF_GLIBC = re.compile(
    r"(ld-linux.*|libc|libm|libdl|librt|libpthread|libutil|libresolv|libanl|libmvec)\.so\.\d+"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """``glibc`` is the lowest version that will do, empty where no binary needs any.

    ``libraries`` are those that are neither in the tree nor part of glibc. ``cpu`` is the level
    that binaries say they need, which few do; others find out when they are imported.
    """

    glibc: str = ""
    libraries: tuple[str, ...] = ()
    cpu: str = ""

    def __or__(self, other: Needs) -> Needs:
        """What both need."""
        return Needs(
            glibc=max(self.glibc, other.glibc, key=_version),
            libraries=tuple(sorted({*self.libraries, *other.libraries})),
            cpu=max(self.cpu, other.cpu),
        )


def needs_from(raw: dict[str, Any]) -> Needs:
    """What was noted as JSON."""
    return Needs(glibc=raw["glibc"], libraries=tuple(raw["libraries"]), cpu=raw["cpu"])


def needs_of(tree: Path) -> Needs:
    """What all ELF files below a folder need."""
    return together(binaries_in(entries(tree)))


def binaries_in(
    files: Iterable[tuple[str, os.DirEntry[str]]],
    *,
    known: Container[str] = (),
    were: Mapping[str, Needs] = {},
) -> dict[str, Needs]:
    """What each ELF file of a tree needs; links, which may lead to one, need nothing.

    ``known`` are files that need not be read: ``were`` has those of them that are such.
    """
    found: dict[str, Needs] = {}
    for path, entry in files:
        if path in known:
            if path in were:
                found[path] = were[path]
        elif entry.is_symlink():
            found[path] = Needs()
        elif is_elf(entry):
            found[path] = _read(Path(entry))
    return found


def together(binaries: Mapping[str, Needs]) -> Needs:
    """What all binaries of one tree need of a host."""
    needs = functools.reduce(operator.or_, binaries.values(), Needs())
    bundled = {path.rpartition("/")[2] for path in binaries}
    outside = (name for name in needs.libraries if not _OF_GLIBC.fullmatch(name))
    return replace(needs, libraries=tuple(name for name in outside if name not in bundled))


def needed_by(file: Path) -> tuple[str, ...]:
    """The libraries that a file names; none where it is no ELF file."""
    return _read(file).libraries if is_elf(file) else ()


def repoint(file: Path, target: str) -> None:
    """Have a program look for its libraries in another folder than the one it names, if any.

    The new name takes the old one's place in the file, as chrpath(1) does it, so it must not be
    longer.

    Raises:
        BuildFailed: it is longer.
    """
    if not is_elf(file):
        return
    from elftools.elf.elffile import ELFFile

    with file.open("r+b") as content:
        for place, old in tuple(_search_paths(ELFFile(content))):
            if len(target) > len(old):
                raise BuildFailed(f"{file.name} looks for libraries in {old}, too short a name")
            content.seek(place)
            content.write(target.encode().ljust(len(old), b"\0"))


def _search_paths(elf: ELFFile) -> Iterator[tuple[int, str]]:
    """Where in a file the absolute folders stand in which it looks for libraries."""
    from elftools.elf.dynamic import DynamicSection

    names = elf.get_section_by_name(".dynstr")
    for section in elf.iter_sections():
        for tag in section.iter_tags() if isinstance(section, DynamicSection) else ():
            found = getattr(tag, "runpath", "") or getattr(tag, "rpath", "")
            if names and found.startswith("/"):
                yield names["sh_offset"] + tag.entry.d_val, found


def is_elf(file: os.PathLike[str]) -> bool:
    """Whether a file is a program, or a library, for the dynamic linker."""
    with FileIO(os.fspath(file)) as content:
        return content.read(4) == b"\x7fELF"


def _read(file: Path) -> Needs:
    """What one file names; what stands before the damage where it is damaged."""
    from elftools.common.exceptions import ELFError
    from elftools.elf.dynamic import DynamicSection
    from elftools.elf.elffile import ELFFile
    from elftools.elf.gnuversions import GNUVerNeedSection
    from elftools.elf.sections import NoteSection

    needs = Needs()
    # The dynamic linker takes one of these folders only where the processor can, see ld.so(8).
    chosen = "glibc-hwcaps" in file.parts
    with file.open("rb") as content:
        try:
            for section in ELFFile(content).iter_sections():
                if isinstance(section, DynamicSection):
                    tags = section.iter_tags("DT_NEEDED")
                    needs |= Needs(libraries=tuple(str(tag.needed) for tag in tags))  # type: ignore[attr-defined]
                elif isinstance(section, GNUVerNeedSection):
                    needs |= Needs(glibc=max(_versions(section), key=_version))
                elif isinstance(section, NoteSection) and not chosen:
                    needs |= Needs(cpu=max(_levels(section)))
        except ELFError:
            pass  # Test data of packages has broken binaries; the loader never sees them.
    return needs


def _levels(section: NoteSection) -> Iterator[str]:
    """The levels in a ``.note.gnu.property``: one bit each, the first for all of x86-64."""
    yield ""
    for note in section.iter_notes():
        if note["n_type"] == "NT_GNU_PROPERTY_TYPE_0":
            for each in note["n_desc"]:
                if each.pr_type == "GNU_PROPERTY_X86_ISA_1_NEEDED":
                    yield from (CPUS[bit - 1] for bit in (1, 2, 3) if each.pr_data >> bit & 1)


def _versions(section: GNUVerNeedSection) -> Iterator[str]:
    yield ""
    for _library, symbols in section.iter_versions():
        for symbol in symbols:
            if match := GLIBC.fullmatch(symbol.name):
                yield match[1]


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".")) if text else ()
