"""Pin files and build records: written and read back they are the same, and parser and published JSON Schema refuse the same mistakes."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ci_plugin
from ci_plugin.errors import DocumentError
from ci_plugin.pins.pin_file import format_pin_file, parse_pin_file, pin_checksum
from ci_plugin.pins.pin_set import PinSet
from ci_plugin.records.build_record import BuildRecord
from ci_plugin.records.record_file import format_record_file, parse_record_file, record_checksum
from ci_plugin.values.document import seal
from tests.property.strategies import build_records, pin_sets

SCHEMAS = Path(ci_plugin.__file__).parent / "schemas"
EXAMPLES = Path(__file__).parents[1] / "data" / "documents"
Validator: TypeAlias = jsonschema.Draft202012Validator
Step: TypeAlias = "str | int"


def validator(name: str) -> Validator:
    schema = json.loads((SCHEMAS / name).read_bytes())
    Validator.check_schema(schema)
    return Validator(schema)


PIN_SCHEMA, RECORD_SCHEMA = validator("pins-1.json"), validator("build-1.json")
KINDS: dict[str, tuple[Validator, Callable[[bytes, str], object]]] = {
    "pins-1.json": (PIN_SCHEMA, parse_pin_file),
    "pins-1-git.json": (PIN_SCHEMA, parse_pin_file),
    "build-1.json": (RECORD_SCHEMA, parse_record_file),
    "build-1-local.json": (RECORD_SCHEMA, parse_record_file),
}
modest = settings(max_examples=60, deadline=None)


@given(pins=pin_sets())
@modest
def test_a_pin_file_is_read_back_as_it_was_written_and_fits_its_schema(pins: PinSet) -> None:
    data = format_pin_file(pins)
    found = parse_pin_file(data, "f")
    assert (found, found.pipeline.project) == (pins, pins.pipeline.project)
    assert format_pin_file(found) == data
    document = json.loads(data)
    assert pin_checksum(pins) == document["checksum"]
    PIN_SCHEMA.validate(document)


@given(record=build_records)
@modest
def test_a_build_record_is_read_back_as_it_was_written_and_fits_its_schema(record: BuildRecord) -> None:
    data = format_record_file(record)
    found = parse_record_file(data, "f")
    assert (found, found.pipeline.project) == (record, record.pipeline.project)
    assert format_record_file(found) == data
    document = json.loads(data)
    assert record_checksum(record) == document["checksum"]
    RECORD_SCHEMA.validate(document)


@pytest.mark.parametrize("name", KINDS)
def test_the_committed_examples_fit_the_published_schemas(name: str) -> None:
    KINDS[name][0].validate(json.loads((EXAMPLES / name).read_bytes()))


def places(value: object, path: tuple[Step, ...] = ()) -> Iterator[tuple[Step, ...]]:
    """The path of every value of a document but the checksum."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for step, item in items:
        if (*path, step) != ("checksum",):
            yield (*path, step)
            yield from places(item, (*path, step))


def at(document: Any, path: tuple[Step, ...]) -> Any:
    for step in path:
        document = document[step]
    return document


def is_refused(parse: Callable[[bytes, str], object], document: dict[str, Any]) -> bool:
    """Whether the parser refuses this document, sealed anew; the errors must be ours and name a place."""
    data = seal({key: value for key, value in document.items() if key != "checksum"})
    try:
        parse(data, "f")
    except DocumentError as error:
        return bool(error.message and error.hint and error.where)
    return False


def check(name: str, document: dict[str, Any], what: object) -> bool:
    """What the schema refuses the parser refuses; returns whether the schema did."""
    schema, parse = KINDS[name]
    fits = schema.is_valid({**document, "checksum": "sha256:" + "a" * 64})
    assert fits or is_refused(parse, document), f"only the schema refuses {what}"
    return not fits


@pytest.mark.parametrize("name", KINDS)
def test_every_missing_key_is_refused_by_schema_and_parser(name: str) -> None:
    original = json.loads((EXAMPLES / name).read_bytes())
    for path in places(original):
        document = copy.deepcopy(original)
        del at(document, path[:-1])[path[-1]]
        is_map_or_list = isinstance(path[-1], int) or path[-2:-1] in (("platforms",), ("images",))
        assert check(name, document, path) or is_map_or_list, path


@pytest.mark.parametrize("name", KINDS)
def test_every_unknown_key_is_refused_by_schema_and_parser(name: str) -> None:
    original = json.loads((EXAMPLES / name).read_bytes())
    for path in [(), *places(original)]:
        document = copy.deepcopy(original)
        if isinstance(place := at(document, path), dict):
            place["unknown"] = "x"
            assert check(name, document, path), path
            assert is_refused(KINDS[name][1], document), path


WRONG: tuple[object, ...] = (
    None,
    True,
    -1,
    0,
    1,
    1.5,
    2**60,
    "",
    "x",
    "sha256:" + "A" * 64,
    [],
    ["x"],
    [[]],
    {},
    {"x": 1},
    {"linux/amd64": None},
)


@pytest.mark.parametrize("name", KINDS)
def test_what_the_schema_refuses_in_any_place_the_parser_refuses_too(name: str) -> None:
    original = json.loads((EXAMPLES / name).read_bytes())
    refused = 0
    for path in places(original):
        for wrong in WRONG:
            document = copy.deepcopy(original)
            at(document, path[:-1])[path[-1]] = wrong
            refused += check(name, document, (path, wrong))
    assert refused > 300


@given(pins=pin_sets(), record=build_records, data=st.data())
@settings(max_examples=40, deadline=None)
def test_two_wrong_places_are_no_better_than_one(pins: PinSet, record: BuildRecord, data: st.DataObject) -> None:
    for name, written in (("pins-1.json", format_pin_file(pins)), ("build-1.json", format_record_file(record))):
        document = json.loads(written)
        for _ in range(2):
            path = data.draw(st.sampled_from(list(places(document))))
            at(document, path[:-1])[path[-1]] = copy.deepcopy(data.draw(st.sampled_from(WRONG)))
        check(name, document, document)


@given(data=st.binary(max_size=60) | st.text(max_size=40).map(str.encode))
@modest
def test_any_bytes_are_a_document_or_a_document_error(data: bytes) -> None:
    for parse in (parse_pin_file, parse_record_file):
        with pytest.raises(DocumentError):
            parse(data, "f")


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@given(document=st.dictionaries(st.sampled_from(["schemaVersion", "tool", "checksum", "pins"]), _json))
@modest
def test_any_json_is_a_document_or_a_document_error(document: dict[str, Any]) -> None:
    for parse in (parse_pin_file, parse_record_file):
        with pytest.raises(DocumentError):
            parse(json.dumps(document).encode(), "f")
