"""Submodules, on real git: their files belong to the source tree at exactly the commit the project names."""

from __future__ import annotations

from pathlib import Path

import pytest

from ci_plugin.errors import InputError
from ci_plugin.git import GitTree, open_source_tree
from ci_plugin.project_files import WorkingTree
from ci_plugin.values.submodules import missing_submodules
from ci_plugin.values.tree import Listing, TreeEntry
from tests.fakes.git_repository import ENVIRONMENT, GitRepository
from tests.fakes.source_tree import blob_id


def open_tree(directory: Path) -> GitTree:
    return open_source_tree(directory, environ=ENVIRONMENT)


def files_of(tree: GitTree | WorkingTree) -> dict[str, bytes]:
    return {entry.path: data for entry, data in tree.read_each(tree.listing())}


@pytest.fixture
def inner(tmp_path: Path) -> GitRepository:
    repository = GitRepository(tmp_path / "inner")
    repository.write("deep", "deep\n")
    repository.commit()
    return repository


@pytest.fixture
def library(tmp_path: Path, inner: GitRepository) -> GitRepository:
    """A repository with a submodule of its own at ``third/party``."""
    repository = GitRepository(tmp_path / "library")
    repository.write("code", "one\n")
    repository.write("run", "#!/bin/sh\n", mode=0o755)
    repository.add_submodule(inner, "third/party")
    repository.commit()
    return repository


@pytest.fixture
def project(tmp_path: Path, library: GitRepository) -> GitRepository:
    """The project with the library at ``vendor/lib``, nothing of the library's submodule checked out yet."""
    repository = GitRepository(tmp_path / "project")
    repository.write("Dockerfile", "FROM alpine\n")
    repository.write("vendor/lib.txt", "beside\n")
    repository.add_submodule(library, "vendor/lib")
    repository.commit()
    return repository


def checkout(project: GitRepository, directory: Path, *options: str) -> GitRepository:
    """As CI does it: a shallow clone, then the submodules."""
    clone = project.clone(directory, "--depth=1")
    clone.git("-c", "protocol.file.allow=always", "submodule", "--quiet", "update", "--init", *options)
    return clone


def test_files_of_submodules_within_submodules_are_ordinary_entries_with_their_own_blobs(project: GitRepository, tmp_path: Path) -> None:
    clone = checkout(project, tmp_path / "clone", "--recursive", "--depth=1")
    tree = open_tree(clone.directory)
    assert tree.listing() == Listing.of(tree.listing())
    listed = {entry.path: (entry.mode, entry.blob) for entry in tree.listing()}
    assert listed.pop(".gitmodules")[0] == "100644"
    assert listed == {
        "Dockerfile": ("100644", blob_id(b"FROM alpine\n")),
        "vendor/lib.txt": ("100644", blob_id(b"beside\n")),
        "vendor/lib/.gitmodules": ("100644", listed["vendor/lib/.gitmodules"][1]),
        "vendor/lib/code": ("100644", blob_id(b"one\n")),
        "vendor/lib/run": ("100755", blob_id(b"#!/bin/sh\n")),
        "vendor/lib/third/party/deep": ("100644", blob_id(b"deep\n")),
    }


def test_every_file_is_read_from_the_repository_it_is_committed_in(project: GitRepository, tmp_path: Path) -> None:
    tree = open_tree(checkout(project, tmp_path / "clone", "--recursive").directory)
    files = files_of(tree)
    assert files["vendor/lib/third/party/deep"] == b"deep\n"
    assert (files["vendor/lib/code"], files["vendor/lib.txt"]) == (b"one\n", b"beside\n")
    assert tree.read(list(tree.listing())) == {entry.blob: files[entry.path] for entry in tree.listing()}
    assert tree.find_file("vendor/lib/third/party/deep") == b"deep\n"


def test_where_the_job_checked_out_no_submodules_their_entries_stay(project: GitRepository, library: GitRepository, tmp_path: Path) -> None:
    tree = open_tree(project.clone(tmp_path / "clone", "--depth=1").directory)
    commit = library.git("rev-parse", "HEAD").strip()
    assert TreeEntry("vendor/lib", "160000", commit) in list(tree.listing())
    assert missing_submodules(tree.listing()) == ("vendor/lib",)


def test_where_inner_submodules_are_not_checked_out_theirs_stay_alone(project: GitRepository, tmp_path: Path) -> None:
    tree = open_tree(checkout(project, tmp_path / "clone").directory)
    assert missing_submodules(tree.listing()) == ("vendor/lib/third/party",)
    assert tree.find_file("vendor/lib/code") == b"one\n"


def test_what_is_checked_out_by_chance_is_not_what_is_listed(project: GitRepository, library: GitRepository, tmp_path: Path) -> None:
    clone = checkout(project, tmp_path / "clone")
    library.write("code", "two\n")
    library.commit()
    clone.git("-C", "vendor/lib", "-c", "protocol.file.allow=always", "pull", "--quiet", "origin", "main")
    assert (clone.directory / "vendor/lib/code").read_text() == "two\n"
    assert open_tree(clone.directory).find_file("vendor/lib/code") == b"one\n"


