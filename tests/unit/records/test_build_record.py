from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ci_plugin.errors import AnswerIsNo, DocumentError, Location
from ci_plugin.records.build_record import BaseRecord, BaseState, BuildRecord, BuiltBy, DependencyValue
from ci_plugin.records.record_file import format_record_file, parse_record_file, record_checksum
from ci_plugin.records.stage_labels import (
    BASE,
    CHAIN,
    DEPENDENCIES,
    LISTING,
    OCI_BASE_DIGEST,
    OCI_BASE_NAME,
    REUSE,
    Ancestor,
    StageLabels,
    parse_stage_labels,
)
from ci_plugin.values.digest import Digest, ImageId
from ci_plugin.values.document import seal
from ci_plugin.values.pipeline import PipelineId, Scope, ScopeKey
from ci_plugin.values.platform import DEFAULT_PLATFORM

DOCUMENTS = Path(__file__).parents[2] / "data" / "documents"
FILE = ".stagepin/build.json"
WHERE = Location(FILE)


def example(name: str = "build-1.json") -> BuildRecord:
    return parse_record_file((DOCUMENTS / name).read_bytes(), FILE)


@pytest.mark.parametrize("name", ["build-1.json", "build-1-local.json"])
def test_a_record_of_version_1_stays_readable_for_ever_and_is_written_as_it_was(name: str) -> None:
    data = (DOCUMENTS / name).read_bytes()
    assert format_record_file(example(name)) == data
    assert record_checksum(example(name)) == json.loads(data)["checksum"]


def test_the_record_says_what_the_document_says() -> None:
    image = example().images["app"]
    platform = image.platforms[DEFAULT_PLATFORM]
    assert str(image.reference) == f"registry.example.com/group/app@sha256:{'4' * 64}"
    assert (platform.signature, platform.image_id) == ("3" * 64, ImageId("sha256:" + "5" * 64))
    assert platform.built_by == BuiltBy("pipeline:1000", "d" * 40)
    assert (platform.base.state, platform.base.digest) == (BaseState.KEPT, Digest("sha256:" + "1" * 64))
    assert [(stage.name, stage.built, stage.seconds) for stage in platform.stages] == [("from", False, 0), ("setup", True, 1.2)]
    local = example("build-1-local.json")
    assert (local.repository, local.images["app"].reference, local.images["app"].digest) == (None, None, None)


def keys(value: Any) -> Any:
    """The keys of a document and of everything in it."""
    if isinstance(value, dict):
        return {key: keys(item) for key, item in value.items()}
    return [keys(item) for item in value[:1]] if isinstance(value, list) and value and isinstance(value[0], dict) else None


def test_the_document_has_the_keys_that_are_published() -> None:
    stage = dict.fromkeys(["name", "signature", "digest", "built", "seconds", "inputs"])
    base = dict.fromkeys(["reference", "digest", "state", "diffIds"])
    platform = {"signature": None, "digest": None, "imageId": None, "builtBy": dict.fromkeys(["scope", "commit"]), "base": base}
    image = {
        "reference": None,
        "digest": None,
        "mediaType": None,
        "tags": None,
        "platforms": {"linux/amd64": platform | {"stages": [stage]}},
    }
    found = keys(json.loads((DOCUMENTS / "build-1.json").read_bytes()))
    assert list(found) == ["schemaVersion", "scope", "pipeline", "commit", "repo", "pins", "complete", "published", "images", "checksum"]
    assert found["pipeline"] == dict.fromkeys(["forge", "host", "projectId", "project", "id"])
    assert found["images"] == {"app": image}


def test_a_record_names_the_pin_file_it_was_built_from_by_its_checksum() -> None:
    assert example().pins == json.loads((DOCUMENTS / "pins-1.json").read_bytes())["checksum"]


def test_seconds_are_rounded_to_thousandths_and_whole_ones_are_whole_numbers() -> None:
    def written(seconds: float) -> object:
        record = example()
        image = record.images["app"]
        platform = image.platforms[DEFAULT_PLATFORM]
        stages = (replace(platform.stages[0], seconds=seconds),)
        image = replace(image, platforms={DEFAULT_PLATFORM: replace(platform, stages=stages)})
        document = json.loads(format_record_file(replace(record, images={"app": image})))
        return repr(document["images"]["app"]["platforms"]["linux/amd64"]["stages"][0]["seconds"])

    assert [written(seconds) for seconds in (0, 12.0, 1.23456, 0.0001)] == ["0", "12", "1.235", "0"]


def changed(*path: str | int, to: object) -> bytes:
    document = json.loads((DOCUMENTS / "build-1.json").read_bytes())
    place = document
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = to
    return seal({key: value for key, value in document.items() if key != "checksum"})


