"""requirements.txt: accepted where it pins everything, with hashes or without.

https://pip.pypa.io/en/stable/reference/requirements-file-format/
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from nonevent.build.lock.base import Locked
from nonevent.build.lock.declared import check_declared
from nonevent.errors import LockInvalid

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from nonevent.build.lock.base import Project

_COMMENT = re.compile(r"(^|\s)#.*$")
_HASH = re.compile(r"\s--hash[=\s]\S+")
_INCLUDE = re.compile(r"(-r|--requirement|-c|--constraint)[=\s]*(\S+)")
_EDITABLE = re.compile(r"(?:-e|--editable)[=\s]*(\S+)")
_KEPT = (
    "-i",
    "--index-url",
    "--extra-index-url",
    "--no-index",
    "--only-binary",
    "--no-binary",
    "--pre",
    "--trusted-host",
    "--prefer-binary",
    "--require-hashes",
)
_FULL_COMMIT = re.compile(r"@[0-9a-f]{40}(?:[#?]|$)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One logical line, with the file and the number where it begins."""

    file: str
    number: int
    text: str

    def __str__(self) -> str:
        """As an error names it."""
        return f"{self.file}:{self.number}: {_HASH.sub('', self.text)}"


@dataclass(slots=True)
class _Found:
    """What was gathered of all lines."""

    kept: list[str]
    hashes: list[bool]
    """Of each requirement that can have one."""
    git: bool
    local: list[Path]
    pinned: dict[str, str]
    loose: list[Line]


def read(project: Project, lock: Path) -> Locked:
    """A requirements file and all that it includes, as one."""
    for key in ("groups", "extras"):
        if getattr(project, key):
            raise LockInvalid(f"{lock.name} has no {key}", hint=f"remove `{key}` from `[build]`")
    return flatten(project, lock)


def flatten(project: Project, lock: Path, text: str | None = None) -> Locked:
    """The same for a text that an exporter wrote in the name of ``lock``."""
    found = _Found([], [], False, [], {}, [])
    relative = str(lock.relative_to(project.folder))
    lines = lines_of(text, relative) if text is not None else _included(project, lock, ())
    for line in lines:
        _sort(project, lock.parent, line, found)
    if found.loose:
        raise LockInvalid(
            f"{relative} does not pin everything",
            context=tuple(f"{line}  (needs name==version)" for line in found.loose),
            hint="uv pip compile requirements.in --generate-hashes -o requirements.txt, "
            "with what you have now as requirements.in",
        )
    if any(found.hashes) and not all(found.hashes):
        raise LockInvalid(
            f"{relative} has hashes for some requirements and not for others",
            hint="uv pip compile --generate-hashes writes all of them",
        )
    if text is None:
        check_declared(
            project,
            found.pinned,
            lock=relative,
            hint=f"uv pip compile pyproject.toml --generate-hashes -o {relative}",
        )
    return Locked(
        file="requirements.txt",
        text="".join(f"{line}\n" for line in found.kept),
        hashed=bool(found.hashes) and all(found.hashes) and not found.git,
        local=tuple(dict.fromkeys(found.local)),
    )


def lines_of(text: str, file: str) -> Iterator[Line]:
    """The logical lines of a text: continuations joined, comments and empty ones left out."""
    joined, begin = "", 0
    for number, raw in enumerate(text.splitlines(), 1):
        begin = begin if joined else number
        if raw.endswith("\\") and not _COMMENT.search(raw):
            joined += raw[:-1] + " "
            continue
        whole = " ".join(_COMMENT.sub("", joined + raw).split())
        joined = ""
        if whole:
            yield Line(file=file, number=begin, text=whole)
    if joined.strip():
        yield Line(file=file, number=begin, text=" ".join(joined.split()))


def _included(project: Project, file: Path, within: tuple[Path, ...]) -> Iterator[Line]:
    """The lines of a file, each ``-r`` replaced by the lines of what it names."""
    shown = str(file.relative_to(project.root)) if file.is_relative_to(project.root) else str(file)
    if not file.resolve().is_relative_to(project.root.resolve()):
        raise LockInvalid(f"{shown} is outside the repository")
    if file in within:
        raise LockInvalid(f"{shown} includes itself")
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise LockInvalid(f"{shown} cannot be read: {reason}") from error
    for line in lines_of(text, shown):
        include = _INCLUDE.match(line.text)
        if include is None:
            yield line
        elif include[1] in {"-r", "--requirement"}:
            yield from _included(project, file.parent / include[2], (*within, file))
        # Constraints choose nothing that is pinned already.


def _sort(project: Project, base: Path, line: Line, found: _Found) -> None:
    """Put a line where it belongs."""
    text = line.text
    if editable := _EDITABLE.match(text):
        _local(project, base, editable[1], line, found)
    elif text.startswith("-"):
        if not text.startswith(_KEPT):
            raise LockInvalid(f"{line} has an option that a build cannot follow")
        found.kept.append(text)
    elif _is_path(text):
        _local(project, base, text.split(" ")[0].split(";")[0], line, found)
    else:
        _requirement(project, base, line, found)


def _requirement(project: Project, base: Path, line: Line, found: _Found) -> None:
    bare = _HASH.sub("", line.text).strip()
    try:
        requirement = Requirement(bare)
    except InvalidRequirement as error:
        raise LockInvalid(
            f"{line} cannot be read", context=tuple(str(error).splitlines())
        ) from error
    if requirement.url and urlsplit(requirement.url).scheme == "file":
        _local(project, base, requirement.url, line, found)
        return
    hashed = "--hash" in line.text
    specifiers = tuple(requirement.specifier)
    exact = [
        each.version
        for each in specifiers
        if each.operator in {"==", "==="} and not each.version.endswith(".*")
    ]
    git = bool(requirement.url) and str(requirement.url).startswith("git+")
    if git:
        fixed = bool(_FULL_COMMIT.search(str(requirement.url)))
    elif requirement.url:
        hashed = hashed or "sha256=" in requirement.url
        fixed = hashed
    else:
        fixed = len(exact) == 1
    if not fixed:
        found.loose.append(line)
        return
    found.kept.append(line.text)
    if git:
        found.git = True  # A commit is its own hash, which uv's hash mode does not know.
    else:
        found.hashes.append(hashed)
    found.pinned[canonicalize_name(requirement.name)] = exact[0] if exact else ""


def _is_path(text: str) -> bool:
    return text.startswith((".", "/", "file:")) or bool(re.match(r"\S+\.(whl|tar\.gz)(\s|$)", text))


def _local(project: Project, base: Path, named: str, line: Line, found: _Found) -> None:
    """A project or wheel of the same repository."""
    if "://" in named and not named.startswith("file:"):
        raise LockInvalid(
            f"{line} is editable and not in this repository",
            hint="pin it as name @ git+https://…@<full commit id>",
        )
    plain = named.removeprefix("file://").removeprefix("file:")
    path = (base / unquote(re.sub(r"\[.*\]$", "", plain).split("#")[0])).resolve()
    if not path.is_relative_to(project.root.resolve()) or not path.exists():
        raise LockInvalid(f"{line} is not in the repository")
    found.local.append(path)
