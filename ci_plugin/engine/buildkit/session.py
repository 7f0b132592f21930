"""A BuildKit session: the connection over which the engine asks us for files, credentials, secrets and agents while it builds.

Sources: moby/buildkit session/manager.go (the ``X-Docker-Expose-Session-…`` headers), Docker Engine API, ``POST /session``.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from ci_plugin.engine.buildkit.grpc import GrpcServer, Method
from ci_plugin.engine.connection import EngineConnection

_HEADER = "X-Docker-Expose-Session-"
_END_SECONDS = 10.0


class BuildSession:
    """A session that is being served; ``id`` is what the build names it by."""

    def __init__(self, name: str, server: GrpcServer) -> None:
        self.id = name
        self._server = server

    @property
    def error(self) -> BaseException | None:
        """The first error of ours that a question of the engine ended with: why the build failed, if it did."""
        return self._server.error

    @property
    def refusals(self) -> tuple[str, ...]:
        """What the engine asked for and nobody gave to this build, a sentence each; some of it may be optional."""
        return tuple(self._server.refusals)


@contextmanager
def build_session(connection: EngineConnection, methods: Mapping[str, Method], shared_key: str) -> Iterator[BuildSession]:
    """Serve these methods (``/package.Service/Method``) to the engine until the block ends; a build of this session ends with it.

    The engine keeps the files of sessions with one ``shared_key`` and asks only for those that changed by size, mode or time. Ours have one
    time, so the key must be another one wherever any file of any directory is.
    """
    name = secrets.token_hex(16)
    headers = [(f"{_HEADER}Uuid", name), (f"{_HEADER}Name", "stagepin"), (f"{_HEADER}Sharedkey", shared_key)]
    headers += [(f"{_HEADER}Grpc-Method", method) for method in methods]
    with connection.upgraded("/session", "h2c", headers) as (opened, received):
        server = GrpcServer(opened, methods, received)
        thread = threading.Thread(target=server.serve, name=f"buildkit-session-{name[:8]}", daemon=True)
        thread.start()
        try:
            yield BuildSession(name, server)
        finally:
            server.close()
            thread.join(_END_SECONDS)
