from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from ci_plugin.errors import AnswerIsNo, DocumentError, InputError, Location
from ci_plugin.pins.pin_file import format_pin_file, parse_pin_file, pin_checksum
from ci_plugin.pins.pin_set import ORIGIN_KINDS, PinSet
from ci_plugin.values.digest import Digest
from ci_plugin.values.document import seal
from ci_plugin.values.pipeline import PipelineId, Scope, ScopeKey
from ci_plugin.values.platform import DEFAULT_PLATFORM, parse_platform
from ci_plugin.values.reference import parse_reference, parse_repository

DOCUMENTS = Path(__file__).parents[2] / "data" / "documents"
DATA = (DOCUMENTS / "pins-1.json").read_bytes()
FILE = ".stagepin/pins.json"
WHERE = Location(FILE)
PINS = parse_pin_file(DATA, FILE)


def test_a_pin_file_of_version_1_stays_readable_for_ever_and_is_written_as_it_was() -> None:
    assert format_pin_file(PINS) == DATA
    assert pin_checksum(PINS) == json.loads(DATA)["checksum"]


def test_what_a_fork_pinned_and_where_copies_are_stands_in_the_file_only_where_there_is_something_to_say() -> None:
    data = (DOCUMENTS / "pins-1-fork.json").read_bytes()
    pins = parse_pin_file(data, FILE)
    assert (pins.fork, pins.keep) == ("mallory/app", parse_repository("registry.example.com/mallory/bases"))
    assert format_pin_file(pins) == data
    assert pins == replace(PINS, fork=pins.fork, keep=pins.keep)
    assert pin_checksum(pins) not in (pin_checksum(PINS), pin_checksum(replace(pins, fork=""))), "the checksum covers both"


def test_the_document_has_the_keys_that_are_published() -> None:
    document = json.loads(DATA)
    assert list(document) == ["schemaVersion", "tool", "scope", "pipeline", "commit", "createdAt", "images", "pins", "checksum"]
    assert list(document["pipeline"]) == ["forge", "host", "projectId", "project", "id"]
    resolved, unresolved, by_digest = document["pins"]
    first = ["kind", "reference", "digest"]
    last = ["inSignature", "resolvedAt", "origin"]
    assert list(resolved) == list(by_digest) == [*first, "mediaType", "size", "platforms", *last]
    assert list(unresolved) == [*first, "reason", *last]
    assert unresolved["digest"] is None
    assert [list(origin) for origin in resolved["origin"]] == [["kind", "image", "file", "line"]] * 2


def changed(*path: str | int, to: object) -> bytes:
    document = json.loads(DATA)
    place = document
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = to
    return seal({key: value for key, value in document.items() if key != "checksum"})


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (changed("scope", to="a b"), 'expected a scope of 1-128 characters [A-Za-z0-9._:/@+-] at scope, found "a b"'),
        (changed("commit", to="abc"), 'expected a full commit id (40 hex characters) at commit, found "abc"'),
        (changed("createdAt", to="now"), 'expected a time such as 2026-01-02T03:04:05Z at createdAt, found "now"'),
        (changed("images", to="api"), 'expected a list at images, found "api"'),
        (changed("pipeline", "forge", to="gitea"), 'expected gitlab, github or local at pipeline.forge, found "gitea"'),
        (changed("pins", 0, "kind", to="helm"), 'expected the kind image or git at pins[0].kind, found "helm"'),
        (changed("pins", 2, "digest", to="sha256:x"), 'expected sha256:<64 hex> or sha512:<128 hex> at pins[2].digest, found "sha256:x"'),
        (
            changed("pins", 0, "digest", to=None),
            "expected only the keys kind, reference, digest, inSignature, resolvedAt, origin, reason at",
        ),
        (changed("pins", 0, "reference", to="A"), "expected a repository of lower-case letters"),
        (changed("pins", 2, "reference", to="alpine"), 'expected every reference once at pins[2].reference, found "alpine"'),
        (changed("pins", 0, "platforms", to={"linux": "sha256:" + "a" * 64}), "expected a platform such as linux/amd64"),
        (changed("pins", 0, "size", to=-1), "expected a whole number from 0 at pins[0].size, found -1"),
        (changed("pins", 0, "origin", 1, "line", to=0), "expected a line from 1 at pins[0].origin[1].line, found 0"),
        (changed("pins", 0, "origin", 1, "kind", to="to"), f"expected one of {', '.join(ORIGIN_KINDS)} at pins[0].origin[1].kind"),
        (changed("fork", to=""), 'expected the name of a project at fork, found ""'),
        (changed("fork", to=None), "expected text at fork, found nothing"),
        (changed("keep", to="registry.example.com/bases:1"), "expected a repository without tag or digest at keep"),
        (changed("more", to=1), "expected only the keys schemaVersion, tool, scope"),
    ],
)
def test_a_wrong_pin_file_is_refused_with_the_path_of_what_is_wrong(data: bytes, message: str) -> None:
    with pytest.raises(DocumentError) as caught:
        parse_pin_file(data, FILE)
    assert caught.value.message.startswith(message)
    assert caught.value.where == WHERE
    assert caught.value.exit_code == 2


