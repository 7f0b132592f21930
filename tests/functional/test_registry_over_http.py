"""The registry client against a server that fails and lies: what it asks, how often, and what it says to people."""

from __future__ import annotations

import contextlib
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from ci_plugin.errors import AccessDenied, AnswerIsNo, Gone, InputError, StagepinError, Unavailable
from ci_plugin.ports import CredentialSource
from ci_plugin.registry.client import RegistryClient
from ci_plugin.values.credentials import Credentials
from ci_plugin.values.digest import Digest
from ci_plugin.values.manifest import DOCKER_MANIFEST, MEDIA_TYPES, Descriptor
from ci_plugin.values.reference import Reference, Repository
from tests.fakes.clock import FakeClock
from tests.fakes.registry import FakeRegistry, Request, make_image
from tests.fakes.registry_client import make_client, push_image

USER = Credentials("user", "s3cret-of-the-test")
HTML = {"Content-Type": "text/html; charset=utf-8", "Docker-Distribution-Api-Version": ""}


def only_for(address: str, credentials: Credentials = USER) -> CredentialSource:
    return lambda host: credentials if host == address else None


def store_images(registry: FakeRegistry, count: int) -> list[Reference]:
    for number in range(count):
        registry.put_image(f"base/image-{number}", "latest", seed=str(number))
    return [Repository(registry.address, f"base/image-{number}").tagged("latest") for number in range(count)]


def one_image(registry: FakeRegistry) -> Reference:
    return store_images(registry, 1)[0]


def error_of(client: RegistryClient, reference: Reference) -> StagepinError:
    found = client.resolve([reference])[reference]
    assert isinstance(found, StagepinError)
    return found


class TestCounts:
    def test_twenty_references_of_an_open_registry_are_twenty_heads(self) -> None:
        with FakeRegistry() as registry:
            references = store_images(registry, 20)
            found = make_client().resolve(references + references[:3])
            assert all(isinstance(one, Descriptor) for one in found.values())
            assert [request.method for request in registry.requests] == ["HEAD"] * 20

    def test_a_token_server_is_asked_once_for_all_of_them(self) -> None:
        with FakeRegistry() as registry:
            references = store_images(registry, 20)
            registry.require_token()
            client = make_client()
            assert all(isinstance(one, Descriptor) for one in client.resolve(references).values())
            tokens = [request for request in registry.requests if request.path.startswith("/token")]
            assert len(tokens) == 1
            assert sorted(tokens[0].scopes) == sorted(f"repository:{one.repository.path}:pull" for one in references)
            assert registry.count("HEAD") == 21, "twenty, and the one that learned"
            client.resolve(references)
            assert (registry.count("HEAD"), registry.count("GET")) == (41, 1)

    def test_beyond_fifty_repositories_a_token_is_for_fifty_more(self) -> None:
        with FakeRegistry() as registry:
            references = store_images(registry, 120)
            registry.require_token()
            assert all(isinstance(one, Descriptor) for one in make_client().resolve(references).values())
            assert registry.count(path="/token") == 3

    def test_basic_authentication_costs_one_request_in_all(self) -> None:
        with FakeRegistry() as registry:
            references = store_images(registry, 5)
            registry.require_basic(USER.user, USER.secret)
            make_client(only_for(registry.address)).resolve(references)
            assert [request.method for request in registry.requests] == ["HEAD"] * 6

    def test_all_media_types_go_in_one_accept_header(self) -> None:
        with FakeRegistry() as registry:
            make_client().find_manifest(one_image(registry))
            assert registry.requests[0].headers["accept"] == ", ".join(MEDIA_TYPES)

    def test_a_blob_that_is_there_is_not_sent_again(self) -> None:
        with FakeRegistry() as registry:
            client, repository = make_client(), Repository(registry.address, "app")
            client.put_blob(repository, b"x")
            client.put_blob(repository, b"x")
            assert [request.method for request in registry.requests] == ["HEAD", "POST", "PUT", "HEAD"]


