"""One request to a registry with what it wants to know of us: the step between HTTP and the distribution API."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Mapping

from ci_plugin.errors import Bug, StagepinError, Unavailable
from ci_plugin.ports import CredentialSource
from ci_plugin.registry.answers import error_codes, unexpected
from ci_plugin.registry.auth import Authenticator, pull_scope, push_scope
from ci_plugin.registry.transport import LONGEST_ANSWER, Answer, Consumer, Transport, origin_of
from ci_plugin.values.reference import Repository


class AuthorizedRequests:
    """Requests to any registry; what each wants to know of us is learned once and shared by all threads."""

    def __init__(self, transport: Transport, credentials: CredentialSource) -> None:
        self._transport = transport
        self._credentials = credentials
        self._authenticators: dict[str, Authenticator] = {}
        self._lock = threading.Lock()

    def ask(
        self,
        repository: Repository,
        method: str,
        path: str,
        headers: Mapping[str, str],
        *,
        body: bytes | None = None,
        scope: str = "",
        also: Collection[str] = (),
        limit: int = LONGEST_ANSWER,
        consume: Consumer | None = None,
    ) -> Answer:
        """The answer to a request below ``/v2/REPOSITORY/``: at most a 401, a token, and at most one newer token.

        ``scope`` is what a token has to allow, reading the repository where it is empty; ``also`` what it may be asked for on the way.
        """
        authenticator = self._authenticator(repository.registry)
        scope = scope or pull_scope(repository.path)
        path = f"/v2/{repository.path}/{path}"
        value = authenticator.header(scope, also)
        for is_last in (False, False, True):
            sent = {**headers, "Authorization": value} if value else headers
            answer = self._transport.ask_registry(repository.registry, method, path, sent, body=body, limit=limit, consume=consume)
            if answer.status != 401 or is_last:
                return answer
            value = authenticator.learn(answer, value, scope, also)
        raise Bug("unreachable: the last answer is returned")

    def ask_at(
        self,
        repository: Repository,
        asked: str,
        method: str,
        url: str,
        headers: Mapping[str, str],
        *,
        body: bytes | Iterable[bytes] | None = None,
    ) -> Answer:
        """A request to where the registry sent us for an upload; credentials go to the origin that was ``asked`` alone.

        GHSA-jxpm-75mh-9fp7: a registry that names another host must not be given them for it.
        """
        if origin_of(asked) == origin_of(url):
            value = self._authenticator(repository.registry).header(push_scope(repository.path))
            headers = {**headers, "Authorization": value} if value else headers
        return self._transport.ask(method, url, headers, body=body)

    def unexpected(self, answer: Answer, expected: str, repository: Repository) -> StagepinError:
        """The error for an answer nobody wanted; ``expected`` completes "expected …"."""
        has = self._authenticator(repository.registry).has_credentials
        return unexpected(answer, expected, repository.registry, has_credentials=has)

    def unexpected_write(self, answer: Answer, expected: str, repository: Repository) -> StagepinError:
        """As ``unexpected``, for what writes: a registry that takes nothing now (read-only, as during its maintenance) is Unavailable."""
        if answer.status == 405 or "UNSUPPORTED" in error_codes(answer):
            return Unavailable(
                f"expected {expected}, found {repository.registry} to take no writes now (status {answer.status})",
                hint="is the registry read-only, for its garbage collection perhaps? run again when it takes pushes",
                where=answer.location,
            )
        return self.unexpected(answer, expected, repository)

    def _authenticator(self, registry: str) -> Authenticator:
        with self._lock:
            if registry not in self._authenticators:
                self._authenticators[registry] = Authenticator(registry, self._transport, self._credentials)
            return self._authenticators[registry]