def test_a_submodule_whose_repository_lacks_the_commit_stays(project: GitRepository, library: GitRepository, tmp_path: Path) -> None:
    clone = project.clone(tmp_path / "clone")
    other = library.directory.parent / "other"
    GitRepository(other).commit("has nothing of it")
    GitRepository.at(other).clone(clone.directory / "vendor/lib")
    assert missing_submodules(open_tree(clone.directory).listing()) == ("vendor/lib",)


def test_an_empty_directory_does_not_answer_for_the_repository_above_it(tmp_path: Path) -> None:
    repository = GitRepository(tmp_path)
    repository.write("a", "a")
    commit = repository.commit()
    # The commit is there, in the repository above: that is not the submodule's.
    repository.git("update-index", "--add", "--cacheinfo", f"160000,{commit},sub")
    repository.git("commit", "--quiet", "--message", "submodule")
    (tmp_path / "sub").mkdir()
    assert missing_submodules(open_tree(tmp_path).listing()) == ("sub",)


def test_a_link_in_the_place_of_a_submodule_leads_nowhere(project: GitRepository, library: GitRepository, tmp_path: Path) -> None:
    clone = project.clone(tmp_path / "clone")
    (clone.directory / "vendor/lib").rmdir()
    (clone.directory / "vendor/lib").symlink_to(library.directory)
    assert missing_submodules(open_tree(clone.directory).listing()) == ("vendor/lib",)


def test_a_project_below_the_top_level_has_the_submodules_below_it(project: GitRepository, tmp_path: Path) -> None:
    clone = checkout(project, tmp_path / "clone", "--recursive")
    files = files_of(open_tree(clone.directory / "vendor"))
    assert sorted(files) == ["lib.txt", "lib/.gitmodules", "lib/code", "lib/run", "lib/third/party/deep"]


def test_a_project_inside_a_submodule_is_a_project_of_its_own(project: GitRepository, library: GitRepository, tmp_path: Path) -> None:
    clone = checkout(project, tmp_path / "clone")
    tree = open_tree(clone.directory / "vendor/lib")
    assert tree.commit == library.git("rev-parse", "HEAD").strip()
    assert tree.find_file("code") == b"one\n"


def test_a_linked_worktree_has_its_own_submodules(project: GitRepository, tmp_path: Path) -> None:
    clone = checkout(project, tmp_path / "clone")
    clone.git("worktree", "add", "--quiet", "--detach", str(tmp_path / "linked"))
    linked = tmp_path / "linked"
    assert missing_submodules(open_tree(linked).listing()) == ("vendor/lib",)
    GitRepository.at(linked).git("-c", "protocol.file.allow=always", "submodule", "--quiet", "update", "--init", "--recursive")
    assert files_of(open_tree(linked))["vendor/lib/third/party/deep"] == b"deep\n"


class TestUncommitted:
    def test_a_changed_file_of_a_submodule_is_told_under_its_path(self, project: GitRepository) -> None:
        project.write("vendor/lib/code", "mine\n")
        tree = open_tree(project.directory)
        assert tree.uncommitted(["vendor/lib/code", "vendor/lib/run", "vendor", ".", "Dockerfile"]) == (".", "vendor", "vendor/lib/code")
        assert tree.changes() == ("vendor/lib/code",)

    def test_a_submodule_at_another_commit_differs_by_its_files(self, project: GitRepository) -> None:
        inside = GitRepository.at(project.directory / "vendor/lib")
        inside.write("code", "two\n")
        inside.write("new", "new\n")
        inside.commit()
        tree = open_tree(project.directory)
        assert tree.changes() == ("vendor/lib/code", "vendor/lib/new")
        assert tree.uncommitted(["vendor/lib/run", "vendor/lib/code"]) == ("vendor/lib/code",)

    def test_a_submodule_that_is_not_checked_out_is_no_change(self, project: GitRepository, tmp_path: Path) -> None:
        tree = open_tree(project.clone(tmp_path / "clone").directory)
        assert tree.changes() == ()
        assert tree.uncommitted(["."]) == ()

    def test_the_working_tree_lays_the_changes_of_submodules_over_their_commits(self, project: GitRepository) -> None:
        project.git("-C", "vendor/lib", "-c", "protocol.file.allow=always", "submodule", "--quiet", "update", "--init")
        project.write("vendor/lib/code", "mine\n")
        project.write("vendor/lib/new", "new\n")
        (project.directory / "vendor/lib/run").unlink()
        tree = open_tree(project.directory)
        files = files_of(WorkingTree(tree, project.directory, tree.changes()))
        assert (files["vendor/lib/code"], files["vendor/lib/new"]) == (b"mine\n", b"new\n")
        assert "vendor/lib/run" not in files
        assert files["vendor/lib.txt"] == b"beside\n"


def test_missing_files_are_refused_with_the_way_out_of_every_forge(project: GitRepository, tmp_path: Path) -> None:
    tree = open_tree(project.clone(tmp_path / "clone").directory)
    with pytest.raises(InputError) as raised:
        list(tree.read_each(tree.listing()))
    assert raised.value.message == (
        "expected the submodule 'vendor/lib' to be checked out at the commit its project names, found it missing"
    )
    for way_out in ("git submodule update --init --recursive", "GIT_SUBMODULE_STRATEGY: recursive", "submodules: recursive"):
        assert way_out in raised.value.hint
