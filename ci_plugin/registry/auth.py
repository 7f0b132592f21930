"""Who we are to a registry: Basic and Bearer, learned from its first 401 and kept for the run.

Sources: RFC 7235 and 7617, and distribution's token specification. Rules
- Nothing is asked in advance: a registry without authentication costs no extra request.
- Credentials go to the registry's own host and to a token server on that host, or to the pairs in ``may_have_credentials``; any other
  token server is asked anonymously (CVE-2020-15157). A token server at a private address of another host is not asked at all.
- A token call follows no redirect.
- One token covers every scope named at once; a token that is refused is replaced once, for the one scope that was refused.
- Expiry is not computed from a clock: a registry refuses an expired token, and a new one is asked for.
"""

from __future__ import annotations

import base64
import json
import re
import threading
from collections.abc import Collection
from dataclasses import dataclass
from urllib.parse import urlencode, urlsplit

from ci_plugin.errors import AccessDenied, AnswerIsNo, Location, Unavailable
from ci_plugin.ports import CredentialSource
from ci_plugin.registry.addresses import host_of, is_private, origin_of
from ci_plugin.registry.answers import CREDENTIALS_HINT, refusal
from ci_plugin.registry.transport import Answer, Transport
from ci_plugin.values.credentials import Credentials

_CHALLENGE = re.compile(r"(?:^|,)\s*(Basic|Bearer)(?=[\s,]|$)", re.IGNORECASE)
_PARAMETER = re.compile(r'([A-Za-z0-9_-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))')
_LONGEST_TOKEN_ANSWER = 256 * 1024
_MOST_SCOPES = 50
"""In one token request: more would make an address some servers refuse; the rest get tokens of their own."""

_REALM_OF = {"docker.io": "auth.docker.io"}


def pull_scope(path: str) -> str:
    """The scope that reads one repository."""
    return f"repository:{path}:pull"


def push_scope(path: str) -> str:
    """The scope that reads and writes one repository."""
    return f"repository:{path}:pull,push"


def mount_scope(source: str, target: str) -> str:
    """Both scopes a mount needs in one token: writing one repository, reading the other."""
    return f"{push_scope(target)} {pull_scope(source)}"


def delete_scope(path: str) -> str:
    """The scope that deletes from one repository."""
    return f"repository:{path}:delete,pull"


@dataclass(frozen=True, slots=True)
class Challenge:
    """What a 401 asks for: ``basic``, or ``bearer`` with the token server's address and the service's name."""

    kind: str
    realm: str = ""
    service: str = ""


def parse_challenge(header: str) -> Challenge | None:
    """The challenge we can answer in a ``WWW-Authenticate`` header, Bearer before Basic; None where there is none."""
    found: dict[str, Challenge] = {}
    schemes = list(_CHALLENGE.finditer(header))
    ends = [following.start() for following in schemes[1:]] + [len(header)]
    for scheme, end in zip(schemes, ends if schemes else [], strict=True):
        text = header[scheme.end() : end]
        values = {
            match[1].lower(): re.sub(r"\\(.)", r"\1", match[2]) if match[3] is None else match[3] for match in _PARAMETER.finditer(text)
        }
        kind = scheme[1].lower()
        if kind == "basic" or values.get("realm"):
            found.setdefault(kind, Challenge(kind, values.get("realm", ""), values.get("service", "")))
    return found.get("bearer") or found.get("basic")


def may_have_credentials(registry: str, realm: str, *, plain: bool) -> bool:
    """Whether the token server at ``realm`` may see the credentials of ``registry``.

    Its own host (same port, or HTTPS on 443 as GitLab has it), ``docker.io`` → ``auth.docker.io``, ``registry.X`` → ``X``.
    HTTPS always, unless the registry itself speaks plain HTTP and this is its own address.
    """
    try:
        scheme, host, port = origin_of(realm)
        _, own_host, own_port = origin_of(f"{'http' if plain else 'https'}://{registry}")
    except ValueError:
        return False
    if "@" in urlsplit(realm).netloc:
        return False
    if (host, port) == (own_host, own_port):
        return scheme == "https" or (plain and scheme == "http")
    paired = {own_host, _REALM_OF.get(registry, own_host), own_host.removeprefix("registry.")}
    return scheme == "https" and port == 443 and "." in host and host in paired


