"""The table of the engine's error texts, held by texts that engines really wrote."""

from __future__ import annotations

import pytest

from ci_plugin.engine.failures import Failure, checked, engine_errors, find_stream_error, kind_of, shorten, transfer_error
from ci_plugin.errors import AccessDenied, Gone, InputError, StagepinError, Unavailable

_DIGEST = "sha256:" + "a" * 64

TEXTS = [
    (Failure.OUTSIDE, 'Get "http://127.0.0.1:1/v2/": dial tcp 127.0.0.1:1: connect: connection refused'),
    (Failure.OUTSIDE, "received unexpected HTTP status: 500 Internal Server Error"),
    (Failure.OUTSIDE, "toomanyrequests: You have reached your pull rate limit"),
    (
        Failure.OUTSIDE,
        "failed to do request: Head https://r.example.com/v2/a/manifests/b: unexpected status code [manifests b]: 429 Too Many Requests",
    ),
    (Failure.OUTSIDE, "received status 429 from the registry"),
    (Failure.OUTSIDE, "net/http: request canceled while waiting for connection (Client.Timeout exceeded while awaiting headers)"),
    (Failure.OUTSIDE, "dial tcp: lookup r.example.com on 10.0.0.1:53: no such host"),
    (Failure.OUTSIDE, "dial tcp: lookup r.example.com: server misbehaving"),
    (Failure.OUTSIDE, "read tcp 10.0.0.2:4: read: connection reset by peer"),
    (Failure.OUTSIDE, "unexpected EOF"),
    (Failure.OUTSIDE, f"manifest verification failed for digest {_DIGEST}"),
    (Failure.OUTSIDE, f"image config verification failed for digest {_DIGEST}"),
    (Failure.OUTSIDE, "error unmarshalling content: invalid character '<' looking for beginning of value"),
    (Failure.OUTSIDE, "invalid checksum digest format"),
    (Failure.OUTSIDE, "write /var/lib/docker/tmp/x: no space left on device"),
    (Failure.OUTSIDE, "x509: certificate signed by unknown authority"),
    (
        Failure.DENIED,
        "pull access denied for a/b, repository does not exist or may require 'docker login': denied: requested access is denied",
    ),
    (Failure.DENIED, "unauthorized: authentication required"),
    (Failure.DENIED, "no basic auth credentials"),
    (Failure.DENIED, "denied: installation not allowed to Create organization package"),
    (
        Failure.DENIED,
        "pull access denied, repository does not exist or may require authorization: server message: insufficient_scope: failed",
    ),
    (Failure.GONE, f"manifest for r.example.com/a@{_DIGEST} not found: manifest unknown: manifest unknown"),
    (Failure.GONE, f"manifest for 127.0.0.1:38429/a@sha256:{'429' + '0' * 61} not found: manifest unknown: manifest unknown"),
    (Failure.GONE, f"manifest for r.example.com:429/429-a:429@sha256:{'c429' * 16} not found: manifest unknown"),
    (Failure.GONE, f"failed to create LLB definition: r.example.com/a@{_DIGEST}: not found"),
    (Failure.GONE, "name unknown: repository name not known to registry"),
    (Failure.GONE, "An image does not exist locally with the tag: r.example.com/a"),
    (Failure.INPUT, "dockerfile parse error line 1: unknown instruction: FRM"),
    (Failure.INPUT, "the --mount option requires BuildKit. Refer to the manual"),
    (Failure.INPUT, "no active sessions"),
    (Failure.INPUT, "no matching manifest for linux/s390x in the manifest list entries"),
    (Failure.INPUT, "Error processing tar file(exit status 1): archive/tar: invalid tar header"),
    (Failure.UNKNOWN, 'failed to compute cache key: "/nothere" not found: not found'),
    (Failure.UNKNOWN, "something nobody has seen before"),
]


@pytest.mark.parametrize(("kind", "text"), TEXTS, ids=[text[:40] for _, text in TEXTS])
def test_a_text_of_the_engine_has_one_meaning(kind: Failure, text: str) -> None:
    assert kind_of(text) is kind


@pytest.mark.parametrize(
    ("text", "error", "hint"),
    [
        ("unauthorized", AccessDenied, "docker login"),
        ("manifest unknown", Gone, "build again"),
        ("archive/tar: invalid tar header", InputError, "platform and format"),
        ("connection refused", Unavailable, "run again"),
        ("never seen", Unavailable, "run again"),
    ],
)
def test_a_failed_transfer_says_what_was_expected_found_and_to_be_done(text: str, error: type[StagepinError], hint: str) -> None:
    found = transfer_error("pull a", text)
    assert type(found) is error
    assert found.message == f"expected the engine to pull a, found: {text}"
    assert hint in found.hint


def test_an_error_is_found_in_either_spelling() -> None:
    assert find_stream_error({"errorDetail": {"message": "broken"}, "error": "other"}) == "broken"
    assert find_stream_error({"error": "broken"}) == "broken"
    assert find_stream_error({"errorDetail": {"code": 1}, "error": "broken"}) == "broken"
    assert find_stream_error({"status": "Pulling"}) is None


def test_nothing_after_an_error_is_believed_and_the_stream_is_read_to_its_end() -> None:
    events = iter([{"status": "one"}, {"error": "connection refused"}, {"aux": {"Digest": _DIGEST}}])
    seen: list[object] = []
    with pytest.raises(Unavailable, match="expected the engine to push a, found: connection refused"):
        seen.extend(checked(events, "push a"))
    assert seen == [{"status": "one"}]
    assert list(events) == []


def test_an_event_that_is_no_object_is_an_answer_that_makes_no_sense() -> None:
    with pytest.raises(Unavailable, match="an answer that is no event: <html>"):
        list(checked(["<html>"], "pull a"))


@pytest.mark.parametrize("name", ["requests", "urllib3", "docker", "parse", "http", "os"])
def test_no_librarys_exception_escapes(name: str) -> None:
    import http.client

    import docker.errors
    import requests
    import urllib3.exceptions

    raised = {
        "requests": requests.ConnectionError("reset"),
        "urllib3": urllib3.exceptions.ProtocolError("broken"),
        "docker": docker.errors.DockerException("no"),
        "parse": docker.errors.StreamParseError("torn"),
        "http": http.client.IncompleteRead(b""),
        "os": ConnectionResetError("reset"),
    }[name]
    with pytest.raises(Unavailable, match=r"expected the engine to do it, found no answer \(\w+\)") as caught, engine_errors("do it"):
        raise raised
    assert "is the engine still running" in caught.value.hint


def test_foreign_text_becomes_one_printable_line() -> None:
    assert shorten("a\nb\x1b[31m\tc" + "x" * 1000) == ("a b?[31m c" + "x" * 1000)[:500]
