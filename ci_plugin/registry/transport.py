"""HTTP to registries: connections, TLS or not, proxies, size and time limits, redirects. Knows nothing of manifests or tokens.

Rules
- Everything is HTTPS. Loopback hosts and the hosts named insecure are tried over TLS first, then over plain HTTP where the other side
  does not speak TLS; which one is remembered. A certificate that is not trusted is never a reason to go without TLS.
- A redirect is followed for reading only, at most five times, never from HTTPS to HTTP, and the ``Authorization`` header stays behind
  as soon as scheme, host or port changes (GHSA-vh4v-2xq2-g5cg).
- Answers are read within a total time (``limits``), bodies up to a limit, and they must be as long as announced. They are never
  decompressed. A large one is handed over chunk by chunk and never held.
- urllib3 neither retries nor redirects; what goes wrong below HTTP comes out as Unavailable.
"""

from __future__ import annotations

import base64
import os
import ssl
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

import urllib3
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    LocationParseError,
    NameResolutionError,
    NewConnectionError,
    ProxyError,
    ReadTimeoutError,
    SSLError,
)

from ci_plugin import __version__
from ci_plugin.errors import AnswerIsNo, InputError, Location, Unavailable
from ci_plugin.limits import ALLOWANCE, LIMITS, POOLS, Allowance, Limits
from ci_plugin.registry.addresses import follow as follow
from ci_plugin.registry.addresses import host_of as host_of
from ci_plugin.registry.addresses import is_among
from ci_plugin.registry.addresses import is_loopback as is_loopback
from ci_plugin.registry.addresses import origin_of as origin_of

LONGEST_ANSWER = 4 * 1024 * 1024
"""Bytes; what containerd and distribution take as a manifest's limit."""

_DOCKER_HUB = "registry-1.docker.io"
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MOST_REDIRECTS = 5
_CHUNK = 65536

