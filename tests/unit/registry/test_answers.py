"""What a registry's answer means."""

from __future__ import annotations

import pytest
from urllib3 import HTTPHeaderDict

from ci_plugin.errors import AccessDenied, AnswerIsNo, Gone, Unavailable
from ci_plugin.registry.answers import is_well_formed_absence, unexpected
from ci_plugin.registry.transport import Answer

NOT_FOUND = b'{"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest unknown"}]}'


def answer(status: int, body: bytes = b"", **headers: str) -> Answer:
    named = HTTPHeaderDict({name.replace("_", "-"): value for name, value in headers.items()})
    return Answer(status, named, body, "https://registry.example.com/v2/app/manifests/1?signed=secret")


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (answer(404, NOT_FOUND), True),
        (answer(404, b'{"errors": [{"code": "NAME_UNKNOWN"}]}'), True),
        (answer(404, Docker_Distribution_Api_Version="registry/2.0"), True),
        (answer(404), False),
        (answer(404, b"<html>", Content_Type="text/html", Docker_Distribution_Api_Version="registry/2.0"), False),
        (answer(404, b'{"errors": []}'), False),
        (answer(404, b'{"errors": "none"}'), False),
        (answer(404, b'{"errors": [{"code": "UNAUTHORIZED"}]}'), False),
        (answer(404, b'{"message": "no route"}', Content_Type="application/json"), False),
        (answer(404, b"[" * 100_000), False),
        (answer(200, NOT_FOUND), False),
    ],
)
def test_only_a_registry_can_say_that_something_is_absent(found: Answer, expected: bool) -> None:
    assert is_well_formed_absence(found) is expected


@pytest.mark.parametrize(
    ("found", "kind", "message"),
    [
        (answer(401), AccessDenied, "expected to be let in by registry.example.com anonymously"),
        (answer(403), AccessDenied, "found status 403"),
        (answer(404, NOT_FOUND), Gone, "expected the thing, found nothing at registry.example.com (MANIFEST_UNKNOWN: manifest unknown)"),
        (answer(429), Unavailable, "expected the thing, found status 429 from registry.example.com"),
        (answer(503), Unavailable, "found status 503"),
        (answer(200, Content_Type="text/html"), Unavailable, "registry.example.com answered text/html (status 200), expected a registry"),
        (answer(404), Unavailable, "registry.example.com answered no content type (status 404), expected a registry"),
        (answer(412, b'{"errors": [{"code": "TAG\\u001b", "message": "immutable"}]}'), AnswerIsNo, "(TAG?: immutable)"),
    ],
)
def test_a_status_becomes_an_error_of_ours(found: Answer, kind: type[Exception], message: str) -> None:
    error = unexpected(found, "the thing", "registry.example.com", has_credentials=False)
    assert type(error) is kind
    assert message in error.message
    assert str(error.where) == "https://registry.example.com/v2/app/manifests/1", "a query may hold a secret"


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7.0),
        ("0", 0.0),
        ("-1", None),
        ("soon", None),
        ("", None),
        ("9" * 400, None),
        ("\u0667", None),
        ("Fri, 02 Jan 2026 03:04:15 GMT", 10.0),
        ("Fri, 02 Jan 2026 03:04:00 GMT", 0.0),
        ("Fri, 99 Jan 2026 03:04:00 GMT", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(header: str, seconds: float | None) -> None:
    found = answer(429, Retry_After=header, Date="Fri, 02 Jan 2026 03:04:05 GMT")
    error = unexpected(found, "the thing", "registry.example.com", has_credentials=False)
    assert isinstance(error, Unavailable)
    assert error.retry_after == seconds
