"""What GitHub's answers mean: PyGithub's calls go through ``GitHubClient``, and our errors alone come out.

Rules
- PyGithub neither retries nor throttles: ``ci_plugin.retry`` is the one policy.
- Statuses and headers decide, never texts: 401 and 403 are AccessDenied, 429 and 403 with rate-limit headers Unavailable (docs.github.com,
  "Rate limits for the REST API"), as is everything from 500, 409 and 422 where the caller names no other meaning, and what makes no sense.
- One 404 is absence only as GitHub's own error document, and after the repository itself was seen: GitHub answers 404, too, for what a
  token may not see.

Imports PyGithub, so it is imported when a forge is asked for the first time and not earlier.
"""

from __future__ import annotations

import binascii
import time
from collections.abc import Callable, Collection, Mapping
from email.utils import parsedate_to_datetime
from typing import TypeVar

import requests
from github.GithubException import BadAttributeException, GithubException, IncompletableObject
from github.Repository import Repository

from ci_plugin.errors import AccessDenied, AnswerIsNo, Location, StagepinError, Unavailable
from ci_plugin.forge.access import ForgeAccess
from ci_plugin.forge.github_connection import open_requester
from ci_plugin.forge.http import asked_wait, quote, unreachable
from ci_plugin.limits import LIMITS, Limits

_SECONDARY_LIMIT_SECONDS = 60.0
"""What GitHub asks for where it names no time."""
_NONSENSE = (AssertionError, RuntimeError, ValueError, TypeError, KeyError, IndexError, AttributeError, binascii.Error)
"""What PyGithub raises for answers of another shape; it checks some addresses by ``assert``."""
_T = TypeVar("_T")


