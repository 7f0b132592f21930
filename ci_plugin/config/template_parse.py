"""Tokens of a Go template → steps that can be run.

Rules: https://pkg.go.dev/text/template of Go 1.19, and ``else with`` of newer ones. Which place in the frame a variable has is known here
already, so that running looks no name up. Refused: 40 branches or parentheses inside each other, declarations inside parentheses.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NoReturn

from ci_plugin.config import template_engine as engine
from ci_plugin.config.template_engine import Value
from ci_plugin.config.template_lex import NotATemplate, Token, number_of, text_of, tokens
from ci_plugin.config.template_run import Function, Run, Step, SyntaxRefused, Template
from ci_plugin.config.template_text import Text
from ci_plugin.config.template_values import MAX_OUTPUT

_MAX_NESTING = 40
_CONSTANTS = frozenset(("dot", "nil", "bool", "number", "string", "raw", "character"))
"""What can be no later command of a pipeline."""
_TERMS = _CONSTANTS | {"word", "field", "variable", "open"}
_FOUND = {"end of text": "the end of the text", "}}": "`}}`"}
_LOGIC = ("and", "or")
"""Functions that look at no more arguments than they need."""
_NO_FIELDS = frozenset(("bool", "string", "raw", "number", "nil", "dot", "character"))


def add_template(run: Run, text: Text) -> None:
    """Parse a text and the definitions in it; an empty one replaces nothing, as in Go. Raises SyntaxRefused."""
    try:
        found = _Parser(text, run.functions).whole()
    except NotATemplate as error:
        raise SyntaxRefused(error.message, text, error.at, error.hint) from None
    for name, template in found.items():
        if not template.is_empty or name not in run.templates:
            run.templates[name] = template


class _Scope:
    """The variables that are known at one place of a template, and the place each has in the frame."""

    def __init__(self) -> None:
        self._names: list[str] = []
        self._slots: dict[str, list[int]] = {}
        self.most = 0
        self.declare("$")

    @contextmanager
    def inner(self) -> Iterator[None]:
        """What is declared within is not known afterwards."""
        known = len(self._names)
        yield
        for name in self._names[known:]:
            self._slots[name].pop()
        del self._names[known:]

    def declare(self, name: str) -> int:
        """A new variable, whatever was called so before."""
        self._slots.setdefault(name, []).append(len(self._names))
        self._names.append(name)
        self.most = max(self.most, len(self._names))
        return len(self._names) - 1

    def slot(self, name: Token) -> int:
        """The variable that was declared last. Raises NotATemplate for none."""
        if not (slots := self._slots.get(name.text)):
            short = name.text[:100]
            raise NotATemplate(f"expected a variable, found {short!r} undefined", name.at, f"write {{{{ {short} := … }}}} before")
        return slots[-1]


class _Parser:
    """One text in progress."""

    def __init__(self, text: Text, functions: Mapping[str, Function]) -> None:
        self._text = text
        self._functions = functions
        if len(text.text) > MAX_OUTPUT:
            raise NotATemplate("expected a template of at most 1 MiB, found a longer one", 0, "split the file")
        self._tokens = list(tokens(text.text))
        self._at = 0
        self._token = self._tokens[0]
        self._definitions: dict[str, Template] = {}
        self._scope = _Scope()
        self._depth = 0
        self._loops = 0

    def whole(self) -> Mapping[str, Template]:
        """The definitions by name, and the text itself by its own."""
        root = self._body(is_top=True)
        if self._token.kind != "end of text":
            raise NotATemplate(f"expected no `{self._token.text}` here, found one", self._token.at, "what does it belong to?")
        return {**self._definitions, self._text.name: root}

    def _body(self, *, is_top: bool = False) -> Template:
        """A template, with variables of its own, up to its end."""
        before = self._scope, self._loops
        self._scope, self._loops = _Scope(), 0
        steps, is_empty = self._steps(is_top=is_top)
        template = Template(self._text, engine.in_order(steps), self._scope.most, is_empty)
        self._scope, self._loops = before
        return template

    @contextmanager
    def _nested(self) -> Iterator[None]:
        if self._depth >= _MAX_NESTING:
            raise NotATemplate(f"expected at most {_MAX_NESTING} levels inside each other, found more", self._token.at, "nest less deeply")
        self._depth += 1
        yield
        self._depth -= 1

    def _next(self) -> Token:
        token = self._token
        if self._at + 1 < len(self._tokens):
            self._at += 1
            self._token = self._tokens[self._at]
        return token

    def _take(self, kind: str, what: str) -> Token:
        if self._token.kind != kind:
            self._unexpected(what)
        return self._next()

    def _unexpected(self, what: str) -> NoReturn:
        token = self._token
        raise NotATemplate(f"expected {what}, found {_FOUND.get(token.kind) or repr(token.text[:40])}", token.at)

    def _steps(self, *, is_top: bool = False) -> tuple[list[Step], bool]:
        """Up to the word ``else`` or ``end``, which is not taken, or the end of the text; and whether there are blanks alone."""
        steps: list[Step] = []
        is_empty = True
        while self._token.kind != "end of text":
            token = self._next()
            if token.kind == "text":
                steps.append(engine.literal(token.text, token.at))
                is_empty = is_empty and not token.text.strip()
            elif self._token.kind in ("else", "end"):
                break
            elif self._token.kind == "define" and is_top:
                self._define()
            else:
                steps.append(self._step())
                is_empty = False
        return steps, is_empty

    def _step(self) -> Step:
        kind, at = self._token.kind, self._token.at
        if kind in ("if", "with", "range"):
            with self._nested(), self._scope.inner():
                return self._loop() if kind == "range" else self._branch(kind)
        if kind in ("break", "continue"):
            return self._leave(kind, at)
        if kind in ("template", "block"):
            return self._call(kind, at)
        value, slots = self._pipeline("}}", most=1)
        return engine.storing(value, slots[0], at) if slots else engine.printing(value, at)

    def _leave(self, kind: str, at: int) -> Step:
        self._next()
        if not self._loops:
            raise NotATemplate(f"expected `{kind}` inside a `range`, found it outside", at, "remove it")
        self._take("}}", "`}}`")
        return engine.leave_loop if kind == "break" else engine.next_turn

    def _define(self) -> None:
        self._next()
        name = self._name()
        self._take("}}", "`}}`")
        self._add(name, self._body())
        self._end()

    def _add(self, name: Token, body: Template) -> None:
        known = self._definitions.get(text_of(name))
        if known and not known.is_empty and not body.is_empty:
            raise NotATemplate(f"expected one definition of {text_of(name)[:100]!r}, found another", name.at, "remove one of the two")
        if known is None or known.is_empty:
            self._definitions[text_of(name)] = body

    def _name(self) -> Token:
        if self._token.kind not in ("string", "raw"):
            self._unexpected("the name of a template in quotes")
        return self._next()

    def _call(self, kind: str, at: int) -> Step:
        """``template``, or ``block``, which is a definition and its call."""
        self._next()
        name = self._name()
        value: Value = engine.missing
        if kind == "template" and self._token.kind == "}}":
            self._next()
        else:
            value, _ = self._pipeline("}}", most=0)
        if kind == "block":
            with self._nested():
                self._add(name, self._body())
                self._end()
        return engine.calling(text_of(name), value, at)

    def _end(self) -> None:
        self._take("end", "`{{ end }}`")
        self._take("}}", "`}}`")

    def _branch(self, kind: str) -> Step:
        """One branch, its ``else if``s and ``else``."""
        branches: list[engine.Branch] = []
        other: Step | None = None
        while True:
            self._next()
            at = self._token.at
            value, slots = self._pipeline("}}", most=1)
            branches.append(engine.Branch(engine.kept(value, slots), at, self._inner()))
            if self._token.kind == "end":
                break
            self._take("else", "`{{ end }}`")
            if self._token.kind != kind:
                self._take("}}", "`}}`")
                other = self._inner()
                break
        self._end()
        return engine.branching(branches, other, is_with=kind == "with")

    def _loop(self) -> Step:
        self._next()
        at = self._token.at
        value, slots = self._pipeline("}}", most=2)
        self._loops += 1
        body = self._inner()
        self._loops -= 1
        other = None
        if self._token.kind == "else":
            self._next()
            self._take("}}", "`}}`")
            other = self._inner()
        self._end()
        return engine.looping(value, slots, body, other, at)

    def _inner(self) -> Step:
        with self._scope.inner():
            return engine.in_order(self._steps()[0])

    def _pipeline(self, end: str, *, most: int) -> tuple[Value, list[int]]:
        """The value, and where it is kept if that is said. Takes the end."""
        names, declares = self._targets(most)
        value: Value | None = None
        while self._token.kind != end or value is None:
            if value is not None and self._token.kind in _CONSTANTS:
                raise NotATemplate("expected a function behind `|`, found a value", self._token.at, "a value can only come first")
            if self._token.kind not in _TERMS:
                self._unexpected("a value")
            value = self._command(end, value)
        self._next()
        slots = [self._scope.declare(name.text) if declares else self._scope.slot(name) for name in names]
        return engine.whole(value), slots

    def _targets(self, most: int) -> tuple[list[Token], bool]:
        """The variables before ``:=`` or ``=``, and whether they are new."""
        at, names = self._at, [self._token]
        while self._token.kind == "variable":
            self._next()
            if self._token.text == "," and self._tokens[self._at + 1].kind == "variable":
                names.append(self._next() and self._token)
            elif self._token.kind in ("declare", "assign"):
                if len(names) > most:
                    raise NotATemplate(f"expected at most {most} variables here, found {len(names)}", names[most].at, "set it before")
                return names, self._next().kind == "declare"
            else:
                break
        self._at, self._token = at, self._tokens[at]
        return [], False

    def _command(self, end: str, piped: Value | None) -> Value:
        """A value, or a function with its arguments; ``piped`` is what comes in from the left."""
        first = self._token
        is_function = first.kind == "word" and not self._is_field_next()
        head = engine.missing if is_function else self._operand()
        if is_function:
            self._next()
        arguments: list[Value] = []
        while self._token.kind in _TERMS:
            if not self._token.is_spaced:
                self._unexpected("a blank")
            arguments.append(self._argument())
        if self._token.kind == "pipe":
            self._next()
        elif self._token.kind != end:
            self._unexpected("a value, `|` or the end of the action")
        if first.kind == "nil":
            return engine.refusing("expected a value or a function, found nil", first.at)
        if not is_function:
            return engine.value_or_method(head, piped, arguments, first.at)
        return self._called(first, piped, arguments)

    def _called(self, name: Token, piped: Value | None, arguments: Sequence[Value]) -> Value:
        if name.text in _LOGIC:
            return engine.logic(name.text, piped, arguments)
        return engine.call(name.text, self._function(name), piped, arguments, name.at)

    def _is_field_next(self) -> bool:
        after = self._tokens[self._at + 1]
        return after.kind == "field" and not after.is_spaced

    def _function(self, name: Token) -> Function:
        if name.text not in self._functions:
            from difflib import get_close_matches  # here: for a message only

            near = get_close_matches(name.text[:100], self._functions, 1)
            hint = f"did you mean `{near[0]}`?" if near else "docs/templates.md lists the functions"
            raise NotATemplate(f"expected a function, found {name.text[:100]!r}, which is none", name.at, hint)
        return self._functions[name.text]

    def _argument(self) -> Value:
        """A value in an argument's place: a function there is called with nothing, and nil is a value."""
        at, is_constant = self._token.at, self._token.kind in _CONSTANTS
        value = self._operand()
        return value if is_constant else engine.value_or_method(value, None, (), at)

    def _operand(self) -> Value:
        """A term and the fields behind it."""
        token = self._next()
        value, at = self._term(token), token.at
        fields = [token.text[1:]] if token.kind == "field" else []
        while self._token.kind == "field" and not self._token.is_spaced:
            if token.kind in _NO_FIELDS:
                self._unexpected("a blank")
            fields.append(self._next().text[1:])
        return engine.fields(value, fields, at) if fields else value

    def _term(self, token: Token) -> Value:
        match token.kind:
            case "word":
                return self._called(token, None, ())
            case "variable":
                return engine.variable(self._scope.slot(token))
            case "dot" | "field":
                return engine.dot
            case "string" | "raw":
                return engine.constant(text_of(token))
            case "number":
                return engine.constant(number_of(token))
            case "bool" | "nil":
                return engine.constant({"true": True, "false": False}.get(token.text))
            case "character":
                return engine.constant(self._character(token))
        with self._nested():
            return self._pipeline("close", most=0)[0]

    def _character(self, token: Token) -> int:
        text = text_of(token)
        if len(text) != 1:
            raise NotATemplate(f"expected one character, found {token.text[:40]!r}", token.at, 'text needs double quotes: "…"')
        return ord(text)
