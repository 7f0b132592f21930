"""The working tree over a commit: the port SourceTree again, as a clone whose changes are committed would answer."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ci_plugin.errors import InputError
from ci_plugin.git import open_source_tree
from ci_plugin.project_files import WorkingTree
from tests.fakes.git_repository import ENVIRONMENT, GitRepository


@pytest.fixture(params=["sha1", "sha256"])
def repository(request: pytest.FixtureRequest, tmp_path: Path) -> GitRepository:
    """A commit, and every kind of change over it."""
    repository = GitRepository(tmp_path / "clone", f"--object-format={request.param}")
    repository.write("kept", "kept\n")
    repository.write("changed", "one\n")
    repository.write("removed", "x\n")
    repository.write("mode", "x\n")
    repository.write("becomes-a-link", "x\n")
    repository.write("dir/file", "x\n")
    repository.write(".gitignore", "ignored\n")
    repository.commit()
    repository.write("changed", b"two\r\n\x00")
    (repository.directory / "removed").unlink()
    (repository.directory / "mode").chmod(0o755)
    (repository.directory / "becomes-a-link").unlink()
    (repository.directory / "becomes-a-link").symlink_to("changed")
    repository.write("new/deep er\n", "new")
    repository.write("ignored", "x")
    repository.write(".stagepin/pins.json", "{}")
    return repository


def working_tree(directory: Path) -> WorkingTree:
    tree = open_source_tree(directory, environ=ENVIRONMENT)
    return WorkingTree(tree, directory, tree.changes())


def test_it_lists_what_a_commit_of_it_would_hold_blob_for_blob(repository: GitRepository) -> None:
    overlaid = working_tree(repository.directory)
    listed, changes = list(overlaid.listing()), overlaid.changes
    assert changes == ("becomes-a-link", "changed", "mode", "new/deep er\n", "removed")
    for file in (repository.directory / ".stagepin").iterdir():
        file.unlink()
    repository.commit()
    committed = open_source_tree(repository.directory, environ=ENVIRONMENT)
    assert listed == list(committed.listing())
    assert committed.changes() == ()


def test_it_reads_changed_files_from_disk_and_the_others_from_the_commit(repository: GitRepository) -> None:
    tree = working_tree(repository.directory)
    assert tree.find_file("changed") == b"two\r\n\x00"
    assert tree.find_file("becomes-a-link") == b"two\r\n\x00"
    assert tree.find_file("kept") == b"kept\n"
    assert tree.find_file("new/deep er\n") == b"new"
    assert set(tree.read(list(tree.listing())).values()) >= {b"two\r\n\x00", b"kept\n", b"new", b"changed"}


@pytest.mark.parametrize("path", ["removed", "ignored", "dir", ".stagepin/pins.json", "../outside", "/etc/passwd", "absent"])
def test_what_is_not_in_it_is_not_found(repository: GitRepository, path: str) -> None:
    (repository.directory.parent / "outside").write_text("x")
    assert working_tree(repository.directory).find_file(path) is None


def test_a_file_that_changes_after_it_was_listed_is_refused(repository: GitRepository) -> None:
    tree = working_tree(repository.directory)
    entries = [entry for entry in tree.listing() if entry.path == "changed"]
    repository.write("changed", "three\n")
    with pytest.raises(InputError) as raised:
        tree.read(entries)
    assert raised.value.message == "expected changed to stay as it is while it is built, found it changed"


def test_a_directory_that_became_a_link_leads_nowhere_out(repository: GitRepository) -> None:
    outside = repository.directory.parent / "outside"
    outside.mkdir()
    (outside / "file").write_text("secret")
    (repository.directory / "dir" / "file").unlink()
    (repository.directory / "dir").rmdir()
    (repository.directory / "dir").symlink_to(outside)
    tree = working_tree(repository.directory)
    assert tree.find_file("dir/file") is None
    assert {entry.path: entry.mode for entry in tree.listing()}["dir"] == "120000"


def test_what_is_no_file_is_not_waited_for(repository: GitRepository) -> None:
    (repository.directory / "changed").unlink()
    os.mkfifo(repository.directory / "changed")
    assert working_tree(repository.directory).find_file("changed") is None


def test_a_project_below_the_top_level_has_its_own_changes_only(tmp_path: Path) -> None:
    repository = GitRepository(tmp_path)
    repository.write("top", "x")
    repository.write("sub/a", "x")
    repository.commit()
    repository.write("top", "y")
    repository.write("sub/b", "y")
    tree = working_tree(tmp_path / "sub")
    assert tree.changes == ("b",)
    assert [entry.path for entry in tree.listing()] == ["a", "b"]
