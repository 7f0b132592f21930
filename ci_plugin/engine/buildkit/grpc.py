"""A gRPC server on one connection that already exists: HTTP/2 by h2, one thread, no listening socket.

The engine is the client; it calls methods on the connection we opened to it. Rules
- One loop does all reading and writing, because a TLS connection must not be used by two threads at once.
- Nothing is made before it can be sent: a call is asked for its next message when the last one has left, so a context of any size
  takes a few hundred KiB here.
- No compression is offered, none is taken.

Source: grpc.github.io, "gRPC over HTTP2"; RFC 9113.
"""

from __future__ import annotations

import selectors
import socket
import ssl
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Protocol
from urllib.parse import quote

from ci_plugin.errors import StagepinError

if TYPE_CHECKING:
    from h2.connection import H2Connection
    from h2.events import Event

OK, UNKNOWN, INVALID_ARGUMENT, NOT_FOUND, RESOURCE_EXHAUSTED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE = 0, 2, 3, 5, 8, 12, 13, 14
"""The status codes used here (grpc.github.io, "Status codes")."""
_READ_SIZE = 1 << 16
_MOST_WAITING = 1 << 18
"""Bytes of frames that may wait for the socket."""
_LARGEST_MESSAGE = 1 << 22
_NOT_NOW = (BlockingIOError, InterruptedError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class CallFailed(Exception):
    """A call is answered with this status instead of a message."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class Call(Protocol):
    """One call while it goes on. Every method may raise CallFailed, and StagepinError for what the whole build should stop with."""

    @property
    def source(self) -> socket.socket | None:
        """What else to wait for: when it can be read, ``readable`` is called."""
        ...

    @property
    def is_finished(self) -> bool:
        """Whether no message will come any more."""
        ...

    def take(self, message: bytes) -> None:
        """The client's next message."""
        ...

    def end(self) -> None:
        """The client sends no more."""
        ...

    def readable(self) -> None:
        """``source`` has something."""
        ...

    def next_message(self) -> bytes | None:
        """What to send next; None where there is nothing now."""
        ...

    def close(self) -> None:
        """The call is over, however it ended."""
        ...


Metadata = Mapping[str, tuple[str, ...]]
Method = Callable[[Metadata], Call]
"""Begins a call; the metadata are its headers, by lower-case names."""


class Unary:
    """A call of one request and one answer."""

    source: socket.socket | None = None

    def __init__(self, answer: Callable[[bytes], bytes]) -> None:
        self._answer = answer
        self._message: bytes | None = None
        self.is_finished = False

    def take(self, message: bytes) -> None:
        """The request."""
        self._message = self._answer(message)

    def end(self) -> None:
        """Nothing to do."""

    def readable(self) -> None:
        """Nothing to read."""

    def next_message(self) -> bytes | None:
        """The answer, once."""
        message, self._message = self._message, None
        self.is_finished = self.is_finished or message is not None
        return message

    def close(self) -> None:
        """Nothing to close."""


def unary(answer: Callable[[bytes], bytes]) -> Method:
    """A method that answers one request."""
    return lambda _metadata: Unary(answer)


@dataclass(slots=True)
class _Stream:
    """One call and what of it is on its way in and out."""

    call: Call
    source: socket.socket | None
    inbound: bytearray = field(default_factory=bytearray)
    outbound: bytearray = field(default_factory=bytearray)


class GrpcServer:
    """Serves ``methods`` (``/package.Service/Method`` → begin a call) until the peer hangs up or ``close`` is called.

    ``received``: what came on the connection before it was handed over. The socket stays its owner's to close.
    ``error`` is the first error of ours a call ended with: an error for the caller, or an exception that is a fault of this code.
    ``refusals``: what was asked for that we have not, each once.
    """

    def __init__(self, connection: socket.socket, methods: Mapping[str, Method], received: bytes = b"") -> None:
        from h2.config import H2Configuration
        from h2.connection import H2Connection

        connection.setblocking(False)
        self._socket = connection
        self._methods = methods
        self._h2: H2Connection = H2Connection(H2Configuration(client_side=False, header_encoding=None))
        self._streams: dict[int, _Stream] = {}
        self._out = bytearray()
        self._received = received
        self._wake, self._woken = socket.socketpair()
        self._selector = selectors.DefaultSelector()
        self._is_closing = False
        self.error: BaseException | None = None
        self.refusals: dict[str, None] = {}

    def close(self) -> None:
        """End ``serve``; safe from any thread, and twice."""
        self._is_closing = True
        with suppress(OSError):
            self._wake.send(b"x")

    def serve(self) -> None:
        """Answer calls until the end. Raises nothing: what goes wrong stands in ``error``."""
        from h2.exceptions import H2Error

        try:
            self._selector.register(self._woken, selectors.EVENT_READ)
            self._selector.register(self._socket, selectors.EVENT_READ)
            self._h2.initiate_connection()
            self._feed(self._received)
            self._run()
        except (OSError, H2Error, EOFError):
            pass  # the engine is gone, or talks nonsense: its answer to the build says so better than we could
        except Exception as error:  # a fault of ours must not end in a thread's traceback and a build that waits
            self.error = self.error or error
        finally:
            self._tidy()

    def _run(self) -> None:
        while not self._is_closing:
            self._send_messages()
            self._flush()
            wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._out else 0)
            self._selector.modify(self._socket, wanted)
            for key, _ in self._selector.select():
                if key.fileobj is self._socket:
                    self._receive()
                elif isinstance(key.data, int) and key.data in self._streams:
                    self._guarded(key.data, self._streams[key.data].call.readable)

    def _tidy(self) -> None:
        from h2.exceptions import H2Error

        for number in list(self._streams):
            self._drop(number)
        with suppress(OSError, H2Error):
            self._h2.close_connection()
            self._flush()
        with suppress(OSError):  # else the engine would wait for answers, and whoever builds for the engine
            self._socket.shutdown(socket.SHUT_RDWR)
        self._selector.close()
        self._wake.close()
        self._woken.close()

    def _receive(self) -> None:
        # Until there is no more: what TLS has decrypted already is not seen by the selector.
        while True:
            try:
                data = self._socket.recv(_READ_SIZE)
            except _NOT_NOW:
                return
            if not data:
                raise EOFError
            self._feed(data)

    def _feed(self, data: bytes) -> None:
        for event in self._h2.receive_data(data) if data else ():
            self._take(event)

    def _take(self, event: Event) -> None:
        from h2 import events

        match event:
            case events.RequestReceived():
                self._begin(event.stream_id, event.headers)
            case events.DataReceived():
                self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                if stream := self._streams.get(event.stream_id):
                    stream.inbound += event.data
                    self._guarded(event.stream_id, partial(_deliver, stream))
            case events.StreamEnded():
                if stream := self._streams.get(event.stream_id):
                    self._guarded(event.stream_id, stream.call.end)
            case events.StreamReset():
                self._drop(event.stream_id)

    def _begin(self, number: int, headers: object) -> None:
        metadata = _metadata(headers)
        self._h2.send_headers(number, [(":status", "200"), ("content-type", "application/grpc")])
        path = (*metadata.get(":path", ()), "")[0]
        method = self._methods.get(path)

        def begin() -> None:
            if method is None:
                raise CallFailed(UNIMPLEMENTED, f"no method {path}")
            call = method(metadata)
            self._streams[number] = _Stream(call, call.source)
            if call.source is not None:
                self._selector.register(call.source, selectors.EVENT_READ, number)

        self._guarded(number, begin)

    def _guarded(self, number: int, work: Callable[[], object]) -> None:
        """Do a call's work; an error ends that call alone."""
        try:
            work()
        except CallFailed as error:
            if error.status == NOT_FOUND:
                self.refusals[error.message] = None
            self._finish(number, error.status, error.message)
        except StagepinError as error:
            self.error = self.error or error
            self._finish(number, UNKNOWN, error.message)
        except (OSError, ValueError) as error:
            self._finish(number, UNAVAILABLE, type(error).__name__)

    def _send_messages(self) -> None:
        for number in list(self._streams):
            stream = self._streams[number]
            self._guarded(number, partial(self._send_stream, number, stream))

    def _send_stream(self, number: int, stream: _Stream) -> None:
        while len(self._out) < _MOST_WAITING:
            self._fill(stream)
            if not stream.outbound:
                break
            room = min(self._h2.local_flow_control_window(number), self._h2.max_outbound_frame_size, len(stream.outbound))
            if room <= 0:
                return
            self._h2.send_data(number, bytes(stream.outbound[:room]))
            del stream.outbound[:room]
            self._out += self._h2.data_to_send()
        if not stream.outbound and stream.call.is_finished:
            self._finish(number, OK, "")

    def _fill(self, stream: _Stream) -> None:
        """Small messages travel together: a frame costs more than the message in it."""
        while len(stream.outbound) < self._h2.max_outbound_frame_size:
            message = stream.call.next_message()
            if message is None:
                return
            stream.outbound += b"\0" + len(message).to_bytes(4, "big") + message

    def _finish(self, number: int, status: int, message: str) -> None:
        from h2.exceptions import StreamClosedError

        self._drop(number)
        trailers = [("grpc-status", str(status))]
        if message:
            trailers.append(("grpc-message", quote(message[:1000], safe=" !\"#$&'()*+,-./:;<=>?@[\\]^_`{|}~")))
        with suppress(StreamClosedError):  # the client gave the call up in the same breath
            self._h2.send_headers(number, trailers, end_stream=True)

    def _drop(self, number: int) -> None:
        stream = self._streams.pop(number, None)
        if stream is None:
            return
        if stream.source is not None:
            self._selector.unregister(stream.source)
        with suppress(OSError):
            stream.call.close()

    def _flush(self) -> None:
        self._out += self._h2.data_to_send()
        while self._out:
            try:
                sent = self._socket.send(memoryview(self._out)[:_READ_SIZE].tobytes())
            except _NOT_NOW:
                return
            del self._out[:sent]


def _deliver(stream: _Stream) -> None:
    """Hand over every message that is whole: a byte for compression, four for the length, the bytes."""
    while len(stream.inbound) >= 5:
        size = int.from_bytes(stream.inbound[1:5], "big")
        if stream.inbound[0]:
            raise CallFailed(UNIMPLEMENTED, "no compression is offered here")
        if size > _LARGEST_MESSAGE:
            raise CallFailed(RESOURCE_EXHAUSTED, f"a message of {size} bytes")
        if len(stream.inbound) < 5 + size:
            return
        message = bytes(stream.inbound[5 : 5 + size])
        del stream.inbound[: 5 + size]
        stream.call.take(message)


def _metadata(headers: object) -> Metadata:
    found: dict[str, tuple[str, ...]] = {}
    for name, value in headers:  # type: ignore[attr-defined]
        key = bytes(name).decode("ascii", "replace").lower()
        found[key] = (*found.get(key, ()), bytes(value).decode("utf-8", "surrogateescape"))
    return found
