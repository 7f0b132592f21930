"""Credentials stay with the registry they are for: whatever it says, a second server sees not one byte of them (CVE-2020-15157 and kin)."""

from __future__ import annotations

import base64
import contextlib
import json
import ssl
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from ci_plugin.errors import AccessDenied, AnswerIsNo, StagepinError, Unavailable
from ci_plugin.registry.client import RegistryClient
from ci_plugin.values.credentials import Credentials
from ci_plugin.values.digest import Digest
from ci_plugin.values.manifest import LARGEST_CONFIG, Descriptor
from ci_plugin.values.reference import Repository
from tests.fakes.canary import make_canary
from tests.fakes.certificates import Authority
from tests.fakes.lying_registry import JSON, TRUTH, Lie, LyingRegistry, error_reply, reply, say
from tests.fakes.registry import Request
from tests.fakes.registry_client import make_client
from tests.fakes.watch import watch

PASSWORD = make_canary("password")
IDENTITY = make_canary("identity", for_header=True)
TOKEN = make_canary("token", for_header=True)
KINDS = {"password": Credentials("user", PASSWORD.text), "identity token": Credentials("", "", IDENTITY.text)}
CONFIG = Descriptor(Digest.of(TRUTH.blobs[0]), "", len(TRUTH.blobs[0]))


@dataclass(frozen=True)
class Pair:
    """The registry that holds our credentials, and the server that must not see them."""

    ours: LyingRegistry
    other: LyingRegistry
    scheme: str
    ca_file: str | None

    def client(self, credentials: Credentials) -> RegistryClient:
        return make_client({self.ours.address: credentials}.get, ca_file=self.ca_file)

    @property
    def app(self) -> Repository:
        return Repository(self.ours.address, "app")

    @property
    def ports(self) -> tuple[str, str]:
        return self.ours.address.rpartition(":")[2], self.other.address.rpartition(":")[2]

    def assert_silent(self) -> None:
        """The other server saw no secret of ours."""
        for canary in (PASSWORD, IDENTITY, TOKEN):
            canary.assert_hidden(bytes(self.other.received))


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(params=["http", "https"])
def pair(request: pytest.FixtureRequest, authority: Authority) -> Iterator[Pair]:
    tls = None
    if request.param == "https":
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(*authority.issue("server"))
    with LyingRegistry(tls=tls) as ours, LyingRegistry(say("", "/token", TOKEN_REPLY), tls=tls) as other:
        yield Pair(ours, other, request.param, str(authority.ca_file) if tls else None)


TOKEN_REPLY = reply(200, JSON, json.dumps({"token": TOKEN.text}).encode())


def challenge(realm: str) -> Lie:
    """401 for everything but ``/token``, whatever it carries."""
    header = 'Bearer realm="' + realm.replace("\\", "\\\\").replace('"', '\\"') + '",service="s"'
    return lambda request: None if "/token" in request.path else error_reply(401, "UNAUTHORIZED", {"WWW-Authenticate": header})


def ask(client: RegistryClient, repository: Repository) -> StagepinError | None:
    found = client.resolve([repository.tagged("latest")])[repository.tagged("latest")]
    return found if isinstance(found, StagepinError) else None


