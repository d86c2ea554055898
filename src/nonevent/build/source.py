"""The commit that is built: which one it is, and its files.

What is read here is the commit, never the working tree, unless that was asked for.
"""

from __future__ import annotations

import os
import shutil
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nonevent.build.process import Outcome, run
from nonevent.errors import BuildFailed, NotARepository, RefUnknown, UsageError
from nonevent.model.manifest import is_inside

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

GIT_LIMIT = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A commit of a repository, or its working tree where ``dirty``.

    ``prefix`` is the project's folder in the repository: empty, or ``services/shop/``.
    ``changed`` counts the project's files that differ from the commit.
    """

    root: Path
    prefix: str
    commit: str
    subject: str
    dirty: bool
    changed: int
    env: tuple[tuple[str, str], ...]

    def git(self, *arguments: str) -> Outcome:
        """Run git at the root of the repository."""
        return _git(self.root, dict(self.env), *arguments)

    def text(self, path: str) -> str | None:
        """A file of the project as it will be built, or None where it has none."""
        if self.dirty:
            file = self.root / self.prefix / path
            return file.read_text("utf-8", "replace") if file.is_file() else None
        shown = self.git("show", f"{self.commit}:{self.prefix}{path}")
        return shown.text if shown.status == 0 else None


def find_source(folder: Path, *, ref: str, dirty: bool, env: Mapping[str, str]) -> Source:
    """The source that a folder and a ref name.

    Raises:
        NotARepository: where the folder is in none, git is missing, or nothing is committed.
        RefUnknown: where git knows no such commit, tag or branch.
    """
    if not folder.is_dir():
        raise NotARepository(f"there is no folder {folder}")
    try:
        place = _git(folder, env, "rev-parse", "--show-toplevel", "--show-prefix")
    except FileNotFoundError as error:
        raise NotARepository(
            "git is not installed", hint="install git, e.g. apt install git"
        ) from error
    if place.status != 0:
        raise _no_repository(folder, place)
    root, _, prefix = place.text.removesuffix("\n").partition("\n")
    if dirty and ref != "HEAD":
        raise UsageError(
            "the working tree's changes belong to HEAD, not to another commit",
            hint="leave out the ref, or --dirty",
        )
    commit = _commit(folder, env, ref)
    status = _git(Path(root), env, "status", "--porcelain", "-z", "--no-renames")
    changes = [os.fsdecode(line)[3:] for line in status.stdout.split(b"\0") if line]
    return Source(
        root=Path(root),
        prefix=prefix,
        commit=commit,
        subject=_git(folder, env, "log", "-1", "--format=%s", commit).text.strip(),
        dirty=dirty and bool(changes),
        changed=sum(path.startswith(prefix) for path in changes),
        env=tuple(sorted(env.items())),
    )


def _no_repository(folder: Path, answer: Outcome) -> NotARepository:
    if "dubious ownership" in answer.stderr:
        return NotARepository(
            "git does not trust the repository, which belongs to another user",
            hint=f"git config --global --add safe.directory {folder}",
        )
    return NotARepository(
        f"{folder} is not in a git repository, so there is no commit to build",
        context=answer.quoted(5),
        hint="git init && git add . && git commit -m 'First commit'",
    )


def _commit(folder: Path, env: Mapping[str, str], ref: str) -> str:
    found = _git(
        folder, env, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}"
    )
    if found.status == 0:
        return found.text.strip()
    if _git(folder, env, "rev-parse", "--verify", "--quiet", "HEAD").status != 0:
        raise NotARepository(
            "nothing is committed yet, so there is nothing to build",
            hint="git add . && git commit -m 'First commit'",
        )
    raise RefUnknown(
        f"git knows no commit, branch or tag {ref!r}",
        hint="git fetch --tags, or git branch --all to see what there is",
    )


def export(source: Source, into: Path) -> Path:
    """Write the source's files below ``into``, which must not exist; the project's folder.

    The whole repository is written, since a project may depend on a folder beside its own.
    """
    into.mkdir(parents=True)
    if source.dirty:
        _copy_tree(source, into)
    else:
        _archive(source, into)
    project = into / source.prefix
    if not project.is_dir():
        raise RefUnknown(f"commit {source.commit[:7]} has no folder {source.prefix}")
    return project


def submodules(source: Source) -> tuple[str, ...]:
    """The folders of a commit that are repositories of their own; no export has their files."""
    listed = source.git("ls-tree", "-r", "-z", source.commit)
    rows = (line for line in listed.text.split("\0") if line.startswith("160000"))
    return tuple(line.partition("\t")[2] for line in rows)


def _archive(source: Source, into: Path) -> None:
    """``git archive``, which honours ``export-ignore``; no setting of this machine counts."""
    archive = into.with_suffix(".tar")
    made = source.git(
        "-c",
        "core.autocrlf=false",
        "-c",
        "core.eol=lf",
        "archive",
        "--format=tar",
        f"--output={archive}",
        source.commit,
    )
    if made.status != 0:
        raise BuildFailed("git archive failed", context=made.quoted())
    with tarfile.open(archive) as members:
        for member in members:
            _extract(members, member, into)
    archive.unlink()


def _extract(members: tarfile.TarFile, member: tarfile.TarInfo, into: Path) -> None:
    # tarfile's own filters came with 3.11.4; git archive holds only these three kinds.
    path = into / member.name
    parent = os.path.realpath(path.parent)
    if not is_inside(member.name.rstrip("/")) or not Path(parent).is_relative_to(into.resolve()):
        raise BuildFailed(f"the commit has a file that cannot be written: {member.name!r}")
    if member.isdir():
        path.mkdir(exist_ok=True)
    elif member.issym():
        path.symlink_to(member.linkname)
    elif body := members.extractfile(member):
        with body, path.open("xb") as out:
            shutil.copyfileobj(body, out)
        path.chmod(0o755 if member.mode & 0o100 else 0o644)


def _copy_tree(source: Source, into: Path) -> None:
    for path in working_files(source):
        origin, copy = source.root / path, into / path
        copy.parent.mkdir(parents=True, exist_ok=True)
        if origin.is_symlink():
            copy.symlink_to(origin.readlink())
        elif origin.is_file():
            shutil.copyfile(origin, copy)
            copy.chmod(0o755 if origin.stat().st_mode & 0o100 else 0o644)


def working_files(source: Source) -> Iterator[str]:
    """The paths of the working tree that git tracks, or would with ``git add .``."""
    listed = source.git("ls-files", "-z", "--cached", "--others", "--exclude-standard")
    if listed.status != 0:
        raise BuildFailed("git ls-files failed", context=listed.quoted())
    yield from sorted({os.fsdecode(path) for path in listed.stdout.split(b"\0") if path})


def _git(folder: Path, env: Mapping[str, str], *arguments: str) -> Outcome:
    return run(("git", *arguments), cwd=folder, env=env, limit=GIT_LIMIT)
