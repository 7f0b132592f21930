"""What BuildKit may ask of us while it builds, but files: whether we live, credentials, secrets.

Sources: moby/buildkit session/auth/auth.proto, session/secrets/secrets.proto; grpc health/v1/health.proto. Rules
- A registry's credentials are given for that registry alone, and only where the caller has some; nothing is said of others.
- A token is never fetched by us: without ``FetchToken`` and ``GetTokenAuthority`` BuildKit does that itself, with the credentials.
- A secret is known by its id; another id is NOT_FOUND, whether or not a file of that name exists.
"""

from __future__ import annotations

from collections.abc import Mapping

from ci_plugin.engine.buildkit.grpc import NOT_FOUND, CallFailed, Method, unary
from ci_plugin.engine.buildkit.protobuf import field, find_bytes
from ci_plugin.ports import CredentialSource

_HUB = {"registry-1.docker.io": "docker.io", "index.docker.io": "docker.io", "auth.docker.io": "docker.io"}
"""Hosts of Docker Hub, which has one name everywhere else."""
_SERVING = field(1, 1)


def health() -> dict[str, Method]:
    """The service whose answer keeps a session alive."""
    return {"/grpc.health.v1.Health/Check": unary(lambda _message: _SERVING)}


def registry_auth(credentials: CredentialSource) -> dict[str, Method]:
    """CredentialsRequest: Host = 1. CredentialsResponse: Username = 1, Secret = 2; an identity token is a secret without a user."""

    def answer(message: bytes) -> bytes:
        host = find_bytes(message, 1).decode("utf-8", "replace")
        found = credentials(_HUB.get(host, host))
        if found is None:
            return b""
        if found.identity_token:
            return field(2, found.identity_token)
        return field(1, found.user) + field(2, found.secret)

    return {"/moby.filesync.v1.Auth/Credentials": unary(answer)}


def build_secrets(secrets: Mapping[str, bytes]) -> dict[str, Method]:
    """GetSecretRequest: ID = 1. GetSecretResponse: data = 1."""

    def answer(message: bytes) -> bytes:
        name = find_bytes(message, 1).decode("utf-8", "surrogateescape")
        if name not in secrets:
            raise CallFailed(NOT_FOUND, f"no secret {name[:100]!r} was given to this build")
        return field(1, secrets[name])

    return {"/moby.buildkit.secrets.v1.Secrets/GetSecret": unary(answer)}
