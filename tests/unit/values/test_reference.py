from __future__ import annotations

import re

import pytest

from ci_plugin.values.digest import Digest
from ci_plugin.values.reference import is_scratch, parse_reference, parse_repository

SHA = "sha256:" + "a" * 64
SHA512 = "sha512:" + "b" * 128


@pytest.mark.parametrize(
    ("text", "normalised"),
    [
        ("alpine", "docker.io/library/alpine:latest"),
        ("alpine:latest", "docker.io/library/alpine:latest"),
        ("library/alpine", "docker.io/library/alpine:latest"),
        ("docker.io/alpine", "docker.io/library/alpine:latest"),
        ("docker.io/library/alpine", "docker.io/library/alpine:latest"),
        ("index.docker.io/alpine:3", "docker.io/library/alpine:3"),
        ("registry-1.docker.io/library/alpine:3", "docker.io/library/alpine:3"),
        ("group/app", "docker.io/group/app:latest"),
        ("a/b/c:1", "docker.io/a/b/c:1"),
        ("localhost/a", "localhost/a:latest"),
        ("LOCALHOST/a", "localhost/a:latest"),
        ("localhost:5000/a", "localhost:5000/a:latest"),
        ("host:5000/a/b:v1", "host:5000/a/b:v1"),
        ("Registry.Example.com/app", "registry.example.com/app:latest"),
        ("10.0.0.1/app", "10.0.0.1/app:latest"),
        ("[::1]:5000/app:1", "[::1]:5000/app:1"),
        ("[2001:db8::1]/app", "[2001:db8::1]/app:latest"),
        ("localhost:5000", "docker.io/library/localhost:5000"),
        ("x/a__b.c-d---e_f", "docker.io/x/a__b.c-d---e_f:latest"),
        ("a:_", "docker.io/library/a:_"),
        ("a:" + "T" * 128, "docker.io/library/a:" + "T" * 128),
        (f"alpine@{SHA}", f"docker.io/library/alpine@{SHA}"),
        (f"alpine@{SHA512}", f"docker.io/library/alpine@{SHA512}"),
        (f"alpine:3@{SHA}", f"docker.io/library/alpine:3@{SHA}"),
        (f"host:5000/a@{SHA}", f"host:5000/a@{SHA}"),
        ("h.io:65535/a", "h.io:65535/a:latest"),
        ("h.io/" + "a" * 250, "h.io/" + "a" * 250 + ":latest"),
    ],
)
def test_a_reference_is_normalised(text: str, normalised: str) -> None:
    reference = parse_reference(text)
    assert str(reference) == normalised
    assert reference.spelling == text
    assert parse_reference(normalised) == reference


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", "expected an image reference such as alpine:3.20, found ''"),
        (" alpine", "expected an image reference such as alpine:3.20, found ' alpine'"),
        ("alpine\n", "expected an image reference such as alpine:3.20, found 'alpine\\n'"),
        ("al\u00a0pine", "expected an image reference"),
        ("a\x00", "expected an image reference"),
        ("a\ud800", "expected an image reference"),
        ("a" * 64, "which is how an image ID looks"),
        ("https://registry.example.com/app", "expected an image reference without https://"),
        ("docker://alpine", "expected an image reference without docker://"),
        ("alpine:", "expected a tag of at most 128 characters [A-Za-z0-9_.-], found '' in 'alpine:'"),
        ("alpine:-a", "expected a tag"),
        ("alpine:a/b@", "expected sha256:<64 hex>"),
        ("alpine:" + "a" * 129, "expected a tag"),
        ("alpine:é", "expected a tag"),
        ("alpine@", "expected sha256:<64 hex> or sha512:<128 hex>, found ''"),
        ("alpine@sha256:" + "A" * 64, "expected sha256:<64 hex>"),
        ("alpine@sha256:" + "a" * 63, "expected sha256:<64 hex>"),
        ("alpine@md5:" + "a" * 32, "expected sha256:<64 hex>"),
        (f"alpine@{SHA}@{SHA}", "expected sha256:<64 hex>"),
        (f"@{SHA}", "expected a repository of lower-case letters"),
        ("Alpine", "expected a repository of lower-case letters, digits and single separators"),
        ("a/B", "found 'a/B' in 'a/B'"),
        ("Foo/bar", "expected a repository of lower-case letters, or a registry with a dot or port, found 'Foo'"),
        ("a//b", "expected a repository"),
        ("/a", "expected a repository"),
        ("a/", "expected a repository"),
        ("a..b", "expected a repository"),
        ("a___b", "expected a repository"),
        ("-a", "expected a repository"),
        ("a-", "expected a repository"),
        ("ünicode", "expected a repository"),
        ("$BASE", "expected a repository"),
        ("h.io:0/a", "expected a registry such as registry.example.com:5000, found 'h.io:0' in 'h.io:0/a'"),
        ("h.io:65536/a", "expected a registry"),
        ("h.io:/a", "expected a registry"),
        ("user:password@h.io/a", "expected sha256:<64 hex>"),
        ("-h.io/a", "expected a registry"),
        ("[::1/a", "expected a registry"),
        ("[1.2.3.4]/a", "expected a registry"),
        ("h.io/" + "a" * 251, "(at most 255 characters)"),
    ],
)
def test_what_is_no_reference_is_refused_with_what_was_expected(text: str, found: str) -> None:
    with pytest.raises(ValueError, match=re.escape(found)):
        parse_reference(text)


def test_the_spelling_is_no_part_of_equality() -> None:
    assert {parse_reference("alpine"), parse_reference("docker.io/library/alpine:latest")} == {parse_reference("alpine:latest")}


def test_a_digest_wins_over_a_tag() -> None:
    assert parse_reference(f"alpine:3@{SHA}").target == SHA
    assert parse_reference("alpine").target == "latest"


def test_at_and_tagged_keep_the_repository() -> None:
    reference = parse_reference("alpine:3")
    assert str(reference.at(Digest(SHA))) == f"docker.io/library/alpine@{SHA}"
    assert reference.at(Digest(SHA)).spelling == "alpine:3"
    assert str(reference.repository.tagged("4")) == "docker.io/library/alpine:4"
    assert str(reference.repository.at(Digest(SHA))) == f"docker.io/library/alpine@{SHA}"


def test_a_repository_has_neither_tag_nor_digest() -> None:
    assert str(parse_repository("registry.example.com:5000/group/app")) == "registry.example.com:5000/group/app"
    for text in ("h.io/a:1", f"h.io/a@{SHA}", "localhost:5000"):
        with pytest.raises(ValueError, match=re.escape(f"expected a repository without tag or digest, found {text!r}")):
            parse_repository(text)


def test_scratch_is_a_word_only_when_it_stands_alone() -> None:
    assert is_scratch("scratch")
    assert not is_scratch("scratch:latest")
    assert not is_scratch("library/scratch")
