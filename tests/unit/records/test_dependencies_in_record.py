"""What a build was told of other images stands in the record; a record where nothing was is what it was before there was the key."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from ci_plugin.errors import DocumentError
from ci_plugin.records.build_record import BuildRecord, DependencyValue
from ci_plugin.records.record_file import format_record_file, parse_record_file
from ci_plugin.values.document import seal

DOCUMENTS = Path(__file__).parents[2] / "data" / "documents"
FILE = ".stagepin/build.json"
TOLD = (DependencyValue("lib", "ImageID", "LIB_ID", "sha256:" + "2" * 64), DependencyValue("lib", "ImageTag", "LIB", "9" * 64))


def told(*values: DependencyValue) -> BuildRecord:
    record = parse_record_file((DOCUMENTS / "build-1.json").read_bytes(), FILE)
    image = record.images["app"]
    platforms = {platform: replace(one, dependencies=values) for platform, one in image.platforms.items()}
    return replace(record, images={"app": replace(image, platforms=platforms)})


def test_values_are_read_back_as_they_were_written() -> None:
    assert parse_record_file(format_record_file(told(*TOLD)), FILE) == told(*TOLD)


def test_without_values_the_record_has_no_such_key() -> None:
    assert b"dependencies" not in format_record_file(told())


def test_the_schema_knows_the_key() -> None:
    schema = json.loads(files("ci_plugin").joinpath("schemas", "build-1.json").read_text())
    jsonschema.validate(json.loads(format_record_file(told(*TOLD))), schema)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([], "expected at least one value at images.app.platforms.linux/amd64.dependencies, found []"),
        ([["lib", "ImageID", "LIB"]], "expected an image, a type, a target and a value at "),
        ([["lib", "ImageID", "LIB", 5]], "expected text at "),
        ("text", "expected a list at "),
    ],
)
def test_anything_else_is_refused_with_its_place(value: Any, message: str) -> None:
    document = json.loads(format_record_file(told(*TOLD)))
    document["images"]["app"]["platforms"]["linux/amd64"]["dependencies"] = value
    del document["checksum"]
    with pytest.raises(DocumentError) as caught:
        parse_record_file(seal(document), FILE)
    assert caught.value.message.startswith(message)
    assert "dependencies" in caught.value.message