class TestAbsence:
    def test_a_head_is_confirmed_by_a_get(self) -> None:
        with FakeRegistry() as registry:
            absent = Repository(registry.address, "base/app").tagged("absent")
            assert make_client().find_descriptor(absent) is None
            assert [request.method for request in registry.requests] == ["HEAD", "GET"]

    def test_a_get_is_confirmed_by_another(self) -> None:
        with FakeRegistry() as registry:
            assert make_client().find_manifest(Repository(registry.address, "base/app").tagged("absent")) is None
            assert [request.method for request in registry.requests] == ["GET", "GET"]

    @pytest.mark.parametrize("method", ["HEAD", "GET"])
    def test_a_passing_404_is_not_absence(self, method: str) -> None:
        with FakeRegistry() as registry:
            reference = one_image(registry)
            body = b'{"errors": [{"code": "MANIFEST_UNKNOWN", "message": "gone for a moment"}]}'
            registry.fail(status=404, body=body, headers={"Content-Type": "application/json"}, method=method)
            client = make_client()
            assert (client.find_descriptor if method == "HEAD" else client.find_manifest)(reference) is not None

    def test_a_page_that_says_404_is_not_absence(self) -> None:
        with FakeRegistry() as registry:
            reference = one_image(registry)
            registry.fail(status=404, headers=HTML, body=b"<html>not found</html>", times=None)
            with pytest.raises(Unavailable, match=r"answered text/html \(status 404\), expected a registry: the manifest of") as caught:
                make_client().find_manifest(reference)
            assert caught.value.hint == "is this address a registry?"

    def test_a_denial_dressed_as_404_is_not_absence(self) -> None:
        with FakeRegistry() as registry:
            registry.fail(status=404, headers={"Content-Type": "application/json"}, body=b'{"errors": [{"code": "DENIED"}]}', times=None)
            with pytest.raises(StagepinError, match="expected a registry"):
                make_client().find_manifest(one_image(registry))


