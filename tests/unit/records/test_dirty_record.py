"""A record of uncommitted files says so, and can never pass for a published one."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from ci_plugin.errors import DocumentError
from ci_plugin.records.record_file import format_record_file, parse_record_file
from ci_plugin.values.document import seal
from tests.e2e.own_source import ROOT

DOCUMENTS = Path(__file__).parents[2] / "data" / "documents"
LOCAL = json.loads((DOCUMENTS / "build-1-local.json").read_bytes())
FILE = ".stagepin/build.json"


def sealed(**changes: object) -> bytes:
    return seal({key: value for key, value in {**LOCAL, **changes}.items() if key != "checksum"})


def test_it_is_read_as_it_was_written_and_the_schema_knows_it() -> None:
    record = replace(parse_record_file((DOCUMENTS / "build-1-local.json").read_bytes(), FILE), dirty=True)
    data = format_record_file(record)
    assert json.loads(data)["dirty"] is True
    assert parse_record_file(data, FILE) == record
    schema = json.loads((ROOT / "ci_plugin" / "schemas" / "build-1.json").read_text())
    Draft202012Validator(schema).validate(json.loads(data))


def test_without_such_files_there_is_no_such_key() -> None:
    record = parse_record_file((DOCUMENTS / "build-1-local.json").read_bytes(), FILE)
    assert record.dirty is False
    assert "dirty" not in json.loads(format_record_file(record))


@pytest.mark.parametrize("changes", [{"dirty": False}, {"dirty": "yes"}, {"dirty": None}, {"dirty": True, "published": True}])
def test_no_other_value_and_no_published_record_is_taken(changes: dict[str, object]) -> None:
    with pytest.raises(DocumentError, match="at dirty, found"):
        parse_record_file(sealed(**changes), FILE)
