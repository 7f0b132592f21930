"""How python-gitlab speaks to GitLab here: bounded, to one address only, and with our errors alone coming out.

Rules
- python-gitlab neither retries nor waits (``ci_plugin.retry`` is the one policy).
- The token goes to the API's own address, nowhere else. Downloads may be redirected to object storage: that is followed for reading only,
  at most five times, never from HTTPS to HTTP, and the token stays behind as soon as scheme, host or port changes (requests itself takes
  off ``Authorization`` alone, not GitLab's headers). A next page elsewhere is not asked for.
- An answer is read up to a limit within a total time, bodies that were cut are errors.
- Statuses decide, never texts: 401, 403 and a 404 that is no absence are AccessDenied (GitLab answers 404 for what a token may not see),
  429, 5xx and whatever makes no sense are Unavailable.

Imports python-gitlab and requests, so it is imported when GitLab is asked for the first time and not earlier.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator
from http.cookiejar import DefaultCookiePolicy
from itertools import islice
from typing import Any, TypeVar
from urllib.parse import urlsplit

import gitlab
import requests
import urllib3
from gitlab.exceptions import GitlabError, GitlabParsingError
from requests.adapters import HTTPAdapter

from ci_plugin import __version__
from ci_plugin.errors import AccessDenied, DocumentError, InputError, Location, StagepinError, Unavailable
from ci_plugin.forge.access import ForgeAccess

IDLE_SECONDS = 15.0
TOTAL_SECONDS = 60.0
LONGEST_ANSWER = 20 * 1024 * 1024
"""Bytes; a pin file of the largest size (16 MiB), or a page of a hundred entries."""
MOST_ENTRIES = 10_000
"""Of one list, over all its pages."""
NO_RETRIES: dict[str, Any] = {"obey_rate_limit": False, "retry_transient_errors": False, "max_retries": 0}
"""For every call of python-gitlab: it obeys rate limits by sleeping unless told not to."""
_CHUNK = 65536
_MOST_REDIRECTS = 5
_TEMPORARY = frozenset({408, 409, 425, 429})
_TOKEN_HEADERS = ("PRIVATE-TOKEN", "JOB-TOKEN", "Authorization")
_PORTS = {"https": 443, "http": 80}
_NONSENSE = (GitlabParsingError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
"""What reading an answer of another shape raises; RecursionError: python-gitlab follows empty pages by calling itself."""
_CA_HINT = 'a CA of your own: set REQUESTS_CA_BUNDLE to its file, on GitLab REQUESTS_CA_BUNDLE="$CI_SERVER_TLS_CA_FILE"'
_Answer = TypeVar("_Answer")


class GitLabClient:
    """One project's REST API. ``must`` and ``ask`` run python-gitlab's calls and translate what they raise."""

    def __init__(self, access: ForgeAccess) -> None:
        self.access = access
        self._session = _Session(access.url)
        token: dict[str, str] = {"job_token" if access.is_job_token else "private_token": _checked(access)} if access.token else {}
        self.api = gitlab.Gitlab(
            _server(access),
            timeout=IDLE_SECONDS,
            per_page=100,
            user_agent=f"stagepin/{__version__}",
            retry_transient_errors=False,
            keep_base_url=True,
            session=self._session,
            **token,
        )
        self.project = self.api.projects.get(access.project, lazy=True)

    @property
    def name(self) -> str:
        """``host/project``."""
        return f"{self.access.host}/{self.access.project}"

    def must(self, expected: str, rights: str, call: Callable[[], _Answer]) -> _Answer:
        """What the call returns. ``expected`` completes "expected …", ``rights`` says what the token needs.

        Raises AccessDenied, InputError, Unavailable.
        """
        try:
            return call()
        except StagepinError:
            raise
        except _NONSENSE:
            raise self._unavailable(expected, "an answer that makes no sense") from None
        except GitlabError as error:
            raise self._refusal(expected, rights, error) from None
        except requests.exceptions.SSLError:
            raise self._unavailable(expected, "a certificate that is not trusted", hint=_CA_HINT) from None
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            raise self._unavailable(expected, f"no whole answer ({type(error).__name__})") from None

    def ask(self, expected: str, rights: str, call: Callable[[], _Answer]) -> _Answer | None:
        """As ``must``, and None for GitLab's own 404."""

        def found() -> _Answer | None:
            try:
                return call()
            except GitlabError as error:
                if error.response_code == 404 and not self._session.was_elsewhere:
                    return None
                raise

        return self.must(expected, rights, found)

    def must_list(self, expected: str, rights: str, list_: Callable[..., Any], **query: str | bool) -> list[dict[str, Any]]:
        """The documents of a list, all pages. ``list_`` is a manager's ``list``."""
        return self.must(expected, rights, lambda: self._entries(list_, query))

    def ask_list(self, expected: str, rights: str, list_: Callable[..., Any], **query: str | bool) -> list[dict[str, Any]] | None:
        """As ``must_list``, and None for GitLab's own 404."""
        return self.ask(expected, rights, lambda: self._entries(list_, query))

    def must_see(self, expected: str, rights: str, path: str) -> None:
        """HEAD of a download; that GitLab redirects it is enough. Raises AccessDenied, Unavailable."""

        def look() -> None:
            try:
                self.api.http_head(path, **NO_RETRIES)
            except GitlabError:
                if not self._session.was_elsewhere:
                    raise

        self.must(expected, rights, look)

    def _entries(self, list_: Callable[..., Any], query: dict[str, Any]) -> list[dict[str, Any]]:
        entries = [entry.attributes for entry in islice(list_(iterator=True, query_parameters=query, **NO_RETRIES), MOST_ENTRIES + 1)]
        if len(entries) > MOST_ENTRIES:
            raise self._unavailable(f"at most {MOST_ENTRIES} entries", "more")
        return entries

    def _refusal(self, expected: str, rights: str, error: GitlabError) -> StagepinError:
        status = error.response_code
        if status is None:
            return self._unavailable(expected, "an answer that makes no sense")
        if self._session.was_elsewhere:
            return self._unavailable(expected, f"status {status} from {self._session.answered_by}, where the download was redirected to")
        if status in _TEMPORARY or status >= 500:
            hint = "GitLab limits requests; run the job again later" if status == 429 else "run the job again"
            return self._unavailable(expected, f"status {status}", hint=hint, retry_after=self._session.retry_after)
        if status in (401, 403, 404):
            who = f"with {self.access.token_name}" if self.access.token else "without a token (CI_JOB_TOKEN and STAGEPIN_TOKEN are empty)"
            return AccessDenied(f"expected {expected}, found status {status} {who}", hint=rights, where=self._where)
        if status < 400:
            hint = "CI_API_V4_URL must be the server's own address, as GitLab sets it"
            return InputError(
                f"expected {expected}, found a redirect (status {status}), which no write follows", hint=hint, where=self._where
            )
        return InputError(f"expected {expected}, found status {status}{_quote(error, self.access.token)}", hint=rights, where=self._where)

    def _unavailable(
        self,
        expected: str,
        found: str,
        *,
        hint: str = "run the job again; if it stays, see the state of GitLab",
        retry_after: float | None = None,
    ) -> Unavailable:
        return Unavailable(f"expected {expected}, found {found}", hint=hint, where=self._where, retry_after=retry_after)

    @property
    def _where(self) -> Location:
        return Location(f"{self.access.url}/projects/{self.access.project}")


