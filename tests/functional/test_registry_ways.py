"""The way to a registry: proxies and who goes without one, what is never read for credentials, and how long we wait for whom."""

from __future__ import annotations

import base64
import contextlib
import socket
import ssl
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

import pytest

from ci_plugin.errors import AccessDenied, StagepinError, Unavailable
from ci_plugin.registry.transport import Proxies
from ci_plugin.values.credentials import Credentials
from ci_plugin.values.manifest import Descriptor
from ci_plugin.values.reference import Reference, Repository
from tests.fakes.canary import make_canary
from tests.fakes.certificates import Authority
from tests.fakes.clock import FakeClock
from tests.fakes.lying_registry import TRUTH, LyingRegistry, manifest_reply, reply, reset_after, say
from tests.fakes.registry import FakeRegistry, Request
from tests.fakes.registry_client import make_client
from tests.fakes.watch import watch
from tests.scenarios.pipeline import Project

PASSWORD, PROXY_PASSWORD, NETRC = make_canary("password"), make_canary("proxy"), make_canary("netrc", for_header=True)
NAMED = Repository("registry.test", "app").tagged("latest")


class TunnelProxy:
    """A proxy on loopback that opens tunnels to ``target`` whatever name it is asked for; ``heads`` holds what it was told."""

    def __init__(self, target: str) -> None:
        self.heads: list[str] = []
        self.passed = bytearray()
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        host, _, port = self._target.partition(":")
        with client, socket.create_connection((host, int(port))) as server, client.makefile("rb", 0) as reader:
            lines = iter(lambda: reader.readline().decode("latin-1").strip(), "")
            self.heads.append("\n".join(lines))
            client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            back = threading.Thread(target=self._pump, args=(server, client), daemon=True)
            back.start()
            self._pump(client, server)
            back.join()

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                self.passed += data
                target.sendall(data)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def registry(authority: Authority) -> Iterator[FakeRegistry]:
    """A registry behind TLS that calls itself registry.test, which no name server knows."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(*authority.issue("registry", "registry.test"))
    with FakeRegistry(tls) as running:
        running.put_image("app", "latest")
        running.require_basic("user", PASSWORD.text)
        yield running


@pytest.fixture
def proxy(registry: FakeRegistry) -> Iterator[TunnelProxy]:
    with TunnelProxy(registry.address) as running:
        yield running


def resolve(environ: dict[str, str], authority: Authority) -> Descriptor | StagepinError:
    credentials = {"registry.test": Credentials("user", PASSWORD.text)}
    client = make_client(credentials.get, proxies=Proxies.from_environment(environ), ca_file=str(authority.ca_file), deadline=0.1)
    return client.resolve([NAMED])[NAMED]


def test_a_registry_is_reached_through_the_proxy_which_sees_nothing(
    registry: FakeRegistry, proxy: TunnelProxy, authority: Authority
) -> None:
    with watch() as seen:
        found = resolve({"HTTPS_PROXY": f"http://{proxy.address}"}, authority)
    assert isinstance(found, Descriptor)
    assert "?registry.test" not in seen.hosts, "its name is the proxy's to look up"
    assert seen.hosts <= {proxy.address, registry.address, "?127.0.0.1"}
    assert [head.partition(" HTTP/")[0] for head in proxy.heads] == ["CONNECT registry.test:443"]
    assert registry.requests[-1].authorization.startswith("Basic ")
    PASSWORD.assert_hidden("\n".join(proxy.heads))
    PASSWORD.assert_hidden(bytes(proxy.passed))


def test_a_proxys_password_may_hold_any_character(registry: FakeRegistry, proxy: TunnelProxy, authority: Authority) -> None:
    found = resolve({"https_proxy": f"http://me:{quote('“ö:@')}@{proxy.address}"}, authority)
    assert isinstance(found, Descriptor)
    expected = base64.b64encode("me:“ö:@".encode()).decode()
    assert f"Proxy-Authorization: Basic {expected}".lower() in proxy.heads[0].lower()


def test_the_proxys_own_credentials_go_to_the_proxy_alone(registry: FakeRegistry, proxy: TunnelProxy, authority: Authority) -> None:
    found = resolve({"https_proxy": f"http://me:{PROXY_PASSWORD.text.encode().hex()}@{proxy.address}"}, authority)
    assert isinstance(found, Descriptor)
    expected = base64.b64encode(f"me:{PROXY_PASSWORD.text.encode().hex()}".encode()).decode()
    assert f"Proxy-Authorization: Basic {expected}".lower() in proxy.heads[0].lower()
    assert not any("proxy-authorization" in request.headers for request in registry.requests)


@pytest.mark.parametrize("exempt", ["registry.test", "other, registry.test", ".test", "*.test", "TEST", "*", "registry.test:443"])
@pytest.mark.parametrize("name", ["NO_PROXY", "no_proxy"])
def test_who_is_exempt_goes_without_the_proxy(proxy: TunnelProxy, authority: Authority, name: str, exempt: str) -> None:
    proxies = Proxies.from_environment({"HTTPS_PROXY": f"http://{proxy.address}", name: exempt})
    assert proxies.find("https://registry.test:443/v2/") is None
    assert proxies.find("https://registry.example/v2/") == (None if exempt == "*" else f"http://{proxy.address}")


def test_a_proxy_that_is_down_is_named_without_its_password(registry: FakeRegistry, authority: Authority) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
    error = resolve({"HTTPS_PROXY": f"http://me:{NETRC.text}@{address}"}, authority)
    assert isinstance(error, StagepinError)
    assert registry.requests == [], "and nobody goes around it"
    NETRC.assert_hidden(error.message + error.hint + str(error.where))


def test_the_lower_case_spelling_goes_first_and_cgi_sets_no_proxy() -> None:
    environ = {"HTTP_PROXY": "http://upper:1", "http_proxy": "http://lower:1", "ALL_PROXY": "http://all:1"}
    assert Proxies.from_environment(environ).find("http://registry.test/") == "http://lower:1"
    assert Proxies.from_environment(environ).find("https://registry.test/") == "http://all:1"
    assert Proxies.from_environment({"HTTP_PROXY": "http://upper:1", "REQUEST_METHOD": "GET"}).find("http://registry.test/") is None
    assert Proxies.from_environment({}).find("https://registry.test/") is None


def test_a_netrc_file_is_never_read(project: Project, tmp_path: Path) -> None:
    host = project.registry.address.partition(":")[0]
    (tmp_path / "netrc").write_text(f"machine {host} login user password {NETRC.text}\ndefault login user password {NETRC.text}\n")
    (tmp_path / ".netrc").write_text((tmp_path / "netrc").read_text())
    (tmp_path / ".netrc").chmod(0o600)
    project.registry.require_basic("user", NETRC.text)
    project.commit(config="image: app\nfrom: BASE\nfromLatest: true\n")
    ran = project.pipeline().job().run("pin", HOME=str(tmp_path), NETRC=str(tmp_path / "netrc"))
    assert ran.code == AccessDenied.exit_code
    assert f"expected credentials for {project.registry.address}, which asks for a user name and a password; found none" in ran.err
    assert not any(request.authorization for request in project.registry.requests)


def limited(headers: dict[str, str], deadline: float = 60.0) -> tuple[Descriptor | StagepinError, list[float], int]:
    """What comes of a registry that says 429 for ever, what was slept, and how many requests it took."""
    with LyingRegistry(say("", "/v2/", reply(429, headers))) as registry:
        reference, clock = Reference(Repository(registry.address, "app"), "latest", None), FakeClock()
        found = make_client(clock=clock, deadline=deadline).resolve([reference])[reference]
        return found, clock.slept, len(registry.requests)


DATE = {"Date": "Fri, 02 Jan 2026 03:04:05 GMT"}


@pytest.mark.parametrize(
    ("headers", "slept", "requests"),
    [
        pytest.param({"Retry-After": "25"}, [25.0, 25.0], 3, id="seconds"),
        pytest.param({**DATE, "Retry-After": "Fri, 02 Jan 2026 03:04:25 GMT"}, [20.0, 20.0], 3, id="date"),
        pytest.param({"Retry-After": "86400"}, [], 1, id="a day"),
        pytest.param({"Retry-After": "999999999"}, [], 1, id="absurd"),
        pytest.param({**DATE, "Retry-After": "Fri, 02 Jan 2099 03:04:25 GMT"}, [], 1, id="absurd date"),
    ],
)
def test_a_wait_that_is_asked_for_is_kept_within_one_deadline(headers: dict[str, str], slept: list[float], requests: int) -> None:
    error, waited, asked = limited(headers)
    assert isinstance(error, Unavailable)
    assert "found status 429" in error.message
    hint, _, asked_for = error.hint.partition("; it asks to be left alone for ")
    assert hint == "the registry limits requests; try again later"
    assert asked_for.endswith(" s, longer than this run waits (60 s in all)") == (not slept)
    assert (waited, asked) == (slept, requests)


@pytest.mark.parametrize("value", ["-5", "soon", "1e3", "", "9" * 400, None, "Fri, 02 Jan 1970 03:04:25 GMT"])
def test_a_wait_that_makes_no_sense_is_ours_to_choose(value: str | None) -> None:
    error, waited, asked = limited({**DATE, **({} if value is None else {"Retry-After": value})})
    assert isinstance(error, Unavailable)
    assert asked == 6
    assert all(0.5 * 0.3 * 2**number <= seconds <= 0.3 * 2**number for number, seconds in enumerate(waited)), waited


def test_all_tries_share_one_deadline() -> None:
    _, waited, asked = limited({"Retry-After": "4"}, deadline=10.0)
    assert (waited, asked) == ([4.0, 4.0], 3)


WHOLE = b"".join(manifest_reply(TRUTH.manifest, headers={"Docker-Content-Digest": "none"}))
HEAD_ENDS = WHOLE.index(b"\r\n\r\n") + 4


@pytest.mark.parametrize("at", [0, 1, 12, 17, HEAD_ENDS - 1, HEAD_ENDS, HEAD_ENDS + 1, len(WHOLE) - 1])
@pytest.mark.parametrize("method", ["HEAD", "GET"])
def test_a_connection_that_is_reset_anywhere_is_tried_again(method: str, at: int) -> None:
    left = [at, at]

    def lie(request: Request) -> Iterable[bytes] | None:
        return reset_after(WHOLE[: left.pop()]) if left and request.method == method else None

    with LyingRegistry(lie) as registry:
        clock = FakeClock()
        client = make_client(clock=clock)
        reference = Repository(registry.address, "app").tagged("latest")
        found = client.find_descriptor(reference) if method == "HEAD" else client.find_manifest(reference)
        assert found is not None
        # A HEAD has its answer where the headers end; whether a reset right after them is noticed is the kernel's affair.
        if method == "GET" or at < HEAD_ENDS - 1:
            assert (left, len(clock.slept)) == ([], 2)


def test_a_connection_that_is_always_reset_is_named_after_six_tries() -> None:
    with LyingRegistry(lambda _: reset_after(b"HTTP/1.1 200")) as registry:
        with pytest.raises(Unavailable, match=f"expected an answer from {registry.address}, found: connection reset by peer") as caught:
            make_client().find_manifest(Repository(registry.address, "app").tagged("latest"))
        assert caught.value.hint == f"is {registry.address} up and reachable from this machine?"
        assert len(registry.requests) == 6
