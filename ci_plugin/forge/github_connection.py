"""The wire under PyGithub: one address, over the session of ``forge/http.py``.

Rules
- The token goes to the API's scheme, host and port, nowhere else: a redirect or a next page on another address is refused (T7). A renamed
  repository redirects on the same address, which is followed, writes too (307).
- Nothing is logged, and PyGithub's own waiting between requests is off.
"""

from __future__ import annotations

from urllib.parse import urljoin, urlsplit

import requests
from github import Auth
from github.Requester import HTTPRequestsConnectionClass, Requester, RequestsResponse

from ci_plugin import __version__
from ci_plugin.errors import Location, Unavailable
from ci_plugin.forge.access import ForgeAccess
from ci_plugin.forge.http import LONGEST_ANSWER, MOST_REDIRECTS, ForgeSession, checked_token, elsewhere, origin_of
from ci_plugin.limits import Limits

_MOVED = frozenset({301, 302, 307, 308})


class NotRedirected(ForgeSession):
    """A session that follows nothing: who uses it decides."""

    def get_redirect_target(self, resp: requests.Response) -> None:
        """None: requests would read the address of a redirect, and stumble over it, even where it is not to be followed."""


def open_session(access: ForgeAccess, limits: Limits, longest: int = LONGEST_ANSWER) -> requests.Session:
    """A session towards this forge. Raises as ``ForgeSession`` does."""
    return NotRedirected(access.url, limits, longest)


def open_requester(access: ForgeAccess, limits: Limits) -> Requester:
    """A PyGithub requester whose connections are ours; a class of its own, so that no other user of PyGithub sees them."""
    session = open_session(access, limits)

    class Connection(_Connection):
        def __init__(self, *_: object, **__: object) -> None:
            super().__init__(session, access.url)

    class OneAddress(Requester):
        pass

    OneAddress.injectConnectionClasses(Connection, Connection)  # type: ignore[arg-type]
    return OneAddress(
        Auth.Token(checked_token(access)) if access.token else None,
        access.url,
        timeout=int(limits.idle),
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
        for _ in range(MOST_REDIRECTS + 1):
            answer = self._send(url)
            target = self._target(url, answer)
            if target is None:
                return answer
            url = target
        raise Unavailable(f"expected an answer from {parts.netloc}, found more than {MOST_REDIRECTS} redirects", where=Location(self._api))

    def close(self) -> None:
        """The session stays open: PyGithub makes a new connection for every request."""

    def _send(self, url: str) -> _Answer:
        response = self.session.request(self.verb, url, data=self.input, headers=self.headers, allow_redirects=False)
        answer = _Answer(response)
        if answer.status == 202 and self.verb == "GET":
            # PyGithub would sleep and ask again for ever.
            raise Unavailable(
                f"expected an answer from {urlsplit(url).netloc}, found status 202: it is not ready yet", where=Location(self._api)
            )
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
            raise elsewhere(self._api, url, whole, what, "GITHUB_API_URL")
        return whole


def is_download(status: int, url: str) -> bool:
    """Whether this redirect leads to an artifact's bytes, which lie on another host."""
    return status == 302 and urlsplit(url).path.endswith("/zip")


class _Answer(RequestsResponse):
    """An answer that was read already, as text."""

    def __init__(self, response: requests.Response) -> None:
        super().__init__(response)
        self._body = response.content

    def read(self) -> str:
        return self._body.decode("utf-8")
