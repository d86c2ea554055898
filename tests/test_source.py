"""The source of a build: exactly one commit, or the working tree where that was asked for."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from repository import Repository

from nonevent.build.process import clean_environment
from nonevent.build.source import Source, export, find_source, submodules
from nonevent.errors import NotARepository, RefUnknown, UsageError

if TYPE_CHECKING:
    from pathlib import Path


def found(folder: Path, ref: str = "HEAD", *, dirty: bool = False, **environ: str) -> Source:
    """The source in a folder, as a build finds it."""
    env = clean_environment(dict(os.environ) | environ)
    return find_source(folder, ref=ref, dirty=dirty, env=env)


def files_in(folder: Path) -> set[str]:
    """Everything below a folder that is not a folder."""
    return {
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_symlink() or path.is_file()
    }


@pytest.fixture
def shop(tmp_path: Path) -> Repository:
    """A repository with two commits."""
    shop = Repository(tmp_path / "shop", {"a.py": "1\n", "run": "x", ".gitignore": "ignored\n"})
    (shop.path / "run").chmod(0o755)
    (shop.path / "link").symlink_to("a.py")
    shop.git("add", ".")
    shop.commit(subject="Add a link")
    return shop


def test_the_commit_is_exported_and_not_the_tree(shop: Repository, tmp_path: Path) -> None:
    """Changed, new, staged and deleted files of the working tree are not in an export."""
    shop.write({"a.py": "2\n", "new.py": "", "staged.py": ""})
    shop.git("add", "staged.py")
    (shop.path / "run").unlink()
    source = found(shop.path)
    project = export(source, tmp_path / "export")
    assert files_in(project) == {"a.py", "run", "link", ".gitignore"}
    assert (project / "a.py").read_text() == "1\n"
    assert os.access(project / "run", os.X_OK)
    assert (project / "link").readlink().name == "a.py"
    assert (source.subject, source.dirty, source.changed) == ("Add a link", False, 4)
    assert source.text("a.py") == "1\n"


def test_a_ref_names_any_commit(shop: Repository, tmp_path: Path) -> None:
    """A branch, a tag and a short id name the same commit, also an older one."""
    first = shop.git("rev-parse", "HEAD~1")
    shop.git("tag", "-a", "v1", "-m", "one", first)
    shop.git("branch", "old", first)
    commits = {found(shop.path, ref).commit for ref in ("v1", "old", first[:8], "HEAD^")}
    assert commits == {first}
    assert files_in(export(found(shop.path, "v1"), tmp_path / "x")) == {"a.py", "run", ".gitignore"}


def test_a_dirty_build_takes_what_git_add_would(shop: Repository, tmp_path: Path) -> None:
    """Tracked and new files are taken as they are, ignored and deleted ones are not."""
    shop.write({"a.py": "2\n", "sub/new.py": "", "ignored": "secret"})
    (shop.path / "run").unlink()
    source = found(shop.path, dirty=True)
    project = export(source, tmp_path / "export")
    assert files_in(project) == {"a.py", "link", ".gitignore", "sub/new.py"}
    assert (project / "a.py").read_text() == source.text("a.py") == "2\n"
    assert source.dirty


def test_a_clean_tree_is_never_dirty(shop: Repository) -> None:
    """Asking for the working tree of a clean one builds the commit."""
    assert not found(shop.path, dirty=True).dirty


def test_a_project_in_a_subfolder_is_that_folder(shop: Repository, tmp_path: Path) -> None:
    """In a repository of several projects, the one asked for is exported and counted."""
    shop.commit({"services/api/app.py": "", "libs/x.py": ""})
    shop.write({"services/api/app.py": "changed", "libs/x.py": "changed"})
    source = found(shop.path / "services" / "api")
    assert (source.prefix, source.changed) == ("services/api/", 1)
    assert files_in(export(source, tmp_path / "export")) == {"app.py"}
    assert (tmp_path / "export" / "libs" / "x.py").is_file()
    assert source.text("app.py") == ""
    assert source.text("none.py") is None


def test_no_setting_of_the_machine_changes_the_files(shop: Repository, tmp_path: Path) -> None:
    """Line endings are those of the commit, whatever this user's git is told."""
    home = tmp_path / "home"
    home.mkdir()
    (home / ".gitconfig").write_text("[core]\n\tautocrlf = true\n\teol = crlf\n")
    source = found(shop.path, HOME=str(home))
    assert (export(source, tmp_path / "export") / "a.py").read_bytes() == b"1\n"


def test_a_hook_s_environment_does_not_lead_astray(shop: Repository, tmp_path: Path) -> None:
    """``GIT_DIR``, which git sets for hooks, does not choose another repository."""
    other = Repository(tmp_path / "other", {"b": ""})
    source = found(shop.path, GIT_DIR=str(other.path / ".git"))
    assert source.commit == shop.git("rev-parse", "HEAD")


def test_submodules_are_known(shop: Repository, tmp_path: Path) -> None:
    """A folder that is another repository is named, since an export does not have its files."""
    other = Repository(tmp_path / "other", {"b": ""})
    shop.git("-c", "protocol.file.allow=always", "submodule", "add", str(other.path), "vendor/b")
    shop.commit()
    assert submodules(found(shop.path)) == ("vendor/b",)


def test_what_is_no_repository_says_what_to_type(tmp_path: Path) -> None:
    """Outside of git, before the first commit and without git, the error names the command."""
    with pytest.raises(NotARepository) as caught:
        found(tmp_path)
    assert caught.value.hint.startswith("git init")
    Repository(tmp_path / "empty")
    with pytest.raises(NotARepository) as caught:
        found(tmp_path / "empty")
    assert "nothing is committed" in caught.value.message
    with pytest.raises(NotARepository) as caught:
        found(tmp_path / "none")
    assert "no folder" in caught.value.message
    with pytest.raises(NotARepository) as caught:
        found(tmp_path / "empty", PATH=str(tmp_path))
    assert "git is not installed" in caught.value.message


def test_an_unknown_ref_is_refused(shop: Repository) -> None:
    """A ref that git does not know is an error, also one that looks like an option."""
    for ref in ("v9", "0000000", "--help", "a.py", "HEAD:a.py"):
        with pytest.raises(RefUnknown):
            found(shop.path, ref)


def test_changes_belong_to_head(shop: Repository) -> None:
    """The working tree's changes cannot be built on top of another commit."""
    with pytest.raises(UsageError):
        found(shop.path, "HEAD~1", dirty=True)


def test_a_commit_without_the_project_is_refused(shop: Repository, tmp_path: Path) -> None:
    """A commit from before the project's folder existed is an error in words."""
    shop.commit({"api/app.py": ""})
    source = found(shop.path / "api", "HEAD~1")
    with pytest.raises(RefUnknown, match="has no folder api/"):
        export(source, tmp_path / "export")


def test_export_writes_only_below_its_folder(shop: Repository, tmp_path: Path) -> None:
    """Links of a commit are written as they are and never followed."""
    (shop.path / "abroad").symlink_to(tmp_path)
    shop.commit()
    project = export(found(shop.path), tmp_path / "export")
    assert (project / "abroad").readlink() == tmp_path
