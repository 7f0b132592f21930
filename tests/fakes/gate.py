"""A relay in front of a server that can hold one request, so that a test decides at which one something dies.

::

    with Gate.tcp(registry.address) as gate:
        held = gate.hold(r"PUT /v2/.+/manifests/[0-9a-f]{64} ")
        ...                       # a job talks to gate.address
        held.wait(); job.kill(); held.drop()

Bytes are passed on unchanged. A request begins a piece of what the client sends: every client here waits for an answer before it asks again
on a connection.
"""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

_SECONDS = 60.0
"""Far above what any step takes: a test that waits in vain fails."""


@dataclass
class Held:
    """One request that is to be held: the first one whose beginning matches."""

    pattern: re.Pattern[bytes]
    _came: threading.Event = field(default_factory=threading.Event)
    _free: threading.Event = field(default_factory=threading.Event)
    _is_dropped: bool = False

    def wait(self) -> None:
        """Return when it has come."""
        assert self._came.wait(_SECONDS), f"no request matched {self.pattern.pattern!r}"

    def release(self) -> None:
        """Pass it on."""
        self._free.set()

    def drop(self) -> None:
        """It never arrives, unless it was passed on: its connection ends."""
        self._is_dropped = not self._free.is_set() or self._is_dropped
        self._free.set()

    def passes(self) -> bool:
        """Hold the caller until it is known whether the request arrives."""
        self._came.set()
        return self._free.wait(_SECONDS) and not self._is_dropped


class Gate:
    """Listens at ``address`` until it is closed; ``target`` may be another server by the time of the next connection."""

    def __init__(self, listener: socket.socket, address: str, target: Callable[[], socket.socket]) -> None:
        self._listener, self.address = listener, address
        self._target = target
        self._held: Held | None = None
        self._lock = threading.Lock()
        threading.Thread(target=self._accept, daemon=True).start()

    @classmethod
    @contextmanager
    def tcp(cls, address: str) -> Iterator[Gate]:
        """In front of ``127.0.0.1:PORT``."""
        host, _, port = address.rpartition(":")
        listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        gate = cls(listener, f"127.0.0.1:{listener.getsockname()[1]}", lambda: socket.create_connection((host, int(port))))
        try:
            yield gate
        finally:
            gate.close()

    @classmethod
    @contextmanager
    def unix(cls, path: Path, target: Callable[[], str]) -> Iterator[Gate]:
        """At the socket ``path``, in front of the engine at ``target()``, which is a ``unix://…``."""
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(path))
        listener.listen(128)

        def connect() -> socket.socket:
            connection = socket.socket(socket.AF_UNIX)
            try:
                connection.connect(target().removeprefix("unix://"))
            except OSError:
                connection.close()
                raise
            return connection

        gate = cls(listener, f"unix://{path}", connect)
        try:
            yield gate
        finally:
            gate.close()

    def hold(self, pattern: str) -> Held:
        """Hold the next request whose beginning (method, path) matches; one at a time."""
        held = Held(re.compile(pattern.encode()))
        with self._lock:
            self._held = held
        return held

    def close(self) -> None:
        """Take no more connections."""
        # Without it the thread that accepts would go on waiting, and the socket stay open.
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client:
            try:
                server = self._target()
            except OSError:
                return
            with server:
                back = threading.Thread(target=self._pass_back, args=(server, client), daemon=True)
                back.start()
                if self._pass_on(client, server):
                    back.join()
                    return
                # Whoever reads is woken, else the sockets would stay open under it.
                for end in (server, client):
                    with suppress(OSError):
                        end.shutdown(socket.SHUT_RDWR)
                back.join()

    def _pass_on(self, client: socket.socket, server: socket.socket) -> bool:
        """Until the client ends; False where a request of it was dropped or the server is gone."""
        try:
            while piece := client.recv(65536):
                held = self._take(piece)
                if held and not held.passes():
                    return False
                server.sendall(piece)
            server.shutdown(socket.SHUT_WR)
        except OSError:
            return False
        return True

    def _take(self, piece: bytes) -> Held | None:
        with self._lock:
            held = self._held
            if held is None or not held.pattern.match(piece):
                return None
            self._held = None
            return held

    @staticmethod
    def _pass_back(server: socket.socket, client: socket.socket) -> None:
        with suppress(OSError):
            while piece := server.recv(65536):
                client.sendall(piece)
        with suppress(OSError):
            client.shutdown(socket.SHUT_WR)