class TestRetries:
    @pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
    def test_a_passing_failure_is_not_noticed(self, status: int) -> None:
        with FakeRegistry() as registry:
            reference = one_image(registry)
            registry.fail(status=status, times=4)
            assert make_client().find_manifest(reference) is not None
            assert len(registry.requests) == 5

    @pytest.mark.parametrize("fault", [{"hang_up": True}, {"cut": True}])
    def test_a_cut_connection_is_tried_again(self, fault: dict[str, Any]) -> None:
        with FakeRegistry() as registry:
            reference = one_image(registry)
            registry.fail(**fault, times=2)
            assert make_client().find_manifest(reference) is not None

    def test_the_wait_the_server_asks_for_is_kept(self) -> None:
        with FakeRegistry() as registry:
            reference, clock = one_image(registry), FakeClock()
            registry.fail(status=429, headers={"Retry-After": "7"}, times=2)
            assert isinstance(make_client(clock=clock).resolve([reference])[reference], Descriptor)
            assert clock.slept == [7.0, 7.0]

    def test_a_wait_beyond_the_deadline_is_not_begun(self) -> None:
        with FakeRegistry() as registry:
            reference, clock = one_image(registry), FakeClock()
            registry.fail(status=429, headers={"Retry-After": "3600"}, times=None)
            error = error_of(make_client(clock=clock), reference)
            assert isinstance(error, Unavailable)
            assert error.message == f"expected the digest of {reference}, found status 429 from {registry.address}"
            assert error.retry_after == 3600.0
            assert (clock.slept, len(registry.requests)) == ([], 1)

    def test_a_lasting_failure_is_named_after_six_tries(self) -> None:
        with FakeRegistry() as registry:
            reference = one_image(registry)
            body = b'{"errors": [{"code": "UNKNOWN", "message": "\x1b[31mdisk\\nfull"}]}'
            registry.fail(status=500, body=body, times=None)
            with pytest.raises(Unavailable, match="found status 500") as caught:
                make_client().find_manifest(reference)
            assert "\x1b" not in caught.value.message
            assert len(registry.requests) == 6

    def test_a_registry_that_is_down_is_named(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            address = f"127.0.0.1:{listener.getsockname()[1]}"
        error = error_of(make_client(), Repository(address, "base/app").tagged("latest"))
        assert isinstance(error, Unavailable)
        assert error.message == f"expected an answer from {address}, found: connection refused"
        assert error.hint == f"is {address} up and reachable from this machine?"

    def test_an_upload_that_failed_begins_again_from_its_first_request(self) -> None:
        with FakeRegistry() as registry:
            registry.fail(status=500, method="PUT")
            make_client().put_blob(Repository(registry.address, "app"), b"x")
            assert [request.method for request in registry.requests] == ["HEAD", "POST", "PUT"] * 2

    def test_an_upload_whose_answer_was_lost_is_found_done(self) -> None:
        with FakeRegistry() as registry:
            registry.fail(hang_up=True, method="PUT")
            make_client().put_blob(Repository(registry.address, "app"), b"x")
            assert [request.method for request in registry.requests] == ["HEAD", "POST", "PUT", "HEAD"]


class TestLies:
    @pytest.mark.parametrize("header", [None, "sha256:abc", "md5:d41d8cd98f00b204e9800998ecf8427e"])
    def test_without_a_usable_digest_header_the_bytes_are_hashed(self, header: str | None) -> None:
        with FakeRegistry() as registry:
            reference, digest = one_image(registry), make_image(seed="0").digest
            registry.fail(headers={"Docker-Content-Digest": header}, times=None)
            found = make_client().resolve([reference])[reference]
            assert isinstance(found, Descriptor)
            assert found.digest == digest
            assert [request.method for request in registry.requests] == ["HEAD", "GET"]

    def test_where_head_is_not_allowed_the_bytes_are_hashed(self) -> None:
        with FakeRegistry() as registry:
            reference, image = one_image(registry), make_image(seed="0")
            registry.fail(status=405, method="HEAD", times=None)
            assert make_client().resolve([reference])[reference] == Descriptor(image.digest, DOCKER_MANIFEST, len(image.manifest))

    def test_other_bytes_than_the_digest_names_are_refused(self) -> None:
        with FakeRegistry() as registry:
            digest = registry.put_image("app", None)
            registry.fail(change=lambda body: body + b"\n", times=None)
            with pytest.raises(AnswerIsNo) as caught:
                make_client().find_manifest(Repository(registry.address, "app").at(digest))
            changed = Digest.of(make_image().manifest + b"\n")
            assert caught.value.message.startswith(
                f"the registry served other bytes than the digest names: expected {digest}, found {changed}"
            )
            assert len(registry.requests) == 1, "a lie is no reason to ask again"

    def test_a_rotten_manifest_behind_a_tag_is_refused(self) -> None:
        with FakeRegistry() as registry:
            reference = one_image(registry)
            registry.fail(change=lambda body: body.replace(b"amd64", b"arm64") + b" ")
            with pytest.raises(AnswerIsNo, match="served other bytes than the digest names"):
                make_client().find_manifest(reference)

    def test_a_digest_header_for_another_digest_than_asked_is_not_believed(self) -> None:
        with FakeRegistry() as registry:
            digest = registry.put_image("app", None)
            registry.fail(headers={"Docker-Content-Digest": str(Digest.of(b"other"))}, method="HEAD")
            found = make_client().find_descriptor(Repository(registry.address, "app").at(digest))
            assert found is not None
            assert found.digest == digest

    def test_a_rotten_blob_is_refused(self) -> None:
        with FakeRegistry() as registry:
            client, repository = make_client(), Repository(registry.address, "app")
            digest = client.put_blob(repository, b"hello")
            registry.fail(change=lambda _: b"jello", times=None)
            with pytest.raises(AnswerIsNo, match="served other bytes than the digest names"):
                client.get_blob(repository, Descriptor(digest, "", 5), 100)

    def test_a_blob_larger_than_the_limit_is_not_asked_for(self) -> None:
        with FakeRegistry() as registry:
            blob = Descriptor(Digest.of(b""), "", 101)
            with pytest.raises(AnswerIsNo, match="expected a blob of at most 100 bytes, found 101 bytes announced"):
                make_client().get_blob(Repository(registry.address, "app"), blob, 100)
            assert registry.requests == []

    def test_an_endless_manifest_is_not_read_to_its_end(self) -> None:
        with FakeRegistry() as registry:
            reference = one_image(registry)
            registry.fail(change=lambda body: body + b" " * (5 << 20), times=None)
            with pytest.raises(AnswerIsNo, match="expected at most 4194304 bytes"):
                make_client().find_manifest(reference)

    @pytest.mark.parametrize("ask", ["find_descriptor", "find_manifest"])
    def test_a_page_instead_of_a_manifest_is_named(self, ask: str) -> None:
        with FakeRegistry() as registry:
            reference = one_image(registry)
            registry.fail(status=200, headers=HTML, body=b"<html>log in</html>", times=None)
            with pytest.raises(Unavailable, match=r"answered text/html \(status 200\), expected a registry") as caught:
                getattr(make_client(), ask)(reference)
            assert caught.value.hint == "is this address a registry?"

    def test_schema_1_is_refused_with_advice(self) -> None:
        with FakeRegistry() as registry:
            reference = one_image(registry)
            registry.fail(headers={"Content-Type": "application/vnd.docker.distribution.manifest.v1+prettyjws"}, times=None)
            error = error_of(make_client(), reference)
            assert isinstance(error, AnswerIsNo)
            assert error.message.endswith("found the obsolete schema 1")
            assert error.hint == "push the image again with a current tool"

    @pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"schemaVersion": 2, "manifests": [], "layers": []}', b'{"a": 1, "a": 2}'])
    def test_bytes_that_are_no_manifest_are_refused(self, body: bytes) -> None:
        with FakeRegistry() as registry:
            registry.put_manifest("app", "latest", body, DOCKER_MANIFEST)
            with pytest.raises(AnswerIsNo, match="found bytes that are none"):
                make_client().find_manifest(Repository(registry.address, "app").tagged("latest"))
            assert len(registry.requests) == 1, "bytes with their right digest stay what they are"


