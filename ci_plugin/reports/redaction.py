"""Secrets are replaced by ``***`` in all that is printed: as they are, in base64, percent-encoded, and as JSON strings.

Rules: a secret shorter than 4 characters is not learned (it would blot out ordinary text); credentials in an address go whether they
were learned or not. Splitting a secret over two printed lines is not detected.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import threading
from collections.abc import Iterable, Iterator, Mapping
from urllib.parse import quote, quote_plus, unquote

MASK = "***"
SHORTEST_SECRET = 4
_SHORTEST_PART = 8
"""Characters of a line of a secret, or of its base64 at another offset: shorter ones would hit ordinary text."""
_SECRET_NAME = re.compile(r"TOKEN|PASSWORD|PASSWD|PASSPHRASE|SECRET|KEYS?(?![A-Z])|CREDENTIAL|AUTH(?!OR(?!IZ))", re.IGNORECASE)
_PLACE_NAME = re.compile(r"(?:SOCK|FILE|PATH|DIR)$", re.IGNORECASE)
_ORDINARY_VALUE = re.compile(r"true|false|yes|none|null|auto|always|never|basic|bearer|[0-9]{1,7}", re.IGNORECASE | re.ASCII)
_USER_INFO = re.compile(r"(?<=://)[^/@\s\"'<>]+(?=@(?!sha256:|sha512:))")
_PASSWORD_IN_ADDRESS = re.compile(r"://[^/@:\s]*:([^/@\s]+)@")
_AUTH_KEYS = ("auth", "password", "identitytoken", "registrytoken")


class Redactor:
    """Learns secrets for the life of the process; safe to use from several threads."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._lock = threading.Lock()
        self._forms: set[str] = set()
        self._pattern: re.Pattern[str] | None = None
        for secret in secrets:
            self.add(secret)

    def add(self, secret: str) -> None:
        """Learn a secret, and every long line of one that has several. Too short a one is ignored."""
        secret = secret.strip()
        if len(secret) < SHORTEST_SECRET:
            return
        with self._lock:
            self._forms |= {form for form in _forms(secret) if len(form) >= SHORTEST_SECRET}
            # The longest form first: where one secret begins another, nothing of the longer one may stay.
            self._pattern = re.compile("|".join(re.escape(form) for form in sorted(self._forms, key=lambda form: (-len(form), form))))

    def redact(self, text: str) -> str:
        """The text without secrets."""
        pattern = self._pattern
        if pattern is not None:
            text = pattern.sub(MASK, text)
        return _USER_INFO.sub(MASK, text) if "://" in text else text


def secrets_of(environ: Mapping[str, str]) -> frozenset[str]:
    """Values of variables whose names look secret, those inside ``DOCKER_AUTH_CONFIG``, and passwords in addresses (``HTTPS_PROXY``).

    Left out: what names a place (``…_FILE``, ``…_SOCK``) and ordinary words and numbers (``AUTH_ENABLED=true``, ``KEY_LENGTH=4096``).
    """
    values = {value for name, value in environ.items() if _SECRET_NAME.search(name) and not _PLACE_NAME.search(name)}
    values |= {*_docker_secrets(environ.get("DOCKER_AUTH_CONFIG", ""))}
    values |= {form for value in environ.values() for found in _PASSWORD_IN_ADDRESS.findall(value) for form in (found, unquote(found))}
    return frozenset(value for value in values if len(value.strip()) >= SHORTEST_SECRET and not _ORDINARY_VALUE.fullmatch(value.strip()))


def _forms(secret: str) -> Iterator[str]:
    yield from _encodings(secret)
    lines = [line.strip() for line in secret.splitlines()]
    if len(lines) > 1:
        for line in lines:
            if len(line) >= _SHORTEST_PART:
                yield from _encodings(line)


def _encodings(secret: str) -> Iterator[str]:
    yield secret
    for ensure_ascii in (True, False):
        yield json.dumps(secret, ensure_ascii=ensure_ascii)[1:-1]
    data = secret.encode("utf-8", "surrogateescape")
    for quoted in (quote(data, safe=""), quote(data), quote_plus(data)):
        yield quoted
        yield re.sub(r"%[0-9A-F]{2}", lambda found: found[0].lower(), quoted)
    for encode in (base64.standard_b64encode, base64.urlsafe_b64encode):
        yield encode(data).decode("ascii").rstrip("=")
        yield from _inside_base64(data, encode(b"\0" + data).decode("ascii"), 1)
        yield from _inside_base64(data, encode(b"\0\0" + data).decode("ascii"), 2)
        yield from _inside_base64(data, encode(data).decode("ascii"), 0)


def _inside_base64(data: bytes, encoded: str, offset: int) -> Iterator[str]:
    """The characters of ``encoded`` that depend on ``data`` alone when ``offset`` other bytes stand before it and any after."""
    first, last = -(-8 * offset // 6), 8 * (offset + len(data)) // 6
    if last - first >= _SHORTEST_PART:
        yield encoded[first:last]


def _docker_secrets(text: str) -> Iterator[str]:
    try:
        auths = json.loads(text)["auths"]
        entries = list(auths.values())
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return
    for entry in entries:
        for key in _AUTH_KEYS:
            value = entry.get(key) if isinstance(entry, dict) else None
            if isinstance(value, str):
                yield value
                if key == "auth":
                    yield from _password(value)


def _password(auth: str) -> Iterator[str]:
    try:
        yield base64.b64decode(auth, validate=True).decode("utf-8").partition(":")[2]
    except (binascii.Error, ValueError):
        return
