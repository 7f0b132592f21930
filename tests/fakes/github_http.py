"""The wire of the fake GitHub: requests as they came, answers, faults injected into them, and the threaded servers on loopback."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal
from urllib.parse import parse_qs, unquote, urlsplit

DOCS = "https://docs.github.com/rest"


@dataclass(frozen=True)
class Request:
    """One request as the server saw it; header names are lower case. ``str()`` gives ``METHOD /path?query``."""

    method: str
    target: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(default=b"", repr=False)

    def __str__(self) -> str:
        return f"{self.method} {self.target}"

    @cached_property
    def path(self) -> str:
        """Without query, percent-decoded."""
        return unquote(urlsplit(self.target).path)

    @cached_property
    def query(self) -> Mapping[str, str]:
        """The first value of each parameter."""
        return {name: values[0] for name, values in parse_qs(urlsplit(self.target).query, keep_blank_values=True).items()}

    @property
    def authorization(self) -> str:
        """What the client said about itself, or empty."""
        return self.headers.get("authorization", "")

    @property
    def json(self) -> Any:
        """The body as a document; None where there is none. Raises ValueError."""
        return json.loads(self.body) if self.body else None


@dataclass(slots=True)
class Answer:
    """What goes back."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request with its answer, for ``tests/fakes/github_openapi.py``; ``is_faulty`` where a fault replaced or changed the answer."""

    request: Request
    answer: Answer
    is_faulty: bool = False


@dataclass(slots=True)
class Fault:
    """What happens to the next ``times`` requests to ``host`` of this ``method`` with ``path`` in their target, after ``skip`` that pass.

    One of: ``status`` (with ``headers``, and ``message`` of an error document or a whole ``body``) instead of the answer, nothing is
    carried out; ``drop``: the connection ends before
    anything is carried out; ``lose_reply``: it is carried out and the connection ends without a reply; ``redirect``: a 302 (or
    ``status``) to that address; ``change``: the right answer's body, mapped; ``cut``: half of the right answer's body.
    ``headers`` alone are set on the right answer (None removes one). ``times=None`` is for ever.
    """

    method: str | None = None
    path: str = ""
    host: Literal["api", "blob"] = "api"
    status: int | None = None
    headers: Mapping[str, str | None] = field(default_factory=dict)
    message: str = ""
    body: bytes | None = None
    drop: bool = False
    lose_reply: bool = False
    redirect: str | None = None
    change: Callable[[bytes], bytes] | None = None
    cut: bool = False
    times: int | None = 1
    skip: int = 0

    def takes(self, request: Request, host: str) -> bool:
        """Whether this fault meets this request to this host; it is used up by it."""
        if self.times == 0 or self.host != host or self.method not in (None, request.method) or self.path not in unquote(request.target):
            return False
        if self.skip:
            self.skip -= 1
            return False
        if self.times is not None:
            self.times -= 1
        return True

    def replacement(self) -> Answer | None:
        """The answer that stands for the right one, if any."""
        headers = {name: value for name, value in self.headers.items() if value is not None}
        if self.redirect:
            return Answer(self.status or 302, {"Location": self.redirect, **headers})
        if self.status is None:
            return None
        answer = self._failure(self.status)
        answer.headers |= headers
        return answer

    def _failure(self, status: int) -> Answer:
        """Without a message, from 500 on: what GitHub's edge says when there is nobody behind it, a page and no document."""
        if self.body is not None:
            return Answer(status, {"Content-Type": "text/plain"}, self.body)
        if self.message or status < 500:
            return error_answer(status, self.message or "injected")
        return Answer(status, {"Content-Type": "text/html; charset=utf-8"}, b"<html><body>GitHub is having a moment.</body></html>")

    def distort(self, answer: Answer) -> None:
        """Change a right answer as this fault says."""
        for name, value in self.headers.items():
            answer.headers.pop(name, None)
            if value is not None:
                answer.headers[name] = value
        if self.change:
            answer.body = self.change(answer.body)


@dataclass(slots=True)
class Reply:
    """An answer and how it is sent: ``is_lost`` sends nothing and hangs up, ``is_cut`` half of the body."""

    answer: Answer
    is_lost: bool = False
    is_cut: bool = False


def json_answer(status: int, document: object, headers: Mapping[str, str] | None = None) -> Answer:
    """A document, as the REST API sends it."""
    return Answer(status, {"Content-Type": "application/json; charset=utf-8", **(headers or {})}, json.dumps(document).encode())


def error_answer(status: int, message: str, headers: Mapping[str, str] | None = None, errors: object = None, docs: str = DOCS) -> Answer:
    """GitHub's error document."""
    document: dict[str, object] = {"message": message} | ({} if errors is None else {"errors": errors})
    return json_answer(status, document | {"documentation_url": docs, "status": str(status)}, headers)


class LoopbackServer:
    """A threaded HTTP server on 127.0.0.1 that asks ``respond`` for every reply."""

    def __init__(self, respond: Callable[[Request], Reply]) -> None:
        self._server = _Server(("127.0.0.1", 0), _handler_for(respond))
        self.port = self._server.server_port

    def start(self) -> None:
        """Serve from now on."""
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is what some tests are about."""


def _handler_for(respond: Callable[[Request], Reply]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = 65536
        disable_nagle_algorithm = True

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
            pass

        def read_body(self) -> bytes:
            if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length") or 0))
            parts = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)

        def respond(self) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            reply = respond(Request(self.command, self.path, headers, self.read_body()))
            if reply.is_lost:
                self.close_connection = True
                return
            answer = reply.answer
            self.send_response_only(answer.status)
            if not any(name.lower() == "date" for name in answer.headers):
                self.send_header("Date", self.date_time_string())
            for name, value in answer.headers.items():
                self.send_header(name, value)
            if "Content-Length" not in answer.headers and answer.status != 204:
                self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            self.close_connection = self.close_connection or reply.is_cut
            if self.command != "HEAD":
                self.wfile.write(answer.body[: len(answer.body) // 2] if reply.is_cut else answer.body)

        do_GET = do_HEAD = do_PUT = do_POST = do_PATCH = do_DELETE = respond  # noqa: N815 - http.server finds them by these names

    return Handler
