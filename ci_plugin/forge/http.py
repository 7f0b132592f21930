"""HTTP as the clients of both forges use it: bounded answers, nothing tried twice, and one error for each thing that goes wrong.

Rules
- An answer, its headers and interim answers included, is read within a total time and up to a limit (``ci_plugin.limits``), never
  decompressed, and it must be as long as announced.
- A certificate that nobody vouches for is the caller's to mend (InputError); no connection, or half an answer, is Unavailable; more than
  was ever wanted is AnswerIsNo; an API that sends us to another address is InputError, and the token is not sent there (T7).
- Plain HTTP is this machine (``access.py``), which no proxy leads to.

Imports requests, so it is imported when a forge is asked for the first time and not earlier.
"""

from __future__ import annotations

import io
import ssl
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from http.cookiejar import DefaultCookiePolicy
from typing import Any
from urllib.parse import urlsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter

from ci_plugin.errors import AnswerIsNo, InputError, Location, StagepinError, Unavailable
from ci_plugin.forge.access import ForgeAccess
from ci_plugin.limits import ALLOWANCE, POOLS, Allowance, Limits

LONGEST_ANSWER = 32 * 1024 * 1024
"""Bytes; a document of the largest size in base64, and the JSON around it."""
MOST_REDIRECTS = 5
_CHUNK = 65536
_PORTS = {"https": 443, "http": 80}
_MASK = "***"
_CA_HINT = 'a CA of your own: set REQUESTS_CA_BUNDLE to its file, on GitLab REQUESTS_CA_BUNDLE="$CI_SERVER_TLS_CA_FILE"'


class ForgeSession(requests.Session):
    """A session for the API at ``api``: each answer is read whole, at most ``longest`` bytes of it, before it is handed over.

    Raises AnswerIsNo, InputError, Unavailable, and what requests raises for an address that is none.
    """

    def __init__(self, api: str, limits: Limits, longest: int = LONGEST_ANSWER) -> None:
        super().__init__()
        self.headers["Accept-Encoding"] = "identity"
        self.trust_env = urlsplit(api).scheme == "https"
        # An authentication of its own, though an empty one, keeps requests from looking into .netrc.
        self.auth = _anonymous
        self.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        self.max_redirects = MOST_REDIRECTS
        for scheme in ("https://", "http://"):
            self.mount(scheme, _BoundedAdapter(limits, longest))


class _BoundedAdapter(HTTPAdapter):
    def __init__(self, limits: Limits, longest: int) -> None:
        self._limits = limits
        self._longest = longest
        super().__init__(max_retries=0)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - requests' own parameters
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = POOLS

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:  # noqa: ANN401 - requests' own parameters
        manager = super().proxy_manager_for(proxy, **kwargs)
        if not proxy.lower().startswith("socks"):
            manager.pool_classes_by_scheme = POOLS
        return manager

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:  # noqa: ANN401 - requests' own parameters
        try:
            super().cert_verify(conn, url, verify, cert)  # type: ignore[no-untyped-call]
        except OSError:
            message = f"expected a file of certificates in REQUESTS_CA_BUNDLE, found none at {verify}"
            raise InputError(
                message, hint="name a file that can be read and holds CERTIFICATE blocks", where=Location(str(verify))
            ) from None

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:  # noqa: ANN401 - requests' own
        url = request.url or ""
        kwargs.update(stream=True, timeout=(self._limits.connect, self._limits.idle))
        token = ALLOWANCE.set(Allowance(host_of(url), url, self._limits.total, self._limits.head))
        try:
            response = super().send(request, *args, **kwargs)
            response.raw = io.BytesIO(_read_body(response, self._longest, url))
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            raise unreachable(error, url) from None
        finally:
            ALLOWANCE.reset(token)
        return response


def unreachable(error: Exception, url: str) -> StagepinError:
    """No answer from ``url``, or half of one."""
    host, where = host_of(url), Location(place_of(url))
    fault = _certificate_fault(error)
    if fault:
        return InputError(f"expected {host} to have a certificate this machine trusts, found: {fault}", hint=_CA_HINT, where=where)
    words = {
        requests.exceptions.SSLError: "no TLS",
        requests.exceptions.ConnectTimeout: "no connection in time",
        requests.exceptions.Timeout: "no answer in time",
        urllib3.exceptions.ReadTimeoutError: "no answer in time",
    }
    found = next((text for kind, text in words.items() if isinstance(error, kind)), "no connection, or one that was cut")
    hint = f"is {address_of(url)} up and reachable from this machine?"
    return Unavailable(f"expected an answer from {host}, found: {found}", hint=hint, where=where)


