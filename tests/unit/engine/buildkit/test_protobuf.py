from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_plugin.engine.buildkit.protobuf import field, fields, find_bytes, varint

NUMBERS = st.integers(1, 2**29 - 1)
VALUES = st.one_of(st.integers(1, 2**64 - 1), st.binary(min_size=1, max_size=300))


@given(st.lists(st.tuples(NUMBERS, VALUES), max_size=20))
def test_what_was_written_is_read(message: list[tuple[int, bytes | int]]) -> None:
    assert list(fields(b"".join(field(number, value) for number, value in message))) == message


def test_defaults_are_not_written() -> None:
    assert field(1, 0) + field(1, "") + field(1, b"") == b""


def test_text_that_is_no_utf_8_travels_as_its_bytes() -> None:
    assert field(1, "\udcff") == b"\x0a\x01\xff"


def test_the_last_value_of_a_field_counts() -> None:
    assert find_bytes(field(1, "a") + field(2, 7) + field(1, "b"), 1) == b"b"
    assert find_bytes(field(1, 7), 1) == b""


@pytest.mark.parametrize(("value", "written"), [(0, "00"), (127, "7f"), (128, "8001"), (300, "ac02"), (1 << 31, "8080808008")])
def test_varints_are_those_of_the_specification(value: int, written: str) -> None:
    assert varint(value).hex() == written
