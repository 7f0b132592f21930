"""A git server on loopback: real repositories behind ``git http-backend``, with logins, faults, redirects, and old servers' manners."""

from __future__ import annotations

import base64
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

from tests.fakes.git_repository import ENVIRONMENT


@dataclass
class GitServer:
    """Serves every repository below ``root``; what is set may be changed between requests."""

    root: Path
    users: dict[str, str] = field(default_factory=dict)
    """Name → password; empty: everybody may read."""
    faults: list[int] = field(default_factory=list)
    """Statuses the next requests get instead of an answer."""
    redirect: str = ""
    """Another server, to which every request is sent."""
    is_old: bool = False
    """Speaks protocol version 0 alone, which gives no commit by its id."""
    is_dumb: bool = False
    """Serves plain files, as any web server does after ``git update-server-info``."""
    requests: list[tuple[str, str, str]] = field(default_factory=list)
    """Method, path with query, and Authorization of each request."""
    port: int = 0

    def address(self, path: str, login: str = "") -> str:
        return f"http://{f'{login}@' if login else ''}127.0.0.1:{self.port}/{path}"

    @property
    def listed(self) -> int:
        """How often somebody asked what there is."""
        return sum("info/refs" in path and "Basic" in login if self.users else "info/refs" in path for _, path, login in self.requests)


@contextmanager
def git_server(root: Path) -> Iterator[GitServer]:
    """A server that runs while the block does."""
    state = GitServer(root)

    class Handler(_Handler):
        server_state = state

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    server_state: GitServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        state = self.server_state
        body = self._body()
        state.requests.append((self.command, self.path, self.headers.get("Authorization", "")))
        if state.faults:
            self._answer(state.faults.pop(0), {}, b"")
        elif state.redirect:
            self._answer(302, {"Location": state.redirect + self.path}, b"")
        elif state.users and not self._is_known():
            self._answer(401, {"WWW-Authenticate": 'Basic realm="git"'}, b"")
        elif state.is_dumb:
            self._file()
        else:
            self._backend(body)

    def do_POST(self) -> None:
        self.do_GET()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        pass

    def _is_known(self) -> bool:
        kind, _, given = self.headers.get("Authorization", "").partition(" ")
        user, _, password = base64.b64decode(given).decode().partition(":")
        return kind == "Basic" and self.server_state.users.get(user) == password

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", "0")))
        pieces = []
        while size := int(self.rfile.readline(), 16):
            pieces.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(pieces)

    def _file(self) -> None:
        place = self.server_state.root / urlsplit(self.path).path.lstrip("/")
        if place.is_file():
            self._answer(200, {"Content-Type": "text/plain"}, place.read_bytes())
        else:
            self._answer(404, {}, b"")

    def _backend(self, body: bytes) -> None:
        state, parts = self.server_state, urlsplit(self.path)
        environment = ENVIRONMENT | {
            "GIT_PROJECT_ROOT": str(state.root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "PATH_INFO": parts.path,
            "QUERY_STRING": parts.query,
            "REQUEST_METHOD": self.command,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "GIT_PROTOCOL": "" if state.is_old else self.headers.get("Git-Protocol", ""),
        }
        answer = subprocess.run(["git", "http-backend"], input=body, env=environment, capture_output=True, check=False).stdout
        head, _, content = answer.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
        status = int(headers.pop("Status", "200").split(" ")[0])
        self._answer(status, headers, content)

    def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
