"""How python-gitlab speaks to GitLab here: over ``forge/http.py``, to one address only, and with our errors alone coming out.

Rules
- python-gitlab neither retries nor waits (``ci_plugin.retry`` is the one policy).
- The token goes to the API's own address, nowhere else. Downloads may be redirected to object storage: that is followed for reading only,
  at most five times, never from HTTPS to HTTP, and the token stays behind as soon as scheme, host or port changes (requests itself takes
  off ``Authorization`` alone, not GitLab's headers). A next page elsewhere is not asked for.
- Statuses decide, never texts: 401, 403 and a 404 that is no absence are AccessDenied (GitLab answers 404 for what a token may not see),
  429, 5xx and whatever makes no sense are Unavailable.

Imports python-gitlab and requests, so it is imported when GitLab is asked for the first time and not earlier.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Any, TypeVar
from urllib.parse import urljoin

import gitlab
import requests
from gitlab.exceptions import GitlabError, GitlabParsingError

from ci_plugin import __version__
from ci_plugin.errors import AccessDenied, InputError, Location, StagepinError, Unavailable
from ci_plugin.forge.access import ForgeAccess
from ci_plugin.forge.http import MOST_REDIRECTS, ForgeSession, address_of, asked_wait, checked_token, elsewhere, host_of, origin_of, quote
from ci_plugin.limits import LIMITS, Limits

MOST_ENTRIES = 10_000
"""Of one list, over all its pages."""
NO_RETRIES: dict[str, Any] = {"obey_rate_limit": False, "retry_transient_errors": False, "max_retries": 0}
"""For every call of python-gitlab: it obeys rate limits by sleeping unless told not to."""
_TEMPORARY = frozenset({408, 409, 425, 429})
_TOKEN_HEADERS = ("PRIVATE-TOKEN", "JOB-TOKEN", "Authorization")
_NONSENSE = (GitlabParsingError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
"""What reading an answer of another shape raises; RecursionError: python-gitlab follows empty pages by calling itself."""
_Answer = TypeVar("_Answer")


class GitLabClient:
    """One project's REST API. ``must`` and ``ask`` run python-gitlab's calls and translate what they raise."""

    def __init__(self, access: ForgeAccess, limits: Limits = LIMITS) -> None:
        self.access = access
        self._session = _Session(access.url, limits)
        token: dict[str, str] = {"job_token" if access.is_job_token else "private_token": checked_token(access)} if access.token else {}
        self.api = gitlab.Gitlab(
            _server(access),
            timeout=limits.idle,
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

        Raises AccessDenied, AnswerIsNo, InputError, Unavailable.
        """
        try:
            return call()
        except StagepinError:
            raise
        except _NONSENSE:
            raise self._unavailable(expected, "an answer that makes no sense") from None
        except GitlabError as error:
            raise self._refusal(expected, rights, error) from None
        except requests.exceptions.TooManyRedirects:
            raise self._unavailable(expected, f"more than {MOST_REDIRECTS} redirects") from None
        except requests.RequestException as error:
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
        return InputError(
            f"expected {expected}, found status {status}{quote(str(error.error_message), self.access.token)}",
            hint=rights,
            where=self._where,
        )

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


class _Session(ForgeSession):
    """What python-gitlab sends its requests with: the rules of this module's header."""

    def __init__(self, api: str, limits: Limits) -> None:
        super().__init__(api, limits)
        self._api = api
        self._last: requests.Response | None = None

    @property
    def was_elsewhere(self) -> bool:
        """Whether the last answer came from another address than the API's."""
        return self._last is not None and origin_of(self._last.url) != origin_of(self._api)

    @property
    def answered_by(self) -> str:
        """``host[:port]`` of the last answer."""
        return "" if self._last is None else host_of(self._last.url)

    @property
    def retry_after(self) -> float | None:
        """The seconds the last answer asked to wait, None where it did not say."""
        return None if self._last is None else asked_wait(self._last.headers)

    def request(self, method: str | bytes, url: str | bytes, *args: Any, **kwargs: Any) -> requests.Response:  # noqa: ANN401 - theirs
        """Send to the API's address alone: the address of a next page is foreign text."""
        self._last = None
        if not str(url).startswith(f"{self._api}/"):
            raise elsewhere(self._api, self._api, str(url), "its next page", "CI_API_V4_URL")
        self._last = response = super().request(method, url, *args, **kwargs)
        return response

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        """Reads follow; a write that is redirected ends here, since nothing may be sent twice."""
        target = super().get_redirect_target(resp) if resp.request.method in ("GET", "HEAD") else None
        return None if target is None else _follow(resp.url, target)

    def rebuild_auth(self, prepared_request: requests.PreparedRequest, response: requests.Response) -> None:
        """Leave the token behind at another address, and take none from .netrc for it."""
        if origin_of(response.request.url or "") != origin_of(prepared_request.url or ""):
            for name in _TOKEN_HEADERS:
                prepared_request.headers.pop(name, None)


def _follow(url: str, target: str) -> str:
    """The whole address of a redirect: HTTPS, or HTTP seen from HTTP."""
    allowed = ("https",) if url.startswith("https:") else ("https", "http")
    try:
        whole = urljoin(url, target)
        scheme, host, _ = origin_of(whole)
    except ValueError:
        scheme, host, whole = "", "", target
    if scheme not in allowed or not host:
        raise InputError(
            f"expected {host_of(url)} to redirect to an {' or '.join(allowed)} address, found {address_of(whole)!r}",
            hint="is a proxy in the way? the server's external_url must be its own address",
            where=Location(url.partition("?")[0]),
        )
    return whole


def _server(access: ForgeAccess) -> str:
    server = access.url.removesuffix("/api/v4")
    if server == access.url:
        raise InputError(
            f"expected the address of GitLab's API to end with /api/v4, found {access.url}",
            hint="CI_API_V4_URL is set by GitLab; do not override it",
            where=Location("$CI_API_V4_URL"),
        )
    return server