REALMS = [
    *(
        f"{scheme}://{host}:OTHER/token"
        for scheme in ("http", "https", "HTTPS")
        for host in ("127.0.0.1", "localhost", "LOCALHOST", "localhost.", "127.0.0.1.", "127.0.0.2", "127.1", "2130706433", "0x7f000001")
    ),
    *(
        f"SCHEME://{host}:OTHER/token"
        for host in (
            "0177.0.0.1",
            "[::1]",
            "[::ffff:127.0.0.1]",
            "0.0.0.0",  # noqa: S104 - asked, never bound
            "127%2e0%2e0%2e1",
            "①27.0.0.1",
        )
    ),
    "SCHEME://127.0.0.1:OURS@127.0.0.1:OTHER/token",
    "SCHEME://user:word@127.0.0.1:OTHER/token",
    "SCHEME://127.0.0.1:OTHER\\@127.0.0.1:OURS/token",
    "SCHEME://127.0.0.1:OTHER#@127.0.0.1:OURS/token",
    "SCHEME://127.0.0.1:OTHER?@127.0.0.1:OURS/token",
    "SCHEME://127.0.0.1:OTHER/token/@127.0.0.1:OURS/token",
    "SCHEME://127.0.0.1:OTHER/token?realm=SCHEME://127.0.0.1:OURS/token",
    "SCHEME://127.0.0.1:0OTHER/token",
    "//127.0.0.1:OTHER/token",
    "/token",
    "SCHEME:/127.0.0.1:OTHER/token",
    "SCHEME:///127.0.0.1:OTHER/token",
    " SCHEME://127.0.0.1:OTHER/token",
    "ftp://127.0.0.1:OTHER/token",
    "file:///etc/passwd",
    "http://169.254.169.254/token",
    "https://169.254.169.254/token",
    "http://[fe80::1]/token",
    "http://[::ffff:169.254.169.254]/token",
    "http://metadata.google.internal/token",
    "https://10.0.0.1/token",
    "SCHEME://127.0.0.1:OTHER/" + "x" * 10_000,
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("realm", REALMS, ids=lambda realm: str(realm)[:60])
def test_97_a_token_server_elsewhere_sees_nothing(pair: Pair, realm: str, kind: str) -> None:
    ours, other = pair.ports
    named = realm.replace("SCHEME", pair.scheme).replace("OURS", ours).replace("OTHER", other)
    pair.ours.lies = [challenge(named)]
    with watch() as seen:
        error = ask(pair.client(KINDS[kind]), pair.app)
    pair.assert_silent()
    assert isinstance(error, AccessDenied | AnswerIsNo | Unavailable)
    PASSWORD.assert_hidden(error.message + error.hint + str(error.where))
    assert seen.hosts <= {f"{host}:{port}" for host in ("127.0.0.1", "127.0.0.2", "::1") for port in (ours, other)} | {
        "?127.0.0.1",
        "?127.0.0.2",
        "?localhost",
    }, "nobody else is spoken to"


@pytest.mark.parametrize("port", ["OURS", "OTHER"])
def test_97_a_token_for_a_registry_behind_tls_is_asked_for_behind_tls(pair: Pair, port: str) -> None:
    ours, other = pair.ports
    realm = f"http://127.0.0.1:{port}/token".replace("OURS", ours).replace("OTHER", other)
    pair.ours.lies = [challenge(realm)]
    error = ask(pair.client(KINDS["password"]), pair.app)
    if pair.scheme == "https":
        assert type(error) is AnswerIsNo
        assert error.message.endswith(f"to name a token server such as https://auth.example.com/token, found '{realm}'")
    assert any("/token" in path for path in (*pair.ours.seen, *pair.other.seen)) is (pair.scheme == "http")


@pytest.mark.parametrize("kind", KINDS)
def test_97_its_own_token_server_sees_them(pair: Pair, kind: str) -> None:
    """Or the tests above could not fail."""
    pair.ours.lies = [challenge(f"{pair.scheme}://{pair.ours.address}/token"), say("", "/token", TOKEN_REPLY)]
    assert isinstance(ask(pair.client(KINDS[kind]), pair.app), AccessDenied)
    for canary in (TOKEN, {"password": PASSWORD, "identity token": IDENTITY}[kind]):
        with pytest.raises(AssertionError, match="shows"):
            canary.assert_hidden(bytes(pair.ours.received))


CHALLENGES: dict[str, tuple[str | None, type[StagepinError], str]] = {
    "none": (None, AccessDenied, "found status 401"),
    "nothing known": ("Negotiate abc", AccessDenied, "found status 401"),
    "Bearer without a realm": ('Bearer service="s"', AccessDenied, "found status 401"),
    "Bearer with an empty realm": ('Bearer realm=""', AccessDenied, "found status 401"),
    "unfinished quotes": ('Bearer realm="https://a', AccessDenied, "found status 401"),
    "commas, quotes and unicode": ('Bearer realm="a,b \\"c\\" \u00fc"', AnswerIsNo, "to name a token server such as"),
    "without end": ("Bearer " + "a=b," * 10_000, AccessDenied, "found status 401"),
}


@pytest.mark.parametrize("name", CHALLENGES)
def test_97_a_challenge_nobody_can_answer(name: str) -> None:
    header, kind, message = CHALLENGES[name]
    with LyingRegistry(say("", "/v2/", error_reply(401, "UNAUTHORIZED", {"WWW-Authenticate": header} if header else {}))) as ours:
        error = ask(make_client({ours.address: KINDS["password"]}.get), Repository(ours.address, "app"))
        assert isinstance(error, kind)
        assert message in error.message
        PASSWORD.assert_hidden(error.message)
        PASSWORD.assert_hidden(bytes(ours.received))


ANSWERS: dict[str, tuple[list[bytes], type[StagepinError], str]] = {
    "no token": (reply(200, JSON, b"{}"), Unavailable, "found application/json without one"),
    "a token of null": (reply(200, JSON, b'{"token": null}'), Unavailable, "found application/json without one"),
    "a token that is a number": (reply(200, JSON, b'{"token": 5}'), Unavailable, "found application/json without one"),
    "a token with a line break": (reply(200, JSON, b'{"token": "a\\r\\nX: y"}'), Unavailable, "found application/json without one"),
    "no JSON": (reply(200, {"Content-Type": "text/html"}, b"<html>"), Unavailable, "found text/html without one"),
    "an array": (reply(200, JSON, b"[]"), Unavailable, "found application/json without one"),
    "depth without end": (reply(200, JSON, b"[" * 100_000), Unavailable, "found application/json without one"),
    "1 MB": (reply(200, JSON, b" " * (1 << 20)), AnswerIsNo, "expected at most 262144 bytes"),
    "a redirect": (reply(307, {"Location": "http://127.0.0.1:1/token"}), Unavailable, "found status 307"),
    "500": (reply(500), Unavailable, "found status 500"),
    "429": (reply(429), Unavailable, "found status 429"),
    "401": (error_reply(401, "UNAUTHORIZED"), AccessDenied, "with the credentials found for it, found status 401"),
    "403": (error_reply(403, "DENIED"), AccessDenied, "with the credentials found for it, found status 403"),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_98_a_token_answer_that_is_none(name: str) -> None:
    answer, kind, message = ANSWERS[name]
    with LyingRegistry() as ours:
        ours.lies = [challenge(f"http://{ours.address}/token"), say("", "/token", answer)]
        error = ask(make_client({ours.address: KINDS["password"]}.get), Repository(ours.address, "app"))
        assert isinstance(error, kind)
        assert message in error.message
        PASSWORD.assert_hidden(error.message + error.hint + str(error.where))


LIFETIMES: list[object] = [-1, 0, "x", 1e9, None, []]
GOOD: list[dict[str, object]] = [
    {"token": TOKEN.text, "access_token": "other"},
    {"access_token": TOKEN.text},
    *({"token": TOKEN.text, "expires_in": value} for value in LIFETIMES),
]


@pytest.mark.parametrize("fields", GOOD, ids=lambda fields: str(list(fields.values())[1:]))
def test_98_a_token_is_taken_whatever_else_the_answer_says(fields: dict[str, object]) -> None:
    def wants_token(request: Request) -> list[bytes] | None:
        if "/token" in request.path:
            return reply(200, JSON, json.dumps(fields).encode())
        given = request.authorization == f"Bearer {TOKEN.text}"
        return None if given else error_reply(401, "UNAUTHORIZED", {"WWW-Authenticate": f'Bearer realm="http://{ours.address}/token"'})

    with LyingRegistry(wants_token) as ours:
        assert make_client().find_descriptor(Repository(ours.address, "app").tagged("latest")) is not None


PLACES = ["SCHEME://127.0.0.1:OTHER/x", "//127.0.0.1:OTHER/x", "SCHEME://localhost:OTHER/x", "SCHEME://127.0.0.2:OTHER/x"]


def redirecting(status: int, target: str) -> Lie:
    """Asks for a password, then sends whoever gave it elsewhere."""

    def lie(request: Request) -> list[bytes] | None:
        if not request.authorization:
            return error_reply(401, "UNAUTHORIZED", {"WWW-Authenticate": "Basic"})
        return reply(status, {"Location": target})

    return lie


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("place", PLACES)
def test_99_a_redirect_leaves_them_behind(pair: Pair, place: str, status: int) -> None:
    ours, other = pair.ports
    target = place.replace("SCHEME", pair.scheme).replace("OTHER", other)
    pair.ours.lies = [redirecting(status, target)]
    client, latest = pair.client(KINDS["password"]), pair.app.tagged("latest")
    with watch() as seen:
        for call in (
            lambda: client.find_descriptor(latest),
            lambda: client.find_manifest(latest),
            lambda: client.get_blob(pair.app, CONFIG, LARGEST_CONFIG),
            lambda: client.put_blob(pair.app, b"new"),
            lambda: client.put_manifest(latest, TRUTH.manifest, TRUTH.media_type),
        ):
            # Elsewhere may have it or not: that is no secret.
            with contextlib.suppress(StagepinError):
                call()
    pair.assert_silent()
    assert pair.ours.requests[-1].authorization.startswith("Basic ")
    assert all(host.rpartition(":")[2] in (ours, other) for host in seen.hosts if not host.startswith("?"))


@pytest.mark.parametrize("place", PLACES)
def test_100_an_upload_elsewhere_goes_without_them(pair: Pair, place: str) -> None:
    pair.ours.lies = [redirecting(202, place.replace("SCHEME", pair.scheme).replace("OTHER", pair.ports[1]))]
    with pytest.raises(StagepinError):
        pair.client(KINDS["password"]).put_blob(pair.app, b"new")
    pair.assert_silent()


def test_99_a_redirect_to_a_file_a_metadata_service_or_out_of_tls_is_not_followed(pair: Pair) -> None:
    downgrades = [f"{'http' if pair.scheme == 'https' else 'ftp'}://{pair.other.address}/x"]
    for target in (
        "file:///etc/passwd",
        "http://169.254.169.254/latest/",
        "http://[fe80::1]/",
        "http://user:word@127.0.0.1:1/",
        *downgrades,
    ):
        pair.ours.lies = [say("", "/v2/", reply(307, {"Location": target}))]
        with watch() as seen:
            error = ask(pair.client(KINDS["password"]), pair.app)
        assert type(error) is AnswerIsNo
        assert error.message.startswith(f"expected {pair.ours.address} to redirect to an http")
        assert seen.hosts <= {pair.ours.address, "?127.0.0.1"}


@pytest.mark.parametrize("code", [400, 401, 403, 500])
def test_102_an_error_that_repeats_what_we_sent_is_not_quoted(code: int) -> None:
    """A registry in debug mode, or a proxy, may say which credentials it refused."""
    encoded = base64.b64encode(f"user:{PASSWORD.text}".encode()).decode()

    def echo(request: Request) -> list[bytes]:
        if not request.authorization:
            return error_reply(401, "UNAUTHORIZED", {"WWW-Authenticate": "Basic"})
        return error_reply(code, "DENIED", message=f"{PASSWORD.text} {encoded}")

    with LyingRegistry(echo) as ours:
        client = make_client({ours.address: KINDS["password"]}.get)
        with pytest.raises(StagepinError) as caught:
            client.find_manifest(Repository(ours.address, "app").tagged("latest"))
        assert "(DENIED: *** ***)" in caught.value.message
        PASSWORD.assert_hidden(caught.value.message)


def test_102_an_error_that_repeats_our_token_is_not_quoted() -> None:
    def echo(request: Request) -> list[bytes]:
        if "/token" in request.path:
            return TOKEN_REPLY
        if not request.authorization:
            return error_reply(401, "UNAUTHORIZED", {"WWW-Authenticate": f'Bearer realm="http://{ours.address}/token"'})
        return error_reply(403, "DENIED", message=f"no rights: {request.authorization}")

    with LyingRegistry(echo) as ours:
        error = ask(make_client(), Repository(ours.address, "app"))
        with pytest.raises(AccessDenied) as caught:
            make_client().find_manifest(Repository(ours.address, "app").tagged("latest"))
    assert isinstance(error, AccessDenied)
    assert "(DENIED: no rights: Bearer ***)" in caught.value.message
    TOKEN.assert_hidden(caught.value.message + error.message)