STRANGE: list[dict[str, Any]] = [
    {"headers": {"Content-Length": "abc"}, "cut": True},
    {"headers": {"Content-Length": "-1"}, "cut": True},
    {"headers": {"Content-Length": "99999999999999999999999"}, "cut": True},
    {"headers": {"Transfer-Encoding": "chunked"}, "cut": True},
    {"headers": {"Content-Encoding": "gzip"}},
    {"headers": {"Content-Type": "application/json\u00e9"}},
    {"headers": {"Docker-Content-Digest": "\u00b2" * 70}},
    {"headers": {"X-Long": "x" * 70_000}},
    {"status": 204},
    {"status": 206, "body": b"{}"},
    {"status": 304},
    {"status": 307, "headers": {"Location": "http://[broken/"}},
    {"status": 307, "headers": {"Location": "http://host:port/"}},
    {"status": 307, "headers": {"Location": "file:///etc/passwd"}},
    {"status": 307, "headers": {"Location": "http://127.0.0.1:1/\u00e9 x"}},
    {"status": 307, "headers": {"Location": "http:///nowhere"}},
    {"status": 401, "headers": {"WWW-Authenticate": 'Bearer realm="http://127.0.0.1:99999/"'}},
    {"status": 401, "headers": {"WWW-Authenticate": 'Bearer realm="' + "x" * 10_000 + '"'}},
    {"status": 401, "headers": {"WWW-Authenticate": 'Bearer realm="http://127.0.0.1:1/\u00e9"'}},
    {"status": 202, "headers": {"Location": "http://[broken/"}},
    {"status": 202, "headers": {"Location": "file:///etc/passwd"}},
    {"status": 202},
    {"status": 999},
    {"hang_up": True},
    {"cut": True},
]


@pytest.mark.parametrize("fault", STRANGE)
def test_whatever_a_server_answers_only_errors_of_ours_come_out(fault: dict[str, Any]) -> None:
    with FakeRegistry() as registry:
        reference, client = one_image(registry), make_client(only_for("nobody"))
        blob = Descriptor(Digest.of(b"hello"), "", 5)
        registry.blobs[str(blob.digest)] = b"hello"
        registry.fail(**fault, times=None)
        for ask in (
            lambda: client.find_descriptor(reference),
            lambda: client.find_manifest(reference),
            lambda: client.get_blob(reference.repository, blob, 100),
            lambda: client.put_blob(reference.repository, b"new"),
            lambda: client.put_manifest(reference, make_image(seed="0").manifest, DOCKER_MANIFEST),
        ):
            with contextlib.suppress(StagepinError):
                ask()


