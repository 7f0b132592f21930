from __future__ import annotations

import gzip
import hashlib
import lzma
from pathlib import Path

import pytest

from ci_plugin.engine.archives import RootfsArchive
from ci_plugin.errors import InputError


def _read(archive: RootfsArchive) -> bytes:
    return b"".join(archive.chunks())


def test_every_packing_gives_the_same_bytes_and_hash(tmp_path: Path) -> None:
    data = bytes(range(256)) * 8192
    for name, packed in {"plain": data, "gz": gzip.compress(data), "xz": lzma.compress(data)}.items():
        (tmp_path / name).write_bytes(packed)
        archive = RootfsArchive(tmp_path / name)
        assert _read(archive) == data
        assert archive.diff_id.hex == hashlib.sha256(data).hexdigest()


def test_no_archive_is_a_tar_of_no_files() -> None:
    archive = RootfsArchive(None)
    assert _read(archive) == bytes(1024)
    assert str(archive.diff_id) == "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef"


@pytest.mark.parametrize("data", [gzip.compress(b"x" * 9999)[:-9], lzma.compress(b"x" * 9999)[:-9], b"\x28\xb5\x2f\xfdtorn", b"BZh9"])
def test_a_torn_or_foreign_archive_is_refused_with_its_path(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "rootfs"
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"expected a root filesystem tar \(plain, gzip, xz or zstd\), found") as caught:
        _read(RootfsArchive(path))
    assert str(caught.value.where) == str(path)
    assert caught.value.hint


def test_a_missing_archive_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        _read(RootfsArchive(tmp_path / "none"))
