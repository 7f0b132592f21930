"""The client at the door of a real registry: TLS with an authority of one's own, a password, and tokens of a token server."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from ci_plugin.errors import AccessDenied, InputError, StagepinError
from ci_plugin.registry.client import RegistryClient
from ci_plugin.values.credentials import Credentials
from ci_plugin.values.manifest import DOCKER_MANIFEST, Descriptor
from ci_plugin.values.reference import Reference, Repository
from tests.fakes.canary import make_canary
from tests.fakes.certificates import Authority
from tests.fakes.registry import make_image
from tests.fakes.registry_client import make_client, push_image
from tests.fakes.token_server import TokenServer, TokenSigner

pytestmark = pytest.mark.engine

IMAGE = make_image()
FOUND = Descriptor(IMAGE.digest, DOCKER_MANIFEST, len(IMAGE.manifest))
PASSWORD = "p4ss:w/rd+of the test"
HTPASSWD = "alice:$2y$05$stagepinstagepinstageulSlQ9bQTrNJnR28XSJPOdnbGo3hMIzu\n"
"""What ``htpasswd -B`` makes of that password; distribution takes bcrypt alone, and no package of ours makes it."""


@contextmanager
def start(directory: Path, *, auth: Mapping[str, object] | None = None, tls: tuple[Path, Path] | None = None) -> Iterator[str]:
    """The address of a docker-registry with these sections of its configuration."""
    directory.mkdir()
    program = shutil.which("docker-registry")
    assert program, "install Debian's docker-registry"
    for _ in range(5):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{free.getsockname()[1]}"
        http: dict[str, object] = {"addr": address}
        http |= {"tls": {"certificate": str(tls[0]), "key": str(tls[1])}} if tls else {}
        storage = {"filesystem": {"rootdirectory": str(directory / "store")}, "delete": {"enabled": True}}
        settings = {"version": 0.1, "log": {"level": "error", "accesslog": {"disabled": True}}, "storage": storage, "http": http}
        (directory / "config.yml").write_text(json.dumps({**settings, **({"auth": auth} if auth else {})}))
        with (directory / "log").open("wb") as log:
            process = subprocess.Popen(
                [program, "serve", str(directory / "config.yml")],
                stdout=log,
                stderr=log,
                env={"PATH": "/usr/bin:/bin", "HOME": str(directory)},
            )
        try:
            if accepts(process, address):
                yield address
                return
        finally:
            process.terminate()
            process.wait(30)
    pytest.fail(f"no registry: {(directory / 'log').read_text()}")


def accepts(process: subprocess.Popen[bytes], address: str) -> bool:
    host, _, port = address.partition(":")
    for _ in range(200):
        if process.poll() is not None:
            return False
        try:
            socket.create_connection((host, int(port)), timeout=5).close()
        except OSError:
            threading.Event().wait(0.05)
        else:
            return True
    return False


def only_for(address: str, password: str = PASSWORD) -> Mapping[str, Credentials]:
    return {address: Credentials("alice", password)}


def app(address: str, name: str = "app") -> Reference:
    return Repository(address, name).tagged("latest")


def error_of(client: RegistryClient, reference: Reference) -> StagepinError:
    found = client.resolve([reference])[reference]
    assert isinstance(found, StagepinError)
    return found


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def tls_registry(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with start(tmp_path_factory.mktemp("tls") / "registry", tls=authority.issue("good")) as address:
        yield address


class TestTls:
    def test_a_registry_of_an_authority_of_ones_own_is_written_and_read(self, tls_registry: str, authority: Authority) -> None:
        client = make_client(ca_file=str(authority.ca_file))
        assert push_image(client, app(tls_registry), IMAGE) == IMAGE.digest
        assert client.resolve([app(tls_registry)]) == {app(tls_registry): FOUND}

    def test_one_file_may_hold_several_authorities(self, tls_registry: str, authority: Authority, tmp_path: Path) -> None:
        both = tmp_path / "both.pem"
        both.write_bytes(Authority(tmp_path, "another authority").ca_file.read_bytes() + authority.ca_file.read_bytes())
        client = make_client(ca_file=str(both))
        push_image(client, app(tls_registry, "several"), IMAGE)
        assert client.find_descriptor(app(tls_registry, "several")) == FOUND

    @pytest.mark.parametrize("insecure", [False, True])
    def test_without_it_the_registry_is_refused_and_never_spoken_to_without_tls(self, tls_registry: str, insecure: bool) -> None:
        error = error_of(make_client(insecure=[tls_registry] if insecure else []), app(tls_registry))
        assert type(error) is InputError
        assert error.message == (
            f"expected {tls_registry} to have a certificate this machine trusts, found: unable to get local issuer certificate"
        )
        assert error.hint == "commit the registry's CA certificate and name it in .stagepin.yaml: `registries: {ca: FILE}`"

    def test_another_authority_does_not_help(self, tls_registry: str, tmp_path: Path) -> None:
        error = error_of(make_client(ca_file=str(Authority(tmp_path, "another authority").ca_file)), app(tls_registry))
        assert "found: unable to get local issuer certificate" in error.message

    def test_the_name_has_to_be_the_one_in_the_certificate(self, tls_registry: str, authority: Authority) -> None:
        named = tls_registry.replace("127.0.0.1", "localhost")
        error = error_of(make_client(ca_file=str(authority.ca_file)), app(named))
        assert type(error) is InputError
        assert error.message.startswith(
            f"expected {named} to have a certificate this machine trusts, found: Hostname mismatch, certificate"
        )

    def test_an_expired_certificate_is_refused(self, authority: Authority, tmp_path: Path) -> None:
        with start(tmp_path / "registry", tls=authority.issue("expired", lasts=timedelta(hours=-1))) as address:
            error = error_of(make_client(ca_file=str(authority.ca_file)), app(address))
        assert type(error) is InputError
        assert error.message.endswith("found: certificate has expired")


@pytest.fixture(scope="module")
def password_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    directory = tmp_path_factory.mktemp("basic")
    (directory / "htpasswd").write_text(HTPASSWD)
    with start(directory / "registry", auth={"htpasswd": {"realm": "test", "path": str(directory / "htpasswd")}}) as address:
        yield address


class TestPassword:
    def test_the_right_one_writes_and_reads(self, password_registry: str) -> None:
        client = make_client(only_for(password_registry).get)
        assert push_image(client, app(password_registry), IMAGE) == IMAGE.digest
        assert client.resolve([app(password_registry)]) == {app(password_registry): FOUND}
        manifest = client.find_manifest(app(password_registry))
        assert manifest is not None
        assert client.get_blob(app(password_registry).repository, manifest.get_config(), 10_000) == IMAGE.blobs[0]

    def test_a_wrong_one_is_refused_and_not_shown(self, password_registry: str) -> None:
        canary = make_canary("wrong")
        error = error_of(make_client(only_for(password_registry, canary.text).get), app(password_registry))
        assert type(error) is AccessDenied
        assert error.message == f"expected to be let in by {password_registry} with the credentials found for it, found status 401"
        canary.assert_hidden(error.message + error.hint + str(error.where))

    def test_without_one_the_registry_is_named(self, password_registry: str) -> None:
        error = error_of(make_client(), app(password_registry))
        assert type(error) is AccessDenied
        assert error.message == f"expected credentials for {password_registry}, which asks for a user name and a password; found none"
        assert f"docker login {password_registry}" in error.hint


@pytest.fixture(params=["ES256", "RS256"])
def tokens(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[TokenServer]:
    """A token server and a real registry behind it, at one address."""
    server = TokenServer(TokenSigner(request.param), users={"alice": PASSWORD}, identity_tokens=("identity of the test",))
    with server, start(tmp_path / "registry", auth=server.registry_settings(tmp_path / "bundle.pem")) as address:
        server.upstream = address
        yield server


class TestTokens:
    def test_a_user_writes_and_reads_with_one_token_for_each_right(self, tokens: TokenServer) -> None:
        client, reference = make_client(only_for(tokens.address).get), app(tokens.address)
        assert push_image(client, reference, IMAGE) == IMAGE.digest
        assert client.resolve([reference]) == {reference: FOUND}
        assert [request.scopes for request in tokens.token_requests] == [["repository:app:pull,push"]]

    def test_a_stranger_reads_and_may_not_write(self, tokens: TokenServer) -> None:
        references = [app(tokens.address, name) for name in ("one", "two", "three")]
        for reference in references:
            push_image(make_client(only_for(tokens.address).get), reference, IMAGE)
        before = len(tokens.token_requests)
        stranger = make_client()
        assert stranger.resolve(references) == dict.fromkeys(references, FOUND)
        asked = tokens.token_requests[before:]
        assert [request.authorization for request in asked] == [""], "one token for all three"
        assert sorted(asked[0].scopes) == ["repository:one:pull", "repository:three:pull", "repository:two:pull"]
        with pytest.raises(AccessDenied, match=f"expected to be let in by {tokens.address} anonymously") as caught:
            stranger.put_blob(references[0].repository, b"from a stranger")
        assert f"docker login {tokens.address}" in caught.value.hint

    def test_an_expired_token_is_replaced_in_the_middle_of_a_run(self, tokens: TokenServer) -> None:
        client, reference = make_client(only_for(tokens.address).get), app(tokens.address)
        tokens.lifetimes = [-3600]
        push_image(client, reference, IMAGE)
        assert client.find_descriptor(reference) == FOUND
        assert len(tokens.issued) == 2

    def test_tokens_that_are_all_expired_are_a_refusal_that_names_the_registry_and_shows_none(self, tokens: TokenServer) -> None:
        tokens.lifetimes = [-3600] * 10
        error = error_of(make_client(only_for(tokens.address).get), app(tokens.address))
        assert type(error) is AccessDenied
        assert f"expected to be let in by {tokens.address} with the credentials found for it, found status 401" in error.message
        assert len(tokens.issued) == 2, "one, and one newer"
        assert all(token not in error.message + error.hint for token in tokens.issued)

    def test_a_wrong_password_is_a_refusal(self, tokens: TokenServer) -> None:
        canary = make_canary("wrong")
        error = error_of(make_client(only_for(tokens.address, canary.text).get), app(tokens.address))
        assert type(error) is AccessDenied
        assert f"expected to be let in by {tokens.address} with the credentials found for it, found status 401" in error.message
        canary.assert_hidden(error.message + error.hint)

    def test_an_identity_token_buys_the_right_to_write(self, tokens: TokenServer) -> None:
        identity = {tokens.address: Credentials("", "", "identity of the test")}
        client, reference = make_client(identity.get), app(tokens.address)
        assert push_image(client, reference, IMAGE) == IMAGE.digest
        assert client.find_descriptor(reference) == FOUND
        assert [request.method for request in tokens.token_requests] == ["POST"]

    def test_a_copy_between_repositories_is_allowed_by_one_token_for_both(self, tokens: TokenServer) -> None:
        client, source = make_client(only_for(tokens.address).get), app(tokens.address)
        push_image(client, source, IMAGE)
        manifest = client.find_manifest(source)
        assert manifest is not None
        target = app(tokens.address, "kept")
        for blob in (manifest.get_config(), *manifest.layers):
            client.copy_blob(source.repository, blob, target.repository)
        client.put_manifest(target, IMAGE.manifest, IMAGE.media_type)
        assert client.find_descriptor(target) == FOUND
        assert ["repository:kept:pull,push", "repository:app:pull"] in [request.scopes for request in tokens.token_requests]


def test_a_token_server_elsewhere_sees_no_password(tmp_path: Path) -> None:
    canary = make_canary("elsewhere")
    with TokenServer(TokenSigner("ES256")) as elsewhere:
        with start(tmp_path / "registry", auth=elsewhere.registry_settings(tmp_path / "bundle.pem")) as address:
            assert make_client(only_for(address, canary.text).get).find_descriptor(app(address)) is None
        canary.assert_hidden("\n".join(f"{request} {dict(request.headers)}" for request in elsewhere.requests))
        assert [request.authorization for request in elsewhere.token_requests] == [""]
