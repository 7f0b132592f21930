from __future__ import annotations

import base64
import json
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_plugin.reports.redaction import Redactor, secrets_of

SECRET = 'pä ss/w"or?d+\\ with ü'


@pytest.mark.parametrize(
    "form",
    [
        SECRET,
        json.dumps(SECRET),
        json.dumps(SECRET, ensure_ascii=False),
        quote(SECRET),
        quote(SECRET, safe=""),
        quote_plus(SECRET),
        quote(SECRET, safe="").lower(),
        base64.b64encode(SECRET.encode()).decode(),
        base64.urlsafe_b64encode(SECRET.encode()).decode(),
    ],
)
def test_a_secret_is_found_in_every_form(form: str) -> None:
    assert Redactor([SECRET]).redact(f"<{form}>").strip('<>"=') == "***"


@given(st.text(alphabet="abcdefXYZ0189+/-_", min_size=12, max_size=40), st.binary(max_size=4), st.binary(max_size=4))
def test_a_secret_is_found_within_the_base64_of_something_longer(secret: str, before: bytes, after: bytes) -> None:
    text = base64.b64encode(before + secret.encode() + after).decode()
    assert "***" in Redactor([secret]).redact(text)


@given(st.lists(st.text(alphabet="ab1\n", min_size=4, max_size=12), min_size=1, max_size=5), st.text(alphabet="ab1\n*", max_size=60))
def test_no_learned_secret_is_left(secrets: list[str], text: str) -> None:
    redacted = Redactor(secrets).redact(text)
    assert not [secret for secret in secrets if len(secret.strip()) >= 4 and secret.strip() in redacted]


def test_the_longer_of_two_secrets_goes_whole() -> None:
    assert Redactor(["token", "token-and-more"]).redact("x token-and-more y token z") == "x *** y *** z"


def test_short_secrets_are_not_learned() -> None:
    assert Redactor(["abc", "", "  a  "]).redact("abc a") == "abc a"


def test_every_line_of_a_key_is_a_secret() -> None:
    redactor = Redactor(["-----BEGIN KEY-----\nMIIEvQIBADANBg\nkqhkiG9w0BAQEF\n-----END KEY-----\n"])
    assert redactor.redact("  | kqhkiG9w0BAQEF") == "  | ***"


def test_credentials_in_an_address_go_unlearned_too() -> None:
    redactor = Redactor()
    assert (
        redactor.redact("clone https://user:pass@git.example.com/a and http://token@h")
        == "clone https://***@git.example.com/a and http://***@h"
    )


@pytest.mark.parametrize("text", ["docker-image://alpine@sha256:00", "https://registry.example.com/v2/a@b", "a@b"])
def test_what_is_no_credential_stays(text: str) -> None:
    assert Redactor().redact(text) == text


def test_variables_with_secret_names_are_collected() -> None:
    environ = {
        "CI_JOB_TOKEN": "glcbt-1",
        "DB_PASSWORD": "hunter22",
        "api_key": "k-123456",
        "NPM_AUTH": "npm-auth",
        "PGPASSWORD": "pg-pass",
        "AWS_SECRET_ACCESS_KEY": "aws-secret",
        "HTTP_AUTHORIZATION": "Bearer abc",
    }
    others = {
        "CI_COMMIT_AUTHOR": "Ann <ann@example.com>",
        "GIT_AUTHOR_NAME": "Ann Other",
        "KEYBOARD": "qwerty",
        "SSH_AUTH_SOCK": "/tmp/agent.1",
        "KEY_FILE": "/run/key",
        "AUTH_ENABLED": "true",
        "KEY_LENGTH": "4096",
        "EMPTY_TOKEN": "",
        "HOME": "/root",
    }
    assert secrets_of(environ | others) == frozenset(environ.values())


def test_the_secrets_inside_docker_auth_config_are_collected() -> None:
    auth = base64.b64encode(b"robot:s3cret-pass").decode()
    config = json.dumps({"auths": {"r.example.com": {"auth": auth, "identitytoken": "id-token"}, "broken": 1, "odd": {"auth": "%%%%"}}})
    assert secrets_of({"DOCKER_AUTH_CONFIG": config}) == {config, auth, "s3cret-pass", "id-token", "%%%%"}


@pytest.mark.parametrize("text", ["", "[", "[]", '{"auths": 1}', "null", '{"auths": []}'])
def test_a_broken_docker_auth_config_breaks_nothing(text: str) -> None:
    assert secrets_of({"DOCKER_AUTH_CONFIG": text}) <= {text}


def test_a_password_in_the_address_of_a_variable_is_a_secret_as_it_stands_and_as_it_is_meant() -> None:
    found = secrets_of(
        {"HTTPS_PROXY": "http://robot:p%40ss-word@proxy.example.com:3128", "HOME": "/home/a:b@c", "URL": "https://example.com/a:b@c"}
    )
    assert found == {"p%40ss-word", "p@ss-word"}