class GitHubClient:
    """One repository's REST API. ``ask`` and ``find`` run PyGithub's calls and translate what they raise."""

    def __init__(self, access: ForgeAccess, limits: Limits = LIMITS) -> None:
        self.access = access
        self.limits = limits
        self.requester = open_requester(access, limits)
        self.repository = Repository(self.requester, url=f"/repos/{access.project}")
        self._is_seen = False

    @property
    def name(self) -> str:
        """``host/owner/repository``."""
        return f"{self.access.host}/{self.access.project}"

    def find(self, request: Callable[[], _T], right: str) -> _T | None:
        """What the request returns, None for GitHub's 404 in a repository this token may see. Raises AccessDenied, Unavailable."""
        found = self.ask(request, right, none_for=(404,))
        if found is None and not self._is_seen:
            # Another object than self.repository, which must not take over addresses that an answer names.
            self.must(lambda: Repository(self.requester, url=f"/repos/{self.access.project}").id, "metadata: read")
            self._is_seen = True
        return found

    def ask(self, request: Callable[[], _T], right: str, *, none_for: Collection[int] = ()) -> _T | None:
        """What the request returns, None only where GitHub answers one of the statuses ``none_for``.

        PyGithub gives None for a field that an answer lacks: that makes no sense, and is never taken for absence.
        ``right`` is what the token needs, such as ``contents: write``. Raises AccessDenied, AnswerIsNo, InputError, Unavailable.
        """
        try:
            return self._expect(request())
        except (BadAttributeException, IncompletableObject) as error:
            raise self._nonsense(type(error).__name__) from error
        except GithubException as error:
            if error.status in none_for and _is_githubs_own(error.data):
                return None
            raise self.refusal(error.status, error.headers or {}, error.data, right) from error
        except StagepinError:
            raise
        except (requests.RequestException, OSError) as error:
            raise unreachable(error, self.access.url) from error
        except _NONSENSE as error:
            raise self._nonsense(type(error).__name__) from error

    def must(self, request: Callable[[], _T], right: str) -> _T:
        """As ``ask``, where no status means None."""
        return self._expect(self.ask(request, right))

    def expect_text(self, value: object) -> str:
        """A field that has to be text."""
        return self._expect(value if isinstance(value, str) and value else None)

    def _expect(self, value: _T | None) -> _T:
        if value is None:
            raise self._nonsense("a field is missing")
        return value

    def refusal(self, status: int, headers: Mapping[str, object], data: object, right: str) -> StagepinError:
        """Our error for an answer nobody wanted; header names are lower case, as PyGithub gives them."""
        told, host = {name: str(value) for name, value in headers.items()}, self.access.host
        if status == 429 or (status == 403 and _is_rate_limit(told, data)):
            wait = _wait_of(told)
            hint = f"wait {wait:.0f} s, then run the job again; a token of its own (STAGEPIN_TOKEN) has limits of its own"
            return Unavailable(f"expected {host} to take the request, found its rate limit ({status})", hint=hint, retry_after=wait)
        if status in (401, 403) or (status == 404 and _is_githubs_own(data)):
            return self._denied(status, right)
        if status == 404:
            return self._nonsense("a 404 of somebody else")
        if status >= 500 or status in (408, 409, 422):
            message = f"expected {host} to do as asked, found status {status}{_quote(data, self.access.token)}"
            return Unavailable(message, hint="run the job again", where=self._where, retry_after=asked_wait(told))
        return AnswerIsNo(f"expected {host} to take the request, found status {status}{_quote(data, self.access.token)}", where=self._where)

    def _denied(self, status: int, right: str) -> AccessDenied:
        access, token = self.access, self.access.token_name
        if not token:
            message = f"expected a token for {access.host}, found none (status {status})"
            hint = "hand it to the step: `env: GITHUB_TOKEN: ${{ github.token }}`; outside CI set STAGEPIN_TOKEN"
        elif status == 401:
            message = f"expected {access.host} to know the token in {token}, found status 401"
            hint = "it is wrong, expired or of another forge; a job's own token ends with the job"
        else:
            message = f"expected the token in {token} to have the right {right!r} on {access.project}, found status {status}"
            hint = f"add to the job: `permissions: {{{right}}}`; a token of your own needs that permission for this repository"
            if right.endswith("write"):
                hint += "; a pull request from a fork never has it"
            if status == 404:
                hint += " (GitHub answers 404, not 403, for what a token may not see)"
        return AccessDenied(message, hint=hint, where=self._where)

    def _nonsense(self, what: str) -> Unavailable:
        message = f"expected an answer of GitHub's REST API from {self.access.host}, found something else ({what})"
        return Unavailable(message, hint="is a proxy in the way? run the job again", where=self._where)

    @property
    def _where(self) -> Location:
        return Location(f"{self.access.url}/repos/{self.access.project}")


def _is_githubs_own(data: object) -> bool:
    """Whether a refusal is GitHub's error document; a proxy's page is none."""
    return isinstance(data, dict) and isinstance(data.get("message"), str)


def _is_rate_limit(headers: Mapping[str, str], data: object) -> bool:
    docs = data.get("documentation_url") if isinstance(data, dict) else None
    return "retry-after" in headers or headers.get("x-ratelimit-remaining") == "0" or (isinstance(docs, str) and "rate-limit" in docs)


def _wait_of(headers: Mapping[str, str]) -> float:
    """Seconds until the limit ends, by GitHub's clock where it tells."""
    asked = asked_wait(headers)
    if asked is not None:
        return asked
    reset = headers.get("x-ratelimit-reset", "")
    if headers.get("x-ratelimit-remaining") != "0" or not reset.isdecimal():
        return _SECONDARY_LIMIT_SECONDS
    try:
        now = parsedate_to_datetime(headers["date"]).timestamp()
    except (KeyError, ValueError):
        now = time.time()
    return max(1.0, int(reset[:12]) - now)


def _quote(data: object, token: str) -> str:
    message = data.get("message") if isinstance(data, dict) else None
    return quote(message, token) if isinstance(message, str) else ""
