from __future__ import annotations

import io
import tarfile

import pytest

from ci_plugin.engine.context import context_tar
from ci_plugin.errors import InputError
from ci_plugin.ports import ContextFile

FILES = (
    ContextFile("src/a.py", "100644", b"print()"),
    ContextFile("bin/run", "100755", b"#!/bin/sh"),
    ContextFile("link", "120000", b"../outside"),
    ContextFile("ünïcode \udcff", "100644", b"x"),
    ContextFile("deep/" * 60 + "file", "100644", b"long"),
)


def _open(data: bytes) -> tarfile.TarFile:
    return tarfile.open(fileobj=io.BytesIO(data), errors="surrogateescape")


def test_the_order_of_the_files_does_not_change_the_bytes() -> None:
    assert context_tar(FILES) == context_tar(reversed(FILES))


def test_entries_are_sorted_and_owned_by_root_at_the_epoch() -> None:
    entries = _open(context_tar(FILES)).getmembers()
    assert [entry.name for entry in entries] == sorted(entry.name for entry in entries)
    assert {(entry.mtime, entry.uid, entry.gid, entry.uname, entry.gname) for entry in entries} == {(0, 0, 0, "", "")}


def test_modes_links_and_parents_are_kept() -> None:
    tar = _open(context_tar(FILES))
    assert (tar.getmember("src/a.py").mode, tar.getmember("bin/run").mode) == (0o644, 0o755)
    assert tar.getmember("bin").isdir()
    assert tar.getmember("link").issym()
    assert tar.getmember("link").linkname == "../outside"
    assert "ünïcode \udcff" in tar.getnames()
    assert "deep/" * 60 + "file" in tar.getnames()


@pytest.mark.parametrize("path", ["/etc/passwd", "../up", "a/../../b", "", "a//b", "./a"])
def test_a_path_that_is_not_plainly_inside_is_refused(path: str) -> None:
    with pytest.raises(InputError, match="expected a path inside the build context") as caught:
        context_tar([ContextFile(path, "100644", b"")])
    assert repr(path) in caught.value.message


def test_a_path_may_stand_once() -> None:
    with pytest.raises(InputError, match="once, found 'a' twice"):
        context_tar([ContextFile("a", "100644", b"1"), ContextFile("a", "100644", b"2")])


def test_a_submodule_is_no_file() -> None:
    with pytest.raises(InputError, match="found mode 160000 at 'sub'") as caught:
        context_tar([ContextFile("sub", "160000", b"")])
    assert "submodule" in caught.value.hint
