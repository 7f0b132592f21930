"""The canonical encoding: different values have different bytes, and no value's bytes begin another's."""

from __future__ import annotations

import hashlib
import json

import rfc8785
from hypothesis import given, settings
from hypothesis import strategies as st

from ci_plugin.pins.pin_file import format_pin_file
from ci_plugin.pins.pin_set import PinSet
from ci_plugin.records.build_record import BuildRecord
from ci_plugin.records.record_file import format_record_file
from ci_plugin.values.canonical import Value, canonical_json, encode, encode_fields, fields_hash, sha256_hex
from tests.property.strategies import build_records, pin_sets

path_texts = st.binary(max_size=8).map(lambda data: data.decode("utf-8", "surrogateescape"))
scalars: st.SearchStrategy[Value] = st.one_of(
    st.none(), st.booleans(), st.integers(-300, 300), st.text(max_size=6), st.binary(max_size=6), path_texts
).filter(lambda value: not isinstance(value, str) or _has_bytes(value))
values: st.SearchStrategy[Value] = st.recursive(scalars, lambda inner: st.lists(inner, max_size=4).map(tuple), max_leaves=8)
modest = settings(max_examples=150, deadline=None)


def _has_bytes(text: str) -> bool:
    """Whether some bytes decode to this text."""
    try:
        return text.encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape") == text
    except UnicodeEncodeError:
        return False


def _typed(value: Value) -> object:
    """The value with its types, because Python takes 1 and True for equal."""
    return (type(value).__name__, tuple(_typed(item) for item in value) if isinstance(value, tuple) else value)


def decode(data: bytes) -> tuple[Value, bytes]:
    """One value and what follows it: a reader written from the docstring alone."""
    kind, rest = data[:1], data[1:]
    if kind in (b"n", b"t", b"f"):
        return {b"n": None, b"t": True, b"f": False}[kind], rest
    if kind == b"i":
        number, _, rest = rest.partition(b";")
        return int(number), rest
    length, _, rest = rest.partition(b":")
    size = int(length)
    if kind == b"l":
        items: list[Value] = []
        for _ in range(size):
            item, rest = decode(rest)
            items.append(item)
        return tuple(items), rest
    content, rest = rest[:size], rest[size:]
    return (content if kind == b"b" else content.decode("utf-8", "surrogateescape")), rest


@given(value=values, tail=st.binary(max_size=5))
@modest
def test_an_independent_reader_gets_the_value_back_whatever_follows_it(value: Value, tail: bytes) -> None:
    found, rest = decode(encode(value) + tail)
    assert _typed(found) == _typed(value)
    assert rest == tail


@given(one=values, other=values)
@modest
def test_different_values_have_different_bytes_and_neither_begins_the_other(one: Value, other: Value) -> None:
    is_same = _typed(one) == _typed(other)
    assert (encode(one) == encode(other)) is is_same
    assert encode(one).startswith(encode(other)) is is_same


@given(value=values)
@modest
def test_the_hash_is_the_sha256_of_the_bytes(value: Value) -> None:
    assert sha256_hex(value) == hashlib.sha256(encode(value)).hexdigest()
    assert fields_hash([("a", value)]) == hashlib.sha256(encode_fields([("a", value)])).hexdigest()


@given(
    fields=st.lists(st.tuples(st.text(max_size=4), values), max_size=3), other=st.lists(st.tuples(st.text(max_size=4), values), max_size=3)
)
@modest
def test_labels_and_the_order_of_fields_are_part_of_the_bytes(fields: list[tuple[str, Value]], other: list[tuple[str, Value]]) -> None:
    is_same = [(label, _typed(value)) for label, value in fields] == [(label, _typed(value)) for label, value in other]
    assert (encode_fields(fields) == encode_fields(other)) is is_same


_json_texts = st.text(st.characters(codec="utf-8"), max_size=8)
_json = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(0, 2**53 - 1), st.integers(0, 10**8).map(lambda number: number / 1000), _json_texts),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters(max_codepoint=0x7F), max_size=4), inner, max_size=3),
    max_leaves=10,
)


@given(document=_json)
@modest
def test_canonical_json_is_rfc_8785_for_what_documents_hold(document: object) -> None:
    assert canonical_json(_whole_numbers(document)) == rfc8785.dumps(document)  # type: ignore[arg-type]  # Hypothesis gives object


def _whole_numbers(value: object) -> object:
    """Seconds that are whole are written as whole numbers, as the record file does."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [_whole_numbers(item) for item in value]
    return {key: _whole_numbers(item) for key, item in value.items()} if isinstance(value, dict) else value


@given(pins=pin_sets(), record=build_records)
@settings(max_examples=40, deadline=None)
def test_the_checksum_of_our_documents_can_be_computed_by_any_rfc_8785_implementation(pins: PinSet, record: BuildRecord) -> None:
    for data in (format_pin_file(pins), format_record_file(record)):
        document = json.loads(data)
        checksum = document.pop("checksum")
        assert checksum == "sha256:" + hashlib.sha256(rfc8785.dumps(document)).hexdigest()
