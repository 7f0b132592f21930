"""The files a plan reads: the real ones over a git repository and a double in memory held to one suite; and what disk alone can hold."""

from __future__ import annotations

import gzip
import os
from dataclasses import replace
from pathlib import Path

import pytest

from ci_plugin.config.parts import GitRemote
from ci_plugin.engine.archives import diff_id_of
from ci_plugin.errors import Bug, InputError, Location
from ci_plugin.git import open_source_tree
from ci_plugin.pins.git_pin import GitPin
from ci_plugin.ports import SourceTree
from ci_plugin.project_files import DirectoryFiles
from ci_plugin.values.digest import Digest
from ci_plugin.values.image_listing import OWN
from ci_plugin.values.tree import ContextFile
from tests.fakes.git_repository import ENVIRONMENT, GitRepository
from tests.fakes.registry import make_image
from tests.fakes.source_tree import FakeSourceTree
from tests.unit.conveyor.project import NOW, make_pins

COMMITTED = {"Dockerfile": b"FROM scratch\n", "src/main.py": b"print()\n"}


def _over_git(directory: Path) -> SourceTree:
    repository = GitRepository(directory)
    for path, data in COMMITTED.items():
        repository.write(path, data)
    repository.commit()
    return open_source_tree(directory, environ=ENVIRONMENT)


def _in_memory(_directory: Path) -> SourceTree:
    return FakeSourceTree(COMMITTED)


@pytest.fixture(params=[_over_git, _in_memory], ids=["git", "memory"])
def files(request: pytest.FixtureRequest, tmp_path: Path) -> DirectoryFiles:
    """The project's files; what is on disk and not committed lies in ``tmp_path``."""
    return DirectoryFiles(request.param(tmp_path), tmp_path, diff_id_of)


class TestAddedDirectories:
    def test_the_whole_project_is_added_without_what_git_and_we_keep_there(self, tmp_path: Path) -> None:
        for path in (".git/config", ".stagepin/pins.json", "dist/app.js"):
            (tmp_path / path).parent.mkdir(exist_ok=True)
            (tmp_path / path).write_bytes(b"x")
        added = DirectoryFiles(FakeSourceTree({}), tmp_path, diff_id_of).added(".")
        assert [file.path for file in added] == ["dist/app.js"]


class TestCommitted:
    def test_a_committed_file_is_found_and_another_is_none(self, files: DirectoryFiles) -> None:
        assert files.find_file("src/main.py") == b"print()\n"
        assert files.find_file("src/other.py") is None

    def test_what_is_on_disk_and_not_committed_is_not_there(self, files: DirectoryFiles, tmp_path: Path) -> None:
        (tmp_path / "new.txt").write_text("new")
        assert files.find_file("new.txt") is None
        assert [entry.path for entry in files.listing()] == ["Dockerfile", "src/main.py"]