class Authenticator:
    """The authentication state of one registry, shared by all threads."""

    def __init__(self, registry: str, transport: Transport, credentials: CredentialSource) -> None:
        self._registry = registry
        self._transport = transport
        self._source = credentials
        self._lock = threading.Lock()
        self._challenge: Challenge | None = None
        self._tokens: dict[str, str] = {}

    def header(self, scope: str, also: Collection[str] = ()) -> str | None:
        """The ``Authorization`` value for a request, or None as long as nothing was asked of us.

        A token is asked for where there is none; it covers ``scope`` and ``also``. Raises AccessDenied, Unavailable.
        """
        if self._challenge is None:
            return None
        with self._lock:
            if self._challenge.kind == "basic":
                return self._basic()
            return f"Bearer {self._find_token(scope) or self._get_token(self._challenge, scope, also)}"

    def learn(self, answer: Answer, used: str | None, scope: str, also: Collection[str] = ()) -> str:
        """The ``Authorization`` value to try again with after a 401; ``used`` is the value that was refused.

        Raises AccessDenied where there is nothing else to offer.
        """
        with self._lock:
            challenge = parse_challenge(answer.headers.get("WWW-Authenticate", ""))
            if challenge is None or (used and challenge.kind == "basic"):
                raise refusal(answer, self._registry, self._credentials() is not None)
            self._challenge = challenge
            if challenge.kind == "basic":
                return self._basic()
            token = self._find_token(scope)
            if token and used == f"Bearer {token}":
                # Too old, or (with many scopes) never good for this one: only this scope asks again.
                self._tokens = {known: value for known, value in self._tokens.items() if known not in (scope, f"{scope},push")}
                token, also = None, ()
            return f"Bearer {token or self._get_token(challenge, scope, also)}"

    @property
    def has_credentials(self) -> bool:
        """Whether the user gave credentials for this registry."""
        return self._credentials() is not None

    def _credentials(self) -> Credentials | None:
        return self._source(self._registry)

    def _basic(self) -> str:
        credentials = self._credentials()
        if credentials is None or credentials.identity_token:
            message = f"expected credentials for {self._registry}, which asks for a user name and a password; found none"
            raise AccessDenied(message, hint=CREDENTIALS_HINT.format(registry=self._registry))
        return _basic_value(credentials)

    def _find_token(self, scope: str) -> str | None:
        wider = scope if scope.endswith(",push") else f"{scope},push"
        return self._tokens.get(scope) or self._tokens.get(wider)

    def _get_token(self, challenge: Challenge, scope: str, also: Collection[str]) -> str:
        # A scope of two parts is asked for, and kept, as one: the request it is for needs both in one token.
        lacking = sorted(other for other in also if not self._find_token(other))
        scopes = list(dict.fromkeys([*scope.split(), *lacking]))[:_MOST_SCOPES]
        answer = self._ask_token_server(challenge, scopes)
        if answer.status in (400, 401, 403):
            raise refusal(answer, self._registry, self._credentials() is not None)
        if answer.status != 200:
            raise Unavailable(
                f"expected a token from {host_of(challenge.realm)} for {self._registry}, found status {answer.status}",
                hint="try again later",
                where=answer.location,
            )
        token = _parse_token(answer)
        self._tokens.update(dict.fromkeys([scope, *scopes], token))
        return token

    def _ask_token_server(self, challenge: Challenge, scopes: list[str]) -> Answer:
        self._check_realm(challenge.realm)
        plain = self._transport.is_plain(self._registry)
        credentials = self._credentials() if may_have_credentials(self._registry, challenge.realm, plain=plain) else None
        query = [("service", challenge.service)] if challenge.service else []
        if credentials and credentials.identity_token:
            form = [("grant_type", "refresh_token"), *query, ("client_id", "stagepin"), ("scope", " ".join(scopes))]
            body = urlencode([*form, ("refresh_token", credentials.identity_token)]).encode()
            headers = {"Content-Type": "application/x-www-form-urlencoded"}
            return self._transport.ask_once("POST", challenge.realm, headers, body=body, limit=_LONGEST_TOKEN_ANSWER)
        separator = "&" if urlsplit(challenge.realm).query else "?"
        url = challenge.realm + separator + urlencode([*query, *(("scope", scope) for scope in scopes)])
        headers = {"Authorization": _basic_value(credentials)} if credentials else {}
        return self._transport.ask_once("GET", url, headers, limit=_LONGEST_TOKEN_ANSWER)

    def _check_realm(self, realm: str) -> None:
        """A token for a registry behind TLS is asked for behind TLS, and nowhere we would not go by ourselves."""
        try:
            scheme, host, _ = origin_of(realm)
            _, own, _ = origin_of(f"https://{self._registry}")
        except ValueError:
            scheme = host = own = ""
        allowed = ("https", "http") if self._transport.is_plain(self._registry) else ("https",)
        is_reachable = host == own or not is_private(host)
        if scheme not in allowed or not host or "@" in urlsplit(realm).netloc or not is_reachable:
            message = f"expected {self._registry} to name a token server such as https://auth.example.com/token, found {_shown(realm)!r}"
            raise AnswerIsNo(message, hint="is this address the registry you mean?", where=Location(f"https://{self._registry}/v2/"))


def _shown(realm: str) -> str:
    """An address without what may be secret in it."""
    return realm.partition("?")[0].rpartition("@")[2][:100]


def _basic_value(credentials: Credentials) -> str:
    text = f"{credentials.user}:{credentials.secret}"
    return "Basic " + base64.b64encode(text.encode("utf-8")).decode("ascii")


def _parse_token(answer: Answer) -> str:
    try:
        document = json.loads(answer.body)
        token = document.get("token") or document.get("access_token")
    except (ValueError, RecursionError, AttributeError):
        token = None
    # A token with a line break in it would be a header of its own.
    if not isinstance(token, str) or not re.fullmatch(r"[!-~]+", token):
        message = f"expected a token from {host_of(answer.url)}, found {answer.media_type or 'no content type'} without one"
        raise Unavailable(message, where=answer.location)
    return token