AMD64 = ("images", "app", "platforms", "linux/amd64")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (changed("repo", to="h.io/a:1"), 'expected a repository without tag or digest at repo, found "h.io/a:1"'),
        (changed("pins", to="x"), 'expected sha256:<64 hex> or sha512:<128 hex> at pins, found "x"'),
        (changed("complete", to=1), "expected true or false at complete, found 1"),
        (
            changed("images", "app", "reference", to="registry.example.com/group/app:latest"),
            'expected repository@digest at images.app.reference, found "registry.example.com/group/app:latest"',
        ),
        (
            changed("images", "app", "reference", to=f"registry.example.com/group/app:latest@sha256:{'4' * 64}"),
            "expected repository@digest at images.app.reference, found ",
        ),
        (
            changed("images", "app", "digest", to=f"sha256:{'9' * 64}"),
            f'expected the digest of the reference at images.app.digest, found "sha256:{"9" * 64}"',
        ),
        (changed("images", "app", "reference", to=None), "expected the digest of the reference at images.app.digest, found "),
        (changed("images", "app", "platforms", to={}), "expected at least one platform at images.app.platforms, found {}"),
        (
            changed("images", "app", "platforms", to={"linux": {}}),
            'expected a platform such as linux/amd64 or linux/arm/v7 at images.app.platforms, found "linux"',
        ),
        (changed(*AMD64, "imageId", to=None), "expected text at images.app.platforms.linux/amd64.imageId, found nothing"),
        (changed(*AMD64, "signature", to="A" * 64), "expected 64 hex characters at images.app.platforms.linux/amd64.signature, found"),
        (
            changed(*AMD64, "base", "state", to="frozen"),
            "expected one of pinned, kept, scratch, archive, image at images.app.platforms.linux/amd64.base.state",
        ),
        (
            changed(*AMD64, "stages", 1, "inputs", 0, to=["a"]),
            "expected a pair of label and sha256 at images.app.platforms.linux/amd64.stages[1].inputs[0]",
        ),
        (changed(*AMD64, "builtBy", "commit", to="abc"), "expected a full commit id (40 hex characters) at images.app"),
    ],
)
def test_a_wrong_record_is_refused_with_the_path_of_what_is_wrong(data: bytes, message: str) -> None:
    with pytest.raises(DocumentError) as caught:
        parse_record_file(data, FILE)
    assert caught.value.message.startswith(message)
    assert caught.value.where == WHERE


def test_a_record_of_a_newer_version_is_refused_by_its_version() -> None:
    with pytest.raises(DocumentError, match="expected schemaVersion 1, found 2: it was written by a newer stagepin"):
        parse_record_file(changed("schemaVersion", to=2), FILE)


def test_all_images_of_a_complete_record_are_selected_and_named_ones_of_any() -> None:
    record = example()
    two = replace(record, images={**record.images, "web": record.images["app"]})
    assert list(two.select([], WHERE)) == ["app", "web"]
    assert list(two.select(["web"], WHERE)) == ["web"]
    assert list(replace(two, complete=False).select(["web", "app"], WHERE)) == ["web", "app"]


def test_a_partial_record_is_never_taken_for_the_whole() -> None:
    with pytest.raises(AnswerIsNo) as caught:
        replace(example(), complete=False).select([], WHERE)
    assert caught.value.message == "expected a complete build record, found a partial one with app"
    assert caught.value.hint == "run `stagepin build --require-built` after the last build job, or name the images"
    with pytest.raises(AnswerIsNo, match="found a partial one with no image"):
        replace(example(), complete=False, images={}).select([], WHERE)


def test_a_record_of_nothing_proves_nothing() -> None:
    with pytest.raises(AnswerIsNo) as caught:
        replace(example(), images={}).select([], WHERE)
    assert caught.value.message == "expected an image in the build record, found none"
    assert caught.value.hint.startswith("only images that are neither artifacts nor `final: false` are recorded")


def test_an_image_the_record_lacks_is_named_with_the_command_that_builds_it() -> None:
    with pytest.raises(AnswerIsNo) as caught:
        example().select(["app", "web", "api"], WHERE)
    assert caught.value.message == "expected web, api in the build record, found app"
    assert caught.value.hint == "build it in this scope first: `stagepin build web api`"
    assert (caught.value.where, caught.value.exit_code) == (WHERE, 1)


