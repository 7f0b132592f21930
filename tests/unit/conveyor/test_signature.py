"""Golden vectors: the stage signatures every team's storage is tagged with."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from ci_plugin.conveyor.plan import Plan, make_plan
from ci_plugin.conveyor.signature import SIGNATURE_VERSION, Conveyor, index_signature, stage_signature
from ci_plugin.conveyor.stage import FromScratch, Input
from ci_plugin.pins.pin_set import Pin
from ci_plugin.values.canonical import Value, encode
from ci_plugin.values.digest import Digest
from ci_plugin.values.manifest import OCI_INDEX
from ci_plugin.values.platform import DEFAULT_PLATFORM, parse_platform
from ci_plugin.values.reference import parse_reference
from tests.unit.conveyor.project import NOW, MemoryProject, load, make_pins

FILE = Path(__file__).parents[2] / "data" / "signatures.json"
MOVED = (
    "a stage signature moved: with this change every team's next pipeline builds everything anew and no stored stage is found again. "
    "If that is meant, raise SIGNATURE_VERSION (and ENCODING_VERSION if the bytes changed), add new vectors to tests/data/signatures.json "
    "and give it a heading of its own in CHANGELOG.md; if it is not, the change is the mistake, not this file"
)


def vectors() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(FILE.read_bytes()) if FILE.exists() else {}
    return found


def value_of(document: object) -> Value:
    """JSON as a canonical value: lists are tuples, ``{"hex": …}`` is bytes."""
    if isinstance(document, dict):
        return bytes.fromhex(document["hex"])
    if isinstance(document, list):
        return tuple(value_of(item) for item in document)
    assert document is None or isinstance(document, str | int)
    return document


def plan_case(case: dict[str, Any]) -> Plan:
    """The plan of a whole project of the vectors."""
    files = {path: text.encode() for path, text in case["files"].items()}
    archives = {path: text.encode() for path, text in case.get("archives", {}).items()}
    project = MemoryProject(files, case.get("modes", {}), archives)
    pins = [
        Pin(
            reference=parse_reference(reference),
            digest=Digest(pin["index"]),
            media_type=OCI_INDEX,
            size=1,
            platforms={parse_platform(platform): Digest(digest) for platform, digest in pin["platforms"].items()},
            in_signature=True,
            resolved_at=NOW,
            origin=(),
        )
        for reference, pin in case["pins"].items()
    ]
    return make_plan(load(files), make_pins(*pins), project, platforms=[parse_platform(case["platform"])])


def test_the_vectors_are_of_this_version() -> None:
    assert vectors()["signatureVersion"] == SIGNATURE_VERSION


@pytest.mark.parametrize("case", vectors().get("encodings", []), ids=lambda case: json.dumps(case["value"])[:40])
def test_the_canonical_bytes_of_a_value_never_move(case: dict[str, Any]) -> None:
    assert encode(value_of(case["value"])) == case["bytes"].encode("latin-1"), MOVED


@pytest.mark.parametrize("case", vectors().get("stages", []), ids=lambda case: f"{case['stage']} {case['platform']}")
def test_the_stage_signature_of_given_inputs_never_moves(case: dict[str, Any]) -> None:
    inputs = [Input(label, value_of(value), "") for label, value in case["inputs"]]
    found = stage_signature(parse_platform(case["platform"]), case["stage"], inputs, case["parent"])
    assert found == case["signature"], MOVED


@pytest.mark.parametrize("case", vectors().get("stages", []), ids=lambda case: f"{case['stage']} {case['platform']}")
def test_a_stage_signature_is_the_sha256_of_the_fields_the_decision_lists(case: dict[str, Any]) -> None:
    fields = [
        ["version", 1],
        ["platform", case["platform"]],
        ["stage", case["stage"]],
        ["inputs", case["inputs"]],
        ["parent", case["parent"]],
    ]
    assert hashlib.sha256(encode(value_of([1, fields]))).hexdigest() == case["signature"]


@pytest.mark.parametrize("case", vectors().get("indexes", []), ids=lambda case: ", ".join(case["signatures"]))
def test_the_signature_of_an_index_never_moves_and_knows_no_order(case: dict[str, Any]) -> None:
    signatures = {parse_platform(platform): signature for platform, signature in case["signatures"].items()}
    assert index_signature(signatures) == case["signature"], MOVED
    assert index_signature(dict(reversed(signatures.items()))) == case["signature"]


@pytest.mark.parametrize("case", vectors().get("conveyors", []), ids=lambda case: case["name"])
def test_the_conveyors_of_a_whole_project_never_move(case: dict[str, Any]) -> None:
    found = {
        planned.name: [
            {"stage": stage.name, "signature": stage.signature, "labels": [item.label for item in stage.inputs]} for stage in planned.stages
        ]
        for planned in plan_case(case)
    }
    assert found == case["images"], MOVED


def test_labels_are_unique_and_sorted_in_every_stage_of_the_vectors() -> None:
    for case in vectors()["conveyors"]:
        for stages in case["images"].values():
            for stage in stages:
                assert stage["labels"] == sorted(set(stage["labels"])), case["name"]


def test_no_two_stages_of_the_vectors_share_a_signature_unless_they_are_equal() -> None:
    found = [stage["signature"] for case in vectors()["conveyors"] for stages in case["images"].values() for stage in stages]
    assert len(found) == len(set(found))


def test_a_conveyor_orders_its_inputs_and_signs_each_stage_with_its_parent() -> None:
    conveyor = Conveyor(DEFAULT_PLATFORM)
    inputs = [Input("b", "2", "2"), Input("a", "1", "1")]
    conveyor.add("from", inputs, FromScratch())
    conveyor.add("install", inputs, FromScratch())
    first, second = conveyor.stages
    assert [item.label for item in first.inputs] == ["a", "b"]
    assert first.signature == stage_signature(DEFAULT_PLATFORM, "from", inputs[::-1], None)
    assert second.signature == stage_signature(DEFAULT_PLATFORM, "install", inputs[::-1], first.signature)
