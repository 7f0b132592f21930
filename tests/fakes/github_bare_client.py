"""Bare HTTP to the fake GitHub, for what a client library would hide."""

from __future__ import annotations

import json
from types import TracebackType
from typing import Any, Self

import urllib3

from tests.fakes.github import FakeGitHub


class BareClient:
    """Requests with a token or without one: no retries, no redirects. Use it as a context manager."""

    def __init__(self, fake: FakeGitHub, token: str | None = None) -> None:
        self._url, self._pool = fake.url, urllib3.PoolManager(retries=False)
        self.headers = {"Authorization": f"Bearer {token}"} if token else {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._pool.clear()

    def ask(self, method: str, path: str, body: object = None) -> tuple[int, Any, dict[str, str]]:
        """Status, document (bytes where there is none) and headers; ``path`` may be a whole address."""
        address = path if path.startswith("http") else f"{self._url}{path}"
        headers = {**self.headers, **({} if body is None else {"Content-Type": "application/json"})}
        sent = None if body is None else json.dumps(body).encode()
        answer = self._pool.request(method, address, headers=headers, body=sent, redirect=False, timeout=5.0)
        is_json = "json" in answer.headers.get("Content-Type", "")
        return answer.status, json.loads(answer.data) if is_json else answer.data, dict(answer.headers)

    def send(self, method: str, url: str, data: bytes) -> int:
        """Bytes to an address; the status."""
        return self._pool.request(method, url, headers=self.headers, body=data, redirect=False, timeout=5.0).status


def ask_once(fake: FakeGitHub, token: str | None, method: str, path: str, body: object = None) -> tuple[int, Any, dict[str, str]]:
    """One request on a connection of its own."""
    with BareClient(fake, token) as client:
        return client.ask(method, path, body)
