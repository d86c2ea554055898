"""What an installer leaves beside the packages: metadata, scripts, path files."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import os
import re
import warnings
from importlib.metadata import distributions
from typing import TYPE_CHECKING

from nonevent.errors import BuildFailed

if TYPE_CHECKING:
    from pathlib import Path

Packages = tuple[tuple[str, str], ...]

# Through the shell, as uv does for a relocatable virtualenv or a long path, or directly.
_START = re.compile(rb"\A(?:#!/bin/sh\n'''exec' [^\n]*\n' '''\n|#!/[^\n]*/python[0-9.]*[^\n]*\n)")
_GENERATOR = re.compile(rb"^Generator:.*\n", re.MULTILINE)


def packages_in(site: Path) -> Packages:
    """Name and version of what is installed in a folder, sorted."""
    found = {each.metadata["Name"]: each.version for each in distributions(path=[str(site)])}
    return tuple(sorted(found.items()))


def settle(site: Path, scripts: Path, *, beside: bool) -> None:
    """Make the scripts and the metadata of a folder of packages the same everywhere.

    ``beside`` says whether the interpreter will stand in the folder of the scripts.

    Raises:
        BuildFailed: where a package leads to a place on this machine.
    """
    _refuse_absolute_paths(site)
    changed = {
        os.path.relpath(script, site)
        for script in _files(scripts)
        if _free(script, always=not beside)
    }
    for wheel in sorted(site.glob("*.dist-info/WHEEL")):
        # Which build tool was the newest on that day is no part of a package.
        wheel.write_bytes(_GENERATOR.sub(b"", wheel.read_bytes()))
        _amend_record(wheel.with_name("RECORD"), changed | {os.path.relpath(wheel, site)})


def _files(folder: Path) -> tuple[Path, ...]:
    return tuple(sorted(folder.iterdir())) if folder.is_dir() else ()


def _free(script: Path, *, always: bool) -> bool:
    """Have a script find its interpreter through PATH where uv's way cannot work.

    uv starts scripts through three lines of shell that Python reads as a string. A script with
    ``from __future__`` below them is refused by Python, and one that does not stand beside the
    interpreter would name a place on this machine.
    """
    content = script.read_bytes()
    body = _START.sub(b"", content)
    if body == content or not (always or _is_refused(content)):
        return False
    script.write_bytes(b"#!/usr/bin/env python\n" + body)
    return True


def _is_refused(content: bytes) -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            compile(content, "script", "exec", dont_inherit=True)
        except (SyntaxError, ValueError):
            return True
    return False


def _amend_record(record: Path, changed: set[str]) -> None:
    """Write the new hashes of changed files into a RECORD, as the wheel format has them.

    The files are named as there: relative to the folder that the metadata is in.
    """
    if not record.is_file():
        return
    site, out = record.parents[1], io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    with record.open(newline="", encoding="utf-8") as rows:
        for row in csv.reader(rows):
            if row[1:2] != [""] and os.path.normpath(row[0]) in changed:
                content = (site / row[0]).read_bytes()
                digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=")
                row[1:] = [f"sha256={digest.decode()}", str(len(content))]
            writer.writerow(row)
    record.write_text(out.getvalue(), encoding="utf-8")


def _refuse_absolute_paths(site: Path) -> None:
    """Refuse ``.pth`` files that lead to a place on this machine, as editable installs do."""
    absolute = tuple(
        f"{file.name}: {line}"
        for file in sorted(site.glob("*.pth"))
        for line in file.read_text(errors="replace").splitlines()
        if line.startswith("/")
    )
    if absolute:
        raise BuildFailed(
            "packages lead to a place on this machine",
            context=absolute,
            hint="install them from an index, not editable",
        )