class TestAdded:
    def test_a_file_on_disk_comes_with_mode_and_bytes(self, files: DirectoryFiles, tmp_path: Path) -> None:
        (tmp_path / "run.sh").write_bytes(b"#!/bin/sh\n")
        (tmp_path / "run.sh").chmod(0o755)
        (tmp_path / "data").write_bytes(b"\0\xff")
        assert files.added("run.sh") == (ContextFile("run.sh", "100755", b"#!/bin/sh\n"),)
        assert files.added("data") == (ContextFile("data", "100644", b"\0\xff"),)

    def test_a_directory_gives_all_files_below_it_sorted_by_path(self, files: DirectoryFiles, tmp_path: Path) -> None:
        for name in ("dist/b.js", "dist/a.js", "dist/deep/c.js"):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(name)
        assert [file.path for file in files.added("dist")] == ["dist/a.js", "dist/b.js", "dist/deep/c.js"]
        assert [file.path for file in files.added("./dist/deep")] == ["dist/deep/c.js"]

    def test_a_link_stays_a_link_wherever_it_leads(self, files: DirectoryFiles, tmp_path: Path) -> None:
        (tmp_path / "dist").mkdir()
        (tmp_path / "dist" / "out").symlink_to("/etc/passwd")
        (tmp_path / "all").symlink_to("dist")
        assert files.added("dist") == (ContextFile("dist/out", "120000", b"/etc/passwd"),)
        assert files.added("all") == (ContextFile("all", "120000", b"dist"),)

    def test_nothing_there_is_nothing(self, files: DirectoryFiles, tmp_path: Path) -> None:
        (tmp_path / "empty").mkdir()
        assert files.added("gone") == ()
        assert files.added("empty") == ()

    def test_a_fifo_is_refused_unopened(self, files: DirectoryFiles, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(InputError, match="expected files, links and directories at pipe, found another kind"):
            files.added("pipe")

    @pytest.mark.parametrize("path", ["../secret", "/etc/passwd", "dist/../../secret"])
    def test_a_path_that_leaves_the_project_is_refused(self, files: DirectoryFiles, path: str) -> None:
        for ask in (files.added, files.archive_diff_id):
            with pytest.raises(InputError, match="expected a path inside the project directory") as caught:
                ask(path)
            assert caught.value.hint == "use a relative path without .."

    def test_a_directory_that_is_a_link_leads_nobody_out_of_the_project(
        self, files: DirectoryFiles, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        outside = tmp_path_factory.mktemp("outside")
        (outside / "secret").write_text("secret")
        (tmp_path / "inside").symlink_to(outside)
        with pytest.raises(InputError, match="expected a path inside the project directory"):
            files.added("inside/secret")

    def test_what_cannot_be_read_is_bad_input_that_names_the_path(self, files: DirectoryFiles, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("no directory")
        with pytest.raises(InputError, match="expected to read file/below, found: Not a directory") as caught:
            files.added("file/below")
        assert caught.value.hint == "check the path and who may read it"


class TestArchives:
    def test_a_compressed_archive_has_the_diff_id_of_its_tar(self, files: DirectoryFiles, tmp_path: Path) -> None:
        compressed = make_image().blobs[1]
        (tmp_path / "rootfs.tar.gz").write_bytes(compressed)
        (tmp_path / "rootfs.tar").write_bytes(gzip.decompress(compressed))
        expected = Digest.of(gzip.decompress(compressed))
        assert files.archive_diff_id("rootfs.tar") == files.archive_diff_id("rootfs.tar.gz") == expected

    def test_no_archive_is_none(self, files: DirectoryFiles, tmp_path: Path) -> None:
        (tmp_path / "directory.tar").mkdir()
        assert files.archive_diff_id("gone.tar") is None
        assert files.archive_diff_id("directory.tar") is None

    def test_an_archive_that_is_a_link_leads_nobody_out_of_the_project(
        self, files: DirectoryFiles, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        outside = tmp_path_factory.mktemp("outside") / "backup.tar"
        outside.write_bytes(b"backup")
        (tmp_path / "rootfs.tar").symlink_to(outside)
        with pytest.raises(InputError, match=r"expected a path inside the project directory, found 'rootfs\.tar'"):
            files.archive_diff_id("rootfs.tar")
        (tmp_path / "made.tar").write_bytes(b"made")
        (tmp_path / "latest.tar").symlink_to("made.tar")
        assert files.archive_diff_id("latest.tar") == Digest.of(b"made")


class TestOtherRepositories:
    URL = "https://git.example.com/lib.git"
    HERE = Location("werf.yaml", 7)

    class Repositories:
        """Implements ``project_files.Repositories``; what was asked for is kept."""

        def __init__(self) -> None:
            self.asked: list[tuple[str, str, str]] = []

        def tree(self, remote: GitRemote, ref: str, commit: str, where: Location) -> SourceTree:
            self.asked.append((remote.url, ref, commit))
            return FakeSourceTree({"code": commit.encode()})

    def test_a_repository_is_listed_at_its_pinned_commit_and_fetched_once(self, tmp_path: Path) -> None:
        pins = replace(make_pins(), git=(GitPin(self.URL, "refs/heads/main", "1" * 40, NOW, ()),))
        repositories, own = self.Repositories(), FakeSourceTree(COMMITTED)
        files = DirectoryFiles(own, tmp_path, diff_id_of, lambda: repositories)
        remote = GitRemote("https://user:word@git.example.com/lib.git", branch="main")
        found = [files.remote(remote, pins, self.HERE) for _ in range(2)]
        assert [item.key for item in found] == [f"{self.URL}@{'1' * 40}"] * 2
        assert repositories.asked == [(remote.url, "refs/heads/main", "1" * 40)]
        assert files.source(found[0].key).find_file("code") == b"1" * 40
        assert files.source(OWN) is own

    def test_one_that_was_not_pinned_is_refused_where_it_is_named(self, tmp_path: Path) -> None:
        files = DirectoryFiles(FakeSourceTree({}), tmp_path, diff_id_of, self.Repositories)
        with pytest.raises(InputError, match=f"expected {self.URL} refs/heads/master among the 0 pins of ") as raised:
            files.remote(GitRemote(self.URL), make_pins(), self.HERE)
        assert raised.value.where == self.HERE

    def test_one_that_no_plan_named_is_our_mistake(self, tmp_path: Path) -> None:
        with pytest.raises(Bug):
            DirectoryFiles(FakeSourceTree({}), tmp_path, diff_id_of, self.Repositories).source("elsewhere")