def test_a_pin_file_of_a_newer_version_is_refused_naming_version_and_writer() -> None:
    with pytest.raises(DocumentError) as caught:
        parse_pin_file(changed("schemaVersion", to=7), FILE)
    assert caught.value.message == "expected schemaVersion 1, found 7: it was written by a newer stagepin (stagepin/0.1.0)"


def test_a_reference_is_found_by_what_it_means_not_by_how_it_is_spelled() -> None:
    assert PINS.get(parse_reference("docker.io/library/alpine:latest")) is PINS.get(parse_reference("alpine"))


def test_a_reference_that_was_not_pinned_is_an_error_that_names_both_jobs() -> None:
    with pytest.raises(InputError) as caught:
        PINS.get(parse_reference("debian"), Location("werf.yaml", 4))
    assert caught.value.message == "expected docker.io/library/debian:latest among the 3 pins of pipeline:1001, found it missing"
    assert caught.value.hint == (
        "pin and build must read the same configuration, commit and options; compare the two jobs, then pin in a new scope"
    )
    assert caught.value.where == Location("werf.yaml", 4)


def test_a_pin_gives_the_manifest_of_a_platform_or_what_the_registry_serves() -> None:
    pin = PINS.get(parse_reference("alpine"))
    assert pin.digest_for(DEFAULT_PLATFORM) == Digest("sha256:" + "1" * 64)
    assert pin.digest_for(parse_platform("linux/arm64/v8")) == Digest("sha256:" + "2" * 64)
    assert pin.digest_for(None) == Digest("sha256:" + "a" * 64)


def test_a_platform_that_was_not_pinned_is_refused_saying_which_were() -> None:
    with pytest.raises(InputError) as caught:
        PINS.get(parse_reference("alpine")).digest_for(parse_platform("linux/s390x"))
    assert caught.value.message == ("expected docker.io/library/alpine:latest to be pinned for linux/s390x, found linux/amd64, linux/arm64")
    assert caught.value.hint == "pin with `--platform linux/s390x`; the pin set of a scope is never extended, so that is a new scope"
    assert caught.value.where == Location("werf.yaml", 4)


def test_an_unresolved_reference_stops_what_must_be_built_on_it_with_the_reason() -> None:
    for platform in (DEFAULT_PLATFORM, None):
        with pytest.raises(InputError) as caught:
            PINS.get(parse_reference("docker/dockerfile:1")).digest_for(platform)
        assert caught.value.message == (
            "expected a digest for docker.io/docker/dockerfile:1, found none: "
            "expected docker.io/docker/dockerfile:1 in the registry, found it absent"
        )
        assert caught.value.hint == "mend the reference or the access to it, then pin in a new scope"
        assert caught.value.where == Location("web/Dockerfile")


def test_a_pin_without_origin_has_no_place() -> None:
    assert replace(PINS.pins[0], origin=()).place is None


def test_a_set_covers_what_it_has_for_the_platforms_it_has() -> None:
    alpine = parse_reference("alpine")
    asked = [(alpine, DEFAULT_PLATFORM), (alpine, None), (alpine, parse_platform("linux/s390x")), (parse_reference("debian"), None)]
    assert [PINS.covers(*item) for item in asked] == [True, True, False, False]
    assert PINS.covers(parse_reference("docker/dockerfile:1"), parse_platform("linux/s390x"))


OURS = {"forge": "gitlab", "host": "gitlab.example.com", "project_id": "4711", "project": "renamed/app", "id": "another attempt"}


def key(scope: str = "pipeline:1001", **changes: str) -> ScopeKey:
    return ScopeKey(PipelineId(**(OURS | changes)), Scope(scope))


def test_a_set_is_ours_whatever_the_project_is_called_now_and_whichever_attempt_asks() -> None:
    PINS.check_ours(key(), PINS.commit, by_name=False, where=WHERE)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("scope", "pipeline:2", "expected pins of scope pipeline:2, found scope pipeline:1001"),
        ("forge", "github", "expected pins of forge github, found forge gitlab"),
        ("host", "h", "expected pins of host h, found host gitlab.example.com"),
        ("project_id", "1", "expected pins of project id 1, found project id 4711"),
    ],
)
def test_a_foreign_set_is_refused_naming_what_differs(field: str, value: str, message: str) -> None:
    with pytest.raises(DocumentError) as caught:
        PINS.check_ours(key(**{field: value}), PINS.commit, by_name=False, where=WHERE)
    assert caught.value.message == f"{message}: they belong to another job"
    assert caught.value.hint == f"remove {FILE} and run `stagepin fetch`, or ask for that scope with `--scope pipeline:1001`"
    assert caught.value.where == WHERE


