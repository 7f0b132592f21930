"""The connection to an engine: made at the first use, negotiated, and refused with a sentence where there is none.

The only place that makes a docker-py client. Which engine: the address given, else ``DOCKER_HOST``, else the default socket;
TLS by ``DOCKER_TLS_VERIFY`` and ``DOCKER_CERT_PATH``, as the docker command has it. docker-py's own credentials and proxies are never used.
"""

from __future__ import annotations

import socket
import ssl
import threading
import weakref
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from io import BufferedReader
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ci_plugin.engine.failures import shorten
from ci_plugin.errors import InputError, StagepinError, Unavailable

if TYPE_CHECKING:
    from docker import APIClient, TLSConfig

DEFAULT_DOCKER_HOST = "unix:///var/run/docker.sock"
_FIRST_ANSWER_SECONDS = 4
_ANSWER_SECONDS = 600
"""A commit or the last step of a push says nothing for minutes when layers are large."""
OLDEST_API = (1, 30)


class EngineConnection:
    """One engine, connected to when first asked for; safe to share between threads."""

    def __init__(self, docker_host: str | None, environ: Mapping[str, str], api_version: str = "auto") -> None:
        self.address = docker_host or environ.get("DOCKER_HOST") or DEFAULT_DOCKER_HOST
        self._environ = environ
        self._api_version = api_version
        self._lock = threading.Lock()
        self._client: APIClient | None = None
        self._finalizer: weakref.finalize[[], EngineConnection] | None = None

    @property
    def api(self) -> APIClient:
        """The low-level client. Raises InputError where no engine answers or one that is too old, Unavailable where it died meanwhile."""
        with self._lock:
            if self._client is None:
                self._client = self._connect()
                # Whoever forgets to close it leaves no socket behind, neither at exit nor in a test.
                self._finalizer = weakref.finalize(self, self._client.close)
            elif not self._is_listening():
                message = f"expected the engine at {self.address} to go on working, found it gone"
                raise Unavailable(message, hint="is the engine still running? run again")
            return self._client

    @property
    def api_version(self) -> tuple[int, int]:
        """The version both sides speak, such as (1, 41)."""
        major, _, minor = self.api.api_version.partition(".")
        return int(major), int(minor)

    def is_alive(self) -> bool:
        """Whether the engine answers a ping now."""
        from docker.errors import DockerException
        from requests import RequestException

        try:
            return bool(self.api.ping())
        except (DockerException, RequestException, OSError, StagepinError):
            return False

    @contextmanager
    def upgraded(self, path: str, protocol: str, headers: Iterable[tuple[str, str]]) -> Iterator[tuple[socket.socket, bytes]]:
        """A connection that speaks another protocol after ``POST path``, and what came on it already; closed in the end.

        Over docker-py's own transport, so that TLS is the same as for everything else. A header may stand there several times.
        Raises InputError where that is refused, else as every request does.
        """
        from requests import Request
        from urllib3 import HTTPHeaderDict

        api: Any = self.api
        prepared = api.prepare_request(Request("POST", api._url(path)))
        several: Any = HTTPHeaderDict({"Connection": "Upgrade", "Upgrade": protocol, "Content-Length": "0"})
        for name, value in headers:
            several.add(name, value)
        prepared.headers = several
        response = api.send(prepared, stream=True, timeout=_FIRST_ANSWER_SECONDS)
        try:
            if HTTPStatus.BAD_REQUEST <= response.status_code < HTTPStatus.INTERNAL_SERVER_ERROR:
                message = f"expected the engine at {self.address} to take POST {path}, found status {response.status_code}"
                hint = "BuildKit needs it; what stands before the engine (a proxy of its socket) must let it through"
                raise InputError(message, hint=hint)
            api._raise_for_status(response)
            if response.status_code != HTTPStatus.SWITCHING_PROTOCOLS:
                raise ConnectionError(f"expected the engine to change to {protocol}, found status {response.status_code}")
            reader = response.raw._fp.fp
            connection: socket.socket = reader.raw._sock
            connection.setblocking(False)
            yield connection, _buffered(reader)
        finally:
            response.close()

    def _is_listening(self) -> bool:
        try:
            self._probe()
        except OSError:
            return False
        return True

    def _probe(self) -> None:
        """Connect to a unix socket and hang up (microseconds). docker-py leaks the socket of a connection that is refused."""
        address = urlsplit(self.address)
        if address.scheme == "unix":
            with socket.socket(socket.AF_UNIX) as probe:
                probe.settimeout(_FIRST_ANSWER_SECONDS)
                probe.connect(address.netloc + address.path)

    def close(self) -> None:
        """Close its sockets; the next use connects again."""
        with self._lock:
            if self._finalizer:
                self._finalizer()
            self._client = None

    def _connect(self) -> APIClient:
        if urlsplit(self.address).scheme == "ssh":
            # docker-py knows it only with paramiko installed, and fails with a NameError without.
            hint = "forward the socket: ssh -nNT -L /tmp/docker.sock:/var/run/docker.sock HOST, and set DOCKER_HOST=unix:///tmp/docker.sock"
            raise InputError("expected DOCKER_HOST to be unix:// or tcp://, found ssh://, which stagepin does not speak", hint=hint)
        from docker.errors import DockerException, InvalidVersion
        from requests import RequestException

        try:
            self._probe()
            client = _client_type()(self.address, version=self._api_version, timeout=_FIRST_ANSWER_SECONDS, tls=self._tls() or False)
            if not client.ping():
                raise ValueError("an answer that is no engine's")  # noqa: TRY301 - told below, as every other answer
            found = client.api_version
        except InvalidVersion as error:
            raise self._too_old(shorten(str(error))) from error
        except (DockerException, RequestException, OSError, ValueError) as error:
            raise InputError(
                f"no Docker engine reachable at {self.address}: expected an answer, found {shorten(_reason(error))}",
                hint="start an engine, set DOCKER_HOST, or ask for the right to its socket; `stagepin doctor` shows what works here",
            ) from error
        if tuple(int(part) for part in str(found).split(".")[:2]) < OLDEST_API:
            raise self._too_old(f"API {found}")
        client.timeout = _ANSWER_SECONDS
        return client

    def _too_old(self, found: str) -> InputError:
        oldest = ".".join(map(str, OLDEST_API))
        message = f"expected an engine of API {oldest} (Docker 17.06) or newer at {self.address}, found {found}"
        return InputError(message, hint="use a newer engine; 20.10 is the oldest that is tested")

    def _tls(self) -> TLSConfig | None:
        from docker import TLSConfig

        if not self._environ.get("DOCKER_TLS_VERIFY"):
            return None
        path = self._environ.get("DOCKER_CERT_PATH") or f"{self._environ.get('HOME', '')}/.docker"
        return TLSConfig(client_cert=(f"{path}/cert.pem", f"{path}/key.pem"), ca_cert=f"{path}/ca.pem", verify=True)


def _client_type() -> type[APIClient]:
    from docker import APIClient

    class Client(APIClient):
        """docker-py's client that asks this process's environment nothing: REQUESTS_CA_BUNDLE would go before the engine's own CA."""

        trust_env = property(lambda _self: False, lambda _self, _value: None)

    return Client


def _buffered(reader: BufferedReader) -> bytes:
    """What was read together with the answer's headers; the connection must not block."""
    try:
        return reader.peek()
    except ssl.SSLWantReadError:
        return b""


def _reason(error: BaseException) -> str:
    """What the engine said, else the innermost cause's text: docker-py wraps "permission denied" four times."""
    from docker.errors import APIError

    if isinstance(error, APIError) and error.explanation:
        return str(error.explanation)
    while error.__cause__ or error.__context__:
        error = error.__cause__ or error.__context__ or error
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
