"""A registry that answers whatever a test wants, byte by byte: what no well-behaved HTTP server can be made to send.

::

    with LyingRegistry(say("GET", "/manifests/", reply(200, MANIFEST, b"..."))) as registry:
        ...
    assert registry.sent < 1_000_000

A ``Lie`` takes a request and gives the raw bytes of the whole answer, piece by piece, or None where it has nothing to say: then the next
one is asked, and at last the truth (an image at ``app:latest``). Every connection serves one request, so that no answer is taken for part
of another.
"""

from __future__ import annotations

import json
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Self

from ci_plugin.values.digest import Digest
from ci_plugin.values.manifest import DOCKER_MANIFEST
from tests.fakes.registry import ImageBytes, Request, make_image

Lie = Callable[[Request], Iterable[bytes] | None]
TRUTH = make_image(labels={"is": "true"})
JSON = {"Content-Type": "application/json"}


def reply(status: int, headers: Mapping[str, str | Sequence[str]] | None = None, body: bytes = b"", *, length: bool = True) -> list[bytes]:
    """A whole answer; a header with several values stands once for each. ``length`` adds the ``Content-Length`` where there is none."""
    given = {"Docker-Distribution-Api-Version": "registry/2.0", **(headers or {})}
    if length and not {"content-length", "transfer-encoding"} & {name.lower() for name in given}:
        given["Content-Length"] = str(len(body))
    lines = [f"HTTP/1.1 {status} Answer", "Connection: close"]
    for name, values in given.items():
        lines += [f"{name}: {value}" for value in ([values] if isinstance(values, str) else values)]
    return [("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"), body]


def error_reply(status: int, code: str, headers: Mapping[str, str] | None = None, message: str = "") -> list[bytes]:
    """An answer with a registry's error document."""
    return reply(status, {**JSON, **(headers or {})}, json.dumps({"errors": [{"code": code, "message": message}]}).encode())


def manifest_reply(data: bytes, media_type: str = DOCKER_MANIFEST, headers: Mapping[str, str | Sequence[str]] | None = None) -> list[bytes]:
    """These bytes as a manifest, under their right digest unless ``headers`` say otherwise."""
    return reply(200, {"Content-Type": media_type, "Docker-Content-Digest": str(Digest.of(data)), **(headers or {})}, data)


def say(method: str, path: str, answer: Iterable[bytes]) -> Lie:
    """The same bytes to every request with this method (empty: any) whose path has this text."""
    return lambda request: answer if method in ("", request.method) and path in request.path else None


def endless(head: Sequence[bytes], piece: bytes) -> Iterator[bytes]:
    """``head``, then ``piece`` for ever."""
    yield from head
    while True:
        yield piece


def drip(head: bytes, piece: bytes) -> Iterator[bytes]:
    """``head``, then ``piece`` twenty times a second, for ever."""
    yield head
    while not threading.Event().wait(0.05):
        yield piece


def truth(request: Request, image: ImageBytes = TRUTH) -> list[bytes]:
    """What an honest registry says of ``app:latest``."""
    name = request.path.partition("?")[0].rpartition("/")[2]
    if "/manifests/" in request.path and name in ("latest", str(image.digest)):
        return manifest_reply(image.manifest, image.media_type)
    for blob in image.blobs:
        if name == str(Digest.of(blob)):
            return reply(200, {"Content-Type": "application/octet-stream"}, blob)
    return error_reply(404, "MANIFEST_UNKNOWN")


class Reset(OSError):
    """Raised by a lie between two pieces: the connection is reset there and then (RST), as a dying load balancer does."""


def reset_after(data: bytes) -> Iterator[bytes]:
    """These bytes, then a reset."""
    yield data
    raise Reset


class LyingRegistry:
    """A running liar on loopback; ``address`` is ``127.0.0.1:PORT``. ``sent`` counts the bytes it got rid of."""

    def __init__(self, *lies: Lie, tls: ssl.SSLContext | None = None) -> None:
        self.lies = list(lies)
        self.requests: list[Request] = []
        self.received = bytearray()
        """Every byte of every request that could be read as one."""
        self.sent = 0
        self._tls = tls
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._closing.set()
        # A listener that is only closed would let its thread wait for ever.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    @property
    def seen(self) -> list[str]:
        """``METHOD path`` of every request."""
        return [str(request) for request in self.requests]

    def _accept(self) -> None:
        while not self._closing.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.settimeout(30)
        try:
            with self._tls.wrap_socket(connection, server_side=True) if self._tls else connection as stream:
                self._answer(stream)
        except Reset:
            pass  # closed, and reset, by its linger option
        except (OSError, ValueError):
            # The client went away, or spoke something else: what some tests are about.
            connection.close()

    def _answer(self, stream: socket.socket) -> None:
        with stream.makefile("rb") as reader:
            first = reader.read(1)
            if not first.isalpha():
                # The first byte of a TLS handshake: waiting for a line of HTTP would be waiting for ever.
                return
            method, path, _ = (first + reader.readline()).decode("latin-1").split(" ", 2)
            headers = {}
            while line := reader.readline().decode("latin-1").strip():
                name, _, value = line.partition(":")
                headers[name.lower()] = value.strip()
            body = reader.read(int(headers.get("content-length", 0)))
            request = Request(method, path, headers)
            with self._lock:
                self.requests.append(request)
                self.received += f"{method} {path}\n{headers}\n".encode() + body + b"\n"
            answers = (lie(request) for lie in (*self.lies, truth))
            for piece in next(answer for answer in answers if answer is not None):
                if self._closing.is_set():
                    return
                stream.sendall(piece)
                self.sent += len(piece)
                # Closing before the orderly end below is a reset.
                stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 0, 0))
            stream.shutdown(socket.SHUT_WR)
            # Until the client has read it all: closing earlier may take from it what is still on its way.
            stream.recv(1)