def elsewhere(api: str, asked: str, target: str, what: str, variable: str) -> InputError:
    """The API at ``api`` sends us to another address, where the token does not go; ``what`` is ``a redirect`` or ``its next page``."""
    return InputError(
        f"expected the API at {api}, found {what} at {address_of(target)}: the token is not sent there",
        hint=f"{variable} must be the forge's own address, as its runner sets it",
        where=Location(place_of(asked)),
    )


def origin_of(url: str) -> tuple[str, str, int | None]:
    """Scheme, host and port with its default: what a token is bound to (RFC 6454). Raises ValueError."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or _PORTS.get(parts.scheme)


def address_of(url: str) -> str:
    """Scheme and host, without what may be secret, for messages; of what is no address, too."""
    return (url.partition("://")[0] + "://" + url.partition("://")[2].partition("/")[0].rpartition("@")[2])[:200]


def place_of(url: str) -> str:
    """The address without userinfo and query, either of which may be secret."""
    start, _, rest = url.partition("?")[0].partition("://")
    host, slash, path = rest.partition("/")
    return f"{start}://{host.rpartition('@')[2]}{slash}{path}"


def host_of(url: str) -> str:
    """``host[:port]``, without userinfo, for messages."""
    return address_of(url).partition("://")[2]


def asked_wait(headers: Mapping[str, str]) -> float | None:
    """Seconds of ``retry-after`` (RFC 9110 §10.2.3), a date measured against the answer's own; None where it makes no sense.

    ``headers`` have lower-case names, or compare without case.
    """
    text = headers.get("retry-after", "").strip()
    if text.isdecimal() and text.isascii() and len(text) < 10:
        return float(text)
    try:
        wait = parsedate_to_datetime(text) - parsedate_to_datetime(headers.get("date", ""))
    except (ValueError, TypeError):
        return None
    return max(0.0, wait.total_seconds())


def quote(message: str, token: str) -> str:
    """What a forge says, cut; a page says nothing. The token goes first, for half of one would be known to no redactor."""
    return "" if not message or message.startswith("<") else f": {message.replace(token or _MASK, _MASK)[:200]}"


def checked_token(access: ForgeAccess) -> str:
    """The token; http.client would print one that cannot be a header in its error. Raises InputError."""
    if not access.token.isascii() or not access.token.isprintable() or " " in access.token:
        raise InputError(
            f"expected a token of printable ASCII in {access.token_name}, found blanks or other characters in it",
            hint="set the variable again without a line break at its end",
            where=Location(f"${access.token_name}"),
        )
    return access.token


def _read_body(response: requests.Response, longest: int, url: str) -> bytes:
    try:
        body = b"" if response.request.method == "HEAD" else _collect(response, longest, url)
    except BaseException:
        response.raw.close()
        raise
    response.raw.release_conn()
    return body


def _collect(response: requests.Response, longest: int, url: str) -> bytes:
    body = bytearray()
    # read1 gives what is there; whatever waits for a whole chunk waits for hours where a byte comes each second.
    while chunk := response.raw.read1(_CHUNK, decode_content=False):
        body += chunk
        if len(body) > longest:
            raise AnswerIsNo(f"expected at most {longest} bytes from {host_of(url)}, found more", where=Location(place_of(url)))
    announced = response.headers.get("Content-Length", "")
    if announced.isdecimal() and "Transfer-Encoding" not in response.headers and response.raw.length_remaining:
        raise Unavailable(f"expected {announced} bytes from {host_of(url)}, found {len(body)} before the connection ended")
    return bytes(body)


def _certificate_fault(error: BaseException) -> str:
    """What is wrong with a certificate, empty where none is; requests wraps OpenSSL's own error twice."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    wrapped = [part for part in (*error.args, getattr(error, "reason", None)) if isinstance(part, BaseException)]
    return next((fault for fault in map(_certificate_fault, wrapped) if fault), "")


def _anonymous(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request