def key(**changes: str) -> ScopeKey:
    ours = {"forge": "gitlab", "host": "gitlab.example.com", "project_id": "4711", "project": "renamed/app", "id": "7"}
    scope = changes.pop("scope", "pipeline:1001")
    return ScopeKey(PipelineId(**(ours | changes)), Scope(scope))


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("scope", "pipeline:2", "expected a build record of scope pipeline:2, found scope pipeline:1001"),
        ("forge", "github", "expected a build record of forge github, found forge gitlab"),
        ("host", "h", "expected a build record of host h, found host gitlab.example.com"),
        ("project_id", "1", "expected a build record of project id 1, found project id 4711"),
    ],
)
def test_a_foreign_record_is_refused_naming_what_differs(field: str, value: str, message: str) -> None:
    example().check_ours(key(), by_name=False, where=WHERE)
    with pytest.raises(DocumentError) as caught:
        example().check_ours(key(**{field: value}), by_name=False, where=WHERE)
    assert caught.value.message == message
    assert caught.value.hint == (f"remove {FILE} and run `stagepin fetch`, or ask for that scope with `--scope pipeline:1001`")


def test_a_scope_asked_for_by_name_brings_its_own_identity() -> None:
    example().check_ours(key(forge="local", host="", project_id=""), by_name=True, where=WHERE)
    with pytest.raises(DocumentError, match="expected a build record of scope other, found scope pipeline:1001"):
        example().check_ours(key(scope="other"), by_name=True, where=WHERE)


LABELS = StageLabels(
    "setup",
    "3" * 64,
    (Ancestor("from", "7" * 64, Digest("sha256:" + "8" * 64)), Ancestor("install", "6" * 64, None)),
    BaseRecord("docker.io/library/alpine:latest", Digest("sha256:" + "1" * 64), BaseState.PINNED, (Digest("sha256:" + "6" * 64),)),
    BuiltBy("pipeline:1001", "d" * 40),
)


def test_labels_are_read_back_as_they_were_written() -> None:
    assert parse_stage_labels(LABELS.to_labels()) == LABELS
    assert LABELS.to_labels()[OCI_BASE_NAME] == "docker.io/library/alpine:latest"
    assert LABELS.to_labels()[OCI_BASE_DIGEST] == "sha256:" + "1" * 64


def test_an_image_without_a_base_overwrites_the_labels_of_other_tools() -> None:
    labels = replace(LABELS, base=BaseRecord(None, None, BaseState.SCRATCH, ())).to_labels()
    assert (labels[OCI_BASE_NAME], labels[OCI_BASE_DIGEST]) == ("", "")
    assert parse_stage_labels(labels).base == BaseRecord(None, None, BaseState.SCRATCH, ())


def test_what_an_image_took_of_git_and_of_others_is_read_back() -> None:
    told = (DependencyValue("lib", "ImageID", "LIB_ID", "sha256:" + "2" * 64), DependencyValue("lib", "ImageTag", "LIB", "9" * 64))
    labels = replace(LABELS, listing="a" * 64, dependencies=told, reuse="b" * 64)
    assert parse_stage_labels(labels.to_labels()) == labels


def test_what_an_image_of_an_earlier_version_does_not_say_is_nothing() -> None:
    labels = {name: value for name, value in LABELS.to_labels().items() if name not in (LISTING, DEPENDENCIES, REUSE)}
    assert parse_stage_labels(labels) == LABELS


def test_the_labels_of_a_base_that_is_itself_a_stage_do_not_shine_through() -> None:
    base = replace(LABELS, listing="a" * 64, dependencies=(DependencyValue("lib", "ImageTag", "LIB", "9" * 64),), reuse="b" * 64)
    assert parse_stage_labels({**base.to_labels(), **LABELS.to_labels()}) == LABELS


@pytest.mark.parametrize("label", sorted(set(LABELS.to_labels()) - {OCI_BASE_NAME, OCI_BASE_DIGEST, LISTING, DEPENDENCIES, REUSE}))
def test_an_image_that_lacks_one_of_our_labels_is_none_of_ours(label: str) -> None:
    labels = {name: value for name, value in LABELS.to_labels().items() if name != label}
    with pytest.raises(ValueError, match="expected the labels of a stage image, found KeyError in them"):
        parse_stage_labels(labels)


@pytest.mark.parametrize("value", ["", "x", "1", "[1]", '{"a": 1}', '[["a", "b"]]', '"text"', "[" * 100_000, '[["a", "b", 5]]', "null"])
@pytest.mark.parametrize("label", [BASE, CHAIN, DEPENDENCIES])
def test_labels_that_hold_something_else_are_refused(label: str, value: str) -> None:
    with pytest.raises(ValueError, match="expected the labels of a stage image, found "):
        parse_stage_labels({**LABELS.to_labels(), label: value})
