"""What one layer does to an image, on trees in memory; the engine's part of it is in tests/contract/test_engine_files.py."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager

from ci_plugin.engine.layers import Kind, plan_layer, tar_header
from ci_plugin.ports import FileChanges, LayerFile
from tests.fakes.image_files import ImageTree


class CountedTree(ImageTree):
    """A tree that counts what it is asked."""

    def __init__(self, *paths: str) -> None:
        super().__init__()
        self.asked: list[str] = []
        for path in paths:
            entry = tarfile.TarInfo(path.strip("/"))
            entry.type = tarfile.DIRTYPE if path.endswith("/") else tarfile.REGTYPE
            self.entries["/" + entry.name] = (entry, b"")

    def find_kind(self, path: str) -> Kind | None:
        self.asked.append(path)
        return super().find_kind(path)

    @contextmanager
    def walk(self, path: str) -> Iterator[Iterator[tuple[str, Kind]]]:
        self.asked.append(f"walk {path}")
        with super().walk(path) as found:
            yield found


def names(tree: ImageTree, changes: FileChanges, *, careful: bool = False) -> list[str]:
    """The names in the layer's tar, in its order."""
    plan = plan_layer(changes, tree, lambda _file: (0, 0), careful=careful)
    with tarfile.open(fileobj=io.BytesIO(b"".join(plan.chunks()))) as tar:
        return tar.getnames()


def test_files_that_replace_nothing_ask_nothing() -> None:
    tree = CountedTree("/app/")
    written = [LayerFile(f"/app/{number}/x", "file", 0o644) for number in range(100)]
    assert names(tree, FileChanges(written=written)) == [f"app/{number}/x" for number in range(100)]
    assert tree.asked == []


def test_a_careful_plan_asks_for_every_parent_once_and_for_none_below_a_missing_one() -> None:
    tree = CountedTree("/app/", "/app/file")
    written = [LayerFile(path, "file", 0o644) for path in ("/app/new/a/x", "/app/new/a/y", "/app/new/b/z", "/app/file/q")]
    assert names(tree, FileChanges(written=written), careful=True) == [
        *("app/new", "app/new/a", "app/new/a/x", "app/new/a/y"),
        *("app/new/b", "app/new/b/z", "app/file", "app/file/q"),
    ]
    assert [path for path in tree.asked if "new/" in path] == ["/app/new/b"]
    assert tree.asked.count("/app") == 1


def test_an_emptied_directory_is_one_removal_whatever_was_in_it() -> None:
    tree = CountedTree("/d/", "/d/a", "/d/e/", "/d/e/b")
    assert names(tree, FileChanges(removed=("/d/a", "/d/e/b"), emptied=("/d/e", "/d"))) == [".wh.d"]
    assert tree.asked == ["walk /d"]


def test_of_directories_with_something_left_only_what_is_empty_goes() -> None:
    tree = CountedTree("/d/", "/d/a", "/d/e/", "/d/e/b", "/d/f/", "/d/f/c", "/d/f/theirs", "/d/z")
    changes = FileChanges(removed=("/d/a", "/d/e/b", "/d/f/c"), emptied=("/d/f", "/d/e", "/d"))
    assert names(tree, changes) == ["d/.wh.a", "d/.wh.e", "d/f/.wh.c"]


def test_the_header_is_the_path_without_its_slash() -> None:
    assert tar_header(LayerFile("/", "directory", 0o700), 0, 0).name == "."
    link = tar_header(LayerFile("/a", "hardlink", 0o644, target="/b/c"), 1, 2)
    assert (link.name, link.linkname, link.uid, link.gid, link.size) == ("a", "b/c", 1, 2, 0)
    assert tar_header(LayerFile("/a", "symlink", 0o777, target="/b"), 0, 0).linkname == "/b"
    assert tar_header(LayerFile("/a", "file", 0o104755, 5), 0, 0).mode == 0o4755