class _Session(requests.Session):
    """What python-gitlab sends its requests with: the rules of this module's header."""

    def __init__(self, api: str) -> None:
        super().__init__()
        self._api = api
        self._last: requests.Response | None = None
        self.max_redirects = _MOST_REDIRECTS
        self.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        # Plain HTTP is this machine (access.py), which no proxy leads to.
        self.trust_env = urlsplit(api).scheme == "https"
        # An authentication of its own, though an empty one, keeps requests from looking into .netrc.
        self.auth = _anonymous
        for scheme in ("https://", "http://"):
            self.mount(scheme, _BoundedAdapter(max_retries=0))

    @property
    def was_elsewhere(self) -> bool:
        """Whether the last answer came from another address than the API's."""
        return self._last is not None and _origin(self._last.url) != _origin(self._api)

    @property
    def answered_by(self) -> str:
        """``host[:port]`` of the last answer."""
        return "" if self._last is None else urlsplit(self._last.url).netloc

    @property
    def retry_after(self) -> float | None:
        """The seconds the last answer asked to wait, None where it did not say."""
        text = "" if self._last is None else self._last.headers.get("Retry-After", "")
        return float(text) if text.isascii() and text.isdecimal() and len(text) < 8 else None

    def request(self, method: str | bytes, url: str | bytes, *args: Any, **kwargs: Any) -> requests.Response:  # noqa: ANN401 - theirs
        """Send to the API's address alone: the address of a next page is foreign text."""
        self._last = None
        if not str(url).startswith(f"{self._api}/"):
            raise Unavailable(
                f"expected the API at {self._api}, found a next page on {urlsplit(str(url)).netloc}: the token is not sent there",
                hint="the server's external_url and CI_API_V4_URL must be one",
            )
        self._last = response = super().request(method, url, *args, **kwargs)
        return response

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        """Reads follow; a write that is redirected ends here, since nothing may be sent twice."""
        return super().get_redirect_target(resp) if resp.request.method in ("GET", "HEAD") else None

    def rebuild_auth(self, prepared_request: requests.PreparedRequest, response: requests.Response) -> None:
        """Leave the token behind at another address, and take none from .netrc for it."""
        source, target = response.request.url or "", prepared_request.url or ""
        if urlsplit(source).scheme == "https" != urlsplit(target).scheme:
            raise Unavailable(f"expected HTTPS, found a redirect from {urlsplit(source).netloc} to {urlsplit(target).scheme}://")
        if _origin(source) != _origin(target):
            for name in _TOKEN_HEADERS:
                prepared_request.headers.pop(name, None)


