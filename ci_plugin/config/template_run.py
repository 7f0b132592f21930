"""One rendering in progress: the templates it knows, the budget, where it is, and what it printed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from ci_plugin.config.template_text import Made, Part, Text, Via, traced
from ci_plugin.config.template_values import MAX_DEPTH, MAX_OUTPUT, Budget, Refused

_MOST_LINES = 10_000
"""A longer text is taken to be written where a function changed it."""
_CALL = 3
"""Steps that calling a template takes."""
_LINE = 4
"""Steps that finding one line again takes."""


class SyntaxRefused(Refused):
    """A text that is no template: where in it."""

    def __init__(self, message: str, text: Text, at: int, hint: str) -> None:
        super().__init__(message, hint)
        self.text = text
        self.at = at


@dataclass(slots=True)
class Frame:
    """What one template in progress knows: dot, and its variables, each in the place the parser gave it; the first is ``$``."""

    run: Run
    dot: object
    values: list[object]


Step = Callable[[Frame], int]
"""Runs one node; what it returns is 0, or how a loop goes on."""


@dataclass(frozen=True, slots=True)
class Template:
    """A text that was parsed, or a definition in it."""

    text: Text
    step: Step
    variables: int
    is_empty: bool


@dataclass(slots=True)
class Run:
    """One rendering: the templates by name, the budget, and where it is."""

    functions: Mapping[str, Function]
    budget: Budget = field(default_factory=Budget)
    templates: dict[str, Template] = field(default_factory=dict)
    text: Text = field(default_factory=lambda: Text("", None, ""))
    at: int = 0
    """Offset in ``text`` of what is run now, in characters."""
    via: Via | None = None
    """Which place included the template that is run now."""
    depth: int = 0
    out: list[Part] = field(default_factory=list)
    size: int = 0
    has_made: bool = False
    """Whether any value is text that knows where it was written."""

    def render(self, name: str, dot: object) -> str:
        """What the template of that name prints. Raises Refused."""
        out, size = self.out, self.size
        self.out, self.size = [], 0
        self.call(name, dot)
        made = self.made(self.out)
        self.out, self.size = out, size
        return made

    def made(self, parts: list[Part]) -> Made:
        """Text that knows where it was written."""
        self.has_made = True
        text = "".join([part[0] for part in parts])
        self.budget.charge((len(text) >> 3) + len(parts))
        return Made.of(text, parts)

    def traced(self, result: str, arguments: Sequence[object]) -> str:
        """What a function made of these; where one of them is text that knows its parts, lines that are still there keep their place."""
        given: list[Made] = []
        for argument in arguments:
            if isinstance(argument, Made):
                if argument.plain == result:
                    return argument
                given.append(argument)
            elif isinstance(argument, list):
                given += [item for item in argument if isinstance(item, Made)]
        lines = sum(made.plain.count("\n") + 1 for made in given) + result.count("\n")
        if not given or not result or lines > _MOST_LINES:
            return result
        self.budget.charge(_LINE * lines)
        parts = traced(result, given, (self.text, self.at, False, self.via))
        return self.made(parts) if parts else result

    def call(self, name: str, dot: object) -> None:
        """``{{ template }}``: print another template here."""
        template = self.templates.get(name)
        if template is None:
            raise Refused(f"expected a template named {name[:200]!r}, found none", "define it, or commit .werf/<name>.tmpl")
        if self.depth >= MAX_DEPTH:
            raise Refused(f"expected at most {MAX_DEPTH} templates inside each other, found more", "does one include itself?")
        self.budget.charge(_CALL + (template.variables >> 3))
        self.via, self.text, self.depth = (self.via, self.text, self.at), template.text, self.depth + 1
        template.step(Frame(self, dot, [dot] + [None] * (template.variables - 1)))
        self.via, self.text, self.at = self.via
        self.depth -= 1

    def write(self, text: str, *, is_literal: bool = False) -> None:
        """Print. Raises Refused past the limit."""
        self.size += len(text)
        if self.size > MAX_OUTPUT:
            raise Refused("expected a template that prints at most 1 MiB, found more", "split the configuration, or loop less")
        if isinstance(text, Made):
            self.budget.charge(len(text.parts))
            self.out += text.parts
        elif text:
            self.budget.charge(1 + is_literal)
            self.out.append((text, self.text, self.at, is_literal, self.via))


Function = Callable[[Run, list[object]], object]
"""Takes a run and plain values."""