class TestRights:
    def test_a_refusal_names_the_registry_and_where_credentials_come_from(self) -> None:
        with FakeRegistry() as registry:
            reference = one_image(registry)
            registry.require_basic("user", "right")
            error = error_of(make_client(only_for(registry.address)), reference)
            assert isinstance(error, AccessDenied)
            assert error.message.startswith(
                f"expected to be let in by {registry.address} with the credentials found for it, found status 401"
            )
            assert f"docker login {registry.address}" in error.hint
            assert "DOCKER_AUTH_CONFIG" in error.hint
            assert USER.secret not in error.message + error.hint

    def test_without_credentials_it_says_so(self) -> None:
        with FakeRegistry() as registry:
            reference = one_image(registry)
            registry.require_basic("user", "right")
            error = error_of(make_client(), reference)
            assert isinstance(error, AccessDenied)
            assert error.message.endswith("found none")

    @pytest.mark.parametrize("status", [401, 403])
    def test_401_and_403_are_never_tried_again(self, status: int) -> None:
        with FakeRegistry() as registry:
            reference = one_image(registry)
            registry.fail(status=status, times=None)
            assert isinstance(error_of(make_client(), reference), AccessDenied)
            assert len(registry.requests) == 1

    def test_a_token_server_that_refuses_is_a_refusal(self) -> None:
        with FakeRegistry() as registry:
            reference = one_image(registry)
            registry.require_token("user", "right")
            error = error_of(make_client(only_for(registry.address)), reference)
            assert isinstance(error, AccessDenied)
            assert "with the credentials found for it" in error.message

    def test_an_expired_token_is_replaced(self) -> None:
        with FakeRegistry() as registry:
            reference, client = one_image(registry), make_client()
            registry.require_token()
            client.find_manifest(reference)
            registry.expire_tokens()
            assert client.find_manifest(reference) is not None
            assert registry.count(path="/token") == 2

    def test_pushing_asks_for_the_right_to_push(self) -> None:
        with FakeRegistry() as registry:
            registry.require_token(USER.user, USER.secret)
            client = make_client(only_for(registry.address))
            reference = Repository(registry.address, "app").tagged("one")
            push_image(client, reference, make_image())
            assert client.find_descriptor(reference) is not None
            assert [request.scopes for request in registry.requests if request.scopes] == [["repository:app:pull,push"]]

    def test_an_identity_token_buys_a_token(self) -> None:
        with FakeRegistry() as registry:
            reference = one_image(registry)
            registry.require_token("somebody", "identity")
            client = make_client(only_for(registry.address, Credentials("", "", "identity")))
            assert client.find_manifest(reference) is not None
            assert registry.count("POST", "/token") == 1

    def test_a_token_server_without_a_token_is_named(self) -> None:
        with FakeRegistry() as registry:
            reference = one_image(registry)
            registry.require_token()
            registry.fail(path="/token", change=lambda _: b'{"token": "a\\r\\nb"}', times=None)
            error = error_of(make_client(), reference)
            assert isinstance(error, Unavailable)
            assert error.message == f"expected a token from {registry.address}, found application/json without one"


