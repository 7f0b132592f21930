"""A token server whose tokens a real registry accepts, and the one address both have, as Harbor and GitLab give them.

::

    signer = TokenSigner("ES256")
    with TokenServer(signer, users={"alice": "secret"}) as tokens, start(auth=tokens.registry_settings(bundle)) as registry:
        tokens.upstream = registry.address      # /v2/ goes there
        ...

Source: distribution's token specification (docs/spec/auth/jwt.md, oauth.md) and its libtrust key IDs.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import threading
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import parse_qs, urlsplit

import jwt
from cryptography.hazmat.primitives import serialization

from tests.fakes.certificates import make_key, self_signed
from tests.fakes.registry import Request

SERVICE = "stagepin-test-registry"
ISSUER = "stagepin-test-tokens"
_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length", "host"})


class TokenSigner:
    """Signs JSON web tokens with ``ES256`` or ``RS256``."""

    def __init__(self, algorithm: str) -> None:
        self._algorithm = algorithm
        self._key = make_key(algorithm)

    def write_bundle(self, file: Path) -> Path:
        """The certificate a registry trusts (``rootcertbundle``)."""
        file.write_bytes(self_signed(self._key, ISSUER).public_bytes(serialization.Encoding.PEM))
        return file

    def sign(self, claims: Mapping[str, object]) -> str:
        """A token with these claims."""
        return jwt.encode(dict(claims), self._key, algorithm=self._algorithm, headers={"kid": self._key_id()})

    def _key_id(self) -> str:
        """libtrust: base32 of the first 240 bits of the public key's sha256, in twelve groups of four."""
        der = self._key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        text = base64.b32encode(hashlib.sha256(der).digest()[:30]).decode()
        return ":".join(text[at : at + 4] for at in range(0, len(text), 4))


class TokenServer:
    """``/token`` on loopback; everything else goes to ``upstream``. Strangers may pull, users do what they ask for."""

    def __init__(self, signer: TokenSigner, *, users: Mapping[str, str] | None = None, identity_tokens: tuple[str, ...] = ()) -> None:
        self.requests: list[Request] = []
        self.issued: list[str] = []
        self.lifetimes: list[int] = []
        """Seconds for the next tokens, in order; below zero is expired when it is given out. Then 300."""
        self.upstream = ""
        self._signer = signer
        self._users = dict(users or {})
        self._identity_tokens = identity_tokens
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler_for(self))
        self.address = f"127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()

    def registry_settings(self, bundle: Path) -> dict[str, object]:
        """The ``auth`` section of a registry that trusts this server."""
        realm = f"http://{self.address}/token"
        return {"token": {"realm": realm, "service": SERVICE, "issuer": ISSUER, "rootcertbundle": str(self._signer.write_bundle(bundle))}}

    @property
    def token_requests(self) -> list[Request]:
        """What was asked of ``/token``."""
        return [request for request in self.requests if request.path.startswith("/token")]

    def give_token(self, request: Request, body: bytes) -> tuple[int, bytes]:
        """Status and document for a token request: Basic over GET, or an identity token over POST."""
        form = parse_qs(body.decode()) if request.method == "POST" else parse_qs(urlsplit(request.path).query)
        user = self._user_of(request, form)
        if user is None or form.get("service") != [SERVICE]:
            return 401, b'{"details": "incorrect username or password"}'
        scopes = [scope for text in form.get("scope", []) for scope in text.split()]
        token = self._sign(user, [_access(scope, everything=bool(user)) for scope in scopes])
        return 200, json.dumps({"access_token" if request.method == "POST" else "token": token, "expires_in": 300}).encode()

    def _user_of(self, request: Request, form: Mapping[str, list[str]]) -> str | None:
        if request.method == "POST":
            return "by identity token" if form.get("refresh_token", [""])[0] in self._identity_tokens else None
        if not request.authorization:
            return ""
        text = base64.b64decode(request.authorization.removeprefix("Basic ")).decode()
        user, _, password = text.partition(":")
        return user if self._users.get(user) == password else None

    def _sign(self, user: str, access: list[dict[str, object]]) -> str:
        now, lifetime = int(time.time()), self.lifetimes.pop(0) if self.lifetimes else 300
        claims = {"iss": ISSUER, "sub": user, "aud": SERVICE, "jti": str(len(self.issued)), "access": access}
        token = self._signer.sign({**claims, "iat": now - 7200, "nbf": now - 7200, "exp": now + lifetime})
        self.issued.append(token)
        return token


def _access(scope: str, *, everything: bool) -> dict[str, object]:
    kind, _, rest = scope.partition(":")
    name, _, actions = rest.rpartition(":")
    wanted = actions.split(",")
    return {"type": kind, "name": name, "actions": wanted if everything else [action for action in wanted if action == "pull"]}


def _handler_for(server: TokenServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
            pass

        def respond(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            request = Request(self.command, self.path, {name.lower(): value for name, value in self.headers.items()})
            server.requests.append(request)
            if self.path.partition("?")[0] == "/token":
                status, answer = server.give_token(request, body)
                self.send(status, {"Content-Type": "application/json", "Content-Length": str(len(answer))}, answer)
            else:
                self.pass_on(body)

        def pass_on(self, body: bytes) -> None:
            connection = http.client.HTTPConnection(server.upstream, timeout=30)
            # The registry names its own address in Location by the Host it is asked as.
            headers = {name: value for name, value in self.headers.items() if name.lower() not in _HOP}
            connection.request(self.command, self.path, body, {**headers, "Host": server.address, "Content-Length": str(len(body))})
            response = connection.getresponse()
            data = response.read()
            kept = {name: value for name, value in response.getheaders() if name.lower() not in _HOP}
            length = response.getheader("Content-Length") if self.command == "HEAD" else None
            connection.close()
            self.send(response.status, {**kept, "Content-Length": length or str(len(data))}, data)

        def send(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
            self.send_response_only(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body if self.command != "HEAD" else b"")

        do_GET = do_HEAD = do_PUT = do_POST = do_PATCH = do_DELETE = respond  # noqa: N815 - http.server finds them by these names

    return Handler


__all__ = ["ISSUER", "SERVICE", "TokenServer", "TokenSigner"]
