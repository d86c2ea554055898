"""The fit check: a release is judged against facts that were recorded on hosts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from nonevent.agent import fit, machine
from nonevent.errors import DiskFull, HostUnfit
from nonevent.model.layout import Layout
from nonevent.model.manifest import LayerRef, read_manifest

if TYPE_CHECKING:
    from collections.abc import Callable

CASES = Path(__file__).parent / "cases" / "fit"
RELEASE = read_manifest((CASES.parent / "formats" / "manifest-1-cpu.json").read_bytes())
MISSING = (LayerRef(name="deps", digest="1" * 64, files=20_000, size=300_000_000),)


def recorded(case: str) -> machine.Machine:
    """The facts of a host."""
    raw = json.loads((CASES / case / "host.json").read_text())
    raw["libraries"] = None if raw["libraries"] is None else frozenset(raw["libraries"])
    raw["pythons"] = tuple((path, version) for path, version in raw["pythons"])
    return machine.Machine(**raw | {"closed": tuple(raw["closed"])})


def told(found: tuple[fit.Misfit, ...]) -> str:
    """What a person would read."""
    try:
        fit.refuse(found)
    except HostUnfit as error:
        lines = [f"{error.code}: {error.message}", *(f"  {line}" for line in error.context)]
        return "\n".join([*lines, *([f"hint: {error.hint}"] if error.hint else [])]) + "\n"
    return "fits\n"


@pytest.mark.parametrize("case", sorted(path.name for path in CASES.iterdir()))
def test_a_host_is_judged_by_its_facts(case: str, expect: Callable[[Path, str], None]) -> None:
    """Each host is refused with all reasons at once, each with what to do about it, or fits."""
    found = fit.misfits(RELEASE, recorded(case), MISSING)
    expect(CASES / case / "expected.txt", told(found))


def test_nothing_to_send_needs_no_room() -> None:
    """Where all layers are on the host already, a full disk is no reason."""
    assert fit.misfits(RELEASE, recorded("full-disk"), ()) == ()


def test_room_is_its_own_error() -> None:
    """A full disk alone has the code of one, so that scripts can tell it from a misfit."""
    with pytest.raises(DiskFull):
        fit.refuse(fit.misfits(RELEASE, recorded("full-inodes"), MISSING))


def test_the_same_patch_release_is_preferred() -> None:
    """Byte code is that of one patch release; another of the same minor version will do."""
    found = (("/a", ""), ("/b", "3.11.9"), ("/c", "3.11.7"), ("/d", "3.12.1"))
    assert fit.chosen(found, RELEASE.python) == "/c"
    assert fit.chosen(found[:2], RELEASE.python) == "/b"
    assert fit.chosen(found[3:], RELEASE.python) is None


@pytest.mark.parametrize(
    ("flags", "level"),
    [
        ("fpu lm sse sse2", "x86-64"),
        ("lm sse2 pni ssse3 sse4_1 sse4_2 popcnt cx16 lahf_lm", "x86-64-v2"),
        ("lm sse2 pni ssse3 sse4_1 sse4_2 popcnt cx16 lahf_lm avx avx2 fma", "x86-64-v2"),
        ("fp asimd evtstrm crc32 cpuid", ""),
        ("", ""),
    ],
)
def test_a_level_needs_all_its_features(flags: str, level: str) -> None:
    """A processor is of a level only with all features of it and of those below."""
    assert machine.level(frozenset(flags.split())) == level


def test_this_machine_is_seen(tmp_path: Path) -> None:
    """What is seen here is what the kernel and the C library say, also where nobody may write."""
    layout = Layout(tmp_path)
    seen = machine.look(layout, RELEASE, clock=0.0)
    assert seen.platform == machine.own_platform()
    assert seen.free > 0
    assert seen.ahead > 1e9
    assert seen.libraries is None or any(name.startswith("libc.so") for name in seen.libraries)
    assert seen.closed == ()
