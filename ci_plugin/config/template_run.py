"""One rendering in progress: the templates it knows, the budget, where it is, and what it printed."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from ci_plugin.config.template_values import MAX_DEPTH, MAX_OUTPUT, Budget, Refused


@dataclass(frozen=True, slots=True)
class Text:
    """One text that was parsed; ``file`` is None for what ``tpl`` was given."""

    name: str
    file: str | None
    text: str = field(repr=False)

    def line_and_column(self, at: int) -> tuple[int, int]:
        """Of a byte offset; both from 1, the column in characters."""
        before = self.text.encode("utf-8", "replace")[:at].decode("utf-8", "replace")
        return before.count("\n") + 1, len(before) - before.rfind("\n")

    def line_starts(self) -> list[int]:
        """The byte offset behind each line break."""
        return [found.end() for found in re.finditer(b"\n", self.text.encode("utf-8", "replace"))]


class SyntaxRefused(Refused):
    """A text that is no template: where in it."""

    def __init__(self, message: str, text: Text, at: int) -> None:
        super().__init__(message, "check the braces and the function's name")
        self.text = text
        self.at = at


@dataclass(slots=True)
class Frame:
    """What one template in progress knows: dot, and its variables, innermost last."""

    run: Run
    dot: object
    names: list[str]
    values: list[object]


Origin = tuple[Text, int, bool]
"""A text, a byte offset in it, and whether what was printed stands there letter by letter."""
Step = Callable[[Frame], int]
"""Runs one node; what it returns is 0, or how a loop goes on."""


@dataclass(slots=True)
class Run:
    """One rendering: the templates by name, the budget, and where it is."""

    functions: Mapping[str, Callable[[Run, list[object]], object]]
    budget: Budget = field(default_factory=Budget)
    templates: dict[str, tuple[Text, Step, bool]] = field(default_factory=dict)
    """Name → its text, what it does, and whether that is nothing."""
    text: Text = field(default=Text("", None, ""))
    at: int = 0
    """Byte offset in ``text`` of what is run now."""
    chain: list[tuple[Text, int]] = field(default_factory=list)
    """Which place included which, outermost first."""
    out: list[str] = field(default_factory=list)
    origins: list[Origin] = field(default_factory=list)
    """Where each part of ``out`` was written."""
    size: int = 0

    def render(self, name: str, dot: object) -> str:
        """What the template of that name prints. Raises Refused."""
        out, origins, size = self.out, self.origins, self.size
        self.out, self.origins, self.size = [], [], 0
        self.call(name, dot)
        rendered = "".join(self.out)
        self.out, self.origins, self.size = out, origins, size
        self.budget.charge(len(rendered) >> 3)
        return rendered

    def render_parts(self, name: str, dot: object) -> list[tuple[str, Origin]]:
        """The same in parts, each with where it was written."""
        self.call(name, dot)
        return list(zip(self.out, self.origins, strict=True))

    def call(self, name: str, dot: object) -> None:
        """``{{ template }}``: print another template here."""
        if name not in self.templates:
            raise Refused(f"expected a template named {name[:200]!r}, found none", "define it, or commit .werf/<name>.tmpl")
        if len(self.chain) >= MAX_DEPTH:
            raise Refused(f"expected at most {MAX_DEPTH} templates inside each other, found more", "does one include itself?")
        text, step, _ = self.templates[name]
        self.chain.append((self.text, self.at))
        self.text = text
        step(Frame(self, dot, ["$"], [dot]))
        self.text, self.at = self.chain.pop()

    def write(self, text: str, *, is_literal: bool = False) -> None:
        """Print. Raises Refused past the limit."""
        self.size += len(text)
        if self.size > MAX_OUTPUT:
            raise Refused("expected a template that prints at most 1 MiB, found more", "split the configuration, or loop less")
        self.out.append(text)
        self.origins.append((self.text, self.at, is_literal))
