"""SSH agents for ``RUN --mount=type=ssh``: a build may list keys and have something signed, and nothing else.

Sources: moby/buildkit session/sshforward/ssh.proto (BytesMessage: data = 1; the agent's id stands in the metadata);
draft-miller-ssh-agent (messages 5 failure, 11 list, 13 sign). Rule: every other message (adding, removing, locking keys, extensions) is
answered with a failure and never reaches the agent, because a build that could remove its user's keys would be no build.
"""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import suppress

from ci_plugin.engine.buildkit.grpc import INVALID_ARGUMENT, NOT_FOUND, CallFailed, Metadata, Method, unary
from ci_plugin.engine.buildkit.protobuf import field, find_bytes
from ci_plugin.errors import InputError

_DEFAULT = "default"
_ID_HEADER = "buildkit.ssh.id"
_FAILURE = b"\0\0\0\1\5"
_ALLOWED = frozenset((11, 13))
_LONGEST_MESSAGE = 1 << 18
"""OpenSSH's own limit (AGENT_MAX_LEN)."""
_READ_SIZE = 1 << 15
_SEND_SECONDS = 10.0


def agent_forwarding(agents: Mapping[str, str]) -> dict[str, Method]:
    """The service that forwards to these agents: id → path of a unix socket."""

    def check(message: bytes) -> bytes:
        _find_agent(agents, find_bytes(message, 1).decode("utf-8", "replace"))
        return b""

    def forward(metadata: Metadata) -> _Forwarding:
        return _Forwarding(_find_agent(agents, (*metadata.get(_ID_HEADER, ()), "")[0]))

    prefix = "/moby.sshforward.v1.SSH/"
    return {f"{prefix}CheckAgent": unary(check), f"{prefix}ForwardAgent": forward}


def _find_agent(agents: Mapping[str, str], name: str) -> str:
    path = agents.get(name or _DEFAULT)
    if path is None:
        raise CallFailed(NOT_FOUND, f"no SSH agent {name or _DEFAULT!r} was given to this build")
    return path


class _Forwarding:
    """One connection of the build to an agent."""

    def __init__(self, path: str) -> None:
        self._requests = _Requests()
        self._answers: deque[bytes] = deque()
        self.is_finished = False
        self._agent = socket.socket(socket.AF_UNIX)
        try:
            # What goes to an agent is small; an answer may take as long as its user needs to touch a key.
            self._agent.settimeout(_SEND_SECONDS)
            self._agent.connect(path)
        except OSError as error:
            self._agent.close()
            message = f"expected an SSH agent at {path}, found {error.strerror or type(error).__name__}"
            raise InputError(
                message, hint="start one (eval $(ssh-agent); ssh-add KEY), or name its socket: --ssh default=SOCKET"
            ) from error

    @property
    def source(self) -> socket.socket:
        """The agent."""
        return self._agent

    def take(self, message: bytes) -> None:
        """Bytes of the build for the agent."""
        for request in self._requests.take(find_bytes(message, 1)):
            if request[4] in _ALLOWED:
                self._agent.sendall(request)
            else:
                self._answers.append(_FAILURE)

    def end(self) -> None:
        """The build is done with the agent."""
        with suppress(OSError):
            self._agent.shutdown(socket.SHUT_WR)

    def readable(self) -> None:
        """The agent's answer."""
        data = self._agent.recv(_READ_SIZE)
        if data:
            self._answers.append(data)
        else:
            self.is_finished = True

    def next_message(self) -> bytes | None:
        """The next piece of an answer."""
        return field(1, self._answers.popleft()) if self._answers else None

    def close(self) -> None:
        """Hang up."""
        self._agent.close()


class _Requests:
    """Cuts the build's bytes into the agent protocol's messages: four bytes of length, one of type, the rest."""

    def __init__(self) -> None:
        self._data = b""

    def take(self, data: bytes) -> Iterator[bytes]:
        """The messages that are whole now."""
        self._data += data
        while len(self._data) >= 5:
            size = 4 + int.from_bytes(self._data[:4], "big")
            if not 5 <= size <= _LONGEST_MESSAGE:
                raise CallFailed(INVALID_ARGUMENT, "no message of the SSH agent protocol")
            if len(self._data) < size:
                return
            message, self._data = self._data[:size], self._data[size:]
            yield message
