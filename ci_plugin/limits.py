"""What one request may cost: seconds and bytes, counted where the bytes come in, so that no answer is endless in any of its parts.

urllib3 bounds the wait for each piece alone: a server that sends a byte now and then, be it of a header or of a chunk's size, would hold
a job for days. Every read of a socket passes here, headers, interim answers and framing included.
"""

from __future__ import annotations

import io
import socket
import time
from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from http.client import HTTPResponse
from typing import Any

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from ci_plugin.errors import Location, Unavailable


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds, but for ``head``: the bytes status lines and headers may have, interim answers included.

    ``total`` and ``transfer`` are looked at when bytes arrive, so that an answer ends at most ``idle`` seconds after them.
    """

    connect: float = 10.0
    idle: float = 15.0
    """Without any byte."""
    total: float = 60.0
    """For a whole answer."""
    transfer: float = 600.0
    """For one whose body is handed over chunk by chunk."""
    taking: float = 120.0
    """Without any byte after a body that was sent in pieces: some registries copy what they took before they answer."""
    head: int = 256 * 1024


LIMITS = Limits()


class Allowance:
    """What is left for one answer from ``host`` to the request for ``url``. Raises Unavailable where it is used up."""

    def __init__(self, host: str, url: str, seconds: float, head: int) -> None:
        self._host = host
        self._where = Location(url.partition("?")[0])
        self._head: int | None = head
        self._received = 0
        self._seconds = seconds
        self._end = float("inf")

    def begin(self) -> None:
        """The request is sent: the answer's seconds run."""
        self.extend(self._seconds)

    def extend(self, seconds: float) -> None:
        """As many seconds from now on."""
        self._seconds = seconds
        self._end = time.monotonic() + seconds

    def end_head(self, lengths: Sequence[str]) -> None:
        """The headers are read; whoever reads the body counts it. Two lengths are two meanings (RFC 9112 §6.3)."""
        self._head = None
        if len(set(lengths)) > 1:
            raise Unavailable(f"expected one Content-Length from {self._host}, found {len(lengths)}", where=self._where)

    def check(self, received: int = 0) -> None:
        """So many bytes more came in."""
        self._received += received
        if self._head is not None and self._received > self._head:
            raise Unavailable(f"expected at most {self._head} bytes of headers from {self._host}, found more", where=self._where)
        if time.monotonic() > self._end:
            message = f"expected the whole answer from {self._host} within {self._seconds:g} s, found {self._received} bytes of it"
            raise Unavailable(message, hint=f"is {self._host} overloaded, or the way to it?", where=self._where)


ALLOWANCE: ContextVar[Allowance] = ContextVar("allowance of the request this thread is in")


class _CountedBytes(io.RawIOBase):
    def __init__(self, raw: io.RawIOBase, allowance: Allowance) -> None:
        self._raw = raw
        self._allowance = allowance

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:  # noqa: ANN401 - typing has no name for buffers before Python 3.12
        count = self._raw.readinto(buffer)
        self._allowance.check(count or 0)
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()


class _CountedResponse(HTTPResponse):
    def __init__(self, sock: socket.socket, debuglevel: int = 0, method: str | None = None, url: str | None = None) -> None:
        super().__init__(sock, debuglevel, method, url)
        self._allowance = ALLOWANCE.get()
        self._allowance.begin()
        self.fp = io.BufferedReader(_CountedBytes(self.fp.detach(), self._allowance))

    def begin(self) -> None:
        super().begin()
        self._allowance.end_head(self.headers.get_all("Content-Length", []))


class _CountedConnection(HTTPConnection):
    response_class = _CountedResponse


class _CountedTlsConnection(HTTPSConnection):
    response_class = _CountedResponse


class _CountedPool(HTTPConnectionPool):
    ConnectionCls = _CountedConnection


class _CountedTlsPool(HTTPSConnectionPool):
    ConnectionCls = _CountedTlsConnection


POOLS: dict[str, type[HTTPConnectionPool]] = {"http": _CountedPool, "https": _CountedTlsPool}
"""For ``PoolManager.pool_classes_by_scheme``; requests need ``ALLOWANCE`` set."""
