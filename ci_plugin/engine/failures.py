"""What the engine's error texts mean, in one table, because the engine and docker-py leave nothing but text.

A pull, push or build that fails is an event in a stream answered with 200; the exception classes of docker-py say little more (a registry's
429 and a refused connection are both "500"). Measured on engine 20.10.24 with distribution 2.8.2; tests/unit/engine/test_failures.py holds
real texts. What no rule knows is Unavailable for a transfer and the user's own failure for a build.
"""

from __future__ import annotations

import http.client
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from enum import Enum
from typing import Any

from ci_plugin.errors import AccessDenied, Gone, InputError, StagepinError, Unavailable


class Failure(Enum):
    """Whose failure a text describes."""

    OUTSIDE = "outside"
    DENIED = "denied"
    GONE = "gone"
    INPUT = "input"
    UNKNOWN = "unknown"


_TABLE: tuple[tuple[Failure, str], ...] = (
    # First what a retry may heal: some of these texts also contain words of the later rows ("server misbehaving ... not found").
    # 429 as a word: it is a part of ports, digests and repositories too.
    (Failure.OUTSIDE, r"toomanyrequests|too many requests|(?:^|\s)429(?![^\s:,.])"),
    (
        Failure.OUTSIDE,
        r"(http status|status code|response status)[^:]*: ?5\d\d|\b5\d\d (internal server error|bad gateway|service unavailable)",
    ),
    (Failure.OUTSIDE, r"connection (refused|reset)|broken pipe|no such host|server misbehaving|network is unreachable|no route to host"),
    (Failure.OUTSIDE, r"time-?out|timed out|deadline exceeded|TLS handshake|x509:|\bEOF\b|context cancell?ed|transport is closing"),
    (
        Failure.OUTSIDE,
        r"no space left on device|disk quota exceeded|read-only file system|libnetwork|containerd\.sock|client connection is closing",
    ),
    # An answer that is no manifest, or bytes that are not those of the digest: the registry lies or something between us does.
    (
        Failure.OUTSIDE,
        r"(manifest|image config|filesystem layer) verification failed|error (un|parsing |decoding )?marshall?ing|invalid checksum digest",
    ),
    (Failure.OUTSIDE, r"received unexpected HTTP status|unexpected status code"),
    (
        Failure.DENIED,
        r"unauthorized|authentication required|no basic auth credentials|access denied|denied:|\b40[13] (unauthorized|forbidden)",
    ),
    (
        Failure.DENIED,
        r"insufficient[_ ]scope|authorization failed|requested access to the resource is denied|incorrect username or password",
    ),
    (Failure.GONE, r"manifest unknown|name unknown|repository name not known|no such image|\bimage does not exist locally"),
    (Failure.GONE, r"manifest for \S+ not found|\S+@sha256:[0-9a-f]{64}: not found|blob unknown|unknown blob"),
    (
        Failure.INPUT,
        r"dockerfile parse error|unknown instruction|the --\w+ option requires BuildKit|no active sessions|invalid reference format",
    ),
    (Failure.INPUT, r"target stage \S+ could not be found|failed to reach build target|no build stage in current context"),
    (Failure.INPUT, r"no matching manifest for|does not match the specified platform|no match for platform"),
    (Failure.INPUT, r"archive/tar: |unrecognized image format"),
)
_RULES = tuple((failure, re.compile(pattern, re.IGNORECASE)) for failure, pattern in _TABLE)


def kind_of(text: str) -> Failure:
    """Whose failure this text of the engine describes; the first matching row decides."""
    return next((failure for failure, rule in _RULES if rule.search(text)), Failure.UNKNOWN)


def transfer_error(doing: str, text: str) -> StagepinError:
    """Our error for a failed pull, push or import; ``doing`` completes "expected the engine to ..."."""
    message = f"expected the engine to {doing}, found: {shorten(text)}"
    match kind_of(text):
        case Failure.DENIED:
            return AccessDenied(message, hint="give credentials for this registry in DOCKER_AUTH_CONFIG or with `docker login`")
        case Failure.GONE:
            return Gone(message, hint="it is not there any more; pin or build again")
        case Failure.INPUT:
            return InputError(message, hint="the engine cannot use this image; check its platform and format")
        case _:
            return Unavailable(message, hint="run again; if it stays, look at the registry and the engine's log")


def shorten(text: str) -> str:
    """One line of at most 500 characters, printable."""
    line = " ".join(text.split())
    return "".join(character if character.isprintable() else "?" for character in line)[:500]


def find_stream_error(event: Mapping[str, Any]) -> str | None:
    """The error an event of a stream carries, or None. Both spellings are looked at: engines send either or both."""
    detail = event.get("errorDetail")
    text = detail.get("message") if isinstance(detail, Mapping) else None
    return str(text or event["error"]) if text or event.get("error") else None


def checked(events: Iterable[Any], doing: str) -> Iterator[Mapping[str, Any]]:
    """The events of a transfer up to the first that carries an error; the rest is read, to free the connection, and the error raised."""
    failure: StagepinError | None = None
    for event in events:
        if failure:
            continue
        if not isinstance(event, Mapping):
            message = f"expected the engine to {doing}, found an answer that is no event: {shorten(str(event))}"
            failure = Unavailable(message, hint="run again")
        elif text := find_stream_error(event):
            failure = transfer_error(doing, text)
        else:
            yield event
    if failure:
        raise failure


def status_of(error: StagepinError) -> int | None:
    """The HTTP status an error of ours was made from by ``engine_errors``, or None."""
    return getattr(error.__cause__, "status_code", None)


@contextmanager
def engine_errors(doing: str) -> Iterator[None]:
    """Turns what docker-py, requests and urllib3 raise into our errors; a dead engine is Unavailable."""
    import docker.errors
    import requests
    import urllib3.exceptions

    try:
        yield
    except docker.errors.APIError as error:
        raise transfer_error(doing, str(error.explanation or error)) from error
    except (
        requests.RequestException,
        urllib3.exceptions.HTTPError,
        docker.errors.DockerException,
        docker.errors.StreamParseError,
        http.client.HTTPException,
        OSError,
    ) as error:
        message = f"expected the engine to {doing}, found no answer ({type(error).__name__})"
        raise Unavailable(message, hint="is the engine still running? run again") from error
