"""The deps layer: what installers leave is made the same everywhere."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import subprocess
import sysconfig
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from nonevent.build.cache import kept
from nonevent.build.elf import Needs, needs_of
from nonevent.build.installed import settle
from nonevent.errors import BuildFailed

if TYPE_CHECKING:
    from collections.abc import Callable

TRAMPOLINE = """#!/bin/sh
'''exec' "$(dirname -- "$(realpath -- "$0")")"/'python' "$0" "$@"
' '''
"""


def write(file: Path, text: str) -> Path:
    """A file with its folders."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


def touch(work: Path) -> str:
    """Make a layer."""
    (work / "whole").touch()
    return "made"


def keep(folder: Path, begin: Callable[[Path], str]) -> bool:
    """Have a layer in the cache; whether it was there."""
    with kept(folder, begin, is_whole=is_whole) as made:
        return made is None


def is_whole(folder: Path) -> bool:
    """Whether that layer is there."""
    return (folder / "whole").exists()


def test_a_legacy_script_is_made_to_start(tmp_path: Path) -> None:
    """A script whose ``from __future__`` would come too late below uv's lines loses those lines."""
    legacy = '"""Doc."""\nfrom __future__ import annotations\nprint(1)\n'
    script = write(tmp_path / "bin/legacy", TRAMPOLINE + legacy)
    plain = write(tmp_path / "bin/plain", TRAMPOLINE + "print('\\d')\n")
    shell = write(tmp_path / "bin/shell", "#!/bin/sh\nif\n")
    (tmp_path / "site").mkdir()
    settle(tmp_path / "site", tmp_path / "bin", beside=True)
    assert script.read_text() == "#!/usr/bin/env python\n" + legacy
    assert plain.read_text().startswith(TRAMPOLINE)
    assert shell.read_text() == "#!/bin/sh\nif\n"


@pytest.mark.parametrize("start", [TRAMPOLINE, "#!/tmp/x/venv/bin/python3.11\n"])
def test_a_script_away_from_its_interpreter_uses_path(start: str, tmp_path: Path) -> None:
    """Scripts of the app's own packages find Python through PATH, with their arguments' line."""
    script = write(tmp_path / "bin/shop", start + "print(1)\n")
    (tmp_path / "site").mkdir()
    settle(tmp_path / "site", tmp_path / "bin", beside=False)
    assert script.read_text() == "#!/usr/bin/env python\nprint(1)\n"


def test_metadata_forgets_which_tool_built_it(tmp_path: Path) -> None:
    """The build tool's version is dropped, and RECORD has the new hash and size."""
    info = tmp_path / "site" / "shop-1.dist-info"
    write(info / "WHEEL", "Wheel-Version: 1.0\nGenerator: hatchling 1.2\nTag: py3-none-any\n")
    write(info / "RECORD", "shop.py,sha256=abc,1\nshop-1.dist-info/WHEEL,sha256=old,9\n"
          "shop-1.dist-info/RECORD,,\n")  # fmt: skip
    settle(tmp_path / "site", tmp_path / "bin", beside=True)
    wheel = (info / "WHEEL").read_text()
    assert wheel == "Wheel-Version: 1.0\nTag: py3-none-any\n"
    assert hashlib.sha256(wheel.encode()).digest()
    rows = (info / "RECORD").read_text().splitlines()
    assert rows[0] == "shop.py,sha256=abc,1"
    assert re.fullmatch(rf"shop-1.dist-info/WHEEL,sha256=[\w-]{{43}},{len(wheel)}", rows[1])
    assert rows[2] == "shop-1.dist-info/RECORD,,"


def test_a_path_into_this_machine_is_refused(tmp_path: Path) -> None:
    """An editable install's path file is named; others are left alone."""
    write(tmp_path / "site/ok.pth", "import sys\nrelative/folder\n")
    settle(tmp_path / "site", tmp_path / "bin", beside=True)
    write(tmp_path / "site/__editable__.shop.pth", "/home/me/shop/src\n")
    with pytest.raises(BuildFailed) as caught:
        settle(tmp_path / "site", tmp_path / "bin", beside=True)
    assert caught.value.context == ("__editable__.shop.pth: /home/me/shop/src",)


