"""Where credentials for registries come from, in order; each for its own registry only.

1. ``DOCKER_AUTH_CONFIG``: the JSON of a docker ``config.json`` (GitLab's name for it).
2. ``$DOCKER_CONFIG/config.json``, else ``~/.docker/config.json``.
3. On GitLab ``CI_REGISTRY_USER`` and ``CI_REGISTRY_PASSWORD`` for ``CI_REGISTRY``; on GitHub ``GITHUB_TOKEN`` for ghcr.io.

Within a document: ``credHelpers`` for that registry, then ``credsStore``, then ``auths`` (docker/cli's order). A helper is asked when a
registry asks us, never before. Documents are read at once, so that a broken one is named before anything else happens; what they hold is
never quoted.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import subprocess
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ci_plugin.errors import InputError, Location, Unavailable
from ci_plugin.ports import CredentialSource
from ci_plugin.values.credentials import Credentials

HELPER_SECONDS = 30.0
_DOCKER_HUB_KEY = "https://index.docker.io/v1/"
_DOCKER_HUB_HOSTS = frozenset({"docker.io", "index.docker.io", "registry-1.docker.io"})
_IDENTITY_TOKEN_USER = "<token>"  # noqa: S105 - the name helpers give an identity token instead of a user (docker-credential-helpers)
_HELPER_NAME = re.compile(r"[A-Za-z0-9_.-]+", re.ASCII)

RunHelper = Callable[[str, str], "HelperAnswer"]
"""Program name, server address → what ``PROGRAM get`` answered."""
Learn = Callable[[str], None]
"""Takes a secret that must show nowhere."""


@dataclass(frozen=True, slots=True)
class HelperAnswer:
    """Exit code and standard output of a credential helper."""

    code: int
    output: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class _Document:
    """A docker config document: credentials by host, helper by host, and the helper for all the others."""

    name: str
    auths: Mapping[str, Credentials]
    helpers: Mapping[str, str]
    store: str


def load_credentials(
    environ: Mapping[str, str], home: Path, *, run_helper: RunHelper | None = None, learn: Learn = lambda _secret: None
) -> CredentialSource:
    """The credential source of this machine. Raises InputError, naming the document, where one is broken.

    ``learn`` is told every secret as soon as it is read: those of the documents now, a helper's when it is asked.
    """
    documents: list[_Document] = []
    if text := environ.get("DOCKER_AUTH_CONFIG", ""):
        documents.append(parse_docker_config(text, "DOCKER_AUTH_CONFIG"))
    file = Path(environ.get("DOCKER_CONFIG") or home / ".docker") / "config.json"
    try:
        documents.append(parse_docker_config(file.read_text(encoding="utf-8"), str(file)))
    except FileNotFoundError:
        pass
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "bytes that are no UTF-8"
        raise InputError(f"expected to read docker's configuration, found: {reason}", where=Location(str(file))) from None
    ci = _ci_credentials(environ)
    for held in (*(document.auths for document in documents), ci):
        for credentials in held.values():
            _teach(learn, credentials)
    return _Credentials(documents, ci, run_helper or _helper_runner(environ), learn)


def parse_docker_config(text: str, name: str) -> _Document:
    """The credentials part of a docker ``config.json``. Raises InputError that names ``name`` and quotes nothing."""
    try:
        document = json.loads(text)
        auths, helpers = document.get("auths") or {}, document.get("credHelpers") or {}
        found = {_host_of(key): credentials for key, entry in auths.items() if (credentials := _parse_entry(entry))}
        store = document.get("credsStore") or ""
        named = {_host_of(key): str(helper) for key, helper in helpers.items()}
    except (ValueError, AttributeError, TypeError, RecursionError, binascii.Error):
        message = f"expected the JSON of a docker config.json (auths, credHelpers, credsStore) in {name}, found something else"
        raise InputError(message, hint="mend it or remove it, then log in again with `docker login`", where=Location(name)) from None
    for helper in [*named.values(), *([store] if store else [])]:
        if not isinstance(helper, str) or not _HELPER_NAME.fullmatch(helper):
            raise InputError(
                f"expected the name of a credential helper such as `pass` in {name}, found {helper!r:.60}", where=Location(name)
            )
    return _Document(name, found, named, store)


class _Credentials:
    """Registry host → credentials; asks a helper at most once per host."""

    def __init__(self, documents: list[_Document], ci: Mapping[str, Credentials], run_helper: RunHelper, learn: Learn) -> None:
        self._documents = documents
        self._learn = learn
        self._ci = ci
        self._run_helper = run_helper
        self._asked: dict[str, Credentials | None] = {}
        self._lock = threading.Lock()

    def __call__(self, registry: str) -> Credentials | None:
        host = _host_of(registry)
        with self._lock:
            if host not in self._asked:
                self._asked[host] = self._find(host)
            return self._asked[host]

    def _find(self, host: str) -> Credentials | None:
        for document in self._documents:
            helper = document.helpers.get(host) or document.store
            found = self._ask_helper(helper, host, document.name) if helper else None
            if found or (found := document.auths.get(host)):
                return found
        return self._ci.get(host)

    def _ask_helper(self, helper: str, host: str, name: str) -> Credentials | None:
        program = f"docker-credential-{helper}"
        answer = self._run_helper(program, _DOCKER_HUB_KEY if host == "docker.io" else host)
        if answer.code != 0 and "not found" in answer.output.lower():
            # The helpers' one way to say "nothing stored": exit 1 and "credentials not found in native keychain" on standard output.
            return None
        try:
            document: Any = json.loads(answer.output) if answer.code == 0 else None
            user, secret = str(document["Username"]), str(document["Secret"])
        except (ValueError, LookupError, TypeError):
            message = f"expected {program} (named in {name}) to give credentials for {host}, found exit code {answer.code}"
            raise InputError(message, hint=f"run `echo {host} | {program} get` to see what it says", where=Location(name)) from None
        found = Credentials("", "", secret) if user == _IDENTITY_TOKEN_USER else Credentials(user, secret)
        _teach(self._learn, found)
        return found


def _teach(learn: Learn, credentials: Credentials) -> None:
    for secret in credentials.secrets:
        learn(secret)


def _helper_runner(environ: Mapping[str, str]) -> RunHelper:
    def run(program: str, server: str) -> HelperAnswer:
        try:
            done = subprocess.run(
                [program, "get"],
                input=server,
                capture_output=True,
                text=True,
                timeout=HELPER_SECONDS,
                env=dict(environ),
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise Unavailable(f"expected {program} to answer within {HELPER_SECONDS:.0f} s, found nothing") from None
        except (OSError, UnicodeDecodeError):
            hint = "install it, or remove credsStore / credHelpers from docker's config.json"
            raise InputError(f"expected the credential helper {program} on this machine, found none that runs", hint=hint) from None
        return HelperAnswer(done.returncode, done.stdout)

    return run


def _ci_credentials(environ: Mapping[str, str]) -> dict[str, Credentials]:
    found: dict[str, Credentials] = {}
    registry, user, password = (environ.get(f"CI_REGISTRY{suffix}", "") for suffix in ("", "_USER", "_PASSWORD"))
    if registry and user and password:
        found[_host_of(registry)] = Credentials(user, password)
    if environ.get("GITHUB_ACTIONS") == "true" and (token := environ.get("GITHUB_TOKEN", "")):
        found["ghcr.io"] = Credentials(environ.get("GITHUB_ACTOR") or "github-actions", token)
    return found


def _parse_entry(entry: Mapping[str, Any]) -> Credentials | None:
    """One value of ``auths``; None for the empty object ``docker login`` leaves beside a credsStore. Raises ValueError and the like."""
    if token := entry.get("identitytoken"):
        return Credentials("", "", str(token))
    if encoded := entry.get("auth"):
        user, colon, secret = base64.b64decode(str(encoded), validate=True).decode("utf-8").partition(":")
        if not colon:
            raise ValueError("no colon")
        return Credentials(user, secret.rstrip("\0"))
    if entry.get("username"):
        return Credentials(str(entry["username"]), str(entry.get("password", "")))
    return None


def _host_of(key: str) -> str:
    """``https://index.docker.io/v1/``, ``registry.example.com``, ``https://registry.example.com/v2/`` → the name in references.

    A key with any other path belongs to a part of a registry (containers-auth.json) and stays what it is: it matches no host.
    """
    rest = key.partition("://")[2] or key
    host, _, path = rest.partition("/")
    if path.strip("/") not in ("", "v1", "v2"):
        return key
    return "docker.io" if host.lower() in _DOCKER_HUB_HOSTS else host.lower()