class TestCredentialsStayAtHome:
    """Two servers: the registry the credentials are for, and another one that must never see them."""

    def test_another_token_server_is_asked_anonymously(self) -> None:
        with FakeRegistry() as registry, FakeRegistry() as other:
            reference = one_image(registry)
            other.require_token()
            registry.require_token(realm=f"http://{other.address}/token")
            error = error_of(make_client(only_for(registry.address)), reference)
            assert isinstance(error, AccessDenied)
            assert other.count(path="/token") > 0
            assert all(self.shows_nothing(request) for request in other.requests)

    def test_a_blob_is_fetched_elsewhere_without_them(self) -> None:
        with FakeRegistry() as registry, FakeRegistry() as other:
            digest = self.push_hello(other)
            registry.require_basic(USER.user, USER.secret)
            target = f"http://{other.address}/v2/app/blobs/{digest}"
            registry.on_request = lambda request: self.redirect_if_known(registry, request, target)
            client, repository = make_client(only_for(registry.address)), Repository(registry.address, "app")
            assert client.get_blob(repository, Descriptor(digest, "", 5), 100) == b"hello"
            assert registry.requests[-1].authorization.startswith("Basic ")
            assert other.requests[-1].method == "GET"
            assert all(self.shows_nothing(request) for request in other.requests)

    def test_an_upload_goes_elsewhere_without_them(self) -> None:
        with FakeRegistry() as registry, FakeRegistry() as other:
            registry.require_basic(USER.user, USER.secret)
            registry.fail(method="POST", headers={"Location": f"http://{other.address}/v2/app/blobs/uploads/1"})
            digest = make_client(only_for(registry.address)).put_blob(Repository(registry.address, "app"), b"hello")
            assert str(digest) in other.blobs
            assert [request.authorization for request in other.requests] == [""]

    def test_a_token_call_follows_no_redirect(self) -> None:
        with FakeRegistry() as registry, FakeRegistry() as other:
            reference = one_image(registry)
            registry.require_token(USER.user, USER.secret)
            registry.fail(path="/token", status=307, headers={"Location": f"http://{other.address}/token"}, times=None)
            assert isinstance(error_of(make_client(only_for(registry.address)), reference), Unavailable)
            assert other.requests == []

    @pytest.mark.parametrize(
        "realm",
        [
            "http://169.254.169.254/token",
            "http://10.0.0.1/token",
            "http://[::1]:1/token",
            "http://2130706433/token",
            "http://user:word@127.0.0.1/token",
            "file:///etc/passwd",
            "ftp://example.com/",
            "token",
            "http://[broken/token",
        ],
    )
    def test_a_token_server_that_cannot_be_one_is_not_asked(self, realm: str) -> None:
        with FakeRegistry() as registry:
            reference = one_image(registry)
            registry.require_token(realm=realm)
            error = error_of(make_client(only_for(registry.address)), reference)
            assert isinstance(error, AnswerIsNo)
            assert error.message.startswith(f"expected {registry.address} to name a token server such as https://")

    def test_a_redirect_loop_ends(self) -> None:
        with FakeRegistry() as registry:
            reference = one_image(registry)
            registry.fail(status=307, headers={"Location": "/v2/again/manifests/latest"}, times=None)
            error = error_of(make_client(), reference)
            assert error.message == f"expected an answer from {registry.address}, found more than 5 redirects"

    @staticmethod
    def push_hello(registry: FakeRegistry) -> Digest:
        return make_client().put_blob(Repository(registry.address, "app"), b"hello")

    @staticmethod
    def redirect_if_known(registry: FakeRegistry, request: Request, target: str) -> None:
        if request.authorization:
            registry.fail(status=307, headers={"Location": target})

    @staticmethod
    def shows_nothing(request: Request) -> bool:
        return not request.authorization and USER.secret not in str(request)


