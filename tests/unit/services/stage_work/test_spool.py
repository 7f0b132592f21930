"""Bytes on their way into an image are on disk, hashed, and can be read as often as it takes."""

from __future__ import annotations

import hashlib
import io

from hypothesis import given
from hypothesis import strategies as st

from ci_plugin.services.stage_work.spool import Spool


@given(st.lists(st.binary(max_size=5000), max_size=8))
def test_every_file_is_read_back_whatever_lies_around_it(files: list[bytes]) -> None:
    with Spool() as spool:
        kept = [spool.keep(io.BytesIO(data)) for data in files]
        for _ in range(2):
            streams = [item.open() for item in kept]
            assert [stream.read() for stream in reversed(streams)] == files[::-1]
        assert [(item.size, item.sha256) for item in kept] == [(len(data), hashlib.sha256(data).hexdigest()) for data in files]


def test_a_part_can_be_read_and_the_end_is_the_files_own() -> None:
    with Spool() as spool:
        first, second = spool.keep(io.BytesIO(b"first")), spool.keep(io.BytesIO(b"second"))
        with first.open() as stream:
            assert (stream.read(2), stream.read(100), stream.read(1)) == (b"fi", b"rst", b"")
        assert second.open().read() == b"second"
        assert spool.keep(io.BytesIO(b"")).open().read() == b""
