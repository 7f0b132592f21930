from __future__ import annotations

import io
import tarfile
from typing import Any

import pytest

from ci_plugin.engine.context import context_tar, keep_context
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


def _key(*files: ContextFile) -> str:
    with keep_context(files) as context:
        return context.key


def test_the_key_of_a_context_is_that_of_its_files_alone() -> None:
    key = _key(*FILES)
    assert key == _key(*reversed(FILES))
    others = [
        FILES[:-1],
        (*FILES[:-1], ContextFile(FILES[-1].path, "100755", FILES[-1].data)),
        (*FILES[:-1], ContextFile(FILES[-1].path, "100644", b"gnol")),
        (*FILES[:-1], ContextFile(FILES[-1].path + "x", "100644", FILES[-1].data)),
    ]
    assert len({key, *(_key(*files) for files in others)}) == 1 + len(others)


def test_a_large_context_lies_in_a_file_and_is_read_in_pieces() -> None:
    data = bytes(range(256)) * 4096
    with keep_context(ContextFile(f"{number}", "100644", data) for number in range(40)) as context:
        kept: Any = context.entries[0].kept
        assert kept._rolled  # asking for its number would make a file of it
        for entry in context.entries:
            assert entry.read(256, 5) == bytes(range(5))
            assert entry.read(entry.size - 1, 100) == b"\xff"
            assert entry.read(entry.size, 100) == b""
        assert max(map(len, context.tar())) <= 1 << 18
