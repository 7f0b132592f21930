"""The wire under PyGithub: one address, bounded answers, no retries, no cookies, no ``.netrc``.

Rules
- The token goes to the API's scheme, host and port, nowhere else: a redirect or a next page on another address is refused (T7). A renamed
  repository redirects on the same address, which is followed, writes too (307).
- An answer is read up to a limit within a total time.
- Nothing is logged, and PyGithub's own waiting between requests is off.
"""

from __future__ import annotations

import time
from http.cookiejar import DefaultCookiePolicy
from urllib.parse import urljoin, urlsplit

import requests
from github import Auth
from github.Requester import HTTPRequestsConnectionClass, Requester, RequestsResponse

from ci_plugin import __version__
from ci_plugin.errors import AnswerIsNo, InputError, Location, StagepinError, Unavailable
from ci_plugin.forge.access import ForgeAccess

CONNECT_SECONDS = 10.0
IDLE_SECONDS = 15.0
TOTAL_SECONDS = 60.0
LONGEST_ANSWER = 32 * 1024 * 1024
"""Bytes; a document of the largest size in base64, and the JSON around it."""
_CHUNK = 65536
_MOST_REDIRECTS = 5
_MOVED = frozenset({301, 302, 307, 308})
_PORTS = {"https": 443, "http": 80}


def unreachable(error: Exception, url: str) -> StagepinError:
    """No answer, or half of one; a certificate that nobody trusts is the caller's to mend."""
    host = urlsplit(url).netloc
    if isinstance(error, requests.exceptions.SSLError):
        return InputError(
            f"expected {host} to have a certificate this machine trusts, found none",
            hint="name your CA's certificates: REQUESTS_CA_BUNDLE=FILE",
            where=Location(url),
        )
    if isinstance(error, requests.exceptions.InvalidHeader):
        return InputError("expected a token that fits into a header, found other characters", hint="set the variable again")
    words = {requests.exceptions.ConnectTimeout: "no connection in time", requests.exceptions.Timeout: "no answer in time"}
    found = next((text for kind, text in words.items() if isinstance(error, kind)), "no connection, or one that was cut")
    return Unavailable(f"expected an answer from {host}, found: {found}", hint=f"is {host} up and reachable from this machine?")


