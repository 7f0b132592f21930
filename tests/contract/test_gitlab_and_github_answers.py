"""What both forges' clients make of answers that no well-behaved server gives: slow ones, cut ones, certificates nobody vouches for."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from pathlib import Path

import pytest

from ci_plugin.errors import AnswerIsNo, InputError, StagepinError, Unavailable
from ci_plugin.forge.access import ForgeAccess
from ci_plugin.forge.github import GitHub
from ci_plugin.forge.gitlab import GitLab
from ci_plugin.forge.http import asked_wait, quote, unreachable
from ci_plugin.limits import Limits
from tests.fakes.certificates import Authority
from tests.fakes.lying_registry import LyingRegistry, drip, endless, reply, say
from tests.fakes.registry import FakeRegistry

QUICK = Limits(connect=2, idle=0.4, total=0.6, transfer=0.6, taking=0.4)
MOST_PIECES = 60
"""Of an answer that drips: three seconds, so that a client without a limit fails its test and does not hang in it."""
TOKEN = "canary-of-the-token"
HEAD_OF_200 = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
CHUNKED = HEAD_OF_200 + b"Transfer-Encoding: chunked\r\n\r\n"
TOO_LATE = "expected the whole answer from {address} within 0.6 s, found "


def ask_github(url: str, limits: Limits) -> object:
    access = ForgeAccess("github", url, "127.0.0.1", "group/app", TOKEN, is_job_token=True)
    return GitHub(access, limits).git_database().find_ref("stagepin/0123456789ab")


def ask_gitlab(url: str, limits: Limits) -> object:
    access = ForgeAccess("gitlab", f"{url}/api/v4", "127.0.0.1", "4711", TOKEN, is_job_token=True)
    return GitLab(access, limits).packages().list_files("0123456789ab")


ASK: dict[str, Callable[[str, Limits], object]] = {"github": ask_github, "gitlab": ask_gitlab}


@pytest.fixture(params=ASK)
def ask(request: pytest.FixtureRequest) -> Callable[[str, Limits], object]:
    return ASK[request.param]


def refusal(ask: Callable[[str, Limits], object], url: str, limits: Limits = QUICK) -> StagepinError:
    with pytest.raises(StagepinError) as caught:
        ask(url, limits)
    assert TOKEN not in f"{caught.value.message} {caught.value.hint} {caught.value.where}"
    return caught.value


SLOW = {
    "nothing": (b"", b"", "expected an answer from {address}, found: no answer in time"),
    "a status line": (b"", b"H", TOO_LATE),
    "a header": (b"HTTP/1.1 200 OK\r\nX: ", b"x", TOO_LATE),
    "interim answers": (b"", b"HTTP/1.1 100 Continue\r\n\r\n", TOO_LATE),
    "a body": (HEAD_OF_200 + b"Content-Length: 1000\r\n\r\n", b" ", TOO_LATE),
    "a body of no length": (HEAD_OF_200 + b"\r\n", b" ", TOO_LATE),
    "the size of a chunk": (CHUNKED, b"0", TOO_LATE),
    "chunks": (CHUNKED, b"1\r\n \r\n", TOO_LATE),
    "trailers": (CHUNKED + b"0\r\n", b"X: y\r\n", TOO_LATE),
}


@pytest.mark.parametrize("part", SLOW)
def test_an_answer_that_comes_a_byte_at_a_time_ends_whatever_part_drips(part: str, ask: Callable[[str, Limits], object]) -> None:
    head, piece, message = SLOW[part]
    with LyingRegistry(lambda _: islice(drip(head, piece), MOST_PIECES)) as server:
        error = refusal(ask, f"http://{server.address}")
        assert type(error) is Unavailable
        assert message.replace("{address}", server.address) in error.message
        assert str(error.where).startswith(f"http://{server.address}/")
        assert len(server.requests) == 1


WRONG: dict[str, tuple[Sequence[bytes], type[StagepinError], str]] = {
    "no HTTP": ([b"SSH-2.0-OpenSSH_9.2\r\n"], Unavailable, "expected an answer from {address}, found: no connection, or one that was cut"),
    "a cut body": ([HEAD_OF_200 + b"Content-Length: 1000\r\n\r\n[]"], Unavailable, "expected an answer from {address}, found: "),
    "a cut chunk": ([CHUNKED + b"ff\r\n[]"], Unavailable, "expected an answer from {address}, found: "),
    "two lengths": (
        [HEAD_OF_200 + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n[]"],
        Unavailable,
        "expected one Content-Length from {address}, found 2",
    ),
    "headers of 1 MB": (
        reply(200, {f"X-{number}": "x" * 60_000 for number in range(20)}),
        Unavailable,
        "expected at most 262144 bytes of headers from {address}, found more",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_an_answer_that_is_broken_is_the_same_to_both(case: str, ask: Callable[[str, Limits], object]) -> None:
    pieces, kind, message = WRONG[case]
    with LyingRegistry(say("", "", pieces)) as server:
        error = refusal(ask, f"http://{server.address}")
        assert type(error) is kind
        assert message.replace("{address}", server.address) in error.message


def test_an_answer_without_end_is_read_up_to_the_limit(ask: Callable[[str, Limits], object]) -> None:
    with LyingRegistry(lambda _: endless([HEAD_OF_200 + b"\r\n"], b" " * 65536)) as server:
        error = refusal(ask, f"http://{server.address}", Limits())
        assert type(error) is AnswerIsNo
        assert error.message == f"expected at most 33554432 bytes from {server.address}, found more"
        assert server.sent < 64 << 20


def test_a_certificate_nobody_vouches_for_ends_it_at_once(
    ask: Callable[[str, Limits], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "*")
    authority = Authority(tmp_path)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(*authority.issue("server"))
    with FakeRegistry(tls) as server:
        error = refusal(ask, f"https://{server.address}")
        assert type(error) is InputError
        assert error.message.startswith(f"expected {server.address} to have a certificate this machine trusts, found: ")
        assert "REQUESTS_CA_BUNDLE" in error.hint
        assert server.requests == []


def test_a_server_that_speaks_no_tls_is_unavailable(ask: Callable[[str, Limits], object], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "*")
    with FakeRegistry() as server:
        error = refusal(ask, f"https://{server.address}")
        assert type(error) is Unavailable
        assert error.hint == f"is https://{server.address} up and reachable from this machine?"


def test_a_file_of_certificates_that_is_not_there_is_named(ask: Callable[[str, Limits], object], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere/ca.pem")
    error = refusal(ask, "https://127.0.0.1:1")
    assert type(error) is InputError
    assert error.message == "expected a file of certificates in REQUESTS_CA_BUNDLE, found none at /nowhere/ca.pem"


@pytest.mark.parametrize("token", ["ghs_x\n", "two words", "schlüssel"])
def test_a_token_that_cannot_be_a_header_is_refused_before_anything_is_sent(token: str) -> None:
    for forge, opened in (("github", lambda it: GitHub(it).git_database()), ("gitlab", lambda it: GitLab(it).packages())):
        access = ForgeAccess(forge, "http://127.0.0.1:1/api/v4", "127.0.0.1", "1", token, is_job_token=False)
        with pytest.raises(InputError, match="expected a token of printable ASCII in STAGEPIN_TOKEN") as caught:
            opened(access)
        assert token not in caught.value.message + caught.value.hint


DATE = "Thu, 01 Jan 2026 00:00:00 GMT"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "17"}, 17.0),
        ({"retry-after": "Thu, 01 Jan 2026 00:01:30 GMT", "date": DATE}, 90.0),
        ({"retry-after": "Wed, 31 Dec 2025 23:00:00 GMT", "date": DATE}, 0.0),
        ({"retry-after": "Thu, 01 Jan 2026 00:01:30 GMT"}, None),
        ({"retry-after": "soon", "date": DATE}, None),
        ({"retry-after": "²"}, None),
        ({"retry-after": "9" * 12}, None),
        ({}, None),
    ],
)
def test_how_long_a_forge_asks_to_wait_is_seconds_or_a_date(headers: Mapping[str, str], seconds: float | None) -> None:
    assert asked_wait(headers) == seconds


def test_what_a_forge_says_is_quoted_without_the_token_and_a_page_is_not() -> None:
    assert quote(f"no {TOKEN}", TOKEN) == ": no ***"
    assert quote("x" * 500, "") == ": " + "x" * 200
    assert quote("<html>", TOKEN) == quote("", TOKEN) == ""


def test_an_address_in_an_error_has_neither_query_nor_password() -> None:
    error = unreachable(OSError(), f"https://user:{TOKEN}@blobs.example.com/x?sig={TOKEN}")
    assert TOKEN not in error.message + error.hint
    assert str(error.where) == "https://blobs.example.com/x"
