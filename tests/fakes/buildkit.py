"""The engine's side of a session: a gRPC client that calls one method at a time over a socket pair, in the caller's thread."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import unquote

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, ResponseReceived, StreamEnded, TrailersReceived

from ci_plugin.engine.buildkit.grpc import GrpcServer, Method

_SECONDS = 20.0


def framed(message: bytes, compressed: int = 0) -> bytes:
    """A message as it stands in a stream."""
    return bytes([compressed]) + len(message).to_bytes(4, "big") + message


@dataclass
class Call:
    """What came back of one call so far."""

    client: FakeBuildkit
    stream: int
    data: bytearray = field(default_factory=bytearray)
    trailers: dict[str, str] = field(default_factory=dict)
    is_over: bool = False

    def send(self, message: bytes, end: bool = False) -> Call:
        """One message more."""
        return self.send_bytes(framed(message), end)

    def send_bytes(self, data: bytes, end: bool = False) -> Call:
        """Bytes as they are."""
        self.client.connection.send_data(self.stream, data, end_stream=end)
        self.client.flush()
        return self

    def end(self) -> Call:
        """No more messages come."""
        self.client.connection.end_stream(self.stream)
        self.client.flush()
        return self

    def messages(self) -> list[bytes]:
        """The messages that are whole so far."""
        found, data = [], bytes(self.data)
        while len(data) >= 5 and len(data) >= 5 + int.from_bytes(data[1:5], "big"):
            size = 5 + int.from_bytes(data[1:5], "big")
            found.append(data[5:size])
            data = data[size:]
        return found

    def wait(self, count: int) -> list[bytes]:
        """At least so many messages."""
        while len(self.messages()) < count:
            self.client.receive()
        return self.messages()

    def finish(self) -> tuple[int, str]:
        """The status the call ended with, and its message."""
        while not self.is_over:
            self.client.receive()
        return int(self.trailers["grpc-status"]), unquote(self.trailers.get("grpc-message", ""))


class FakeBuildkit:
    """The calling side of one connection."""

    def __init__(self, opened: socket.socket) -> None:
        opened.settimeout(_SECONDS)
        self.socket = opened
        self.connection = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
        self.connection.initiate_connection()
        self.flush()
        self._calls: dict[int, Call] = {}

    def flush(self) -> None:
        """Send what waits."""
        self.socket.sendall(self.connection.data_to_send())

    def call(self, path: str, metadata: Mapping[str, str] | None = None) -> Call:
        """Begin a call."""
        stream = self.connection.get_next_available_stream_id()
        headers = [(":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "localhost")]
        headers += [("content-type", "application/grpc"), ("te", "trailers"), *(metadata or {}).items()]
        self.connection.send_headers(stream, headers)
        self.flush()
        self._calls[stream] = Call(self, stream)
        return self._calls[stream]

    def ask(self, path: str, message: bytes = b"") -> tuple[int, bytes, str]:
        """A call of one request: status, answer, status message."""
        call = self.call(path).send(message, end=True)
        status, text = call.finish()
        return status, (*call.messages(), b"")[0], text

    def receive(self) -> None:
        """Wait for what comes next. Raises EOFError where the other side hung up."""
        data = self.socket.recv(65536)
        if not data:
            raise EOFError
        for event in self.connection.receive_data(data):
            match event:
                case DataReceived():
                    self._calls[event.stream_id].data += event.data
                    self.connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                case TrailersReceived() | ResponseReceived():
                    self._calls[event.stream_id].trailers |= {str(name): str(value) for name, value in event.headers}
                case StreamEnded():
                    self._calls[event.stream_id].is_over = True
        self.flush()


@dataclass
class Served:
    """A server that runs in a thread, and who calls it."""

    server: GrpcServer
    client: FakeBuildkit
    thread: threading.Thread


@contextmanager
def serving(methods: Mapping[str, Method]) -> Iterator[Served]:
    """These methods over a socket pair until the block ends; then nothing of them runs any more."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        server = GrpcServer(ours, methods)
        thread = threading.Thread(target=server.serve)
        thread.start()
        try:
            yield Served(server, FakeBuildkit(theirs), thread)
        finally:
            server.close()
            thread.join(_SECONDS)
            assert not thread.is_alive()