Consumer = Callable[[Iterator[bytes]], None]
"""Takes the body of a 200 answer chunk by chunk; ``Answer.body`` is empty then. What goes wrong in reading comes out of the iterator."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer: status, headers (names compare without case), body, and the address that gave it."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    url: str
    authorization: str = field(default="", repr=False)
    """What the request said about us, so that no message repeats it."""

    @property
    def media_type(self) -> str:
        """Content-Type without parameters, lower case; empty where there is none."""
        return self.headers.get("Content-Type", "").partition(";")[0].strip().lower()

    @property
    def location(self) -> Location:
        """The address, for errors; without its query, which may hold a signed secret."""
        return Location(self.url.partition("?")[0])


@dataclass(frozen=True, slots=True)
class Proxies:
    """Proxy addresses by scheme, and whether a ``host:port`` goes without one."""

    by_scheme: Mapping[str, str]
    bypass: Callable[[str], bool] = lambda _: False

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> Proxies:
        """``HTTPS_PROXY``, ``HTTP_PROXY``, ``ALL_PROXY`` and ``NO_PROXY``, the lower-case spelling first.

        HTTP_PROXY not under CGI, where a request's header sets it (CVE-2016-1000110).
        """
        named = {name: environ.get(f"{name}_proxy") or environ.get(f"{name}_proxy".upper(), "") for name in ("http", "https", "all", "no")}
        if "REQUEST_METHOD" in environ:
            named["http"] = environ.get("http_proxy", "")
        exempt = [name.strip() for name in named.pop("no").split(",")]
        by_scheme = {name: value for name, value in named.items() if value}
        return cls(by_scheme, lambda netloc: any(is_among(netloc, name) for name in exempt if name))

    def find(self, url: str) -> str | None:
        """The proxy for this address; loopback never has one."""
        parts = urlsplit(url)
        if is_loopback(parts.netloc) or self.bypass(parts.netloc):
            return None
        proxy = self.by_scheme.get(parts.scheme) or self.by_scheme.get("all")
        return proxy if not proxy or "://" in proxy else f"http://{proxy}"


class Transport:
    """Sends requests to registries over kept connections; safe to share between threads."""

    def __init__(
        self,
        *,
        insecure: Collection[str] = (),
        connections: int = 16,
        ca_file: str | None = None,
        proxies: Proxies | None = None,
        limits: Limits = LIMITS,
    ) -> None:
        self._limits = limits
        self._insecure = frozenset(host.lower() for host in insecure)
        self._connections = connections
        self._proxies = proxies or Proxies.from_environment()
        self._ca_file = ca_file
        self._pools: dict[str | None, urllib3.PoolManager] = {}
        self._schemes: dict[str, str] = {}
        self._lock = threading.Lock()

    def ask_registry(
        self,
        registry: str,
        method: str,
        path: str,
        headers: Mapping[str, str],
        *,
        body: bytes | None = None,
        limit: int = LONGEST_ANSWER,
        consume: Consumer | None = None,
    ) -> Answer:
        """One request to a registry, by its name in references; ``path`` begins with ``/v2/``.

        Raises Unavailable, InputError, AnswerIsNo.
        """
        host = _DOCKER_HUB if registry == "docker.io" else registry
        known = self._schemes.get(registry)
        scheme = known or "https"
        answer = None
        try:
            answer = self.ask(method, f"{scheme}://{host}{path}", headers, body=body, limit=limit, consume=consume)
        except _NotTls as error:
            # What this request knew when it began decides: another thread may have found out meanwhile.
            if known or not self._may_be_plain(registry):
                raise error.as_unavailable() from None
        if answer is None:
            # Not within the handler: what goes wrong now has nothing to do with TLS, and its message must not look there for a reason.
            scheme = "http"
            answer = self.ask(method, f"{scheme}://{host}{path}", headers, body=body, limit=limit, consume=consume)
        self._schemes[registry] = scheme
        return answer

    def ask(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        *,
        body: bytes | Iterable[bytes] | None = None,
        limit: int = LONGEST_ANSWER,
        consume: Consumer | None = None,
    ) -> Answer:
        """One request to an address; redirects are followed for GET and HEAD. Raises Unavailable, InputError, AnswerIsNo.

        A ``body`` that comes in pieces is sent in chunks (RFC 9112 §7.1).
        """
        for _ in range(_MOST_REDIRECTS + 1):
            answer = self.ask_once(method, url, headers, body=body, limit=limit, consume=consume)
            target = answer.headers.get("Location")
            if answer.status not in _REDIRECTS or method not in ("GET", "HEAD") or not target:
                return answer
            following = follow(url, target)
            if origin_of(following) != origin_of(url):
                headers = {name: value for name, value in headers.items() if name.lower() != "authorization"}
            url = following
        raise Unavailable(f"expected an answer from {host_of(url)}, found more than {_MOST_REDIRECTS} redirects", where=answer.location)

    def ask_once(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        *,
        body: bytes | Iterable[bytes] | None = None,
        limit: int = LONGEST_ANSWER,
        consume: Consumer | None = None,
    ) -> Answer:
        """One request, and its answer whatever it is: redirects are not followed."""
        sent = {"User-Agent": f"stagepin/{__version__}", "Accept-Encoding": "identity", **headers}
        idle = self._limits.idle if body is None or isinstance(body, bytes) else self._limits.taking
        timeout = urllib3.Timeout(connect=self._limits.connect, read=idle)
        allowance = Allowance(host_of(url), url, self._limits.total, self._limits.head)
        token = ALLOWANCE.set(allowance)
        try:
            response = self._pool(url).request(
                method, url, body=body, headers=sent, timeout=timeout, retries=False, redirect=False, preload_content=False
            )
            try:
                data = b"" if method == "HEAD" else self._read(response, url, limit, consume, allowance)
            except BaseException:
                response.close()
                raise
            response.release_conn()
        except (HTTPError, OSError) as error:
            raise _translate(error, url) from error
        finally:
            ALLOWANCE.reset(token)
        return Answer(response.status, response.headers, data, url, sent.get("Authorization", ""))

    def is_plain(self, registry: str) -> bool:
        """Whether this registry was found to speak plain HTTP."""
        return self._schemes.get(registry) == "http"

    def _read(self, response: urllib3.BaseHTTPResponse, url: str, limit: int, consume: Consumer | None, allowance: Allowance) -> bytes:
        if consume is None or response.status != 200:
            return b"".join(_chunks(response, url, limit))
        allowance.extend(self._limits.transfer)
        chunks = _chunks(response, url, limit)
        consume(chunks)
        if next(chunks, None) is not None:
            # Nobody wanted the rest: a connection that still has it to say cannot be kept.
            response.close()
        return b""

    def _may_be_plain(self, registry: str) -> bool:
        return is_loopback(registry) or registry in self._insecure

    def _pool(self, url: str) -> urllib3.PoolManager:
        proxy = self._proxies.find(url)
        with self._lock:
            if proxy not in self._pools:
                self._pools[proxy] = self._make_pool(proxy)
            return self._pools[proxy]

    def _make_pool(self, proxy: str | None) -> urllib3.PoolManager:
        # One context for all connections, made when one is needed: loading the system's certificates costs more than a request.
        tls = _tls_context(self._ca_file)
        if proxy is None:
            return _counted(urllib3.PoolManager(maxsize=self._connections, ssl_context=tls))
        userinfo = urlsplit(proxy).netloc.rpartition("@")[0]
        # urllib3 would write it as Latin-1, which is not every password.
        basic = base64.b64encode(unquote(userinfo).encode()).decode()
        headers = {"Proxy-Authorization": f"Basic {basic}"} if userinfo else None
        try:
            return _counted(urllib3.ProxyManager(proxy, maxsize=self._connections, ssl_context=tls, proxy_headers=headers))
        except (HTTPError, ValueError):
            message = "expected the address of a proxy in HTTP_PROXY or HTTPS_PROXY, found something else"
            raise InputError(message, hint="write it as http://proxy.example.com:3128") from None


def _counted(pool: urllib3.PoolManager) -> urllib3.PoolManager:
    pool.pool_classes_by_scheme = POOLS
    return pool


class _NotTls(Unavailable):
    """The other side does not speak TLS."""

    def as_unavailable(self) -> Unavailable:
        return Unavailable(self.message, hint=self.hint, where=self.where)


def announced_size(headers: Mapping[str, str]) -> int | None:
    """Bytes of ``Content-Length``; None where it is absent, no number, or of more digits than any size has."""
    text = headers.get("Content-Length", "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 20 else None


def _tls_context(ca_file: str | None) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if ca_file:
        try:
            context.load_verify_locations(ca_file)
        except OSError as error:
            found = "no certificate" if isinstance(error, ssl.SSLError) else error.strerror
            hint = "name a file that can be read and holds CERTIFICATE blocks"
            raise InputError(f"expected PEM certificates, found: {found}", hint=hint, where=Location(ca_file)) from None
    return context


def _chunks(response: urllib3.BaseHTTPResponse, url: str, limit: int) -> Iterator[bytes]:
    size = 0
    while chunk := _read_chunk(response, url):
        size += len(chunk)
        if size > limit:
            raise AnswerIsNo(f"expected at most {limit} bytes from {host_of(url)}, found more", where=Location(url.partition("?")[0]))
        yield chunk
    announced = announced_size(response.headers)
    if announced is not None and announced != size:
        raise Unavailable(f"expected {announced} bytes from {host_of(url)}, found {size} before the connection ended")


def _read_chunk(response: urllib3.BaseHTTPResponse, url: str) -> bytes:
    try:
        return response.read1(_CHUNK, decode_content=False)
    except (HTTPError, OSError) as error:
        # Here and not further out: the chunk may be on its way to another host, which has no part in this.
        raise _translate(error, url) from error


def _translate(error: Exception, url: str) -> Unavailable | InputError:
    host, where = host_of(url), Location(url.partition("?")[0])
    cause = error.args[0] if isinstance(error, SSLError) and error.args else error
    if isinstance(cause, ssl.SSLCertVerificationError):
        message = f"expected {host} to have a certificate this machine trusts, found: {cause.verify_message}"
        return InputError(
            message, hint="commit the registry's CA certificate and name it in .stagepin.yaml: `registries: {ca: FILE}`", where=where
        )
    if isinstance(error, SSLError):
        hint = f"if {host} speaks plain HTTP, name it as an insecure registry"
        return _NotTls(f"expected {host} to speak TLS, found: {_reason(error)}", hint=hint, where=where)
    if isinstance(error, LocationParseError):
        return InputError(f"expected the address of a registry, found {host!r}", where=where)
    hint = f"is {host} up and reachable from this machine?"
    return Unavailable(f"expected an answer from {host}, found: {_reason(error)}", hint=hint, where=where)


def _reason(error: BaseException) -> str:
    """What happened, in words; urllib3's own texts carry object addresses."""
    named: list[tuple[type[BaseException], str]] = [
        (NameResolutionError, "its name does not resolve"),
        (ReadTimeoutError, "no answer in time"),
        (ProxyError, "the proxy could not be used"),
    ]
    # A refused connection is a NewConnectionError, which is a ConnectTimeoutError to urllib3.
    if isinstance(error, ConnectTimeoutError) and not isinstance(error, NewConnectionError):
        return "no connection in time"
    for kind, words in named:
        if isinstance(error, kind):
            return words
    chain: BaseException | None = error
    while chain is not None:
        if isinstance(chain, OSError) and chain.strerror:
            return chain.strerror.lower()
        chain = chain.__cause__ or chain.__context__
    return "no connection" if isinstance(error, NewConnectionError) else "the connection was cut"