class _BoundedAdapter(HTTPAdapter):
    """Reads each answer whole, up to a limit and within a total time."""

    def send(self, *args: Any, **kwargs: Any) -> requests.Response:  # noqa: ANN401 - requests' own parameters
        response = super().send(*args, **{**kwargs, "stream": True})
        response.raw = io.BytesIO(_read_body(response))
        return response


def _read_body(response: requests.Response) -> bytes:
    try:
        body = _collect(response.raw.stream(_CHUNK, decode_content=True), urlsplit(response.url).netloc)
    except BaseException:
        response.raw.close()
        raise
    response.raw.release_conn()
    return body


def _collect(chunks: Iterator[bytes], host: str) -> bytes:
    end, body = time.monotonic() + TOTAL_SECONDS, bytearray()
    for chunk in chunks:
        body += chunk
        if len(body) > LONGEST_ANSWER:
            raise DocumentError(
                f"expected at most {LONGEST_ANSWER} bytes from {host}, found more", hint="nothing of stagepin's is that large"
            )
        if time.monotonic() > end:
            raise Unavailable(f"expected the whole answer of {host} within {TOTAL_SECONDS:.0f} s, found {len(body)} bytes of it")
    return bytes(body)


def _anonymous(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


def _checked(access: ForgeAccess) -> str:
    # http.client would print a token that cannot be a header in its error.
    if not access.token.isascii() or not access.token.isprintable() or " " in access.token:
        raise InputError(
            f"expected a token of printable ASCII in {access.token_name}, found blanks or other characters in it",
            hint="set the variable again without a line break at its end",
            where=Location(f"${access.token_name}"),
        )
    return access.token


def _server(access: ForgeAccess) -> str:
    server = access.url.removesuffix("/api/v4")
    if server == access.url:
        raise InputError(
            f"expected the address of GitLab's API to end with /api/v4, found {access.url}",
            hint="CI_API_V4_URL is set by GitLab; do not override it",
            where=Location("$CI_API_V4_URL"),
        )
    return server


def _origin(url: str) -> tuple[str, str, int | None]:
    parts = urlsplit(url)
    return parts.scheme, (parts.hostname or "").lower(), parts.port or _PORTS.get(parts.scheme)


def _quote(error: GitlabError, token: str) -> str:
    """What GitLab says, cut; the token goes first, for half of one would be known to no redactor."""
    message = str(error.error_message).replace(token or "***", "***")
    return "" if not message or message.startswith("<") else f": {message[:200]}"
