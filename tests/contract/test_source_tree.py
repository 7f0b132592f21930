"""The port SourceTree: one suite for the fake and for real git, then what only real git has to get right."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from ci_plugin.errors import InputError, Unavailable
from ci_plugin.git import GitTree, open_source_tree
from ci_plugin.ports import SourceTree
from ci_plugin.values.submodules import missing_submodules
from ci_plugin.values.tree import TreeEntry
from tests.fakes.git_repository import ENVIRONMENT, GitRepository
from tests.fakes.source_tree import FakeSourceTree, blob_id

MakeTree = Callable[[Mapping[str, bytes], Mapping[str, str]], SourceTree]

FILES = {
    "Dockerfile": b"FROM alpine\n",
    "-rf": b"a leading dash",
    "back\\slash": b"a",
    'quote"': b"b",
    "e\u0301": b"decomposed",
    "\u00e9": b"composed",
    "\U0001f600 \ue000": b"astral and private",
    ":(glob)*": b"no pathspec",
    "deep/er/and/deeper": b"x" * 100_000,
    "app/run.sh": b"#!/bin/sh\n",
    "app/link": b"run.sh",
    "app/out": b"../../etc/passwd",
    "app/absolute": b"/etc/passwd",
    "loop": b"loop",
    "with space\tand\nnewline": b"",
    "latin-\udce9": b"\x00\xff",
}
MODES = {"app/run.sh": "100755", "app/link": "120000", "app/out": "120000", "app/absolute": "120000", "loop": "120000"}


def write_files(repository: GitRepository, files: Mapping[str, bytes], modes: Mapping[str, str]) -> None:
    for path, data in files.items():
        mode = modes.get(path, "100644")
        if mode == "120000":
            link = repository.directory / path
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(os.fsdecode(data))
        else:
            repository.write(path, data, mode=0o755 if mode == "100755" else 0o644)


def open_tree(directory: Path, **environ: str) -> GitTree:
    return open_source_tree(directory, environ={**ENVIRONMENT, **environ})


@pytest.fixture(params=["fake", "git"])
def make_tree(request: pytest.FixtureRequest, tmp_path: Path) -> MakeTree:
    def make(files: Mapping[str, bytes], modes: Mapping[str, str]) -> SourceTree:
        if request.param == "fake":
            return FakeSourceTree(files, modes, changed={"Dockerfile", "app/new"})
        repository = GitRepository(tmp_path)
        write_files(repository, files, modes)
        repository.commit()
        tree = open_tree(tmp_path)
        repository.write("Dockerfile", "FROM debian\n")
        repository.write("app/new", "")
        return tree

    return make


@pytest.fixture
def tree(make_tree: MakeTree) -> SourceTree:
    return make_tree(FILES, MODES)


def test_a_listing_holds_every_committed_file_with_mode_and_blob(tree: SourceTree) -> None:
    expected = sorted(TreeEntry(path, MODES.get(path, "100644"), blob_id(data)) for path, data in FILES.items())
    assert list(tree.listing()) == expected


def test_the_commit_is_a_full_id(tree: SourceTree) -> None:
    assert len(tree.commit) == 40


def test_files_are_read_in_one_go_by_blob(tree: SourceTree) -> None:
    assert tree.read(tree.listing().entries) == {blob_id(data): data for data in FILES.values()}
    assert tree.read([]) == {}


def test_files_are_read_one_after_another_in_the_order_asked_for_and_as_often(tree: SourceTree) -> None:
    entries = [*reversed(tree.listing().entries), *tree.listing().entries[:2]]
    assert list(tree.read_each(iter(entries))) == [(entry, FILES[entry.path]) for entry in entries]
    assert list(tree.read_each([])) == []


@pytest.mark.parametrize("path", ["Dockerfile", "./Dockerfile", "app/../Dockerfile"])
def test_a_file_is_found_as_it_was_committed(tree: SourceTree, path: str) -> None:
    assert tree.find_file(path) == b"FROM alpine\n"


def test_a_link_to_a_committed_file_is_followed(tree: SourceTree) -> None:
    assert tree.find_file("app/link") == b"#!/bin/sh\n"


@pytest.mark.parametrize("path", ["absent", "app", "app/new", "../Dockerfile", "/etc/passwd", "app/out", "app/absolute", "loop", "."])
def test_what_is_not_committed_in_the_project_is_not_found(tree: SourceTree, path: str) -> None:
    assert tree.find_file(path) is None


def test_what_differs_from_the_commit_is_named(tree: SourceTree) -> None:
    assert tree.uncommitted(["Dockerfile", "app", "app/run.sh", "absent", "."]) == (".", "Dockerfile", "app")
    assert tree.uncommitted([]) == ()


@pytest.mark.parametrize("count", [1, 600])
def test_names_that_look_like_patterns_differ_as_names(tmp_path: Path, count: int) -> None:
    repository = GitRepository(tmp_path)
    names = [":(glob)*", "*", "[a]", "-x", "a b\n", "latin-\udce9", "dir/:/", "dir/file"]
    for name in names:
        repository.write(f"{name}file" if name.endswith("/") else name, "one")
    repository.commit()
    repository.write("[a]", "two")
    repository.write(":(glob)*", "two")
    tree = open_tree(tmp_path)
    others = [f"absent-{number}" for number in range(count)]
    assert tree.uncommitted([*names, *others, "../outside", "/etc/passwd", ".."]) == (":(glob)*", "[a]")
    assert tree.uncommitted(["*", "dir"]) == ()


@pytest.mark.parametrize(
    "change",
    [
        lambda repository: repository.write("dir/a", "two"),
        lambda repository: repository.write("dir/a", "one", mode=0o755),
        lambda repository: (repository.directory / "dir/a").unlink(),
        lambda repository: (
            repository.write("b", "one"),
            (repository.directory / "dir/a").unlink(),
            (repository.directory / "dir/a").symlink_to("../b"),
        ),
        lambda repository: (
            (repository.directory / "dir").rename(repository.directory / "other"),
            (repository.directory / "dir").symlink_to("other"),
        ),
    ],
    ids=["bytes", "mode", "gone", "a link to equal bytes", "a directory that is a link to an equal one"],
)
def test_every_kind_of_change_of_a_file_is_told(tmp_path: Path, change: Callable[[GitRepository], object]) -> None:
    repository = GitRepository(tmp_path)
    repository.write("dir/a", "one")
    repository.commit()
    assert open_tree(tmp_path).uncommitted(["dir/a"]) == ()
    change(repository)
    assert open_tree(tmp_path).uncommitted(["dir/a"]) == ("dir/a",)


def test_a_file_that_git_writes_otherwise_than_it_keeps_it_is_no_change(tmp_path: Path) -> None:
    repository = GitRepository(tmp_path)
    repository.write(".gitattributes", "a eol=crlf\n")
    repository.write("a", "one\n")
    repository.commit()
    (tmp_path / "a").unlink()
    repository.git("checkout", "--quiet", "a")
    assert (tmp_path / "a").read_bytes() == b"one\r\n"
    assert open_tree(tmp_path).uncommitted(["a"]) == ()


def test_a_path_beyond_a_link_is_no_file_of_the_project(tmp_path: Path) -> None:
    repository = GitRepository(tmp_path)
    repository.write("real/file", "one")
    (tmp_path / "link").symlink_to("real")
    repository.commit()
    repository.write("real/file", "two")
    assert open_tree(tmp_path).uncommitted(["link", "real/file"]) == ("real/file",)


def test_a_project_below_the_top_level_sees_its_own_paths_only(tmp_path: Path) -> None:
    repository = GitRepository(tmp_path)
    repository.write("Dockerfile", "FROM top\n")
    repository.write("sub/deep er/Dockerfile", "FROM sub\n")
    commit = repository.commit()
    repository.write("Dockerfile", "FROM changed\n")
    tree = open_tree(tmp_path / "sub" / "deep er")
    assert (tree.top, tree.directory, tree.commit) == (tmp_path, tmp_path / "sub" / "deep er", commit)
    assert [entry.path for entry in tree.listing()] == ["Dockerfile"]
    assert tree.find_file("Dockerfile") == b"FROM sub\n"
    assert tree.uncommitted(["Dockerfile", "."]) == ()


def test_a_project_directory_that_the_commit_does_not_hold_is_empty(tmp_path: Path) -> None:
    repository = GitRepository(tmp_path)
    repository.commit()
    repository.write("new/Dockerfile", "FROM alpine\n")
    tree = open_tree(tmp_path / "new")
    assert len(tree.listing()) == 0
    assert tree.uncommitted(["Dockerfile"]) == ("Dockerfile",)


def test_a_shallow_clone_with_a_detached_head_gives_the_same_listing(tmp_path: Path) -> None:
    repository = GitRepository(tmp_path / "origin")
    for text in "one", "two", "three":
        repository.write("a", text)
        commit = repository.commit(text)
    clone = tmp_path / "clone"
    repository.git("clone", "--quiet", "--depth=1", f"file://{repository.directory}", str(clone))
    repository.git("-C", str(clone), "checkout", "--quiet", "--detach")
    tree = open_tree(clone)
    assert tree.commit == commit
    assert tree.listing() == open_tree(repository.directory).listing()
    assert tree.find_file("a") == b"three"


def test_a_partial_clone_fetches_a_file_when_it_is_read(tmp_path: Path) -> None:
    repository = GitRepository(tmp_path / "origin")
    repository.write("a", "one")
    repository.write("b/c", "two")
    repository.commit()
    repository.git("config", "uploadpack.allowFilter", "true")
    clone = repository.clone(tmp_path / "clone", "--depth=1", "--filter=blob:none", "--no-checkout")
    missing = clone.git("rev-list", "--objects", "--all", "--missing=print").count("?")
    tree = open_tree(clone.directory)
    assert tree.listing() == open_tree(repository.directory).listing()
    assert missing == len(tree.listing())
    assert [data for _, data in tree.read_each(tree.listing())] == [b"one", b"two"]


def test_a_linked_worktree_is_read_at_its_own_commit(tmp_path: Path) -> None:
    repository = GitRepository(tmp_path / "main")
    repository.write("a", "one")
    first = repository.commit()
    repository.write("a", "two")
    repository.commit()
    repository.git("worktree", "add", "--quiet", "--detach", str(tmp_path / "linked"), first)
    tree = open_tree(tmp_path / "linked")
    assert (tree.commit, tree.find_file("a")) == (first, b"one")
    assert tree.top == tmp_path / "linked"
    assert tree.changes() == ()


def test_a_clone_that_borrows_objects_is_read(tmp_path: Path) -> None:
    repository = GitRepository(tmp_path / "origin")
    repository.write("a", "one")
    repository.commit()
    clone = repository.clone(tmp_path / "clone", "--reference", str(repository.directory))
    assert (clone.directory / ".git/objects/info/alternates").is_file()
    assert open_tree(clone.directory).find_file("a") == b"one"


def test_files_are_the_blobs_as_committed_whatever_attributes_say(tmp_path: Path) -> None:
    repository = GitRepository(tmp_path)
    repository.write(".gitattributes", "secret export-ignore\n*.txt eol=crlf\nversion export-subst\n")
    repository.write("secret", "kept")
    repository.write("lines.txt", "a\nb\n")
    repository.write("version", "$Format:%H$")
    repository.commit()
    tree = open_tree(tmp_path)
    files = {entry.path: data for entry, data in tree.read_each(tree.listing())}
    assert (files["secret"], files["lines.txt"], files["version"]) == (b"kept", b"a\nb\n", b"$Format:%H$")


def test_a_reader_may_stop_early_and_begin_again(tmp_path: Path) -> None:
    repository = GitRepository(tmp_path)
    for number in range(3):
        repository.write(f"large-{number}", bytes([number]) * 3_000_000)
    repository.commit()
    tree = open_tree(tmp_path)
    files = tree.read_each(tree.listing())
    assert next(files)[1] == b"\0" * 3_000_000
    files.close()  # type: ignore[attr-defined]
    assert [len(data) for _, data in tree.read_each(tree.listing())] == [3_000_000] * 3


@pytest.mark.parametrize("count", [1, 500])
def test_a_repository_that_goes_away_while_it_is_read_is_told(tmp_path: Path, count: int) -> None:
    repository = GitRepository(tmp_path)
    for number in range(count):
        repository.write(str(number), str(number))
    repository.commit()
    tree = open_tree(tmp_path)
    entries = list(tree.listing())
    (tmp_path / ".git").rename(tmp_path / "gone")
    with pytest.raises(Unavailable, match="expected git cat-file to give every object, found its answer cut short") as raised:
        tree.read(entries)
    assert raised.value.hint == "check the clone with: git fsck"


def test_a_missing_blob_is_named_when_its_turn_comes(tmp_path: Path) -> None:
    repository = GitRepository(tmp_path)
    repository.write("a", "one")
    repository.write("b", "two")
    repository.commit()
    blob = blob_id(b"two")
    (tmp_path / ".git" / "objects" / blob[:2] / blob[2:]).unlink()
    tree = open_tree(tmp_path)
    files = tree.read_each(tree.listing())
    assert next(files)[1] == b"one"
    with pytest.raises(InputError, match=rf"expected 'b' in the git repository, found its blob {blob} missing"):
        next(files)


def test_a_sha256_repository_is_read(tmp_path: Path) -> None:
    repository = GitRepository(tmp_path, "--object-format=sha256")
    repository.write("a", "one")
    repository.commit()
    tree = open_tree(tmp_path)
    assert len(tree.commit) == 64
    assert [len(entry.blob) for entry in tree.listing()] == [64]
    assert tree.find_file("a") == b"one"


def test_leaked_git_variables_answer_for_no_other_repository(tmp_path: Path) -> None:
    ours, other = GitRepository(tmp_path / "ours"), GitRepository(tmp_path / "other")
    ours.write("a", "ours")
    commit = ours.commit()
    other.write("a", "other")
    other.commit("other")
    git_dir = str(other.directory / ".git")
    tree = open_tree(ours.directory, GIT_DIR=git_dir, GIT_WORK_TREE=str(other.directory), GIT_INDEX_FILE="/nonexistent", GIT_TRACE="1")
    assert tree.commit == commit
    assert tree.find_file("a") == b"ours"


def test_an_ignored_file_that_is_asked_for_counts_as_uncommitted(tmp_path: Path) -> None:
    repository = GitRepository(tmp_path)
    repository.write(".gitignore", "secret.env\n")
    repository.commit()
    repository.write("secret.env", "A=1\n")
    tree = open_tree(tmp_path)
    assert tree.uncommitted(["secret.env", "."]) == ("secret.env",)


def test_a_touched_file_with_the_same_bytes_is_no_change(tmp_path: Path) -> None:
    repository = GitRepository(tmp_path)
    repository.write("a", "one")
    repository.commit()
    os.utime(repository.write("a", "one"), (1, 1))
    assert open_tree(tmp_path).uncommitted(["a"]) == ()


def test_a_submodule_that_is_not_checked_out_is_listed_and_its_files_are_refused(tmp_path: Path) -> None:
    repository = GitRepository(tmp_path)
    commit = repository.commit()
    repository.git("update-index", "--add", "--cacheinfo", f"160000,{commit},vendor/lib")
    repository.git("commit", "--quiet", "--message", "submodule")
    tree = open_tree(tmp_path)
    assert list(tree.listing()) == [TreeEntry("vendor/lib", "160000", commit)]
    assert tree.find_file("vendor/lib") is None
    assert missing_submodules(tree.listing()) == ("vendor/lib",)
    with pytest.raises(InputError) as caught:
        tree.read(tree.listing().entries)
    message = "expected the submodule 'vendor/lib' to be checked out at the commit its project names, found it missing"
    assert caught.value.message == message
    for way_out in ("git submodule update --init --recursive", "GIT_SUBMODULE_STRATEGY: recursive", "submodules: recursive"):
        assert way_out in caught.value.hint


def test_a_missing_blob_is_named_with_the_repair(tmp_path: Path) -> None:
    repository = GitRepository(tmp_path)
    repository.write("a", "one")
    repository.commit()
    blob = blob_id(b"one")
    (tmp_path / ".git" / "objects" / blob[:2] / blob[2:]).unlink()
    with pytest.raises(InputError, match=rf"expected 'a' in the git repository, found its blob {blob} missing") as caught:
        open_tree(tmp_path).find_file("a")
    assert "git fetch --refetch" in caught.value.hint


def test_no_repository_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"expected a git repository, found none at ") as caught:
        open_tree(tmp_path)
    assert caught.value.hint == "git init && git add -A && git commit -m 'first commit'"
    assert caught.value.exit_code == 2


def test_a_repository_without_commit_says_how_to_commit(tmp_path: Path) -> None:
    GitRepository(tmp_path)
    with pytest.raises(InputError, match=r"expected a git commit, found a repository without one") as caught:
        open_tree(tmp_path)
    assert caught.value.hint == "git add -A && git commit -m 'first commit'"


def test_a_bare_repository_is_refused_with_the_way_out(tmp_path: Path) -> None:
    GitRepository(tmp_path, "--bare")
    with pytest.raises(InputError, match=r"found: fatal: this operation must be run in a work tree") as caught:
        open_tree(tmp_path)
    assert "clone with a working tree" in caught.value.hint


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"expected a project directory, found none at .*absent") as caught:
        open_tree(tmp_path / "absent")
    assert "-C" in caught.value.hint


def test_a_machine_without_git_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"expected the git command, found none in PATH") as caught:
        open_tree(tmp_path, PATH=str(tmp_path))
    assert "install git" in caught.value.hint


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a repository another owner")
def test_a_clone_that_another_user_made_is_read(tmp_path: Path) -> None:
    repository = GitRepository(tmp_path)
    repository.write("a", "one")
    repository.commit()
    for path in (tmp_path, tmp_path / ".git"):
        os.chown(path, 12345, 12345)
    assert open_tree(tmp_path).find_file("a") == b"one"


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://user:secret@git.example.com/group/My App.git", "my-app"),
        ("git@git.example.com:group/app_two.git", "app_two"),
        ("ssh://git@git.example.com:2222/group/app/", "app"),
        ("/srv/git/.Website..git", "website"),
        ("https://git.example.com/group/ü.git", "the-directory"),
    ],
)
def test_the_project_is_named_after_its_remote(tmp_path: Path, url: str, name: str) -> None:
    repository = GitRepository(tmp_path / "The Directory")
    repository.commit()
    repository.git("config", "remote.origin.url", url)
    assert open_tree(repository.directory).remote_name() == name


def test_a_repository_without_remote_is_named_after_its_directory(tmp_path: Path) -> None:
    repository = GitRepository(tmp_path / "My.App__2")
    repository.commit()
    assert open_tree(repository.directory).remote_name() == "my.app__2"
