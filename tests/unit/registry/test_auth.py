"""Challenges, and who may see credentials."""

from __future__ import annotations

import pytest

from ci_plugin.registry.auth import Challenge, may_have_credentials, parse_challenge


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ('Basic realm="r"', Challenge("basic", "r")),
        ("basic", Challenge("basic")),
        ('Bearer realm="https://a/t",service="s",scope="x"', Challenge("bearer", "https://a/t", "s")),
        ("BEARER realm=https://a/t, service=s", Challenge("bearer", "https://a/t", "s")),
        ('Bearer realm="https://a/t?x=1,2",service="a \\"b\\""', Challenge("bearer", "https://a/t?x=1,2", 'a "b"')),
        ('Basic realm="r", Bearer realm="https://a/t"', Challenge("bearer", "https://a/t")),
        ('Negotiate abc, Basic realm="r"', Challenge("basic", "r")),
        ('Bearer service="no realm"', None),
        ("Negotiate", None),
        ("", None),
        ("Basically nothing", None),
    ],
)
def test_a_challenge_is_read_from_the_header(header: str, expected: Challenge | None) -> None:
    assert parse_challenge(header) == expected


@pytest.mark.parametrize(
    ("registry", "realm"),
    [
        ("docker.io", "https://auth.docker.io/token"),
        ("registry.gitlab.com", "https://gitlab.com/jwt/auth"),
        ("registry.example.com", "https://example.com/jwt/auth"),
        ("ghcr.io", "https://ghcr.io/token"),
        ("gitlab.example.com:5050", "https://gitlab.example.com/jwt/auth"),
        ("harbor.example.com:8443", "https://harbor.example.com:8443/service/token"),
        ("10.0.0.5:5000", "https://10.0.0.5:5000/token"),
    ],
)
def test_its_own_token_server_sees_credentials(registry: str, realm: str) -> None:
    assert may_have_credentials(registry, realm, plain=False)


@pytest.mark.parametrize(
    ("registry", "realm"),
    [
        ("docker.io", "https://auth.docker.io.evil.example/token"),
        ("docker.io", "http://auth.docker.io/token"),
        ("docker.io", "https://auth.docker.io:8443/token"),
        ("docker.io", "https://user@auth.docker.io/token"),
        ("ghcr.io", "https://auth.docker.io/token"),
        ("registry.gitlab.com", "https://evil.example/"),
        ("registry.gitlab.com", "https://gitlab.com./jwt/auth"),
        ("registry.example.com", "http://registry.example.com/token"),
        ("registry.example.com", "https://other.example.com/token"),
        ("example.com", "https://registry.example.com/token"),
        ("registry.com", "https://com/token"),
        ("registry.example.com", "file://registry.example.com/"),
        ("registry.example.com", "https://[broken"),
        ("registry.example.com", ""),
    ],
)
def test_any_other_does_not(registry: str, realm: str) -> None:
    assert not may_have_credentials(registry, realm, plain=False)


def test_plain_http_is_good_enough_only_where_the_registry_itself_is_plain() -> None:
    assert may_have_credentials("127.0.0.1:5000", "http://127.0.0.1:5000/token", plain=True)
    assert not may_have_credentials("127.0.0.1:5000", "http://127.0.0.1:5000/token", plain=False)
    assert not may_have_credentials("127.0.0.1:5000", "http://127.0.0.1:5001/token", plain=True)