class TestPlainHttp:
    def test_loopback_is_found_to_speak_http_once(self) -> None:
        with FakeRegistry() as registry:
            client, reference = make_client(), one_image(registry)
            client.find_manifest(reference)
            client.find_manifest(reference)
            assert [str(request) for request in registry.requests] == ["GET /v2/base/image-0/manifests/latest"] * 2

    def test_a_host_that_is_not_loopback_needs_tls_unless_named(self) -> None:
        # 0.0.0.0 reaches this machine, but is no loopback address: a stand-in for any other host.
        with FakeRegistry() as registry:
            registry.put_image("app", "latest")
            host = registry.address.replace("127.0.0.1", "0.0.0.0")  # noqa: S104 - connected to, never bound
            reference = Repository(host, "app").tagged("latest")
            error = error_of(make_client(), reference)
            assert isinstance(error, Unavailable)
            assert error.message.startswith(f"expected {host} to speak TLS, found: ")
            assert error.hint == f"if {host} speaks plain HTTP, name it as an insecure registry"
            assert isinstance(make_client(insecure=[host]).resolve([reference])[reference], Descriptor)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1 that nobody trusts, and its key, in one file."""
    directory = tmp_path_factory.mktemp("tls")
    command = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=fake -out cert.pem -keyout key.pem"
    )
    command += " -addext subjectAltName=IP:127.0.0.1"
    subprocess.run(command.split(), cwd=directory, check=True, capture_output=True)
    both = directory / "both.pem"
    both.write_text((directory / "cert.pem").read_text() + (directory / "key.pem").read_text())
    return both


class TestTls:
    @pytest.fixture
    def registry(self, certificate: Path) -> Iterator[FakeRegistry]:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        with FakeRegistry(context) as registry:
            yield registry

    def test_a_certificate_authority_of_ones_own_is_trusted_when_named(self, registry: FakeRegistry, certificate: Path) -> None:
        reference = one_image(registry)
        found = make_client(ca_file=str(certificate)).resolve([reference])[reference]
        assert isinstance(found, Descriptor)

    def test_a_strange_certificate_is_never_a_reason_to_go_without(self, registry: FakeRegistry) -> None:
        reference = one_image(registry)
        error = error_of(make_client(insecure=[registry.address]), reference)
        assert isinstance(error, InputError)
        assert error.message.startswith(f"expected {registry.address} to have a certificate this machine trusts, found: self")
        assert error.hint == "commit the registry's CA certificate and name it in .stagepin.yaml: `registries: {ca: FILE}`"
        assert registry.requests == []

    @pytest.mark.parametrize(("content", "found"), [(None, "no such file or directory"), ("no certificate", "no certificate")])
    def test_a_ca_file_that_is_none_is_named(self, tmp_path: Path, content: str | None, found: str) -> None:
        file = tmp_path / "ca.pem"
        if content is not None:
            file.write_text(content)
        error = error_of(make_client(ca_file=str(file)), Repository("127.0.0.1:1", "app").tagged("latest"))
        assert isinstance(error, InputError)
        assert error.message.lower().startswith(f"expected pem certificates, found: {found}")
        assert str(error.where) == str(file)

    def test_a_redirect_from_https_to_http_is_refused(self, registry: FakeRegistry, certificate: Path) -> None:
        reference = one_image(registry)
        registry.fail(status=307, headers={"Location": "http://127.0.0.1:1/"}, times=None)
        error = error_of(make_client(ca_file=str(certificate)), reference)
        assert isinstance(error, AnswerIsNo)
        assert error.message == f"expected {registry.address} to redirect to an https address, found 'http://127.0.0.1:1/'"


class TestMovingTags:
    def test_what_was_resolved_stays_what_it_was(self) -> None:
        with FakeRegistry() as registry:
            reference = one_image(registry)
            client = make_client()
            before = client.resolve([reference])[reference]
            registry.move_tag("base/image-0", "latest", registry.put_image("base/image-0", None, seed="moved"))
            after = client.resolve([reference])[reference]
            assert isinstance(before, Descriptor)
            assert isinstance(after, Descriptor)
            assert before.digest != after.digest
            assert client.find_manifest(reference.at(before.digest)) is not None

    def test_a_deleted_digest_takes_its_tags_along(self) -> None:
        with FakeRegistry() as registry:
            reference = one_image(registry)
            registry.delete("base/image-0", make_image(seed="0").digest)
            assert isinstance(error_of(make_client(), reference), Gone)


def test_one_registry_that_is_down_does_not_spoil_the_others() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        down = Repository(f"127.0.0.1:{listener.getsockname()[1]}", "app").tagged("latest")
    with FakeRegistry() as registry:
        references = store_images(registry, 3)
        found = make_client().resolve([down, *references])
        assert isinstance(found[down], Unavailable)
        assert all(isinstance(found[reference], Descriptor) for reference in references)


def test_threads_that_meet_a_plain_registry_first_at_the_same_moment_all_find_out() -> None:
    for _ in range(10):
        with FakeRegistry() as registry:
            reference, clock, together = one_image(registry), FakeClock(), threading.Barrier(8)
            client = make_client(clock=clock)

            def ask(_number: int, at: Reference = reference, asks: RegistryClient = client, start: threading.Barrier = together) -> bool:
                start.wait()
                return asks.find_descriptor(at) is not None

            with ThreadPoolExecutor(8) as pool:
                assert all(pool.map(ask, range(8)))
            assert clock.slept == []
