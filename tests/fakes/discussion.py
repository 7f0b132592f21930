"""A merge request's comments in memory."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class MemoryDiscussion:
    """Implements ``ports.Discussion``; ``comments`` holds every body in the order it was first written, others' included."""

    comments: list[str] = field(default_factory=list)
    others: int = 0

    def say(self, body: str) -> None:
        """Somebody else writes a comment."""
        self.comments.insert(self.others, body)
        self.others += 1

    def find_comment(self, marker: str) -> str | None:
        return next((f"#note_{index}" for index, body in enumerate(self.comments) if index >= self.others and marker in body), None)

    def put_comment(self, marker: str, body: str) -> str:
        address = self.find_comment(marker)
        if address is None:
            self.comments.append(body)
            return f"#note_{len(self.comments) - 1}"
        self.comments[int(address.removeprefix("#note_"))] = body
        return address
