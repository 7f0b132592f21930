"""Digests, platforms, pipelines, times, listings: the small value types."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta, timezone

import pytest

from ci_plugin.values.canonical import encode, encode_fields, fields_hash
from ci_plugin.values.credentials import Credentials
from ci_plugin.values.digest import Digest, ImageId
from ci_plugin.values.pipeline import PipelineId, Scope, ScopeKey, parse_commit
from ci_plugin.values.platform import Platform, parse_platform
from ci_plugin.values.timestamp import format_time, parse_time
from ci_plugin.values.tree import Listing, TreeEntry

HEX = "0123456789abcdef" * 4


def test_a_digest_and_an_image_id_of_the_same_text_are_never_equal() -> None:
    text = f"sha256:{HEX}"
    both: set[object] = {Digest(text), ImageId(text)}
    assert len(both) == 2
    assert not isinstance(ImageId(text), Digest)
    assert not isinstance(Digest(text), ImageId)
    assert str(Digest(text)) == str(ImageId(text)) == text


def test_a_digest_matches_the_bytes_it_was_made_of_by_its_own_algorithm() -> None:
    assert Digest.of(b"x") == Digest("sha256:" + hashlib.sha256(b"x").hexdigest())
    assert Digest.of(b"x").matches(b"x")
    assert not Digest.of(b"x").matches(b"y")
    long = Digest("sha512:" + hashlib.sha512(b"x").hexdigest())
    assert (long.algorithm, long.matches(b"x"), long.matches(b"y")) == ("sha512", True, False)
    assert long.hex == hashlib.sha512(b"x").hexdigest()


@pytest.mark.parametrize(
    "text", ["", HEX, f"sha256:{HEX}\n", f"SHA256:{HEX}", f"sha256:{HEX.upper()}", f"sha512:{HEX}", f"sha384:{HEX}", f" sha256:{HEX}"]
)
def test_a_malformed_digest_cannot_exist(text: str) -> None:
    for kind in (Digest, ImageId):
        with pytest.raises(ValueError, match="expected sha256:<64 hex> or sha512:<128 hex>, found "):
            kind(text)


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("linux/amd64", "linux/amd64"),
        ("linux/x86_64", "linux/amd64"),
        ("linux/x86-64", "linux/amd64"),
        ("linux/aarch64", "linux/arm64"),
        ("linux/arm64/v8", "linux/arm64"),
        ("linux/arm/v7", "linux/arm"),
        ("linux/arm/v6", "linux/arm/v6"),
        ("linux/armhf", "linux/arm"),
        ("linux/armel", "linux/arm/v6"),
        ("linux/armel/v7", "linux/arm/v6"),
        ("windows/amd64", "windows/amd64"),
        ("linux/amd64/v3", "linux/amd64/v3"),
    ],
)
def test_a_platform_has_one_text(text: str, canonical: str) -> None:
    assert str(parse_platform(text)) == canonical


@pytest.mark.parametrize("text", ["", "linux", "linux/", "linux/amd64/", "Linux/amd64", "linux/amd64\n", "linux/arm/v7/x", "linux/äöü"])
def test_what_is_no_platform_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected a platform such as linux/amd64 or linux/arm/v7, found "):
        parse_platform(text)


def test_a_platform_serves_its_own_default_variant_and_no_other() -> None:
    assert Platform("linux", "arm64", "v8").serves(Platform("linux", "arm64"))
    assert Platform("linux", "arm64").serves(Platform("linux", "arm64", "v8"))
    assert Platform("linux", "arm").serves(Platform("linux", "arm", "v7"))
    assert not Platform("linux", "arm", "v6").serves(Platform("linux", "arm"))
    assert not Platform("linux", "amd64", "v3").serves(Platform("linux", "amd64"))
    assert not Platform("windows", "amd64").serves(Platform("linux", "amd64"))


@pytest.mark.parametrize("text", ["pipeline:1001", "commit:" + "a" * 40, "local", "release/2026-01", "a" * 128])
def test_a_scope_is_any_plain_text(text: str) -> None:
    assert str(Scope(text)) == text


@pytest.mark.parametrize("text", ["", " a", "a b", "-a", ":a", "a\n", "é", "a" * 129])
def test_a_scope_of_other_characters_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected a scope of 1-128 characters"):
        Scope(text)


def test_scopes_know_what_they_are() -> None:
    assert [Scope(text).is_local for text in ("local", "local2", "pipeline:1")] == [True, False, False]
    assert [Scope(text).is_one_commit for text in ("pipeline:1", "commit:a", "release", "local")] == [True, True, False, False]


def test_a_renamed_project_is_the_same_project() -> None:
    old, new = (PipelineId("gitlab", "h", "1", project, "9") for project in ("a/b", "c/d"))
    assert old == new
    assert ScopeKey(old, Scope("s")).short_hash == ScopeKey(new, Scope("s")).short_hash


def test_the_tag_of_a_scope_moves_with_every_part_of_its_identity_and_with_nothing_else() -> None:
    keys = [
        ScopeKey(PipelineId(forge, host, project_id, "p", pipeline), Scope(scope))
        for forge, host, project_id, pipeline, scope in (
            ("gitlab", "h", "1", "7", "s"),
            ("gitlab", "h", "1", "8", "s"),
            ("github", "h", "1", "7", "s"),
            ("gitlab", "i", "1", "7", "s"),
            ("gitlab", "h", "2", "7", "s"),
            ("gitlab", "h", "1", "7", "t"),
            ("gitlab", "h1", "", "7", "s"),
        )
    ]
    hashes = [key.short_hash for key in keys]
    assert hashes[0] == hashes[1]
    assert len(set(hashes)) == 6
    # The tag under which every team's pins lie: it may never move.
    assert hashes[0] == "6171eb011abd"


@pytest.mark.parametrize("text", ["", "abc", "A" * 40, "a" * 41, "a" * 40 + "\n", "g" * 40])
def test_a_commit_is_a_full_id(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected a full commit id \(40 hex characters\)"):
        parse_commit(text)
    assert parse_commit("a" * 40) == "a" * 40
    assert parse_commit("a" * 64) == "a" * 64


def test_times_are_utc_and_whole_seconds() -> None:
    time = datetime(2026, 1, 2, 4, 4, 5, 999999, tzinfo=timezone(timedelta(hours=1)))
    assert format_time(time) == "2026-01-02T03:04:05Z"
    assert parse_time("2026-01-02T03:04:05Z") == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert format_time(datetime(7, 1, 2, tzinfo=UTC)) == "0007-01-02T00:00:00Z"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2026-1-2T3:4:5Z",
        "2026-01-02 03:04:05Z",
        "2026-01-02T03:04:05",
        "2026-01-02T03:04:05+00:00",
        "2026-02-30T00:00:00Z",
        "\u0662\u0660\u0662\u0666-01-02T03:04:05Z",
        "2026-01-02T03:04:05Z\n",
        "2026-01-02T03:04:05.5Z",
        "0000-01-01T00:00:00Z",
    ],
)
def test_a_time_written_another_way_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected a time such as 2026-01-02T03:04:05Z, found "):
        parse_time(text)


def test_a_listing_is_sorted_by_path_and_its_fields_are_path_mode_and_blob() -> None:
    b, a = TreeEntry("b", "100644", "1"), TreeEntry("a", "100755", "2")
    listing = Listing.of([b, a])
    assert (list(listing), len(listing)) == ([a, b], 2)
    assert listing.fields == (("a", "100755", "2"), ("b", "100644", "1"))


def test_credentials_show_nothing() -> None:
    assert repr(Credentials("user", "secret", "token")) == "Credentials()"


def test_the_encoding_has_the_bytes_its_docstring_says() -> None:
    assert encode((None, True, False, -5, "é", b"\xff", ())) == b"l7:ntfi-5;s2:\xc3\xa9b1:\xffl0:"
    assert encode_fields([("a", "b")]) == b"l2:i1;l1:l2:s1:as1:b"
    assert fields_hash([("a", "b")]) == hashlib.sha256(b"l2:i1;l1:l2:s1:as1:b").hexdigest()


def test_a_file_name_that_is_no_utf_8_has_its_own_bytes() -> None:
    assert encode(b"\xff".decode("utf-8", "surrogateescape")) == b"s1:\xff"


@pytest.mark.parametrize("text", ["\udcc3\udca9", "\ud800"])
def test_text_that_no_bytes_decode_to_has_no_encoding(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected text that UTF-8 bytes decode to|surrogates not allowed"):
        encode(text)