@pytest.mark.parametrize(("scope", "is_refused"), [("pipeline:1001", True), ("commit:x", True), ("release", False), ("local", False)])
def test_another_commit_is_refused_in_a_scope_of_one_commit_only(scope: str, is_refused: bool) -> None:
    pins = replace(PINS, scope=Scope(scope))
    pins.check_ours(key(scope), None, by_name=False, where=WHERE)
    if not is_refused:
        pins.check_ours(key(scope), "b" * 40, by_name=False, where=WHERE)
        return
    with pytest.raises(DocumentError, match=f"expected pins of commit {'b' * 40}, found commit {PINS.commit}") as caught:
        pins.check_ours(key(scope), "b" * 40, by_name=False, where=WHERE)
    assert caught.value.hint == (
        f"check out {PINS.commit} in this job, or run a new pipeline, which pins anew; "
        f"to verify what that commit shipped, as a rollback does: `stagepin verify --scope {scope}`"
    ), "never to remove the stages storage they may be in"


def test_a_scope_asked_for_by_name_brings_its_own_identity_but_must_be_that_scope() -> None:
    PINS.check_ours(key(forge="local", host="", project_id=""), "b" * 40, by_name=True, where=WHERE)
    with pytest.raises(DocumentError, match="expected pins of scope other, found scope pipeline:1001"):
        PINS.check_ours(key("other"), PINS.commit, by_name=True, where=WHERE)


def test_a_local_set_is_adopted_for_24_hours_and_others_for_ever() -> None:
    local: PinSet = replace(PINS, scope=Scope("local"))
    day, second = timedelta(hours=24), timedelta(seconds=1)
    assert not local.is_expired(local.created_at + day)
    assert local.is_expired(local.created_at + day + second)
    assert not PINS.is_expired(PINS.created_at + 1000 * day)


def test_a_local_set_from_the_future_is_expired_and_clocks_may_differ_by_minutes() -> None:
    local: PinSet = replace(PINS, scope=Scope("local"))
    assert not local.is_expired(local.created_at - timedelta(minutes=5))
    assert local.is_expired(local.created_at - timedelta(minutes=5, seconds=1))
    assert not PINS.is_expired(PINS.created_at - timedelta(days=365))


def test_a_set_is_as_old_as_the_limit_and_not_older() -> None:
    limit = timedelta(hours=12)
    PINS.check_age(limit, PINS.created_at + limit, WHERE)
    PINS.check_age(limit, PINS.created_at - timedelta(minutes=5), WHERE)
    with pytest.raises(AnswerIsNo) as caught:
        PINS.check_age(limit, PINS.created_at + limit + timedelta(hours=1), WHERE)
    created = json.loads(DATA)["createdAt"]
    assert caught.value.message == f"expected the pins of pipeline:1001 to be at most 12h old, found them 13h old ({created})"
    assert caught.value.hint == "run a new pipeline, which pins anew; --max-age and `maxAge` in .stagepin.yaml set the limit"
    assert (caught.value.where, caught.value.exit_code) == (WHERE, 1)


def test_a_set_from_the_future_has_no_age() -> None:
    with pytest.raises(AnswerIsNo) as caught:
        replace(PINS, scope=Scope("train")).check_age(timedelta(days=400), PINS.created_at - timedelta(days=365), WHERE)
    assert "found them created 365d in the future, by this machine's clock (" in caught.value.message
    assert caught.value.hint.startswith("pin in a new scope (--scope); ")


def test_a_forks_set_is_adopted_by_that_forks_jobs_alone() -> None:
    theirs = replace(PINS, fork="mallory/app")
    theirs.check_fork("mallory/app", WHERE)
    PINS.check_fork("", WHERE)
    PINS.check_fork("mallory/app", WHERE)
    for fork in ("", "eve/app", "unknown"):
        with pytest.raises(DocumentError) as caught:
            theirs.check_fork(fork, WHERE)
        assert caught.value.message == (
            "expected pins of the project's own code, found those of the fork mallory/app: its code decided what they are"
        )
        assert caught.value.hint == (
            "take the CI artifact of this project's own pin job, or pin in a new scope; a fork's pins stay in the fork's jobs"
        )