def test_a_layer_is_made_once_and_whole(tmp_path: Path) -> None:
    """What fails half-way is not kept, and what is kept is not made again."""
    folder = tmp_path / "deps" / "key"

    def fail(work: Path) -> str:
        (work / "half").touch()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        keep(folder, fail)
    assert not folder.exists()
    assert not any((tmp_path / "scratch").iterdir())
    assert not keep(folder, touch)
    assert keep(folder, fail)
    assert is_whole(folder)


def test_a_layer_that_was_damaged_is_made_again(tmp_path: Path) -> None:
    """Where a cleaner or a person took a part away, the layer is made anew."""
    folder = tmp_path / "deps" / "key"
    keep(folder, touch)
    (folder / "whole").rename(folder / "left-over")
    assert not keep(folder, touch)
    assert [path.name for path in folder.iterdir()] == ["whole"]


def test_layers_that_nobody_uses_are_forgotten(tmp_path: Path) -> None:
    """Making a layer removes those that were last used more than a month ago, and no others."""
    deps = tmp_path / "deps"
    for name, days in (("old", 31), ("recent", 29), ("used", 31)):
        keep(deps / name, touch)
        then = time.time() - days * 86400
        os.utime(deps / name, (then, then))
    keep(deps / "used", touch)
    keep(deps / "new", touch)
    assert {path.name for path in deps.iterdir() if path.is_dir()} == {"recent", "used", "new"}


def test_needs_are_those_of_readelf(tmp_path: Path) -> None:
    """Libraries and glibc of a real extension are what binutils reads in it."""
    standard = Path(sysconfig.get_path("stdlib")) / "lib-dynload"
    extensions = sorted(standard.glob("_ssl*.so")) or sorted(standard.glob("*.so"))
    if not extensions:
        pytest.skip("this Python has no extension files")
    (tmp_path / "copy.so").write_bytes(extensions[0].read_bytes())
    said = subprocess.run(
        ("readelf", "-dVW", extensions[0]), check=True, capture_output=True, text=True, timeout=30
    ).stdout
    versions = [tuple(map(int, each.split("."))) for each in re.findall(r"GLIBC_([\d.]+)", said)]
    libraries = re.findall(r"\(NEEDED\).*\[(.+)\]", said)
    needs = needs_of(tmp_path)
    assert needs.glibc == ".".join(map(str, max(versions, default=())))
    of_glibc = re.compile(r"(libc|libm|libdl|libpthread|ld-linux.*)\.so")
    assert set(needs.libraries) == {name for name in libraries if not of_glibc.match(name)}
    # One that the layer brings along is not needed of a host.
    for name in needs.libraries:
        (tmp_path / name).symlink_to("copy.so")
    assert needs_of(tmp_path).libraries == ()


def test_needs_join(tmp_path: Path) -> None:
    """Two layers need the newer glibc, compared as a version, and all libraries."""
    one = Needs(glibc="2.9", libraries=("libpq.so.5",))
    two = Needs(glibc="2.17", libraries=("libffi.so.8", "libpq.so.5"))
    assert one | two == Needs(glibc="2.17", libraries=("libffi.so.8", "libpq.so.5"))
    assert (Needs(cpu="x86-64-v2") | Needs(cpu="x86-64-v3") | Needs()).cpu == "x86-64-v3"
    (tmp_path / "broken.so").write_bytes(b"\x7fELF broken")
    (tmp_path / "text.so").write_text("no binary")
    assert needs_of(tmp_path) | Needs() == Needs()


@pytest.mark.skipif(not shutil.which("gcc"), reason="there is no gcc here")
@pytest.mark.skipif(platform.machine() != "x86_64", reason="levels are those of x86-64")
def test_the_level_of_the_processor_is_what_the_linker_noted(tmp_path: Path) -> None:
    """An extension that says it needs x86-64-v3 is believed, but not a variant among others."""
    source = tmp_path / "source.c"
    source.write_text("int one(void) { return 1; }")

    def build(target: Path) -> None:
        target.parent.mkdir(parents=True)
        options = ("-shared", "-fPIC", "-Wl,-z,x86-64-v3", "-o", str(target))
        subprocess.run(("gcc", *options, str(source)), check=True, timeout=60)

    build(tmp_path / "one" / "glibc-hwcaps" / "x86-64-v3" / "lib.so")
    assert needs_of(tmp_path / "one").cpu == ""
    build(tmp_path / "one" / "package" / "lib.so")
    assert needs_of(tmp_path / "one").cpu == "x86-64-v3"