def origin_of(url: str) -> tuple[str, str, int | None]:
    """Scheme, host and port with its default: what a token is bound to (RFC 6454). Raises ValueError."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or _PORTS.get(parts.scheme)


def address_of(url: str) -> str:
    """Scheme and host, without what may be secret, for messages."""
    return (url.partition("://")[0] + "://" + url.partition("://")[2].partition("/")[0].rpartition("@")[2])[:200]


def read_body(response: requests.Response, limit: int, url: str, seconds: float = TOTAL_SECONDS) -> bytes:
    """All of a streamed body as it came, at most ``limit`` bytes, within ``seconds``. Raises AnswerIsNo, Unavailable."""
    end, body, host = time.monotonic() + seconds, bytearray(), urlsplit(url).netloc
    # read1 gives what is there: iter_content would wait for a whole chunk, for hours where a byte comes each second.
    while chunk := response.raw.read1(_CHUNK, decode_content=False):
        body += chunk
        if len(body) > limit:
            raise AnswerIsNo(f"expected at most {limit} bytes from {host}, found more")
        if time.monotonic() > end:
            raise Unavailable(f"expected the whole answer from {host} within {seconds:.0f} s, found {len(body)} bytes of it")
    announced = response.headers.get("Content-Length", "")
    if announced.isdecimal() and int(announced) != len(body):
        raise Unavailable(f"expected {announced} bytes from {host}, found {len(body)} before the connection ended")
    return bytes(body)


def new_session() -> requests.Session:
    """A session that retries nothing, keeps no cookies, takes nothing compressed and never looks into ``.netrc``."""
    session = _Session()
    session.headers["Accept-Encoding"] = "identity"
    session.auth = Requester.noopAuth
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    for scheme in ("https://", "http://"):
        session.mount(scheme, requests.adapters.HTTPAdapter(max_retries=0))
    return session


class _Session(requests.Session):
    def get_redirect_target(self, resp: requests.Response) -> None:
        """None: requests would read the address of a redirect, and stumble over it, even where it is not to be followed."""


def open_requester(access: ForgeAccess) -> Requester:
    """A PyGithub requester whose connections are ours; a class of its own, so that no other user of PyGithub sees them."""
    session = new_session()

    class Connection(_Connection):
        def __init__(self, *_: object, **__: object) -> None:
            super().__init__(session, access.url)

    class OneAddress(Requester):
        pass

    OneAddress.injectConnectionClasses(Connection, Connection)  # type: ignore[arg-type]
    return OneAddress(
        Auth.Token(access.token) if access.token else None,
        access.url,
        timeout=int(IDLE_SECONDS),
        user_agent=f"stagepin/{__version__}",
        per_page=100,
        verify=True,
        retry=None,
        pool_size=None,
        seconds_between_requests=None,
        seconds_between_writes=None,
        lazy=True,
    )


class _Connection(HTTPRequestsConnectionClass):
    """What PyGithub takes for a connection: one request to the API's address, whatever host it was made for."""

    def __init__(self, session: requests.Session, api: str) -> None:
        self.session = session
        self._api = api

    def getresponse(self) -> RequestsResponse:
        parts = urlsplit(self._api)
        url = f"{parts.scheme}://{parts.netloc}{self.url}"
        for _ in range(_MOST_REDIRECTS):
            answer = self._send(url)
            target = self._target(url, answer)
            if target is None:
                return answer
            url = target
        raise Unavailable(f"expected an answer from {parts.netloc}, found more than {_MOST_REDIRECTS} redirects")

    def close(self) -> None:
        """The session stays open: PyGithub makes a new connection for every request."""

    def _send(self, url: str) -> _Answer:
        with self.session.request(
            self.verb,
            url,
            data=self.input,
            headers=self.headers,
            timeout=(CONNECT_SECONDS, IDLE_SECONDS),
            allow_redirects=False,
            stream=True,
        ) as response:
            answer = _Answer(response, read_body(response, LONGEST_ANSWER, url))
        if answer.status == 202 and self.verb == "GET":
            # PyGithub would sleep and ask again for ever.
            raise Unavailable(f"expected an answer from {urlsplit(url).netloc}, found status 202: it is not ready yet")
        return answer

    def _target(self, url: str, answer: _Answer) -> str | None:
        """Where the API moved on its own address, None where this is the answer. Raises InputError for another address."""
        location = answer.headers.get("Location")
        following = answer.response.links.get("next", {}).get("url")
        if following:
            self._expect_same(url, following, "its next page")
        if answer.status not in _MOVED or not location or is_download(answer.status, url):
            return None
        return self._expect_same(url, location, "a redirect")

    def _expect_same(self, url: str, target: str, what: str) -> str:
        """The target as a whole address on the same scheme, host and port."""
        try:
            whole = urljoin(url, target)
            is_same = origin_of(whole) == origin_of(url)
        except ValueError:
            whole, is_same = target, False
        if not is_same:
            raise InputError(
                f"expected the API at {self._api}, found {what} at {address_of(whole)}: the token is not sent there",
                hint="GITHUB_API_URL must be the forge's own address, as the runner sets it",
                where=Location(url.partition("?")[0]),
            )
        return whole


def is_download(status: int, url: str) -> bool:
    """Whether this redirect leads to an artifact's bytes, which lie on another host."""
    return status == 302 and urlsplit(url).path.endswith("/zip")


class _Answer(RequestsResponse):
    """An answer that was read already."""

    def __init__(self, response: requests.Response, body: bytes) -> None:
        super().__init__(response)
        self._body = body

    def read(self) -> str:
        return self._body.decode("utf-8")
