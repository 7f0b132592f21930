"""What may go wrong between a client and the fake GitLab, one fault for the next matching requests."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote

from tests.fakes.github_http import Answer, Request

_PAGE = b"<!DOCTYPE html><html><body><h1>502</h1>Whoops, GitLab is taking too much time to respond.</body></html>"


@dataclass(slots=True)
class Fault:
    """What happens to the next ``times`` requests of this ``method`` with ``path`` in their target, after ``skip`` that pass.

    One of: ``status`` (with ``headers``, ``body``) instead of the answer, and nothing is carried out unless it ``commits``; ``drop``: the
    connection ends before anything is carried out; ``lose_reply``: it is carried out and the connection ends without a reply;
    ``change``: the right answer's body, mapped; ``cut``: half of the right answer's body. ``headers`` alone are set on the right answer
    (None removes one). ``times=None`` is for ever.
    """

    method: str | None = None
    path: str = ""
    status: int | None = None
    headers: Mapping[str, str | None] = field(default_factory=dict)
    body: bytes | None = None
    commits: bool = False
    drop: bool = False
    lose_reply: bool = False
    change: Callable[[bytes], bytes] | None = None
    cut: bool = False
    times: int | None = 1
    skip: int = 0

    def takes(self, request: Request) -> bool:
        """Whether this fault meets this request; it is used up by it."""
        if self.times == 0 or self.method not in (None, request.method) or self.path not in unquote(request.target):
            return False
        if self.skip:
            self.skip -= 1
            return False
        if self.times is not None:
            self.times -= 1
        return True

    def replacement(self) -> Answer | None:
        """The answer that stands for the right one, if any: what the proxy in front of GitLab says where nothing else is given."""
        if self.status is None:
            return None
        headers = {name: value for name, value in self.headers.items() if value is not None}
        return Answer(self.status, {"Content-Type": "text/html; charset=utf-8", **headers}, _PAGE if self.body is None else self.body)

    def distort(self, answer: Answer) -> None:
        """Change a right answer as this fault says."""
        for name, value in self.headers.items():
            answer.headers.pop(name, None)
            if value is not None:
                answer.headers[name] = value
        if self.change:
            answer.body = self.change(answer.body)
