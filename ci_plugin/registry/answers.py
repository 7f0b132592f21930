"""What a registry's answer means: statuses → our errors, digests from headers, well-formed absence. No I/O.

Source: OCI distribution-spec v1.1, "Error Codes"; where distribution 2.8 differs, tests/contract holds it. No hosted registry was asked.
"""

from __future__ import annotations

import base64
import json
from email.utils import parsedate_to_datetime
from urllib.parse import quote, quote_plus

from ci_plugin.errors import AccessDenied, AnswerIsNo, Gone, StagepinError, Unavailable
from ci_plugin.registry.transport import LONGEST_ANSWER, Answer, announced_size, host_of
from ci_plugin.values.digest import Digest

CREDENTIALS_HINT = (
    "log in to {registry} (`docker login {registry}`) or set DOCKER_AUTH_CONFIG; credentials are read from DOCKER_AUTH_CONFIG, then "
    "docker's config.json, then on GitLab CI_REGISTRY_USER and CI_REGISTRY_PASSWORD for CI_REGISTRY only, "
    "on GitHub GITHUB_TOKEN for ghcr.io only"
)
NOT_A_REGISTRY_HINT = "is this address a registry?"
_LONGEST_QUOTE = 200
_TEMPORARY = frozenset({408, 421, 425, 429})


def digest_header(answer: Answer) -> Digest | None:
    """``Docker-Content-Digest`` where it is there and is one; a registry need not send it."""
    try:
        return Digest(answer.headers.get("Docker-Content-Digest", ""))
    except ValueError:
        return None


def size_header(answer: Answer) -> int | None:
    """``Content-Length`` where it can be a manifest's: neither nothing nor more than is ever read."""
    size = announced_size(answer.headers)
    return size if size and size <= LONGEST_ANSWER else None


def is_well_formed_absence(answer: Answer) -> bool:
    """Whether this 404 comes from a registry: its error document, or no document but its API header. A proxy's page is neither."""
    if answer.status != 404:
        return False
    codes = _errors(answer)
    if codes:
        return not any(code in ("UNAUTHORIZED", "DENIED") for code, _ in codes)
    return not answer.body and "Docker-Distribution-Api-Version" in answer.headers


def error_codes(answer: Answer) -> frozenset[str]:
    """The codes of a registry's error document, such as ``MANIFEST_BLOB_UNKNOWN``; empty where the body is none."""
    return frozenset(code for code, _ in _errors(answer))


def unexpected(answer: Answer, expected: str, registry: str, *, has_credentials: bool) -> StagepinError:
    """The error for an answer nobody wanted; ``expected`` completes "expected …"."""
    if answer.status in (401, 403):
        return refusal(answer, registry, has_credentials)
    if 500 <= answer.status < 600 or answer.status in _TEMPORARY:
        message = f"expected {expected}, found status {answer.status} from {registry}{_quote(answer)}"
        hint = "the registry limits requests; try again later" if answer.status == 429 else "try again later"
        return Unavailable(message, hint=hint, where=answer.location, retry_after=_retry_after(answer))
    if is_well_formed_absence(answer):
        return Gone(f"expected {expected}, found nothing at {registry}{_quote(answer)}", where=answer.location)
    if not 400 <= answer.status < 500 or answer.status == 404 or "html" in answer.media_type:
        # 206 and 304 to a request that asked for neither make as little sense as a login page.
        return not_a_registry(answer, expected, registry)
    return AnswerIsNo(f"expected {expected}, found status {answer.status} from {registry}{_quote(answer)}", where=answer.location)


def not_a_registry(answer: Answer, expected: str, registry: str) -> Unavailable:
    """Something answers, but not a registry: a login page, a proxy's error page."""
    found = answer.media_type or "no content type"
    return Unavailable(
        f"{registry} answered {found} (status {answer.status}), expected a registry: {expected}",
        hint=NOT_A_REGISTRY_HINT,
        where=answer.location,
    )


def refusal(answer: Answer, registry: str, has_credentials: bool) -> AccessDenied:
    """401 or 403, in the registry's name whoever answered for it."""
    who = "with the credentials found for it" if has_credentials else "anonymously (no credentials found for it)"
    other = f" at {host_of(answer.url)}" if host_of(answer.url) != registry else ""
    message = f"expected to be let in by {registry} {who}, found status {answer.status}{other}{_quote(answer)}"
    return AccessDenied(message, hint=CREDENTIALS_HINT.format(registry=registry), where=answer.location)


def _errors(answer: Answer) -> list[tuple[str, str]]:
    """``(code, message)`` of a registry's error document; empty where the body is none."""
    try:
        errors = json.loads(answer.body)["errors"]
        return [(str(error["code"]), str(error.get("message", ""))) for error in errors]
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return []


def _quote(answer: Answer) -> str:
    """The registry's own first error, in brackets, made harmless to print."""
    errors = _errors(answer)
    if not errors:
        return ""
    text = ": ".join(part for part in errors[0] if part)
    for secret in _secrets_of(answer):
        # A registry or a proxy may repeat what it was sent, and a token is known to nobody who redacts output.
        text = text.replace(secret, "***")
    return " (" + "".join(character if character.isprintable() else "?" for character in text[:_LONGEST_QUOTE]) + ")"


def _secrets_of(answer: Answer) -> list[str]:
    """What the request's ``Authorization`` held: the value, and for Basic the password as it is and as it stands in an address."""
    kind, _, value = answer.authorization.partition(" ")
    if kind.lower() != "basic":
        return [value] if value else []
    password = base64.b64decode(value).decode("utf-8", "replace").partition(":")[2]
    forms = [value, value.rstrip("="), password, quote(password, safe=""), quote_plus(password)]
    return sorted((form for form in forms if form), key=len, reverse=True)


def _retry_after(answer: Answer) -> float | None:
    """Seconds of ``Retry-After`` (RFC 9110 §10.2.3), a date measured against the answer's own ``Date``; None where it makes no sense."""
    text = answer.headers.get("Retry-After", "").strip()
    if text.isdecimal() and text.isascii() and len(text) < 10:
        return float(text)
    try:
        wait = parsedate_to_datetime(text) - parsedate_to_datetime(answer.headers.get("Date", ""))
    except (ValueError, TypeError):
        return None
    return max(0.0, wait.total_seconds())
